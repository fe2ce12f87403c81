use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use metrics::{Label, Level};
use wavequill_kernel::testing::ManualClock;

use super::*;
use crate::{Aggregator, MetricUnit, Quantile, SeriesKey, SketchAggregator};

const METADATA: Metadata<'static> = Metadata::new("test", Level::INFO, None);

fn key(name: &'static str, labels: &[(&'static str, &str)]) -> Key {
    let labels: Vec<Label> =
        labels.iter().map(|(name, value)| Label::new(*name, (*value).to_owned())).collect();
    Key::from_parts(name, labels)
}

fn collector(config: CollectorConfig) -> (SketchMetricsCollector, Arc<ManualClock>) {
    let clock = Arc::new(ManualClock::new());
    (SketchMetricsCollector::new(config, clock.clone()).unwrap(), clock)
}

#[test]
fn labels_in_any_order_are_one_series() {
    let collector = SketchMetricsCollector::default();
    collector.register_counter(&key("a_total", &[("x", "1"), ("y", "2")]), &METADATA).increment(1);
    collector.register_counter(&key("a_total", &[("y", "2"), ("x", "1")]), &METADATA).increment(2);
    let series = SeriesKey::new("a_total", [("x", "1"), ("y", "2")]);
    assert_eq!(collector.snapshot().counter(&series), Some(3));
}

#[test]
fn a_counter_set_to_an_absolute_value_keeps_what_was_added() {
    let collector = SketchMetricsCollector::default();
    let counter = collector.register_counter(&key("a_total", &[]), &METADATA);
    let value = || collector.snapshot().counter(&SeriesKey::bare("a_total")).unwrap();
    counter.increment(5);
    counter.absolute(10);
    assert_eq!(value(), 10);
    counter.increment(1);
    counter.absolute(10);
    assert_eq!(value(), 11, "it never falls");
    counter.absolute(12);
    assert_eq!(value(), 12);
}

#[test]
fn a_distribution_has_its_percentiles_and_its_exact_sum() {
    let collector = SketchMetricsCollector::default();
    let histogram = collector.register_histogram(&key("wait_seconds", &[]), &METADATA);
    (1..=1_000).for_each(|millis| histogram.record(f64::from(millis) / 1e3));
    histogram.record_many(0.0, 3);
    let snapshot = collector.snapshot();
    let sketch = snapshot.sketch(&SeriesKey::bare("wait_seconds")).unwrap();
    assert_eq!(sketch.count(), 1_003);
    assert_eq!(sketch.sum(), 500.5);
    assert!((sketch.quantile(Quantile::P99).unwrap() / 0.990 - 1.0).abs() < 0.0055);
    assert_eq!(sketch.unit(), MetricUnit::Seconds);
}

#[test]
fn refused_samples_are_counted_by_cause_and_change_nothing() {
    let collector = SketchMetricsCollector::default();
    let histogram = collector.register_histogram(&key("wait_seconds", &[]), &METADATA);
    for value in [-1.0, f64::NAN, f64::INFINITY, 1e30] {
        histogram.record(value);
    }
    collector.register_gauge(&key("g", &[]), &METADATA).set(f64::NAN);
    let snapshot = collector.snapshot();
    let rejected = |cause| {
        snapshot
            .counter(&SeriesKey::new("wavequill_monitoring_rejected_samples_total", [("cause", cause)]))
            .unwrap()
    };
    assert_eq!((rejected("negative"), rejected("not_finite"), rejected("out_of_range")), (1, 3, 1));
    assert_eq!(
        snapshot.sketch(&SeriesKey::bare("wait_seconds")).unwrap().count(),
        1,
        "beyond the range counts"
    );
    assert_eq!(snapshot.gauge(&SeriesKey::bare("g")), Some(0.0));
}

#[test]
fn one_name_of_two_kinds_keeps_the_first() {
    let collector = SketchMetricsCollector::default();
    collector.register_counter(&key("a", &[]), &METADATA).increment(1);
    collector.register_gauge(&key("a", &[]), &METADATA).set(7.0);
    collector.register_gauge(&key("a", &[("x", "1")]), &METADATA).set(7.0);
    let snapshot = collector.snapshot();
    assert_eq!(snapshot.counter(&SeriesKey::bare("a")), Some(1));
    assert_eq!(snapshot.gauge(&SeriesKey::bare("a")), None);
    assert_eq!(snapshot.gauge(&SeriesKey::new("a", [("x", "1")])), None);
}

