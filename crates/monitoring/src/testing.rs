//! Doubles and conformance suites, for those who put an implementation of their own in a default's place.

mod doubles;

pub use doubles::{MemoryAlertStateStore, MemorySnapshotExchange, TokioClock, alert};
