//! The facade: accepts recordings as jobs, runs them, and hands out what came of them.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::task::JoinSet;
use wavequill_caching::MultiLevelCache;
use wavequill_database::{ConnectionPoolManager, PoolStats};
use wavequill_monitoring::{MetricsCollector, MetricsSnapshot, Monitor};
use wavequill_processing::AudioSource;
use wavequill_queue::{
    Cost, Enqueued, JobEnd, JobId, JobQueue, JobType, NewJob, OnDuplicate, Uniqueness, Worker,
};

use crate::builder::WavequillBuilder;
use crate::live_run::{EndGuard, LiveRun, Outcome};
use crate::transcription::Work;
use crate::wiring::job::{FileJob, open};
use crate::wiring::upkeep::keep_up;
use crate::{
    JobScope, ParallelProcessingService, Source, TranscribeOptions, Transcription, Usage, WavequillError,
};

/// How many recordings that are not files are transcribed side by side; more wait for a place.
const MAX_RUNS: usize = 64;

/// Transcribes recordings over a speech API. A clone is the same service; the last one to go stops it, and what was
/// accepted goes on at the next start.
///
/// ```no_run
/// # async fn run() -> Result<(), Box<dyn std::error::Error>> {
/// let wavequill = wavequill::Wavequill::builder()
///     .base_url("http://127.0.0.1:8000/v1")
///     .store("wavequill-data")
///     .build()
///     .await?;
/// let transcript = wavequill.transcribe("talk.mp3").await?.await?;
/// println!("{}", transcript.text);
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct Wavequill {
    shared: Arc<Shared>,
}

/// What all clones and handles share.
#[derive(Debug)]
pub(crate) struct Shared {
    parts: Parts,
    /// The runs that somebody in this process waits for, by their jobs.
    live: Mutex<HashMap<JobId, Weak<LiveRun>>>,
    /// Recordings that are not files.
    here: Mutex<JoinSet<()>>,
    here_places: Arc<tokio::sync::Semaphore>,
    worker: Mutex<Option<Worker>>,
    /// Ends with the service.
    _upkeep: JoinSet<()>,
}

/// What the builder has put together.
#[derive(Debug)]
pub(crate) struct Parts {
    pub(crate) service: ParallelProcessingService,
    pub(crate) queue: JobQueue,
    pub(crate) pool: Arc<dyn ConnectionPoolManager>,
    /// The connections to the answers, where they are on a server.
    pub(crate) database: Option<Arc<dyn ConnectionPoolManager>>,
    pub(crate) cache: MultiLevelCache,
    pub(crate) collector: Arc<dyn MetricsCollector>,
    pub(crate) monitor: Monitor,
    pub(crate) options: TranscribeOptions,
    /// What tells the jobs of differently configured services in one store apart.
    pub(crate) fingerprint: String,
    pub(crate) attempts: u16,
}

impl Wavequill {
    /// Sets a service up. Only the API's address or a speech API of one's own is needed.
    pub fn builder() -> WavequillBuilder {
        WavequillBuilder::default()
    }

    pub(crate) fn of(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// Accepts a recording with the service's own options. Once this returns, a file is a stored job: with a store folder it
    /// survives this process, and goes on when the file is asked for again, or at once in a service of [`JobScope::All`].
    ///
    /// [`JobScope::All`]: crate::JobScope::All
    ///
    /// The same file with the same options is the same job: who asks again gets another handle of it.
    ///
    /// # Errors
    /// [`WavequillError::Processing`] if there is no such file; [`WavequillError::Queue`] if the job cannot be stored.
    pub async fn transcribe(&self, source: impl Into<Source>) -> Result<Transcription, WavequillError> {
        self.transcribe_with(source, self.shared.parts.options.clone()).await
    }

    /// Accepts a recording with options of its own. As [`transcribe`](Self::transcribe).
    ///
    /// # Errors
    /// As [`transcribe`](Self::transcribe).
    pub async fn transcribe_with(
        &self,
        source: impl Into<Source>,
        options: TranscribeOptions,
    ) -> Result<Transcription, WavequillError> {
        match source.into() {
            Source::File(file) => self.accept(file, options).await,
            Source::Audio(source) => self.run_here(source, options),
        }
    }

    async fn accept(
        &self,
        file: PathBuf,
        options: TranscribeOptions,
    ) -> Result<Transcription, WavequillError> {
        // What cannot be opened is refused now, not by a job that nobody may wait for.
        let source = open(file.clone()).await?;
        self.shared.check_open()?;
        let file = std::path::absolute(&file).unwrap_or(file);
        let job = self.shared.new_job(&FileJob { file, options }, source.len())?;
        let enqueued = self.shared.parts.queue.enqueue(job).await?;
        let (Enqueued::Created(id) | Enqueued::Existing(id)) = enqueued;
        let run = self.shared.run_of(id);
        // Shut down since: the job is stored, and goes on at the next start.
        self.shared.worker.lock().as_ref().ok_or(WavequillError::ShutDown)?.take_on(id);
        Ok(Transcription::new(Arc::clone(&self.shared), Work::Job(id), run))
    }

    fn run_here(
        &self,
        source: Arc<dyn AudioSource>,
        options: TranscribeOptions,
    ) -> Result<Transcription, WavequillError> {
        self.shared.check_open()?;
        let run = LiveRun::new();
        let (service, places) = (self.shared.parts.service.clone(), Arc::clone(&self.shared.here_places));
        let mut here = self.shared.here.lock();
        // Runs that have ended leave the set.
        while here.try_join_next().is_some() {}
        let live = EndGuard(Arc::clone(&run));
        here.spawn(async move {
            let _place = places.acquire().await;
            let outcome = tokio::select! {
                outcome = service.process(source, &options, &live.0) => outcome,
                () = live.0.cancelled() => Err(WavequillError::Cancelled),
            };
            live.0.end(outcome);
        });
        drop(here);
        Ok(Transcription::new(Arc::clone(&self.shared), Work::Here, run))
    }

    /// What was done since the service was built.
    pub fn usage(&self) -> Usage {
        Usage::of(&self.metrics())
    }

    /// All metrics as they are now.
    pub fn metrics(&self) -> MetricsSnapshot {
        self.shared.parts.collector.snapshot()
    }

    /// Watches the metrics: alerts, windows, output for scrapers.
    pub fn monitor(&self) -> &Monitor {
        &self.shared.parts.monitor
    }

    /// The stored jobs.
    pub fn queue(&self) -> &JobQueue {
        &self.shared.parts.queue
    }

    /// The connections to the store.
    pub fn pool(&self) -> PoolStats {
        self.shared.parts.pool.stats()
    }

    /// Stops: no job is begun, those that run have `grace` to end and are stored as interrupted otherwise; then connections
    /// are closed. What was accepted goes on at the next start.
    ///
    /// # Cancellation
    /// Dropped early, it stops at once; nothing is lost.
    pub async fn shutdown(self, grace: Duration) {
        self.shared.shutdown(grace).await;
    }
}

impl Shared {
    pub(crate) fn new(parts: Parts, jobs: JobScope) -> Arc<Self> {
        let mut upkeep = JoinSet::new();
        upkeep.spawn(keep_up(parts.cache.clone(), jobs));
        Arc::new(Self {
            parts,
            live: Mutex::default(),
            here: Mutex::default(),
            here_places: Arc::new(tokio::sync::Semaphore::new(MAX_RUNS)),
            worker: Mutex::default(),
            _upkeep: upkeep,
        })
    }

