//! What an operator asks of the queue and is told.

use std::time::Duration;

use super::{FlowId, Job, JobId, JobState, JobType, Limit, LimitKey, Priority, Tenant, WorkerType};

/// A change an operator asks for.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Command {
    /// Ends waiting jobs at once; asks the workers of running ones to stop.
    Cancel {
        /// Which.
        jobs: Vec<JobId>,
    },
    /// Gives waiting jobs another priority, as if they had been accepted with it.
    Reprioritize {
        /// Which.
        jobs: Vec<JobId>,
        /// The new one.
        priority: Priority,
    },
    /// Makes scheduled jobs due now.
    RunNow {
        /// Which.
        jobs: Vec<JobId>,
    },
    /// Lets dead, quarantined or cancelled jobs live again, with all counts at zero.
    Replay {
        /// Which.
        jobs: Vec<JobId>,
    },
    /// No job of this worker type is claimed until it is resumed; what runs goes on.
    Pause {
        /// Which.
        worker_type: WorkerType,
    },
    /// Ends a pause.
    Resume {
        /// Which.
        worker_type: WorkerType,
    },
    /// Sets, or lifts, the limit of a key. What runs already counts.
    SetLimit {
        /// Which.
        key: LimitKey,
        /// The new one; `None` lifts it.
        limit: Option<Limit>,
    },
    /// Sets a tenant's share beside others: 2.0 gets twice the cost of 1.0 (the default) while both have work.
    SetWeight {
        /// Whose.
        tenant: Tenant,
        /// 0.01 to 100; what lies outside is clamped.
        weight: f32,
    },
}

/// What a command changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Affected {
    /// The jobs that it changed.
    pub jobs: Vec<JobId>,
    /// Those that it did not, and why.
    pub skipped: Vec<Skipped>,
}

/// A job that a command left alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Skipped {
    /// Which.
    pub job: JobId,
    /// Why.
    pub reason: SkipReason,
}

/// Why a command left a job alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SkipReason {
    /// It never was, or was pruned.
    Unknown,
    /// The command does not apply to this state.
    State(JobState),
    /// A job with the same unique key lives.
    AlreadyLive(JobId),
}

/// Which jobs to read, by id upwards.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct JobQuery {
    /// Only these. Default: all.
    pub jobs: Option<Vec<JobId>>,
    /// Only in these states. Default: all.
    pub states: Option<Vec<JobState>>,
    /// Only of this type. Default: all.
    pub job_type: Option<JobType>,
    /// Only of this tenant. Default: all.
    pub tenant: Option<Tenant>,
    /// Only members of this flow. Default: all.
    pub flow: Option<FlowId>,
    /// Only after this one. Default: from the first.
    pub after: Option<JobId>,
    /// At most so many, 1 to 1,000. Default: 100.
    pub limit: u32,
    /// Whether to read results too. Default: no.
    pub results: bool,
}

impl Default for JobQuery {
    fn default() -> Self {
        Self {
            jobs: None,
            states: None,
            job_type: None,
            tenant: None,
            flow: None,
            after: None,
            limit: 100,
            results: false,
        }
    }
}

impl JobQuery {
    /// These jobs, with their results.
    pub fn ids(jobs: impl IntoIterator<Item = JobId>) -> Self {
        let jobs: Vec<_> = jobs.into_iter().collect();
        Self { limit: jobs.len() as u32, jobs: Some(jobs), results: true, ..Self::default() }
    }

    /// Only in these states.
    #[must_use]
    pub fn in_states(mut self, states: impl IntoIterator<Item = JobState>) -> Self {
        self.states = Some(states.into_iter().collect());
        self
    }

    /// Only of this type.
    #[must_use]
    pub fn of_type(mut self, job_type: JobType) -> Self {
        self.job_type = Some(job_type);
        self
    }

    /// Only of this tenant.
    #[must_use]
    pub fn of_tenant(mut self, tenant: Tenant) -> Self {
        self.tenant = Some(tenant);
        self
    }

