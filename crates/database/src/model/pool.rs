//! The values that pools speak of.

use std::fmt;
use std::num::NonZeroU32;
use std::panic::Location;
use std::time::Duration;

use wavequill_kernel::InvalidValue;

/// How sure a write must be before it is acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Durability {
    /// Survives the process being killed; a power cut may take the last writes. What a cache needs.
    Normal,
    /// On the disk: survives a power cut. What a job queue needs.
    Full,
}

/// How many connections a pool has: at least 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(try_from = "u32", into = "u32")]
pub struct PoolSize(NonZeroU32);

impl PoolSize {
    /// One connection.
    pub const ONE: Self = Self(NonZeroU32::MIN);

    /// Checks that there is at least one connection.
    ///
    /// # Errors
    /// [`InvalidValue`] if it is 0.
    pub fn new(connections: u32) -> Result<Self, InvalidValue> {
        NonZeroU32::new(connections).map(Self).ok_or_else(|| InvalidValue::new("pool size", 0, "at least 1"))
    }

    /// The number of connections.
    pub const fn get(self) -> u32 {
        self.0.get()
    }
}

impl fmt::Display for PoolSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl TryFrom<u32> for PoolSize {
    type Error = InvalidValue;

    fn try_from(connections: u32) -> Result<Self, InvalidValue> {
        Self::new(connections)
    }
}

impl From<PoolSize> for u32 {
    fn from(size: PoolSize) -> Self {
        size.get()
    }
}

/// Between how many and how many connections a pool may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(try_from = "PoolLimitsData", into = "PoolLimitsData")]
pub struct PoolLimits {
    min: PoolSize,
    max: PoolSize,
}

#[derive(serde::Serialize, serde::Deserialize)]
struct PoolLimitsData {
    min: u32,
    max: u32,
}

impl PoolLimits {
    /// 5 to 20: what a PostgreSQL server of a few cores serves well.
    pub const POSTGRES: Self = Self {
        min: PoolSize(NonZeroU32::MIN.saturating_add(4)),
        max: PoolSize(NonZeroU32::MIN.saturating_add(19)),
    };

    /// From `min` connections kept open to at most `max`.
    ///
    /// # Errors
    /// [`InvalidValue`] if one is 0, or `min` is above `max`.
    pub fn new(min: u32, max: u32) -> Result<Self, InvalidValue> {
        if min > max {
            return Err(InvalidValue::new("min connections", min, format!("at most the maximum of {max}")));
        }
        Ok(Self { min: PoolSize::new(min)?, max: PoolSize::new(max)? })
    }

    /// How many are kept open.
    pub const fn min(self) -> PoolSize {
        self.min
    }

    /// How many there are at most.
    pub const fn max(self) -> PoolSize {
        self.max
    }

    /// The nearest size within the limits.
    pub fn clamp(self, size: PoolSize) -> PoolSize {
        size.clamp(self.min, self.max)
    }
}

impl TryFrom<PoolLimitsData> for PoolLimits {
    type Error = InvalidValue;

    fn try_from(data: PoolLimitsData) -> Result<Self, InvalidValue> {
        Self::new(data.min, data.max)
    }
}

impl From<PoolLimits> for PoolLimitsData {
    fn from(limits: PoolLimits) -> Self {
        Self { min: limits.min.get(), max: limits.max.get() }
    }
}

/// The share of its connections that a pool is to have in use: above 0, at most 1.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd, serde::Serialize, serde::Deserialize)]
#[serde(try_from = "f64", into = "f64")]
pub struct Utilization(f64);

impl Utilization {
    /// 0.7: enough room for bursts, few connections that idle.
    pub const DEFAULT: Self = Self(0.7);

    /// Checks that the share is above 0 and at most 1.
    ///
    /// # Errors
    /// [`InvalidValue`] if it is not, or is no number.
    pub fn new(share: f64) -> Result<Self, InvalidValue> {
        if share > 0.0 && share <= 1.0 {
            Ok(Self(share))
        } else {
            Err(InvalidValue::new("utilization", share, "above 0 and at most 1"))
        }
    }

    /// The share.
    pub const fn get(self) -> f64 {
        self.0
    }
}

impl TryFrom<f64> for Utilization {
    type Error = InvalidValue;

    fn try_from(share: f64) -> Result<Self, InvalidValue> {
        Self::new(share)
    }
}

impl From<Utilization> for f64 {
    fn from(utilization: Utilization) -> Self {
        utilization.0
    }
}

