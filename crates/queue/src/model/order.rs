//! What decides whose turn it is.

use std::time::{Duration, SystemTime};

use wavequill_kernel::InvalidValue;

/// How urgent a job is: 0 to 9, 0 first.
///
/// Each step costs one aging step of waiting (10 minutes by default), so nothing starves: see
/// [`AgingPriorityManager`](crate::AgingPriorityManager).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(try_from = "u8", into = "u8")]
pub struct Priority(u8);

impl Priority {
    /// Before everything that is not urgent: 0.
    pub const URGENT: Self = Self(0);
    /// 1.
    pub const HIGH: Self = Self(1);
    /// What a job has that says nothing: 2.
    pub const NORMAL: Self = Self(2);
    /// 3.
    pub const LOW: Self = Self(3);
    /// 9.
    pub const LOWEST: Self = Self(9);

    /// A priority of 0 (first) to 9 (last).
    ///
    /// # Errors
    /// [`InvalidValue`] above 9.
    pub fn new(level: u8) -> Result<Self, InvalidValue> {
        if level <= 9 {
            Ok(Self(level))
        } else {
            Err(InvalidValue::new("priority", level, "0 (first) to 9 (last)"))
        }
    }

    /// The level: 0 to 9.
    pub const fn get(self) -> u8 {
        self.0
    }
}

impl Default for Priority {
    fn default() -> Self {
        Self::NORMAL
    }
}

impl TryFrom<u8> for Priority {
    type Error = InvalidValue;

    fn try_from(level: u8) -> Result<Self, InvalidValue> {
        Self::new(level)
    }
}

impl From<Priority> for u8 {
    fn from(priority: Priority) -> Self {
        priority.0
    }
}

/// How much of a worker's time a job takes, in a unit of the embedder's (seconds of audio): above zero, finite.
///
/// Tenants share by cost, so one long file counts as much as many short ones.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub struct Cost(f32);

impl Cost {
    /// One unit.
    pub const ONE: Self = Self(1.0);

    /// A cost above zero, at most 10⁹.
    ///
    /// # Errors
    /// [`InvalidValue`] if it is zero, negative, not a number or above 10⁹.
    pub fn new(cost: f32) -> Result<Self, InvalidValue> {
        if cost > 0.0 && cost <= 1e9 {
            Ok(Self(cost))
        } else {
            Err(InvalidValue::new("cost", cost, "above zero and at most 1e9"))
        }
    }

    /// The number.
    pub const fn get(self) -> f32 {
        self.0
    }
}

impl Default for Cost {
    fn default() -> Self {
        Self::ONE
    }
}

/// How many jobs one call to [`dispatch_batch`](crate::JobDispatcher::dispatch_batch) may place on one worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct MaxPerWorker(u32);

impl MaxPerWorker {
    /// At least 1.
    ///
    /// # Errors
    /// [`InvalidValue`] if it is 0.
    pub fn new(max: u32) -> Result<Self, InvalidValue> {
        if max == 0 { Err(InvalidValue::new("max per worker", max, "at least 1")) } else { Ok(Self(max)) }
    }

    /// The number.
    pub const fn get(self) -> u32 {
        self.0
    }
}

impl Default for MaxPerWorker {
    /// 5.
    fn default() -> Self {
        Self(5)
    }
}

/// A place in line: the lower, the sooner. An instant in microseconds since 1970.
///
/// It is fixed when a job is accepted and kept through its retries; waiting changes nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SortKey(i64);

impl SortKey {
    /// The place of an instant.
    pub fn at(instant: SystemTime) -> Self {
        Self(to_micros(instant))
    }

    /// Wraps what [`as_micros`](Self::as_micros) gave.
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// Microseconds since 1970.
    pub const fn as_micros(self) -> i64 {
        self.0
    }
}

/// An instant as microseconds since 1970, clamped to what an `i64` holds.
pub(crate) fn to_micros(instant: SystemTime) -> i64 {
    match instant.duration_since(SystemTime::UNIX_EPOCH) {
        Ok(since) => i64::try_from(since.as_micros()).unwrap_or(i64::MAX),
        Err(before) => i64::try_from(before.duration().as_micros()).map_or(i64::MIN, |micros| -micros),
    }
}

/// The instant of [`to_micros`].
pub(crate) fn from_micros(micros: i64) -> SystemTime {
    let distance = Duration::from_micros(micros.unsigned_abs());
    let instant = if micros >= 0 {
        SystemTime::UNIX_EPOCH.checked_add(distance)
    } else {
        SystemTime::UNIX_EPOCH.checked_sub(distance)
    };
    instant.unwrap_or(SystemTime::UNIX_EPOCH)
}

/// An instant as stores keep it: whole microseconds.
pub(crate) fn whole_micros(instant: SystemTime) -> SystemTime {
    from_micros(to_micros(instant))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn an_instant_is_kept_to_the_microsecond(micros in -1_000_000_000_000_000_i64..10_000_000_000_000_000) {
            prop_assert_eq!(to_micros(from_micros(micros)), micros);
        }
    }

    #[test]
    fn a_cost_that_is_no_positive_number_is_refused() {
        for cost in [0.0, -1.0, f32::NAN, f32::INFINITY, 2e9] {
            assert!(Cost::new(cost).is_err(), "{cost}");
        }
        assert_eq!(Cost::new(12.5).unwrap().get(), 12.5);
    }

    #[test]
    fn a_priority_above_nine_and_a_maximum_of_zero_are_refused() {
        assert!(Priority::new(10).is_err());
        assert_eq!(Priority::new(9).unwrap(), Priority::LOWEST);
        assert!(MaxPerWorker::new(0).is_err());
    }
}
