//! The handles of the queue's metrics: registered once, held, and cheap where nobody listens.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use metrics::{Counter, Gauge, Histogram, Unit, describe_counter, describe_gauge, describe_histogram};
use parking_lot::Mutex;

use crate::{DeadCause, FailureCause, JobType, KindStats};

/// The handles of one queue. A cheap clone.
#[derive(Clone)]
pub(crate) struct QueueMetrics {
    kinds: Arc<Mutex<HashMap<JobType, Arc<KindMetrics>>>>,
    pub(crate) claim_seconds: Histogram,
    pub(crate) claimed_jobs: Histogram,
    pub(crate) completion_seconds: Histogram,
    pub(crate) fenced: Counter,
    pub(crate) rescued: Counter,
    pub(crate) heartbeat_age: Gauge,
    pub(crate) slots_busy: Gauge,
    pub(crate) slots_free: Gauge,
}

impl std::fmt::Debug for QueueMetrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("QueueMetrics").finish_non_exhaustive()
    }
}

/// The handles of one type of job.
pub(crate) struct KindMetrics {
    kind: JobType,
    pub(crate) enqueued: Counter,
    pub(crate) wait_seconds: Histogram,
    ready: Gauge,
    scheduled: Gauge,
    waiting: Gauge,
    running: Gauge,
    dead: Gauge,
    oldest_ready: Gauge,
    run_seconds: RunSeconds,
    retries: Retries,
    deaths: Deaths,
}

/// How a run ended, as a label.
#[derive(Clone, Copy, Debug)]
pub(crate) enum RunOutcome {
    Done,
    Failed,
    Snoozed,
    Cancelled,
    TimedOut,
    Panicked,
}

/// One handle an outcome.
struct RunSeconds {
    done: Histogram,
    failed: Histogram,
    snoozed: Histogram,
    cancelled: Histogram,
    timed_out: Histogram,
    panicked: Histogram,
}

/// One handle a cause.
struct Retries {
    transient: Counter,
    throttled: Counter,
    timeout: Counter,
    crash: Counter,
}

/// One handle a cause.
struct Deaths {
    permanent: Counter,
    exhausted: Counter,
    poison: Counter,
    expired: Counter,
}

#[expect(clippy::disallowed_macros, reason = "the one file that registers the queue's metrics")]
impl QueueMetrics {
    /// Registers the handles with the recorder that is installed now.
    pub(crate) fn register() -> Self {
        describe();
        Self {
            kinds: Arc::default(),
            claim_seconds: metrics::histogram!("wavequill_queue_claim_seconds"),
            claimed_jobs: metrics::histogram!("wavequill_queue_claimed_jobs"),
            completion_seconds: metrics::histogram!("wavequill_queue_completion_seconds"),
            fenced: metrics::counter!("wavequill_queue_fenced_total"),
            rescued: metrics::counter!("wavequill_queue_rescued_total"),
            heartbeat_age: metrics::gauge!("wavequill_queue_heartbeat_age_seconds"),
            slots_busy: metrics::gauge!("wavequill_queue_slots", "state" => "busy"),
            slots_free: metrics::gauge!("wavequill_queue_slots", "state" => "free"),
        }
    }

    /// The handles of a type, registered at its first use: a worker does so for all of its types when it starts, while
    /// the recorder that it was started under is in force.
    pub(crate) fn kind(&self, kind: &JobType) -> Arc<KindMetrics> {
        let mut kinds = self.kinds.lock();
        if let Some(found) = kinds.get(kind) {
            return Arc::clone(found);
        }
        let made = Arc::new(KindMetrics::register(kind));
        kinds.insert(kind.clone(), Arc::clone(&made));
        made
    }

    /// Shows the counts of all types; those that have no jobs any more fall to zero.
    pub(crate) fn show(&self, stats: &crate::QueueStats) {
        for kind in &stats.kinds {
            self.kind(&kind.job_type).show(kind);
        }
        let known: Vec<_> = self.kinds.lock().values().map(Arc::clone).collect();
        for gone in known.iter().filter(|known| stats.kinds.iter().all(|kind| kind.job_type != known.kind)) {
            gone.show(&KindStats::new(gone.kind.clone()));
        }
    }
}

