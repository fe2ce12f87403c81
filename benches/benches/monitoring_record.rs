//! What a record costs: through a held handle, through a macro, on one thread and on two that record in one series.
//!
//! `cargo bench -p wavequill-benches --bench monitoring_record`
//!
//! Best of 25 rounds of 2²⁰ records a thread, which all begin at once; a loop that only reads the values is shown first. Allocations are those of one
//! round on one thread, after the first. Also the text of 1,000 distributions.
#![expect(clippy::expect_used, clippy::print_stdout, reason = "a bench speaks to its terminal")]
#![expect(
    clippy::disallowed_methods,
    clippy::disallowed_macros,
    reason = "this measures, rivals' macros too"
)]

use std::alloc::System;
use std::hint::black_box;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusRecorder};
use opentelemetry::KeyValue;
use opentelemetry::metrics::MeterProvider as _;
use opentelemetry_sdk::metrics::{Aggregation, Instrument, ManualReader, SdkMeterProvider, Stream};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::{Histogram, NativeHistogramConfig};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use wavequill_monitoring::{Format, MetricsCollector, SketchMetricsCollector, render};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const RECORDS: usize = 1 << 20;
const ROUNDS: usize = 25;
/// Of the exporter each sample holds 16 bytes until somebody renders; this is done between rounds, and not measured.
const BOUNDS: std::ops::RangeInclusive<i32> = -10..=15;

/// Log-normal seconds around 1.3 s, the same each time.
fn values() -> Vec<f64> {
    let mut state = 20_261_124_u64;
    let mut uniform = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((state >> 11) as f64 + 0.5) / (1_u64 << 53) as f64
    };
    let normal = |left: f64, right: f64| (-2.0 * left.ln()).sqrt() * (std::f64::consts::TAU * right).cos();
    (0..4_096).map(|_| (0.3 + 0.9 * normal(uniform(), uniform())).exp()).collect()
}

fn bounds() -> Vec<f64> {
    BOUNDS.map(|exponent| 2.0_f64.powi(exponent)).collect()
}

struct Bench {
    values: Vec<f64>,
}

impl Bench {
    /// The loop around a record, for one thread.
    fn each(&self, mut record: impl FnMut(f64)) {
        for value in self.values.iter().cycle().take(RECORDS) {
            record(*value);
        }
    }

    /// Nanoseconds a record on as many threads, each of which makes all records.
    fn best(threads: usize, between: &impl Fn(), work: &(impl Fn() + Sync)) -> f64 {
        let mut best = Duration::MAX;
        for _ in 0..ROUNDS {
            let ready = AtomicUsize::new(0);
            let timed = || {
                // Spinning: a thread that is woken up begins when the other has ended.
                ready.fetch_add(1, Relaxed);
                while ready.load(Relaxed) < threads {
                    std::hint::spin_loop();
                }
                let begin = Instant::now();
                work();
                begin.elapsed()
            };
            let spent = std::thread::scope(|scope| {
                let others: Vec<_> = (0..threads).map(|_| scope.spawn(timed)).collect();
                others.into_iter().map(|other| other.join().expect("no record panics")).max()
            });
            best = best.min(spent.expect("there is a thread"));
            between();
        }
        best.as_secs_f64() * 1e9 / RECORDS as f64
    }

    fn row(&self, name: &str, between: impl Fn(), record: impl Fn(f64) + Sync) {
        Self::row_of(name, between, || self.each(&record));
    }

    fn row_of(name: &str, between: impl Fn(), work: impl Fn() + Sync) {
        work();
        between();
        let region = Region::new(ALLOCATOR);
        work();
        let allocations = region.change().allocations;
        between();
        let (one, two) = (Self::best(1, &between, &work), Self::best(2, &between, &work));
        println!("| {name} | {one:.1} | {two:.1} | {allocations} |");
    }
}

fn heading(what: &str) {
    println!("\n| {what} | ns, 1 thread | ns, 2 threads | allocations in {RECORDS} |\n|---|---|---|---|");
}

