//! What waits for one sink, and the task that tells it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use wavequill_kernel::{Backoff, Retryable};

use super::SinkHealth;
use crate::error::MonitoringError;
use crate::metrics::MonitorMetrics;
use crate::model::alert::Alert;
use crate::model::routes::Notification;
use crate::model::snapshot::Tick;
use crate::ports::{AlertSink, Wants};

/// After so many failures in a row a notification gives way to those behind it.
const ATTEMPTS: u32 = 20;

/// Something for a sink.
#[derive(Clone, Debug)]
pub(super) enum Item {
    Notify(Notification),
    Forward(Vec<Alert>, Tick),
}

impl Item {
    fn is_firing(&self) -> bool {
        match self {
            Self::Notify(notification) => notification.is_firing(),
            // What still fires is handed over again a minute later.
            Self::Forward(..) => false,
        }
    }
}

#[derive(Debug)]
pub(super) struct SinkQueue {
    sink: Arc<dyn AlertSink>,
    limit: usize,
    metrics: MonitorMetrics,
    backoff: Option<Backoff>,
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    items: VecDeque<Item>,
    busy: bool,
    dropped: u64,
    last_error: Option<String>,
}

impl SinkQueue {
    pub(super) fn new(sink: Arc<dyn AlertSink>, limit: usize, metrics: MonitorMetrics) -> Self {
        let backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(60)).ok();
        Self { sink, limit, metrics, backoff, state: Mutex::default(), changed: Notify::new() }
    }

    pub(super) fn name(&self) -> &str {
        self.sink.name()
    }

    pub(super) fn wants(&self) -> Wants {
        self.sink.wants()
    }

    /// Adds something. Over the limit the oldest that does not fire goes, else the oldest.
    pub(super) fn push(&self, item: Item) {
        let mut state = self.state.lock();
        if state.items.len() >= self.limit {
            let oldest = state.items.iter().position(|item| !item.is_firing()).unwrap_or(0);
            state.items.remove(oldest);
            state.dropped += 1;
            self.metrics.notify_dropped.increment(1);
        }
        state.items.push_back(item);
        drop(state);
        self.changed.notify_waiters();
    }

    pub(super) fn health(&self) -> SinkHealth {
        let state = self.state.lock();
        SinkHealth {
            name: self.sink.name().to_owned(),
            queued: state.items.len() + usize::from(state.busy),
            dropped: state.dropped,
            last_error: state.last_error.clone(),
        }
    }

    /// Returns once nothing waits.
    pub(super) async fn drained(&self) {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            // Listens before it looks, so that no change in between is missed.
            changed.as_mut().enable();
            if self.health().queued == 0 {
                return;
            }
            changed.await;
        }
    }

    /// Tells the sink, one after the other, for as long as the monitor lives.
    pub(super) async fn run(self: Arc<Self>) {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            let Some(item) = self.take() else {
                changed.await;
                continue;
            };
            self.tell(&item).await;
            self.state.lock().busy = false;
            self.changed.notify_waiters();
        }
    }

    fn take(&self) -> Option<Item> {
        let mut state = self.state.lock();
        let item = state.items.pop_front();
        state.busy = item.is_some();
        item
    }

    async fn tell(&self, item: &Item) {
        for attempt in 1..=ATTEMPTS {
            let told = match item {
                Item::Notify(notification) => self.sink.deliver(notification).await,
                Item::Forward(alerts, now) => self.sink.forward(alerts, *now).await,
            };
            let Err(error) = told else {
                self.state.lock().last_error = None;
                self.metrics.notified.increment(1);
                return;
            };
            self.failed(&error);
            if !error.class().is_retryable() || attempt == ATTEMPTS {
                return;
            }
            let seed =
                self.sink.name().bytes().fold(u64::from(attempt), |seed, byte| {
                    seed.wrapping_mul(31).wrapping_add(u64::from(byte))
                });
            let wait = self.backoff.map_or(Duration::from_secs(1), |backoff| backoff.delay(attempt, seed));
            tokio::time::sleep(error.class().retry_after().unwrap_or(wait)).await;
        }
    }

    fn failed(&self, error: &MonitoringError) {
        tracing::warn!(sink = self.sink.name(), %error, "an alert could not be told");
        self.metrics.notify_failed.increment(1);
        self.state.lock().last_error = Some(error.to_string());
    }
}
