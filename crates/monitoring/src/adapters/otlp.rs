//! OTLP over HTTP: distributions as exponential histograms of the same buckets, cumulative.
//!
//! The messages are those of `opentelemetry/proto/metrics/v1/metrics.proto`, as far as they are used.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use prost::Message;

use crate::error::MonitoringError;
use crate::metrics_collector::MetricsCollector;
use crate::model::layout::MetricUnit;
use crate::model::series_key::SeriesKey;
use crate::model::sketch::Sketch;
use crate::model::snapshot::{MetricDescription, MetricsSnapshot};
use crate::ports::{TelemetryRequest, TelemetryTransport};

/// Sums and buckets since the start.
const CUMULATIVE: i32 = 2;

/// Posts snapshots to an OTLP collector.
#[derive(Clone)]
pub struct OtlpExporter {
    url: String,
    headers: Vec<(String, String)>,
    resource: Vec<(String, String)>,
    transport: Arc<dyn TelemetryTransport>,
}

impl OtlpExporter {
    /// Exports to the collector at this root, as `http://collector:4318`, under this name of the service.
    pub fn new(
        root: impl AsRef<str>,
        service: impl Into<String>,
        transport: Arc<dyn TelemetryTransport>,
    ) -> Self {
        Self {
            url: format!("{}/v1/metrics", root.as_ref().trim_end_matches('/')),
            headers: Vec::new(),
            resource: vec![("service.name".to_owned(), service.into())],
            transport,
        }
    }

    /// With a header more, as a token; it is never shown.
    #[must_use]
    pub fn with_header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// With an attribute of the resource more.
    #[must_use]
    pub fn with_attribute(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.resource.push((name.into(), value.into()));
        self
    }

    /// Posts one snapshot.
    ///
    /// # Errors
    /// [`MonitoringError::Transport`]. What was not posted is in the next snapshot: counts are cumulative.
    pub async fn export(
        &self,
        snapshot: &MetricsSnapshot,
        catalogue: &[MetricDescription],
    ) -> Result<(), MonitoringError> {
        let body = Bytes::from(self.request(snapshot, catalogue).encode_to_vec());
        let request = TelemetryRequest {
            url: self.url.clone(),
            content_type: "application/x-protobuf",
            headers: self.headers.clone(),
            body,
        };
        self.transport.post(request).await
    }

    /// Posts a snapshot every `interval`, for as long as it is polled; what fails is logged and made good by the next.
    ///
    /// # Cancellation
    /// Dropping it loses nothing but the export that is under way.
    pub async fn run(&self, collector: &dyn MetricsCollector, interval: Duration) {
        let mut ticks = tokio::time::interval(interval.max(Duration::from_secs(1)));
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        loop {
            ticks.tick().await;
            if let Err(error) = self.export(&collector.snapshot(), &collector.catalogue()).await {
                tracing::warn!(%error, "metrics could not be exported");
            }
        }
    }

    fn request(&self, snapshot: &MetricsSnapshot, catalogue: &[MetricDescription]) -> Export {
        let attributes = self
            .resource
            .iter()
            .map(|(name, value)| key_value(name, value))
            .chain([key_value("service.instance.id", &snapshot.epoch().to_string())]);
        let scope =
            Scope { name: "wavequill-monitoring".to_owned(), version: env!("CARGO_PKG_VERSION").to_owned() };
        let scope_metrics = ScopeMetrics { scope: Some(scope), metrics: metrics(snapshot, catalogue) };
        let resource = Some(Resource { attributes: attributes.collect() });
        Export { resource_metrics: vec![ResourceMetrics { resource, scope_metrics: vec![scope_metrics] }] }
    }
}

impl fmt::Debug for OtlpExporter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OtlpExporter").field("url", &self.url).finish_non_exhaustive()
    }
}

