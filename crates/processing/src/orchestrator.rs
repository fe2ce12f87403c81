//! The role of running chunks side by side, and what its users hold while it does.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::watch;

use crate::model::gap;
use crate::transcript_assembler::open_gaps;
use crate::{
    ChunkProcessor, ChunkResult, Gap, GapCause, ProcessingError, Progress, RunCosts, RunReport, SampleSpan,
    TaskId, TaskSource,
};

/// Runs chunks side by side. The default is [`ParallelOrchestrator`](crate::ParallelOrchestrator).
///
/// # Contract
/// 1. Never more requests are in flight than the [`Admission`](crate::Admission) allows, never more body bytes than
///    `max_in_flight_bytes`.
/// 2. Each task taken ends in one result, or in one for each piece if it is split; a panic fails only its task.
/// 3. No permit is held while waiting.
/// 4. `Throttled` pauses the key once for all, costs no attempt, and is bounded by the deadline.
/// 5. A result is durable in journal and store before [`Run::next`] yields it.
/// 6. When [`Run::cancel`] returns, no processor's future is polled again and finished results can be had; dropping the
///    [`Run`] cancels.
/// 7. Progress is weighted by audio, never falls, and is 1.0 only when each task is resolved.
/// 8. Memory follows what is in flight, not the number of tasks.
/// 9. This is the only layer that retries a chunk.
#[async_trait]
pub trait Orchestrator: Debug + Send + Sync + 'static {
    /// Starts a run. Tasks are taken while [`Run::next`] is awaited.
    fn start(&self, tasks: TaskSource, by: Arc<dyn ChunkProcessor>) -> Run;

    /// How far all its runs are together.
    fn progress(&self) -> Progress;

    /// Cancels all its runs; returns when no processor's future is polled any more.
    async fn cancel_all(&self);

    /// Runs all tasks to the end and gathers the results. Memory follows what was heard.
    ///
    /// # Cancellation
    /// Dropping the future cancels the run; what is finished is in the journal and the store.
    async fn execute_parallel(&self, tasks: TaskSource, by: Arc<dyn ChunkProcessor>) -> RunReport {
        self.start(tasks, by).finish().await
    }
}

#[async_trait]
impl<T: Orchestrator + ?Sized> Orchestrator for Arc<T> {
    fn start(&self, tasks: TaskSource, by: Arc<dyn ChunkProcessor>) -> Run {
        (**self).start(tasks, by)
    }

    fn progress(&self) -> Progress {
        (**self).progress()
    }

    async fn cancel_all(&self) {
        (**self).cancel_all().await;
    }

    async fn execute_parallel(&self, tasks: TaskSource, by: Arc<dyn ChunkProcessor>) -> RunReport {
        (**self).execute_parallel(tasks, by).await
    }
}

/// One run. Dropping it cancels what is in flight; what is finished stays in journal and store.
#[derive(Debug)]
pub struct Run {
    driver: Box<dyn RunDriver>,
    handle: RunHandle,
}

impl Run {
    /// A run that is driven by `driver`: for those who write an [`Orchestrator`].
    pub fn new(driver: impl RunDriver) -> Self {
        let handle = RunHandle(driver.control());
        Self { driver: Box::new(driver), handle }
    }

    /// The next result, in the order in which they are finished; `None` when the run has ended.
    ///
    /// # Cancellation
    /// Dropping the future loses nothing; what is in flight goes on, but nothing new is taken.
    pub async fn next(&mut self) -> Option<ChunkResult> {
        self.driver.next().await
    }

    /// How far it is.
    pub fn progress(&self) -> Progress {
        self.handle.progress()
    }

    /// Tells of each change of the progress.
    pub fn watch(&self) -> ProgressWatch {
        self.handle.watch()
    }

    /// Something to watch and cancel it by while another task awaits its results.
    pub fn handle(&self) -> RunHandle {
        self.handle.clone()
    }

    /// Ends it: when this returns, nothing of it is in flight, and [`next`](Self::next) gives what is finished.
    pub async fn cancel(&self) {
        self.handle.cancel().await;
    }

    /// All results that are left, and what nobody heard.
    pub async fn finish(mut self) -> RunReport {
        let mut results = BTreeMap::new();
        while let Some(result) = self.driver.next().await {
            results.insert(result.task.id, result);
        }
        let mut gaps = gaps_in(&results);
        let close = self.driver.close();
        gaps.extend(close.untaken.into_iter().map(|span| Gap { span, cause: GapCause::Cancelled }));
        RunReport { results, gaps: gap::join(gaps), costs: close.costs, ended_by: close.ended_by }
    }
}

