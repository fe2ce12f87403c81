//! The contract of [`Orchestrator`], as far as it can be seen from outside.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use crate::testing::{ScriptedRecognizer, Step, chunks_of, words_of};
use crate::{
    ChunkProcessor, Orchestrator, ProcessingError, RecognitionOptions, RecognizingProcessor, SampleRate,
    TaskSource,
};

const SECOND: Duration = Duration::from_secs(1);

/// Puts an orchestrator through sentences 1, 2, 6 and 7 of its contract, in paused time. It must allow at most `limit`
/// requests.
///
/// # Panics
/// If a sentence is broken.
pub async fn orchestrator(orchestrator: &dyn Orchestrator, limit: usize, rate: SampleRate) {
    let source = || TaskSource::longest_first(chunks_of(3 * limit + 1, 60 * SECOND, rate));
    let by = |recognizer: &ScriptedRecognizer| -> Arc<dyn ChunkProcessor> {
        Arc::new(RecognizingProcessor::new(Arc::new(recognizer.clone()), RecognitionOptions::default()))
    };
    let panics_once = ScriptedRecognizer::answering(|request| match request.chunk.index() {
        1 => Step::Panic,
        _ => Step::Answer(SECOND, words_of(request)),
    });
    let mut run = orchestrator.start(source(), by(&panics_once));
    let (mut ends, mut last) = (Vec::new(), run.progress().fraction());
    while let Some(result) = run.next().await {
        let fraction = run.progress().fraction();
        assert!(fraction >= last, "7: progress never falls");
        last = fraction;
        ends.push((result.task.id, result.outcome.is_ok()));
    }
    assert!(panics_once.peak().requests <= limit, "1: never more requests than allowed");
    assert_eq!(run.progress().fraction(), 1.0, "7: it is 1 when each task is resolved");
    assert_eq!(ends.iter().filter(|(_, heard)| !heard).count(), 1, "2: a panic fails only its task");
    ends.sort_unstable();
    ends.dedup_by_key(|(id, _)| *id);
    assert_eq!(ends.len(), 3 * limit + 1, "2: each task ends in one result");

    let hangs = ScriptedRecognizer::answering(|_| Step::Hang);
    let mut run = orchestrator.start(source(), by(&hangs));
    assert!(timeout(SECOND, run.next()).await.is_err(), "nothing is finished");
    run.cancel().await;
    assert_eq!(hangs.load().requests, 0, "6: nothing is in flight when cancel returns");
    while let Some(result) = run.next().await {
        let cancelled = matches!(result.outcome, Err(ProcessingError::Cancelled));
        assert!(cancelled, "6: what was in flight ends as cancelled");
    }
    assert!(run.progress().fraction() < 1.0, "7: a cancelled run is not complete");

    let mut run = orchestrator.start(source(), by(&hangs));
    assert!(timeout(SECOND, run.next()).await.is_err(), "nothing is finished");
    drop(run);
    tokio::time::sleep(SECOND).await;
    assert_eq!(hangs.load().requests, 0, "6: dropping the run cancels it");
}
