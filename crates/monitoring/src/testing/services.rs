//! The contracts of the domain services.

use std::time::{Duration, SystemTime};

use metrics::{Key, Label, Level, Metadata, Unit};

use crate::aggregator::Aggregator;
use crate::alert_evaluator::AlertEvaluator;
use crate::error::MonitoringError;
use crate::metrics_collector::MetricsCollector;
use crate::model::alert::{AlertState, AlertStates};
use crate::model::history::SnapshotHistory;
use crate::model::layout::MetricUnit;
use crate::model::quantile::Quantile;
use crate::model::routes::{RouteStates, Routes, Silence};
use crate::model::rule::{AlertRule, Condition, Query, RuleSet, Selector};
use crate::model::series_key::SeriesKey;
use crate::model::sketch::Sketch;
use crate::model::snapshot::{MetricsSnapshot, ProcessEpoch, Tick};

const METADATA: Metadata<'static> = Metadata::new("conformance", Level::INFO, None);
const ORIGIN: Tick = Tick { monotonic: Duration::ZERO, wall: SystemTime::UNIX_EPOCH };

/// Tests a [`MetricsCollector`]: give it one that is fresh.
///
/// # Panics
/// If a sentence of the contract does not hold.
pub fn metrics_collector_conforms(collector: &dyn MetricsCollector) {
    const THREADS: usize = 4;
    const RECORDS: usize = 10_000;
    let recorder = collector.recorder();
    recorder.describe_counter("conformance_total".into(), Some(Unit::Count), "For a test.".into());
    let labels = [Label::new("a", "1"), Label::new("b", "2")];
    let turned = [Label::new("b", "2"), Label::new("a", "1")];
    let key = |labels: &[Label]| Key::from_parts("conformance_total", labels.to_vec());
    let one = recorder.register_counter(&key(&labels), &METADATA);
    let other = recorder.register_counter(&key(&turned), &METADATA);
    let gauge = recorder.register_gauge(&Key::from_static_name("conformance_gauge"), &METADATA);
    let histogram = recorder.register_histogram(&Key::from_static_name("conformance_seconds"), &METADATA);
    let counted = SeriesKey::new("conformance_total", [("a", "1"), ("b", "2")]);
    let spread = SeriesKey::bare("conformance_seconds");

    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let (one, other, histogram) = (&one, &other, &histogram);
            scope.spawn(move || {
                for n in 0..RECORDS {
                    if n % 2 == 0 { one } else { other }.increment(1);
                    histogram.record(1e-3 * (1 + (n + thread) % 1_000) as f64);
                }
            });
        }
        let mut before = collector.snapshot();
        for _ in 0..50 {
            let now = collector.snapshot();
            let fell = crate::SketchAggregator.subtract(&now, &before);
            assert!(fell.is_ok(), "3: no counter and no bucket ever falls: {fell:?}");
            before = now;
        }
    });
    gauge.set(-2.5);

    let snapshot = collector.snapshot();
    let all = (THREADS * RECORDS) as u64;
    assert_eq!(
        snapshot.counter(&counted),
        Some(all),
        "2 and 6: nothing is lost, labels in any order are one series"
    );
    let sketch = snapshot.sketch(&spread).unwrap();
    assert_eq!(sketch.count(), all, "2: nothing is lost");
    assert_eq!(
        sketch.buckets().map(|(_, count)| count).sum::<u64>(),
        all,
        "3: the count is the sum of the buckets"
    );
    assert_eq!(
        snapshot.gauge(&SeriesKey::bare("conformance_gauge")),
        Some(-2.5),
        "2: a gauge is what was set"
    );
    let described = collector.catalogue();
    assert!(
        described.iter().any(|metric| metric.name.as_str() == "conformance_total"),
        "the catalogue has all that was described"
    );
}

