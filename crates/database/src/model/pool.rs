//! The values that pools speak of.

use std::fmt;
use std::num::NonZeroU32;

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
}
