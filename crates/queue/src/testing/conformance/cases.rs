//! One function a case, named by the sentence that it tests; each takes a fresh store.

#![expect(missing_docs, reason = "the names of the cases are sentences that say all")]
#![expect(
    clippy::missing_panics_doc,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "an expectation that fails is a panic: that is what a test suite is for"
)]

mod admin;
mod claims;
mod flows;
mod shares;

pub use admin::*;
pub use claims::*;
pub use flows::*;
pub use shares::*;

use std::sync::Arc;
use std::time::Duration;

use super::StoreHarness;
use crate::{
    AttemptError, ClaimRequest, Ended, Enqueued, FailureCause, FreeSlots, Job, JobId, JobQuery, JobState,
    JobStore, JobType, LeasedJob, NewJob, SessionId, Settled, Settlement, SweepBudget, SweepReport, WorkerId,
    WorkerRegistration, WorkerType,
};

/// Short forms for what all cases do.
struct Kit<'a> {
    harness: &'a dyn StoreHarness,
    store: Arc<dyn JobStore>,
}

impl<'a> Kit<'a> {
    fn new(harness: &'a dyn StoreHarness) -> Self {
        Self { store: harness.store(), harness }
    }

    async fn add(&self, jobs: Vec<NewJob>) -> Vec<JobId> {
        self.store.enqueue(jobs).await.unwrap().into_iter().map(Enqueued::id).collect()
    }

    async fn add_one(&self, job: NewJob) -> JobId {
        self.add(vec![job]).await[0]
    }

    async fn session(&self) -> SessionId {
        let worker = WorkerRegistration::new(WorkerId::new("w").unwrap(), [WorkerType::INDEXING], 100);
        self.store.open_session(&worker.unwrap()).await.unwrap()
    }

    async fn claim(&self, session: SessionId, free: u32) -> Vec<LeasedJob> {
        let request = ClaimRequest { session, free: FreeSlots(free), only: None };
        self.store.claim(request).await.unwrap().jobs
    }

    async fn claim_one(&self, session: SessionId) -> LeasedJob {
        self.claim(session, 1).await.pop().unwrap()
    }

    async fn settle(&self, leased: &LeasedJob, settlement: Settlement) -> Settled {
        self.store.settle(vec![Ended { lease: leased.lease, settlement }]).await.unwrap()[0]
    }

    async fn complete(&self, leased: &LeasedJob) {
        let settled = self.settle(leased, Settlement::Completed { result: None }).await;
        assert_eq!(settled, Settled::Applied(JobState::Completed));
    }

    async fn job(&self, id: JobId) -> Job {
        self.store.read(&JobQuery::ids([id])).await.unwrap().jobs.pop().unwrap()
    }

    async fn state(&self, id: JobId) -> JobState {
        self.job(id).await.state
    }

    async fn maintain(&self) -> SweepReport {
        self.store.maintain(SweepBudget::default()).await.unwrap()
    }

    async fn advance(&self, by: Duration) {
        self.harness.advance(by).await;
    }

    /// Declares a silent session dead: it is looked at twice, its time to live apart.
    async fn bury(&self, session: SessionId) -> SweepReport {
        self.maintain().await;
        self.advance(self.store.timing().session_ttl).await;
        let report = self.maintain().await;
        let live = self.store.workers().await.unwrap();
        assert!(live.iter().all(|worker| worker.session != session), "{session} lives");
        report
    }
}

fn new(payload: u32) -> NewJob {
    NewJob::new(JobType::INDEXING, &payload).unwrap()
}

fn ids(jobs: &[LeasedJob]) -> Vec<JobId> {
    jobs.iter().map(|leased| leased.job.id).collect()
}

fn failed(cause: FailureCause) -> AttemptError {
    AttemptError::new(cause, "it did not work")
}

const SECOND: Duration = Duration::from_secs(1);
