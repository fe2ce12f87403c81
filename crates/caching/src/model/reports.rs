//! What the invalidator and the warmer were told to do, and did.

use std::time::Duration;

use super::{ByteSize, LogPosition};

/// Where an erasure that was interrupted goes on. It can be kept across restarts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EraseCursor {
    /// The position of the erasure's own bump; what was stored before it goes.
    pub position: LogPosition,
    /// The last digest that is done; `None`: none is.
    pub after: Option<[u8; 32]>,
}

/// A finished erasure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ErasureReport {
    /// Where the log recorded it.
    pub position: LogPosition,
    /// Entries removed from the durable level by this call.
    pub erased_entries: u64,
    /// Entries that stay, because they belong to others as well.
    pub kept_entries: u64,
}

/// How much one sweep may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SweepBudget {
    /// The most entries that it removes.
    pub max_entries: u64,
    /// The longest that it runs before it starts another batch.
    pub max_duration: Duration,
}

impl Default for SweepBudget {
    /// 10,000 entries, 1 s.
    fn default() -> Self {
        Self { max_entries: 10_000, max_duration: Duration::from_secs(1) }
    }
}

/// What one sweep removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SweepReport {
    /// Entries past their end, or ended by an invalidation.
    pub removed_entries: u64,
    /// Leases whose holders are gone.
    pub removed_leases: u64,
    /// Log records that no living entry can need.
    pub removed_bumps: u64,
    /// Whether nothing was left to do; if not, the budget ended it.
    pub finished: bool,
}

/// What left L1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct L1Eviction {
    /// Entries.
    pub entries: u64,
    /// Bytes, with the table's own.
    pub bytes: u64,
}

/// What was remembered for the next start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WarmSnapshot {
    /// Keys written.
    pub keys: u64,
}

/// How hard warming may work.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct WarmLimits {
    /// Keys read a second.
    pub keys_per_second: u32,
    /// Bytes read a second.
    pub bytes_per_second: ByteSize,
    /// The share of L1 at which it stops.
    pub max_fill: f64,
}

impl Default for WarmLimits {
    /// 2,000 keys and 32 MiB a second, up to 80 % of L1.
    fn default() -> Self {
        Self { keys_per_second: 2_000, bytes_per_second: ByteSize::from_mib(32), max_fill: 0.8 }
    }
}

/// What warming did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WarmReport {
    /// Entries now in L1 that were not.
    pub warmed_entries: u64,
    /// Their bytes.
    pub warmed_bytes: u64,
    /// Remembered keys that no level has any more.
    pub gone_entries: u64,
    /// Remembered keys that were not read, since L1 was full enough.
    pub left_entries: u64,
}
