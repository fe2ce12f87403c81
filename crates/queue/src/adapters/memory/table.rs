//! The jobs and their indexes. Every change goes through [`Table::change`], which keeps them in step.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::{Duration, SystemTime};

use crate::adapters::fair::FairState;
use crate::adapters::flows::{self, CheckedFlow, FlowStep};
use crate::adapters::liveness::{Pulse, SessionWatch};
use crate::model::Admission;
use crate::{
    ClaimToken, EnqueuedFlow, FlowId, Job, JobId, JobPage, JobQuery, JobState, KindStats, LaneId, Lease,
    Limit, LimitKey, LimitState, OnFailure, Policies, QueueStats, SessionId, Settlement, SortKey,
    StoreConfig, Tenant, WorkerRegistration, WorkerType,
};

fn in_flow(jobs: &BTreeSet<(FlowId, JobId)>, flow: FlowId) -> impl Iterator<Item = JobId> + '_ {
    jobs.range((flow, JobId::new(i64::MIN))..=(flow, JobId::new(i64::MAX))).map(|(_, job)| *job)
}

/// A worker's life.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) registration: WorkerRegistration,
    pub(super) beats: i64,
    pub(super) fenced: bool,
}

/// A unique key that outlives its job.
#[derive(Debug)]
pub(super) struct Window {
    pub(super) until: SystemTime,
    pub(super) job: JobId,
}

/// What others wait for.
#[derive(Debug)]
struct Flow {
    pending: usize,
    on_failure: OnFailure,
}

type Line = BTreeSet<(SortKey, JobId)>;

#[derive(Debug, Default)]
pub(super) struct Table {
    jobs: BTreeMap<JobId, Job>,
    ready: BTreeMap<WorkerType, BTreeMap<LaneId, Line>>,
    scheduled: BTreeSet<(SystemTime, JobId)>,
    parked: BTreeMap<i64, Line>,
    held: BTreeSet<(SessionId, JobId)>,
    ended: BTreeSet<(SystemTime, JobId)>,
    members: BTreeSet<(FlowId, JobId)>,
    waiting: BTreeSet<(FlowId, JobId)>,
    flows: BTreeMap<FlowId, Flow>,
    unique: HashMap<[u8; 32], JobId>,
    watch: SessionWatch,
    weights: BTreeMap<LaneId, f64>,
    pub(super) limits: BTreeMap<i64, LimitState>,
    pub(super) windows: HashMap<[u8; 32], Window>,
    pub(super) sessions: BTreeMap<SessionId, Session>,
    /// Gone without closing: declared dead by the next upkeep.
    pub(super) abandoned: BTreeSet<SessionId>,
    pub(super) paused: BTreeSet<WorkerType>,
    /// The routes that tenants or limits share: once fair, always fair.
    pub(super) fair: BTreeMap<WorkerType, FairState>,
    pub(super) last_job: i64,
    pub(super) last_session: i64,
    last_flow: i64,
    last_token: i64,
    pub(super) claims: usize,
}

impl Table {
    pub(super) fn get(&self, id: JobId) -> Option<&Job> {
        self.jobs.get(&id)
    }

    pub(super) fn next_token(&mut self) -> ClaimToken {
        self.last_token += 1;
        ClaimToken::new(self.last_token)
    }

    pub(super) fn insert(&mut self, job: Job) {
        self.members.extend(job.flow.map(|flow| (flow, job.id)));
        self.index(&job);
        self.jobs.insert(job.id, job);
    }

    /// Changes a job and keeps every index in step with it.
    pub(super) fn change(
        &mut self,
        id: JobId,
        now: SystemTime,
        change: impl FnOnce(&mut Job),
    ) -> Option<&Job> {
        let mut job = self.jobs.remove(&id)?;
        self.unindex(&job);
        let was_held = job.state.is_held();
        let was_ready = job.state == JobState::Ready;
        let had_ended = job.state.is_ended();
        change(&mut job);
        let member =
            job.flow.map(|flow| (flow, job.state)).filter(|(_, state)| state.is_ended() != had_ended);
        self.index(&job);
        let limit = job.limit_key.as_ref().map(LimitKey::hash);
        let leaves = was_held && !job.state.is_held() || was_ready && job.state.is_ended();
        self.jobs.insert(id, job);
        if let Some(key) = limit.filter(|_| leaves) {
            if let Some(state) = self.limits.get_mut(&key).filter(|_| was_held) {
                state.end();
            }
            self.unpark(key, 1);
        }
        if let Some((flow, state)) = member {
            if had_ended { self.revive_in(flow) } else { self.end_in(flow, state, now) }
        }
        self.jobs.get(&id)
    }

