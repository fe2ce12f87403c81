use std::time::Duration;

use tracing::{info_span, subscriber::with_default};
use tracing_subscriber::layer::SubscriberExt as _;
use wavequill_kernel::testing::ManualClock;

use super::*;

fn record(work: impl FnOnce(&ManualClock)) -> RunReport {
    let clock = Arc::new(ManualClock::new());
    let recorder = RunRecorder::new(clock.clone());
    with_default(tracing_subscriber::registry().with(recorder.clone()), || work(&clock));
    recorder.report()
}

fn second(clock: &ManualClock) {
    clock.advance(Duration::from_secs(1));
}

#[test]
fn spans_become_bars_and_events_become_figures() {
    let report = record(|clock| {
        second(clock);
        let run = info_span!(
            target: "wavequill::processing", "run",
            run_id = "a.wav", bytes = 1_000, seconds = 120.0, rate = 48_000, outcome = tracing::field::Empty
        );
        let within = run.enter();
        tracing::info!(name: "envelope", target: "wavequill::processing", peaks = "00ff80");
        tracing::info!(target: "wavequill::processing", start = 48_000, end = 96_000, "pause");
        tracing::info!(name: "cut", target: "wavequill::processing", at = 72_000, quality = "pause");
        let chunk = info_span!(
            target: "wavequill::processing", "chunk",
            index = 3, start = 48_000, samples = 96_000, outcome = tracing::field::Empty
        );
        let stage = info_span!(target: "wavequill::processing", parent: &chunk, "stage", stage = "permit");
        second(clock);
        drop(stage);
        let stage = info_span!(target: "wavequill::processing", parent: &chunk, "stage", stage = "attempt");
        for n in 1..=2 {
            let attempt =
                info_span!(target: "wavequill::external", parent: &stage, "attempt", n, outcome = "ok");
            second(clock);
            drop(attempt);
        }
        drop(stage);
        tracing::info!(name: "quota", target: "wavequill::external", dimension = "requests", remaining = 9, limit = 10);
        tracing::info!(name: "saved", target: "wavequill::caching", seconds = 30.5, microdollars = 12);
        chunk.record("outcome", "done");
        drop(chunk);
        drop(within);
        run.record("outcome", "done");
        drop(run);
        second(clock);
    });
    let run = &report.runs[0];
    assert_eq!((run.id.as_str(), run.bytes, run.outcome.as_str()), ("a.wav", 1_000, "done"));
    assert_eq!((run.audio_seconds, run.wall_seconds), (120.0, 3.0));
    let chunk = &run.chunks[0];
    assert_eq!((chunk.index, chunk.start, chunk.seconds, chunk.began, chunk.ended), (3, 1.0, 2.0, 0.0, 3.0));
    let stages: Vec<_> = chunk.stages.iter().map(|bar| (bar.stage.as_str(), bar.began, bar.ended)).collect();
    assert_eq!(stages, [("permit", 0.0, 1.0), ("attempt", 1.0, 2.0), ("retry", 2.0, 3.0)]);
    assert_eq!(run.envelope, [0, 255, 128]);
    assert_eq!(run.pauses[0], crate::Stretch { start: 1.0, end: 2.0 });
    assert_eq!(run.cuts[0].at, 1.5);
    assert_eq!((run.quota[0].at, run.quota[0].remaining), (3.0, 9.0));
    assert_eq!((run.saved_seconds, run.saved_microdollars), (30.5, 12));
    assert_eq!(run.stage_times().len(), 3);
}

#[test]
fn what_is_open_ends_now_and_others_spans_are_not_heard() {
    let report = record(|clock| {
        let run = info_span!(target: "wavequill::processing", "run", run_id = "a");
        let other = info_span!(target: "somebody", parent: &run, "chunk", index = 0);
        let chunk = info_span!(target: "wavequill::processing", parent: &other, "chunk", index = 1);
        second(clock);
        std::mem::forget((chunk, run, other));
    });
    assert_eq!(report.runs[0].wall_seconds, 1.0);
    assert_eq!(report.runs[0].chunks.len(), 1);
    assert_eq!(report.runs[0].chunks[0].index, 1);
}

#[test]
fn beyond_the_limit_stages_are_dropped_and_counted() {
    let report = record(|_| {
        let run = info_span!(target: "wavequill::processing", "run", run_id = "a").entered();
        for _ in 0..RunRecorder::MAX_SPANS + 10 {
            drop(info_span!(target: "wavequill::processing", "stage", stage = "keep"));
        }
        drop(info_span!(target: "wavequill::processing", "chunk", index = 1));
        drop(run);
    });
    assert_eq!(report.dropped_spans, 11);
    assert_eq!(report.runs[0].chunks.len(), 1);
}

#[test]
fn after_clear_a_span_that_was_open_changes_nothing_new() {
    let recorder = RunRecorder::new(Arc::new(ManualClock::new()));
    with_default(tracing_subscriber::registry().with(recorder.clone()), || {
        let old = info_span!(target: "wavequill::processing", "run", run_id = "old", outcome = tracing::field::Empty);
        recorder.clear();
        let new = info_span!(target: "wavequill::processing", parent: None, "run", run_id = "new");
        drop(info_span!(target: "wavequill::processing", parent: &old, "chunk", index = 1));
        old.record("outcome", "done");
        drop(old);
        drop(info_span!(target: "wavequill::processing", parent: &new, "chunk", index = 2));
    });
    let report = recorder.report();
    assert_eq!(report.runs.len(), 1);
    assert_eq!((report.runs[0].id.as_str(), report.runs[0].outcome.as_str()), ("new", ""));
    assert_eq!(report.runs[0].chunks.last().map(|chunk| chunk.index), Some(2));
}
