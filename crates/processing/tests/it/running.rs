//! Limits, order, memory and progress of a run in which nothing goes wrong.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::time::Instant;
use wavequill_processing::testing::{ScriptedRecognizer, Step, chunk_of_bytes, words_of};
use wavequill_processing::{
    ByteSize, Orchestrator, OrchestratorConfig, ProcessingTask, TaskId, TaskSource, TaskTotals,
};

use crate::support::{MS, S, admission, by, configured, heavy, minutes, orchestrator, rate, span};

#[tokio::test(start_paused = true)]
async fn as_many_requests_are_in_flight_as_allowed_and_never_more() {
    let recognizer = ScriptedRecognizer::new();
    let report =
        orchestrator(3).execute_parallel(TaskSource::longest_first(minutes(20)), by(&recognizer)).await;
    assert_eq!(recognizer.peak().requests, 3);
    assert_eq!(recognizer.calls().len(), 20);
    assert!(report.is_complete());
    assert_eq!(report.results.len(), 20);
    assert_eq!(report.costs.requests, 20);
    assert_eq!(report.costs.audio_sent, 20 * 60 * S);
}

#[tokio::test(start_paused = true)]
async fn bytes_in_flight_are_bounded_and_a_chunk_over_the_bound_goes_alone() {
    let recognizer = ScriptedRecognizer::new();
    let config = OrchestratorConfig::default().with_max_in_flight_bytes(ByteSize::new(1_000));
    let chunks = (0..12).map(|index| heavy(index, if index == 5 { 5_000 } else { 400 })).collect();
    let report = configured(8, config).execute_parallel(TaskSource::in_order(chunks), by(&recognizer)).await;
    assert!(report.is_complete());
    assert_eq!(recognizer.peak().bytes, 5_000, "the large one was alone");
    assert_eq!(recognizer.peak().requests, 2, "two of 400 bytes fit in 1,000");
}

#[tokio::test(start_paused = true)]
async fn two_runs_of_one_key_share_its_limit() {
    let recognizer = ScriptedRecognizer::new();
    let key = admission(4);
    let one =
        wavequill_processing::ParallelOrchestrator::new(OrchestratorConfig::default(), key.clone()).unwrap();
    let two = wavequill_processing::ParallelOrchestrator::new(OrchestratorConfig::default(), key).unwrap();
    let (a, b) = tokio::join!(
        one.execute_parallel(TaskSource::longest_first(minutes(10)), by(&recognizer)),
        two.execute_parallel(TaskSource::longest_first(minutes(10)), by(&recognizer)),
    );
    assert!(a.is_complete() && b.is_complete());
    assert_eq!(recognizer.peak().requests, 4);
}

#[tokio::test(start_paused = true)]
async fn the_longest_chunk_is_sent_first() {
    let recognizer = ScriptedRecognizer::new();
    let chunk = |index, from, to| chunk_of_bytes(index, span(from, to), rate(), vec![0; 10]);
    let chunks = vec![chunk(0, 0, 30), chunk(1, 30, 90), chunk(2, 90, 300), chunk(3, 300, 330)];
    orchestrator(1).execute_parallel(TaskSource::longest_first(chunks), by(&recognizer)).await;
    let order: Vec<usize> = recognizer.calls().iter().map(|call| call.chunk).collect();
    assert_eq!(order, [2, 1, 0, 3]);
}

#[tokio::test(start_paused = true)]
async fn results_come_in_the_order_in_which_they_are_finished() {
    let recognizer = ScriptedRecognizer::answering(|request| {
        Step::Answer((10 - request.chunk.index() as u32) * S, words_of(request))
    });
    let mut run = orchestrator(8).start(TaskSource::in_order(minutes(4)), by(&recognizer));
    let mut order = Vec::new();
    while let Some(result) = run.next().await {
        order.push(result.task.id);
    }
    assert_eq!(order, [3, 2, 1, 0].map(TaskId::of_chunk));
}

