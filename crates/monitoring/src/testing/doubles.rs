//! Small implementations that keep everything in memory.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use parking_lot::Mutex;
use tokio::time::Instant;
use wavequill_kernel::{Clock, ErrorClass};

use crate::error::MonitoringError;
use crate::model::alert::{Alert, AlertState, Moment};
use crate::model::rule::{Labels, Severity};
use crate::model::snapshot::{MetricsSnapshot, ProcessEpoch, Tick};
use crate::ports::{
    AlertStateStore, Collected, Leadership, SavedState, SnapshotExchange, TelemetryRequest,
    TelemetryTransport,
};

/// A clock that goes with `tokio`'s, which a test may have paused. Its wall clock starts at 2026-01-01T00:00:00Z.
#[derive(Clone, Copy, Debug)]
pub struct TokioClock {
    origin: Instant,
}

impl TokioClock {
    /// Starts now.
    pub fn new() -> Self {
        Self { origin: Instant::now() }
    }
}

impl Default for TokioClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for TokioClock {
    fn now(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_767_225_600) + self.monotonic()
    }

    fn monotonic(&self) -> Duration {
        self.origin.elapsed()
    }
}

/// An alert of this name in this state.
pub fn alert(name: &str, state: AlertState, now: Tick) -> Alert {
    let at = Moment::of(now);
    let labels: Labels = [("alertname".to_owned(), name.to_owned())].into();
    Alert {
        rule: name.to_owned(),
        labels,
        annotations: Labels::new(),
        severity: Severity::Page,
        state,
        value: 1.0,
        active_at: at,
        fired_at: Some(at),
        keep_firing_since: None,
        resolved_at: (state == AlertState::Resolved).then_some(at),
        last_sent_at: None,
        last_seen: at,
    }
}

/// A state that lasts as long as this value and its clones.
#[derive(Clone, Debug, Default)]
pub struct MemoryAlertStateStore {
    saved: Arc<Mutex<Option<SavedState>>>,
}

#[async_trait]
impl AlertStateStore for MemoryAlertStateStore {
    async fn load(&self) -> Result<Option<SavedState>, MonitoringError> {
        Ok(self.saved.lock().clone())
    }

    async fn save(&self, state: &SavedState) -> Result<(), MonitoringError> {
        *self.saved.lock() = Some(state.clone());
        Ok(())
    }
}

/// An exchange among the monitors of one process: the first that asks leads for ever.
#[derive(Clone, Debug, Default)]
pub struct MemorySnapshotExchange {
    state: Arc<Mutex<Exchanged>>,
}

#[derive(Debug, Default)]
struct Exchanged {
    parts: BTreeMap<ProcessEpoch, MetricsSnapshot>,
    leader: Option<ProcessEpoch>,
}

#[async_trait]
impl SnapshotExchange for MemorySnapshotExchange {
    async fn publish(&self, snapshot: &MetricsSnapshot) -> Result<(), MonitoringError> {
        self.state.lock().parts.insert(snapshot.epoch(), snapshot.clone());
        Ok(())
    }

    async fn collect(&self) -> Result<Collected, MonitoringError> {
        Ok(Collected { parts: self.state.lock().parts.values().cloned().collect(), damaged: 0 })
    }

    async fn lead(&self, epoch: ProcessEpoch) -> Result<Leadership, MonitoringError> {
        let leader = *self.state.lock().leader.get_or_insert(epoch);
        Ok(if leader == epoch { Leadership::Leader } else { Leadership::Follower })
    }
}

/// A transport that keeps what is posted, and answers as it is told.
#[derive(Clone, Debug, Default)]
pub struct RecordingTransport {
    state: Arc<Mutex<Posted>>,
}

#[derive(Debug, Default)]
struct Posted {
    requests: Vec<TelemetryRequest>,
    failure: Option<ErrorClass>,
}

impl RecordingTransport {
    /// What was posted so far.
    pub fn requests(&self) -> Vec<TelemetryRequest> {
        self.state.lock().requests.clone()
    }

    /// Fails from now on with this class, or no longer.
    pub fn fail_with(&self, class: Option<ErrorClass>) {
        self.state.lock().failure = class;
    }
}

#[async_trait]
impl TelemetryTransport for RecordingTransport {
    async fn post(&self, request: TelemetryRequest) -> Result<(), MonitoringError> {
        let mut state = self.state.lock();
        if let Some(class) = state.failure {
            let reason = "the double was told to fail".to_owned();
            return Err(MonitoringError::Transport { url: request.url, reason, class });
        }
        state.requests.push(request);
        Ok(())
    }
}
