//! Jobs in memory: gone with the process. The model that the stores on disk are compared with.

mod claim;
mod table;

use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use parking_lot::Mutex;
use wavequill_kernel::Clock;

use super::flows;
use super::rules::{self, Checked};
use crate::wake_ups::Hints;
use crate::{
    Affected, Beat, ClaimRequest, Claimed, Command, Ended, Enqueued, EnqueuedFlow, Job, JobId, JobPage,
    JobQuery, JobState, JobStore, NewFlow, NewJob, Placement, Policies, Progress, QueueError, QueueStats,
    SessionId, Settled, SkipReason, Skipped, StoreConfig, StoreTiming, SweepBudget, SweepReport, SweptJob,
    UniqueFor, WakeUps, WorkerRegistration, WorkerView,
};
use table::{Session, Table};

/// Jobs in memory. They live as long as this value; for tests, and where losing them is fine.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
/// use wavequill_queue::adapters::MemoryJobStore;
/// use wavequill_queue::{JobStore, JobType, NewJob, Policies, StoreConfig};
///
/// let store = MemoryJobStore::new(StoreConfig::default(), Policies::default())?;
/// let enqueued = store.enqueue(vec![NewJob::new(JobType::INDEXING, "talk.flac")?]).await?;
/// assert!(enqueued[0].is_new());
/// assert_eq!(store.stats().await?.of(&JobType::INDEXING).ready, 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
#[derive(Debug)]
pub struct MemoryJobStore {
    config: StoreConfig,
    policies: Policies,
    table: Mutex<Table>,
    hints: Hints,
}

impl MemoryJobStore {
    /// An empty store.
    ///
    /// # Errors
    /// [`QueueError::InvalidConfig`] if a time is out of bounds.
    pub fn new(config: StoreConfig, policies: Policies) -> Result<Self, QueueError> {
        config.check()?;
        Ok(Self::checked(config, policies))
    }

    fn checked(config: StoreConfig, policies: Policies) -> Self {
        Self { config, policies, table: Mutex::default(), hints: Hints::new() }
    }

    fn now(&self) -> SystemTime {
        self.policies.clock.now()
    }

    fn accept(&self, table: &mut Table, checked: Checked, now: SystemTime) -> Enqueued {
        if checked.is_shared() {
            table.fair.entry(checked.worker_type.clone()).or_default();
        }
        let key = checked.job.unique_key();
        let window = checked.job.unique.as_ref().map(crate::Uniqueness::lives);
        if let Some(key) = key {
            if let Some(live) = table.live_with(&key) {
                table.change(live, now, |job| {
                    rules::merge(job, checked, now, &self.policies);
                });
                return Enqueued::Existing(live);
            }
            if let Some(held) = table.windows.get(&key).filter(|held| held.until > now) {
                return Enqueued::Existing(held.job);
            }
        }
        table.last_job += 1;
        let id = JobId::new(table.last_job);
        if let (Some(key), Some(UniqueFor::Window(ttl))) = (key, window) {
            let until = crate::model::order::whole_micros(ttl.expires_at(now));
            table.windows.insert(key, table::Window { until, job: id });
        }
        table.insert(checked.accept(id, now, &self.policies));
        Enqueued::Created(id)
    }

    fn rescue(&self, table: &mut Table, budget: usize, now: SystemTime, report: &mut SweepReport) {
        let orphans: Vec<JobId> = table
            .sessions
            .iter()
            .filter(|(_, session)| session.fenced)
            .flat_map(|(id, _)| table.held_by(*id))
            .take(budget)
            .collect();
        for id in orphans {
            let Some(job) = table.get(id) else { continue };
            let settlement = rules::rescue(job, now, &self.policies);
            let Some(job) = table.settle(id, settlement, now) else { continue };
            if job.state.is_ended() {
                report.ended.push(SweptJob { job: id, job_type: job.job_type.clone(), state: job.state });
            } else {
                report.rescued += 1;
            }
        }
        let empty: Vec<SessionId> = table
            .sessions
            .iter()
            .filter(|(id, session)| session.fenced && table.held_by(**id).next().is_none())
            .map(|(id, _)| *id)
            .collect();
        for session in empty {
            table.sessions.remove(&session);
        }
    }

