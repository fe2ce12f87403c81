//! Handles that record in two places: ours and the recorder that a service has already.

use std::sync::Arc;

use metrics::{Counter, CounterFn, Gauge, GaugeFn, Histogram, HistogramFn};

use super::cells::{CounterCell, GaugeCell, HistogramCell};

struct Both<Ours, Theirs> {
    ours: Arc<Ours>,
    theirs: Theirs,
}

pub(super) fn counter(ours: Option<Arc<CounterCell>>, theirs: Counter) -> Counter {
    match ours {
        Some(ours) => Counter::from_arc(Arc::new(Both { ours, theirs })),
        None => theirs,
    }
}

pub(super) fn gauge(ours: Option<Arc<GaugeCell>>, theirs: Gauge) -> Gauge {
    match ours {
        Some(ours) => Gauge::from_arc(Arc::new(Both { ours, theirs })),
        None => theirs,
    }
}

pub(super) fn histogram(ours: Option<Arc<HistogramCell>>, theirs: Histogram) -> Histogram {
    match ours {
        Some(ours) => Histogram::from_arc(Arc::new(Both { ours, theirs })),
        None => theirs,
    }
}

impl CounterFn for Both<CounterCell, Counter> {
    fn increment(&self, value: u64) {
        self.ours.increment(value);
        self.theirs.increment(value);
    }

    fn absolute(&self, value: u64) {
        self.ours.absolute(value);
        self.theirs.absolute(value);
    }
}

impl GaugeFn for Both<GaugeCell, Gauge> {
    fn increment(&self, value: f64) {
        self.ours.increment(value);
        self.theirs.increment(value);
    }

    fn decrement(&self, value: f64) {
        self.ours.decrement(value);
        self.theirs.decrement(value);
    }

    fn set(&self, value: f64) {
        self.ours.set(value);
        self.theirs.set(value);
    }
}

impl HistogramFn for Both<HistogramCell, Histogram> {
    fn record(&self, value: f64) {
        self.ours.record(value);
        self.theirs.record(value);
    }

    fn record_many(&self, value: f64, count: usize) {
        self.ours.record_many(value, count);
        self.theirs.record_many(value, count);
    }
}
