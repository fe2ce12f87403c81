//! Where jobs and answers are kept, and how that is opened. It decides nothing about what is kept.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use wavequill_caching::adapters::SqliteCacheStore;
use wavequill_caching::ports::CachePorts;
use wavequill_caching::{CacheConfig, MultiLevelCache};
use wavequill_database::{DieselConnectionPoolManager, SqliteConfig, SqliteLocation, SqlitePool};
use wavequill_kernel::{Clock, Ttl};
use wavequill_queue::adapters::SqliteJobStore;
use wavequill_queue::{JobQueue, Policies, StoreConfig};

use crate::WavequillError;

/// How long the work of a process that died is left alone by others on the same machine.
const LEASE: Duration = Duration::from_secs(3);

/// Where jobs and answers are kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Store {
    /// In memory: nothing outlives the process.
    #[default]
    Memory,
    /// In this folder, in one SQLite file. It is made if it is missing. Several processes may share it.
    Folder(PathBuf),
}

/// A store that is open.
#[derive(Debug)]
pub(crate) struct OpenStore {
    pub(crate) pool: DieselConnectionPoolManager<SqlitePool>,
    pub(crate) cache: MultiLevelCache,
    pub(crate) queue: JobQueue,
    /// The folder of the journals of runs.
    pub(crate) journals: Option<PathBuf>,
}

impl Store {
    /// Opens it. Journals that nobody went on with for as long as answers are kept are deleted.
    pub(crate) async fn open(
        &self,
        clock: &Arc<dyn Clock>,
        kept_for: Ttl,
    ) -> Result<OpenStore, WavequillError> {
        let (location, journals) = match self {
            Self::Memory => (SqliteLocation::Memory, None),
            Self::Folder(folder) => {
                let journals = folder.join("runs");
                make_folder(&journals)?;
                delete_old(&journals, clock.now().checked_sub(kept_for.as_duration()));
                (SqliteLocation::File(folder.join("wavequill.sqlite3")), Some(journals))
            }
        };
        let manager = DieselConnectionPoolManager::open_sqlite(SqliteConfig::new(location)).await?;
        let pool = manager.pool();
        let answers = SqliteCacheStore::open(pool.clone()).await?.with_clock(Arc::clone(clock));
        let config = CacheConfig::default().with_lease_ttl(LEASE);
        let cache =
            MultiLevelCache::with_clock(config, CachePorts::on(Arc::new(answers)), Arc::clone(clock))?;
        let policies = Policies::default().with_clock(Arc::clone(clock));
        let jobs = SqliteJobStore::open(pool, StoreConfig::default(), policies.clone()).await?;
        let queue = JobQueue::new(Arc::new(jobs), policies);
        Ok(OpenStore { pool: manager, cache, queue, journals })
    }
}

fn make_folder(folder: &Path) -> Result<(), WavequillError> {
    std::fs::create_dir_all(folder).map_err(|source| WavequillError::Store {
        path: folder.display().to_string(),
        source: Arc::new(source),
    })
}

/// Deletes the journals that were last written before this time. One that cannot be deleted only takes space.
fn delete_old(journals: &Path, before: Option<SystemTime>) {
    let (Some(before), Ok(files)) = (before, std::fs::read_dir(journals)) else { return };
    for file in files.filter_map(Result::ok) {
        let written = file.metadata().and_then(|about| about.modified());
        if written.is_ok_and(|written| written < before)
            && let Err(error) = std::fs::remove_file(file.path())
        {
            tracing::warn!(target: "wavequill", %error, "an old journal cannot be deleted");
        }
    }
}
