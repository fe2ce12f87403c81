use super::*;
use proptest::prelude::*;

const BOUND: f64 = 0.0055;

fn sketch(values: &[f64]) -> Sketch {
    let mut sketch = Sketch::new(MetricUnit::Seconds);
    for value in values {
        sketch.record(*value).unwrap();
    }
    sketch
}

/// Distributions of many shapes: even, log-normal-like, two modes, nearly constant, heavy tail, many zeros, powers of two,
/// and all of them mixed. Drawn from a seed, since values drawn one by one take most of a test's time.
fn hostile() -> impl Strategy<Value = Vec<f64>> {
    (any::<u64>(), 0_u8..8, 1_usize..400).prop_map(|(seed, shape, len)| {
        let mut state = seed;
        let mut unit = move || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 11) as f64 / (1_u64 << 53) as f64
        };
        let one = |_| {
            let shape = if shape == 7 { (unit() * 7.0) as u8 } else { shape };
            match shape {
                0 => 1e-3 + unit(),
                1 => ((unit() + unit() + unit() - 1.5) * 4.0).exp(),
                2 if unit() < 0.5 => 900.0 + unit(),
                2 => 1e-6 * (1.0 + unit()),
                3 => 1.0 + unit() * 1e-9,
                4 => (1e-7 + unit()).powf(-1.2),
                5 if unit() < 0.9 => 0.0,
                5 => unit(),
                _ => 2.0_f64.powi((unit() * 40.0) as i32 - 20),
            }
        };
        (0..len).map(one).collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn every_quantile_is_within_its_bound_of_the_nearest_rank(values in hostile(), share in 0.0_f64..=1.0) {
        let quantile = Quantile::new(share).unwrap();
        let mut sorted = values.clone();
        sorted.sort_by(f64::total_cmp);
        let exact = sorted[quantile.rank(sorted.len() as u64) as usize - 1];
        let kept = sketch(&values);
        let answer = kept.quantile(quantile).unwrap();
        if kept.is_exact() {
            prop_assert_eq!(answer, exact);
        }
        let counted = kept.to_buckets().quantile(quantile).unwrap();
        if exact == 0.0 {
            prop_assert_eq!(counted, 0.0);
        } else {
            prop_assert!((counted / exact - 1.0).abs() <= BOUND, "{} for {}", counted, exact);
        }
    }

    #[test]
    fn merging_parts_in_any_order_is_the_sketch_of_all_values_to_the_bit(
        values in hostile(), cuts in prop::collection::vec(0_usize..400, 0..50), turn in 0_usize..50,
    ) {
        let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(values.len())).collect();
        cuts.extend([0, values.len()]);
        cuts.sort_unstable();
        let mut parts: Vec<Sketch> = cuts.windows(2).map(|pair| sketch(&values[pair[0]..pair[1]])).collect();
        let turn = turn % parts.len();
        parts.rotate_left(turn);
        let left = parts.iter().fold(Sketch::new(MetricUnit::Seconds), |sum, part| sum.merge(part).unwrap());
        let right = parts.iter().rev().fold(Sketch::new(MetricUnit::Seconds), |sum, part| part.merge(&sum).unwrap());
        prop_assert_eq!(&left, &right);
        prop_assert_eq!(left, sketch(&values));
    }

    #[test]
    fn subtracting_one_of_two_leaves_the_other(one in hostile(), other in hostile()) {
        let (one, other) = (sketch(&one), sketch(&other));
        let both = one.merge(&other).unwrap();
        prop_assert_eq!(both.subtract(&one).unwrap().to_buckets(), other.to_buckets());
        if both != one {
            prop_assert!(one.subtract(&both).is_err());
        }
    }

    #[test]
    fn counts_up_to_a_power_of_two_are_exact(values in hostile(), exponent in -25_i32..30) {
        let bound = 2.0_f64.powi(exponent);
        let exact = values.iter().filter(|value| **value <= bound).count() as u64;
        prop_assert_eq!(sketch(&values).to_buckets().count_at_most(bound), exact);
    }

    #[test]
    fn a_sketch_reads_back_from_json(values in hostile()) {
        for kept in [sketch(&values), sketch(&values).to_buckets()] {
            let json = serde_json::to_string(&kept).unwrap();
            prop_assert_eq!(serde_json::from_str::<Sketch>(&json).unwrap(), kept);
        }
    }

    #[test]
    fn a_coarser_scale_wins_and_keeps_every_count(values in hostile(), scale in 0_u8..6) {
        let fine = sketch(&values).to_buckets();
        let coarse = Sketch { unit: fine.unit, values: Values::Buckets(fine.counted().at_scale(scale)) };
        let both = fine.merge(&coarse).unwrap();
        prop_assert_eq!(both.count(), 2 * fine.count());
        prop_assert_eq!(both.dense().0, scale);
        prop_assert_eq!(coarse.merge(&fine).unwrap(), both);
    }
}

#[test]
fn the_65th_value_turns_it_into_buckets_and_loses_nothing() {
    let values: Vec<f64> = (1..=65).map(f64::from).collect();
    assert!(sketch(&values[..64]).is_exact());
    let counted = sketch(&values);
    assert!(!counted.is_exact());
    assert_eq!(counted.count(), 65);
    assert_eq!(counted.sum(), 2145.0);
}

#[test]
fn negative_infinite_and_undefined_values_are_refused() {
    let mut kept = Sketch::new(MetricUnit::Seconds);
    for value in [-1.0, f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        assert!(kept.record(value).is_err(), "{value}");
    }
    kept.record(-0.0).unwrap();
    assert_eq!(kept.quantile(Quantile::P50), Some(0.0));
    assert_eq!(kept.count(), 1);
}

#[test]
fn sketches_of_two_units_do_not_mix() {
    let error = Sketch::new(MetricUnit::Seconds).merge(&Sketch::new(MetricUnit::Bytes)).unwrap_err();
    assert!(matches!(error, MonitoringError::UnitMismatch { .. }), "{error}");
}

#[test]
fn damaged_sketches_are_refused() {
    for json in [
        r#"{"unit":"seconds","exact":null,"buckets":null}"#,
        r#"{"unit":"seconds","exact":[-1.0],"buckets":null}"#,
        r#"{"unit":"seconds","exact":null,"buckets":{"scale":7,"zero":0,"ticks":0,"first":0,"counts":[1]}}"#,
        r#"{"unit":"bytes","exact":null,"buckets":{"scale":6,"zero":0,"ticks":0,"first":-1,"counts":[1]}}"#,
        r#"{"unit":"bytes","exact":null,"buckets":{"scale":6,"zero":18446744073709551615,"ticks":0,"first":0,"counts":[1]}}"#,
    ] {
        assert!(serde_json::from_str::<Sketch>(json).is_err(), "{json}");
    }
}
