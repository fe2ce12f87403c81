//! A job as it is stored, and how it changes: pure transitions that every store obeys.

use std::time::{Duration, SystemTime};

use super::order::whole_micros;
use super::{
    AttemptError, Cost, FlowId, JobEnd, JobId, JobType, Json, LaneId, Lease, LimitKey, NewJob, Priority,
    Settlement, SortKey, Spent, Tenant, WorkerType,
};

/// Where a job is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum JobState {
    /// In line.
    Ready,
    /// A worker runs it.
    Running,
    /// Due later.
    Scheduled,
    /// Other jobs have to end first.
    Waiting,
    /// Its limit key is full; in line again when a place is free.
    Parked,
    /// Given to a worker that has not taken it up yet.
    Placed,
    /// Done.
    Completed,
    /// Cancelled.
    Cancelled,
    /// Given up; replayable.
    Dead,
    /// Set aside as poison; replayable.
    Quarantined,
}

impl JobState {
    /// Every state.
    pub const ALL: [Self; 10] = [
        Self::Ready,
        Self::Running,
        Self::Scheduled,
        Self::Waiting,
        Self::Parked,
        Self::Placed,
        Self::Completed,
        Self::Cancelled,
        Self::Dead,
        Self::Quarantined,
    ];

    /// Whether a worker holds it.
    pub const fn is_held(self) -> bool {
        matches!(self, Self::Running | Self::Placed)
    }

    /// Whether it has ended.
    pub const fn is_ended(self) -> bool {
        matches!(self, Self::Completed | Self::Cancelled | Self::Dead | Self::Quarantined)
    }

    /// Whether it waits: neither held nor ended.
    pub const fn is_waiting(self) -> bool {
        !self.is_held() && !self.is_ended()
    }

    /// The number that stores keep.
    pub const fn code(self) -> i16 {
        match self {
            Self::Ready => 0,
            Self::Running => 1,
            Self::Scheduled => 2,
            Self::Waiting => 3,
            Self::Parked => 4,
            Self::Placed => 5,
            Self::Completed => 6,
            Self::Cancelled => 7,
            Self::Dead => 8,
            Self::Quarantined => 9,
        }
    }

    /// The state of a [`code`](Self::code).
    pub fn from_code(code: i16) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.code() == code)
    }

    /// A word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Running => "running",
            Self::Scheduled => "scheduled",
            Self::Waiting => "waiting",
            Self::Parked => "parked",
            Self::Placed => "placed",
            Self::Completed => "completed",
            Self::Cancelled => "cancelled",
            Self::Dead => "dead",
            Self::Quarantined => "quarantined",
        }
    }
}

impl std::fmt::Display for JobState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a job has spent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Attempts {
    /// Failed attempts.
    pub failures: u16,
    /// Attempts that ended with the worker, or panicked.
    pub crashes: u16,
    /// Waits that were nobody's fault.
    pub snoozes: u16,
    /// How many failures end it; `None`: the retry handler's default.
    pub max_attempts: Option<u16>,
}

/// A job as it is stored.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Job {
    /// Its name for as long as anything of it is kept.
    pub id: JobId,
    /// What it is.
    pub job_type: JobType,
    /// Who can do it.
    pub worker_type: WorkerType,
    /// Where it is.
    pub state: JobState,
    /// How urgent.
    pub priority: Priority,
    /// Its place in line.
    pub sort_key: SortKey,
    /// Whose it is.
    pub tenant: Option<Tenant>,
    /// Whose limit it counts against.
    pub limit_key: Option<LimitKey>,
    /// How much work it is.
    pub cost: Cost,
    /// What the handler is given.
    pub payload: Json,
    /// When it was, or will be, due for its next attempt.
    pub run_at: SystemTime,
    /// When it was, or will be, due for its first attempt: its age and its place in line count from here.
    pub due_at: SystemTime,
    /// When it was accepted.
    pub created_at: SystemTime,
    /// When the worker that holds it claimed it.
    pub claimed_at: Option<SystemTime>,
    /// When it should have started.
    pub deadline: Option<SystemTime>,
    /// When somebody asked to cancel it, while it ran.
    pub cancel_at: Option<SystemTime>,
    /// When it ended.
    pub finished_at: Option<SystemTime>,
    /// What it has spent.
    pub attempts: Attempts,
    /// How long one attempt may take; `None`: the worker's default.
    pub timeout: Option<Duration>,
    /// The first and the last 9 failed attempts.
    pub errors: Vec<AttemptError>,
    /// Who holds it.
    pub lease: Option<Lease>,
    /// What its handler last reported.
    pub progress: Option<Json>,
    /// What it returned; only if the query asked for results.
    pub result: Option<Json>,
    /// The flow that it is a member of: others wait for it.
    pub flow: Option<FlowId>,
    /// The flow whose members it waits for, or has waited for: their results are its input.
    pub waits_for: Option<FlowId>,
    /// What makes it the same as another.
    pub(crate) unique_key: Option<[u8; 32]>,
}

