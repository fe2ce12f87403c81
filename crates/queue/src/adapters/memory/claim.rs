//! Claims in memory: the same rounds as the stores on disk.

use std::time::SystemTime;

use super::table::Table;
use crate::adapters::fair::{MAX_ROUNDS, heads_per_lane};
use crate::{
    ClaimChoice, ClaimRequest, ClaimRound, ClaimToken, Claimed, Job, JobId, JobState, Lane, LaneId, LaneJob,
    Lease, LeasedJob, LimitKey, Placement, Policies, QueueError, SessionId, WorkerType,
};

pub(super) fn claim(
    table: &mut Table,
    request: &ClaimRequest,
    policies: &Policies,
) -> Result<Claimed, QueueError> {
    let now = policies.clock.now();
    let session = table.sessions.get(&request.session).filter(|session| !session.fenced);
    let Some(session) = session else { return Err(QueueError::Fenced { session: request.session }) };
    let mut types = session.registration.types().to_vec();
    table.claims = table.claims.wrapping_add(1);
    let turn = table.claims.checked_rem(types.len()).unwrap_or(0);
    types.rotate_left(turn);
    table.promote(now, 1_000);

    let free = request.free.0 as usize;
    let mut claim = Claim { session: request.session, token: None, now, policies, jobs: Vec::new() };
    claim.take_up_placed(table, free);
    if let Some(only) = &request.only {
        claim.take_listed(table, only, &types, free);
    } else {
        for worker_type in types.iter().filter(|_| free > 0) {
            claim.take_in_turn(table, worker_type, free);
        }
    }
    let next_due = if claim.jobs.len() < free { table.next_due(&types) } else { None };
    let next_due = next_due.map(|at| at.duration_since(now).unwrap_or_default());
    Ok(Claimed { jobs: claim.jobs, next_due })
}

struct Claim<'a> {
    session: SessionId,
    /// Taken when the first job is.
    token: Option<ClaimToken>,
    now: SystemTime,
    policies: &'a Policies,
    jobs: Vec<LeasedJob>,
}