    fn change_jobs(
        &self,
        jobs: &[JobId],
        now: SystemTime,
        applies: impl Fn(&Table, &Job) -> Result<(), SkipReason>,
        change: impl Fn(&mut Job),
    ) -> Affected {
        let mut table = self.table.lock();
        let mut affected = Affected::default();
        for id in jobs {
            let verdict = table.get(*id).map_or(Err(SkipReason::Unknown), |job| applies(&table, job));
            match verdict {
                Ok(()) => {
                    table.change(*id, now, &change);
                    affected.jobs.push(*id);
                }
                Err(reason) => affected.skipped.push(Skipped { job: *id, reason }),
            }
        }
        affected
    }

    fn replay(&self, jobs: &[JobId], now: SystemTime) -> Affected {
        let replayable = |table: &Table, job: &Job| {
            if !job.state.is_ended() || job.state == JobState::Completed {
                return Err(SkipReason::State(job.state));
            }
            match job.unique_key.and_then(|key| table.live_with(&key)) {
                Some(live) => Err(SkipReason::AlreadyLive(live)),
                None => Ok(()),
            }
        };
        self.change_jobs(jobs, now, replayable, |job| rules::replay(job, now, &self.policies))
    }
}

impl Default for MemoryJobStore {
    fn default() -> Self {
        Self::checked(StoreConfig::default(), Policies::default())
    }
}

/// A command that needs one of these states.
fn only_in(states: impl Fn(JobState) -> bool) -> impl Fn(&Table, &Job) -> Result<(), SkipReason> {
    move |_, job| if states(job.state) { Ok(()) } else { Err(SkipReason::State(job.state)) }
}

#[async_trait]
impl JobStore for MemoryJobStore {
    async fn enqueue(&self, jobs: Vec<NewJob>) -> Result<Vec<Enqueued>, QueueError> {
        let now = self.now();
        let checked = rules::check_batch(jobs, &self.policies, now)?;
        let enqueued = {
            let mut table = self.table.lock();
            checked.into_iter().map(|checked| self.accept(&mut table, checked, now)).collect()
        };
        self.hints.ready();
        Ok(enqueued)
    }

    async fn enqueue_flow(&self, flow: NewFlow) -> Result<EnqueuedFlow, QueueError> {
        let now = self.now();
        let checked = flows::check(flow, &self.policies, now)?;
        let enqueued = {
            let mut table = self.table.lock();
            for checked in checked.jobs().filter(|checked| checked.is_shared()) {
                table.fair.entry(checked.worker_type.clone()).or_default();
            }
            table.insert_flow(checked, now, &self.policies)
        };
        self.hints.ready();
        Ok(enqueued)
    }

    async fn open_session(&self, worker: &WorkerRegistration) -> Result<SessionId, QueueError> {
        let mut table = self.table.lock();
        table.last_session += 1;
        let id = SessionId::new(table.last_session);
        table.sessions.insert(id, Session { registration: worker.clone(), beats: 0, fenced: false });
        Ok(id)
    }

    async fn close_session(&self, session: SessionId) -> Result<(), QueueError> {
        let now = self.now();
        {
            let mut table = self.table.lock();
            let held: Vec<_> = table.held_by(session).collect();
            for id in held {
                table.settle(id, crate::Settlement::Returned, now);
            }
            table.sessions.remove(&session);
        }
        self.hints.ready();
        Ok(())
    }

    fn abandon_session(&self, session: SessionId) {
        self.table.lock().abandoned.insert(session);
    }

    async fn beat(&self, session: SessionId, progress: Vec<Progress>) -> Result<Beat, QueueError> {
        let mut table = self.table.lock();
        let Some(live) = table.sessions.get_mut(&session).filter(|session| !session.fenced) else {
            return Ok(Beat::Fenced);
        };
        live.beats += 1;
        for report in progress {
            if table.holds(report.lease) {
                table.change(report.lease.job, self.now(), |job| job.progress = Some(report.body));
            }
        }
        let to_cancel = |id: &JobId| table.get(*id).is_some_and(|job| job.cancel_at.is_some());
        Ok(Beat::Alive { cancel: table.held_by(session).filter(to_cancel).collect() })
    }

    async fn claim(&self, request: ClaimRequest) -> Result<Claimed, QueueError> {
        claim::claim(&mut self.table.lock(), &request, &self.policies)
    }

