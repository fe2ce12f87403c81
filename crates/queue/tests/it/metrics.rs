//! What is emitted, and under which names.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use metrics::{Counter, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit};
use parking_lot::Mutex;
use wavequill_queue::{
    FailureCause, Handlers, JobContext, JobEnd, JobFailure, JobType, NewJob, WorkerConfig,
};

use crate::harness::queue;

/// Remembers which counters moved and which series were registered.
#[derive(Clone, Debug, Default)]
struct NamesRecorder {
    registered: Arc<Mutex<BTreeSet<String>>>,
    counted: Arc<Mutex<BTreeSet<String>>>,
}

struct Noted {
    series: String,
    counted: Arc<Mutex<BTreeSet<String>>>,
}

impl metrics::CounterFn for Noted {
    fn increment(&self, value: u64) {
        if value > 0 {
            self.counted.lock().insert(self.series.clone());
        }
    }
    fn absolute(&self, _: u64) {}
}

impl metrics::HistogramFn for Noted {
    fn record(&self, _: f64) {
        self.counted.lock().insert(self.series.clone());
    }
}

impl NamesRecorder {
    fn note(&self, key: &Key) -> Arc<Noted> {
        let labels: Vec<_> = key.labels().map(|label| format!("{}={}", label.key(), label.value())).collect();
        let series = format!("{}{{{}}}", key.name(), labels.join(","));
        self.registered.lock().insert(key.name().to_owned());
        Arc::new(Noted { series, counted: Arc::clone(&self.counted) })
    }
}

impl Recorder for NamesRecorder {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(self.note(key))
    }
    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        self.note(key);
        Gauge::noop()
    }
    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::from_arc(self.note(key))
    }
}

#[test]
fn the_names_are_those_of_the_contract_and_move_when_they_should() {
    let recorder = NamesRecorder::default();
    metrics::with_local_recorder(&recorder, || {
        let runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = { runtime }.enable_all().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let queue = queue();
            let handlers =
                Handlers::new().with(JobType::INDEXING, |n: u32, context: JobContext| async move {
                    match n {
                        0 => Err(JobFailure::permanent("no zero")),
                        1 if context.attempt() == 1 => Err(JobFailure::transient("once more")),
                        n => Ok(n),
                    }
                });
            let worker = queue.start_worker(WorkerConfig::default(), handlers).await.unwrap();
            let jobs = (0..3).map(|n| NewJob::new(JobType::INDEXING, &n).unwrap()).collect();
            let jobs = queue.enqueue_all(jobs).await.unwrap();
            for (n, job) in jobs.iter().enumerate() {
                match queue.wait(job.id()).await.unwrap() {
                    JobEnd::Dead { errors, .. } => {
                        assert_eq!((n, errors[0].cause), (0, FailureCause::Permanent));
                    }
                    end => assert!(matches!(end, JobEnd::Completed { .. }), "{end:?}"),
                }
            }
            worker.shutdown(Duration::from_secs(1)).await;
        });
    });
    let names = [
        "claim_seconds",
        "claimed_jobs",
        "completion_seconds",
        "dead_total",
        "enqueued_total",
        "fenced_total",
        "heartbeat_age_seconds",
        "jobs",
        "oldest_ready_seconds",
        "rescued_total",
        "retries_total",
        "run_seconds",
        "slots",
        "wait_seconds",
    ];
    let expected: BTreeSet<_> = names.iter().map(|name| format!("wavequill_queue_{name}")).collect();
    assert_eq!(*recorder.registered.lock(), expected);
    let counted = recorder.counted.lock();
    for series in [
        "wavequill_queue_enqueued_total{kind=indexing}",
        "wavequill_queue_dead_total{kind=indexing,cause=permanent}",
        "wavequill_queue_retries_total{kind=indexing,cause=transient}",
        "wavequill_queue_run_seconds{kind=indexing,outcome=done}",
        "wavequill_queue_run_seconds{kind=indexing,outcome=failed}",
        "wavequill_queue_completion_seconds{}",
    ] {
        assert!(counted.contains(series), "{series} did not move: {counted:?}");
    }
    assert!(!counted.iter().any(|series| series.contains("fenced") || series.contains("rescued")));
}
