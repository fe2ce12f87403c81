//! How long to wait before the next attempt. It decides from a seed; it neither waits nor draws.

use std::time::Duration;

use crate::InvalidValue;

/// Exponential backoff with full jitter: before attempt *n* (1 is the first retry) a delay drawn evenly from
/// [0, min(cap, base · 2ⁿ⁻¹)], after Brooker, *Exponential Backoff And Jitter* (AWS, 2015).
///
/// ```
/// use std::time::Duration;
/// use wavequill_kernel::Backoff;
///
/// let backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(30))?;
/// assert_eq!(backoff.ceiling(1), Duration::from_secs(1));
/// assert_eq!(backoff.ceiling(4), Duration::from_secs(8));
/// assert_eq!(backoff.ceiling(60), Duration::from_secs(30));
/// # Ok::<(), wavequill_kernel::InvalidValue>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    base: Duration,
    cap: Duration,
}

impl Backoff {
    /// Delays that start at `base`, double, and never exceed `cap`.
    ///
    /// # Errors
    /// [`InvalidValue`] if `base` is zero or above `cap`.
    pub fn new(base: Duration, cap: Duration) -> Result<Self, InvalidValue> {
        if base.is_zero() {
            return Err(InvalidValue::new("base", "0 s", "above zero"));
        }
        if base > cap {
            return Err(InvalidValue::new(
                "base",
                format!("{base:?}"),
                format!("at most the cap of {cap:?}"),
            ));
        }
        Ok(Self { base, cap })
    }

    /// The longest delay before retry `attempt`, counted from 1.
    pub fn ceiling(&self, attempt: u32) -> Duration {
        let doublings = attempt.saturating_sub(1).min(63);
        let nanos = self.base.as_nanos().saturating_mul(1_u128 << doublings);
        u64::try_from(nanos).map_or(self.cap, |nanos| Duration::from_nanos(nanos).min(self.cap))
    }

    /// The delay before retry `attempt`, counted from 1: the same for the same seed.
    pub fn delay(&self, attempt: u32, seed: u64) -> Duration {
        let draw = mix(seed ^ u64::from(attempt).wrapping_mul(0x9E37_79B9_7F4A_7C15));
        // 53 bits: every value is exact in an f64.
        let share = (draw >> 11) as f64 / (1_u64 << 53) as f64;
        self.ceiling(attempt).mul_f64(share)
    }
}

/// The finaliser of `SplitMix64` (Steele, Lea, Flood 2014): spreads each bit of the seed over the result.
const fn mix(seed: u64) -> u64 {
    let mut z = seed.wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn backoff() -> Backoff {
        Backoff::new(Duration::from_millis(500), Duration::from_secs(30)).unwrap()
    }

    #[test]
    fn a_zero_base_or_a_base_above_the_cap_is_refused() {
        let second = Duration::from_secs(1);
        assert!(Backoff::new(Duration::ZERO, second).is_err());
        let error = Backoff::new(2 * second, second).unwrap_err();
        assert_eq!(error.to_string(), "`base` is 2s, but must be at most the cap of 1s");
    }

    #[test]
    fn the_jitter_is_full_delays_fill_the_whole_range() {
        let ceiling = backoff().ceiling(3).as_secs_f64();
        let mean = (0..10_000).map(|seed| backoff().delay(3, seed).as_secs_f64()).sum::<f64>() / 10_000.0;
        assert!((mean / ceiling - 0.5).abs() < 0.02, "mean {mean} of {ceiling}");
    }

    proptest! {
        #[test]
        fn a_delay_never_exceeds_its_ceiling_nor_the_cap(attempt in 0_u32..2_000, seed: u64) {
            let delay = backoff().delay(attempt, seed);
            prop_assert!(delay <= backoff().ceiling(attempt));
            prop_assert!(delay <= Duration::from_secs(30));
        }

        #[test]
        fn ceilings_never_fall(attempt in 0_u32..2_000) {
            prop_assert!(backoff().ceiling(attempt) <= backoff().ceiling(attempt + 1));
        }
    }
}