    async fn place(&self, placements: Vec<Placement>) -> Result<Vec<bool>, QueueError> {
        let placed = claim::place(&mut self.table.lock(), &placements, self.now());
        self.hints.ready();
        Ok(placed)
    }

    async fn settle(&self, ended: Vec<Ended>) -> Result<Vec<Settled>, QueueError> {
        let now = self.now();
        let leases: Vec<_> = ended.iter().map(|ended| ended.lease).collect();
        let settled: Vec<Settled> = {
            let mut table = self.table.lock();
            let settle = |ended: Ended| {
                if !table.holds(ended.lease) {
                    return Settled::Stale;
                }
                let job = table.settle(ended.lease.job, ended.settlement, now);
                job.map_or(Settled::Stale, |job| Settled::Applied(job.state))
            };
            ended.into_iter().map(settle).collect()
        };
        for (lease, settled) in leases.iter().zip(&settled) {
            if matches!(settled, Settled::Applied(state) if state.is_ended()) {
                self.hints.ended(lease.job);
            }
        }
        self.hints.ready();
        Ok(settled)
    }

    async fn maintain(&self, budget: SweepBudget) -> Result<SweepReport, QueueError> {
        let now = self.now();
        let mut report = SweepReport::default();
        let budget = budget.jobs as usize;
        {
            let mut table = self.table.lock();
            report.promoted = table.promote(now, budget);
            report.fenced = table.fence_silent(self.policies.clock.monotonic(), self.config.session_ttl);
            self.rescue(&mut table, budget, now, &mut report);
            report.returned = table.return_placed(now, self.config.placement_timeout, budget);
            table.unpark_all_with_room(now);
            report.pruned = table.prune(now, &self.config, budget);
        }
        for ended in &report.ended {
            self.hints.ended(ended.job);
        }
        if report.promoted + report.rescued + report.returned > 0 {
            self.hints.ready();
        }
        Ok(report)
    }

    async fn administer(&self, command: Command) -> Result<Affected, QueueError> {
        let now = self.now();
        let affected = match command {
            Command::Cancel { jobs } => {
                let affected =
                    self.change_jobs(&jobs, now, only_in(|state| !state.is_ended()), |job| job.cancel(now));
                self.hints.cancel();
                for job in &affected.jobs {
                    self.hints.ended(*job);
                }
                affected
            }
            Command::Reprioritize { jobs, priority } => {
                self.change_jobs(&jobs, now, only_in(JobState::is_waiting), |job| {
                    job.priority = priority;
                    job.sort_key = rules::sort_key(job, &self.policies);
                })
            }
            Command::RunNow { jobs } => {
                self.change_jobs(&jobs, now, only_in(|state| state == JobState::Scheduled), |job| {
                    job.hasten(now);
                })
            }
            Command::Replay { jobs } => self.replay(&jobs, now),
            Command::Pause { worker_type } => {
                self.table.lock().paused.insert(worker_type);
                Affected::default()
            }
            Command::Resume { worker_type } => {
                self.table.lock().paused.remove(&worker_type);
                Affected::default()
            }
            Command::SetLimit { key, limit } => {
                self.table.lock().set_limit(&key, limit);
                Affected::default()
            }
            Command::SetWeight { tenant, weight } => {
                self.table.lock().set_weight(&tenant, weight);
                Affected::default()
            }
        };
        self.hints.ready();
        Ok(affected)
    }

    async fn read(&self, query: &JobQuery) -> Result<JobPage, QueueError> {
        Ok(self.table.lock().read(query))
    }

    async fn stats(&self) -> Result<QueueStats, QueueError> {
        Ok(self.table.lock().stats(self.now()))
    }

    async fn workers(&self) -> Result<Vec<WorkerView>, QueueError> {
        let table = self.table.lock();
        let live = table.sessions.iter().filter(|(_, session)| !session.fenced);
        let view = |(id, session): (&SessionId, &Session)| WorkerView {
            session: *id,
            registration: session.registration.clone(),
            held: table.held_by(*id).count() as u32,
        };
        Ok(live.map(view).collect())
    }

    fn wake_ups(&self) -> WakeUps {
        self.hints.subscribe()
    }

    fn timing(&self) -> StoreTiming {
        // Every change gives a hint; this is for what falls due.
        StoreTiming { session_ttl: self.config.session_ttl, poll: Duration::from_secs(1) }
    }
}
