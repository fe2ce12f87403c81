//! Prometheus' protobuf format: length-delimited `MetricFamily` messages, each distribution both with native buckets and
//! with classic ones.
//!
//! The messages are those of `io/prometheus/client/metrics.proto`, as far as they are used.

use prost::Message;

use crate::error::MonitoringError;
use crate::model::sketch::Sketch;
use crate::model::snapshot::{MetricDescription, MetricKind, MetricsSnapshot};
use crate::output::exposition::cumulative;
use crate::output::families::{self, Family, Value};

#[derive(Clone, PartialEq, Message)]
pub(crate) struct LabelPair {
    #[prost(string, tag = "1")]
    pub(crate) name: String,
    #[prost(string, tag = "2")]
    pub(crate) value: String,
}

#[derive(Clone, Copy, PartialEq, Message)]
pub(crate) struct Number {
    #[prost(double, tag = "1")]
    pub(crate) value: f64,
}

#[derive(Clone, Copy, PartialEq, Message)]
pub(crate) struct Bucket {
    #[prost(uint64, tag = "1")]
    pub(crate) cumulative_count: u64,
    #[prost(double, tag = "2")]
    pub(crate) upper_bound: f64,
}

#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub(crate) struct BucketSpan {
    #[prost(sint32, tag = "1")]
    pub(crate) offset: i32,
    #[prost(uint32, tag = "2")]
    pub(crate) length: u32,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Histogram {
    #[prost(uint64, tag = "1")]
    pub(crate) sample_count: u64,
    #[prost(double, tag = "2")]
    pub(crate) sample_sum: f64,
    #[prost(message, repeated, tag = "3")]
    pub(crate) bucket: Vec<Bucket>,
    #[prost(sint32, tag = "5")]
    pub(crate) schema: i32,
    #[prost(double, tag = "6")]
    pub(crate) zero_threshold: f64,
    #[prost(uint64, tag = "7")]
    pub(crate) zero_count: u64,
    #[prost(message, repeated, tag = "12")]
    pub(crate) positive_span: Vec<BucketSpan>,
    #[prost(sint64, repeated, tag = "13")]
    pub(crate) positive_delta: Vec<i64>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Metric {
    #[prost(message, repeated, tag = "1")]
    pub(crate) label: Vec<LabelPair>,
    #[prost(message, optional, tag = "2")]
    pub(crate) gauge: Option<Number>,
    #[prost(message, optional, tag = "3")]
    pub(crate) counter: Option<Number>,
    #[prost(message, optional, tag = "7")]
    pub(crate) histogram: Option<Histogram>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct MetricFamily {
    #[prost(string, tag = "1")]
    pub(crate) name: String,
    #[prost(string, tag = "2")]
    pub(crate) help: String,
    #[prost(int32, tag = "3")]
    pub(crate) kind: i32,
    #[prost(message, repeated, tag = "4")]
    pub(crate) metric: Vec<Metric>,
}

/// Writes a snapshot.
pub(crate) fn write(
    snapshot: &MetricsSnapshot,
    catalogue: &[MetricDescription],
    limit_bytes: usize,
) -> Result<Vec<u8>, MonitoringError> {
    let mut out = Vec::new();
    let mut largest = (String::new(), 0);
    for family in families::gather(snapshot, catalogue)? {
        let bytes = message(&family).encode_length_delimited_to_vec();
        if bytes.len() > largest.1 {
            largest = (family.name, bytes.len());
        }
        out.extend(bytes);
        if out.len() > limit_bytes {
            return Err(MonitoringError::OutputTooLarge {
                limit_bytes: limit_bytes as u64,
                largest_metric: largest.0,
            });
        }
    }
    Ok(out)
}

fn message(family: &Family<'_>) -> MetricFamily {
    let kind = match family.kind {
        MetricKind::Counter => 0,
        MetricKind::Gauge => 1,
        MetricKind::Histogram => 4,
    };
    let metric = family.series.iter().map(|series| {
        let label = series.labels.iter();
        let label = label.map(|(name, value)| LabelPair { name: name.clone(), value: (*value).to_owned() });
        let empty = Metric { label: label.collect(), ..Metric::default() };
        match series.value {
            Value::Counter(value) => Metric { counter: Some(Number { value: value as f64 }), ..empty },
            Value::Gauge(value) => Metric { gauge: Some(Number { value }), ..empty },
            Value::Histogram(sketch) => Metric { histogram: Some(histogram(sketch)), ..empty },
        }
    });
    MetricFamily { name: family.name.clone(), help: family.help.to_owned(), kind, metric: metric.collect() }
}

/// 2⁻¹²⁸, as Prometheus' own clients have it. It must not be 0: Prometheus 2.42 takes a whole family for classic if its first
/// series has no value and no such threshold.
const ZERO_THRESHOLD: f64 = 2.938_735_877_055_719e-39;

fn histogram(sketch: &Sketch) -> Histogram {
    let (scale, first, counts) = sketch.dense();
    let classic =
        cumulative(sketch).map(|(upper_bound, cumulative_count)| Bucket { cumulative_count, upper_bound });
    let mut native = Histogram {
        sample_count: sketch.count(),
        sample_sum: sketch.sum(),
        bucket: classic.collect(),
        schema: i32::from(scale),
        zero_threshold: ZERO_THRESHOLD,
        zero_count: sketch.zero_count(),
        positive_span: Vec::new(),
        positive_delta: Vec::new(),
    };
    // Prometheus names a bucket by its upper bound, OTLP and we by its lower.
    let (mut next, mut last) = (0, 0);
    for (index, count) in (first + 1..).zip(counts).filter(|(_, count)| *count > 0) {
        match native.positive_span.last_mut() {
            Some(span) if index == next => span.length += 1,
            _ => native.positive_span.push(BucketSpan { offset: index - next, length: 1 }),
        }
        native.positive_delta.push(count as i64 - last);
        (next, last) = (index + 1, count as i64);
    }
    if native.positive_span.is_empty() {
        // What has no span would be read as a classic histogram.
        native.positive_span.push(BucketSpan { offset: 0, length: 0 });
    }
    native
}