    /// Ends the present lease of a job.
    pub(super) fn settle(&mut self, id: JobId, settlement: Settlement, now: SystemTime) -> Option<&Job> {
        self.change(id, now, |job| job.settle(settlement, now))
    }

    /// Stores a flow.
    pub(super) fn insert_flow(
        &mut self,
        flow: CheckedFlow,
        now: SystemTime,
        policies: &Policies,
    ) -> EnqueuedFlow {
        let on_failure = flow.on_failure;
        let mut last_job = self.last_job;
        let ids = std::iter::repeat_with(|| {
            last_job += 1;
            JobId::new(last_job)
        });
        let (first, last) = (self.last_flow + 1, self.last_flow + flow.joints() as i64);
        let accepted = flow.accept(ids, (first..=last).map(FlowId::new).collect(), now, policies);
        self.last_flow = last;
        self.last_job += accepted.jobs.len() as i64;
        for (id, pending) in accepted.flows {
            self.flows.insert(id, Flow { pending, on_failure });
        }
        for job in accepted.jobs {
            self.insert(job);
        }
        accepted.answer
    }

    /// A member of a flow has ended.
    fn end_in(&mut self, id: FlowId, state: JobState, now: SystemTime) {
        let Some(flow) = self.flows.get_mut(&id) else { return };
        let step = flows::member_ended(state, flow.on_failure);
        if step == FlowStep::Count {
            flow.pending = flow.pending.saturating_sub(1);
        }
        if step == FlowStep::Hold || step == FlowStep::Count && flow.pending > 0 {
            return;
        }
        self.flows.remove(&id);
        let waiting: Vec<JobId> = in_flow(&self.waiting, id).collect();
        for job in waiting {
            // What is cancelled may itself be waited for.
            self.change(
                job,
                now,
                |job| if step == FlowStep::Count { job.join(now) } else { job.cancel(now) },
            );
        }
    }

    /// A member that had ended lives again: where its end was counted, it is waited for anew.
    fn revive_in(&mut self, id: FlowId) {
        if let Some(flow) = self.flows.get_mut(&id).filter(|flow| flow.on_failure == OnFailure::RunNext) {
            flow.pending += 1;
        }
    }

    fn index(&mut self, job: &Job) {
        match job.state {
            JobState::Ready => {
                let lanes = self.ready.entry(job.worker_type.clone()).or_default();
                lanes.entry(job.lane()).or_default().insert((job.sort_key, job.id));
            }
            JobState::Scheduled => {
                self.scheduled.insert((job.run_at, job.id));
            }
            JobState::Waiting => {
                self.waiting.extend(job.waits_for.map(|flow| (flow, job.id)));
            }
            JobState::Parked => {
                let key = job.limit_key.as_ref().map_or(0, LimitKey::hash);
                self.parked.entry(key).or_default().insert((job.sort_key, job.id));
            }
            JobState::Running | JobState::Placed => {
                if let Some(lease) = job.lease {
                    self.held.insert((lease.session, job.id));
                }
            }
            JobState::Completed | JobState::Cancelled | JobState::Dead | JobState::Quarantined => {
                self.ended.insert((job.finished_at.unwrap_or(SystemTime::UNIX_EPOCH), job.id));
            }
        }
        if let Some(key) = job.unique_key.filter(|_| !job.state.is_ended()) {
            self.unique.insert(key, job.id);
        }
    }

    fn unindex(&mut self, job: &Job) {
        match job.state {
            JobState::Ready => {
                if let Some(lanes) = self.ready.get_mut(&job.worker_type)
                    && let Some(line) = lanes.get_mut(&job.lane())
                {
                    line.remove(&(job.sort_key, job.id));
                    if line.is_empty() {
                        lanes.remove(&job.lane());
                    }
                }
            }
            JobState::Scheduled => {
                self.scheduled.remove(&(job.run_at, job.id));
            }
            JobState::Waiting => {
                if let Some(flow) = job.waits_for {
                    self.waiting.remove(&(flow, job.id));
                }
            }
            JobState::Parked => {
                let key = job.limit_key.as_ref().map_or(0, LimitKey::hash);
                if let Some(line) = self.parked.get_mut(&key) {
                    line.remove(&(job.sort_key, job.id));
                    if line.is_empty() {
                        self.parked.remove(&key);
                    }
                }
            }
            JobState::Running | JobState::Placed => {
                if let Some(lease) = job.lease {
                    self.held.remove(&(lease.session, job.id));
                }
            }
            JobState::Completed | JobState::Cancelled | JobState::Dead | JobState::Quarantined => {
                self.ended.remove(&(job.finished_at.unwrap_or(SystemTime::UNIX_EPOCH), job.id));
            }
        }
        if let Some(key) = job.unique_key
            && self.unique.get(&key) == Some(&job.id)
        {
            self.unique.remove(&key);
        }
    }