#[test]
fn over_the_limit_records_go_to_the_overflow_series_and_are_counted() {
    let config = CollectorConfig::default().with_max_series_per_metric(10);
    let (collector, _) = collector(config);
    for tenant in 0..100 {
        let tenant = tenant.to_string();
        collector.register_counter(&key("a_total", &[("tenant", &tenant)]), &METADATA).increment(1);
    }
    let snapshot = collector.snapshot();
    assert_eq!(snapshot.counter_total("a_total"), 100, "nothing is lost");
    assert_eq!(snapshot.counter(&SeriesKey::overflow("a_total")), Some(90));
    assert_eq!(snapshot.counter(&SeriesKey::bare("wavequill_monitoring_series_overflow_total")), Some(90));
    assert!(snapshot.counters().len() <= 10 + 1 + 4);
}

#[test]
fn nine_labels_are_too_many() {
    let (collector, _) = collector(CollectorConfig::default());
    let names = ["a", "b", "c", "d", "e", "f", "g", "h", "i"];
    let labels: Vec<_> = names.iter().map(|name| (*name, "1")).collect();
    collector.register_counter(&key("a_total", &labels), &METADATA).increment(1);
    assert_eq!(collector.snapshot().counter(&SeriesKey::overflow("a_total")), Some(1));
}

#[test]
fn an_idle_series_is_forgotten_only_if_nobody_holds_it() {
    let (collector, clock) = collector(CollectorConfig::default());
    let held = collector.register_counter(&key("held_total", &[]), &METADATA);
    collector.register_counter(&key("dropped_total", &[]), &METADATA).increment(7);
    for _ in 0..3 {
        assert!(collector.snapshot().counter(&SeriesKey::bare("dropped_total")).is_some());
        clock.advance(Duration::from_secs(250));
    }
    collector.snapshot();
    let after = collector.snapshot();
    assert_eq!(after.counter(&SeriesKey::bare("dropped_total")), None);
    held.increment(1);
    assert_eq!(collector.snapshot().counter(&SeriesKey::bare("held_total")), Some(1));
    let back = collector.register_counter(&key("dropped_total", &[]), &METADATA);
    back.increment(2);
    assert_eq!(
        collector.snapshot().counter(&SeriesKey::bare("dropped_total")),
        Some(2),
        "its cell was emptied"
    );
}

#[test]
fn a_series_that_comes_back_is_not_subtracted_from_its_former_life() {
    let (collector, clock) = collector(CollectorConfig::default());
    collector.register_counter(&key("a_total", &[]), &METADATA).increment(7);
    let first = collector.snapshot();
    for _ in 0..3 {
        clock.advance(Duration::from_secs(301));
        collector.snapshot();
    }
    collector.register_counter(&key("a_total", &[]), &METADATA).increment(2);
    let grown = SketchAggregator.increase(&collector.snapshot(), &first, &SeriesKey::bare("a_total"));
    assert_eq!(grown.unwrap(), Some(2));
}

#[test]
fn ten_thousand_churned_series_stay_within_the_bound() {
    let config = CollectorConfig::default().with_max_series_per_metric(500).with_max_series(1_000);
    let (collector, clock) = collector(config);
    let mut most = 0;
    for series in 0..10_000 {
        let id = series.to_string();
        collector.register_histogram(&key("wait_seconds", &[("id", &id)]), &METADATA).record(0.5);
        if series % 100 == 0 {
            clock.advance(Duration::from_secs(60));
            let snapshot = collector.snapshot();
            assert!(snapshot.sketches().len() <= 501);
            most = most.max(collector.memory_bytes());
        }
    }
    assert!(most < 501 * 8 * 1_024, "{most} bytes");
}

#[test]
fn memory_does_not_grow_with_records() {
    let (collector, _) = collector(CollectorConfig::default());
    let histogram = collector.register_histogram(&key("wait_seconds", &[]), &METADATA);
    let record = || (0..100_000).for_each(|n| histogram.record(f64::from(n % 1_000) * 1e-3));
    record();
    let before = collector.memory_bytes();
    (0..5).for_each(|_| record());
    assert_eq!(collector.memory_bytes(), before);
}