/// Tests an [`Aggregator`].
///
/// # Panics
/// If a sentence of the contract does not hold.
pub fn aggregator_conforms(aggregator: &dyn Aggregator) {
    let sketch = |values: &mut dyn Iterator<Item = f64>| {
        let mut sketch = Sketch::new(MetricUnit::Seconds);
        values.for_each(|value| sketch.record(value).unwrap());
        sketch
    };
    let values = || (1..=2_000).map(|n| 1e-4 * f64::from(n * n));
    let all = sketch(&mut values());
    for share in [0.0, 0.5, 0.9, 0.99, 0.999, 1.0] {
        let quantile = Quantile::new(share).unwrap();
        let rank = ((share * 2_000.0).ceil() as usize).max(1);
        let exact = values().nth(rank - 1).unwrap();
        let answer = aggregator.quantile(&all, quantile).unwrap();
        assert!((answer / exact - 1.0).abs() <= 0.0055, "1: {answer} for {exact}");
    }
    let few = sketch(&mut values().take(3));
    assert_eq!(aggregator.quantile(&few, Quantile::P50), values().nth(1), "1: an exact sketch is exact");

    let series = SeriesKey::bare("conformance_seconds");
    let total = SeriesKey::bare("conformance_total");
    let part = |process: u128, offset: usize, count: u64| {
        let values = sketch(&mut values().skip(offset).step_by(4));
        MetricsSnapshot::new(ProcessEpoch::from_bits(process), ORIGIN, ORIGIN)
            .with_sketch(series.clone(), values)
            .with_counter(total.clone(), count)
    };
    let parts = [part(1, 0, 5), part(2, 1, 6), part(3, 2, 7), part(4, 3, 8)];
    let merged = aggregator.merge(&parts).unwrap();
    let turned: Vec<_> = parts.iter().rev().cloned().collect();
    assert_eq!(merged, aggregator.merge(&turned).unwrap(), "2: the order does not matter, to the bit");
    assert_eq!(
        merged.sketch(&series).unwrap().to_buckets(),
        all.to_buckets(),
        "2: it is the sketch of all values"
    );
    assert_eq!(merged.counter(&total), Some(26));

    let earlier = part(1, 0, 5);
    let later = part(1, 0, 9);
    assert_eq!(
        aggregator.subtract(&later, &earlier).unwrap().counter(&total),
        Some(4),
        "3: what was recorded between"
    );
    let swapped = aggregator.subtract(&earlier, &later);
    assert!(matches!(swapped, Err(MonitoringError::CountFell { .. })), "3: never a negative number");
    let other = aggregator.subtract(&part(2, 0, 9), &earlier);
    assert!(matches!(other, Err(MonitoringError::EpochMismatch { .. })), "3: another epoch is an error");
}

/// Tests an [`AlertEvaluator`].
///
/// # Panics
/// If a sentence of the contract does not hold.
pub fn alert_evaluator_conforms(evaluator: &dyn AlertEvaluator) {
    let query = || Query::Last(Selector::of("conformance"));
    let minutes = |n: u64| Duration::from_secs(60 * n);
    let rule = AlertRule::new("High", Condition::Above { query: query(), value: 5.0 })
        .with_for(minutes(2))
        .with_keep_firing_for(minutes(2));
    let rules = RuleSet::new(vec![rule]).unwrap();
    let mut history = SnapshotHistory::default();
    let (mut states, mut routed) = (AlertStates::default(), RouteStates::default());
    let (mut timeline, mut events, mut told) = (Vec::new(), 0, 0);
    let silence = |now: Tick| Silence {
        matches: [("alertname".to_owned(), "High".into())].into(),
        until: now.wall + minutes(1),
        comment: String::new(),
    };
    for (minute, value) in [9.0, 9.0, 9.0, 9.0, 1.0, 1.0, 1.0, 1.0].into_iter().enumerate() {
        let now = ORIGIN.after(minutes(minute as u64));
        history.push(
            MetricsSnapshot::new(ProcessEpoch::from_bits(1), ORIGIN, now)
                .with_gauge(SeriesKey::bare("conformance"), value),
        );
        let seen = history.view(now).unwrap();
        let out = evaluator.evaluate(&rules, &states, &seen, now);
        assert_eq!(
            out,
            evaluator.evaluate(&rules, &states, &seen, now),
            "1: the same arguments, the same result"
        );
        let json = serde_json::to_string(&out.states).unwrap();
        let restored: AlertStates = serde_json::from_str(&json).unwrap();
        assert_eq!(restored, out.states, "3: saved and restored, it goes on as if uninterrupted");
        states = restored;
        events += out.events.len();
        timeline.push(states.iter().next().map(|alert| alert.state));
        let routes = Routes { silences: vec![silence(now)], ..Routes::default() };
        let step = evaluator.route(&routes, &routed, &states, now);
        told += step.notifications.len();
        routed = step.states;
    }
    let (pending, firing, resolved) =
        (Some(AlertState::Pending), Some(AlertState::Firing), Some(AlertState::Resolved));
    let wanted = [pending, pending, firing, firing, firing, firing, resolved, resolved];
    assert_eq!(timeline, wanted, "2: the timeline is Prometheus'");
    assert_eq!(events, 3, "5: each change of state is one event");
    assert_eq!(told, 0, "6: a silence holds back notifications, and no state");

    let twice = Condition::Any(vec![
        Condition::Above { query: query(), value: 5.0 },
        Condition::Absent(Selector::of("nothing").with_match("pool", "a")),
    ]);
    let failing = RuleSet::new(vec![AlertRule::new("High", twice).with_label("pool", "one")]).unwrap();
    let now = ORIGIN.after(minutes(8));
    let out = evaluator.evaluate(&failing, &states, &history.view(now).unwrap(), now);
    assert_eq!(out.errors.len(), 1, "4: two equal label sets are a failure");
    assert_eq!(out.states, states, "4: a failing rule changes no state");
}