/// How many failed attempts of a job are kept.
const MAX_ERRORS: usize = 10;

impl Job {
    /// The stored form of a job that is accepted `now`.
    pub(crate) fn accept(
        new: NewJob,
        id: JobId,
        worker_type: WorkerType,
        sort_key: SortKey,
        now: SystemTime,
    ) -> Self {
        let (now, due) = (whole_micros(now), whole_micros(new.due(now)));
        Self {
            id,
            unique_key: new.unique_key(),
            state: if due > now { JobState::Scheduled } else { JobState::Ready },
            job_type: new.job_type,
            worker_type,
            priority: new.priority,
            sort_key,
            tenant: new.tenant,
            limit_key: new.limit_key,
            cost: new.cost,
            payload: new.payload,
            run_at: due,
            due_at: due,
            created_at: now,
            claimed_at: None,
            deadline: new.deadline.map(whole_micros),
            cancel_at: None,
            finished_at: None,
            attempts: Attempts { max_attempts: new.max_attempts, ..Attempts::default() },
            timeout: new.timeout,
            errors: Vec::new(),
            lease: None,
            progress: None,
            result: None,
            flow: None,
            waits_for: None,
        }
    }

    /// The lane it stands in.
    pub fn lane(&self) -> LaneId {
        LaneId::of(self.tenant.as_ref())
    }

    /// How it ended, if it has. The result is there only if the query asked for results.
    pub fn end(&self) -> Option<JobEnd> {
        match self.state {
            JobState::Completed => Some(JobEnd::Completed { result: self.result.clone() }),
            JobState::Cancelled => Some(JobEnd::Cancelled),
            JobState::Dead | JobState::Quarantined => Some(JobEnd::Dead {
                quarantined: self.state == JobState::Quarantined,
                errors: self.errors.clone(),
            }),
            JobState::Ready
            | JobState::Running
            | JobState::Scheduled
            | JobState::Waiting
            | JobState::Parked
            | JobState::Placed => None,
        }
    }

    /// A worker takes it up.
    pub(crate) fn start_processing(&mut self, lease: Lease, now: SystemTime) {
        self.state = JobState::Running;
        self.claimed_at = Some(whole_micros(now));
        self.lease = Some(lease);
    }

    /// It is given to a worker that will take it up.
    pub(crate) fn place(&mut self, lease: Lease, now: SystemTime) {
        self.start_processing(lease, now);
        self.state = JobState::Placed;
    }

    /// Its attempt ends.
    pub(crate) fn settle(&mut self, settlement: Settlement, now: SystemTime) {
        let now = whole_micros(now);
        self.lease = None;
        self.claimed_at = None;
        match settlement {
            Settlement::Completed { result } => {
                self.result = result;
                self.finish(JobState::Completed, now);
            }
            Settlement::Cancelled => self.finish(JobState::Cancelled, now),
            Settlement::Dead { error, .. } => {
                self.record(error, now);
                self.finish(JobState::Dead, now);
            }
            Settlement::Quarantined { error } => {
                self.record(error, now);
                self.finish(JobState::Quarantined, now);
            }
            Settlement::Retry { after, error } => {
                self.record(error, now);
                self.wait(after, now);
            }
            Settlement::Snoozed { after } => {
                self.attempts.snoozes = self.attempts.snoozes.saturating_add(1);
                self.wait(after, now);
            }
            Settlement::Returned if self.cancel_at.is_some() => self.finish(JobState::Cancelled, now),
            Settlement::Returned => self.state = JobState::Ready,
        }
    }

    /// It falls due.
    pub(crate) fn promote(&mut self) {
        self.state = JobState::Ready;
    }