fn describe() {
    let (count, seconds) = (Unit::Count, Unit::Seconds);
    describe_counter!("wavequill_queue_enqueued_total", count, "Jobs accepted, by kind");
    describe_gauge!("wavequill_queue_jobs", count, "Jobs, by kind and state");
    describe_gauge!(
        "wavequill_queue_oldest_ready_seconds",
        seconds,
        "How long the oldest ready job has waited"
    );
    describe_histogram!("wavequill_queue_wait_seconds", seconds, "Time from due to claimed, by kind");
    describe_histogram!("wavequill_queue_run_seconds", seconds, "Time of a run, by kind and outcome");
    describe_counter!("wavequill_queue_retries_total", count, "Runs that are repeated, by kind and cause");
    describe_counter!("wavequill_queue_dead_total", count, "Jobs given up, by kind and cause");
    describe_histogram!("wavequill_queue_claim_seconds", seconds, "Time of one claim");
    describe_histogram!("wavequill_queue_claimed_jobs", count, "Jobs that one claim took");
    describe_histogram!(
        "wavequill_queue_completion_seconds",
        seconds,
        "Time until the end of a run was stored"
    );
    describe_counter!("wavequill_queue_fenced_total", count, "Sessions that lost their leases");
    describe_counter!("wavequill_queue_rescued_total", count, "Jobs taken over from dead workers");
    describe_gauge!(
        "wavequill_queue_heartbeat_age_seconds",
        seconds,
        "Time since the last heartbeat was confirmed"
    );
    describe_gauge!("wavequill_queue_slots", count, "Places of this worker, by state");
}

#[expect(clippy::disallowed_macros, reason = "the one file that registers the queue's metrics")]
impl KindMetrics {
    fn register(kind: &JobType) -> Self {
        let name = kind.as_str().to_owned();
        let jobs = |state: &'static str| metrics::gauge!("wavequill_queue_jobs", "kind" => name.clone(), "state" => state);
        let run = |outcome: &'static str| metrics::histogram!("wavequill_queue_run_seconds", "kind" => name.clone(), "outcome" => outcome);
        let retries = |cause: &'static str| metrics::counter!("wavequill_queue_retries_total", "kind" => name.clone(), "cause" => cause);
        let deaths = |cause: &'static str| metrics::counter!("wavequill_queue_dead_total", "kind" => name.clone(), "cause" => cause);
        Self {
            kind: kind.clone(),
            enqueued: metrics::counter!("wavequill_queue_enqueued_total", "kind" => name.clone()),
            wait_seconds: metrics::histogram!("wavequill_queue_wait_seconds", "kind" => name.clone()),
            ready: jobs("ready"),
            scheduled: jobs("scheduled"),
            waiting: jobs("waiting"),
            running: jobs("running"),
            dead: jobs("dead"),
            oldest_ready: metrics::gauge!("wavequill_queue_oldest_ready_seconds", "kind" => name.clone()),
            run_seconds: RunSeconds {
                done: run("done"),
                failed: run("failed"),
                snoozed: run("snoozed"),
                cancelled: run("cancelled"),
                timed_out: run("timed_out"),
                panicked: run("panicked"),
            },
            retries: Retries {
                transient: retries("transient"),
                throttled: retries("throttled"),
                timeout: retries("timeout"),
                crash: retries("crash"),
            },
            deaths: Deaths {
                permanent: deaths("permanent"),
                exhausted: deaths("exhausted"),
                poison: deaths("poison"),
                expired: deaths("expired"),
            },
        }
    }
}

impl KindMetrics {
    /// A run ended.
    pub(crate) fn ran(&self, outcome: RunOutcome, took: Duration) {
        let handle = match outcome {
            RunOutcome::Done => &self.run_seconds.done,
            RunOutcome::Failed => &self.run_seconds.failed,
            RunOutcome::Snoozed => &self.run_seconds.snoozed,
            RunOutcome::Cancelled => &self.run_seconds.cancelled,
            RunOutcome::TimedOut => &self.run_seconds.timed_out,
            RunOutcome::Panicked => &self.run_seconds.panicked,
        };
        handle.record(took);
    }

    /// A job will run again. A shutdown is no failure, and is not counted.
    pub(crate) fn retried(&self, cause: FailureCause) {
        match cause {
            FailureCause::Throttled => self.retries.throttled.increment(1),
            FailureCause::TimedOut => self.retries.timeout.increment(1),
            FailureCause::Crashed | FailureCause::Panicked => self.retries.crash.increment(1),
            FailureCause::Transient | FailureCause::Exhausted | FailureCause::Permanent => {
                self.retries.transient.increment(1);
            }
            FailureCause::Interrupted => {}
        }
    }

    /// A job was given up.
    pub(crate) fn died(&self, cause: DeadCause) {
        match cause {
            DeadCause::Permanent => self.deaths.permanent.increment(1),
            DeadCause::Exhausted => self.deaths.exhausted.increment(1),
            DeadCause::Poison => self.deaths.poison.increment(1),
            DeadCause::Expired => self.deaths.expired.increment(1),
        }
    }

    fn show(&self, stats: &KindStats) {
        self.ready.set(stats.ready as f64);
        self.scheduled.set(stats.scheduled as f64);
        self.waiting.set((stats.parked + stats.waiting) as f64);
        self.running.set(stats.running as f64);
        self.dead.set(stats.dead as f64);
        self.oldest_ready.set(stats.oldest_ready.unwrap_or_default().as_secs_f64());
    }
}
