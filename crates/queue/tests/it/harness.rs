//! Stores under test.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use tokio::sync::{Notify, Semaphore};
use wavequill_database::{DieselConnectionPoolManager, SqliteConfig, SqliteLocation, SqlitePool};
use wavequill_kernel::Clock;
use wavequill_kernel::testing::ManualClock;
use wavequill_queue::adapters::{MemoryJobStore, SqliteJobStore};
use wavequill_queue::testing::StoreHarness;
use wavequill_queue::{
    Affected, Beat, ClaimRequest, Claimed, Command, Ended, Enqueued, EnqueuedFlow, JobPage, JobQuery,
    JobQueue, JobStore, NewFlow, NewJob, Placement, Policies, Progress, QueueError, QueueStats, SessionId,
    Settled, StoreConfig, StoreTiming, SweepBudget, SweepReport, WakeUps, WorkerRegistration, WorkerView,
};

#[derive(Debug)]
pub(crate) struct Timed<S> {
    pub(crate) store: Arc<S>,
    pub(crate) clock: Arc<ManualClock>,
}

pub(crate) type Memory = Timed<MemoryJobStore>;
pub(crate) type Sqlite = Timed<SqliteJobStore>;

impl Timed<MemoryJobStore> {
    pub(crate) fn new() -> Self {
        let clock = Arc::new(ManualClock::new());
        let policies = Policies::default().with_clock(Arc::clone(&clock));
        Self { store: Arc::new(MemoryJobStore::new(StoreConfig::default(), policies).unwrap()), clock }
    }
}

impl Timed<SqliteJobStore> {
    pub(crate) async fn new() -> Self {
        let clock = Arc::new(ManualClock::new());
        let policies = Policies::default().with_clock(Arc::clone(&clock));
        let pool = SqlitePool::open_in_memory().await.unwrap();
        let store = SqliteJobStore::open(pool, StoreConfig::default(), policies).await.unwrap();
        Self { store: Arc::new(store), clock }
    }
}

#[async_trait::async_trait]
impl<S: JobStore> StoreHarness for Timed<S> {
    fn store(&self) -> Arc<dyn JobStore> {
        Arc::<S>::clone(&self.store)
    }

    async fn now(&self) -> SystemTime {
        self.clock.now()
    }

    async fn advance(&self, by: Duration) {
        self.clock.advance(by);
    }
}

/// A clock that follows tokio's, so that paused time moves it.
#[derive(Debug)]
pub(crate) struct TokioClock {
    start: tokio::time::Instant,
}

impl TokioClock {
    pub(crate) fn new() -> Self {
        Self { start: tokio::time::Instant::now() }
    }
}

impl Clock for TokioClock {
    fn now(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000) + self.monotonic()
    }

    fn monotonic(&self) -> Duration {
        self.start.elapsed()
    }
}

/// A queue in memory on tokio's time.
pub(crate) fn queue() -> JobQueue {
    let policies = Policies::default().with_clock(TokioClock::new());
    let store = MemoryJobStore::new(StoreConfig::default(), policies.clone()).unwrap();
    JobQueue::new(Arc::new(store), policies)
}

/// A queue in a file, on the clock of the system.
pub(crate) async fn file_queue(folder: &Path) -> JobQueue {
    let config = SqliteConfig::new(SqliteLocation::File(folder.join("queue.db")));
    let pool = DieselConnectionPoolManager::open_sqlite(config).await.unwrap().pool();
    let policies = Policies::default();
    let store = SqliteJobStore::open(pool, StoreConfig::default(), policies.clone()).await.unwrap();
    JobQueue::new(Arc::new(store), policies)
}

/// A store that can be cut off, and whose claims can be held up on their way back.
#[derive(Debug)]
pub(crate) struct UnpluggedStore {
    inner: Arc<dyn JobStore>,
    down: AtomicBool,
    claims: Semaphore,
    claimed: Notify,
}

impl UnpluggedStore {
    pub(crate) fn new(inner: Arc<dyn JobStore>) -> Arc<Self> {
        Arc::new(Self {
            inner,
            down: AtomicBool::new(false),
            claims: Semaphore::new(1),
            claimed: Notify::new(),
        })
    }

    pub(crate) fn unplug(&self, down: bool) {
        self.down.store(down, Ordering::SeqCst);
    }

    /// Until they are let go, claims do not come back.
    pub(crate) fn hold_claims(&self) {
        self.claims.forget_permits(1);
    }

    /// Waits until a claim has been made that does not come back.
    pub(crate) async fn held_claim(&self) {
        self.claimed.notified().await;
    }

    pub(crate) fn let_claims_go(&self) {
        self.claims.add_permits(1);
    }

    fn reach(&self) -> Result<&dyn JobStore, QueueError> {
        if self.down.load(Ordering::SeqCst) {
            return Err(QueueError::Unavailable {
                action: "be reached",
                source: Arc::from(Box::from("unplugged")),
            });
        }
        Ok(&*self.inner)
    }
}

#[async_trait::async_trait]
impl JobStore for UnpluggedStore {
    async fn enqueue(&self, jobs: Vec<NewJob>) -> Result<Vec<Enqueued>, QueueError> {
        self.reach()?.enqueue(jobs).await
    }
    async fn enqueue_flow(&self, flow: NewFlow) -> Result<EnqueuedFlow, QueueError> {
        self.reach()?.enqueue_flow(flow).await
    }
    async fn open_session(&self, worker: &WorkerRegistration) -> Result<SessionId, QueueError> {
        self.reach()?.open_session(worker).await
    }
    async fn close_session(&self, session: SessionId) -> Result<(), QueueError> {
        self.reach()?.close_session(session).await
    }
    fn abandon_session(&self, session: SessionId) {
        self.inner.abandon_session(session);
    }
    async fn beat(&self, session: SessionId, progress: Vec<Progress>) -> Result<Beat, QueueError> {
        self.reach()?.beat(session, progress).await
    }
    async fn claim(&self, request: ClaimRequest) -> Result<Claimed, QueueError> {
        let claimed = self.reach()?.claim(request).await;
        self.claimed.notify_one();
        let _passed = self.claims.acquire().await.unwrap();
        claimed
    }
    async fn place(&self, placements: Vec<Placement>) -> Result<Vec<bool>, QueueError> {
        self.reach()?.place(placements).await
    }
    async fn settle(&self, ended: Vec<Ended>) -> Result<Vec<Settled>, QueueError> {
        self.reach()?.settle(ended).await
    }
    async fn maintain(&self, budget: SweepBudget) -> Result<SweepReport, QueueError> {
        self.reach()?.maintain(budget).await
    }
    async fn administer(&self, command: Command) -> Result<Affected, QueueError> {
        self.reach()?.administer(command).await
    }
    async fn read(&self, query: &JobQuery) -> Result<JobPage, QueueError> {
        self.reach()?.read(query).await
    }
    async fn stats(&self) -> Result<QueueStats, QueueError> {
        self.reach()?.stats().await
    }
    async fn workers(&self) -> Result<Vec<WorkerView>, QueueError> {
        self.reach()?.workers().await
    }
    fn wake_ups(&self) -> WakeUps {
        self.inner.wake_ups()
    }
    fn timing(&self) -> StoreTiming {
        self.inner.timing()
    }
}
