//! Runs chunks side by side. It decides when to send, when to try again and when to give up; it hears nothing itself.

mod asking;
mod chunk_task;
mod driver;
mod run_state;
mod sending;

use std::sync::atomic::AtomicI64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use async_trait::async_trait;
use tokio::sync::Semaphore;
use wavequill_kernel::Backoff;

use self::driver::Driver;
use self::run_state::RunState;
use crate::metrics::Metrics;
use crate::{
    Admission, ChunkProcessor, NoopTranscriptStore, Orchestrator, OrchestratorConfig, ProcessingError,
    Progress, Run, RunControl, TaskSource, TranscriptStore,
};

/// The default [`Orchestrator`]: as many requests side by side as the [`Admission`] allows, each chunk kept before it is
/// reported, and tried again only where that can help.
///
/// A chunk is looked up in the run's journal, then in the store. If neither knows it, it waits for a permit, is sent,
/// and its answer is recorded in the journal and kept in the store before it is given out. Then it is audited, and what
/// it left out is asked for once more, if the [`ChunkProcessor`] can do that. While a chunk waits to be tried again it
/// holds no permit, and another one is sent.
///
/// ```
/// use std::sync::Arc;
/// use std::time::Duration;
/// use wavequill_processing::{
///     AdmissionConfig, ConcurrencyLimit, LatencyModel, Orchestrator, OrchestratorConfig, ParallelOrchestrator,
///     RecognitionOptions, RecognizingProcessor, SampleRate, SlownessAdmission, TaskSource,
///     testing::{ScriptedRecognizer, chunks_of},
/// };
///
/// # let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
/// # runtime.block_on(async {
/// let limit = AdmissionConfig::at(ConcurrencyLimit::new(4)?);
/// let admission = Arc::new(SlownessAdmission::new(limit, LatencyModel::default()));
/// let orchestrator = ParallelOrchestrator::new(OrchestratorConfig::default(), admission)?;
///
/// let chunks = chunks_of(6, Duration::from_secs(60), SampleRate::new(16_000)?);
/// let recognizer = Arc::new(ScriptedRecognizer::new());
/// let processor = RecognizingProcessor::new(recognizer, RecognitionOptions::default());
/// let mut run = orchestrator.start(TaskSource::longest_first(chunks), Arc::new(processor));
/// while let Some(result) = run.next().await {
///     println!("{}: {:?}", result.task.id, result.outcome?.text);
/// }
/// assert_eq!(run.progress().fraction(), 1.0);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct ParallelOrchestrator {
    engine: Arc<Engine>,
    runs: Mutex<Vec<Weak<RunState>>>,
}

/// What all runs share.
#[derive(Debug)]
pub(crate) struct Engine {
    pub(crate) config: OrchestratorConfig,
    pub(crate) backoff: Backoff,
    pub(crate) admission: Arc<dyn Admission>,
    pub(crate) store: Arc<dyn TranscriptStore>,
    pub(crate) bytes: Arc<Semaphore>,
    pub(crate) metrics: Metrics,
    pub(crate) in_flight: AtomicI64,
    pub(crate) in_flight_bytes: AtomicI64,
}

impl ParallelOrchestrator {
    /// One that asks `admission` before each request and keeps nothing. Share the admission among all that use the same
    /// API key.
    ///
    /// # Errors
    /// [`ProcessingError::InvalidConfig`] names the field that will not do.
    pub fn new(config: OrchestratorConfig, admission: Arc<dyn Admission>) -> Result<Self, ProcessingError> {
        config.validate()?;
        let most_bytes = usize::try_from(config.max_in_flight_bytes.bytes()).unwrap_or(usize::MAX);
        let engine = Engine {
            backoff: config.retry.backoff()?,
            admission,
            store: Arc::new(NoopTranscriptStore),
            bytes: Arc::new(Semaphore::new(most_bytes.min(u32::MAX as usize))),
            metrics: Metrics::register(),
            in_flight: AtomicI64::new(0),
            in_flight_bytes: AtomicI64::new(0),
            config,
        };
        Ok(Self { engine: Arc::new(engine), runs: Mutex::default() })
    }

    /// Keeps each finished chunk in `store`, and asks for nothing that is in it. Default: [`NoopTranscriptStore`].
    #[must_use]
    pub fn with_store(self, store: Arc<dyn TranscriptStore>) -> Self {
        let engine = Engine {
            config: self.engine.config.clone(),
            backoff: self.engine.backoff,
            admission: Arc::clone(&self.engine.admission),
            store,
            bytes: Arc::clone(&self.engine.bytes),
            metrics: self.engine.metrics.clone(),
            in_flight: AtomicI64::new(0),
            in_flight_bytes: AtomicI64::new(0),
        };
        Self { engine: Arc::new(engine), runs: self.runs }
    }

    fn lock_runs(&self) -> MutexGuard<'_, Vec<Weak<RunState>>> {
        self.runs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The runs that somebody still holds.
    fn live(&self) -> Vec<Arc<RunState>> {
        let mut runs = self.lock_runs();
        runs.retain(|run| run.strong_count() > 0);
        runs.iter().filter_map(Weak::upgrade).collect()
    }
}

#[async_trait]
impl Orchestrator for ParallelOrchestrator {
    fn start(&self, tasks: TaskSource, by: Arc<dyn ChunkProcessor>) -> Run {
        let state = RunState::new(Arc::clone(&self.engine), by, &tasks);
        let mut runs = self.lock_runs();
        runs.retain(|run| run.strong_count() > 0);
        runs.push(Arc::downgrade(&state));
        drop(runs);
        Run::new(Driver::new(state, tasks.tasks))
    }

    fn progress(&self) -> Progress {
        let runs = self.live().into_iter().map(|run| run.progress.latest());
        runs.reduce(Progress::and).unwrap_or(Progress { finished: true, ..Progress::default() })
    }

    async fn cancel_all(&self) {
        for run in self.live() {
            run.cancel().await;
        }
    }
}
