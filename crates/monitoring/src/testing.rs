//! Doubles and conformance suites, for those who put an implementation of their own in a default's place.
//!
//! Each suite is named after its trait, tests the numbered sentences of its contract, and panics at the first that does not
//! hold.

#![expect(clippy::unwrap_used, reason = "a suite fails by panicking")]

mod doubles;
mod ports;
mod services;

pub use doubles::{MemoryAlertStateStore, MemorySnapshotExchange, RecordingTransport, TokioClock, alert};
pub use ports::{alert_sink_conforms, alert_state_store_conforms, snapshot_exchange_conforms};
pub use services::{aggregator_conforms, alert_evaluator_conforms, metrics_collector_conforms};