fn exporter() -> PrometheusRecorder {
    PrometheusBuilder::new().set_buckets(&bounds()).expect("bounds").build_recorder()
}

fn otel(aggregation: Option<Aggregation>) -> SdkMeterProvider {
    let reader = ManualReader::builder().build();
    let builder = SdkMeterProvider::builder().with_reader(reader);
    let Some(aggregation) = aggregation else { return builder.build() };
    let view = move |_: &Instrument| Stream::builder().with_aggregation(aggregation.clone()).build().ok();
    builder.with_view(view).build()
}

fn counters(bench: &Bench) {
    heading("counter, held handle");
    bench.row("the loop alone", || (), |value| _ = black_box(value));
    let bare = AtomicU64::new(0);
    bench.row("an atomic addition", || (), |value| _ = (black_box(value), bare.fetch_add(1, Relaxed)));

    let ours = SketchMetricsCollector::default();
    let counter =
        metrics::with_local_recorder(ours.recorder(), || metrics::counter!("c_total", "model" => "a"));
    bench.row(
        "**wavequill-monitoring**",
        || (),
        |value| {
            black_box(value);
            counter.increment(1);
        },
    );
    let recorder = exporter();
    let counter = metrics::with_local_recorder(&recorder, || metrics::counter!("c_total", "model" => "a"));
    bench.row(
        "metrics-exporter-prometheus",
        || (),
        |value| {
            black_box(value);
            counter.increment(1);
        },
    );
    let counter = <prometheus_client::metrics::counter::Counter>::default();
    bench.row("prometheus-client", || (), |value| _ = (black_box(value), counter.inc()));
    let provider = otel(None);
    let counter = provider.meter("bench").u64_counter("c").build();
    let attributes = [KeyValue::new("model", "a")];
    bench.row(
        "opentelemetry_sdk",
        || (),
        |value| {
            black_box(value);
            counter.add(1, &attributes);
        },
    );
    let bound = counter.bind(&attributes);
    bench.row(
        "opentelemetry_sdk, bound (experimental)",
        || (),
        |value| {
            black_box(value);
            bound.add(1);
        },
    );
}

fn distributions(bench: &Bench) {
    heading("distribution, held handle, with sum");
    let ours = SketchMetricsCollector::default();
    let histogram =
        metrics::with_local_recorder(ours.recorder(), || metrics::histogram!("h_seconds", "model" => "a"));
    bench.row("**wavequill-monitoring**", || (), |value| histogram.record(value));

    let classic = Histogram::new(bounds());
    bench.row("prometheus-client, 26 bounds", || (), |value| classic.observe(value));
    let native = NativeHistogramConfig::with_schema(6);
    let native = Histogram::new_native(native);
    bench.row("prometheus-client, native, schema 6", || (), |value| native.observe(value));

    let recorder = exporter();
    let histogram =
        metrics::with_local_recorder(&recorder, || metrics::histogram!("h_seconds", "model" => "a"));
    let handle = recorder.handle();
    let upkeep = || handle.run_upkeep();
    bench.row("metrics-exporter-prometheus, 26 bounds", upkeep, |value| histogram.record(value));

    let attributes = [KeyValue::new("model", "a")];
    let explicit = Aggregation::ExplicitBucketHistogram { boundaries: bounds(), record_min_max: false };
    let exponential =
        Aggregation::Base2ExponentialHistogram { max_size: 160, max_scale: 20, record_min_max: false };
    for (name, aggregation) in [("26 bounds", explicit), ("exponential", exponential)] {
        let provider = otel(Some(aggregation));
        let histogram = provider.meter("bench").f64_histogram("h").build();
        bench.row(&format!("opentelemetry_sdk, {name}"), || (), |value| histogram.record(value, &attributes));
        let bound = histogram.bind(&attributes);
        bench.row(
            &format!("opentelemetry_sdk, {name}, bound (experimental)"),
            || (),
            |value| bound.record(value),
        );
    }
    let hdr = hdrhistogram::Histogram::<u64>::new_with_bounds(1, 1 << 45, 2).expect("bounds");
    let hdr = Mutex::new(hdr);
    bench.row(
        "hdrhistogram in a mutex, no exact sum",
        || (),
        |value| {
            let mut hdr = hdr.lock().expect("nobody panics");
            hdr.record((value * 1e9) as u64).expect("in range");
        },
    );
    let sketch =
        Mutex::new(sketches_ddsketch::DDSketch::new(sketches_ddsketch::Config::new(0.0055, 4_096, 1e-9)));
    bench.row(
        "sketches-ddsketch in a mutex",
        || (),
        |value| sketch.lock().expect("nobody panics").add(value),
    );
    let floor = histogram::AtomicHistogram::new(6, 45).expect("a layout");
    bench.row(
        "histogram, atomic, no sum",
        || (),
        |value| floor.increment((value * 1e9) as u64).expect("in range"),
    );
}

