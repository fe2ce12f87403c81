//! What an embedder writes: a handler for a type of job, and what it may say and ask while it runs.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::FutureExt;
use parking_lot::Mutex;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::watch;
use wavequill_kernel::{ErrorClass, InvalidValue, Retryable};

use crate::{FailureCause, Job, JobId, JobType, Json, LeasedJob, Progress};

/// Runs the jobs of one type, whose payload is a `T`. An async closure will do:
/// `|file: String, context: JobContext| async move { … }`.
///
/// It may run again after a crash, so what it does outside should be safe to repeat; it is *settled* once.
///
/// # Contract
/// 1. It gets a job only while its worker holds the lease.
/// 2. It should return soon after [`JobContext::cancelled`]; after the worker's grace its future is dropped.
///    Threads and child processes that it started outlive that: stop them when the context says so.
/// 3. A panic is caught, and counts as a crash.
#[async_trait]
pub trait JobHandler<T>: Send + Sync + 'static {
    /// What the job's result is, kept as JSON.
    type Output: Serialize + Send;

    /// Does the job.
    async fn run(&self, payload: T, context: JobContext) -> Result<Self::Output, JobFailure>;
}

#[async_trait]
impl<T, F, Fut, Output> JobHandler<T> for F
where
    T: Send + 'static,
    F: Fn(T, JobContext) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<Output, JobFailure>> + Send,
    Output: Serialize + Send,
{
    type Output = Output;

    async fn run(&self, payload: T, context: JobContext) -> Result<Output, JobFailure> {
        self(payload, context).await
    }
}

/// Why a job failed, as its handler sees it. Made from any error that is [`Retryable`] by `?`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobFailure {
    pub(crate) kind: FailureKind,
    pub(crate) message: String,
}

/// What should follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FailureKind {
    Failed { cause: FailureCause, retry_after: Option<Duration> },
    Snooze { after: Duration },
    Cancelled,
}

impl JobFailure {
    /// It would fail again: the job is dead at once, kept and replayable.
    pub fn permanent(message: impl Into<String>) -> Self {
        Self::failed(FailureCause::Permanent, None, message)
    }

    /// It may succeed later: an attempt is spent.
    pub fn transient(message: impl Into<String>) -> Self {
        Self::failed(FailureCause::Transient, None, message)
    }

    /// Somebody asked for patience: no attempt is spent.
    pub fn throttled(message: impl Into<String>, retry_after: Option<Duration>) -> Self {
        Self::failed(FailureCause::Throttled, retry_after, message)
    }

    /// Nothing is wrong, but it is too early: again after this time, no attempt spent. How often is not bounded.
    pub fn snooze(after: Duration) -> Self {
        Self { kind: FailureKind::Snooze { after }, message: String::new() }
    }

    /// It stopped because it was told to. If nobody told it to, the job ends as cancelled.
    pub fn cancelled() -> Self {
        Self { kind: FailureKind::Cancelled, message: "stopped when it was told to".to_owned() }
    }

    /// A failure of an error, with its class and all its sources in the message.
    pub fn of(error: &(impl std::error::Error + Retryable)) -> Self {
        let (cause, retry_after) = match error.class() {
            ErrorClass::Permanent => (FailureCause::Permanent, None),
            ErrorClass::Transient => (FailureCause::Transient, None),
            ErrorClass::Throttled { retry_after } => (FailureCause::Throttled, retry_after),
            ErrorClass::Exhausted => (FailureCause::Exhausted, None),
        };
        Self::failed(cause, retry_after, chain(error))
    }

    /// What was said about it.
    pub fn message(&self) -> &str {
        &self.message
    }

    pub(crate) fn failed(
        cause: FailureCause,
        retry_after: Option<Duration>,
        message: impl Into<String>,
    ) -> Self {
        Self { kind: FailureKind::Failed { cause, retry_after }, message: message.into() }
    }
}

impl fmt::Display for JobFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            FailureKind::Snooze { after } => write!(f, "to be run again after {after:?}"),
            FailureKind::Failed { .. } | FailureKind::Cancelled => f.write_str(&self.message),
        }
    }
}

