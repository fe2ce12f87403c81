//! A share between 0 and 1, and the percentiles people ask for.

use serde::{Deserialize, Serialize};
use wavequill_kernel::InvalidValue;

/// Which quantile: 0 is the least value, 0.5 the median, 1 the greatest.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(try_from = "f64", into = "f64")]
pub struct Quantile(f64);

impl Quantile {
    /// The median.
    pub const P50: Self = Self(0.5);
    /// The 90th percentile.
    pub const P90: Self = Self(0.9);
    /// The 95th percentile.
    pub const P95: Self = Self(0.95);
    /// The 99th percentile.
    pub const P99: Self = Self(0.99);
    /// The 99.9th percentile.
    pub const P999: Self = Self(0.999);
    /// The greatest value.
    pub const MAX: Self = Self(1.0);

    /// A share from 0 to 1.
    ///
    /// # Errors
    /// [`InvalidValue`] for anything else.
    pub fn new(share: f64) -> Result<Self, InvalidValue> {
        if (0.0..=1.0).contains(&share) {
            Ok(Self(share))
        } else {
            Err(InvalidValue::new("quantile", share, "0 to 1"))
        }
    }

    /// The share.
    pub const fn share(self) -> f64 {
        self.0
    }

    /// The nearest rank among `count` values in order, counted from 1: ⌈q·n⌉, at least 1.
    pub(crate) fn rank(self, count: u64) -> u64 {
        ((self.0 * count as f64).ceil() as u64).clamp(1, count.max(1))
    }
}

impl TryFrom<f64> for Quantile {
    type Error = InvalidValue;

    fn try_from(share: f64) -> Result<Self, InvalidValue> {
        Self::new(share)
    }
}

impl From<Quantile> for f64 {
    fn from(quantile: Quantile) -> Self {
        quantile.0
    }
}

/// The usual percentiles of one distribution, in the metric's unit.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Percentiles {
    /// Half of the values are at most this.
    pub p50: f64,
    /// 90 % are at most this.
    pub p90: f64,
    /// 95 % are at most this.
    pub p95: f64,
    /// 99 % are at most this.
    pub p99: f64,
    /// 99.9 % are at most this.
    pub p999: f64,
    /// The greatest.
    pub max: f64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rank_is_the_nearest_and_never_zero() {
        assert_eq!(Quantile::P50.rank(4), 2);
        assert_eq!(Quantile::P50.rank(5), 3);
        assert_eq!(Quantile::new(0.0).unwrap().rank(5), 1);
        assert_eq!(Quantile::MAX.rank(5), 5);
        assert!(Quantile::new(f64::NAN).is_err());
        assert!(serde_json::from_str::<Quantile>("1.5").is_err());
    }
}
