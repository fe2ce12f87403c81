//! Runs that end before their end: refused, cancelled, dropped, out of time.

use std::time::Duration;

use tokio::time::Instant;
use wavequill_kernel::{ErrorClass, Retryable};
use wavequill_processing::testing::{ScriptedRecognizer, Step, words_of};
use wavequill_processing::{Gap, GapCause, Orchestrator, ProcessingError, RecognitionError, TaskSource};

use crate::support::{MS, S, by, minutes, orchestrator, span};

#[tokio::test(start_paused = true)]
async fn a_refused_key_ends_the_run_and_what_is_finished_is_kept() {
    let recognizer = ScriptedRecognizer::answering(|request| match request.chunk.index() {
        0 => Step::Answer(MS, words_of(request)),
        1 => Step::Fail(2 * MS, RecognitionError::permanent("invalid API key").for_the_run()),
        _ => Step::Answer(S, words_of(request)),
    });
    let report = orchestrator(3).execute_parallel(TaskSource::in_order(minutes(100)), by(&recognizer)).await;
    let ended = report.ended_by.unwrap();
    assert_eq!(ended.class(), ErrorClass::Permanent);
    let heard = report.results.values().filter(|result| result.outcome.is_ok()).count();
    assert_eq!(heard, 3, "what was on its way was waited for: it is paid");
    assert_eq!(recognizer.calls().len(), 4);
    assert_eq!(
        report.gaps,
        [
            Gap { span: span(60, 120), cause: GapCause::Failed },
            Gap { span: span(240, 6_000), cause: GapCause::Cancelled }
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_run_polls_nothing_any_more_and_gives_what_is_finished() {
    let recognizer = ScriptedRecognizer::answering(|request| match request.chunk.index() {
        0 => Step::Answer(S, words_of(request)),
        _ => Step::Answer(60 * S, words_of(request)),
    });
    let mut run = orchestrator(3).start(TaskSource::in_order(minutes(10)), by(&recognizer));
    let handle = run.handle();
    assert!(run.next().await.unwrap().outcome.is_ok());
    // Polled once, so that another task is taken.
    assert!(tokio::time::timeout(S, run.next()).await.is_err());
    assert_eq!(recognizer.load().requests, 3);
    handle.cancel().await;
    assert_eq!(recognizer.load().requests, 0, "no future of the recognizer is alive");
    let mut cancelled = 0;
    while let Some(result) = run.next().await {
        assert!(matches!(result.outcome, Err(ProcessingError::Cancelled)));
        cancelled += 1;
    }
    assert_eq!(cancelled, 3, "each task that was taken has a result");
    assert!(run.progress().fraction() < 1.0);
    let report = run.finish().await;
    assert!(matches!(report.ended_by, Some(ProcessingError::Cancelled)));
    assert_eq!(report.gaps, [Gap { span: span(240, 600), cause: GapCause::Cancelled }]);
}

#[tokio::test(start_paused = true)]
async fn what_is_finished_when_a_run_is_cancelled_is_still_given_out() {
    let recognizer = ScriptedRecognizer::answering(|request| Step::Answer(S, words_of(request)));
    let mut run = orchestrator(3).start(TaskSource::in_order(minutes(10)), by(&recognizer));
    assert!(tokio::time::timeout(500 * MS, run.next()).await.is_err());
    tokio::time::sleep(S).await;
    run.cancel().await;
    for _ in 0..3 {
        assert!(run.next().await.unwrap().outcome.is_ok());
    }
    assert!(run.next().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn all_runs_can_be_cancelled_at_once() {
    let recognizer = ScriptedRecognizer::answering(|_| Step::Hang);
    let orchestrator = orchestrator(6);
    let mut runs: Vec<_> =
        (0..3).map(|_| orchestrator.start(TaskSource::in_order(minutes(2)), by(&recognizer))).collect();
    for run in &mut runs {
        assert!(tokio::time::timeout(MS, run.next()).await.is_err());
    }
    assert_eq!(recognizer.load().requests, 6);
    orchestrator.cancel_all().await;
    assert_eq!(recognizer.load().requests, 0);
}

#[tokio::test(start_paused = true)]
async fn dropping_a_run_cancels_it() {
    let recognizer = ScriptedRecognizer::answering(|_| Step::Hang);
    let mut run = orchestrator(3).start(TaskSource::in_order(minutes(10)), by(&recognizer));
    assert!(tokio::time::timeout(MS, run.next()).await.is_err());
    assert_eq!(recognizer.load().requests, 3);
    drop(run);
    tokio::task::yield_now().await;
    assert_eq!(recognizer.load().requests, 0);
}

#[tokio::test(start_paused = true)]
async fn a_deadline_ends_the_run_in_time_with_what_is_there() {
    let recognizer = ScriptedRecognizer::answering(|request| Step::Answer(4 * S, words_of(request)));
    let start = Instant::now();
    let source = TaskSource::in_order(minutes(10)).with_deadline(10 * S);
    let report = orchestrator(2).execute_parallel(source, by(&recognizer)).await;
    assert_eq!(start.elapsed(), 10 * S);
    assert!(
        matches!(report.ended_by, Some(ProcessingError::DeadlineExceeded { deadline }) if deadline == 10 * S)
    );
    assert_eq!(report.results.values().filter(|result| result.outcome.is_ok()).count(), 4);
    assert_eq!(report.gaps, [Gap { span: span(240, 600), cause: GapCause::Cancelled }]);
}

#[tokio::test(start_paused = true)]
async fn patience_beyond_the_deadline_is_the_callers() {
    let recognizer = ScriptedRecognizer::answering(|_| {
        Step::Fail(MS, RecognitionError::throttled(Some(60 * S), "slow down"))
    });
    let source = TaskSource::in_order(minutes(2)).with_deadline(30 * S);
    let start = Instant::now();
    let report = orchestrator(2).execute_parallel(source, by(&recognizer)).await;
    assert!(
        matches!(report.ended_by, Some(ProcessingError::Throttled { retry_after }) if retry_after == 60 * S)
    );
    assert!(start.elapsed() < S);
}

#[tokio::test(start_paused = true)]
async fn a_deadline_of_no_time_sends_nothing() {
    let recognizer = ScriptedRecognizer::new();
    let source = TaskSource::in_order(minutes(2)).with_deadline(Duration::ZERO);
    let report = orchestrator(2).execute_parallel(source, by(&recognizer)).await;
    assert!(recognizer.calls().is_empty());
    assert_eq!(report.gaps, [Gap { span: span(0, 120), cause: GapCause::Cancelled }]);
}
