//! Runs jobs: claims, heartbeats, time-outs, settlements, and a shutdown that loses nothing.

mod attempt;
mod beat;
mod conclude;
mod fetch;
mod settle;
mod sweep;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Notify, Semaphore, mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use crate::error::invalid_config;
use crate::{
    Handlers, JobContext, JobId, JobQueue, QueueError, RetryBudget, Selection, StopReason, SweepBudget,
    WorkerConfig, WorkerId, WorkerRegistration, WorkerSession, WorkerType,
};

/// How many ends may wait to be stored before handlers have to wait too.
const MAX_UNSETTLED: usize = 10_000;

/// How often a worker that shuts down looks for jobs that a late claim has begun.
const LATE_CLAIM: Duration = Duration::from_millis(50);

/// How long a shutdown tries to store the last ends, and to close the session.
const LAST_WORDS: Duration = Duration::from_secs(10);

/// A worker: runs the jobs of its handlers, so many at once, in tasks of its own.
///
/// It stops its handlers itself before its lease can be given to another, so a job runs on two workers only if a
/// handler does not stop (a blocking thread). What such a handler returns does not count.
///
/// Dropped without [`shutdown`](Self::shutdown), it drops its handlers; what they ran is rescued by the next
/// upkeep of any worker on the same store value, else when its session's time is over.
#[derive(Debug)]
pub struct Worker {
    shared: Arc<Shared>,
    fetching: JoinSet<()>,
    settling: JoinSet<()>,
    upkeep: JoinSet<()>,
}

/// How a shutdown went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ShutdownReport {
    /// Jobs that were still running when the time was over, and were told to stop: they will run again.
    pub interrupted: usize,
    /// Jobs whose end could not be stored: they will be rescued, and run again.
    pub unsettled: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Working,
    /// No more claims.
    Draining,
}

/// What the tasks of a worker share.
#[derive(Debug)]
struct Shared {
    queue: JobQueue,
    config: WorkerConfig,
    handlers: Handlers,
    registration: WorkerRegistration,
    slots: Arc<Semaphore>,
    phase: watch::Sender<Phase>,
    session: watch::Sender<Option<WorkerSession>>,
    /// A claim was refused because the session has ended.
    session_lost: Notify,
    running: Mutex<HashMap<JobId, JobContext>>,
    named: Mutex<BTreeSet<JobId>>,
    named_changed: Notify,
    budgets: Mutex<HashMap<WorkerType, RetryBudget>>,
}

impl Worker {
    /// Opens a session, takes over what dead workers left, and starts to work.
    ///
    /// # Errors
    /// [`QueueError::InvalidConfig`], [`QueueError::NoHandlers`], [`QueueError::UnknownJobType`] if the routing has
    /// no route for a handler's type; else what the store says.
    pub async fn start(
        queue: &JobQueue,
        config: WorkerConfig,
        handlers: Handlers,
    ) -> Result<Self, QueueError> {
        config.check()?;
        let registration = registration(queue, &config, &handlers)?;
        for job_type in handlers.job_types() {
            queue.metrics().kind(job_type);
        }
        let session = queue.dispatcher().register_worker(registration.clone()).await?;
        let report = queue.store().maintain(SweepBudget::default()).await?;
        let shared = Arc::new(Shared {
            slots: Arc::new(Semaphore::new(config.concurrency as usize)),
            phase: watch::Sender::new(Phase::Working),
            session: watch::Sender::new(Some(session)),
            session_lost: Notify::new(),
            running: Mutex::default(),
            named: Mutex::default(),
            named_changed: Notify::new(),
            budgets: Mutex::default(),
            queue: queue.clone(),
            config,
            handlers,
            registration,
        });
        sweep::note(&shared, &report);
        let (ends, to_settle) = mpsc::channel(MAX_UNSETTLED);
        let mut worker = Self {
            fetching: JoinSet::new(),
            settling: JoinSet::new(),
            upkeep: JoinSet::new(),
            shared: Arc::clone(&shared),
        };
        worker.fetching.spawn(fetch::run(Arc::clone(&shared), ends));
        worker.settling.spawn(settle::run(Arc::clone(&shared), to_settle));
        worker.upkeep.spawn(beat::run(Arc::clone(&shared), Instant::now()));
        worker.upkeep.spawn(sweep::run(shared));
        Ok(worker)
    }

