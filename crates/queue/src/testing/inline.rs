//! Runs jobs where the caller stands: no tasks, no heartbeats, no waiting.

use std::time::Duration;

use crate::adapters::rules;
use crate::handler::{FailureKind, HandlerEnd};
use crate::{
    AttemptError, ClaimRequest, Ended, Failure, FailureCause, FreeSlots, Handlers, JobContext, JobId,
    JobQueue, QueueError, RetryBudget, Settlement, WorkerId, WorkerRegistration,
};

/// What [`run_inline`] did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InlineReport {
    /// Jobs that were completed, in order.
    pub completed: Vec<JobId>,
    /// Attempts that failed, in order: the job waits for its retry, or has ended.
    pub failed: Vec<JobId>,
}

/// Runs all jobs that are due, one after the other, also those that they enqueue, until none is left. Retries are not
/// waited for.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
/// use wavequill_queue::testing::run_inline;
/// use wavequill_queue::{Handlers, JobContext, JobQueue, JobType, NewJob};
///
/// let queue = JobQueue::in_memory();
/// let job = queue.enqueue(NewJob::new(JobType::SUMMARIZATION, "a transcript")?).await?.id();
/// let handlers = Handlers::new()
///     .with(JobType::SUMMARIZATION, |text: String, _: JobContext| async move { Ok(text.len()) });
/// let report = run_inline(&queue, &handlers).await?;
/// assert_eq!(report.completed, [job]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
///
/// # Errors
/// What the store says; [`QueueError::NoHandlers`].
pub async fn run_inline(queue: &JobQueue, handlers: &Handlers) -> Result<InlineReport, QueueError> {
    let routing = &queue.policies().routing;
    let types = handlers.job_types().map(|kind| routing.route(kind)).collect::<Result<Vec<_>, _>>()?;
    let name = WorkerId::new("inline").map_err(crate::error::invalid_config)?;
    let worker = WorkerRegistration::new(name, types, 1).map_err(|_| QueueError::NoHandlers)?;
    let session = queue.store().open_session(&worker).await?;
    let mut report = InlineReport::default();
    loop {
        let request = ClaimRequest { session, free: FreeSlots(1), only: None };
        let Some(leased) = queue.store().claim(request).await?.jobs.pop() else { break };
        let (job, lease) = (leased.job.clone(), leased.lease);
        let end = handlers.run(JobContext::new(leased)).await;
        let failed = |cause, retry_after: Option<Duration>, message: String| {
            let age = rules::age(&job, queue.policies().clock.now());
            let attempts = job.attempts;
            let failure = Failure { cause, retry_after, attempts, age, budget: RetryBudget::full() };
            queue.policies().retry.settle(&failure, AttemptError::new(cause, message), rules::seed(&job))
        };
        let settlement = match end {
            HandlerEnd::Done(result) => Settlement::Completed { result },
            HandlerEnd::Panicked(message) => failed(FailureCause::Panicked, None, message),
            HandlerEnd::Dropped => failed(FailureCause::Interrupted, None, String::new()),
            HandlerEnd::Failed(failure) => match failure.kind {
                FailureKind::Failed { cause, retry_after } => failed(cause, retry_after, failure.message),
                FailureKind::Snooze { after } => Settlement::Snoozed { after },
                FailureKind::Cancelled => Settlement::Cancelled,
            },
        };
        match settlement {
            Settlement::Completed { .. } => report.completed.push(job.id),
            _ => report.failed.push(job.id),
        }
        queue.store().settle(vec![Ended { lease, settlement }]).await?;
    }
    queue.store().close_session(session).await?;
    Ok(report)
}
