//! What running a chunk costs, beside what tokio alone takes for as many tasks that can be cancelled and time out.
//!
//! `cargo bench -p wavequill-benches --bench orchestrate`
#![expect(clippy::expect_used, reason = "a bench")]

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use tokio::runtime::Runtime;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use wavequill_processing::testing::chunks_of;
use wavequill_processing::{
    AdmissionConfig, AudioChunk, ChunkAttempt, ChunkProcessor, ChunkTranscript, ConcurrencyLimit,
    LatencyModel, Orchestrator, OrchestratorConfig, ParallelOrchestrator, ProcessingTask, RecognitionError,
    SampleRate, SlownessAdmission, TaskId, TaskSource, TaskTotals,
};

const TASKS: u64 = 100_000;
const AT_ONCE: usize = 64;

#[derive(Debug)]
struct Nothing;

#[async_trait]
impl ChunkProcessor for Nothing {
    async fn process(&self, attempt: ChunkAttempt) -> Result<ChunkTranscript, RecognitionError> {
        black_box(&attempt);
        Ok(ChunkTranscript::default())
    }
}

#[derive(Debug)]
struct Never;

#[async_trait]
impl ChunkProcessor for Never {
    async fn process(&self, attempt: ChunkAttempt) -> Result<ChunkTranscript, RecognitionError> {
        black_box(&attempt);
        std::future::pending().await
    }
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime can be made")
}

fn orchestrator(limit: u16) -> ParallelOrchestrator {
    let limit = ConcurrencyLimit::new(limit).expect("1 to 1024");
    let admission = SlownessAdmission::new(AdmissionConfig::at(limit), LatencyModel::default());
    ParallelOrchestrator::new(OrchestratorConfig::default(), Arc::new(admission))
        .expect("the defaults are valid")
}

fn chunk() -> AudioChunk {
    let rate = SampleRate::new(16_000).expect("a rate");
    chunks_of(1, Duration::from_secs(60), rate).remove(0)
}

fn source(count: u64) -> TaskSource {
    let chunk = chunk();
    let tasks =
        (0..count).map(move |index| ProcessingTask { id: TaskId::of_chunk(index), chunk: chunk.clone() });
    TaskSource::lazy(tasks, TaskTotals { chunks: count, audio: Duration::from_secs(60 * count) })
}

async fn drain(orchestrator: &ParallelOrchestrator, count: u64) {
    let mut run = orchestrator.start(source(count), Arc::new(Nothing));
    let mut seen = 0;
    while let Some(result) = run.next().await {
        black_box(&result);
        seen += 1;
    }
    assert_eq!(seen, count);
}

/// A set of tasks that can be cancelled and time out, as many at once.
async fn bare(count: u64) {
    let token = CancellationToken::new();
    let chunk = chunk();
    let mut set = JoinSet::new();
    let mut next = 0;
    while next < count || !set.is_empty() {
        while next < count && set.len() < AT_ONCE {
            let (token, chunk) = (token.clone(), chunk.clone());
            set.spawn(async move {
                let work = async move {
                    black_box(&chunk);
                    ChunkTranscript::default()
                };
                token.run_until_cancelled(tokio::time::timeout(Duration::from_secs(30), work)).await
            });
            next += 1;
        }
        black_box(set.join_next().await);
    }
}

fn running(criterion: &mut Criterion) {
    let runtime = runtime();
    let mut group = criterion.benchmark_group("orchestrate");
    group.throughput(Throughput::Elements(TASKS)).sample_size(10);
    group.bench_function("join_set_token_timeout", |bench| bench.iter(|| runtime.block_on(bare(TASKS))));
    let orchestrator = orchestrator(AT_ONCE as u16);
    group.bench_function("parallel_orchestrator", |bench| {
        bench.iter(|| runtime.block_on(drain(&orchestrator, TASKS)));
    });
    group.finish();
}

fn cancelling(criterion: &mut Criterion) {
    let runtime = runtime();
    let orchestrator = orchestrator(1_000);
    criterion.bench_function("cancel_1000_in_flight", |bench| {
        bench.iter_custom(|rounds| {
            let mut spent = Duration::ZERO;
            for _ in 0..rounds {
                spent += runtime.block_on(async {
                    let mut run = orchestrator.start(source(1_000), Arc::new(Never));
                    while run.progress().in_flight < 1_000 {
                        let waited = tokio::time::timeout(Duration::from_millis(5), run.next()).await;
                        assert!(waited.is_err(), "nothing ends by itself");
                    }
                    #[expect(clippy::disallowed_methods, reason = "this measures")]
                    let start = Instant::now();
                    run.cancel().await;
                    start.elapsed()
                });
            }
            spent
        });
    });
}

criterion_group!(benches, running, cancelling);
criterion_main!(benches);