/// Who is served first when callers wait.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum LeasePriority {
    /// Before the others, but for each fourth grant.
    #[default]
    Foreground,
    /// Each fourth grant, and whenever nobody else waits.
    Background,
}

/// What a pool has at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct PoolStats {
    /// Open connections: those in use and those that are idle. Dedicated ones are not among them.
    pub size: u32,
    /// Connections that callers hold, or that are being closed after one.
    pub checked_out: u32,
    /// Idle connections.
    pub checked_in: u32,
    /// How many more are open than the pool wants to have, after it was made smaller.
    pub overflow: u32,
    /// How many the pool may have now.
    pub target: u32,
    /// Connections that are being opened.
    pub connecting: u32,
    /// Callers that wait.
    pub waiting: u32,
    /// How long the caller that came first has waited; zero if none waits.
    pub oldest_wait: Duration,
    /// Connections taken out of the pool for good, for work such as `LISTEN`.
    pub dedicated: u32,
    /// Connections in use and callers waiting, as a mean over the last second.
    pub demand: f64,
}

impl PoolStats {
    /// The share of the connections that is in use: at most 1.
    pub fn utilization(&self) -> f64 {
        let whole = self.target.max(self.size).max(1);
        (f64::from(self.checked_out) / f64::from(whole)).min(1.0)
    }
}

/// Who holds a connection.
#[derive(Clone, Debug, PartialEq)]
pub struct Holder {
    /// The line that asked for it.
    pub location: &'static Location<'static>,
    /// What for.
    pub purpose: &'static str,
    /// For how long.
    pub age: Duration,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {} for {:.1?}", self.purpose, self.location, self.age)
    }
}

/// What a change of size did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScaleOutcome {
    /// The target before.
    pub from: u32,
    /// The target now.
    pub to: u32,
    /// What was asked for, or computed, before the limits.
    pub wanted: u32,
    /// Why it is what it is.
    pub reason: ScaleReason,
}

/// Why a pool has the size that it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ScaleReason {
    /// It was asked for.
    Requested,
    /// It was asked for more or less than the limits allow.
    Clamped,
    /// Callers waited, and the connections were well used.
    Demand,
    /// Most connections were idle for long.
    Idle,
    /// It was right already.
    Unchanged,
}

/// Whether a pool can do its work.
#[derive(Clone, Debug, PartialEq)]
pub struct PoolHealth {
    /// Whether a connection could be had and answered.
    pub verdict: HealthVerdict,
    /// How long that took.
    pub latency: Duration,
    /// The pool at that moment.
    pub stats: PoolStats,
    /// What a person should know: the last error, connections held for too long, callers that wait.
    pub problems: Vec<String>,
}

/// The sum of a pool's health.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum HealthVerdict {
    /// It answers, and nothing is wrong.
    Healthy,
    /// It answers, but something is wrong.
    Degraded,
    /// It does not answer.
    Down,
}

/// How a pool was closed.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct CloseReport {
    /// How many callers were told that it is closed.
    pub refused: u32,
    /// Who still held a connection when the time was up; their statements were cancelled. Longest first.
    pub still_out: Vec<Holder>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_minimum_above_the_maximum_and_zero_are_refused() {
        assert_eq!(
            PoolLimits::new(6, 5).unwrap_err().to_string(),
            "`min connections` is 6, but must be at most the maximum of 5"
        );
        assert!(PoolLimits::new(0, 5).is_err());
        assert!(serde_json::from_str::<PoolLimits>(r#"{"min":0,"max":5}"#).is_err());
        let limits = PoolLimits::new(2, 5).unwrap();
        assert_eq!(serde_json::to_string(&limits).unwrap(), r#"{"min":2,"max":5}"#);
    }

    #[test]
    fn full_is_more_durable_than_normal() {
        assert!(Durability::Full > Durability::Normal);
    }

    #[test]
    fn a_share_outside_0_to_1_is_refused_and_utilization_never_exceeds_1() {
        assert!(Utilization::new(0.0).is_err());
        assert!(Utilization::new(f64::NAN).is_err());
        assert!(Utilization::new(1.0).is_ok());
        let shrunk = PoolStats { size: 8, checked_out: 8, overflow: 6, target: 2, ..PoolStats::default() };
        assert_eq!(shrunk.utilization(), 1.0);
        assert_eq!(PoolStats::default().utilization(), 0.0);
    }
}
