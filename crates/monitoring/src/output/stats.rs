//! A snapshot as figures for scripts: what a command line writes at the end of a run.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::model::quantile::Quantile;
use crate::model::series_key::SeriesKey;
use crate::model::snapshot::MetricsSnapshot;

/// Every counter, gauge and distribution by name and labels; serialise it as JSON.
///
/// ```
/// use wavequill_monitoring::{MetricsCollector, SketchMetricsCollector, Stats};
///
/// let collector = SketchMetricsCollector::default();
/// let wait = metrics::with_local_recorder(collector.recorder(), || metrics::histogram!("wait_seconds", "pool" => "a"));
/// wait.record(0.25);
/// let stats = Stats::of(&collector.snapshot());
/// let waits = &stats.histograms["wait_seconds"][0];
/// assert_eq!((waits.count, waits.sum), (1, 0.25));
/// assert!((waits.p99.unwrap() / 0.25 - 1.0).abs() < 0.0055);
/// assert_eq!(waits.labels["pool"], "a");
/// ```
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Stats {
    /// Counters, by name.
    pub counters: BTreeMap<String, Vec<SeriesStats<u64>>>,
    /// Gauges, by name.
    pub gauges: BTreeMap<String, Vec<SeriesStats<f64>>>,
    /// Distributions, by name.
    pub histograms: BTreeMap<String, Vec<HistogramStats>>,
}

/// One series and its value.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SeriesStats<T> {
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its value.
    pub value: T,
}

/// One distribution, in its metric's unit; without values it has neither mean nor percentiles.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct HistogramStats {
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// How many values.
    pub count: u64,
    /// Their exact sum.
    pub sum: f64,
    /// Their exact mean.
    pub mean: Option<f64>,
    /// The median; this and what follows to 0.55 %.
    pub p50: Option<f64>,
    /// The 90th percentile.
    pub p90: Option<f64>,
    /// The 95th percentile.
    pub p95: Option<f64>,
    /// The 99th percentile.
    pub p99: Option<f64>,
    /// The greatest value.
    pub max: Option<f64>,
}

impl Stats {
    /// The figures of a snapshot.
    pub fn of(snapshot: &MetricsSnapshot) -> Self {
        let mut stats = Self::default();
        for (key, value) in snapshot.counters() {
            let series = SeriesStats { labels: labels(key), value };
            stats.counters.entry(key.name().to_string()).or_default().push(series);
        }
        for (key, value) in snapshot.gauges() {
            let series = SeriesStats { labels: labels(key), value };
            stats.gauges.entry(key.name().to_string()).or_default().push(series);
        }
        for (key, sketch) in snapshot.sketches() {
            let series = HistogramStats {
                labels: labels(key),
                count: sketch.count(),
                sum: sketch.sum(),
                mean: sketch.mean(),
                p50: sketch.quantile(Quantile::P50),
                p90: sketch.quantile(Quantile::P90),
                p95: sketch.quantile(Quantile::P95),
                p99: sketch.quantile(Quantile::P99),
                max: sketch.quantile(Quantile::MAX),
            };
            stats.histograms.entry(key.name().to_string()).or_default().push(series);
        }
        stats
    }
}

fn labels(key: &SeriesKey) -> BTreeMap<String, String> {
    key.labels().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}
