//! The upkeep that every worker does for all: due jobs, dead workers, old history; and the counts for the metrics.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::{Shared, jittered};
use crate::{DeadCause, JobQuery, JobState, QueueError, SweepBudget, SweepReport};

/// How often jobs are counted for the metrics.
const COUNT_EVERY: Duration = Duration::from_secs(10);

pub(super) async fn run(shared: Arc<Shared>) {
    let mut counted: Option<Instant> = None;
    let mut round = 0;
    loop {
        round += 1;
        if counted.is_none_or(|at| at.elapsed() >= COUNT_EVERY) {
            counted = Some(Instant::now());
            match shared.queue.store().stats().await {
                Ok(stats) => shared.queue.metrics().show(&stats),
                Err(error) => tracing::debug!(%error, "jobs could not be counted"),
            }
        }
        sleep(jittered(shared.config.sweep_every, round)).await;
        match shared.queue.store().maintain(SweepBudget::default()).await {
            Ok(report) => note(&shared, &report),
            Err(error) => tracing::warn!(%error, "the upkeep failed; trying again"),
        }
        if let Err(error) = forget_ended(&shared).await {
            tracing::debug!(%error, "the ends of named jobs could not be read");
        }
    }
}

/// Counts what an upkeep did.
pub(super) fn note(shared: &Shared, report: &SweepReport) {
    let metrics = shared.queue.metrics();
    metrics.rescued.increment(u64::from(report.rescued) + report.ended.len() as u64);
    for ended in &report.ended {
        match ended.state {
            JobState::Quarantined => metrics.kind(&ended.job_type).died(DeadCause::Poison),
            JobState::Dead => metrics.kind(&ended.job_type).died(DeadCause::Expired),
            _ => {}
        }
    }
    if report.fenced > 0 {
        let (workers, rescued, ended) = (report.fenced, report.rescued, report.ended.len());
        tracing::info!(workers, rescued, ended, "workers were declared dead; their jobs go on");
    }
}

/// Named jobs may end elsewhere: by another process, or by an operator.
async fn forget_ended(shared: &Shared) -> Result<(), QueueError> {
    let named: Vec<_> = shared.named.lock().iter().copied().take(1_000).collect();
    if named.is_empty() {
        return Ok(());
    }
    let query = JobQuery { results: false, ..JobQuery::ids(named) };
    let page = shared.queue.store().read(&query).await?;
    let mut named = shared.named.lock();
    for job in page.jobs.iter().filter(|job| job.state.is_ended()) {
        named.remove(&job.id);
    }
    Ok(())
}
