//! Finds statements that have become slower. It compares two workloads, and asks nobody.
//!
//! Where single calls are known, a one-sided test of Mann and Whitney (1947) on the buckets, with ties, must reject
//! at 1 % divided by the number of statements (Bonferroni), and the median must have grown by 30 %. Where only means
//! are known, a mean that has doubled is reported with less confidence.

use std::collections::BTreeMap;

use crate::{Confidence, Latencies, ObservedQuery, Regression, Workload};

const FEWEST_CALLS: u64 = 100;
const SLOWER: f64 = 1.3;
const MEAN_SLOWER: f64 = 2.0;

/// The statements of both workloads that are slower in the later one, the most time lost first.
pub(crate) fn regressions(before: &Workload, after: &Workload) -> Vec<Regression> {
    let earlier: BTreeMap<_, _> = before.queries.iter().map(|query| (query.fingerprint, query)).collect();
    let pairs: Vec<(&ObservedQuery, &ObservedQuery)> = after
        .queries
        .iter()
        .filter_map(|now| Some((*earlier.get(&now.fingerprint)?, now)))
        .filter(|(then, now)| then.calls >= FEWEST_CALLS && now.calls >= FEWEST_CALLS)
        .collect();
    let level = 0.01 / pairs.len().max(1) as f64;
    let mut found: Vec<_> = pairs.iter().filter_map(|(then, now)| compare(then, now, level)).collect();
    found.sort_by_key(|it| {
        std::cmp::Reverse(it.after.saturating_sub(it.before) * it.query.calls.min(1 << 30) as u32)
    });
    found
}

fn compare(then: &ObservedQuery, now: &ObservedQuery, level: f64) -> Option<Regression> {
    let (before, after, confidence) = if let (Some(earlier), Some(later)) = (&then.latencies, &now.latencies)
    {
        let (before, after) = (earlier.quantile(0.5)?, later.quantile(0.5)?);
        let slower = after >= before.mul_f64(SLOWER) && p_value(earlier, later) < level;
        (before, after, slower.then_some(Confidence::High)?)
    } else {
        let (before, after) = (then.mean(), now.mean());
        (before, after, (after >= before.mul_f64(MEAN_SLOWER)).then_some(Confidence::Low)?)
    };
    Some(Regression { query: now.clone(), before, after, confidence })
}

/// How likely calls as slow as the later ones are if nothing has changed: Mann and Whitney's test by its normal
/// approximation, corrected for ties.
fn p_value(earlier: &Latencies, later: &Latencies) -> f64 {
    let length = earlier.buckets().len().max(later.buckets().len());
    let at = |latencies: &Latencies, bucket: usize| {
        latencies.buckets().get(bucket).copied().map_or(0.0, f64::from)
    };
    let (mut rank_sum, mut below, mut ties) = (0.0, 0.0, 0.0);
    for bucket in 0..length {
        let (x, y) = (at(earlier, bucket), at(later, bucket));
        let both = x + y;
        rank_sum += y * (below + f64::midpoint(both, 1.0));
        ties += both.powi(3) - both;
        below += both;
    }
    let (n, m) = (earlier.count() as f64, later.count() as f64);
    let all = n + m;
    let u = rank_sum - m * (m + 1.0) / 2.0;
    let variance = n * m / 12.0 * (all + 1.0 - ties / (all * (all - 1.0)));
    if variance <= 0.0 {
        return 1.0;
    }
    upper_tail((u - n * m / 2.0 - 0.5) / variance.sqrt())
}

/// The probability that a standard normal variable exceeds `z`: Abramowitz and Stegun (1964), 26.2.17, to 7.5 · 10⁻⁸.
fn upper_tail(z: f64) -> f64 {
    if z < 0.0 {
        return 1.0 - upper_tail(-z);
    }
    let t = 1.0 / (1.0 + 0.231_641_9 * z);
    let series = [0.319_381_530, -0.356_563_782, 1.781_477_937, -1.821_255_978, 1.330_274_429];
    let sum = series.iter().rev().fold(0.0, |sum, factor| (sum + factor) * t);
    (-z * z / 2.0).exp() / (2.0 * std::f64::consts::PI).sqrt() * sum
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::Fingerprint;

    /// Calls that spread around a duration, the same each time.
    fn query(seed: u64, calls: u64, micros: u64) -> ObservedQuery {
        let mut latencies = Latencies::default();
        let mut state = seed;
        for _ in 0..calls {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let share = (state >> 33) as f64 / (1_u64 << 31) as f64;
            latencies.record(Duration::from_micros(micros).mul_f64(0.5 + share));
        }
        let total = Duration::from_micros(micros * calls);
        ObservedQuery {
            latencies: Some(latencies),
            ..ObservedQuery::new(Fingerprint::new(7), "SELECT 1", calls, total)
        }
    }

    fn found(before: ObservedQuery, after: ObservedQuery) -> usize {
        regressions(&Workload::of(vec![before]), &Workload::of(vec![after])).len()
    }

    #[test]
    fn twice_as_slow_is_found_in_200_calls() {
        assert_eq!(found(query(1, 200, 1_000), query(2, 200, 2_000)), 1);
    }

    #[test]
    fn the_same_again_is_no_regression() {
        let false_alarms: usize =
            (0..1_000).map(|seed| found(query(seed, 200, 1_000), query(seed + 5_000, 200, 1_000))).sum();
        assert!(false_alarms < 10, "{false_alarms} of 1,000");
    }

    #[test]
    fn too_few_calls_and_small_changes_are_no_regression() {
        assert_eq!(found(query(1, 50, 1_000), query(2, 50, 5_000)), 0);
        assert_eq!(found(query(1, 5_000, 1_000), query(2, 5_000, 1_100)), 0);
    }

    #[test]
    fn the_tail_of_the_normal_distribution_is_right() {
        for (z, p) in [(0.0, 0.5), (1.644_854, 0.05), (2.326_348, 0.01), (-1.0, 0.841_344_7)] {
            assert!((upper_tail(z) - p).abs() < 1e-6, "{z}: {}", upper_tail(z));
        }
    }
}