fn metrics(snapshot: &MetricsSnapshot, catalogue: &[MetricDescription]) -> Vec<Metric> {
    let (start, time) = (unix_nanos(snapshot.started().wall), unix_nanos(snapshot.tick().wall));
    let mut out: Vec<Metric> = Vec::new();
    for (key, value) in snapshot.counters() {
        let point =
            NumberPoint { value: Some(NumberValue::Int(value as i64)), ..number_point(key, start, time) };
        match metric(&mut out, key, catalogue) {
            Some(Data::Sum(sum)) => sum.data_points.push(point),
            other => {
                *other = Some(Data::Sum(Sum {
                    data_points: vec![point],
                    temporality: CUMULATIVE,
                    is_monotonic: true,
                }));
            }
        }
    }
    for (key, value) in snapshot.gauges() {
        let point = NumberPoint { value: Some(NumberValue::Double(value)), ..number_point(key, start, time) };
        match metric(&mut out, key, catalogue) {
            Some(Data::Gauge(gauge)) => gauge.data_points.push(point),
            other => *other = Some(Data::Gauge(Gauge { data_points: vec![point] })),
        }
    }
    for (key, sketch) in snapshot.sketches() {
        let point = histogram_point(key, sketch, start, time);
        match metric(&mut out, key, catalogue) {
            Some(Data::ExponentialHistogram(histogram)) => histogram.data_points.push(point),
            other => {
                let data_points = vec![point];
                let histogram = ExponentialHistogram { data_points, temporality: CUMULATIVE };
                *other = Some(Data::ExponentialHistogram(histogram));
            }
        }
    }
    out
}

/// The data of a series' metric: series of one metric come one after the other.
fn metric<'a>(
    out: &'a mut Vec<Metric>,
    key: &SeriesKey,
    catalogue: &[MetricDescription],
) -> &'a mut Option<Data> {
    let name = key.name().as_str();
    if out.last().is_none_or(|last| last.name != name) {
        let described = catalogue.iter().find(|metric| metric.name.as_str() == name);
        let unit = match described.map_or_else(|| MetricUnit::of_name(name), |metric| metric.unit) {
            MetricUnit::Seconds => "s",
            MetricUnit::Bytes => "By",
            MetricUnit::Ratio => "1",
            MetricUnit::Count | MetricUnit::Other => "",
        };
        let description = described.map(|metric| metric.help.clone()).unwrap_or_default();
        out.push(Metric { name: name.to_owned(), description, unit: unit.to_owned(), data: None });
    }
    let last = out.len() - 1;
    #[expect(clippy::indexing_slicing, reason = "one has just been pushed if there was none")]
    &mut out[last].data
}

fn number_point(key: &SeriesKey, start: u64, time: u64) -> NumberPoint {
    NumberPoint {
        attributes: attributes(key),
        start_time_unix_nano: start,
        time_unix_nano: time,
        value: None,
    }
}

fn histogram_point(key: &SeriesKey, sketch: &Sketch, start: u64, time: u64) -> HistogramPoint {
    let (scale, offset, bucket_counts) = sketch.dense();
    HistogramPoint {
        attributes: attributes(key),
        start_time_unix_nano: start,
        time_unix_nano: time,
        count: sketch.count(),
        sum: Some(sketch.sum()),
        scale: i32::from(scale),
        zero_count: sketch.zero_count(),
        positive: Some(Buckets { offset, bucket_counts }),
    }
}

fn attributes(key: &SeriesKey) -> Vec<KeyValue> {
    key.labels().map(|(name, value)| key_value(name, value)).collect()
}

fn key_value(key: &str, value: &str) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(AnyValue { string: value.to_owned() }) }
}

fn unix_nanos(time: SystemTime) -> u64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

#[derive(Clone, PartialEq, Message)]
struct Export {
    #[prost(message, repeated, tag = "1")]
    resource_metrics: Vec<ResourceMetrics>,
}

#[derive(Clone, PartialEq, Message)]
struct ResourceMetrics {
    #[prost(message, optional, tag = "1")]
    resource: Option<Resource>,
    #[prost(message, repeated, tag = "2")]
    scope_metrics: Vec<ScopeMetrics>,
}

