//! Stores how jobs ended: all that wait, in one call. Nothing is given up while the store may come back.

use std::sync::Arc;

use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};
use wavequill_kernel::Retryable;

use super::Shared;
use super::fetch::retry_delay;
use crate::{AttemptError, DeadCause, Ended, FailureCause, JobContext, Settled, Settlement};

/// At most so many ends a call.
const MAX_GROUP: usize = 2_000;

/// An attempt that has ended, and is not stored yet.
#[derive(Debug)]
pub(super) struct Finished {
    pub(super) ended: Ended,
    pub(super) context: JobContext,
    pub(super) at: Instant,
}

pub(super) async fn run(shared: Arc<Shared>, mut ends: mpsc::Receiver<Finished>) {
    let mut group = Vec::new();
    while ends.recv_many(&mut group, MAX_GROUP).await > 0 {
        store(&shared, std::mem::take(&mut group)).await;
    }
}

async fn store(shared: &Shared, group: Vec<Finished>) {
    let mut failures = 0;
    let mut open = group;
    while !open.is_empty() {
        let ends: Vec<_> = open.iter().map(|finished| finished.ended.clone()).collect();
        match shared.queue.store().settle(ends).await {
            Ok(settled) => {
                for (finished, settled) in open.drain(..).zip(settled) {
                    note(shared, &finished, settled);
                }
            }
            Err(error) => {
                failures += 1;
                tracing::warn!(%error, ends = open.len(), failures, "ends of jobs could not be stored; trying again");
                if !error.class().is_retryable() {
                    open = one_by_one(shared, open).await;
                }
                sleep(retry_delay(failures, u64::from(failures))).await;
            }
        }
    }
}

/// The store refuses the group: one of it may be to blame. An end that is refused alone becomes a death, so that
/// the job is not run for ever. Answers what is still open.
async fn one_by_one(shared: &Shared, group: Vec<Finished>) -> Vec<Finished> {
    let mut open = Vec::new();
    for mut finished in group {
        match shared.queue.store().settle(vec![finished.ended.clone()]).await {
            Ok(settled) => settled.into_iter().for_each(|settled| note(shared, &finished, settled)),
            Err(error) if error.class().is_retryable() => open.push(finished),
            Err(error) => {
                let source = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
                let message = format!("its end could not be stored: {error}: {source}");
                let error = AttemptError::new(FailureCause::Permanent, message);
                finished.ended.settlement = Settlement::Dead { cause: DeadCause::Permanent, error };
                open.push(finished);
            }
        }
    }
    open
}

fn note(shared: &Shared, finished: &Finished, settled: Settled) {
    let metrics = shared.queue.metrics();
    metrics.completion_seconds.record(finished.at.elapsed());
    shared.forget(&finished.context);
    let job = finished.context.job();
    match settled {
        Settled::Stale => {
            metrics.fenced.increment(1);
            tracing::warn!(job = %job.id, "another worker has the job: what this one did does not count");
        }
        Settled::Applied(state) => {
            if state.is_ended() {
                shared.named.lock().remove(&job.id);
            }
            let kind = metrics.kind(&job.job_type);
            match &finished.ended.settlement {
                Settlement::Retry { error, .. } => kind.retried(error.cause),
                Settlement::Dead { cause, error } => {
                    kind.died(*cause);
                    tracing::warn!(job = %job.id, kind = %job.job_type, error = %error.message, "a job was given up");
                }
                Settlement::Quarantined { error } => {
                    kind.died(DeadCause::Poison);
                    tracing::error!(job = %job.id, kind = %job.job_type, error = %error.message, "a job was set aside");
                }
                Settlement::Completed { .. }
                | Settlement::Snoozed { .. }
                | Settlement::Returned
                | Settlement::Cancelled => {}
            }
        }
    }
}