    pub(super) fn live_with(&self, key: &[u8; 32]) -> Option<JobId> {
        self.unique.get(key).copied()
    }

    /// Whether this lease is the present one of its job.
    pub(super) fn holds(&self, lease: Lease) -> bool {
        self.get(lease.job).is_some_and(|job| job.state.is_held() && job.lease == Some(lease))
    }

    pub(super) fn held_by(&self, session: SessionId) -> impl Iterator<Item = JobId> + '_ {
        let (first, last) = ((session, JobId::new(i64::MIN)), (session, JobId::new(i64::MAX)));
        self.held.range(first..=last).map(|(_, job)| *job)
    }

    /// The lanes of a type that have ready jobs, by id.
    pub(super) fn ready_lanes(&self, worker_type: &WorkerType) -> Vec<LaneId> {
        self.ready.get(worker_type).map(|lanes| lanes.keys().copied().collect()).unwrap_or_default()
    }

    /// The first jobs of a lane; `complete` if there are no more.
    pub(super) fn line(&self, worker_type: &WorkerType, lane: LaneId) -> impl Iterator<Item = &Job> {
        let line = self.ready.get(worker_type).and_then(|lanes| lanes.get(&lane));
        line.into_iter().flatten().filter_map(|(_, id)| self.jobs.get(id))
    }

    pub(super) fn weight(&self, lane: LaneId) -> f64 {
        self.weights.get(&lane).copied().unwrap_or(1.0)
    }

    pub(super) fn set_weight(&mut self, tenant: &Tenant, weight: f32) {
        let weight = if weight.is_nan() { 1.0 } else { weight.clamp(0.01, 100.0) };
        self.weights.insert(LaneId::of(Some(tenant)), f64::from(weight));
    }

    pub(super) fn set_limit(&mut self, key: &LimitKey, limit: Option<Limit>) {
        let hash = key.hash();
        match limit {
            Some(limit) => {
                let held = self.held.iter().filter_map(|(_, id)| self.jobs.get(id));
                let running = held.filter(|job| job.limit_key.as_ref() == Some(key)).count() as u32;
                let tat_micros = self.limits.get(&hash).map_or(0, |state| state.tat_micros);
                self.limits.insert(hash, LimitState { limit, running, tat_micros });
            }
            None => {
                self.limits.remove(&hash);
            }
        }
        self.unpark(hash, usize::MAX);
    }

    fn unpark(&mut self, key: i64, count: usize) {
        let ids: Vec<JobId> =
            self.parked.get(&key).into_iter().flatten().take(count).map(|(_, id)| *id).collect();
        for id in ids {
            // Not an end: the instant does not matter.
            self.change(id, SystemTime::UNIX_EPOCH, Job::promote);
        }
    }

    /// Readies what a limit with room still holds back, such as after the job that had the place was cancelled.
    pub(super) fn unpark_all_with_room(&mut self, now: SystemTime) {
        let room: Vec<(i64, usize)> = self
            .parked
            .keys()
            .filter_map(|key| {
                let state = self.limits.get(key).copied().unwrap_or_default();
                let free = state.limit.max_running.map_or(u32::MAX, |max| max.saturating_sub(state.running));
                (state.admits(now) == Admission::Now).then_some((*key, free as usize))
            })
            .collect();
        for (key, count) in room {
            self.unpark(key, count);
        }
    }

    pub(super) fn promote(&mut self, now: SystemTime, budget: usize) -> u32 {
        let due: Vec<JobId> =
            self.scheduled.iter().take_while(|(at, _)| *at <= now).take(budget).map(|(_, id)| *id).collect();
        for id in &due {
            self.change(*id, now, Job::promote);
        }
        due.len() as u32
    }

    /// When the next scheduled job of these types falls due.
    pub(super) fn next_due(&self, types: &[WorkerType]) -> Option<SystemTime> {
        let of_type = |id: &JobId| self.jobs.get(id).is_some_and(|job| types.contains(&job.worker_type));
        self.scheduled.iter().find(|(_, id)| of_type(id)).map(|(at, _)| *at)
    }

    pub(super) fn fence_silent(&mut self, now: Duration, ttl: Duration) -> u32 {
        let live = self.sessions.iter().filter(|(_, session)| !session.fenced);
        let pulses: Vec<_> = live.map(|(id, session)| Pulse { session: *id, beats: session.beats }).collect();
        let mut dead = self.watch.look(&pulses, now, ttl);
        dead.extend(std::mem::take(&mut self.abandoned));
        dead.retain(|id| self.sessions.get(id).is_some_and(|session| !session.fenced));
        dead.sort();
        dead.dedup();
        for id in &dead {
            if let Some(session) = self.sessions.get_mut(id) {
                session.fenced = true;
            }
        }
        dead.len() as u32
    }

    pub(super) fn return_placed(&mut self, now: SystemTime, timeout: Duration, budget: usize) -> u32 {
        let late = |job: &&Job| {
            let since = job.claimed_at.and_then(|at| now.duration_since(at).ok()).unwrap_or_default();
            job.state == JobState::Placed && since >= timeout
        };
        let held = self.held.iter().filter_map(|(_, id)| self.jobs.get(id));
        let late: Vec<JobId> = held.filter(late).take(budget).map(|job| job.id).collect();
        for id in &late {
            self.settle(*id, Settlement::Returned, now);
        }
        late.len() as u32
    }

    pub(super) fn prune(&mut self, now: SystemTime, config: &StoreConfig, budget: usize) -> u32 {
        let expired = |(at, id): &&(SystemTime, JobId)| {
            let age = now.duration_since(*at).unwrap_or_default();
            let finished = self
                .jobs
                .get(id)
                .is_some_and(|job| matches!(job.state, JobState::Completed | JobState::Cancelled));
            age >= if finished { config.keep_finished } else { config.keep_dead }
        };
        let old: Vec<JobId> = self.ended.iter().filter(expired).take(budget).map(|(_, id)| *id).collect();
        for id in &old {
            if let Some(job) = self.jobs.remove(id) {
                self.unindex(&job);
                if let Some(flow) = job.flow {
                    self.members.remove(&(flow, *id));
                    let holds = |flow: &Flow| flow.on_failure == OnFailure::Hold;
                    if job.state != JobState::Completed && self.flows.get(&flow).is_some_and(holds) {
                        // Nobody can replay it any more.
                        self.end_in(flow, JobState::Cancelled, now);
                    }
                }
            }
        }
        self.windows.retain(|_, window| window.until > now);
        old.len() as u32
    }

    pub(super) fn read(&self, query: &JobQuery) -> JobPage {
        let wanted = |job: &&Job| {
            query.jobs.as_ref().is_none_or(|jobs| jobs.contains(&job.id))
                && query.states.as_ref().is_none_or(|states| states.contains(&job.state))
                && query.job_type.as_ref().is_none_or(|job_type| *job_type == job.job_type)
                && query.tenant.as_ref().is_none_or(|tenant| Some(tenant) == job.tenant.as_ref())
                && query.flow.is_none_or(|flow| Some(flow) == job.flow)
                && query.after.is_none_or(|after| job.id > after)
        };
        let size = query.page_size();
        let strip = |job: &Job| {
            let result = if query.results { job.result.clone() } else { None };
            Job { result, ..job.clone() }
        };
        let members = query.flow.map(|flow| in_flow(&self.members, flow).collect::<Vec<_>>());
        let mut jobs: Vec<Job> = match query.jobs.as_ref().or(members.as_ref()) {
            Some(ids) => {
                let ids: BTreeSet<_> = ids.iter().copied().collect();
                ids.iter()
                    .filter_map(|id| self.jobs.get(id))
                    .filter(wanted)
                    .take(size + 1)
                    .map(strip)
                    .collect()
            }
            None => self.jobs.values().filter(wanted).take(size + 1).map(strip).collect(),
        };
        let more = jobs.len() > size;
        jobs.truncate(size);
        JobPage { next: jobs.last().filter(|_| more).map(|job| job.id), jobs }
    }

    pub(super) fn stats(&self, now: SystemTime) -> QueueStats {
        let mut kinds: BTreeMap<_, KindStats> = BTreeMap::new();
        for job in self.jobs.values() {
            if matches!(job.state, JobState::Completed | JobState::Cancelled) {
                continue;
            }
            let kind =
                kinds.entry(job.job_type.clone()).or_insert_with(|| KindStats::new(job.job_type.clone()));
            kind.add(job.state, 1);
            if job.state == JobState::Ready {
                let waited = now.duration_since(job.run_at).unwrap_or_default();
                kind.oldest_ready = kind.oldest_ready.max(Some(waited));
            }
        }
        QueueStats { kinds: kinds.into_values().collect() }
    }
}