    /// Takes on a job, under [`Selection::Named`]: it will be run here as soon as it is in line, until it has
    /// ended. Under [`Selection::All`] this changes nothing.
    pub fn take_on(&self, job: JobId) {
        self.shared.named.lock().insert(job);
        self.shared.named_changed.notify_one();
    }

    /// How many jobs run here now, or wait for their end to be stored.
    pub fn running(&self) -> usize {
        self.shared.running.lock().len()
    }

    /// Stops claiming, waits for what runs, stores the ends, and closes the session. What still runs after `grace`
    /// is told to stop ([`StopReason::Shutdown`]) and returned to its line, no attempt spent. `Duration::ZERO` stops
    /// everything at once.
    ///
    /// # Cancellation
    /// Dropped at any await, it is as if the worker had been dropped.
    pub async fn shutdown(mut self, grace: Duration) -> ShutdownReport {
        let mut report = ShutdownReport::default();
        self.shared.phase.send_replace(Phase::Draining);
        if timeout(grace, self.fetching.join_next()).await.is_err() {
            report.interrupted = self.shared.stop_all(StopReason::Shutdown);
            // Handlers that do not stop are dropped after their grace. A claim that was under way may still begin a job, which
            // nobody has told yet.
            while timeout(LATE_CLAIM, self.fetching.join_next()).await.is_err() {
                report.interrupted = report.interrupted.max(self.shared.stop_all(StopReason::Shutdown));
            }
        }
        if timeout(LAST_WORDS, self.settling.join_next()).await.is_err() {
            self.settling.abort_all();
        }
        report.unsettled = self.running();
        self.upkeep.shutdown().await;
        let session = self.shared.session.send_replace(None);
        if let Some(session) = session {
            let closed = timeout(LAST_WORDS, self.shared.queue.store().close_session(session.session)).await;
            if !matches!(closed, Ok(Ok(()))) {
                tracing::warn!(session = %session.session, "the session could not be closed; its time runs out");
            }
        }
        report
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        if let Some(session) = self.shared.session.send_replace(None) {
            self.shared.queue.store().abandon_session(session.session);
        }
    }
}

impl Shared {
    /// Tells all running handlers to stop, and how many there are.
    fn stop_all(&self, reason: StopReason) -> usize {
        let running = self.running.lock();
        for context in running.values() {
            context.stop(reason);
        }
        running.len()
    }

    fn is_working(&self) -> bool {
        *self.phase.borrow() == Phase::Working
    }

    /// Waits until no more may be claimed.
    async fn draining(&self) {
        let mut phase = self.phase.subscribe();
        // The sender lives in `self`.
        let _ = phase.wait_for(|phase| *phase == Phase::Draining).await;
    }

    fn takes_only_named(&self) -> bool {
        self.config.selection == Selection::Named
    }

    fn show_slots(&self) {
        let free = self.slots.available_permits();
        let metrics = self.queue.metrics();
        metrics.slots_free.set(free as f64);
        metrics.slots_busy.set((self.config.concurrency as usize).saturating_sub(free) as f64);
    }
}

fn registration(
    queue: &JobQueue,
    config: &WorkerConfig,
    handlers: &Handlers,
) -> Result<WorkerRegistration, QueueError> {
    let routing = &queue.policies().routing;
    let types =
        handlers.job_types().map(|job_type| routing.route(job_type)).collect::<Result<Vec<_>, _>>()?;
    if types.is_empty() {
        return Err(QueueError::NoHandlers);
    }
    let worker = WorkerId::new(config.name.clone()).map_err(invalid_config)?;
    WorkerRegistration::new(worker, types, config.concurrency).map_err(invalid_config)
}

/// A duration up to 10 % shorter or longer, so that processes do not keep step.
fn jittered(duration: Duration, seed: u64) -> Duration {
    let spread = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40;
    duration.mul_f64(0.9 + 0.2 * spread as f64 / f64::from(1_u32 << 24))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn jitter_stays_within_a_tenth(seed: u64) {
            let jittered = jittered(Duration::from_secs(10), seed);
            prop_assert!((Duration::from_secs(9)..=Duration::from_secs(11)).contains(&jittered));
        }
    }
}
