//! Alerts as events of `tracing`: what a service without a pager has.

use async_trait::async_trait;

use crate::error::MonitoringError;
use crate::model::alert::AlertState;
use crate::model::routes::Notification;
use crate::model::rule::Severity;
use crate::ports::AlertSink;

/// Writes each alert of a notification to the log: pages as errors, the rest as warnings, ends as information.
#[derive(Clone, Debug)]
pub struct TracingAlertSink {
    name: String,
}

impl TracingAlertSink {
    /// Under this name in routes.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into() }
    }
}

impl Default for TracingAlertSink {
    /// Under the name `log`.
    fn default() -> Self {
        Self::new("log")
    }
}

#[async_trait]
impl AlertSink for TracingAlertSink {
    fn name(&self) -> &str {
        &self.name
    }

    async fn deliver(&self, notification: &Notification) -> Result<(), MonitoringError> {
        for alert in &notification.alerts {
            let summary = alert.annotations.get("summary").map_or("", String::as_str);
            let (labels, value) = (&alert.labels, alert.value);
            let flapping = notification.flapping.contains(labels);
            match (alert.state, alert.severity) {
                (AlertState::Resolved, _) => {
                    tracing::info!(alert = alert.rule, ?labels, "resolved: {summary}");
                }
                (_, Severity::Page) => {
                    tracing::error!(alert = alert.rule, ?labels, value, flapping, "{summary}");
                }
                (_, Severity::Ticket | Severity::Info) => {
                    tracing::warn!(alert = alert.rule, ?labels, value, flapping, "{summary}");
                }
            }
        }
        Ok(())
    }
}
