//! How jobs and workers find each other: the role.
//! [`LeastLoadedJobDispatcher`](crate::LeastLoadedJobDispatcher) is the default.

use std::fmt::Debug;
use std::sync::Arc;

use async_trait::async_trait;

use crate::{
    Claimed, FreeSlots, JobId, MaxPerWorker, QueueError, WorkerId, WorkerRegistration, WorkerSession,
};

/// Brings jobs to workers. Normally workers pull ([`claim`](JobDispatcher::claim)); where an embedder wants to
/// decide, it places ([`dispatch_batch`](JobDispatcher::dispatch_batch)).
///
/// # Contract
/// 1. No worker gets more than its free slots, or `max` of a batch, or a type that it lacks.
/// 2. Every job of a batch gets a worker or a reason.
/// 3. Loads count what the batch has placed; equals are taken in turn, the longest unused first.
/// 4. A batch changes no registration.
/// 5. A placed job that is not taken up in time (5 s by default) is in line again, nothing spent.
#[async_trait]
pub trait JobDispatcher: Debug + Send + Sync + 'static {
    /// Makes a worker known, with its types and its capacity.
    async fn register_worker(&self, worker: WorkerRegistration) -> Result<WorkerSession, QueueError>;

    /// Takes up at most `free` jobs: those placed on this worker, then the first in line.
    ///
    /// # Errors
    /// [`QueueError::Fenced`] if the session has ended: register again.
    async fn claim(&self, worker: &WorkerSession, free: FreeSlots) -> Result<Claimed, QueueError>;

    /// Takes up only jobs of this list.
    ///
    /// # Errors
    /// [`QueueError::Fenced`] if the session has ended: register again.
    async fn claim_only(
        &self,
        worker: &WorkerSession,
        free: FreeSlots,
        jobs: Vec<JobId>,
    ) -> Result<Claimed, QueueError>;

    /// Places ready jobs on workers, at most `max` on each.
    async fn dispatch_batch(&self, jobs: &[JobId], max: MaxPerWorker) -> Result<Dispatch, QueueError>;

    /// Places one job; `None` if nobody can take it now.
    async fn dispatch_job(&self, job: JobId) -> Result<Option<WorkerId>, QueueError> {
        let dispatch = self.dispatch_batch(&[job], MaxPerWorker::default()).await?;
        Ok(dispatch.placed.into_iter().next().map(|placed| placed.worker))
    }
}

/// What became of a batch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dispatch {
    /// The jobs that a worker has.
    pub placed: Vec<PlacedJob>,
    /// The jobs that none has.
    pub unplaced: Vec<UnplacedJob>,
}

/// A job that was placed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlacedJob {
    /// Which.
    pub job: JobId,
    /// On whom.
    pub worker: WorkerId,
}

/// A job that was not placed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnplacedJob {
    /// Which.
    pub job: JobId,
    /// Why.
    pub reason: Unplaced,
}

/// Why a job was not placed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Unplaced {
    /// No live worker has its type.
    NoCapableWorker,
    /// Those that have are busy.
    AllFull,
    /// Those that have room got `max` of this batch already.
    CapReached,
    /// It is unknown, not in line, or held back by a pause or a limit.
    NotReady,
}

#[async_trait]
impl<D: JobDispatcher + ?Sized> JobDispatcher for Arc<D> {
    async fn register_worker(&self, worker: WorkerRegistration) -> Result<WorkerSession, QueueError> {
        (**self).register_worker(worker).await
    }

    async fn claim(&self, worker: &WorkerSession, free: FreeSlots) -> Result<Claimed, QueueError> {
        (**self).claim(worker, free).await
    }

    async fn claim_only(
        &self,
        worker: &WorkerSession,
        free: FreeSlots,
        jobs: Vec<JobId>,
    ) -> Result<Claimed, QueueError> {
        (**self).claim_only(worker, free, jobs).await
    }

    async fn dispatch_batch(&self, jobs: &[JobId], max: MaxPerWorker) -> Result<Dispatch, QueueError> {
        (**self).dispatch_batch(jobs, max).await
    }
}