#[test]
fn while_threads_record_nothing_falls_and_in_the_end_nothing_is_lost() {
    const THREADS: u64 = 4;
    const RECORDS: u64 = 50_000;
    let (collector, _) = collector(CollectorConfig::default().with_stripes(4));
    let done = AtomicBool::new(false);
    let (counter, histogram) = (SeriesKey::bare("a_total"), SeriesKey::bare("wait_seconds"));
    std::thread::scope(|scope| {
        let writers: Vec<_> = (0..THREADS)
            .map(|thread| {
                let collector = &collector;
                scope.spawn(move || {
                    let a = collector.register_counter(&key("a_total", &[]), &METADATA);
                    let wait = collector.register_histogram(&key("wait_seconds", &[]), &METADATA);
                    for n in 0..RECORDS {
                        a.increment(1);
                        wait.record((1 + (n * 7 + thread) % 4_096) as f64 * 1e-3);
                    }
                })
            })
            .collect();
        let reader = scope.spawn(|| {
            let mut before = collector.snapshot();
            while !done.load(Relaxed) {
                let now = collector.snapshot();
                SketchAggregator.subtract(&now, &before).unwrap();
                before = now;
            }
        });
        for writer in writers {
            writer.join().unwrap();
        }
        done.store(true, Relaxed);
        reader.join().unwrap();
    });
    let snapshot = collector.snapshot();
    assert_eq!(snapshot.counter(&counter), Some(THREADS * RECORDS));
    assert_eq!(snapshot.sketch(&histogram).unwrap().count(), THREADS * RECORDS);
}

#[test]
fn what_is_recorded_also_goes_downstream() {
    let theirs = SketchMetricsCollector::default();
    let ours = SketchMetricsCollector::with_downstream(
        CollectorConfig::default(),
        Arc::new(SystemClock),
        theirs.clone(),
    )
    .unwrap();
    ours.describe_counter("a_total".into(), None, "As.".into());
    ours.register_counter(&key("a_total", &[]), &METADATA).increment(3);
    ours.register_gauge(&key("g", &[]), &METADATA).set(2.5);
    ours.register_histogram(&key("h", &[]), &METADATA).record_many(1.0, 4);
    for snapshot in [ours.snapshot(), theirs.snapshot()] {
        assert_eq!(snapshot.counter(&SeriesKey::bare("a_total")), Some(3));
        assert_eq!(snapshot.gauge(&SeriesKey::bare("g")), Some(2.5));
        assert_eq!(snapshot.sketch(&SeriesKey::bare("h")).unwrap().count(), 4);
    }
    assert!(theirs.catalogue().iter().any(|metric| metric.name.as_str() == "a_total"));
}

#[test]
fn a_unit_that_is_described_before_the_first_series_holds() {
    let collector = SketchMetricsCollector::default();
    collector.describe_histogram("claimed_jobs".into(), Some(Unit::Count), "Jobs a claim.".into());
    collector.register_histogram(&key("claimed_jobs", &[]), &METADATA).record(5.0);
    collector.register_histogram(&key("other", &[]), &METADATA).record(5.0);
    collector.describe_histogram("other".into(), Some(Unit::Bytes), "Late.".into());
    let snapshot = collector.snapshot();
    assert_eq!(snapshot.sketch(&SeriesKey::bare("claimed_jobs")).unwrap().unit(), MetricUnit::Count);
    assert_eq!(snapshot.sketch(&SeriesKey::bare("other")).unwrap().unit(), MetricUnit::Other);
}

#[test]
fn a_configuration_out_of_range_is_refused() {
    for config in [
        CollectorConfig::default().with_stripes(0),
        CollectorConfig::default().with_max_series_per_metric(0),
        CollectorConfig::default().with_max_series(10),
    ] {
        let refused = SketchMetricsCollector::new(config, Arc::new(SystemClock)).unwrap_err();
        assert!(matches!(refused, MonitoringError::InvalidConfig { .. }), "{refused}");
    }
}
