//! How long a thing lives. It does not know when: see [`Ttl::expires_at`].

use std::time::{Duration, SystemTime};

use crate::InvalidValue;

/// A time to live: above zero, at most 400 days.
///
/// ```
/// use std::time::Duration;
/// use wavequill_kernel::Ttl;
///
/// let week = Ttl::new(Duration::from_secs(7 * 86_400))?;
/// assert!(Ttl::new(Duration::ZERO).is_err());
/// # Ok::<(), wavequill_kernel::InvalidValue>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(try_from = "Duration", into = "Duration"))]
pub struct Ttl(Duration);

impl Ttl {
    /// The longest time to live: 400 days.
    pub const MAX: Self = Self(Duration::from_secs(400 * 86_400));

    /// Checks that the duration is above zero and at most [`Ttl::MAX`].
    ///
    /// # Errors
    /// [`InvalidValue`] if it is not.
    pub fn new(duration: Duration) -> Result<Self, InvalidValue> {
        if duration.is_zero() || duration > Self::MAX.0 {
            return Err(InvalidValue::new("ttl", format!("{duration:?}"), "above zero and at most 400 days"));
        }
        Ok(Self(duration))
    }

    /// The duration.
    pub const fn as_duration(self) -> Duration {
        self.0
    }

    /// When a thing that was made at `created` ends.
    pub fn expires_at(self, created: SystemTime) -> SystemTime {
        // 400 days after any time that the platform can represent in practice; past that, live as long as it can.
        created.checked_add(self.0).unwrap_or(created)
    }

    /// The shorter of the two.
    #[must_use]
    pub fn min(self, other: Self) -> Self {
        Ord::min(self, other)
    }
}

impl TryFrom<Duration> for Ttl {
    type Error = InvalidValue;

    fn try_from(duration: Duration) -> Result<Self, InvalidValue> {
        Self::new(duration)
    }
}

impl From<Ttl> for Duration {
    fn from(ttl: Ttl) -> Self {
        ttl.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zero_and_more_than_400_days_are_refused() {
        assert!(Ttl::new(Duration::ZERO).is_err());
        assert!(Ttl::new(Ttl::MAX.as_duration() + Duration::from_nanos(1)).is_err());
        assert_eq!(Ttl::new(Ttl::MAX.as_duration()).unwrap(), Ttl::MAX);
    }

    #[test]
    fn expiry_is_the_time_of_creation_and_the_ttl() {
        let ttl = Ttl::new(Duration::from_secs(60)).unwrap();
        let created = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000);
        assert_eq!(ttl.expires_at(created), SystemTime::UNIX_EPOCH + Duration::from_secs(1_060));
    }

    #[cfg(feature = "serde")]
    #[test]
    fn a_zero_ttl_is_refused_by_serde_too() {
        let refused = serde_json::from_str::<Ttl>(r#"{"secs":0,"nanos":0}"#).unwrap_err();
        assert!(refused.to_string().contains("above zero"), "{refused}");
    }
}
