//! [`InMemoryQuotaLog`]: the order of events in memory, for tests without a server.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use tokio::time::{Instant, sleep};

use crate::error::ExternalError;
use crate::model::quota::QuotaScope;
use crate::ports::{LogPosition, LogSnapshot, LogTail, LoggedEvent, QuotaLog};

#[derive(Debug, Default)]
struct Kept {
    epoch: u64,
    first: u64,
    snapshot: Option<LogSnapshot>,
    events: Vec<LoggedEvent>,
}

#[derive(Debug, Default)]
struct State {
    scopes: BTreeMap<QuotaScope, Kept>,
    round_trip: Duration,
    round_trips: u64,
    cut: bool,
    epochs: u64,
}

/// A [`QuotaLog`] in memory, for several ledgers of one test. A clone is the same log. It waits in tokio's time.
#[derive(Clone, Debug)]
pub struct InMemoryQuotaLog {
    state: Arc<Mutex<State>>,
    origin: Instant,
}

impl Default for InMemoryQuotaLog {
    fn default() -> Self {
        Self { state: Arc::default(), origin: Instant::now() }
    }
}

impl InMemoryQuotaLog {
    /// A log that answers at once.
    pub fn new() -> Self {
        Self::default()
    }

    /// How long a round trip takes. Default: no time.
    #[must_use]
    pub fn with_round_trip(self, time: Duration) -> Self {
        self.state.lock().round_trip = time;
        self
    }

    /// From now on it cannot be reached.
    pub fn cut(&self) {
        self.state.lock().cut = true;
    }

    /// It can be reached again.
    pub fn mend(&self) {
        self.state.lock().cut = false;
    }

    /// Forgets everything, as a server does that is flushed.
    pub fn lose(&self) {
        self.state.lock().scopes.clear();
    }

    /// How often it was asked so far.
    pub fn round_trips(&self) -> u64 {
        self.state.lock().round_trips
    }
}

#[async_trait]
impl QuotaLog for InMemoryQuotaLog {
    async fn append(
        &self,
        scope: &QuotaScope,
        seen: &LogPosition,
        events: &[String],
        snapshot: Option<LogSnapshot>,
    ) -> Result<LogTail, ExternalError> {
        let half = self.state.lock().round_trip / 2;
        sleep(half).await;
        let tail = self.state.lock().append(self.origin.elapsed(), scope, seen, events, snapshot);
        sleep(half).await;
        tail
    }
}

impl State {
    fn append(
        &mut self,
        now: Duration,
        scope: &QuotaScope,
        seen: &LogPosition,
        events: &[String],
        snapshot: Option<LogSnapshot>,
    ) -> Result<LogTail, ExternalError> {
        self.round_trips += 1;
        if self.cut {
            let source = std::io::Error::new(std::io::ErrorKind::NotConnected, "the line is cut");
            return Err(ExternalError::Ledger { source: Arc::new(source) });
        }
        if !self.scopes.contains_key(scope) {
            self.epochs += 1;
        }
        let epoch = self.epochs;
        let kept = self.scopes.entry(scope.clone()).or_insert_with(|| Kept { epoch, ..Kept::default() });
        let at_s = 1e9 + now.as_secs_f64();
        kept.events.extend(events.iter().map(|event| LoggedEvent { at_s, event: event.clone() }));
        let epoch = kept.epoch.to_string();
        if let Some(snapshot) = snapshot.filter(|new| epoch == seen.epoch && new.next > kept.first) {
            kept.events.drain(..(snapshot.next - kept.first) as usize);
            kept.first = snapshot.next;
            kept.snapshot = Some(snapshot);
        }
        let known = epoch == seen.epoch && seen.next >= kept.first;
        let from = if known { seen.next } else { kept.first };
        Ok(LogTail {
            epoch,
            now_s: at_s,
            snapshot: kept.snapshot.clone().filter(|_| !known),
            first: from,
            events: kept.events.iter().skip((from - kept.first) as usize).cloned().collect(),
        })
    }
}
