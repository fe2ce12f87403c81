use std::time::{Duration, SystemTime};

use proptest::prelude::*;

use super::*;
use crate::{MetricUnit, Tick};

const BEGIN: Tick = Tick { monotonic: Duration::ZERO, wall: SystemTime::UNIX_EPOCH };

fn snapshot(process: u128, files: u64, waits: &[f64]) -> MetricsSnapshot {
    let mut sketch = Sketch::new(MetricUnit::Seconds);
    for wait in waits {
        sketch.record(*wait).unwrap();
    }
    MetricsSnapshot::new(ProcessEpoch::from_bits(process), BEGIN, BEGIN.after(Duration::from_secs(files)))
        .with_counter(SeriesKey::bare("files_total"), files)
        .with_gauge(SeriesKey::bare("in_flight"), files as f64 - 3.0)
        .with_sketch(SeriesKey::bare("wait_seconds"), sketch)
}

fn part() -> impl Strategy<Value = MetricsSnapshot> {
    (1_u128..9, 0_u64..1_000, prop::collection::vec(0.0_f64..9.0, 0..100))
        .prop_map(|(process, files, waits)| snapshot(process, files, &waits))
}

proptest! {
    #[test]
    fn merging_is_commutative_and_associative_to_the_bit(a in part(), b in part(), c in part()) {
        let merge = |parts: &[MetricsSnapshot]| SketchAggregator.merge(parts).unwrap();
        prop_assert_eq!(merge(&[a.clone(), b.clone(), c.clone()]), merge(&[c.clone(), a.clone(), b.clone()]));
        let left = merge(&[merge(&[a.clone(), b.clone()]), c.clone()]);
        prop_assert_eq!(left, merge(&[a, merge(&[b, c])]));
    }

    #[test]
    fn what_was_recorded_between_is_the_later_less_the_earlier(
        early in prop::collection::vec(0.0_f64..9.0, 0..80), late in prop::collection::vec(0.0_f64..9.0, 0..80),
    ) {
        let earlier = snapshot(1, 5, &early);
        let later = snapshot(1, 12, &[early, late.clone()].concat());
        let between = SketchAggregator.subtract(&later, &earlier).unwrap();
        let series = SeriesKey::bare("wait_seconds");
        prop_assert_eq!(between.counter(&SeriesKey::bare("files_total")), Some(7));
        prop_assert_eq!(between.sketch(&series).unwrap().count(), late.len() as u64);
        let wanted = snapshot(1, 0, &late);
        prop_assert_eq!(between.sketch(&series).unwrap().to_buckets(), wanted.sketch(&series).unwrap().to_buckets());
    }
}

#[test]
fn snapshots_of_two_starts_and_falling_counts_are_errors() {
    let other = SketchAggregator.subtract(&snapshot(2, 9, &[]), &snapshot(1, 5, &[])).unwrap_err();
    assert!(matches!(other, MonitoringError::EpochMismatch { .. }), "{other}");
    let fell = SketchAggregator.subtract(&snapshot(1, 5, &[]), &snapshot(1, 9, &[])).unwrap_err();
    assert_eq!(fell, MonitoringError::CountFell { series: "files_total".to_owned() });
    let fell = SketchAggregator.subtract(&snapshot(1, 9, &[]), &snapshot(1, 5, &[1.0])).unwrap_err();
    assert_eq!(fell, MonitoringError::CountFell { series: "wait_seconds".to_owned() });
    assert_eq!(SketchAggregator.merge(&[]), Err(MonitoringError::NothingToMerge));
}

#[test]
fn a_series_that_is_gone_is_left_out_and_a_new_one_counts_from_zero() {
    let earlier = snapshot(1, 5, &[]).with_counter(SeriesKey::bare("gone_total"), 3);
    let later = snapshot(1, 6, &[]).with_counter(SeriesKey::bare("new_total"), 4);
    let between = SketchAggregator.subtract(&later, &earlier).unwrap();
    assert_eq!(between.counter(&SeriesKey::bare("gone_total")), None);
    assert_eq!(between.counter(&SeriesKey::bare("new_total")), Some(4));
}

#[test]
fn rates_and_ratios_of_nothing_are_nothing() {
    assert_eq!(SketchAggregator.ratio(0, 0), None);
    assert_eq!(SketchAggregator.ratio(1, 4), Some(0.25));
    assert_eq!(SketchAggregator.rate(5, Duration::ZERO), None);
    assert_eq!(SketchAggregator.rate(5, Duration::from_secs(10)), Some(0.5));
}