impl<E: std::error::Error + Retryable> From<E> for JobFailure {
    fn from(error: E) -> Self {
        Self::of(&error)
    }
}

/// An error and its sources: `a: b: c`.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

/// Why a running handler is told to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StopReason {
    /// Somebody cancelled the job.
    Cancelled,
    /// It took longer than allowed.
    TimedOut,
    /// The worker shuts down; the job will run again.
    Shutdown,
    /// The worker lost its lease: another one may run the job already, and nothing that this one does counts.
    LeaseLost,
}

/// What a handler knows and may say while it runs. A cheap clone.
#[derive(Clone, Debug)]
pub struct JobContext {
    shared: Arc<ContextShared>,
}

#[derive(Debug)]
struct ContextShared {
    leased: LeasedJob,
    stop: watch::Sender<Option<StopReason>>,
    progress: Mutex<Option<Json>>,
}

impl JobContext {
    pub(crate) fn new(leased: LeasedJob) -> Self {
        let shared = ContextShared { leased, stop: watch::Sender::new(None), progress: Mutex::default() };
        Self { shared: Arc::new(shared) }
    }

    /// The job.
    pub fn job(&self) -> &Job {
        &self.shared.leased.job
    }

    /// Its id.
    pub fn id(&self) -> JobId {
        self.shared.leased.job.id
    }

    /// Which attempt this is, from 1: crashes, failures and snoozes before it count.
    pub fn attempt(&self) -> u32 {
        let attempts = self.job().attempts;
        1 + u32::from(attempts.failures) + u32::from(attempts.crashes) + u32::from(attempts.snoozes)
    }

    /// Waits until the handler should stop, and says why.
    ///
    /// # Cancellation
    /// Safe.
    pub async fn cancelled(&self) -> StopReason {
        self.stopped(|_| true).await
    }

    /// Waits until the lease is lost.
    pub(crate) async fn lease_lost(&self) {
        self.stopped(|reason| reason == StopReason::LeaseLost).await;
    }

