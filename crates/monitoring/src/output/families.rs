//! Series by metric, under names that are valid outside.

use std::collections::BTreeMap;

use crate::error::MonitoringError;
use crate::model::layout::MetricUnit;
use crate::model::series_key::SeriesKey;
use crate::model::sketch::Sketch;
use crate::model::snapshot::{MetricDescription, MetricKind, MetricsSnapshot};

/// One metric and its series.
pub(crate) struct Family<'a> {
    /// The name as it is written.
    pub(crate) name: String,
    pub(crate) kind: MetricKind,
    pub(crate) help: &'a str,
    pub(crate) unit: MetricUnit,
    pub(crate) series: Vec<Series<'a>>,
}

pub(crate) struct Series<'a> {
    /// Valid names; values as they are.
    pub(crate) labels: Vec<(String, &'a str)>,
    pub(crate) value: Value<'a>,
}

pub(crate) enum Value<'a> {
    Counter(u64),
    Gauge(f64),
    Histogram(&'a Sketch),
}

pub(crate) fn gather<'a>(
    snapshot: &'a MetricsSnapshot,
    catalogue: &'a [MetricDescription],
) -> Result<Vec<Family<'a>>, MonitoringError> {
    let described: BTreeMap<&str, &MetricDescription> =
        catalogue.iter().map(|metric| (metric.name.as_str(), metric)).collect();
    let mut families: BTreeMap<String, (&str, Family<'a>)> = BTreeMap::new();
    let counters = snapshot.counters().map(|(key, value)| (key, Value::Counter(value)));
    let gauges = snapshot.gauges().map(|(key, value)| (key, Value::Gauge(value)));
    let sketches = snapshot.sketches().map(|(key, sketch)| (key, Value::Histogram(sketch)));
    for (key, value) in counters.chain(gauges).chain(sketches) {
        let original = key.name().as_str();
        let name = valid(original, true);
        let description = described.get(original);
        let (known, family) = families.entry(name.clone()).or_insert_with(|| {
            let kind = match value {
                Value::Counter(_) => MetricKind::Counter,
                Value::Gauge(_) => MetricKind::Gauge,
                Value::Histogram(_) => MetricKind::Histogram,
            };
            let help = description.map_or("", |metric| metric.help.as_str());
            let unit = match &value {
                Value::Histogram(sketch) => sketch.unit(),
                Value::Counter(_) | Value::Gauge(_) => {
                    description.map_or_else(|| MetricUnit::of_name(original), |metric| metric.unit)
                }
            };
            (original, Family { name: name.clone(), kind, help, unit, series: Vec::new() })
        });
        if *known != original {
            return Err(clash(name, known, original));
        }
        family.series.push(Series { labels: labels(key)?, value });
    }
    Ok(families.into_values().map(|(_, family)| family).collect())
}

fn labels(key: &SeriesKey) -> Result<Vec<(String, &str)>, MonitoringError> {
    let mut out: Vec<(String, &str)> = Vec::new();
    for (label, value) in key.labels() {
        let name = valid(label, false);
        if out.iter().any(|(known, _)| *known == name) {
            return Err(clash(name, "a label", label));
        }
        out.push((name, value));
    }
    Ok(out)
}

fn clash(name: String, first: &str, second: &str) -> MonitoringError {
    MonitoringError::NameClash { name, first: first.to_owned(), second: second.to_owned() }
}

/// A name of letters, digits, `_` and, for metrics, `:`; whatever else becomes `_`.
pub(crate) fn valid(name: &str, is_metric: bool) -> String {
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '_' || (is_metric && c == ':');
    let mut out: String = name.chars().map(|c| if fits(c) { c } else { '_' }).collect();
    if out.is_empty() || out.starts_with(|c: char| c.is_ascii_digit()) {
        out.insert(0, '_');
    }
    out
}
