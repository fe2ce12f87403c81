//! [`Http2ConnectionPoolManager`]: links of HTTP/2 and HTTP/1.1, opened as the load asks, on any [`HttpTransport`].
//!
//! It does not open sockets itself, and it retries nothing that a peer may have processed.

mod entry;
mod exchange;
mod link_task;
mod origin_pool;
mod pooled_body;
mod slot;
mod upload_meter;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};

use self::origin_pool::{OriginPool, Position};
use self::slot::Slot;
use crate::config::ConnectionPoolConfig;
use crate::connection_pool_manager::{ConnectionPoolManager, StreamPermit};
use crate::error::{ExternalError, Phase};
use crate::metrics::PoolMetrics;
use crate::model::http::{HttpRequest, HttpResponse, Processed};
use crate::model::origin::Origin;
use crate::model::pool::PoolStats;
use crate::ports::HttpTransport;

/// Opens a connection more when all are full, picks the one with room and the least to upload, and sends again what a
/// peer provably never processed.
///
/// It learns after how many requests a peer ends a connection, and retires it one before. Today it does so, and retires
/// a connection that has become too old, without opening the successor beforehand.
///
/// ```
/// # #[cfg(feature = "hyper")] {
/// use std::sync::Arc;
/// use wavequill_external::{
///     ConnectionPoolConfig, ConnectionPoolManager, Http2ConnectionPoolManager, HyperConfig, HyperHttpTransport,
/// };
///
/// let transport = HyperHttpTransport::new(HyperConfig::default())?;
/// let pool = Http2ConnectionPoolManager::new(ConnectionPoolConfig::default(), Arc::new(transport))?;
/// assert_eq!(pool.stats().total.size, 0, "nothing is opened before it is needed");
/// # }
/// # Ok::<(), wavequill_external::ExternalError>(())
/// ```
#[derive(Debug)]
pub struct Http2ConnectionPoolManager {
    config: Arc<ConnectionPoolConfig>,
    transport: Arc<dyn HttpTransport>,
    origins: Mutex<BTreeMap<Origin, Arc<OriginPool>>>,
    metrics: Arc<PoolMetrics>,
    closed: AtomicBool,
    /// One task for each link, from its opening to its end.
    tasks: Mutex<JoinSet<()>>,
}

impl Http2ConnectionPoolManager {
    /// A pool without connections.
    ///
    /// # Errors
    /// [`InvalidConfig`](ExternalError::InvalidConfig).
    pub fn new(
        config: ConnectionPoolConfig,
        transport: Arc<dyn HttpTransport>,
    ) -> Result<Self, ExternalError> {
        config.check()?;
        Ok(Self {
            config: Arc::new(config),
            transport,
            origins: Mutex::default(),
            metrics: Arc::new(PoolMetrics::register()),
            closed: AtomicBool::new(false),
            tasks: Mutex::new(JoinSet::new()),
        })
    }

    fn pool(&self, origin: &Origin) -> Arc<OriginPool> {
        let mut origins = self.origins.lock();
        if let Some(pool) = origins.get(origin) {
            return Arc::clone(pool);
        }
        let pool =
            Arc::new(OriginPool::new(origin.clone(), Arc::clone(&self.config), Arc::clone(&self.metrics)));
        origins.insert(origin.clone(), Arc::clone(&pool));
        pool
    }

    /// Opens as many links as those who wait ask for.
    fn open_wanted(&self, pool: &Arc<OriginPool>) {
        for _ in 0..pool.take_wanted() {
            self.spawn_link(pool, None);
        }
    }

    /// Opens a link; `opened` hears once it is there, or is dropped if it failed.
    fn spawn_link(&self, pool: &Arc<OriginPool>, opened: Option<oneshot::Sender<()>>) {
        let task = link_task::run(Arc::clone(pool), Arc::clone(&self.transport), opened);
        let mut tasks = self.tasks.lock();
        while tasks.try_join_next().is_some() {}
        tasks.spawn(task);
    }