    async fn stopped(&self, counts: impl Fn(StopReason) -> bool) -> StopReason {
        let mut stop = self.shared.stop.subscribe();
        loop {
            if let Some(reason) = stop.borrow_and_update().filter(|reason| counts(*reason)) {
                return reason;
            }
            if stop.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// Why the handler should stop, if it should.
    pub fn stop_reason(&self) -> Option<StopReason> {
        *self.shared.stop.borrow()
    }

    /// Reports progress, in any form. The latest is stored with the next heartbeat (every 5 s by default) and shown
    /// by [`Job::progress`](crate::Job::progress).
    ///
    /// # Errors
    /// [`InvalidValue`] if it cannot be JSON, or has more than 4 KiB.
    pub fn report<P: Serialize + ?Sized>(&self, progress: &P) -> Result<(), InvalidValue> {
        let body = Json::of(progress)?;
        if body.len() > Progress::MAX_BYTES {
            let given = format!("{} bytes of JSON", body.len());
            return Err(InvalidValue::new("progress", given, "at most 4096 bytes"));
        }
        *self.shared.progress.lock() = Some(body);
        Ok(())
    }

    pub(crate) fn leased(&self) -> &LeasedJob {
        &self.shared.leased
    }

    /// Tells the handler to stop. The first reason stays, except that a lost lease overrides all.
    pub(crate) fn stop(&self, reason: StopReason) {
        self.shared.stop.send_if_modified(|stop| {
            let news = stop.is_none() || (reason == StopReason::LeaseLost && *stop != Some(reason));
            if news {
                *stop = Some(reason);
            }
            news
        });
    }

    pub(crate) fn take_progress(&self) -> Option<Progress> {
        let body = self.shared.progress.lock().take()?;
        Some(Progress { lease: self.shared.leased.lease, body })
    }

    /// A report that could not be stored; a newer one stays.
    pub(crate) fn put_back(&self, progress: Progress) {
        self.shared.progress.lock().get_or_insert(progress.body);
    }
}

type BoxedRun = Pin<Box<dyn Future<Output = Result<Option<Json>, JobFailure>> + Send>>;

trait ErasedHandler: Send + Sync {
    fn run(self: Arc<Self>, context: JobContext) -> BoxedRun;
}

struct Typed<T, H> {
    handler: H,
    payload: std::marker::PhantomData<fn(T)>,
}

impl<T, H> ErasedHandler for Typed<T, H>
where
    T: DeserializeOwned + Send + 'static,
    H: JobHandler<T>,
{
    fn run(self: Arc<Self>, context: JobContext) -> BoxedRun {
        Box::pin(async move {
            let payload = context.job().payload.read::<T>().map_err(|error| {
                JobFailure::permanent(format!("the payload does not fit the handler: {error}"))
            })?;
            let output = self.handler.run(payload, context).await?;
            let result = Json::of(&output)
                .map_err(|error| JobFailure::permanent(format!("the result cannot be kept: {error}")))?;
            if result.len() > MAX_RESULT_BYTES {
                let size = result.len();
                return Err(JobFailure::permanent(format!(
                    "the result has {size} bytes of JSON, more than {MAX_RESULT_BYTES}: store it elsewhere, \
                     return its address"
                )));
            }
            Ok(if result.as_str() == "null" { None } else { Some(result) })
        })
    }
}

/// The most bytes of JSON a result may have: 16 MiB.
const MAX_RESULT_BYTES: usize = 16 * 1024 * 1024;

/// The handlers of a worker, one a type of job.
///
/// ```
/// use wavequill_queue::{Handlers, JobContext, JobFailure, JobType};
///
/// let handlers = Handlers::new()
///     .with(JobType::TRANSCRIPTION, |file: String, _context: JobContext| async move {
///         if file.is_empty() { Err(JobFailure::permanent("no file")) } else { Ok(file.len()) }
///     });
/// assert_eq!(handlers.job_types().count(), 1);
/// ```
#[derive(Clone, Default)]
pub struct Handlers {
    by_type: BTreeMap<JobType, Arc<dyn ErasedHandler>>,
}

impl Handlers {
    /// None yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds the handler of a type; a second one of the same type takes its place.
    #[must_use]
    pub fn with<T, H>(mut self, job_type: JobType, handler: H) -> Self
    where
        T: DeserializeOwned + Send + 'static,
        H: JobHandler<T>,
    {
        self.by_type.insert(job_type, Arc::new(Typed { handler, payload: std::marker::PhantomData }));
        self
    }

    /// The types that have one.
    pub fn job_types(&self) -> impl Iterator<Item = &JobType> {
        self.by_type.keys()
    }

    /// Runs the job of a context; a panic is caught.
    pub(crate) async fn run(&self, context: JobContext) -> HandlerEnd {
        let job_type = &context.job().job_type;
        let Some(handler) = self.by_type.get(job_type).map(Arc::clone) else {
            let message =
                format!("this worker has no handler for `{job_type}`, though it takes its worker type");
            return HandlerEnd::Failed(JobFailure::transient(message));
        };
        // The panicked future is dropped, and nothing of it is looked at again.
        match AssertUnwindSafe(handler.run(context)).catch_unwind().await {
            Ok(Ok(result)) => HandlerEnd::Done(result),
            Ok(Err(failure)) => HandlerEnd::Failed(failure),
            Err(panic) => HandlerEnd::Panicked(panic_message(panic.as_ref())),
        }
    }
}

impl fmt::Debug for Handlers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.by_type.keys()).finish()
    }
}

/// How a handler's run ended.
#[derive(Debug)]
pub(crate) enum HandlerEnd {
    Done(Option<Json>),
    Failed(JobFailure),
    Panicked(String),
    /// It was told to stop, did not within the grace, and was dropped.
    Dropped,
}

fn panic_message(panic: &(dyn std::any::Any + Send)) -> String {
    let text =
        panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("the handler panicked without a message").to_owned()
}