    /// Only members of this flow.
    #[must_use]
    pub fn of_flow(mut self, flow: FlowId) -> Self {
        self.flow = Some(flow);
        self
    }

    /// Only after this one.
    #[must_use]
    pub fn after(mut self, job: JobId) -> Self {
        self.after = Some(job);
        self
    }

    /// At most so many.
    #[must_use]
    pub fn with_limit(mut self, limit: u32) -> Self {
        self.limit = limit;
        self
    }

    /// Results too.
    #[must_use]
    pub fn with_results(mut self) -> Self {
        self.results = true;
        self
    }

    /// The limit, within its bounds.
    pub(crate) fn page_size(&self) -> usize {
        self.limit.clamp(1, 1_000) as usize
    }
}

/// Some jobs.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct JobPage {
    /// By id upwards.
    pub jobs: Vec<Job>,
    /// Pass it as [`JobQuery::after`] for the next page; `None` at the end.
    pub next: Option<JobId>,
}

/// How much one call to [`maintain`](crate::JobStore::maintain) may do of each kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SweepBudget {
    /// At most so many jobs are made ready, rescued and pruned, each.
    pub jobs: u32,
}

impl Default for SweepBudget {
    /// 1,000.
    fn default() -> Self {
        Self { jobs: 1_000 }
    }
}

/// What one call to [`maintain`](crate::JobStore::maintain) did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SweepReport {
    /// Scheduled jobs that fell due.
    pub promoted: u32,
    /// Workers declared dead.
    pub fenced: u32,
    /// Jobs of dead workers that are in line again.
    pub rescued: u32,
    /// Jobs of dead workers that were given up, set aside or ended as cancelled.
    pub ended: Vec<SweptJob>,
    /// Placed jobs that nobody took up.
    pub returned: u32,
    /// Ended jobs that were forgotten after their retention.
    pub pruned: u32,
}

/// A job that the upkeep ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SweptJob {
    /// Which.
    pub job: JobId,
    /// What it is.
    pub job_type: JobType,
    /// How it ended.
    pub state: JobState,
}

/// How many jobs there are, by type.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct QueueStats {
    /// One a type that has jobs, by name.
    pub kinds: Vec<KindStats>,
}

impl QueueStats {
    /// The figures of one type; all zero if it has no jobs.
    pub fn of(&self, job_type: &JobType) -> KindStats {
        let found = self.kinds.iter().find(|kind| kind.job_type == *job_type);
        found.cloned().unwrap_or_else(|| KindStats::new(job_type.clone()))
    }
}

/// How many jobs of a type there are. Completed and cancelled ones are not counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KindStats {
    /// The type.
    pub job_type: JobType,
    /// In line.
    pub ready: u64,
    /// Due later.
    pub scheduled: u64,
    /// Other jobs have to end first.
    pub waiting: u64,
    /// Held back by a limit.
    pub parked: u64,
    /// Held by a worker.
    pub running: u64,
    /// Dead or quarantined, and not yet pruned.
    pub dead: u64,
    /// How long the one that is in line longest has been due.
    pub oldest_ready: Option<Duration>,
}

impl KindStats {
    /// No jobs.
    pub fn new(job_type: JobType) -> Self {
        Self {
            job_type,
            ready: 0,
            scheduled: 0,
            waiting: 0,
            parked: 0,
            running: 0,
            dead: 0,
            oldest_ready: None,
        }
    }

    /// Adds jobs in a state.
    pub(crate) fn add(&mut self, state: JobState, count: u64) {
        match state {
            JobState::Ready => self.ready += count,
            JobState::Scheduled => self.scheduled += count,
            JobState::Waiting => self.waiting += count,
            JobState::Parked => self.parked += count,
            JobState::Running | JobState::Placed => self.running += count,
            JobState::Dead | JobState::Quarantined => self.dead += count,
            JobState::Completed | JobState::Cancelled => {}
        }
    }
}
