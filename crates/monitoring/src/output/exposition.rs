//! The two text formats that scrapers read: Prometheus' 0.0.4 and OpenMetrics 1.0.

use std::fmt::Write as _;

use super::families::{Family, Series, Value};
use crate::error::MonitoringError;
use crate::model::layout::MetricUnit;
use crate::model::sketch::Sketch;
use crate::model::snapshot::MetricKind;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dialect {
    Text,
    Openmetrics,
}

pub(crate) fn write(
    families: &[Family<'_>],
    dialect: Dialect,
    limit_bytes: usize,
) -> Result<Vec<u8>, MonitoringError> {
    let mut out = String::new();
    let mut largest = ("", 0);
    for family in families {
        let before = out.len();
        write_family(&mut out, family, dialect);
        let size = out.len() - before;
        if size > largest.1 {
            largest = (&family.name, size);
        }
        if out.len() > limit_bytes {
            return Err(MonitoringError::OutputTooLarge {
                limit_bytes: limit_bytes as u64,
                largest_metric: largest.0.to_owned(),
            });
        }
    }
    if dialect == Dialect::Openmetrics {
        out.push_str("# EOF\n");
    }
    Ok(out.into_bytes())
}

/// The bounds at which buckets are written: these powers of two, where counts are exact.
fn exponents(unit: MetricUnit) -> std::ops::RangeInclusive<i32> {
    match unit {
        MetricUnit::Seconds | MetricUnit::Ratio | MetricUnit::Other => -10..=15,
        MetricUnit::Bytes | MetricUnit::Count => 0..=34,
    }
}

/// The bounds of a unit as they are written: the same for nearly all series of a metric.
struct Bounds {
    exponents: std::ops::RangeInclusive<i32>,
    texts: Vec<String>,
}

impl Bounds {
    fn of(unit: MetricUnit, dialect: Dialect) -> Self {
        let exponents = exponents(unit);
        let texts = exponents.clone().map(|exponent| number(2.0_f64.powi(exponent), dialect)).collect();
        Self { exponents, texts }
    }
}

/// How many values are at most each bound; of a sketch without values nothing.
pub(crate) fn cumulative(sketch: &Sketch) -> impl Iterator<Item = (f64, u64)> {
    let exponents = exponents(sketch.unit());
    let bounds = exponents.clone().map(|exponent| 2.0_f64.powi(exponent));
    bounds.zip(sketch.at_most_powers_of_two(exponents)).filter(|_| !sketch.is_empty())
}

fn write_family(out: &mut String, family: &Family<'_>, dialect: Dialect) {
    let is_counter = family.kind == MetricKind::Counter;
    // OpenMetrics names a counter without `_total`, and its sample with it.
    let stem = match dialect {
        Dialect::Openmetrics if is_counter => family.name.strip_suffix("_total").unwrap_or(&family.name),
        Dialect::Text | Dialect::Openmetrics => &family.name,
    };
    let sample = match dialect {
        Dialect::Openmetrics if is_counter => format!("{stem}_total"),
        Dialect::Text | Dialect::Openmetrics => family.name.clone(),
    };
    let help = if family.help.is_empty() { String::new() } else { escaped(family.help, dialect) };
    // Writing to a string never fails.
    if dialect == Dialect::Text && !help.is_empty() {
        let _ = writeln!(out, "# HELP {stem} {help}");
    }
    let _ = writeln!(out, "# TYPE {stem} {}", family.kind.as_str());
    if dialect == Dialect::Openmetrics {
        if let Some(unit) = family.unit.name().filter(|unit| stem.ends_with(&format!("_{unit}"))) {
            let _ = writeln!(out, "# UNIT {stem} {unit}");
        }
        if !help.is_empty() {
            let _ = writeln!(out, "# HELP {stem} {help}");
        }
    }
    let mut bounds = Bounds::of(family.unit, dialect);
    for series in &family.series {
        let labels = label_text(series);
        match series.value {
            Value::Counter(value) => line(out, &sample, &labels, &value.to_string()),
            Value::Gauge(value) => line(out, &sample, &labels, &number(value, dialect)),
            Value::Histogram(sketch) => {
                if bounds.exponents != exponents(sketch.unit()) {
                    bounds = Bounds::of(sketch.unit(), dialect);
                }
                write_histogram(out, &sample, &labels, sketch, &bounds, dialect);
            }
        }
    }
}

/// Most lines of a page are buckets, so that they are put together from parts that are written once.
fn write_histogram(
    out: &mut String,
    name: &str,
    labels: &str,
    sketch: &Sketch,
    bounds: &Bounds,
    dialect: Dialect,
) {
    let count = sketch.count();
    let comma = if labels.is_empty() { "" } else { "," };
    let start = format!("{name}_bucket{{{labels}{comma}le=\"");
    let mut bucket = |bound: &str, count: u64| {
        out.push_str(&start);
        out.push_str(bound);
        // Writing to a string never fails.
        let _ = writeln!(out, "\"}} {count}");
    };
    for (bound, (_, below)) in bounds.texts.iter().zip(cumulative(sketch)) {
        bucket(bound, below);
    }
    bucket("+Inf", count);
    line(out, &format!("{name}_sum"), labels, &number(sketch.sum(), dialect));
    line(out, &format!("{name}_count"), labels, &count.to_string());
}

fn line(out: &mut String, name: &str, labels: &str, value: &str) {
    let _ = match labels {
        "" => writeln!(out, "{name} {value}"),
        labels => writeln!(out, "{name}{{{labels}}} {value}"),
    };
}

fn label_text(series: &Series<'_>) -> String {
    let mut out = String::new();
    for (at, (name, value)) in series.labels.iter().enumerate() {
        let comma = if at == 0 { "" } else { "," };
        let _ = write!(out, "{comma}{name}=\"{}\"", escaped(value, Dialect::Openmetrics));
    }
    out
}

/// Backslashes and line ends, and quotes where the text stands between quotes.
fn escaped(text: &str, dialect: Dialect) -> String {
    let plain = text.replace('\\', r"\\").replace('\n', r"\n");
    if dialect == Dialect::Openmetrics { plain.replace('"', "\\\"") } else { plain }
}

/// OpenMetrics wants whole numbers with a point, so that bounds are always written alike.
fn number(value: f64, dialect: Dialect) -> String {
    if value.is_nan() {
        "NaN".to_owned()
    } else if value.is_infinite() {
        if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned()
    } else if dialect == Dialect::Openmetrics && value.fract() == 0.0 {
        format!("{value:.1}")
    } else {
        format!("{value}")
    }
}
