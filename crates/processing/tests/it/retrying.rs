//! What is tried again, when, and how often.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use async_trait::async_trait;
use tokio::time::Instant;
use wavequill_kernel::{ErrorClass, Retryable};
use wavequill_processing::testing::{ScriptedRecognizer, Step, chunk_of_bytes, words_of};
use wavequill_processing::{
    AudioChunk, ByteSize, ChunkAttempt, ChunkProcessor, ChunkTranscript, Gap, GapCause, HedgeConfig,
    Orchestrator, OrchestratorConfig, ProcessingError, ProcessingTask, RecognitionError, RetryConfig,
    SampleIndex, SampleSpan, SplitCause, TaskSource, TooLarge,
};

use crate::support::{MS, S, by, configured, minutes, orchestrator, rate, span};

fn transient() -> RecognitionError {
    RecognitionError::transient("the server is overloaded")
}

#[tokio::test(start_paused = true)]
async fn a_chunk_that_fails_twice_is_heard_at_the_third_attempt() {
    let recognizer = ScriptedRecognizer::answering(|request| match request.attempt {
        1 | 2 if request.chunk.index() == 1 => Step::Fail(MS, transient()),
        _ => Step::Answer(MS, words_of(request)),
    });
    let report =
        orchestrator(4).execute_parallel(TaskSource::longest_first(minutes(3)), by(&recognizer)).await;
    assert!(report.is_complete());
    let attempts: Vec<u32> = report.results.values().map(|result| result.attempts).collect();
    assert_eq!(attempts, [1, 3, 1]);
    assert_eq!((report.costs.requests, report.costs.retries), (5, 2));
}

#[tokio::test(start_paused = true)]
async fn a_chunk_that_always_fails_is_a_gap_and_the_others_are_heard() {
    let recognizer = ScriptedRecognizer::answering(|request| match request.chunk.index() {
        1 => Step::Fail(MS, transient()),
        _ => Step::Answer(MS, words_of(request)),
    });
    let report =
        orchestrator(4).execute_parallel(TaskSource::longest_first(minutes(3)), by(&recognizer)).await;
    assert_eq!(report.gaps, [Gap { span: span(60, 120), cause: GapCause::Failed }]);
    assert!(report.ended_by.is_none());
    let error = report.results.values().find_map(|result| result.outcome.as_ref().err()).unwrap();
    assert_eq!(error.class(), ErrorClass::Exhausted);
    assert_eq!(error.to_string(), "the recognizer gave no answer after 3 attempts");
}

#[tokio::test(start_paused = true)]
async fn what_is_permanent_is_not_tried_again() {
    let recognizer =
        ScriptedRecognizer::answering(|_| Step::Fail(MS, RecognitionError::permanent("it is no audio")));
    let report =
        orchestrator(4).execute_parallel(TaskSource::longest_first(minutes(3)), by(&recognizer)).await;
    assert_eq!(recognizer.calls().len(), 3);
    assert_eq!(report.gaps.len(), 1, "the three gaps touch");
}

#[tokio::test(start_paused = true)]
async fn while_a_chunk_waits_for_its_retry_its_slot_is_used_by_another() {
    let recognizer =
        ScriptedRecognizer::answering(|request| match (request.chunk.index(), request.attempt) {
            (0, 1) => Step::Fail(MS, transient()),
            _ => Step::Answer(10 * MS, words_of(request)),
        });
    let retry = RetryConfig::default().with_delays(30 * S, 30 * S);
    let config = OrchestratorConfig::default().with_retry(retry);
    let report =
        configured(1, config).execute_parallel(TaskSource::in_order(minutes(20)), by(&recognizer)).await;
    assert!(report.is_complete());
    let calls = recognizer.calls();
    assert_eq!((calls[0].chunk, calls[1].chunk), (0, 1));
    let last = calls.iter().rfind(|call| call.chunk == 0).unwrap();
    let others = calls.iter().filter(|call| call.chunk != 0 && call.at < last.at).count();
    assert_eq!(others, 19, "all others were heard during the delay");
}

