//! One task from its taking to its end: known already, or asked for, kept, and audited.

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::time::Instant;
use tracing::Instrument as _;

use super::asking::{self, Asked};
use super::driver::Queued;
use super::run_state::RunState;
use crate::metrics::{ChunkOutcome, Keeper, RetryCause, Stage};
use crate::spans;
use crate::{
    AudioChunk, ChunkResult, ChunkTranscript, JournalEntry, Origin, ProcessingError, ProcessingTask,
    Recalled, SampleSpan, SplitCause,
};

/// What came of a task.
#[derive(Debug, Default)]
pub(super) struct TaskEnd {
    /// Its result; none if it was split: its pieces have theirs.
    pub(super) result: Option<ChunkResult>,
    /// What is to be done in its place, or once more.
    pub(super) pieces: Vec<Queued>,
}

/// Sees a task to its end, whatever happens.
pub(super) async fn run(run: Arc<RunState>, queued: Queued) -> TaskEnd {
    let started = Instant::now();
    let (task, again) = (queued.task.clone(), queued.again);
    let end = AssertUnwindSafe(handle(&run, queued, started)).catch_unwind().await;
    let end = end.unwrap_or_else(|panic| {
        let mut result = ChunkResult::error(task, ProcessingError::Panicked { what: said(panic.as_ref()) });
        result.elapsed = started.elapsed();
        TaskEnd { result: Some(result), pieces: Vec::new() }
    });
    if let Some(result) = &end.result {
        note_end(&run, result, again);
    }
    end
}

/// What a panic said.
pub(super) fn said(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "nothing".to_owned())
}

fn note_end(run: &RunState, result: &ChunkResult, again: bool) {
    let metrics = &run.engine.metrics;
    let outcome = match &result.outcome {
        Ok(_) => ChunkOutcome::Done,
        Err(ProcessingError::Cancelled | ProcessingError::DeadlineExceeded { .. }) => ChunkOutcome::Cancelled,
        Err(_) => ChunkOutcome::Failed,
    };
    tracing::Span::current().record("outcome", outcome.name());
    metrics.chunk_ended(outcome, result.elapsed);
    if result.outcome.is_ok() {
        metrics.chunk_heard(result.origin, result.task.audio());
    }
    run.resolved(result, again);
}

async fn handle(run: &RunState, queued: Queued, started: Instant) -> TaskEnd {
    let task = &queued.task;
    let mut asked = match scoped(run, looked_up(run, task)).await {
        Some(Known::Not) => scoped(run, asking::ask(run, task)).await,
        Some(Known::Heard(heard, origin)) => Some(Asked::Heard { heard, origin, attempts: 0 }),
        Some(Known::Split(cause)) => match split(run, &queued, cause).await {
            Some(pieces) => return TaskEnd { result: None, pieces },
            // An earlier run could cut it, this one cannot: then it is asked for as it is.
            None => scoped(run, asking::ask(run, task)).await,
        },
        Some(Known::Failed(error)) => Some(Asked::Failed { error, attempts: 0 }),
        None => None,
    };
    if let Some(Asked::Split { cause, instead, attempts }) = asked {
        if let Some(pieces) = split(run, &queued, cause).await {
            record(run, JournalEntry::Split { task: task.id, chunk: task.chunk.content_hash(), cause }).await;
            return TaskEnd { result: None, pieces };
        }
        asked = Some(Asked::Failed { error: instead, attempts });
    }
    let (outcome, origin, attempts) = match asked {
        Some(Asked::Heard { heard, origin, attempts }) => (Ok(heard), origin, attempts),
        Some(Asked::Failed { error, attempts }) => (Err(error), Origin::Recognizer, attempts),
        Some(Asked::Split { instead, attempts, .. }) => (Err(instead), Origin::Recognizer, attempts),
        None => (Err(run.unsent()), Origin::Recognizer, 0),
    };
    let result = ChunkResult {
        task: task.clone(),
        outcome,
        origin,
        attempts,
        elapsed: Duration::ZERO,
        gaps: Vec::new(),
    };
    let mut end = finish(run, &queued, result).await;
    if let Some(result) = &mut end.result {
        result.elapsed = started.elapsed();
    }
    end
}

/// Polls something of the processor's, until the run is cancelled.
async fn scoped<T>(run: &RunState, future: impl Future<Output = T>) -> Option<T> {
    let _active = run.enter();
    run.cancelled.run_until_cancelled(future).await
}

