//! Whose turn it is: the role. [`AgingPriorityManager`](crate::AgingPriorityManager) is the default.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::{Cost, JobId, LaneId, LimitState, Priority, SortKey};

/// Orders jobs, and shares a claim between tenants. Pure: it neither waits nor reads a clock.
///
/// # Contract
/// 1. Waiting never changes a key.
/// 2. A job of priority p is overtaken only by jobs that fall due less than
///    [`waiting_bound(p)`](PriorityManager::waiting_bound) after it.
/// 3. While two lanes have work and room, what they got, in cost ÷ weight, differs by at most one visit's share and
///    one job for each process that claims.
/// 4. [`choose`](PriorityManager::choose) exceeds no limit, and no more than what is wanted.
pub trait PriorityManager: Debug + Send + Sync + 'static {
    /// The place in line of a job.
    fn sort_key(&self, turn: &JobTurn) -> SortKey;

    /// Which of the lanes' first jobs a claim takes.
    fn choose(&self, round: &ClaimRound<'_>) -> ClaimChoice;

    /// How much later than itself a job may fall due and still go before a job of this priority.
    fn waiting_bound(&self, priority: Priority) -> Duration {
        let due = SystemTime::UNIX_EPOCH;
        let key = self.sort_key(&JobTurn { priority, due, deadline: None });
        Duration::from_micros(key.as_micros().unsigned_abs())
    }

    /// The priority of a job as others see it `now`: it falls by 1 with each aging step of waiting, for all jobs
    /// equally fast, so the order never changes.
    fn effective_priority(&self, turn: &JobTurn, now: SystemTime) -> f64 {
        let step = self.waiting_bound(Priority::HIGH).as_secs_f64();
        let waited = now
            .duration_since(turn.due)
            .map_or_else(|early| -early.duration().as_secs_f64(), |d| d.as_secs_f64());
        f64::from(turn.priority.get()) - if step > 0.0 { waited / step } else { 0.0 }
    }
}

/// What a place in line follows from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JobTurn {
    /// How urgent.
    pub priority: Priority,
    /// When it falls due.
    pub due: SystemTime,
    /// When it should have started.
    pub deadline: Option<SystemTime>,
}

/// The first job of a lane that is not taken yet.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LaneJob {
    /// Which.
    pub job: JobId,
    /// How much work.
    pub cost: Cost,
    /// The [`hash`](crate::LimitKey::hash) of its limit key.
    pub limit: Option<i64>,
}

/// A tenant's first jobs.
#[derive(Clone, Debug, PartialEq)]
pub struct Lane {
    /// Whose.
    pub id: LaneId,
    /// Its share beside others: above 0.
    pub weight: f64,
    /// What it may still take, in cost.
    pub deficit: f64,
    /// In their order.
    pub jobs: Vec<LaneJob>,
    /// Whether these are all it has.
    pub complete: bool,
}

/// A claim that several tenants share.
#[derive(Clone, Copy, Debug)]
pub struct ClaimRound<'a> {
    /// The time, for limits of a rate.
    pub now: SystemTime,
    /// At most so many jobs.
    pub wanted: usize,
    /// In the order of their visits.
    pub lanes: &'a [Lane],
    /// Whether the first lane is in the middle of a visit, so that it gets no new share.
    pub resumed: bool,
    /// The limits that the jobs may count against, by hash. A key without an entry has no limit.
    pub limits: &'a BTreeMap<i64, LimitState>,
}

/// A job that waits for its key's rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deferral {
    /// Which.
    pub job: JobId,
    /// Until when.
    pub until: SystemTime,
}

/// What a claim takes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ClaimChoice {
    /// These are claimed.
    pub take: Vec<JobId>,
    /// These wait for a place of their full key.
    pub park: Vec<JobId>,
    /// These wait for their key's rate.
    pub defer: Vec<Deferral>,
    /// What each lane of the round may still take.
    pub deficits: Vec<(LaneId, f64)>,
    /// The last lane that was visited.
    pub last: Option<LaneId>,
    /// Whether that visit was cut short: the next round resumes it.
    pub interrupted: bool,
    /// The limits as they are once these jobs have started.
    pub limits: BTreeMap<i64, LimitState>,
}

impl<P: PriorityManager + ?Sized> PriorityManager for Arc<P> {
    fn sort_key(&self, turn: &JobTurn) -> SortKey {
        (**self).sort_key(turn)
    }

    fn choose(&self, round: &ClaimRound<'_>) -> ClaimChoice {
        (**self).choose(round)
    }
}

impl<P: PriorityManager + ?Sized> PriorityManager for Box<P> {
    fn sort_key(&self, turn: &JobTurn) -> SortKey {
        (**self).sort_key(turn)
    }

    fn choose(&self, round: &ClaimRound<'_>) -> ClaimChoice {
        (**self).choose(round)
    }
}
