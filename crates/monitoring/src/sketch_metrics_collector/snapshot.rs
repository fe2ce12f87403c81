//! How a snapshot is taken, and what the collector tells of itself in it.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use super::Inner;
use super::registry::{Cell, Entry};
use crate::metrics::{MEMORY_BYTES, REJECTED_SAMPLES, SERIES, SERIES_OVERFLOW};
use crate::model::layout::MetricUnit;
use crate::model::series_key::SeriesKey;
use crate::model::snapshot::{Kept, MetricDescription, MetricKind, MetricsSnapshot, Tick};

pub(super) fn take(inner: &Inner) -> MetricsSnapshot {
    let tick = Tick::of(&inner.clock);
    let mut snapshot = MetricsSnapshot::new(inner.epoch, inner.started, tick);
    inner.registry.visit(tick.monotonic, |entry| add(&mut snapshot, entry));
    add_own(&mut snapshot, inner);
    snapshot
}

fn add(snapshot: &mut MetricsSnapshot, entry: &Entry) {
    let (series, life) = (entry.series.clone(), entry.life);
    match &entry.cell {
        Cell::Counter(cell) => drop(snapshot.counters.insert(series, Kept { value: cell.value(), life })),
        Cell::Gauge(cell) => drop(snapshot.gauges.insert(series, Kept { value: cell.value(), life })),
        Cell::Histogram(cell) => {
            drop(snapshot.sketches.insert(series, Kept { value: Arc::new(cell.sketch()), life }));
        }
    }
}

fn add_own(snapshot: &mut MetricsSnapshot, inner: &Inner) {
    let counts = [
        (MetricKind::Counter, snapshot.counters.len()),
        (MetricKind::Gauge, snapshot.gauges.len()),
        (MetricKind::Histogram, snapshot.sketches.len()),
    ];
    let mut gauge = |series, value: usize| {
        snapshot.gauges.insert(series, Kept { value: value as f64, life: 0 });
    };
    for (kind, count) in counts {
        gauge(SeriesKey::new(SERIES, [("type", kind.as_str())]), count);
    }
    gauge(SeriesKey::bare(MEMORY_BYTES), inner.registry.memory_bytes());
    let rejected = &inner.registry.rejected;
    let mut counter = |series, value| {
        snapshot.counters.insert(series, Kept { value, life: 0 });
    };
    counter(SeriesKey::bare(SERIES_OVERFLOW), inner.registry.overflowed.load(Relaxed));
    for (cause, count) in [
        ("negative", &rejected.negative),
        ("not_finite", &rejected.not_finite),
        ("out_of_range", &rejected.out_of_range),
    ] {
        counter(SeriesKey::new(REJECTED_SAMPLES, [("cause", cause)]), count.load(Relaxed));
    }
}

pub(super) fn own_descriptions() -> [MetricDescription; 4] {
    let described = |name: &str, kind, unit, help: &str| MetricDescription {
        name: name.into(),
        kind,
        unit,
        help: help.to_owned(),
    };
    [
        described(SERIES, MetricKind::Gauge, MetricUnit::Count, "Series that are kept, by their type."),
        described(
            MEMORY_BYTES,
            MetricKind::Gauge,
            MetricUnit::Bytes,
            "About how much memory the series take.",
        ),
        described(
            SERIES_OVERFLOW,
            MetricKind::Counter,
            MetricUnit::Count,
            "Handles of series over the limit, which count under the overflow series.",
        ),
        described(
            REJECTED_SAMPLES,
            MetricKind::Counter,
            MetricUnit::Count,
            "Samples that were refused (negative, not_finite), or counted at the edge of the range (out_of_range).",
        ),
    ]
}
