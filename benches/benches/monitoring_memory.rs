//! What a series takes, that records take nothing, and that churn stays within the bound.
//!
//! `cargo bench -p wavequill-benches --bench monitoring_memory`
//!
//! Bytes are those that the allocator has given and not got back; the resident set is shown beside.
#![expect(clippy::expect_used, clippy::print_stdout, reason = "a bench speaks to its terminal")]
#![expect(clippy::disallowed_macros, reason = "series are made as an embedder's macros make them")]

use std::alloc::System;
use std::sync::Arc;
use std::time::Duration;

use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusRecorder};
use opentelemetry::metrics::MeterProvider as _;
use opentelemetry_sdk::metrics::{Aggregation, Instrument, ManualReader, SdkMeterProvider, Stream};
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};
use wavequill_kernel::testing::ManualClock;
use wavequill_monitoring::{CollectorConfig, MetricsCollector, SketchMetricsCollector};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Log-normal seconds around 1.3 s, the same each time.
fn values() -> impl Iterator<Item = f64> {
    let mut state = 20_261_124_u64;
    let mut uniform = move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((state >> 11) as f64 + 0.5) / (1_u64 << 53) as f64
    };
    std::iter::repeat_with(move || {
        let (left, right) = (uniform(), uniform());
        (0.3 + 0.9 * (-2.0 * left.ln()).sqrt() * (std::f64::consts::TAU * right).cos()).exp()
    })
}

fn live_bytes() -> i64 {
    let stats = ALLOCATOR.stats();
    // What grows in place counts as allocated, what shrinks as given back.
    stats.bytes_allocated as i64 - stats.bytes_deallocated as i64
}

fn resident_bytes() -> i64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = statm.split(' ').nth(1).and_then(|pages| pages.parse::<i64>().ok());
    pages.unwrap_or(0) * 4_096
}

fn bounds() -> Vec<f64> {
    (-10..=15).map(|exponent| 2.0_f64.powi(exponent)).collect()
}

fn exporter() -> PrometheusRecorder {
    PrometheusBuilder::new().set_buckets(&bounds()).expect("bounds").build_recorder()
}

/// What one more series takes after 16,384 records.
fn series<T>(name: &str, make: impl FnOnce() -> T, fill: impl FnOnce(&T)) {
    let before = live_bytes();
    let made = make();
    fill(&made);
    println!("| {name} | {:.1} |", (live_bytes() - before) as f64 / 1_024.0);
    drop(made);
}

fn a_series() {
    const RECORDS: usize = 16_384;
    println!("\n| a series of {RECORDS} log-normal records | KiB |\n|---|---|");
    let record =
        |histogram: &metrics::Histogram| values().take(RECORDS).for_each(|value| histogram.record(value));

    let ours = SketchMetricsCollector::default();
    let register = |recorder: &dyn metrics::Recorder| {
        metrics::with_local_recorder(recorder, || metrics::histogram!("h_seconds", "model" => "a"))
    };
    series("**wavequill-monitoring**, one stripe, exact sum", || register(&ours), record);

    let (summary, buckets) = (PrometheusBuilder::new().build_recorder(), exporter());
    for (name, recorder) in [
        ("metrics-exporter-prometheus, summary (its default)", &summary),
        ("metrics-exporter-prometheus, 26 bounds", &buckets),
    ] {
        series(
            name,
            || register(recorder),
            |histogram| {
                record(histogram);
                // What a scrape leaves.
                recorder.handle().run_upkeep();
                std::hint::black_box(recorder.handle().render());
            },
        );
    }
    series(
        "prometheus-client, 26 bounds",
        || prometheus_client::metrics::histogram::Histogram::new(bounds()),
        |histogram| values().take(RECORDS).for_each(|value| histogram.observe(value)),
    );
    let mut made = None;
    series(
        "hdrhistogram, 2 digits",
        || hdrhistogram::Histogram::<u64>::new_with_bounds(1, 1 << 45, 2).expect("bounds"),
        |empty| {
            let mut filled = empty.clone();
            values().take(RECORDS).for_each(|value| filled.record((value * 1e9) as u64).expect("in range"));
            made = Some(filled);
        },
    );
    drop(made);
    let before = live_bytes();
    let mut sketch = sketches_ddsketch::DDSketch::new(sketches_ddsketch::Config::defaults());
    values().take(RECORDS).for_each(|value| sketch.add(value));
    println!("| sketches-ddsketch, 1 % | {:.1} |", (live_bytes() - before) as f64 / 1_024.0);
    drop(sketch);
    series("opentelemetry_sdk, exponential, a first series", otel, |provider| {
        let histogram = provider.meter("bench").f64_histogram("h").build();
        values().take(RECORDS).for_each(|value| histogram.record(value, &[]));
    });
}

fn otel() -> SdkMeterProvider {
    let aggregation =
        Aggregation::Base2ExponentialHistogram { max_size: 160, max_scale: 20, record_min_max: false };
    let view = move |_: &Instrument| Stream::builder().with_aggregation(aggregation.clone()).build().ok();
    SdkMeterProvider::builder().with_reader(ManualReader::builder().build()).with_view(view).build()
}

fn growth() {
    println!(
        "\n| records without a reader | records | bytes a record | resident set, MiB more |\n|---|---|---|---|"
    );
    let some: Vec<f64> = values().take(4_096).collect();
    let grown = |name: &str, records: usize, recorder: &dyn metrics::Recorder| {
        let histogram = metrics::with_local_recorder(recorder, || metrics::histogram!("h_seconds"));
        for value in &some {
            histogram.record(*value);
        }
        let (before, resident) = (live_bytes(), resident_bytes());
        some.iter().cycle().take(records).for_each(|value| histogram.record(*value));
        let each = (live_bytes() - before) as f64 / records as f64;
        let more = (resident_bytes() - resident) as f64 / f64::from(1 << 20);
        println!("| {name} | {records} | {each:.2} | {more:.1} |");
    };
    grown("**wavequill-monitoring**", 100_000_000, &SketchMetricsCollector::default());
    // Ten times fewer, so that the machine bears it.
    grown("metrics-exporter-prometheus", 10_000_000, &exporter());
}

/// Each second 10,000 series that nobody has seen before, which nobody holds a second later.
fn churn() {
    println!(
        "\n| 10,000 new series a second for a minute | series kept, at most | MiB, at most |\n|---|---|---|"
    );
    for (name, idle) in [("idle for 10 min (default)", 600), ("idle for 10 s", 10)] {
        let clock = Arc::new(ManualClock::new());
        let config = CollectorConfig::default().with_idle_eviction(Duration::from_secs(idle));
        let before = live_bytes();
        let collector = SketchMetricsCollector::new(config, clock.clone()).expect("a configuration");
        let (mut most_series, mut most_bytes) = (0, 0);
        for second in 0..60_u64 {
            metrics::with_local_recorder(collector.recorder(), || {
                for id in 0..10_000_u64 {
                    let id = (second * 10_000 + id).to_string();
                    let metric =
                        format!("m{}_seconds", id.len() + id.bytes().map(usize::from).sum::<usize>() % 10);
                    metrics::histogram!(metric, "id" => id).record(0.5);
                }
            });
            clock.advance(Duration::from_secs(1));
            let snapshot = collector.snapshot();
            most_series = most_series.max(snapshot.sketches().len());
            drop(snapshot);
            most_bytes = most_bytes.max(live_bytes() - before);
        }
        println!("| {name} | {most_series} | {:.1} |", most_bytes as f64 / f64::from(1 << 20));
    }
}

fn main() {
    a_series();
    growth();
    churn();
}
