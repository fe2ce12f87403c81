//! What all stores decide alike: pure functions of the stored job.

use std::time::{Duration, SystemTime};

use crate::{
    AttemptError, Failure, FailureCause, Job, JobId, JobState, JobTurn, NewJob, OnDuplicate, Policies,
    QueueError, RetryBudget, Settlement, SortKey, WorkerType,
};

/// A batch that may be stored: each job with its worker type.
pub(crate) fn check_batch(
    jobs: Vec<NewJob>,
    policies: &Policies,
    now: SystemTime,
) -> Result<Vec<Checked>, QueueError> {
    let check = |(index, job): (usize, NewJob)| {
        job.check(now).map_err(|reason| QueueError::InvalidJob { index, reason })?;
        Ok(Checked { worker_type: policies.routing.route(&job.job_type)?, job })
    };
    jobs.into_iter().enumerate().map(check).collect()
}

/// A job that passed its checks.
#[derive(Clone, Debug)]
pub(crate) struct Checked {
    pub(crate) job: NewJob,
    pub(crate) worker_type: WorkerType,
}

impl Checked {
    /// Whether tenants or limits share its route.
    pub(crate) fn is_shared(&self) -> bool {
        self.job.tenant.is_some() || self.job.limit_key.is_some()
    }

    /// The stored form.
    pub(crate) fn accept(self, id: JobId, now: SystemTime, policies: &Policies) -> Job {
        let sort_key = self.sort_key(now, policies);
        Job::accept(self.job, id, self.worker_type, sort_key, now)
    }

    /// Its place in line.
    pub(crate) fn sort_key(&self, now: SystemTime, policies: &Policies) -> SortKey {
        let turn =
            JobTurn { priority: self.job.priority, due: self.job.due(now), deadline: self.job.deadline };
        policies.priority.sort_key(&turn)
    }
}

/// The place in line that a job has with its present priority.
pub(crate) fn sort_key(job: &Job, policies: &Policies) -> SortKey {
    let turn = JobTurn { priority: job.priority, due: job.due_at, deadline: job.deadline };
    policies.priority.sort_key(&turn)
}

/// What a second job does to the live one that is like it. Answers whether that one changed.
pub(crate) fn merge(live: &mut Job, second: Checked, now: SystemTime, policies: &Policies) -> bool {
    let duplicate = second.job.unique.as_ref().map(crate::Uniqueness::duplicate).unwrap_or_default();
    match duplicate {
        OnDuplicate::Renew => {
            live.renew();
            if second.job.due(now) <= now {
                live.hasten(now);
            }
            live.payload = second.job.payload;
            true
        }
        OnDuplicate::Replace if live.state.is_waiting() => {
            let created_at = live.created_at;
            *live = Job { created_at, ..second.accept(live.id, now, policies) };
            true
        }
        OnDuplicate::Keep | OnDuplicate::Replace => false,
    }
}

/// An ended job lives again, as if it had just been accepted.
pub(crate) fn replay(job: &mut Job, now: SystemTime, policies: &Policies) {
    job.deadline = None;
    let due_now = JobTurn { priority: job.priority, due: now, deadline: None };
    job.replay(policies.priority.sort_key(&due_now), now);
}

/// How the job of a dead worker goes on.
pub(crate) fn rescue(job: &Job, now: SystemTime, policies: &Policies) -> Settlement {
    if job.state == JobState::Placed {
        return Settlement::Returned;
    }
    let failure = Failure {
        cause: FailureCause::Crashed,
        retry_after: None,
        attempts: job.attempts,
        age: age(job, now),
        budget: RetryBudget::full(),
    };
    let error = AttemptError::new(FailureCause::Crashed, "its worker died, was stopped, or was cut off");
    policies.retry.settle(&failure, error, seed(job))
}

/// How long ago a job first fell due.
pub(crate) fn age(job: &Job, now: SystemTime) -> Duration {
    now.duration_since(job.due_at).unwrap_or_default()
}

/// A seed for delays: another one for each job and attempt.
pub(crate) fn seed(job: &Job) -> u64 {
    let token = job.lease.map_or(0, |lease| lease.token.get());
    job.id.get().unsigned_abs().rotate_left(32) ^ token.unsigned_abs()
}