impl Claim<'_> {
    fn take_up_placed(&mut self, table: &mut Table, free: usize) {
        let mut placed: Vec<_> = table
            .held_by(self.session)
            .filter_map(|id| table.get(id))
            .filter(|job| job.state == JobState::Placed)
            .map(|job| (job.sort_key, job.id))
            .collect();
        placed.sort();
        for (_, id) in placed.into_iter().take(free) {
            self.start(table, id);
        }
    }

    /// Only listed jobs, in their order.
    fn take_listed(&mut self, table: &mut Table, only: &[JobId], types: &[WorkerType], free: usize) {
        let claimable = |job: &&Job| {
            job.state == JobState::Ready
                && types.contains(&job.worker_type)
                && !table.paused.contains(&job.worker_type)
        };
        let mut jobs: Vec<&Job> = only.iter().filter_map(|id| table.get(*id)).filter(claimable).collect();
        jobs.sort_by_key(|job| (job.sort_key, job.id));
        jobs.dedup_by_key(|job| job.id);
        let lanes = [Lane {
            id: LaneId::NONE,
            weight: 1.0,
            deficit: 0.0,
            jobs: jobs.into_iter().map(lane_job).collect(),
            complete: true,
        }];
        let wanted = free.saturating_sub(self.jobs.len());
        let choice = self.round(table, &lanes, false, wanted);
        self.apply(table, &choice);
    }

    /// The next jobs of a type, tenants in turn.
    fn take_in_turn(&mut self, table: &mut Table, worker_type: &WorkerType, free: usize) {
        if table.paused.contains(worker_type) {
            return;
        }
        if !table.fair.contains_key(worker_type) {
            // Nobody shares this route: the first in line.
            let wanted = free.saturating_sub(self.jobs.len());
            let first: Vec<JobId> =
                table.line(worker_type, LaneId::NONE).take(wanted).map(|job| job.id).collect();
            return first.into_iter().for_each(|id| self.start(table, id));
        }
        for _ in 0..MAX_ROUNDS {
            let all = table.ready_lanes(worker_type);
            let wanted = free.saturating_sub(self.jobs.len());
            if all.is_empty() || wanted == 0 {
                return;
            }
            let fair = table.fair.entry(worker_type.clone()).or_default();
            let order = fair.order(&all);
            let resumed = order.first().is_some_and(|first| fair.resumes(*first));
            let deficits: Vec<f64> = order.iter().map(|lane| fair.deficit(*lane)).collect();
            let heads = heads_per_lane(wanted, order.len());
            let lanes: Vec<Lane> = order
                .iter()
                .zip(deficits)
                .map(|(lane, deficit)| {
                    let mut line = table.line(worker_type, *lane);
                    let jobs = line.by_ref().take(heads).map(lane_job).collect();
                    let complete = line.next().is_none();
                    Lane { id: *lane, weight: table.weight(*lane), deficit, jobs, complete }
                })
                .collect();
            let choice = self.round(table, &lanes, resumed, wanted);
            self.apply(table, &choice);
            table.fair.entry(worker_type.clone()).or_default().apply(&choice, &all);
            if choice.take.is_empty() && choice.park.is_empty() && choice.defer.is_empty() {
                return;
            }
        }
    }

    fn round(&self, table: &Table, lanes: &[Lane], resumed: bool, wanted: usize) -> ClaimChoice {
        let round = ClaimRound { now: self.now, wanted, lanes, resumed, limits: &table.limits };
        self.policies.priority.choose(&round)
    }

    fn apply(&mut self, table: &mut Table, choice: &ClaimChoice) {
        table.limits.clone_from(&choice.limits);
        for id in &choice.take {
            self.start(table, *id);
        }
        for id in &choice.park {
            table.change(*id, self.now, |job| job.state = JobState::Parked);
        }
        for deferral in &choice.defer {
            table.change(deferral.job, self.now, |job| {
                job.run_at = deferral.until;
                job.state = JobState::Scheduled;
            });
        }
    }

    fn start(&mut self, table: &mut Table, id: JobId) {
        let token = *self.token.get_or_insert_with(|| table.next_token());
        let lease = Lease { job: id, session: self.session, token };
        if let Some(job) = table.change(id, self.now, |job| job.start_processing(lease, self.now)) {
            self.jobs.push(LeasedJob { job: job.clone(), lease });
        }
    }
}

fn lane_job(job: &Job) -> LaneJob {
    LaneJob { job: job.id, cost: job.cost, limit: job.limit_key.as_ref().map(LimitKey::hash) }
}

pub(super) fn place(table: &mut Table, placements: &[Placement], now: SystemTime) -> Vec<bool> {
    let mut token = None;
    placements.iter().map(|placement| place_one(table, *placement, &mut token, now)).collect()
}

fn place_one(
    table: &mut Table,
    placement: Placement,
    token: &mut Option<ClaimToken>,
    now: SystemTime,
) -> bool {
    let session = table.sessions.get(&placement.session).filter(|session| !session.fenced);
    let job = table.get(placement.job).filter(|job| job.state == JobState::Ready);
    let (Some(session), Some(job)) = (session, job) else { return false };
    if !session.registration.types().contains(&job.worker_type) || table.paused.contains(&job.worker_type) {
        return false;
    }
    if let Some(key) = job.limit_key.as_ref().map(LimitKey::hash) {
        match table.limits.get_mut(&key) {
            Some(limit) if limit.admits(now) == crate::Admission::Now => limit.start(now),
            Some(_) => return false,
            None => {}
        }
    }
    let token = *token.get_or_insert_with(|| table.next_token());
    let lease = Lease { job: placement.job, session: placement.session, token };
    table.change(placement.job, now, |job| job.place(lease, now)).is_some()
}
