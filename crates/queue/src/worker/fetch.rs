//! Claims as many jobs as there are free slots, and starts them.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use wavequill_kernel::Backoff;

use super::attempt::attempt;
use super::settle::Finished;
use super::{Shared, jittered};
use crate::{Claimed, FreeSlots, JobContext, QueueError, WakeUps, WorkerSession};

/// At most so many jobs a claim.
const MAX_CLAIM: usize = 500;

pub(super) async fn run(shared: Arc<Shared>, ends: mpsc::Sender<Finished>) {
    let mut fetcher = Fetcher {
        wake_ups: shared.queue.store().wake_ups(),
        attempts: JoinSet::new(),
        failures: 0,
        rounds: 0,
        shared,
    };
    while fetcher.shared.is_working() {
        fetcher.round(&ends).await;
        while fetcher.attempts.try_join_next().is_some() {}
    }
    drop(ends);
    while fetcher.attempts.join_next().await.is_some() {}
}

struct Fetcher {
    shared: Arc<Shared>,
    wake_ups: WakeUps,
    attempts: JoinSet<()>,
    failures: u32,
    rounds: u64,
}

impl Fetcher {
    /// Waits for a free slot, fills what is free, and waits for news if there was too little.
    async fn round(&mut self, ends: &mpsc::Sender<Finished>) {
        self.rounds += 1;
        let Some(permits) = self.free_slots().await else { return };
        let Some(session) = self.live_session().await else { return };
        let wanted = permits.num_permits();
        match self.claim(&session, wanted).await {
            Ok(claimed) => {
                self.failures = 0;
                let (found, next_due) = (claimed.jobs.len(), claimed.next_due);
                self.start(claimed, permits, ends);
                if found < wanted {
                    self.wait(next_due).await;
                }
            }
            Err(QueueError::Fenced { .. }) => {
                drop(permits);
                self.shared.session_lost.notify_one();
                self.wait(None).await;
            }
            Err(error) => {
                drop(permits);
                self.failures = self.failures.saturating_add(1);
                tracing::warn!(%error, failures = self.failures, "jobs could not be claimed; trying again");
                self.wait(Some(retry_delay(self.failures, self.rounds))).await;
            }
        }
    }

    /// All free slots, at least one; `None` when draining begins.
    async fn free_slots(&self) -> Option<OwnedSemaphorePermit> {
        self.shared.show_slots();
        let slots = Arc::clone(&self.shared.slots);
        let mut permits = tokio::select! {
            biased;
            () = self.shared.draining() => return None,
            permit = slots.acquire_owned() => permit.ok()?,
        };
        let more = self.shared.slots.available_permits().min(MAX_CLAIM - 1) as u32;
        // Only this task takes slots, so what is available stays so.
        if let Ok(rest) = Arc::clone(&self.shared.slots).try_acquire_many_owned(more) {
            permits.merge(rest);
        }
        Some(permits)
    }

    async fn live_session(&self) -> Option<WorkerSession> {
        let mut session = self.shared.session.subscribe();
        tokio::select! {
            biased;
            () = self.shared.draining() => None,
            found = session.wait_for(Option::is_some) => found.ok().and_then(|found| found.clone()),
        }
    }

    async fn claim(&self, session: &WorkerSession, wanted: usize) -> Result<Claimed, QueueError> {
        let free = FreeSlots(wanted as u32);
        let dispatcher = self.shared.queue.dispatcher();
        let started = Instant::now();
        let claimed = if self.shared.takes_only_named() {
            let named: Vec<_> = self.shared.named.lock().iter().copied().collect();
            if named.is_empty() {
                return Ok(Claimed::default());
            }
            dispatcher.claim_only(session, free, named).await?
        } else {
            dispatcher.claim(session, free).await?
        };
        let metrics = self.shared.queue.metrics();
        metrics.claim_seconds.record(started.elapsed());
        metrics.claimed_jobs.record(claimed.jobs.len() as f64);
        Ok(claimed)
    }

    fn start(&mut self, claimed: Claimed, mut permits: OwnedSemaphorePermit, ends: &mpsc::Sender<Finished>) {
        for leased in claimed.jobs {
            // A store gives no more than was asked for; if one did, the job would run without a slot of its own.
            let permit = permits.split(1);
            let context = JobContext::new(leased);
            self.shared.running.lock().insert(context.id(), context.clone());
            self.attempts.spawn(attempt(Arc::clone(&self.shared), context, ends.clone(), permit));
        }
    }

    /// Waits for a hint, for the next due job, or for the time to look again.
    async fn wait(&mut self, next_due: Option<Duration>) {
        let poll = jittered(self.shared.queue.store().timing().poll, self.rounds);
        let until = next_due.map_or(poll, |due| due.min(poll)).max(Duration::from_millis(1));
        tokio::select! {
            () = self.shared.draining() => {}
            () = self.wake_ups.ready() => {}
            () = self.shared.named_changed.notified() => {}
            () = sleep(until) => {}
        }
    }
}

/// How long to leave a store alone that failed so many times in a row.
pub(super) fn retry_delay(failures: u32, seed: u64) -> Duration {
    let floor = Duration::from_millis(50);
    Backoff::new(Duration::from_millis(100), Duration::from_secs(5))
        .map_or(floor, |backoff| floor + backoff.delay(failures, seed))
}