/// Keeps and audits an answer; records a failure.
async fn finish(run: &RunState, queued: &Queued, mut result: ChunkResult) -> TaskEnd {
    // The request is over: another one may be made while this one is written.
    let _waiting = run.begin_wait();
    match &result.outcome {
        Ok(heard) => {
            let span = spans::stage(Stage::Keep.name());
            keep(run, &queued.task, heard, result.origin).instrument(span).await;
        }
        Err(ProcessingError::Cancelled | ProcessingError::DeadlineExceeded { .. }) => {}
        Err(error) => {
            let (task, chunk) = (queued.task.id, queued.task.chunk.content_hash());
            record(run, JournalEntry::Failed { task, chunk, why: &error.to_string() }).await;
        }
    }
    let mut pieces = Vec::new();
    if let Ok(heard) = &result.outcome {
        let audit_started = Instant::now();
        let audit = scoped(run, run.by.audit(&queued.task, heard));
        let gaps = audit.instrument(spans::stage(Stage::Audit.name())).await.unwrap_or_default();
        if !gaps.is_empty() && !queued.again && !run.is_ending() && run.may_retry() {
            let chunks = scoped(run, run.by.reask(&queued.task, &gaps)).await.unwrap_or_default();
            pieces = pieces_of(run, &queued.task, chunks, true);
            if !pieces.is_empty() {
                run.engine.metrics.asked_again(RetryCause::Audit);
                run.added(pieces.len());
            }
        }
        // What is asked for again is still a gap here: the pieces that are heard fill it when all is put together.
        result.gaps = gaps;
        run.engine.metrics.stage(Stage::Audit, audit_started.elapsed());
    }
    TaskEnd { result: Some(result), pieces }
}

/// What is known about a chunk without asking.
enum Known {
    Not,
    Heard(ChunkTranscript, Origin),
    Split(SplitCause),
    Failed(ProcessingError),
}

async fn looked_up(run: &RunState, task: &ProcessingTask) -> Known {
    let span = spans::stage(Stage::Find.name());
    let known = known(run, task).instrument(span.clone()).await;
    span.record("outcome", if matches!(known, Known::Heard(..)) { "hit" } else { "miss" });
    known
}

async fn known(run: &RunState, task: &ProcessingTask) -> Known {
    let hash = task.chunk.content_hash();
    let started = Instant::now();
    match run.journal.recall(hash).await {
        Ok(Some(Recalled::Finished(heard))) => return Known::Heard(heard, Origin::Journal),
        Ok(Some(Recalled::Split(cause))) => return Known::Split(cause),
        Ok(None) => {}
        Err(error) => {
            run.engine.metrics.not_kept(Keeper::Journal);
            run.halt(error.clone());
            return Known::Failed(error);
        }
    }
    let found = run.store.find(&[hash]).await;
    run.engine.metrics.stage(Stage::Find, started.elapsed());
    match found.map(|found| found.into_iter().next().flatten()) {
        Ok(Some(heard)) => Known::Heard(heard, Origin::Store),
        Ok(None) => Known::Not,
        // Who cannot look it up pays for it again, but gets it.
        Err(_) => {
            run.engine.metrics.not_kept(Keeper::Store);
            run.count_store_error();
            Known::Not
        }
    }
}

/// Records; if that cannot be done, no more is sent.
async fn record(run: &RunState, entry: JournalEntry<'_>) {
    if let Err(error) = run.journal.record(entry).await {
        run.engine.metrics.not_kept(Keeper::Journal);
        run.halt(error);
    }
}

/// Makes an answer durable: in the journal first, which is the run's own, then in the store, which is everybody's.
async fn keep(run: &RunState, task: &ProcessingTask, heard: &ChunkTranscript, origin: Origin) {
    let started = Instant::now();
    if origin == Origin::Recognizer {
        record(run, JournalEntry::Finished { task: task.id, chunk: task.chunk.content_hash(), heard }).await;
    }
    // A run that was killed between the two has it in the journal only.
    if origin != Origin::Store && run.store.keep(&task.chunk, heard).await.is_err() {
        run.engine.metrics.not_kept(Keeper::Store);
        run.count_store_error();
    }
    run.engine.metrics.stage(Stage::Keep, started.elapsed());
}

/// Smaller chunks in the place of one; `None` if it cannot be cut.
async fn split(run: &RunState, queued: &Queued, cause: SplitCause) -> Option<Vec<Queued>> {
    let task = &queued.task;
    let chunks = scoped(run, run.by.split(task, cause)).await?;
    if !is_partition(task.chunk.owned(), &chunks) {
        return None;
    }
    run.engine.metrics.asked_again(RetryCause::Split);
    run.added(chunks.len() - 1);
    Some(pieces_of(run, task, chunks, queued.again))
}

/// Whether the chunks are at least two, in order, and cover exactly what is owned.
fn is_partition(owned: SampleSpan, chunks: &[AudioChunk]) -> bool {
    let mut at = owned.start();
    for chunk in chunks {
        if chunk.owned().start() != at || chunk.owned().is_empty() {
            return false;
        }
        at = chunk.owned().end();
    }
    chunks.len() >= 2 && at == owned.end()
}

fn pieces_of(run: &RunState, task: &ProcessingTask, chunks: Vec<AudioChunk>, again: bool) -> Vec<Queued> {
    let queued = |chunk| Queued { task: ProcessingTask { id: run.next_part(task.id), chunk }, again };
    chunks.into_iter().map(queued).collect()
}