#[derive(Clone, PartialEq, Message)]
struct Resource {
    #[prost(message, repeated, tag = "1")]
    attributes: Vec<KeyValue>,
}

#[derive(Clone, PartialEq, Message)]
struct ScopeMetrics {
    #[prost(message, optional, tag = "1")]
    scope: Option<Scope>,
    #[prost(message, repeated, tag = "2")]
    metrics: Vec<Metric>,
}

#[derive(Clone, PartialEq, Eq, Message)]
struct Scope {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    version: String,
}

#[derive(Clone, PartialEq, Eq, Message)]
struct KeyValue {
    #[prost(string, tag = "1")]
    key: String,
    #[prost(message, optional, tag = "2")]
    value: Option<AnyValue>,
}

#[derive(Clone, PartialEq, Eq, Message)]
struct AnyValue {
    #[prost(string, tag = "1")]
    string: String,
}

#[derive(Clone, PartialEq, Message)]
struct Metric {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    description: String,
    #[prost(string, tag = "3")]
    unit: String,
    #[prost(oneof = "Data", tags = "5, 7, 10")]
    data: Option<Data>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
enum Data {
    #[prost(message, tag = "5")]
    Gauge(Gauge),
    #[prost(message, tag = "7")]
    Sum(Sum),
    #[prost(message, tag = "10")]
    ExponentialHistogram(ExponentialHistogram),
}

#[derive(Clone, PartialEq, Message)]
struct Gauge {
    #[prost(message, repeated, tag = "1")]
    data_points: Vec<NumberPoint>,
}

#[derive(Clone, PartialEq, Message)]
struct Sum {
    #[prost(message, repeated, tag = "1")]
    data_points: Vec<NumberPoint>,
    #[prost(int32, tag = "2")]
    temporality: i32,
    #[prost(bool, tag = "3")]
    is_monotonic: bool,
}

#[derive(Clone, PartialEq, Message)]
struct NumberPoint {
    #[prost(fixed64, tag = "2")]
    start_time_unix_nano: u64,
    #[prost(fixed64, tag = "3")]
    time_unix_nano: u64,
    #[prost(message, repeated, tag = "7")]
    attributes: Vec<KeyValue>,
    #[prost(oneof = "NumberValue", tags = "4, 6")]
    value: Option<NumberValue>,
}

#[derive(Clone, Copy, PartialEq, prost::Oneof)]
enum NumberValue {
    #[prost(double, tag = "4")]
    Double(f64),
    #[prost(sfixed64, tag = "6")]
    Int(i64),
}

#[derive(Clone, PartialEq, Message)]
struct ExponentialHistogram {
    #[prost(message, repeated, tag = "1")]
    data_points: Vec<HistogramPoint>,
    #[prost(int32, tag = "2")]
    temporality: i32,
}

#[derive(Clone, PartialEq, Message)]
struct HistogramPoint {
    #[prost(message, repeated, tag = "1")]
    attributes: Vec<KeyValue>,
    #[prost(fixed64, tag = "2")]
    start_time_unix_nano: u64,
    #[prost(fixed64, tag = "3")]
    time_unix_nano: u64,
    #[prost(fixed64, tag = "4")]
    count: u64,
    #[prost(double, optional, tag = "5")]
    sum: Option<f64>,
    #[prost(sint32, tag = "6")]
    scale: i32,
    #[prost(fixed64, tag = "7")]
    zero_count: u64,
    #[prost(message, optional, tag = "8")]
    positive: Option<Buckets>,
}

#[derive(Clone, PartialEq, Eq, Message)]
struct Buckets {
    #[prost(sint32, tag = "1")]
    offset: i32,
    #[prost(uint64, repeated, tag = "2")]
    bucket_counts: Vec<u64>,
}

#[cfg(test)]
#[cfg(all(feature = "testing", feature = "protobuf"))]
#[path = "wire_tests.rs"]
mod tests;