#[tokio::test(start_paused = true)]
async fn tasks_are_made_only_when_there_is_room_for_them() {
    let recognizer = ScriptedRecognizer::new();
    let made = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&made);
    let tasks = (0..1_000_000_u64).map(move |index| {
        counter.fetch_add(1, Ordering::Relaxed);
        let chunk = chunk_of_bytes(index as usize, span(index * 30, index * 30 + 30), rate(), vec![0; 10]);
        ProcessingTask::new(chunk)
    });
    let totals = TaskTotals { chunks: 1_000_000, audio: 30_000_000 * S };
    let mut run = orchestrator(4).start(TaskSource::lazy(tasks, totals), by(&recognizer));
    for _ in 0..10 {
        run.next().await.unwrap();
    }
    let made = made.load(Ordering::Relaxed);
    assert!(made <= 10 + 2 * 4, "{made} tasks were made for 10 results");
}

#[tokio::test(start_paused = true)]
async fn progress_weighs_by_audio_never_falls_and_is_one_at_the_end_only() {
    let recognizer = ScriptedRecognizer::answering(|request| {
        Step::Answer(
            Duration::from_secs_f64(request.chunk.duration().as_secs_f64() / 10.0),
            words_of(request),
        )
    });
    let chunk = |index, from, to| chunk_of_bytes(index, span(from, to), rate(), vec![0; 10]);
    let chunks = vec![chunk(0, 0, 300), chunk(1, 300, 400)];
    let orchestrator = orchestrator(1);
    let mut run = orchestrator.start(TaskSource::in_order(chunks), by(&recognizer));
    assert_eq!(run.progress().fraction(), 0.0);
    run.next().await.unwrap();
    let half = run.progress();
    assert!((half.fraction() - 0.75).abs() < 1e-9, "{half:?}");
    assert_eq!(half.eta, Some(10 * S), "300 s took 30 s, 100 s are left");
    assert_eq!(orchestrator.progress(), half);
    run.next().await.unwrap();
    assert_eq!(run.progress().fraction(), 1.0);
    assert!(run.next().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn who_watches_sees_the_fraction_rise_to_one() {
    let recognizer = ScriptedRecognizer::new();
    let orchestrator = orchestrator(2);
    let run = orchestrator.start(TaskSource::longest_first(minutes(10)), by(&recognizer));
    let mut watch = run.watch();
    let watching = async {
        let mut seen = vec![watch.latest().fraction()];
        while let Some(progress) = watch.changed().await {
            seen.push(progress.fraction());
        }
        seen
    };
    let (report, seen) = tokio::join!(run.finish(), watching);
    assert!(report.is_complete());
    assert!(seen.is_sorted(), "{seen:?}");
    assert!(seen.len() > 5);
    assert_eq!(seen.last(), Some(&1.0));
}

#[tokio::test(start_paused = true)]
async fn no_tasks_are_a_complete_run() {
    let recognizer = ScriptedRecognizer::new();
    let mut run = orchestrator(2).start(TaskSource::longest_first(Vec::new()), by(&recognizer));
    assert!(run.next().await.is_none());
    assert_eq!(run.progress().fraction(), 1.0);
    assert!(run.finish().await.is_complete());
}

#[tokio::test(start_paused = true)]
async fn the_admission_starts_with_four_requests_and_finds_that_the_server_takes_more() {
    use wavequill_processing::{
        AdmissionConfig, ConcurrencyLimit, LatencyModel, ParallelOrchestrator, SlownessAdmission,
    };

    let recognizer = ScriptedRecognizer::answering(|request| Step::Answer(3_900 * MS, words_of(request)));
    let config = AdmissionConfig { max: ConcurrencyLimit::new(32).unwrap(), ..AdmissionConfig::default() };
    let key = Arc::new(SlownessAdmission::new(config, LatencyModel::default()));
    let orchestrator = ParallelOrchestrator::new(OrchestratorConfig::default(), key).unwrap();
    let start = Instant::now();
    let report =
        orchestrator.execute_parallel(TaskSource::longest_first(minutes(200)), by(&recognizer)).await;
    assert!(report.is_complete());
    assert_eq!(recognizer.peak().requests, 32);
    assert!(start.elapsed() < 60 * S, "with 4 it would have taken 195 s: {:?}", start.elapsed());
}
