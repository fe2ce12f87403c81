use super::*;
use crate::adapters::protobuf::MetricFamily;
use crate::model::layout::lower_bound;
use crate::model::snapshot::{ProcessEpoch, Tick};
use crate::testing::RecordingTransport;
use crate::{Format, Sketch};

fn snapshot() -> MetricsSnapshot {
    let tick = Tick { monotonic: Duration::ZERO, wall: SystemTime::UNIX_EPOCH + Duration::from_secs(60) };
    let mut sketch = Sketch::new(MetricUnit::Seconds);
    for n in 0..5_000_u32 {
        sketch.record(1e-4 * f64::from(n * n % 7_919)).unwrap();
    }
    let hostile = SeriesKey::new("wait_seconds", [("pool", "a\"\\\n<")]);
    MetricsSnapshot::new(ProcessEpoch::from_bits(1), tick, tick)
        .with_counter(SeriesKey::bare("files_total"), 7)
        .with_gauge(SeriesKey::bare("in_flight"), -2.5)
        .with_sketch(hostile, sketch)
        .with_sketch(SeriesKey::bare("run_seconds"), Sketch::new(MetricUnit::Seconds))
}

/// The buckets that are not empty: upper bound and count.
fn wanted() -> Vec<(f64, u64)> {
    let snapshot = snapshot();
    let (_, sketch) = snapshot.sketches().last().unwrap();
    sketch.buckets().collect()
}

#[tokio::test]
async fn otlp_carries_every_bucket_and_label_without_loss() {
    let transport = Arc::new(RecordingTransport::default());
    let exporter = OtlpExporter::new("http://localhost:4318/", "test", transport.clone());
    exporter.export(&snapshot(), &[]).await.unwrap();
    let request = &transport.requests()[0];
    assert_eq!(request.url, "http://localhost:4318/v1/metrics");
    let export = Export::decode(&*request.body).unwrap();
    let metrics = &export.resource_metrics[0].scope_metrics[0].metrics;
    let waits = metrics.iter().find(|metric| metric.name == "wait_seconds").unwrap();
    let Some(Data::ExponentialHistogram(histogram)) = &waits.data else { panic!("no histogram") };
    let point = &histogram.data_points[0];
    assert_eq!(point.attributes[0].value.as_ref().unwrap().string, "a\"\\\n<");
    assert_eq!((point.count, point.scale, waits.unit.as_str()), (5_000, 6, "s"));
    let positive = point.positive.as_ref().unwrap();
    let mut buckets: Vec<(f64, u64)> = vec![(0.0, point.zero_count)];
    let bounds = (positive.offset + 1..).map(|index| lower_bound(index, 6));
    buckets.extend(bounds.zip(positive.bucket_counts.iter().copied()).filter(|(_, count)| *count > 0));
    assert_eq!(buckets, wanted());
}

#[test]
fn native_buckets_are_the_same_and_classic_ones_too() {
    let bytes = crate::render(&snapshot(), &[], Format::Protobuf, 1 << 20).unwrap();
    let mut rest = &*bytes;
    let mut families = Vec::new();
    while !rest.is_empty() {
        families.push(MetricFamily::decode_length_delimited(&mut rest).unwrap());
    }
    let waits = families.iter().find(|family| family.name == "wait_seconds").unwrap();
    assert_eq!(waits.metric[0].label[0].value, "a\"\\\n<");
    let native = waits.metric[0].histogram.as_ref().unwrap();
    let mut buckets: Vec<(f64, u64)> = vec![(0.0, native.zero_count)];
    let (mut index, mut count, mut deltas) = (0, 0, native.positive_delta.iter());
    for span in &native.positive_span {
        index += span.offset;
        for _ in 0..span.length {
            count += deltas.next().unwrap();
            // Prometheus' index names the upper bound.
            buckets.push((lower_bound(index, 6), count as u64));
            index += 1;
        }
    }
    assert_eq!(buckets, wanted());
    for bucket in &native.bucket {
        let below: u64 =
            wanted().iter().filter(|(upper, _)| *upper <= bucket.upper_bound).map(|(_, count)| count).sum();
        assert_eq!(bucket.cumulative_count, below);
    }
    let empty = families.iter().find(|family| family.name == "run_seconds").unwrap();
    let threshold = empty.metric[0].histogram.as_ref().unwrap().zero_threshold;
    assert_eq!(threshold, 2.0_f64.powi(-128), "without it Prometheus takes the family for classic");
    assert_eq!(
        empty.metric[0].histogram.as_ref().unwrap().positive_span.len(),
        1,
        "still a native histogram"
    );
}
