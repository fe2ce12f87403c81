//! Places jobs where there is most room, and lets workers pull.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use async_trait::async_trait;
use parking_lot::Mutex;

use crate::{
    ClaimRequest, Claimed, Dispatch, FreeSlots, JobDispatcher, JobId, JobQuery, JobState, JobStore,
    MaxPerWorker, PlacedJob, Placement, QueueError, SessionId, Unplaced, UnplacedJob, WorkerRegistration,
    WorkerSession, WorkerType, WorkerView,
};

/// Gives each job to the worker that is least loaded (held ÷ capacity) among those that have its type; equals are
/// taken in turn, the longest unused first. Loads count what the batch itself has placed.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
/// use std::sync::Arc;
/// use wavequill_queue::adapters::MemoryJobStore;
/// use wavequill_queue::*;
///
/// let store = Arc::new(MemoryJobStore::new(StoreConfig::default(), Policies::default())?);
/// let dispatcher = LeastLoadedJobDispatcher::new(store.clone());
/// for name in ["a", "b"] {
///     let worker = WorkerRegistration::new(WorkerId::new(name)?, [WorkerType::INDEXING], 10)?;
///     dispatcher.register_worker(worker).await?;
/// }
/// let jobs = (0..4).map(|n| NewJob::new(JobType::INDEXING, &n)).collect::<Result<Vec<_>, _>>()?;
/// let ids: Vec<JobId> = store.enqueue(jobs).await?.into_iter().map(Enqueued::id).collect();
///
/// let dispatch = dispatcher.dispatch_batch(&ids, MaxPerWorker::default()).await?;
/// let on_a = dispatch.placed.iter().filter(|placed| placed.worker.as_str() == "a").count();
/// assert_eq!((on_a, dispatch.placed.len()), (2, 4));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
#[derive(Debug)]
pub struct LeastLoadedJobDispatcher<S: JobStore + ?Sized> {
    store: Arc<S>,
    turns: Mutex<Turns>,
}

/// When each session was last given a job.
#[derive(Debug, Default)]
struct Turns {
    count: u64,
    last: BTreeMap<SessionId, u64>,
}

impl<S: JobStore + ?Sized> LeastLoadedJobDispatcher<S> {
    /// Dispatches the jobs of a store.
    pub fn new(store: Arc<S>) -> Self {
        Self { store, turns: Mutex::default() }
    }

    async fn read_waiting(&self, jobs: &[JobId]) -> Result<BTreeMap<JobId, WorkerType>, QueueError> {
        let mut waiting = BTreeMap::new();
        for chunk in jobs.chunks(1_000) {
            let query = JobQuery { results: false, ..JobQuery::ids(chunk.iter().copied()) };
            let page = self.store.read(&query.in_states([JobState::Ready])).await?;
            waiting.extend(page.jobs.into_iter().map(|job| (job.id, job.worker_type)));
        }
        Ok(waiting)
    }
}

#[async_trait]
impl<S: JobStore + ?Sized> JobDispatcher for LeastLoadedJobDispatcher<S> {
    async fn register_worker(&self, worker: WorkerRegistration) -> Result<WorkerSession, QueueError> {
        let session = self.store.open_session(&worker).await?;
        Ok(WorkerSession { session, registration: worker })
    }

    async fn claim(&self, worker: &WorkerSession, free: FreeSlots) -> Result<Claimed, QueueError> {
        self.store.claim(ClaimRequest { session: worker.session, free, only: None }).await
    }

    async fn claim_only(
        &self,
        worker: &WorkerSession,
        free: FreeSlots,
        jobs: Vec<JobId>,
    ) -> Result<Claimed, QueueError> {
        self.store.claim(ClaimRequest { session: worker.session, free, only: Some(jobs) }).await
    }

