//! Where alerts go and where their state is kept.

pub(crate) mod channel_alert_sink;
pub(crate) mod file_alert_state_store;
pub(crate) mod tracing_alert_sink;
pub(crate) mod webhook_alert_sink;
