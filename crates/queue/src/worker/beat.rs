//! Keeps the session alive, stores progress, hears of cancelled jobs, and stops everything in time when the store
//! does not answer.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout_at};

use super::Shared;
use super::fetch::retry_delay;
use crate::{Beat, Progress, SessionId, StopReason};

pub(super) async fn run(shared: Arc<Shared>, opened: Instant) {
    let ttl = shared.queue.store().timing().session_ttl;
    let mut confirmed = opened;
    loop {
        confirmed = live(&shared, confirmed, ttl).await;
        tracing::debug!(since = ?confirmed.elapsed(), "the session is lost: its handlers are stopped");
        shared.queue.metrics().fenced.increment(shared.stop_all(StopReason::LeaseLost) as u64);
        shared.running.lock().clear();
        if let Some(lost) = shared.session.send_replace(None) {
            // Should it still be open in the store: nobody works for it any more.
            shared.queue.store().abandon_session(lost.session);
        }
        confirmed = reopen(&shared).await;
    }
}

/// Beats until the session is lost; answers when the last confirmed beat was sent.
async fn live(shared: &Shared, opened: Instant, ttl: Duration) -> Instant {
    // Handlers are stopped before others may take their jobs; what is in flight then still has this long.
    let margin = (ttl / 4).min(Duration::from_secs(2));
    let mut confirmed = opened;
    let mut wake_ups = shared.queue.store().wake_ups();
    let Some(session) = shared.session.borrow().as_ref().map(|session| session.session) else {
        return opened;
    };
    loop {
        let sent = Instant::now();
        shared.queue.metrics().heartbeat_age.set(sent.duration_since(confirmed).as_secs_f64());
        let end = confirmed + ttl - margin;
        if sent >= end {
            return confirmed;
        }
        let wait = match timeout_at(end, beat(shared, session)).await {
            Err(_) | Ok(Answer::Fenced) => return confirmed,
            Ok(Answer::Alive) => {
                confirmed = sent;
                ttl / 3
            }
            Ok(Answer::Failed) => ttl / 15,
        };
        tokio::select! {
            () = sleep(wait) => {}
            () = wake_ups.cancel() => {}
            () = shared.session_lost.notified() => {}
        }
    }
}

enum Answer {
    Alive,
    Fenced,
    Failed,
}

async fn beat(shared: &Shared, session: SessionId) -> Answer {
    let contexts: Vec<_> = shared.running.lock().values().cloned().collect();
    let reports: Vec<Progress> = contexts.iter().filter_map(crate::JobContext::take_progress).collect();
    match shared.queue.store().beat(session, reports.clone()).await {
        Ok(Beat::Fenced) => Answer::Fenced,
        Ok(Beat::Alive { cancel }) => {
            for context in contexts.iter().filter(|context| cancel.contains(&context.id())) {
                context.stop(StopReason::Cancelled);
            }
            Answer::Alive
        }
        Err(error) => {
            tracing::warn!(%error, %session, "a heartbeat could not be stored; trying again");
            for report in reports {
                if let Some(context) = contexts.iter().find(|context| context.leased().lease == report.lease)
                {
                    context.put_back(report);
                }
            }
            Answer::Failed
        }
    }
}

/// Registers anew, for as long as it takes.
async fn reopen(shared: &Shared) -> Instant {
    let mut failures = 0;
    loop {
        let sent = Instant::now();
        match shared.queue.dispatcher().register_worker(shared.registration.clone()).await {
            Ok(session) => {
                shared.session.send_replace(Some(session));
                return sent;
            }
            Err(error) => {
                failures += 1;
                tracing::warn!(%error, failures, "no session could be opened; trying again");
                sleep(retry_delay(failures, u64::from(failures))).await;
            }
        }
    }
}