    async fn slot(
        &self,
        origin: &Origin,
        body_bytes: u64,
        position: Position,
    ) -> Result<Slot, ExternalError> {
        if self.closed.load(Ordering::Acquire) {
            return Err(ExternalError::Closed);
        }
        let pool = self.pool(origin);
        if let Some(slot) = pool.try_slot(body_bytes) {
            return Ok(slot);
        }
        let mut waiter = pool.enqueue(body_bytes, position);
        self.open_wanted(&pool);
        let deadline = Instant::now() + self.config.stream_wait;
        loop {
            tokio::select! {
                biased;
                granted = timeout_at(deadline, waiter.granted()) => return match granted {
                    Ok(granted) => granted,
                    Err(_) => Err(ExternalError::Timeout {
                        phase: Phase::Stream,
                        after: self.config.stream_wait,
                        processed: Processed::No,
                    }),
                },
                () = pool.wants_links() => self.open_wanted(&pool),
            }
        }
    }
}

#[async_trait]
impl ConnectionPoolManager for Http2ConnectionPoolManager {
    fn try_stream(&self, origin: &Origin) -> Option<StreamPermit> {
        if self.closed.load(Ordering::Acquire) {
            return None;
        }
        let slot = self.pool(origin).try_slot(0)?;
        Some(StreamPermit::new(origin.clone(), Box::new(slot)))
    }

    async fn stream(&self, origin: &Origin, body_bytes: u64) -> Result<StreamPermit, ExternalError> {
        let slot = self.slot(origin, body_bytes, Position::Back).await?;
        Ok(StreamPermit::new(origin.clone(), Box::new(slot)))
    }

    async fn send(&self, permit: StreamPermit, request: HttpRequest) -> Result<HttpResponse, ExternalError> {
        let origin = permit.origin().clone();
        let Some(slot) = permit.into_slot::<Slot>() else {
            let reason = "it is of another pool".to_owned();
            return Err(ExternalError::InvalidRequest { field: "stream permit", reason });
        };
        let mut slot = *slot;
        let mut replays = 0;
        loop {
            let failed = match exchange::exchange(slot, &request, &self.config, &self.metrics).await {
                Ok(response) => return Ok(response),
                Err(failed) => failed,
            };
            match failed.replay {
                Some(cause) if replays < self.config.max_replays => {
                    replays += 1;
                    self.metrics.replay(cause);
                    self.pool(&origin).count_replay();
                    tracing::debug!(target: "wavequill::external", ?cause, %origin, "a request is sent again");
                    slot = self.slot(&origin, request.body.len(), Position::Front).await?;
                }
                _ => return Err(failed.error),
            }
        }
    }

    fn stats(&self) -> PoolStats {
        let pools: Vec<_> = self.origins.lock().values().cloned().collect();
        let mut stats = PoolStats::default();
        for pool in pools {
            let origin = pool.stats();
            stats.total.add(&origin);
            stats.origins.insert(pool.origin().clone(), origin);
        }
        stats
    }

    async fn scale_to(&self, origin: &Origin, connections: usize) -> usize {
        if self.closed.load(Ordering::Acquire) {
            return 0;
        }
        let pool = self.pool(origin);
        let mut opening = Vec::new();
        for _ in 0..pool.reserve_to(connections) {
            let (opened, hears) = oneshot::channel();
            self.spawn_link(&pool, Some(opened));
            opening.push(hears);
        }
        for hears in opening {
            // An error says that this one did not come about: the count tells the caller.
            hears.await.ok();
        }
        pool.shrink_to(connections);
        pool.stats().size
    }

    async fn close_all(&self, grace: Duration) {
        self.closed.store(true, Ordering::Release);
        let deadline = Instant::now() + grace;
        let pools: Vec<_> = self.origins.lock().values().cloned().collect();
        for pool in &pools {
            pool.close();
        }
        for pool in &pools {
            if timeout_at(deadline, pool.emptied()).await.is_err() {
                tracing::warn!(target: "wavequill::external", origin = %pool.origin(), "streams were cut off");
            }
        }
        let tasks = std::mem::take(&mut *self.tasks.lock());
        drop(tasks);
        for pool in &pools {
            pool.clear();
        }
    }
}
