//! Where jobs and answers are kept, and how that is opened. It decides nothing about what is kept.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

#[cfg(feature = "fred")]
use secrecy::ExposeSecret;
#[cfg(feature = "postgres")]
use wavequill_caching::adapters::PostgresCacheStore;
#[cfg(feature = "fred")]
use wavequill_caching::adapters::RedisCacheTier;
use wavequill_caching::adapters::SqliteCacheStore;
use wavequill_caching::ports::CachePorts;
use wavequill_caching::{CacheConfig, MultiLevelCache};
#[cfg(feature = "postgres")]
use wavequill_database::PostgresConfig;
use wavequill_database::{
    ConnectionPoolManager, DieselConnectionPoolManager, SqliteConfig, SqliteLocation, SqlitePool,
};
#[cfg(any(feature = "fred", feature = "postgres"))]
use wavequill_external::SecretString;
use wavequill_kernel::{Clock, Ttl};
use wavequill_queue::adapters::SqliteJobStore;
use wavequill_queue::{JobQueue, Policies, StoreConfig};

use crate::WavequillError;

/// How long the work of a process that died is left alone by others on the same machine.
const LEASE: Duration = Duration::from_secs(3);

/// The same between machines, whose network may stall.
#[cfg(feature = "postgres")]
const FLEET_LEASE: Duration = Duration::from_secs(15);

/// How long a lookup waits for a database that does not answer: a run waits so long for each of its chunks.
#[cfg(feature = "postgres")]
const PATIENCE: Duration = Duration::from_secs(2);

/// Where jobs and answers are kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Store {
    /// In memory: nothing outlives the process.
    #[default]
    Memory,
    /// In this folder, in one SQLite file. It is made if it is missing. Several processes may share it.
    Folder(PathBuf),
}

/// Servers for the answers, which several machines share. Jobs stay in the [`Store`]: they name files of one machine.
#[derive(Clone, Debug, Default)]
pub(crate) struct Servers {
    #[cfg(feature = "postgres")]
    pub(crate) database: Option<SecretString>,
    #[cfg(feature = "fred")]
    pub(crate) redis: Option<SecretString>,
}

/// A store that is open.
#[derive(Debug)]
pub(crate) struct OpenStore {
    /// The connections to PostgreSQL, if answers are kept there.
    pub(crate) database: Option<Arc<dyn ConnectionPoolManager>>,
    pub(crate) pool: DieselConnectionPoolManager<SqlitePool>,
    pub(crate) cache: MultiLevelCache,
    pub(crate) queue: JobQueue,
    /// The folder of the journals of runs.
    pub(crate) journals: Option<PathBuf>,
}

impl Store {
    /// Opens it, with the answers on these servers. Journals that nobody went on with for as long as answers are kept are
    /// deleted.
    pub(crate) async fn open(
        &self,
        servers: &Servers,
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
        let Answers { ports, lease, database } = servers.answers(&pool, clock).await?;
        let config = CacheConfig::default().with_lease_ttl(lease);
        let cache = MultiLevelCache::with_clock(config, ports, Arc::clone(clock))?;
        let policies = Policies::default().with_clock(Arc::clone(clock));
        let jobs = SqliteJobStore::open(pool, StoreConfig::default(), policies.clone()).await?;
        let queue = JobQueue::new(Arc::new(jobs), policies);
        Ok(OpenStore { database, pool: manager, cache, queue, journals })
    }
}

/// Where answers are kept.
struct Answers {
    ports: CachePorts,
    lease: Duration,
    database: Option<Arc<dyn ConnectionPoolManager>>,
}

impl Servers {
    /// Where answers are kept: on the servers that there are, else with the jobs.
    async fn answers(&self, pool: &SqlitePool, clock: &Arc<dyn Clock>) -> Result<Answers, WavequillError> {
        let answers = self.durable_answers(pool, clock).await?;
        #[cfg(feature = "fred")]
        if let Some(url) = &self.redis {
            let redis = Arc::new(RedisCacheTier::connect(url.expose_secret()).await?);
            let ports = answers.ports.with_l2(redis.clone()).with_backplane(redis);
            return Ok(Answers { ports, ..answers });
        }
        Ok(answers)
    }

    async fn durable_answers(
        &self,
        pool: &SqlitePool,
        clock: &Arc<dyn Clock>,
    ) -> Result<Answers, WavequillError> {
        #[cfg(feature = "postgres")]
        if let Some(url) = &self.database {
            return on_postgres(url).await;
        }
        let store = SqliteCacheStore::open(pool.clone()).await?.with_clock(Arc::clone(clock));
        Ok(Answers { ports: CachePorts::on(Arc::new(store)), lease: LEASE, database: None })
    }
}

#[cfg(feature = "postgres")]
async fn on_postgres(url: &SecretString) -> Result<Answers, WavequillError> {
    let config = PostgresConfig::new(url.clone())
        .with_name("answers")
        .with_acquire_timeout(PATIENCE)
        .with_connect_timeout(PATIENCE);
    let manager = DieselConnectionPoolManager::open_postgres(config)?;
    let store = PostgresCacheStore::open(manager.pool()).await?;
    Ok(Answers {
        ports: CachePorts::on(Arc::new(store)),
        lease: FLEET_LEASE,
        database: Some(Arc::new(manager)),
    })
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
