//! How long calls took, in buckets that grow with the value.

use std::time::Duration;

/// Steps of each doubling: a bucket is at most an eighth wider than where it begins.
const STEPS: u32 = 8;
const STEP_BITS: u32 = 3;

/// A histogram of durations, exact to an eighth of the value, from nanoseconds to centuries.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Latencies {
    buckets: Vec<u32>,
}

impl Latencies {
    /// Counts one call.
    pub fn record(&mut self, took: Duration) {
        let at = bucket_of(took);
        if self.buckets.len() <= at {
            self.buckets.resize(at + 1, 0);
        }
        if let Some(count) = self.buckets.get_mut(at) {
            *count = count.saturating_add(1);
        }
    }

    /// How many calls were counted.
    pub fn count(&self) -> u64 {
        self.buckets.iter().map(|&count| u64::from(count)).sum()
    }

    /// The duration that this share of the calls did not exceed, to an eighth; `None` if nothing was counted.
    pub fn quantile(&self, share: f64) -> Option<Duration> {
        let count = self.count();
        if count == 0 {
            return None;
        }
        let rank = ((count as f64 * share).ceil() as u64).clamp(1, count);
        let mut seen = 0;
        let at = self.buckets.iter().position(|&in_bucket| {
            seen += u64::from(in_bucket);
            seen >= rank
        })?;
        Some(middle_of(at))
    }

    /// What was counted after `earlier` was taken from the same calls.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let before = earlier.buckets.iter().copied().chain(std::iter::repeat(0));
        Self {
            buckets: self.buckets.iter().zip(before).map(|(now, then)| now.saturating_sub(then)).collect(),
        }
    }

    /// The counts by bucket, shortest first.
    pub(crate) fn buckets(&self) -> &[u32] {
        &self.buckets
    }
}

fn bucket_of(took: Duration) -> usize {
    let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
    if nanos < u64::from(STEPS) {
        return nanos as usize;
    }
    let octave = nanos.ilog2();
    let step = (nanos >> (octave - STEP_BITS)) & u64::from(STEPS - 1);
    ((octave - STEP_BITS + 1) * STEPS) as usize + step as usize
}

fn middle_of(bucket: usize) -> Duration {
    let bucket = bucket as u64;
    let steps = u64::from(STEPS);
    if bucket < steps {
        return Duration::from_nanos(bucket);
    }
    let shift = (bucket / steps - 1) as u32;
    let low = (steps + bucket % steps) << shift;
    Duration::from_nanos(low + (1 << shift) / 2)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_value_is_given_back_to_an_eighth(nanos in 0_u64..u64::MAX / 4) {
            let took = Duration::from_nanos(nanos);
            let near = middle_of(bucket_of(took)).as_nanos() as f64;
            prop_assert!((near - nanos as f64).abs() <= nanos as f64 / 8.0, "{nanos} became {near}");
        }

        #[test]
        fn longer_is_never_in_an_earlier_bucket(a: u64, b: u64) {
            let (short, long) = (a.min(b), a.max(b));
            prop_assert!(bucket_of(Duration::from_nanos(short)) <= bucket_of(Duration::from_nanos(long)));
        }
    }

    #[test]
    fn quantiles_follow_the_counts_and_a_difference_holds_only_the_later_calls() {
        let mut latencies = Latencies::default();
        assert_eq!(latencies.quantile(0.5), None);
        for _ in 0..90 {
            latencies.record(Duration::from_millis(1));
        }
        let earlier = latencies.clone();
        for _ in 0..10 {
            latencies.record(Duration::from_secs(1));
        }
        assert!(latencies.quantile(0.5).unwrap() < Duration::from_millis(2));
        assert!(latencies.quantile(0.99).unwrap() > Duration::from_millis(900));
        assert_eq!(latencies.since(&earlier).count(), 10);
        assert!(latencies.since(&earlier).quantile(0.01).unwrap() > Duration::from_millis(900));
    }
}