/// What nobody heard. A chunk that lies within one that was heard was asked for again: if it was heard this time, that
/// closes the gap; if not, the gap is there already.
fn gaps_in(results: &BTreeMap<TaskId, ChunkResult>) -> Vec<Gap> {
    let is_within = |inner: SampleSpan, outer: SampleSpan| {
        inner != outer && outer.start() <= inner.start() && inner.end() <= outer.end()
    };
    // Pieces of a chunk share its place in the plan, so only those are compared.
    let is_again = |result: &ChunkResult| {
        let inner = result.task.chunk.owned();
        let same_chunk = results
            .range(TaskId::of_chunk(result.task.id.index())..)
            .take_while(|(id, _)| id.index() == result.task.id.index());
        same_chunk
            .into_iter()
            .any(|(_, other)| other.outcome.is_ok() && is_within(inner, other.task.chunk.owned()))
    };
    let (again, first): (Vec<&ChunkResult>, Vec<&ChunkResult>) =
        results.values().partition(|result| is_again(result));
    let heard_again: Vec<SampleSpan> = again
        .iter()
        .filter(|result| result.outcome.is_ok())
        .map(|result| result.task.chunk.owned())
        .collect();
    let mut gaps = open_gaps(first.into_iter().flat_map(gaps_of).collect(), &heard_again);
    // What is still missing in the second answer.
    gaps.extend(again.into_iter().filter(|result| result.outcome.is_ok()).flat_map(gaps_of));
    gaps
}

/// What nobody heard of a task's audio.
fn gaps_of(result: &ChunkResult) -> Vec<Gap> {
    let all = |cause| vec![Gap { span: result.task.chunk.owned(), cause }];
    match &result.outcome {
        Ok(_) => result.gaps.clone(),
        Err(ProcessingError::Cancelled | ProcessingError::DeadlineExceeded { .. }) => {
            all(GapCause::Cancelled)
        }
        Err(_) => all(GapCause::Failed),
    }
}

/// Watches and cancels a run; cheap to clone.
#[derive(Clone, Debug)]
pub struct RunHandle(Arc<dyn RunControl>);

impl RunHandle {
    /// How far the run is.
    pub fn progress(&self) -> Progress {
        self.0.watch().latest()
    }

    /// Tells of each change of the progress.
    pub fn watch(&self) -> ProgressWatch {
        self.0.watch()
    }

    /// As [`Run::cancel`].
    pub async fn cancel(&self) {
        self.0.cancel().await;
    }
}

/// Tells of the progress of a run. Who is slow sees the latest state, not each.
#[derive(Clone, Debug)]
pub struct ProgressWatch {
    seen: watch::Receiver<Progress>,
}

impl ProgressWatch {
    /// Both ends, with nothing done.
    pub fn channel() -> (ProgressSender, Self) {
        let (sender, seen) = watch::channel(Progress::default());
        (ProgressSender(sender), Self { seen })
    }

    /// The latest state.
    pub fn latest(&self) -> Progress {
        *self.seen.borrow()
    }

    /// Waits for the next change; `None` when the run is over and nothing changes any more.
    ///
    /// # Cancellation
    /// Dropping the future loses nothing.
    pub async fn changed(&mut self) -> Option<Progress> {
        self.seen.changed().await.ok()?;
        Some(*self.seen.borrow_and_update())
    }
}

/// The other end of [`ProgressWatch`]: for those who write an [`Orchestrator`].
#[derive(Debug)]
pub struct ProgressSender(watch::Sender<Progress>);

impl ProgressSender {
    /// Changes the state, and tells those who watch.
    pub fn modify(&self, change: impl FnOnce(&mut Progress)) {
        self.0.send_modify(change);
    }

    /// The state.
    pub fn latest(&self) -> Progress {
        *self.0.borrow()
    }

    /// Someone more who watches.
    pub fn watch(&self) -> ProgressWatch {
        ProgressWatch { seen: self.0.subscribe() }
    }
}

/// What moves a run on: for those who write an [`Orchestrator`].
#[async_trait]
pub trait RunDriver: Debug + Send + 'static {
    /// As [`Run::next`].
    async fn next(&mut self) -> Option<ChunkResult>;

    /// What the run can be watched and cancelled by.
    fn control(&self) -> Arc<dyn RunControl>;

    /// Ends the run after its last result: what was never taken, and what it all took.
    fn close(&mut self) -> RunClose;
}

/// What a run can be watched and cancelled by: for those who write an [`Orchestrator`].
#[async_trait]
pub trait RunControl: Debug + Send + Sync + 'static {
    /// As [`Run::watch`].
    fn watch(&self) -> ProgressWatch;

    /// As [`Run::cancel`].
    async fn cancel(&self);
}

/// What is left to say when a run has ended.
#[derive(Clone, Debug, Default)]
pub struct RunClose {
    /// Audio of tasks that were never taken.
    pub untaken: Vec<SampleSpan>,
    /// What it took.
    pub costs: RunCosts,
    /// What ended it before its end.
    pub ended_by: Option<ProcessingError>,
}