    async fn dispatch_batch(&self, jobs: &[JobId], max: MaxPerWorker) -> Result<Dispatch, QueueError> {
        let waiting = self.read_waiting(jobs).await?;
        let workers = self.store.workers().await?;
        let wanted: Vec<_> = jobs.iter().map(|job| (*job, waiting.get(job).cloned())).collect();
        let plan = plan(&wanted, &workers, max, &mut self.turns.lock());
        let answers = self.store.place(plan.placements.clone()).await?;
        let mut dispatch = Dispatch { placed: Vec::new(), unplaced: plan.unplaced };
        for (placement, placed) in plan.placements.into_iter().zip(answers) {
            let worker = workers.iter().find(|worker| worker.session == placement.session);
            match worker {
                Some(worker) if placed => dispatch
                    .placed
                    .push(PlacedJob { job: placement.job, worker: worker.registration.worker().clone() }),
                _ => dispatch.unplaced.push(UnplacedJob { job: placement.job, reason: Unplaced::NotReady }),
            }
        }
        Ok(dispatch)
    }
}

#[derive(Debug, Default)]
struct Plan {
    placements: Vec<Placement>,
    unplaced: Vec<UnplacedJob>,
}

/// One worker during the plan.
struct Candidate<'a> {
    view: &'a WorkerView,
    held: u32,
    given: u32,
    last: u64,
}

impl Candidate<'_> {
    /// The lower, the sooner: load in 2⁻³² of the capacity, then the turn.
    fn rank(&self) -> (u64, u64) {
        let load = (u64::from(self.held) << 32) / u64::from(self.view.registration.capacity().max(1));
        (load, self.last)
    }

    fn has_room(&self) -> bool {
        self.held < self.view.registration.capacity()
    }
}

/// Decides who gets what. Jobs without a type are not ready.
fn plan(
    jobs: &[(JobId, Option<WorkerType>)],
    workers: &[WorkerView],
    max: MaxPerWorker,
    turns: &mut Turns,
) -> Plan {
    turns.last.retain(|session, _| workers.iter().any(|worker| worker.session == *session));
    let mut candidates: Vec<_> = workers
        .iter()
        .map(|view| Candidate {
            view,
            held: view.held,
            given: 0,
            last: turns.last.get(&view.session).copied().unwrap_or(0),
        })
        .collect();
    // Who may take one more of a type, best first.
    let mut open: BTreeMap<&WorkerType, BTreeSet<(u64, u64, usize)>> = BTreeMap::new();
    for (at, candidate) in candidates.iter().enumerate().filter(|(_, candidate)| candidate.has_room()) {
        let (load, last) = candidate.rank();
        for worker_type in candidate.view.registration.types() {
            open.entry(worker_type).or_default().insert((load, last, at));
        }
    }
    let mut plan = Plan::default();
    for (job, worker_type) in jobs {
        let best =
            worker_type.as_ref().map(|worker_type| open.get(worker_type).and_then(BTreeSet::first).copied());
        let candidate = match best {
            Some(Some((_, _, at))) => candidates.get_mut(at).map(|candidate| (at, candidate)),
            Some(None) | None => None,
        };
        let Some((at, candidate)) = candidate else {
            let reason = worker_type.as_ref().map_or(Unplaced::NotReady, |kind| why(kind, &candidates, max));
            plan.unplaced.push(UnplacedJob { job: *job, reason });
            continue;
        };
        let (load, last) = candidate.rank();
        turns.count += 1;
        turns.last.insert(candidate.view.session, turns.count);
        candidate.held += 1;
        candidate.given += 1;
        candidate.last = turns.count;
        let still_open = candidate.has_room() && candidate.given < max.get();
        let (new_load, new_last) = candidate.rank();
        for worker_type in candidate.view.registration.types() {
            if let Some(set) = open.get_mut(worker_type) {
                set.remove(&(load, last, at));
                if still_open {
                    set.insert((new_load, new_last, at));
                }
            }
        }
        plan.placements.push(Placement { job: *job, session: candidate.view.session });
    }
    plan
}

