//! What the examples of the queue share: one file of jobs, and one type of job.

use std::path::Path;
use std::sync::Arc;

use wavequill::database::{DieselConnectionPoolManager, SqliteConfig, SqliteLocation};
use wavequill::queue::adapters::SqliteJobStore;
use wavequill::queue::{JobQueue, Policies, StoreConfig};

/// The queue that lives in this file; several programs may open it at once.
pub(crate) async fn open(file: &Path) -> anyhow::Result<JobQueue> {
    let config = SqliteConfig::new(SqliteLocation::File(file.to_path_buf()));
    let pool = DieselConnectionPoolManager::open_sqlite(config).await?.pool();
    let store = SqliteJobStore::open(pool, StoreConfig::default(), Policies::default()).await?;
    Ok(JobQueue::new(Arc::new(store), Policies::default()))
}
