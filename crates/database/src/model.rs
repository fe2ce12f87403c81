//! The values of this context: each is checked once, where it enters.

mod latencies;
mod pool;
mod query;

pub use latencies::Latencies;
pub use pool::{
    CloseReport, Durability, HealthVerdict, Holder, LeasePriority, PoolHealth, PoolLimits, PoolSize,
    PoolStats, ScaleOutcome, ScaleReason, Utilization,
};
pub use query::{Fingerprint, ObservedQuery, TableWrites, Window, Workload, WorkloadSource};