#[tokio::test(start_paused = true)]
async fn retries_end_when_the_budget_is_spent() {
    let recognizer = ScriptedRecognizer::answering(|_| Step::Fail(MS, transient()));
    let report =
        orchestrator(4).execute_parallel(TaskSource::longest_first(minutes(100)), by(&recognizer)).await;
    // 10, and a fifth of all requests: r = 10 + (100 + r) / 5.
    assert_eq!(report.costs.requests, 100 + report.costs.retries);
    assert!((35..=38).contains(&report.costs.retries), "{:?}", report.costs);
}

#[tokio::test(start_paused = true)]
async fn a_throttled_chunk_waits_as_long_as_the_server_said_and_so_do_all_others() {
    let first = AtomicU32::new(0);
    let recognizer = ScriptedRecognizer::answering(move |request| {
        if first.fetch_add(1, Ordering::Relaxed) == 0 {
            Step::Fail(10 * MS, RecognitionError::throttled(Some(20 * S), "too many requests"))
        } else {
            Step::Answer(S, words_of(request))
        }
    });
    let report = orchestrator(2).execute_parallel(TaskSource::in_order(minutes(8)), by(&recognizer)).await;
    assert!(report.is_complete());
    let sent_early = recognizer.calls().iter().filter(|call| call.at < 20 * S).count();
    assert_eq!(sent_early, 2, "only what was on its way already: {:?}", recognizer.calls());
    assert_eq!((report.costs.throttled, report.costs.retries), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn being_throttled_costs_no_attempt() {
    let recognizer = ScriptedRecognizer::answering(|request| match request.attempt {
        1..=6 => Step::Fail(MS, RecognitionError::throttled(None, "too many requests")),
        7 | 8 => Step::Fail(MS, transient()),
        _ => Step::Answer(MS, words_of(request)),
    });
    let report = orchestrator(1).execute_parallel(TaskSource::in_order(minutes(1)), by(&recognizer)).await;
    assert!(report.is_complete(), "{:?}", report.results);
    assert_eq!(report.costs.throttled, 6);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_asks_for_an_hour_ends_the_run_and_says_so() {
    let recognizer = ScriptedRecognizer::answering(|request| match request.chunk.index() {
        0 => Step::Answer(MS, words_of(request)),
        _ => Step::Fail(S, RecognitionError::throttled(Some(3_600 * S), "come back later")),
    });
    let report = orchestrator(2).execute_parallel(TaskSource::in_order(minutes(10)), by(&recognizer)).await;
    let ended = report.ended_by.unwrap();
    assert_eq!(ended.class().retry_after(), Some(3_600 * S));
    assert!(report.results.values().next().unwrap().outcome.is_ok());
    assert!(recognizer.calls().len() <= 3);
}

#[tokio::test(start_paused = true)]
async fn a_key_that_is_throttled_for_ever_ends_the_run() {
    let recognizer =
        ScriptedRecognizer::answering(|_| Step::Fail(MS, RecognitionError::throttled(Some(15 * S), "no")));
    let start = Instant::now();
    let report = orchestrator(2).execute_parallel(TaskSource::in_order(minutes(4)), by(&recognizer)).await;
    assert!(matches!(report.ended_by, Some(ProcessingError::Throttled { .. })));
    assert!(start.elapsed() > 600 * S && start.elapsed() < 700 * S, "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_takes_four_times_too_long_is_given_up_and_made_again() {
    let recognizer = ScriptedRecognizer::answering(|request| match request.attempt {
        1 => Step::Hang,
        _ => Step::Answer(MS, words_of(request)),
    });
    let start = Instant::now();
    let report = orchestrator(1).execute_parallel(TaskSource::in_order(minutes(1)), by(&recognizer)).await;
    assert!(report.is_complete());
    // Four times 1.5 s + 60 s / 25 are 15.6 s: less than the least time-out.
    assert!(start.elapsed() >= 30 * S && start.elapsed() < 32 * S, "{:?}", start.elapsed());
    assert_eq!(recognizer.load().requests, 0, "what was given up was dropped");
}

#[tokio::test(start_paused = true)]
async fn a_panic_fails_only_its_task() {
    let recognizer = ScriptedRecognizer::answering(|request| match request.chunk.index() {
        2 => Step::Panic,
        _ => Step::Answer(MS, words_of(request)),
    });
    let report = orchestrator(2).execute_parallel(TaskSource::in_order(minutes(5)), by(&recognizer)).await;
    assert_eq!(report.gaps, [Gap { span: span(120, 180), cause: GapCause::Failed }]);
    let error = report.results.values().find_map(|result| result.outcome.as_ref().err()).unwrap();
    assert!(matches!(error, ProcessingError::Panicked { what } if what == "the script says so"), "{error:?}");
    assert_eq!(recognizer.load().requests, 0);
}

/// Cuts chunks in two halves, and audits by a script.
#[derive(Debug)]
struct Cutter {
    recognizer: Arc<dyn ChunkProcessor>,
    holes: Vec<Gap>,
}

fn half(chunk: &AudioChunk, from: u64, to: u64) -> AudioChunk {
    let span = SampleSpan::new(SampleIndex::new(from), SampleIndex::new(to));
    let bytes = (chunk.content_length() * span.len() / chunk.owned().len()) as usize;
    // Another number: the identity of a test's chunk is made of it.
    chunk_of_bytes(1_000 + (from / 1_000) as usize, span, rate(), vec![0; bytes])
}

#[async_trait]
impl ChunkProcessor for Cutter {
    async fn process(&self, attempt: ChunkAttempt) -> Result<ChunkTranscript, RecognitionError> {
        self.recognizer.process(attempt).await
    }

    async fn split(&self, task: &ProcessingTask, _: SplitCause) -> Vec<AudioChunk> {
        let owned = task.chunk.owned();
        let middle = owned.start().get().midpoint(owned.end().get());
        vec![half(&task.chunk, owned.start().get(), middle), half(&task.chunk, middle, owned.end().get())]
    }

    async fn audit(&self, task: &ProcessingTask, _: &ChunkTranscript) -> Vec<Gap> {
        let in_task = |gap: &&Gap| !gap.span.intersection(task.chunk.owned()).is_empty();
        if task.chunk.index() >= 1_000 {
            Vec::new()
        } else {
            self.holes.iter().filter(in_task).copied().collect()
        }
    }

    async fn reask(&self, task: &ProcessingTask, gaps: &[Gap]) -> Vec<AudioChunk> {
        gaps.iter().map(|gap| half(&task.chunk, gap.span.start().get(), gap.span.end().get())).collect()
    }
}

fn cutting(recognizer: &ScriptedRecognizer, holes: Vec<Gap>) -> Arc<dyn ChunkProcessor> {
    Arc::new(Cutter { recognizer: by(recognizer), holes })
}

#[tokio::test(start_paused = true)]
async fn a_chunk_that_is_too_long_is_heard_in_two_halves() {
    let recognizer = ScriptedRecognizer::answering(|request| {
        let limit = TooLarge::Duration { limit: Some(40 * S) };
        if request.chunk.duration() <= 40 * S {
            return Step::Answer(MS, words_of(request));
        }
        Step::Fail(MS, RecognitionError::too_large(limit, "longer than 40 seconds"))
    });
    let report = orchestrator(1)
        .execute_parallel(TaskSource::in_order(minutes(3)), cutting(&recognizer, vec![]))
        .await;
    assert!(report.is_complete());
    let spans: Vec<SampleSpan> = report.results.values().map(|result| result.task.chunk.owned()).collect();
    assert_eq!(
        spans,
        [span(0, 30), span(30, 60), span(60, 90), span(90, 120), span(120, 150), span(150, 180)]
    );
    assert_eq!(report.costs.requests, 7, "only the first was refused: the limit is known from then on");
}

#[tokio::test(start_paused = true)]
async fn a_chunk_with_too_many_bytes_is_cut_until_it_fits() {
    let recognizer = ScriptedRecognizer::answering(|request| {
        let limit = TooLarge::Bytes { limit: Some(ByteSize::new(30)) };
        if request.chunk.content_length() <= 30 {
            return Step::Answer(MS, words_of(request));
        }
        Step::Fail(MS, RecognitionError::too_large(limit, "request entity too large"))
    });
    let report = orchestrator(1)
        .execute_parallel(TaskSource::in_order(minutes(1)), cutting(&recognizer, vec![]))
        .await;
    assert!(report.is_complete());
    assert_eq!(report.results.len(), 4);
}

#[tokio::test(start_paused = true)]
async fn a_chunk_that_cannot_be_cut_fails_with_what_the_server_said() {
    let limit = TooLarge::Bytes { limit: None };
    let recognizer = ScriptedRecognizer::answering(move |_| {
        Step::Fail(MS, RecognitionError::too_large(limit, "request entity too large"))
    });
    let report = orchestrator(1).execute_parallel(TaskSource::in_order(minutes(1)), by(&recognizer)).await;
    let error = report.results.values().next().unwrap().outcome.as_ref().unwrap_err();
    let ProcessingError::Recognition { source, attempts: 1 } = error else { panic!("{error:?}") };
    assert_eq!(source.to_string(), "request entity too large");
}

#[tokio::test(start_paused = true)]
async fn a_chunk_that_times_out_three_times_is_tried_in_halves() {
    let recognizer = ScriptedRecognizer::answering(|request| {
        if request.chunk.duration() > 40 * S { Step::Hang } else { Step::Answer(MS, words_of(request)) }
    });
    let report = orchestrator(1)
        .execute_parallel(TaskSource::in_order(minutes(1)), cutting(&recognizer, vec![]))
        .await;
    assert!(report.is_complete(), "{report:?}");
    assert_eq!(recognizer.calls().len(), 3 + 2);
}

#[tokio::test(start_paused = true)]
async fn speech_that_an_answer_leaves_out_is_asked_for_once_more() {
    let recognizer = ScriptedRecognizer::new();
    let hole = Gap { span: span(70, 80), cause: GapCause::CutOff };
    let orchestrator = orchestrator(2);
    let run = orchestrator.start(TaskSource::in_order(minutes(3)), cutting(&recognizer, vec![hole]));
    let mut watch = run.watch();
    let watching = async {
        let mut seen = Vec::new();
        while let Some(progress) = watch.changed().await {
            seen.push(progress.fraction());
        }
        seen
    };
    let (report, seen) = tokio::join!(run.finish(), watching);
    assert_eq!(recognizer.calls().len(), 4);
    assert_eq!(recognizer.calls().last().unwrap().owned, hole.span);
    assert!(seen.is_sorted(), "asking again takes nothing back: {seen:?}");
    assert_eq!(seen.last(), Some(&1.0));
    assert_eq!(report.results.len(), 4);
}

#[tokio::test(start_paused = true)]
async fn the_last_slow_request_is_made_a_second_time_and_the_first_answer_wins() {
    let asked = AtomicU32::new(0);
    let recognizer = ScriptedRecognizer::answering(move |request| {
        let slow = request.chunk.index() == 7 && asked.fetch_add(1, Ordering::Relaxed) == 0;
        Step::Answer(if slow { 25 * S } else { 2 * S }, words_of(request))
    });
    let config = OrchestratorConfig::default().with_hedge(HedgeConfig::default());
    let start = Instant::now();
    let report =
        configured(4, config).execute_parallel(TaskSource::in_order(minutes(8)), by(&recognizer)).await;
    assert!(report.is_complete());
    assert_eq!(report.costs.hedges, 1);
    assert_eq!(report.costs.requests, 9);
    assert!(start.elapsed() < 15 * S, "{:?}", start.elapsed());
    assert_eq!(recognizer.load().requests, 0, "the slower one was dropped");
}

#[tokio::test(start_paused = true)]
async fn nothing_is_sent_twice_unless_that_was_asked_for() {
    let recognizer = ScriptedRecognizer::answering(|request| Step::Answer(25 * S, words_of(request)));
    let report = orchestrator(4).execute_parallel(TaskSource::in_order(minutes(4)), by(&recognizer)).await;
    assert_eq!((report.costs.hedges, report.costs.requests), (0, 4));
}
