//! Where alerts go, where their state is kept, and the formats and drivers that a feature brings.

pub(crate) mod channel_alert_sink;
pub(crate) mod file_alert_state_store;
#[cfg(feature = "fred")]
pub(crate) mod fred;
#[cfg(feature = "otlp")]
pub(crate) mod otlp;
#[cfg(feature = "protobuf")]
pub(crate) mod protobuf;
pub(crate) mod tracing_alert_sink;
pub(crate) mod webhook_alert_sink;

pub use channel_alert_sink::ChannelAlertSink;
pub use file_alert_state_store::FileAlertStateStore;
pub use tracing_alert_sink::TracingAlertSink;
pub use webhook_alert_sink::WebhookAlertSink;
