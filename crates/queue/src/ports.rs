//! What the queue needs from outside: a store of jobs.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use crate::{
    Affected, Beat, ClaimRequest, Claimed, Command, Ended, Enqueued, EnqueuedFlow, JobPage, JobQuery,
    NewFlow, NewJob, Placement, Progress, QueueError, QueueStats, SessionId, Settled, SweepBudget,
    SweepReport, WakeUps, WorkerRegistration, WorkerView,
};

/// Keeps jobs, and decides between workers that want the same one.
///
/// # Cancellation
/// A call that is dropped at any await happened wholly or not at all.
///
/// # Contract
/// 1. `Ok` from [`enqueue`](JobStore::enqueue) is as durable as the store; of a batch that failed nothing is stored.
/// 2. A claimed job was due, not paused, within its limits, and its session was live.
/// 3. Leases of two tokens on a job never overlap in the store's time.
/// 4. Only the latest token of a job settles it; all else is [`Settled::Stale`] and changes nothing.
/// 5. Missed heartbeats give the right to rescue; only the rescue ends a lease.
/// 6. A settlement and all that it causes are stored together.
/// 7. A live unique key has one live job.
/// 8. Every job reaches one end; a dead one can be replayed until it is pruned.
/// 9. What waits for a flow is in line once, when the last of its members has ended, in the same transaction.
/// 10. Hints ([`wake_ups`](JobStore::wake_ups)) may be lost or doubled; polling finds everything.
#[async_trait]
pub trait JobStore: Debug + Send + Sync + 'static {
    /// Stores all jobs or none, and answers in their order.
    ///
    /// # Errors
    /// [`QueueError::InvalidJob`], [`QueueError::UnknownJobType`], [`QueueError::Unavailable`].
    async fn enqueue(&self, jobs: Vec<NewJob>) -> Result<Vec<Enqueued>, QueueError>;

    /// Stores a flow: all of its jobs or none. A job of a later stage runs once every job of the stage before it has
    /// completed, exactly once whoever of them ends last.
    ///
    /// # Errors
    /// [`QueueError::InvalidFlow`]; [`QueueError::InvalidJob`], counting through all stages; else as
    /// [`enqueue`](JobStore::enqueue).
    async fn enqueue_flow(&self, flow: NewFlow) -> Result<EnqueuedFlow, QueueError>;

    /// Starts a life of a worker. It lives for [`StoreTiming::session_ttl`], and as long again after each
    /// [`beat`](JobStore::beat).
    async fn open_session(&self, worker: &WorkerRegistration) -> Result<SessionId, QueueError>;

    /// Ends it in good order: what it still holds is returned, nothing spent. Unknown sessions are fine.
    async fn close_session(&self, session: SessionId) -> Result<(), QueueError>;

    /// Says, without waiting, that this session's worker has gone without closing it. What it holds may be
    /// rescued by the next [`maintain`](JobStore::maintain) of this process.
    fn abandon_session(&self, session: SessionId);

    /// Says that a worker lives, stores what its handlers report, and answers which of its jobs to cancel.
    async fn beat(&self, session: SessionId, progress: Vec<Progress>) -> Result<Beat, QueueError>;

    /// Takes up jobs: first those placed on this session, then the first in line of its types.
    ///
    /// # Errors
    /// [`QueueError::Fenced`] if the session has ended.
    async fn claim(&self, request: ClaimRequest) -> Result<Claimed, QueueError>;

    /// Gives ready jobs to workers that will take them up at their next claim. Answers in order; `false` where the
    /// job is not ready any more, or the session has ended.
    async fn place(&self, placements: Vec<Placement>) -> Result<Vec<bool>, QueueError>;

    /// Ends leases, in one transaction. Answers in order.
    async fn settle(&self, ended: Vec<Ended>) -> Result<Vec<Settled>, QueueError>;

    /// The upkeep any process may do at any time: makes due jobs ready, rescues those of dead workers, returns
    /// placed ones that nobody took up, and forgets what is past its retention.
    async fn maintain(&self, budget: SweepBudget) -> Result<SweepReport, QueueError>;

    /// Does what an operator asks.
    async fn administer(&self, command: Command) -> Result<Affected, QueueError>;

    /// Reads jobs, live and ended.
    async fn read(&self, query: &JobQuery) -> Result<JobPage, QueueError>;

    /// Counts jobs.
    async fn stats(&self) -> Result<QueueStats, QueueError>;

    /// The live workers, by session.
    async fn workers(&self) -> Result<Vec<WorkerView>, QueueError>;

    /// Hints of what changes from now on.
    fn wake_ups(&self) -> WakeUps;

    /// The store's times.
    fn timing(&self) -> StoreTiming;
}

/// The times of a store that workers and clients go by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoreTiming {
    /// How long a worker lives after its last heartbeat, at least.
    pub session_ttl: Duration,
    /// How often to look for what no hint announces, such as changes by another process.
    pub poll: Duration,
}

#[async_trait]
impl<S: JobStore + ?Sized> JobStore for Arc<S> {
    async fn enqueue(&self, jobs: Vec<NewJob>) -> Result<Vec<Enqueued>, QueueError> {
        (**self).enqueue(jobs).await
    }

    async fn enqueue_flow(&self, flow: NewFlow) -> Result<EnqueuedFlow, QueueError> {
        (**self).enqueue_flow(flow).await
    }

    async fn open_session(&self, worker: &WorkerRegistration) -> Result<SessionId, QueueError> {
        (**self).open_session(worker).await
    }

    async fn close_session(&self, session: SessionId) -> Result<(), QueueError> {
        (**self).close_session(session).await
    }

    fn abandon_session(&self, session: SessionId) {
        (**self).abandon_session(session);
    }

    async fn beat(&self, session: SessionId, progress: Vec<Progress>) -> Result<Beat, QueueError> {
        (**self).beat(session, progress).await
    }

    async fn claim(&self, request: ClaimRequest) -> Result<Claimed, QueueError> {
        (**self).claim(request).await
    }

    async fn place(&self, placements: Vec<Placement>) -> Result<Vec<bool>, QueueError> {
        (**self).place(placements).await
    }

    async fn settle(&self, ended: Vec<Ended>) -> Result<Vec<Settled>, QueueError> {
        (**self).settle(ended).await
    }

    async fn maintain(&self, budget: SweepBudget) -> Result<SweepReport, QueueError> {
        (**self).maintain(budget).await
    }

    async fn administer(&self, command: Command) -> Result<Affected, QueueError> {
        (**self).administer(command).await
    }

    async fn read(&self, query: &JobQuery) -> Result<JobPage, QueueError> {
        (**self).read(query).await
    }

    async fn stats(&self) -> Result<QueueStats, QueueError> {
        (**self).stats().await
    }

    async fn workers(&self) -> Result<Vec<WorkerView>, QueueError> {
        (**self).workers().await
    }

    fn wake_ups(&self) -> WakeUps {
        (**self).wake_ups()
    }

    fn timing(&self) -> StoreTiming {
        (**self).timing()
    }
}
