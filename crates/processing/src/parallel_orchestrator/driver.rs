//! Takes tasks as there is room for them, and gives out what is finished.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use async_trait::async_trait;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tracing::Instrument as _;

use super::chunk_task::{self, TaskEnd};
use super::run_state::RunState;
use crate::metrics::{ChunkOutcome, RunOutcome};
use crate::spans;
use crate::{
    AudioFormat, ChunkResult, ErrorScope, ProcessingError, ProcessingTask, RunClose, RunControl, RunDriver,
    SampleSpan,
};

/// A task, and whether its audio is asked for the second time.
#[derive(Clone, Debug)]
pub(super) struct Queued {
    pub(super) task: ProcessingTask,
    pub(super) again: bool,
}

/// Takes tasks as there is room for them, and gives out what is finished. Dropping it ends all of them.
pub(super) struct Driver {
    run: Arc<RunState>,
    source: Option<Box<dyn Iterator<Item = ProcessingTask> + Send>>,
    /// What came of tasks that were taken: it goes first.
    pieces: VecDeque<Queued>,
    tasks: JoinSet<TaskEnd>,
    format: Option<AudioFormat>,
    failed: bool,
    closed: bool,
}

impl Driver {
    pub(super) fn new(run: Arc<RunState>, source: Box<dyn Iterator<Item = ProcessingTask> + Send>) -> Self {
        Self {
            run,
            source: Some(source),
            pieces: VecDeque::new(),
            tasks: JoinSet::new(),
            format: None,
            failed: false,
            closed: false,
        }
    }

    /// Takes tasks while there are fewer than there may be requests. One that waits for its retry makes room for
    /// another, but not without end.
    fn fill(&mut self) {
        if self.run.is_ending() {
            return;
        }
        let limit = self.run.engine.admission.limit();
        let window = limit + self.run.waiting().min(limit);
        while self.tasks.len() < window {
            let Some(queued) = self.take() else { break };
            let chunk = &queued.task.chunk;
            self.format.get_or_insert(chunk.format());
            if chunk.owned().start().get() > 0 {
                self.run.engine.metrics.cut(chunk.cut_quality());
            }
            let run = Arc::clone(&self.run);
            let span = spans::chunk(&run.span, queued.task.id, &queued.task.chunk);
            self.tasks.spawn(chunk_task::run(run, queued).instrument(span));
        }
    }

    fn take(&mut self) -> Option<Queued> {
        if let Some(piece) = self.pieces.pop_front() {
            return Some(piece);
        }
        let taken = self.source.as_mut()?.next();
        if taken.is_none() {
            self.source = None;
            self.run.exhausted.store(true, Ordering::Release);
        }
        taken.map(|task| Queued { task, again: false })
    }

    /// What came of a task: its result, if it has one, and new tasks.
    fn settle(&mut self, end: TaskEnd) -> Option<ChunkResult> {
        self.pieces.extend(end.pieces);
        if let Some(result) = &end.result {
            self.failed |= result.outcome.is_err() || !result.gaps.is_empty();
        }
        end.result
    }

    /// Marks the run as finished if nothing is left of it.
    fn note_end(&mut self) {
        if !self.tasks.is_empty() || self.closed {
            return;
        }
        let all_taken = self.source.is_none() && self.pieces.is_empty();
        if all_taken {
            self.run.progress.modify(|progress| {
                progress.finished = true;
                progress.eta = Some(std::time::Duration::ZERO);
            });
        }
        if all_taken || self.run.is_ending() {
            self.closed = true;
            self.record_end(self.outcome());
            if let Some(ratio) = self.run.makespan_ratio().filter(|_| all_taken) {
                self.run.engine.metrics.makespan(ratio);
            }
        }
    }

    fn record_end(&self, outcome: RunOutcome) {
        self.run.span.record("outcome", outcome.name());
        let metrics = &self.run.engine.metrics;
        metrics.run_ended(outcome, self.run.started.elapsed());
        metrics.file_ended(self.format, outcome, self.run.progress.latest().audio_total);
    }

    fn outcome(&self) -> RunOutcome {
        match self.run.ended_by() {
            None if self.failed => RunOutcome::Gaps,
            None => RunOutcome::Done,
            Some(ProcessingError::Cancelled) => RunOutcome::Cancelled,
            Some(ProcessingError::Recognition { source, .. }) if source.scope() == ErrorScope::Run => {
                RunOutcome::Refused
            }
            Some(_) => RunOutcome::Failed,
        }
    }
}

#[async_trait]
impl RunDriver for Driver {
    async fn next(&mut self) -> Option<ChunkResult> {
        loop {
            self.fill();
            self.note_end();
            if self.tasks.is_empty() {
                return None;
            }
            let deadline = self.run.deadline.filter(|_| !self.run.is_ending());
            let joined = tokio::select! {
                biased;
                joined = self.tasks.join_next() => joined,
                () = self.run.room.notified() => continue,
                () = until(deadline.map(|deadline| deadline.at)) => {
                    if let Some(deadline) = deadline {
                        self.run.halt(ProcessingError::DeadlineExceeded { deadline: deadline.given });
                    }
                    continue;
                }
            };
            // A task contains its panics and is never aborted while the driver lives: there is always an end.
            let Some(Ok(end)) = joined else { continue };
            if let Some(result) = self.settle(end) {
                // Before the caller looks at it: room that was made is used at once.
                self.fill();
                self.note_end();
                return Some(result);
            }
        }
    }

    fn control(&self) -> Arc<dyn RunControl> {
        Arc::clone(&self.run) as Arc<dyn RunControl>
    }

    fn close(&mut self) -> RunClose {
        let pieces = self.pieces.drain(..).map(|piece| piece.task.chunk.owned());
        let mut untaken: Vec<SampleSpan> = pieces.collect();
        for task in self.source.take().into_iter().flatten() {
            let span = task.chunk.owned();
            // Chunks that touch are one stretch: a long rest takes no more memory than a short one.
            match untaken.last_mut() {
                Some(last) if last.end() == span.start() => *last = SampleSpan::new(last.start(), span.end()),
                _ => untaken.push(span),
            }
        }
        RunClose { untaken, costs: self.run.costs(), ended_by: self.run.ended_by() }
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        if !self.closed {
            self.run.halt(ProcessingError::Cancelled);
            let engine = &self.run.engine;
            for _ in 0..self.tasks.len() {
                engine.metrics.chunk_ended(ChunkOutcome::Cancelled, self.run.started.elapsed());
            }
            self.record_end(RunOutcome::Cancelled);
        }
    }
}

impl fmt::Debug for Driver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Driver")
            .field("run", &self.run)
            .field("tasks", &self.tasks.len())
            .finish_non_exhaustive()
    }
}

/// Waits until then; for ever if there is no such time.
async fn until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
