//! Alerts to the program itself.

use async_trait::async_trait;
use tokio::sync::mpsc;
use wavequill_kernel::ErrorClass;

use crate::error::MonitoringError;
use crate::model::routes::Notification;
use crate::ports::AlertSink;

/// Hands notifications to a receiver in the same process; while the channel is full, it waits.
#[derive(Clone, Debug)]
pub struct ChannelAlertSink {
    name: String,
    sender: mpsc::Sender<Notification>,
}

impl ChannelAlertSink {
    /// A sink of this name, and where its notifications come out.
    pub fn new(name: impl Into<String>, capacity: usize) -> (Self, mpsc::Receiver<Notification>) {
        let (sender, receiver) = mpsc::channel(capacity.max(1));
        (Self { name: name.into(), sender }, receiver)
    }
}

#[async_trait]
impl AlertSink for ChannelAlertSink {
    fn name(&self) -> &str {
        &self.name
    }

    async fn deliver(&self, notification: &Notification) -> Result<(), MonitoringError> {
        self.sender.send(notification.clone()).await.map_err(|_| MonitoringError::Sink {
            sink: self.name.clone(),
            reason: "its receiver was dropped: keep it for as long as the monitor runs".to_owned(),
            class: ErrorClass::Permanent,
        })
    }
}
