//! Alerts over HTTP: as the webhook that Alertmanager sends, or to an Alertmanager itself.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use bytes::Bytes;
use serde::Serialize;
use wavequill_kernel::{ErrorClass, Retryable};

use crate::error::MonitoringError;
use crate::model::alert::{Alert, AlertState};
use crate::model::routes::Notification;
use crate::model::rule::Labels;
use crate::model::snapshot::Tick;
use crate::output::rfc3339;
use crate::ports::{AlertSink, TelemetryRequest, TelemetryTransport, Wants};

/// How long a receiver may take an alert for firing without hearing of it again: four times the resending.
const ENDS_AFTER: Duration = Duration::from_secs(4 * 60);

/// Posts alerts as JSON.
///
/// Two kinds: [`new`](Self::new) posts each notification in the format of Alertmanager's webhook (version 4), which chat and
/// incident tools understand; [`alertmanager`](Self::alertmanager) posts alerts as they are to an Alertmanager's API
/// (version 2), which then groups and routes by itself.
#[derive(Clone)]
pub struct WebhookAlertSink {
    name: String,
    url: String,
    kind: Kind,
    headers: Vec<(String, String)>,
    transport: Arc<dyn TelemetryTransport>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Webhook,
    Alertmanager,
}

impl WebhookAlertSink {
    /// A webhook at this URL.
    pub fn new(
        name: impl Into<String>,
        url: impl Into<String>,
        transport: Arc<dyn TelemetryTransport>,
    ) -> Self {
        Self { name: name.into(), url: url.into(), kind: Kind::Webhook, headers: Vec::new(), transport }
    }

    /// An Alertmanager at this root, as `http://alertmanager:9093`.
    pub fn alertmanager(
        name: impl Into<String>,
        root: impl AsRef<str>,
        transport: Arc<dyn TelemetryTransport>,
    ) -> Self {
        let url = format!("{}/api/v2/alerts", root.as_ref().trim_end_matches('/'));
        Self { kind: Kind::Alertmanager, ..Self::new(name, url, transport) }
    }

    /// With a header more, as a token; it is never shown.
    #[must_use]
    pub fn with_header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    async fn post(&self, body: &impl Serialize) -> Result<(), MonitoringError> {
        let failed = |reason: String, class| MonitoringError::Sink { sink: self.name.clone(), reason, class };
        let body = serde_json::to_vec(body).map_err(|error| {
            failed(format!("the alerts cannot be written: {error}"), ErrorClass::Permanent)
        })?;
        let request = TelemetryRequest {
            url: self.url.clone(),
            content_type: "application/json",
            headers: self.headers.clone(),
            body: Bytes::from(body),
        };
        self.transport.post(request).await.map_err(|error| failed(error.to_string(), error.class()))
    }
}

impl fmt::Debug for WebhookAlertSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A webhook's URL often is its secret.
        f.debug_struct("WebhookAlertSink")
            .field("name", &self.name)
            .field("kind", &self.kind)
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl AlertSink for WebhookAlertSink {
    fn name(&self) -> &str {
        &self.name
    }

    async fn deliver(&self, notification: &Notification) -> Result<(), MonitoringError> {
        self.post(&Webhook::of(notification)).await
    }

    fn wants(&self) -> Wants {
        match self.kind {
            Kind::Webhook => Wants::Notifications,
            Kind::Alertmanager => Wants::Alerts,
        }
    }

    async fn forward(&self, alerts: &[Alert], now: Tick) -> Result<(), MonitoringError> {
        self.post(&alerts.iter().map(|alert| Posted::of(alert, now)).collect::<Vec<_>>()).await
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Webhook<'a> {
    version: &'static str,
    group_key: String,
    status: &'static str,
    receiver: &'a str,
    group_labels: &'a Labels,
    common_labels: Labels,
    common_annotations: BTreeMap<String, String>,
    #[serde(rename = "externalURL")]
    external_url: &'static str,
    truncated_alerts: usize,
    alerts: Vec<Posted<'a>>,
}

impl<'a> Webhook<'a> {
    fn of(told: &'a Notification) -> Self {
        let common = |of: fn(&Alert) -> &Labels| {
            let mut alerts = told.alerts.iter();
            let mut shared = alerts.next().map(of).cloned().unwrap_or_default();
            alerts.for_each(|alert| shared.retain(|name, value| of(alert).get(name) == Some(value)));
            shared
        };
        Self {
            version: "4",
            group_key: format!("{}:{:?}", told.receiver, told.group),
            status: if told.is_firing() { "firing" } else { "resolved" },
            receiver: &told.receiver,
            group_labels: &told.group,
            common_labels: common(|alert| &alert.labels),
            common_annotations: common(|alert| &alert.annotations),
            external_url: "",
            truncated_alerts: 0,
            alerts: told.alerts.iter().map(|alert| Posted::of(alert, told.at)).collect(),
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Posted<'a> {
    status: &'static str,
    labels: &'a Labels,
    annotations: &'a BTreeMap<String, String>,
    starts_at: String,
    ends_at: String,
}

impl<'a> Posted<'a> {
    fn of(alert: &'a Alert, now: Tick) -> Self {
        let wall = |moment: crate::Moment| moment.wall(now);
        let started = alert.fired_at.map_or(now.wall, wall);
        let ends: SystemTime = alert.resolved_at.map_or(now.wall + ENDS_AFTER, wall);
        Self {
            status: if alert.state == AlertState::Resolved { "resolved" } else { "firing" },
            labels: &alert.labels,
            annotations: &alert.annotations,
            starts_at: rfc3339(started),
            ends_at: rfc3339(ends),
        }
    }
}
