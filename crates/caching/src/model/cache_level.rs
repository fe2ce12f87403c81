//! The levels of the cache, and what a look-up found where.

use std::fmt;

use super::CacheValue;

/// A level: the nearer, the faster and the smaller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CacheLevel {
    /// This process's memory.
    L1,
    /// The shared memory of the fleet (Redis). It holds nothing that L3 does not.
    L2,
    /// The database: all that is not expired or invalidated is there.
    L3,
}

impl CacheLevel {
    /// All levels, nearest first.
    pub const ALL: [Self; 3] = [Self::L1, Self::L2, Self::L3];
}

impl fmt::Display for CacheLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::L1 => "L1",
            Self::L2 => "L2",
            Self::L3 => "L3",
        })
    }
}

/// Whether a value may be used without a second thought.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Freshness {
    /// Before its end.
    Fresh,
    /// After its end, within its grace, and only because the load that should have replaced it failed.
    Stale,
}

/// What one key's look-up found.
#[derive(Clone, Debug)]
pub enum CacheHitResult {
    /// No level has a live entry. Every level was asked: this is knowledge, not an outage.
    Miss,
    /// A live, verified entry.
    Hit {
        /// Where it was found.
        level: CacheLevel,
        /// The entry.
        value: CacheValue,
        /// Whether it is past its end.
        freshness: Freshness,
    },
}

impl CacheHitResult {
    /// Nothing was found.
    pub const fn miss() -> Self {
        Self::Miss
    }

    /// Found in this process's memory.
    pub const fn hit_l1(value: CacheValue) -> Self {
        Self::hit(CacheLevel::L1, value)
    }

    /// Found in the fleet's shared memory.
    pub const fn hit_l2(value: CacheValue) -> Self {
        Self::hit(CacheLevel::L2, value)
    }

    /// Found in the database.
    pub const fn hit_l3(value: CacheValue) -> Self {
        Self::hit(CacheLevel::L3, value)
    }

    /// Found, fresh, at `level`.
    pub const fn hit(level: CacheLevel, value: CacheValue) -> Self {
        Self::Hit { level, value, freshness: Freshness::Fresh }
    }

    /// Whether something was found.
    pub const fn is_hit(&self) -> bool {
        matches!(self, Self::Hit { .. })
    }

    /// Where it was found.
    pub const fn level(&self) -> Option<CacheLevel> {
        match self {
            Self::Miss => None,
            Self::Hit { level, .. } => Some(*level),
        }
    }

    /// The entry, borrowed.
    pub const fn value(&self) -> Option<&CacheValue> {
        match self {
            Self::Miss => None,
            Self::Hit { value, .. } => Some(value),
        }
    }

    /// The entry.
    pub fn into_value(self) -> Option<CacheValue> {
        match self {
            Self::Miss => None,
            Self::Hit { value, .. } => Some(value),
        }
    }
}