fn macros(bench: &Bench) {
    heading("distribution, macro with a label");
    let within = |recorder: &dyn metrics::Recorder| {
        metrics::with_local_recorder(recorder, || {
            bench.each(|value| metrics::histogram!("h_seconds", "model" => "a").record(value));
        });
    };
    let ours = SketchMetricsCollector::default();
    Bench::row_of("**wavequill-monitoring**", || (), || within(&ours));
    let recorder = Arc::new(exporter());
    let handle = recorder.handle();
    Bench::row_of("metrics-exporter-prometheus", || handle.run_upkeep(), || within(&*recorder));
}

/// Milliseconds of the fastest of 20 times.
fn fastest(mut work: impl FnMut() -> usize) -> (f64, usize) {
    let mut best = Duration::MAX;
    let mut size = 0;
    for _ in 0..20 {
        let begin = Instant::now();
        size = black_box(work());
        best = best.min(begin.elapsed());
    }
    (best.as_secs_f64() * 1e3, size)
}

fn texts(bench: &Bench) {
    println!("\n| text of 1,000 distributions, each of 4,096 values | ms | bytes |\n|---|---|---|");
    let fill = |recorder: &dyn metrics::Recorder| {
        metrics::with_local_recorder(recorder, || {
            for series in 0..1_000 {
                let histogram = metrics::histogram!("h_seconds", "series" => series.to_string());
                for value in &bench.values {
                    histogram.record(*value);
                }
            }
        });
    };
    let ours = SketchMetricsCollector::default();
    fill(&ours);
    let text =
        || render(&ours.snapshot(), &ours.catalogue(), Format::Text, 32 << 20).expect("it renders").len();
    let (ms, bytes) = fastest(text);
    println!("| **wavequill-monitoring**, 26 bounds | {ms:.2} | {bytes} |");

    let recorder = exporter();
    fill(&recorder);
    let handle = recorder.handle();
    let (ms, bytes) = fastest(|| handle.render().len());
    println!("| metrics-exporter-prometheus, 26 bounds | {ms:.2} | {bytes} |");

    let family = Family::<Vec<(String, String)>, Histogram, fn() -> Histogram>::new_with_constructor(|| {
        Histogram::new(bounds())
    });
    let mut registry = prometheus_client::registry::Registry::default();
    registry.register("h_seconds", "a distribution", family.clone());
    for series in 0..1_000 {
        let histogram = family.get_or_create_owned(&vec![("series".to_owned(), series.to_string())]);
        for value in &bench.values {
            histogram.observe(*value);
        }
    }
    let (ms, bytes) = fastest(|| {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).expect("it encodes");
        text.len()
    });
    println!("| prometheus-client, 26 bounds | {ms:.2} | {bytes} |");
}

fn main() {
    let bench = Bench { values: values() };
    counters(&bench);
    distributions(&bench);
    macros(&bench);
    texts(&bench);
}
