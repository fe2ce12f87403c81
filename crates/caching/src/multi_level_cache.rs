//! The cache over three levels: this process's memory, the fleet's memory, the database.
//!
//! How it reads, writes and claims is in the files beside this one; invalidation and warming work on the same core.

mod claiming;
mod core;
mod counters;
mod flights;
mod leases;
mod reading;
mod second_level;
mod writing;

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use tokio::runtime::Handle;
use tokio::task::JoinSet;
use wavequill_kernel::{Clock, InvalidValue, SystemClock};

pub(crate) use self::core::{Core, random_bytes};
pub(crate) use self::reading::Promotion;
use crate::ports::{CachePorts, LogScope};
use crate::{
    Cache, CacheConfig, CacheError, CacheHitResult, CacheKey, CacheLevel, CachePut, CacheStats, CacheValue,
    Claim, Count, PutOutcome, Selector,
};

/// Finds results in memory, in the fleet's shared memory, or in the database, and lets one caller of the fleet load
/// what is missing. A clone is the same cache; the last one to go ends its two background tasks, which follow the
/// log and keep leases.
///
/// ```
/// use std::{convert::Infallible, sync::Arc, time::Duration};
/// use wavequill_caching::{
///     CacheConfig, CacheExt, CachePut, ContentAddresser, MemoryStore, Metadata, MultiLevelCache, Namespace,
///     Sha256ContentAddresser, ports::CachePorts,
/// };
/// use wavequill_kernel::{InvalidValue, Ttl};
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let ports = CachePorts::on(Arc::new(MemoryStore::new()));
/// let cache = MultiLevelCache::new(CacheConfig::default(), ports)?;
///
/// let key = Sha256ContentAddresser::new().generate_key(b"17 ducks", Namespace::new("counts")?, &Metadata::new());
/// let day = Ttl::new(Duration::from_secs(86_400))?;
/// let value = cache
///     .get_or_load(&key, async |key| Ok::<_, InvalidValue>(CachePut::new(key, "seventeen", day)))
///     .await?;
/// assert_eq!(value.body().as_ref(), b"seventeen");
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct MultiLevelCache {
    shared: Arc<Shared>,
}

/// The core, and the tasks that end with the last handle.
pub(crate) struct Shared {
    pub(crate) core: Arc<Core>,
    _tasks: JoinSet<()>,
}

impl MultiLevelCache {
    /// A cache on these ports, by the clock of the operating system.
    ///
    /// # Errors
    /// As [`with_clock`](Self::with_clock).
    pub fn new(config: CacheConfig, ports: CachePorts) -> Result<Self, CacheError> {
        Self::with_clock(config, ports, Arc::new(SystemClock))
    }

    /// A cache on these ports, by this clock. Its background tasks run on the current tokio runtime.
    ///
    /// # Errors
    /// [`CacheError::InvalidConfig`] if a field is out of its range; if there is an L2, but the log does not order
    /// the whole fleet that shares it; or outside a tokio runtime.
    pub fn with_clock(
        config: CacheConfig,
        ports: CachePorts,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, CacheError> {
        config.validate()?;
        let refused = |name, given: &str, expected: &'static str| CacheError::InvalidConfig {
            source: InvalidValue::new(name, given, expected),
        };
        if ports.l2.is_some() && ports.log.scope() != LogScope::Fleet {
            return Err(refused(
                "l2",
                "a shared memory beside a log of one machine",
                "left out, or used with a database that all nodes share",
            ));
        }
        let runtime = Handle::try_current()
            .map_err(|_| refused("runtime", "absent", "a tokio runtime: call it from async code"))?;
        let core = Core::new(config, ports, clock);
        let mut tasks = JoinSet::new();
        // Listening before the first call: what happens before the task first runs is not missed.
        let notices = core.ports.backplane.subscribe();
        tasks.spawn_on(core.clone().follow_log(notices), &runtime);
        tasks.spawn_on(core.keep_leases(), &runtime);
        Ok(Self { shared: Arc::new(Shared { core, _tasks: tasks }) })
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Gives back what other processes may wait for. Call it before a process ends on purpose: without it, they
    /// wait until the leases end.
    pub async fn close(&self) {
        self.shared.core.give_leases_back().await;
    }
}

impl fmt::Debug for MultiLevelCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MultiLevelCache").field("core", &self.shared.core).finish()
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.core.fmt(f)
    }
}

#[async_trait]
impl Cache for MultiLevelCache {
    fn get_local(&self, key: &CacheKey) -> Option<CacheValue> {
        self.shared.core.get_local(key)
    }

    async fn get_many(&self, keys: &[CacheKey]) -> Result<Vec<CacheHitResult>, CacheError> {
        self.shared.core.get_many(keys).await
    }

    async fn put_many(&self, puts: Vec<CachePut>) -> Result<Vec<PutOutcome>, CacheError> {
        self.shared.core.put_many(puts).await
    }

    async fn claim(&self, keys: &[CacheKey]) -> Result<Vec<Claim>, CacheError> {
        self.shared.core.claim(keys).await
    }

    async fn delete(&self, key: &CacheKey) -> Result<(), CacheError> {
        self.shared.core.invalidate(&Selector::Key(*key)).await.map(|_| ())
    }

    async fn stats(&self) -> CacheStats {
        let core = &self.shared.core;
        let l2_size = match &core.ports.l2 {
            Some(tier) => tier.count().await.unwrap_or(Count::Unknown),
            None => Count::Exact(0),
        };
        let l3_count = core.ports.l3.count().await.unwrap_or(Count::Unknown);
        let stats = core.stats(l2_size, l3_count);
        core.set_gauges();
        for (level, count) in [(CacheLevel::L2, l2_size), (CacheLevel::L3, l3_count)] {
            if let Count::Exact(count) | Count::Estimate(count) = count {
                core.metrics.level(level).entries.set(count as f64);
            }
        }
        stats
    }
}