    /// Puts the worker in. It is made last: it needs what it works for.
    pub(crate) fn employ(&self, worker: Worker) {
        *self.worker.lock() = Some(worker);
    }

    fn check_open(&self) -> Result<(), WavequillError> {
        if self.worker.lock().is_some() { Ok(()) } else { Err(WavequillError::ShutDown) }
    }

    pub(crate) fn service(&self) -> &ParallelProcessingService {
        &self.parts.service
    }

    pub(crate) fn queue(&self) -> &JobQueue {
        &self.parts.queue
    }

    pub(crate) fn job_type(&self) -> Result<JobType, WavequillError> {
        Ok(JobType::new(format!("transcription-{}", self.parts.fingerprint))?)
    }

    fn new_job(&self, job: &FileJob, bytes: u64) -> Result<NewJob, WavequillError> {
        // Megabytes stand for the work: how long the recording is shows only when it is opened.
        let cost = Cost::new((bytes as f32 / 1e6).max(0.001))?;
        let job = NewJob::new(self.job_type()?, job)?;
        // Asked for again, it is due at once and starts afresh: a command that was killed often is no poison.
        let unique = Uniqueness::while_live().on_duplicate(OnDuplicate::Renew);
        Ok(job.with_cost(cost).with_max_attempts(self.parts.attempts).with_unique(unique))
    }

    /// The run of a job, as those in this process see it.
    pub(crate) fn run_of(&self, job: JobId) -> Arc<LiveRun> {
        let mut live = self.live.lock();
        live.retain(|_, run| run.strong_count() > 0);
        if let Some(run) = live.get(&job).and_then(Weak::upgrade) {
            return run;
        }
        let run = LiveRun::new();
        live.insert(job, Arc::downgrade(&run));
        run
    }

    /// Waits until the job has ended, wherever it ran.
    pub(crate) async fn end_of(&self, job: JobId, run: &LiveRun) -> Outcome {
        let end = match self.parts.queue.wait(job).await {
            Ok(end) => end,
            // The store was closed under those who wait.
            Err(_) if self.check_open().is_err() => return Err(WavequillError::ShutDown),
            Err(error) => return Err(error.into()),
        };
        match (end, run.outcome()) {
            (JobEnd::Completed { .. }, Some(Ok(transcript))) => Ok(transcript),
            (JobEnd::Completed { .. }, _) => self.found(job, run).await,
            (JobEnd::Cancelled, _) => Err(WavequillError::Cancelled),
            (JobEnd::Dead { .. }, Some(Err(error))) => Err(error),
            (JobEnd::Dead { errors, .. }, _) => {
                let reason = errors.last().map(|error| error.message.clone());
                Err(WavequillError::GivenUp { reason: reason.unwrap_or_else(|| "no reason was kept".into()) })
            }
            // An end that this version does not know.
            (other, _) => Err(WavequillError::GivenUp { reason: format!("{other:?}") }),
        }
    }

    /// The transcript of a job that another process has finished. It is in the store; should it have expired there, its
    /// chunks are looked up anew.
    async fn found(&self, job: JobId, run: &LiveRun) -> Outcome {
        let Some(stored) = self.parts.queue.job(job).await? else { return Err(WavequillError::ShutDown) };
        let FileJob { file, options } = stored.payload.read()?;
        self.parts.service.process(open(file).await?, &options, run).await
    }

    async fn shutdown(&self, grace: Duration) {
        let worker = self.worker.lock().take();
        if let Some(worker) = worker {
            worker.shutdown(grace).await;
        }
        self.here.lock().abort_all();
        // Who waits in another process need not wait for the leases to end.
        self.parts.cache.close().await;
        self.parts.monitor.shutdown(grace).await;
        if let Some(database) = &self.parts.database {
            // The cache listens on one of them to its end; all that it had to say has been said.
            database.close_all(Duration::ZERO).await;
        }
        self.parts.pool.close_all(grace).await;
    }
}
