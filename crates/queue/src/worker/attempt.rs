//! Runs one job once: with its time-out, and told to stop when it should.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::time::{Instant, sleep, sleep_until};

use super::Shared;
use super::conclude::{Conclusion, conclude};
use super::settle::Finished;
use crate::adapters::rules;
use crate::handler::HandlerEnd;
use crate::metrics::RunOutcome;
use crate::{AttemptError, Ended, Failure, FailureCause, JobContext, RetryBudget, Settlement, StopReason};

pub(super) async fn attempt(
    shared: Arc<Shared>,
    context: JobContext,
    ends: mpsc::Sender<Finished>,
    permit: Option<OwnedSemaphorePermit>,
) {
    let job = context.job();
    let kind = shared.queue.metrics().kind(&job.job_type);
    let waited = job.claimed_at.and_then(|at| at.duration_since(job.run_at).ok()).unwrap_or_default();
    kind.wait_seconds.record(waited);
    let limit = job.timeout.unwrap_or(shared.config.timeout);
    let started = Instant::now();
    let end = run_to_end(&shared, &context, limit).await;
    let conclusion = conclude(end, context.stop_reason(), limit);
    kind.ran(conclusion.outcome(), started.elapsed());
    let Some(settlement) = settlement(&shared, &context, conclusion) else {
        // The lease is lost: the store knows better than this worker.
        shared.forget(&context);
        return;
    };
    let ended = Ended { lease: context.leased().lease, settlement };
    // An error says that the worker is gone, and its jobs are rescued.
    let _ = ends.send(Finished { ended, context: context.clone(), at: Instant::now() }).await;
    drop(permit);
}

/// Runs the handler until it ends, or was told to stop and did not within the grace.
async fn run_to_end(shared: &Shared, context: &JobContext, limit: Duration) -> HandlerEnd {
    let handler = shared.handlers.run(context.clone());
    tokio::pin!(handler);
    let deadline = sleep(limit);
    let reason = tokio::select! {
        biased;
        end = &mut handler => return end,
        reason = context.cancelled() => reason,
        () = deadline => {
            context.stop(StopReason::TimedOut);
            StopReason::TimedOut
        }
    };
    if reason == StopReason::LeaseLost {
        return HandlerEnd::Dropped;
    }
    let patience = Instant::now() + shared.config.cancel_grace;
    tokio::select! {
        biased;
        end = &mut handler => end,
        () = sleep_until(patience) => HandlerEnd::Dropped,
        () = context.lease_lost() => HandlerEnd::Dropped,
    }
}

/// What to store; `None` if it would not count.
fn settlement(shared: &Shared, context: &JobContext, conclusion: Conclusion) -> Option<Settlement> {
    let job = context.job();
    match conclusion {
        Conclusion::LeaseLost => None,
        Conclusion::Completed { result } => {
            shared.budget(context, RetryBudget::earn);
            Some(Settlement::Completed { result })
        }
        Conclusion::Cancelled => Some(Settlement::Cancelled),
        Conclusion::Snoozed { after } => Some(Settlement::Snoozed { after }),
        Conclusion::Failed { cause, retry_after, message } => {
            let now = shared.queue.policies().clock.now();
            let budget = shared.budget(context, |_| {});
            let age = rules::age(job, now);
            let failure = Failure { cause, retry_after, attempts: job.attempts, age, budget };
            let error = AttemptError::new(cause, message);
            let seed = rules::seed(job);
            let settlement = shared.queue.policies().retry.settle(&failure, error, seed);
            if matches!(settlement, Settlement::Retry { .. }) && cause != FailureCause::Interrupted {
                shared.budget(context, RetryBudget::spend);
            }
            Some(settlement)
        }
    }
}

impl Shared {
    /// Forgets a context, if its job has not been claimed anew.
    pub(super) fn forget(&self, context: &JobContext) {
        let mut running = self.running.lock();
        if running.get(&context.id()).is_some_and(|now| now.leased().lease == context.leased().lease) {
            running.remove(&context.id());
        }
    }

    /// Changes the retry budget of a job's worker type, and answers what is left.
    fn budget(&self, context: &JobContext, change: impl FnOnce(&mut RetryBudget)) -> RetryBudget {
        let mut budgets = self.budgets.lock();
        let budget = budgets.entry(context.job().worker_type.clone()).or_default();
        change(budget);
        *budget
    }
}

impl Conclusion {
    fn outcome(&self) -> RunOutcome {
        match self {
            Self::Completed { .. } => RunOutcome::Done,
            Self::Snoozed { .. } => RunOutcome::Snoozed,
            Self::Cancelled | Self::LeaseLost => RunOutcome::Cancelled,
            Self::Failed { cause: FailureCause::TimedOut, .. } => RunOutcome::TimedOut,
            Self::Failed { cause: FailureCause::Panicked, .. } => RunOutcome::Panicked,
            Self::Failed { cause: FailureCause::Throttled | FailureCause::Interrupted, .. } => {
                RunOutcome::Snoozed
            }
            Self::Failed { .. } => RunOutcome::Failed,
        }
    }
}
