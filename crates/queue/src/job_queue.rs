//! The client: hands jobs in, waits for their ends, and asks for changes.

use std::sync::Arc;
use std::time::Duration;

use crate::adapters::MemoryJobStore;
use crate::metrics::QueueMetrics;
use crate::{
    Affected, Command, Enqueued, EnqueuedFlow, FlowId, Handlers, Job, JobDispatcher, JobEnd, JobId, JobPage,
    JobQuery, JobState, JobStore, Json, LeastLoadedJobDispatcher, NewFlow, NewJob, Policies, Priority,
    QueueError, QueueStats, Worker, WorkerConfig, WorkerType,
};

/// A queue: a store of jobs and the policies of those who work on it. A cheap clone.
///
/// ```
/// # tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_time().build().unwrap().block_on(async {
/// use wavequill_queue::*;
///
/// let queue = JobQueue::in_memory();
/// let handlers = Handlers::new().with(JobType::TRANSCRIPTION, |file: String, _: JobContext| async move {
///     Ok(format!("words of {file}"))
/// });
/// let worker = queue.start_worker(WorkerConfig::default(), handlers).await?;
///
/// let job = queue.enqueue(NewJob::new(JobType::TRANSCRIPTION, "talk.flac")?).await?;
/// let JobEnd::Completed { result: Some(text) } = queue.wait(job.id()).await? else { panic!() };
/// assert_eq!(text.read::<String>()?, "words of talk.flac");
/// worker.shutdown(std::time::Duration::from_secs(30)).await;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
#[derive(Clone, Debug)]
pub struct JobQueue {
    store: Arc<dyn JobStore>,
    dispatcher: Arc<dyn JobDispatcher>,
    policies: Policies,
    metrics: QueueMetrics,
}

impl JobQueue {
    /// A queue on a store, whose jobs [`LeastLoadedJobDispatcher`] brings to workers. Give the store the same
    /// policies.
    pub fn new(store: Arc<dyn JobStore>, policies: Policies) -> Self {
        let dispatcher = Arc::new(LeastLoadedJobDispatcher::new(Arc::clone(&store)));
        Self { store, dispatcher, policies, metrics: QueueMetrics::register() }
    }

    /// Brings jobs to workers by another dispatcher.
    #[must_use]
    pub fn with_dispatcher(mut self, dispatcher: impl JobDispatcher) -> Self {
        self.dispatcher = Arc::new(dispatcher);
        self
    }

    /// A queue in memory, with default policies: gone with its last clone.
    pub fn in_memory() -> Self {
        Self::new(Arc::new(MemoryJobStore::default()), Policies::default())
    }

    /// The store.
    pub fn store(&self) -> &Arc<dyn JobStore> {
        &self.store
    }

    /// How jobs come to workers.
    pub fn dispatcher(&self) -> &Arc<dyn JobDispatcher> {
        &self.dispatcher
    }

    /// The policies.
    pub fn policies(&self) -> &Policies {
        &self.policies
    }

    /// Hands in a job. `Ok` means that it is stored as safely as the store can.
    ///
    /// # Errors
    /// See [`JobStore::enqueue`].
    pub async fn enqueue(&self, job: NewJob) -> Result<Enqueued, QueueError> {
        let enqueued = self.enqueue_all(vec![job]).await?.pop();
        enqueued.ok_or_else(|| QueueError::Unavailable {
            action: "enqueue",
            source: Arc::from(Box::from("the store answered with no job for one that was handed in")),
        })
    }

    /// Hands in many jobs, all or none; answers in their order.
    ///
    /// # Errors
    /// See [`JobStore::enqueue`].
    pub async fn enqueue_all(&self, jobs: Vec<NewJob>) -> Result<Vec<Enqueued>, QueueError> {
        let kinds: Vec<_> = jobs.iter().map(|job| job.job_type.clone()).collect();
        let enqueued = self.store.enqueue(jobs).await?;
        for (kind, enqueued) in kinds.iter().zip(&enqueued) {
            if enqueued.is_new() {
                self.metrics.kind(kind).enqueued.increment(1);
            }
        }
        Ok(enqueued)
    }

    /// Hands in a flow, all or nothing: jobs that wait for the results of others.
    ///
    /// # Errors
    /// See [`JobStore::enqueue_flow`].
    pub async fn enqueue_flow(&self, flow: NewFlow) -> Result<EnqueuedFlow, QueueError> {
        let kinds: Vec<_> = flow.stages.iter().flatten().map(|job| job.job_type.clone()).collect();
        let enqueued = self.store.enqueue_flow(flow).await?;
        for kind in &kinds {
            self.metrics.kind(kind).enqueued.increment(1);
        }
        Ok(enqueued)
    }

    /// The members of a flow with their results, in the order in which they were handed in: the input of a job that
    /// waited for them ([`Job::waits_for`]).
    ///
    /// # Errors
    /// See [`JobStore::read`].
    pub async fn members(&self, flow: FlowId) -> Result<Vec<Job>, QueueError> {
        let mut query = JobQuery::default().of_flow(flow).with_results().with_limit(1_000);
        let mut members = Vec::new();
        loop {
            let page = self.store.read(&query).await?;
            members.extend(page.jobs);
            let Some(next) = page.next else { return Ok(members) };
            query = query.after(next);
        }
    }

