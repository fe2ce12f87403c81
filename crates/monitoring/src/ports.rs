//! What monitoring needs from outside: where alerts go, where state is kept, how bytes leave.

use std::fmt::Debug;

use async_trait::async_trait;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::error::MonitoringError;
use crate::model::alert::{Alert, AlertStates};
use crate::model::history::CounterHistory;
use crate::model::routes::{Notification, RouteStates};
use crate::model::snapshot::{MetricsSnapshot, ProcessEpoch, Tick};

/// Somebody who is told of alerts.
///
/// # Contract
/// 1. `Ok` means that it has been handed over for good; an error means that nobody may have heard.
/// 2. The same notification delivered twice does no harm.
/// 3. Dropping the future leaves nothing behind that blocks the next delivery.
#[async_trait]
pub trait AlertSink: Debug + Send + Sync + 'static {
    /// The receiver's name, as routes call it.
    fn name(&self) -> &str;

    /// Tells it.
    ///
    /// # Errors
    /// [`MonitoringError::Sink`] with its class; what is transient or throttled is tried again.
    async fn deliver(&self, notification: &Notification) -> Result<(), MonitoringError>;

    /// What it wants to be given. Default: notifications.
    fn wants(&self) -> Wants {
        Wants::Notifications
    }

    /// Hands over alerts as they are, if it wants those. Default: does nothing.
    ///
    /// # Errors
    /// As [`deliver`](AlertSink::deliver).
    async fn forward(&self, alerts: &[Alert], now: Tick) -> Result<(), MonitoringError> {
        let _ = (alerts, now);
        Ok(())
    }
}

/// What a sink is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wants {
    /// Notifications that are routed to it, for people.
    Notifications,
    /// All alerts, every minute while they fire: for what groups and routes by itself, as Prometheus' Alertmanager.
    Alerts,
}

/// Sends telemetry over HTTP: what webhooks and OTLP need of a client.
///
/// # Contract
/// 1. `Ok` means that the answer's status was 200 to 299.
/// 2. It does not try again; the error's class says whether that may help.
/// 3. No redirect is followed and nothing of the body is logged.
#[async_trait]
pub trait TelemetryTransport: Debug + Send + Sync + 'static {
    /// Posts a body.
    ///
    /// # Errors
    /// [`MonitoringError::Transport`].
    async fn post(&self, request: TelemetryRequest) -> Result<(), MonitoringError>;
}

/// A body to post.
#[derive(Clone, Debug)]
pub struct TelemetryRequest {
    /// Where to.
    pub url: String,
    /// What it is.
    pub content_type: &'static str,
    /// Further headers.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Bytes,
}

/// What monitoring keeps over a restart.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SavedState {
    /// When it was saved.
    pub saved: Tick,
    /// The alerts.
    pub alerts: AlertStates,
    /// What routing remembers.
    pub routes: RouteStates,
    /// The counters of the last days.
    pub history: CounterHistory,
}

/// Keeps the state of alerts over a restart.
///
/// # Contract
/// 1. What was saved last is loaded, or what was saved before it if the save did not return; never a mixture.
/// 2. Nothing saved: `Ok(None)`.
/// 3. What does not read is set aside, so that the next load gives `Ok(None)`, and is an error once.
#[async_trait]
pub trait AlertStateStore: Debug + Send + Sync + 'static {
    /// What was saved last.
    ///
    /// # Errors
    /// [`MonitoringError::DamagedState`], [`MonitoringError::StateStore`].
    async fn load(&self) -> Result<Option<SavedState>, MonitoringError>;

    /// Saves.
    ///
    /// # Errors
    /// [`MonitoringError::StateStore`].
    async fn save(&self, state: &SavedState) -> Result<(), MonitoringError>;
}

/// Whether this process leads its fleet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leadership {
    /// It does.
    Leader,
    /// Another does.
    Follower,
}

/// Exchanges snapshots among the processes of a fleet.
///
/// # Contract
/// 1. [`collect`](SnapshotExchange::collect) gives the last snapshot of every process that has published lately. Who is
///    gone is left out after a while: the leader, who adds up what each recorded since it last looked, has counted it.
/// 2. A snapshot that does not read is left out and counted, not an error.
/// 3. Of all processes at most one is told that it leads, as long as their clocks run alike.
#[async_trait]
pub trait SnapshotExchange: Debug + Send + Sync + 'static {
    /// Makes this process' snapshot known, in place of its last one.
    ///
    /// # Errors
    /// [`MonitoringError::Exchange`].
    async fn publish(&self, snapshot: &MetricsSnapshot) -> Result<(), MonitoringError>;

    /// What all processes published last.
    ///
    /// # Errors
    /// [`MonitoringError::Exchange`].
    async fn collect(&self) -> Result<Collected, MonitoringError>;

    /// Takes or keeps the lead for a few ticks, if no other process has it.
    ///
    /// # Errors
    /// [`MonitoringError::Exchange`].
    async fn lead(&self, epoch: ProcessEpoch) -> Result<Leadership, MonitoringError>;
}

/// What an exchange holds.
#[derive(Clone, Debug, Default)]
pub struct Collected {
    /// A snapshot of each process.
    pub parts: Vec<MetricsSnapshot>,
    /// How many did not read.
    pub damaged: u64,
}

impl AlertStates {
    /// Whether there is no alert at all.
    pub fn is_empty(&self) -> bool {
        self.iter().next().is_none()
    }
}