    /// All that it waited for has ended: it is due now, or when it was to be.
    pub(crate) fn join(&mut self, now: SystemTime) {
        let now = whole_micros(now);
        self.state = if self.run_at > now { JobState::Scheduled } else { JobState::Ready };
        self.run_at = self.run_at.max(now);
        self.due_at = self.due_at.max(now);
    }

    /// Somebody asks to cancel it: at once if it waits, else its worker is told.
    pub(crate) fn cancel(&mut self, now: SystemTime) {
        let now = whole_micros(now);
        if self.state.is_held() {
            self.cancel_at.get_or_insert(now);
        } else {
            self.finish(JobState::Cancelled, now);
        }
    }

    /// It lives again, as if it had just been accepted; its errors stay.
    pub(crate) fn replay(&mut self, sort_key: SortKey, now: SystemTime) {
        self.state = JobState::Ready;
        self.run_at = whole_micros(now);
        self.due_at = self.run_at;
        self.sort_key = sort_key;
        self.finished_at = None;
        self.cancel_at = None;
        self.progress = None;
        self.renew();
    }

    /// Its counts start anew.
    pub(crate) fn renew(&mut self) {
        self.attempts = Attempts { max_attempts: self.attempts.max_attempts, ..Attempts::default() };
    }

    /// It is due now, if it waits for an instant.
    pub(crate) fn hasten(&mut self, now: SystemTime) {
        if self.state == JobState::Scheduled {
            self.run_at = self.run_at.min(whole_micros(now));
            self.state = JobState::Ready;
        }
    }

    fn wait(&mut self, after: Duration, now: SystemTime) {
        if self.cancel_at.is_some() {
            return self.finish(JobState::Cancelled, now);
        }
        self.run_at = now.checked_add(after).map_or(now, whole_micros);
        self.state = if self.run_at > now { JobState::Scheduled } else { JobState::Ready };
    }

    fn finish(&mut self, state: JobState, now: SystemTime) {
        self.state = state;
        self.finished_at = Some(now);
    }

    fn record(&mut self, mut error: AttemptError, now: SystemTime) {
        let count = match error.cause.spends() {
            Spent::Attempt => Some(&mut self.attempts.failures),
            Spent::Crash => Some(&mut self.attempts.crashes),
            Spent::Snooze => Some(&mut self.attempts.snoozes),
            Spent::Nothing => None,
        };
        if let Some(count) = count {
            *count = count.saturating_add(1);
        }
        error.at = now;
        if self.errors.len() >= MAX_ERRORS {
            // The first stays: it often tells more than its echoes.
            self.errors.remove(1);
        }
        self.errors.push(error);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::FailureCause;

    fn running() -> Job {
        let new = NewJob::new(JobType::INDEXING, "x").unwrap();
        let now = SystemTime::UNIX_EPOCH;
        Job::accept(new, JobId::new(1), WorkerType::INDEXING, SortKey::at(now), now)
    }

    #[test]
    fn the_first_and_the_last_nine_errors_are_kept() {
        let mut job = running();
        for n in 0..25 {
            let error = AttemptError::new(FailureCause::Transient, n.to_string());
            job.settle(Settlement::Retry { after: Duration::ZERO, error }, SystemTime::UNIX_EPOCH);
        }
        let kept: Vec<_> = job.errors.iter().map(|error| error.message.as_str()).collect();
        assert_eq!(kept, ["0", "16", "17", "18", "19", "20", "21", "22", "23", "24"]);
        assert_eq!(job.attempts.failures, 25);
    }

    #[test]
    fn a_job_that_was_to_be_cancelled_is_not_tried_again() {
        for settlement in [
            Settlement::Returned,
            Settlement::Snoozed { after: Duration::from_secs(1) },
            Settlement::Retry {
                after: Duration::ZERO,
                error: AttemptError::new(FailureCause::Crashed, "gone"),
            },
        ] {
            let mut job = running();
            job.state = JobState::Running;
            job.cancel(SystemTime::UNIX_EPOCH);
            assert_eq!(job.state, JobState::Running);
            job.settle(settlement, SystemTime::UNIX_EPOCH);
            assert_eq!(job.state, JobState::Cancelled);
        }
    }

    #[test]
    fn codes_read_back() {
        for state in JobState::ALL {
            assert_eq!(JobState::from_code(state.code()), Some(state));
        }
        assert_eq!(JobState::from_code(10), None);
    }
}