    /// Waits until a job has ended, however long that takes, and says how. It does not matter who runs the job, or
    /// when it ended.
    ///
    /// # Errors
    /// [`QueueError::NoSuchJob`] if it is unknown. What the store cannot answer now is asked again.
    ///
    /// # Cancellation
    /// Safe: the job goes on. To stop it, [`cancel`](Self::cancel) it.
    pub async fn wait(&self, job: JobId) -> Result<JobEnd, QueueError> {
        let mut wake_ups = self.store.wake_ups();
        let poll = self.store.timing().poll;
        loop {
            match self.outcome(job).await {
                Ok(Some(end)) => return Ok(end),
                Ok(None) => {}
                Err(error) if wavequill_kernel::Retryable::class(&error).is_retryable() => {
                    tracing::debug!(%job, %error, "the end of a job cannot be read now");
                }
                Err(error) => return Err(error),
            }
            tokio::select! {
                () = wake_ups.ended(job) => {}
                () = tokio::time::sleep(poll) => {}
            }
        }
    }

    /// How a job ended; `None` while it lives.
    ///
    /// # Errors
    /// [`QueueError::NoSuchJob`] if it is unknown, else what the store says.
    pub async fn outcome(&self, job: JobId) -> Result<Option<JobEnd>, QueueError> {
        let found = self.store.read(&JobQuery::ids([job])).await?.jobs.pop();
        found.map(|job| job.end()).ok_or(QueueError::NoSuchJob { job })
    }

    /// A job as it is stored; `None` if it is unknown.
    ///
    /// # Errors
    /// What the store says.
    pub async fn job(&self, job: JobId) -> Result<Option<Job>, QueueError> {
        Ok(self.store.read(&JobQuery::ids([job])).await?.jobs.pop())
    }

    /// What the handler of a job last reported.
    ///
    /// # Errors
    /// What the store says.
    pub async fn progress(&self, job: JobId) -> Result<Option<Json>, QueueError> {
        Ok(self.job(job).await?.and_then(|job| job.progress))
    }

    /// A page of jobs.
    ///
    /// # Errors
    /// What the store says.
    pub async fn jobs(&self, query: &JobQuery) -> Result<JobPage, QueueError> {
        self.store.read(query).await
    }

    /// Counts by type and state.
    ///
    /// # Errors
    /// What the store says.
    pub async fn stats(&self) -> Result<QueueStats, QueueError> {
        self.store.stats().await
    }

    /// Ends a waiting job; tells the handler of a running one to stop. `false` if it has ended, or is unknown.
    ///
    /// # Errors
    /// What the store says.
    pub async fn cancel(&self, job: JobId) -> Result<bool, QueueError> {
        self.one(Command::Cancel { jobs: vec![job] }).await
    }

    /// Makes a scheduled job due now. `false` if it is not scheduled.
    ///
    /// # Errors
    /// What the store says.
    pub async fn run_now(&self, job: JobId) -> Result<bool, QueueError> {
        self.one(Command::RunNow { jobs: vec![job] }).await
    }

    /// Gives a waiting job another priority. `false` if it does not wait.
    ///
    /// # Errors
    /// What the store says.
    pub async fn reprioritize(&self, job: JobId, priority: Priority) -> Result<bool, QueueError> {
        self.one(Command::Reprioritize { jobs: vec![job], priority }).await
    }

    /// Lets all dead and quarantined jobs of a page live again: pass [`JobQuery::in_states`] to narrow it.
    ///
    /// # Errors
    /// What the store says.
    pub async fn replay_dead(&self, query: JobQuery) -> Result<Affected, QueueError> {
        let query = query.in_states([JobState::Dead, JobState::Quarantined]);
        let jobs = self.store.read(&query).await?.jobs.iter().map(|job| job.id).collect();
        self.administer(Command::Replay { jobs }).await
    }

    /// No job of this worker type is claimed until it is resumed.
    ///
    /// # Errors
    /// What the store says.
    pub async fn pause(&self, worker_type: WorkerType) -> Result<(), QueueError> {
        self.administer(Command::Pause { worker_type }).await.map(drop)
    }

    /// Ends a pause.
    ///
    /// # Errors
    /// What the store says.
    pub async fn resume(&self, worker_type: WorkerType) -> Result<(), QueueError> {
        self.administer(Command::Resume { worker_type }).await.map(drop)
    }

    /// Any other change.
    ///
    /// # Errors
    /// What the store says.
    pub async fn administer(&self, command: Command) -> Result<Affected, QueueError> {
        self.store.administer(command).await
    }

    /// Waits until no job of these worker types waits or runs, or this time has passed; answers whether it is so.
    /// Scheduled jobs do not count.
    ///
    /// # Errors
    /// What the store says.
    pub async fn drained(&self, within: Duration) -> Result<bool, QueueError> {
        let idle = async {
            loop {
                let stats = self.store.stats().await?;
                if stats.kinds.iter().all(|kind| kind.ready + kind.running + kind.parked == 0) {
                    return Ok(());
                }
                tokio::time::sleep(self.store.timing().poll.min(Duration::from_millis(100))).await;
            }
        };
        match tokio::time::timeout(within, idle).await {
            Ok(result) => result.map(|()| true),
            Err(_) => Ok(false),
        }
    }

    /// Starts a worker in this process.
    ///
    /// # Errors
    /// See [`Worker::start`].
    pub async fn start_worker(&self, config: WorkerConfig, handlers: Handlers) -> Result<Worker, QueueError> {
        Worker::start(self, config, handlers).await
    }

    pub(crate) fn metrics(&self) -> &QueueMetrics {
        &self.metrics
    }

    async fn one(&self, command: Command) -> Result<bool, QueueError> {
        Ok(!self.administer(command).await?.jobs.is_empty())
    }
}