/// Why nobody takes a job of this type.
fn why(worker_type: &WorkerType, candidates: &[Candidate<'_>], max: MaxPerWorker) -> Unplaced {
    let mut capable = candidates
        .iter()
        .filter(|candidate| candidate.view.registration.types().contains(worker_type))
        .peekable();
    if capable.peek().is_none() {
        Unplaced::NoCapableWorker
    } else if capable.any(|candidate| candidate.has_room() && candidate.given >= max.get()) {
        Unplaced::CapReached
    } else {
        Unplaced::AllFull
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::WorkerId;
    use proptest::prelude::*;

    fn worker(session: i64, types: &[WorkerType], capacity: u32, held: u32) -> WorkerView {
        let name = WorkerId::new(format!("w{session}")).unwrap();
        let registration = WorkerRegistration::new(name, types.iter().cloned(), capacity).unwrap();
        WorkerView { session: SessionId::new(session), registration, held }
    }

    fn jobs(count: i64, worker_type: &WorkerType) -> Vec<(JobId, Option<WorkerType>)> {
        (1..=count).map(|n| (JobId::new(n), Some(worker_type.clone()))).collect()
    }

    #[test]
    fn reasons_tell_a_missing_type_from_full_workers_and_from_the_cap() {
        let workers = [worker(1, &[WorkerType::INDEXING], 2, 2), worker(2, &[WorkerType::TRANSLATION], 9, 0)];
        let mut wanted = jobs(1, &WorkerType::TRANSCRIPTION);
        wanted.extend(jobs(1, &WorkerType::INDEXING));
        wanted.extend(jobs(2, &WorkerType::TRANSLATION));
        wanted.push((JobId::new(9), None));
        let plan = plan(&wanted, &workers, MaxPerWorker::new(1).unwrap(), &mut Turns::default());
        let reasons: Vec<_> = plan.unplaced.iter().map(|unplaced| unplaced.reason).collect();
        let expected =
            [Unplaced::NoCapableWorker, Unplaced::AllFull, Unplaced::CapReached, Unplaced::NotReady];
        assert_eq!(reasons, expected);
    }

    #[test]
    fn equals_are_taken_in_turn_across_batches() {
        let workers: Vec<_> = (1..=3).map(|n| worker(n, &[WorkerType::INDEXING], 10, 0)).collect();
        let mut turns = Turns::default();
        let mut order = Vec::new();
        for _ in 0..6 {
            let plan = plan(&jobs(1, &WorkerType::INDEXING), &workers, MaxPerWorker::default(), &mut turns);
            order.extend(plan.placements.iter().map(|placement| placement.session.get()));
        }
        assert_eq!(order, [1, 2, 3, 1, 2, 3]);
    }

    proptest! {
        #[test]
        fn everything_is_placed_or_has_a_reason_within_slots_and_cap(
            spec in prop::collection::vec((1_u32..8, 0_u32..8, 0_u8..3), 0..8),
            wanted in prop::collection::vec(0_u8..4, 0..60), max in 1_u32..6,
        ) {
            let kinds = [WorkerType::INDEXING, WorkerType::TRANSLATION, WorkerType::TRANSCRIPTION];
            let workers: Vec<_> = spec.iter().enumerate().map(|(n, (capacity, held, kind))| {
                let types: Vec<_> = kinds.iter().take(usize::from(*kind) + 1).cloned().collect();
                worker(n as i64 + 1, &types, *capacity, (*held).min(*capacity))
            }).collect();
            let wanted: Vec<_> = wanted.iter().enumerate()
                .map(|(n, kind)| (JobId::new(n as i64), kinds.get(usize::from(*kind)).cloned())).collect();
            let plan = plan(&wanted, &workers, MaxPerWorker::new(max).unwrap(), &mut Turns::default());
            prop_assert_eq!(plan.placements.len() + plan.unplaced.len(), wanted.len());
            for view in &workers {
                let given = plan.placements.iter().filter(|placement| placement.session == view.session);
                let given: Vec<_> = given.collect();
                prop_assert!(given.len() as u32 <= max.min(view.registration.capacity() - view.held));
                for placement in given {
                    let kind = wanted.iter().find(|(job, _)| *job == placement.job).unwrap().1.clone();
                    prop_assert!(view.registration.types().contains(&kind.unwrap()));
                }
            }
        }

        #[test]
        fn loads_differ_by_one_job_at_most_where_all_are_alike(count in 1_i64..40, machines in 1_i64..6) {
            let workers: Vec<_> = (1..=machines).map(|n| worker(n, &[WorkerType::INDEXING], 100, 0)).collect();
            let plan = plan(&jobs(count, &WorkerType::INDEXING), &workers, MaxPerWorker::new(100).unwrap(), &mut Turns::default());
            let given: Vec<_> = workers.iter()
                .map(|view| plan.placements.iter().filter(|p| p.session == view.session).count()).collect();
            prop_assert!(given.iter().max().unwrap() - given.iter().min().unwrap() <= 1);
        }
    }
}
