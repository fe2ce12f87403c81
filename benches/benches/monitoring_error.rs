//! How far percentiles are from the truth, and what merging and asking for them costs.
//!
//! `cargo bench -p wavequill-benches --bench monitoring_error`
//!
//! 20 distributions of 100,000 values, each recorded in 50 parts that are merged; the error is that of the worst of p50, p90,
//! p99, p99.9 and p99.99 against the value of the nearest rank.
#![expect(clippy::expect_used, clippy::print_stdout, reason = "a bench speaks to its terminal")]
#![expect(clippy::disallowed_methods, reason = "this measures")]

use std::hint::black_box;
use std::time::{Duration, Instant};

use wavequill_monitoring::{MetricUnit, Quantile, Sketch};

const VALUES: usize = 100_000;
const PARTS: usize = 50;
const SHARES: [f64; 5] = [0.5, 0.9, 0.99, 0.999, 0.9999];
/// The bounds that Prometheus' clients begin with.
const DEFAULT_BOUNDS: [f64; 11] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// Numbers that look random and are the same each time.
struct Draw(u64);

impl Draw {
    fn unit(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 11) as f64 + 0.5) / (1_u64 << 53) as f64
    }

    fn normal(&mut self) -> f64 {
        let (left, right) = (self.unit(), self.unit());
        (-2.0 * left.ln()).sqrt() * (std::f64::consts::TAU * right).cos()
    }
}

type Shape = (&'static str, fn(&mut Draw, usize) -> f64);

/// Seconds from microseconds to weeks.
const SHAPES: [Shape; 20] = [
    ("even, 0 to 1", |draw, _| draw.unit()),
    ("even, 100 to 101", |draw, _| 100.0 + draw.unit()),
    ("normal", |draw, _| (10.0 + draw.normal()).abs()),
    ("log-normal, σ 0.1", |draw, _| (0.1 * draw.normal()).exp()),
    ("log-normal, σ 1", |draw, _| draw.normal().exp()),
    ("log-normal, σ 3", |draw, _| (3.0 * draw.normal()).exp().clamp(1e-6, 1e6)),
    ("exponential", |draw, _| -draw.unit().ln()),
    ("Pareto, 3", |draw, _| draw.unit().powf(-1.0 / 3.0)),
    ("Pareto, 1", |draw, _| 1e-3 / draw.unit()),
    ("Pareto, ½", |draw, _| 1e-6 * draw.unit().powi(-2)),
    ("two near modes", |draw, at| if at % 2 == 0 { 1.0 } else { 1.02 } * (0.001 * draw.normal()).exp()),
    ("two modes, 10⁹ apart", |draw, at| if at % 2 == 0 { 1e-6 } else { 1e3 } * (1.0 + draw.unit())),
    ("three modes", |draw, at| {
        [0.01, 1.0, 60.0].iter().cycle().nth(at % 3).unwrap_or(&1.0) * (1.0 + 0.1 * draw.unit())
    }),
    ("constant", |_, _| 1.234_567),
    ("constant but for 10⁻⁹", |draw, _| 1.234_567 + 1e-9 * draw.unit()),
    ("nine of ten are 0", |draw, at| if at % 10 == 0 { draw.unit() } else { 0.0 }),
    ("powers of two", |draw, _| 2.0_f64.powi((draw.unit() * 40.0) as i32 - 20)),
    ("bounds of buckets, ± 1 ulp", |draw, at| {
        let bound = ((draw.unit() * 640.0).floor() / 64.0 - 5.0).exp2();
        [bound, bound.next_up(), bound.next_down()].get(at % 3).copied().unwrap_or(bound)
    }),
    ("whole milliseconds", |draw, _| ((30.0 + 10.0 * draw.normal()).abs().ceil() + 1.0) / 1e3),
    (
        "one in a thousand is 10⁴ times as long",
        |draw, at| if at % 1_000 == 0 { 1e4 } else { 1.0 } * (0.2 * draw.normal()).exp(),
    ),
];

fn off(answer: f64, truth: f64) -> f64 {
    if truth == 0.0 { answer.abs() } else { (answer / truth - 1.0).abs() }
}

fn ours(parts: &[&[f64]]) -> Vec<Sketch> {
    let sketch = |values: &&[f64]| {
        let mut sketch = Sketch::new(MetricUnit::Seconds);
        for value in *values {
            sketch.record(*value).expect("a value of at least 0");
        }
        sketch
    };
    parts.iter().map(sketch).collect()
}

fn merged(parts: &[Sketch]) -> Sketch {
    let empty = Sketch::new(MetricUnit::Seconds);
    parts.iter().fold(empty, |sum, part| sum.merge(part).expect("one unit"))
}

fn hdr(parts: &[&[f64]]) -> Vec<hdrhistogram::Histogram<u64>> {
    let one = |values: &&[f64]| {
        let mut hdr = hdrhistogram::Histogram::new_with_bounds(1, 1 << 60, 2).expect("bounds");
        for value in *values {
            hdr.record((value * 1e9).round() as u64).expect("in range");
        }
        hdr
    };
    parts.iter().map(one).collect()
}

fn ddsketch(parts: &[&[f64]]) -> Vec<sketches_ddsketch::DDSketch> {
    let one = |values: &&[f64]| {
        let mut sketch = sketches_ddsketch::DDSketch::new(sketches_ddsketch::Config::defaults());
        for value in *values {
            sketch.add(*value);
        }
        sketch
    };
    parts.iter().map(one).collect()
}

/// What Prometheus answers from the default bounds: linear within a bucket, the last bound beyond it.
fn classic(sorted: &[f64], share: f64) -> f64 {
    let rank = share * sorted.len() as f64;
    let at_most = |bound: f64| sorted.partition_point(|value| *value <= bound) as f64;
    let mut lower = 0.0;
    for bound in DEFAULT_BOUNDS {
        if at_most(bound) >= rank {
            let below = if lower == 0.0 { 0.0 } else { at_most(lower) };
            return lower + (bound - lower) * (rank - below) / (at_most(bound) - below).max(1.0);
        }
        lower = bound;
    }
    lower
}

/// The worst errors in percent: ours, hdrhistogram, DDSketch, 11 bounds.
fn errors(values: &[f64]) -> [f64; 4] {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let parts: Vec<&[f64]> = values.chunks(VALUES / PARTS).collect();
    let sketches = ours(&parts);
    let forwards = merged(&sketches);
    for turn in [1, 7, 49] {
        let mut turned = sketches.clone();
        turned.rotate_left(turn);
        turned.reverse();
        assert!(merged(&turned) == forwards, "merged in another order it is another sketch");
    }
    let mut hdrs = hdr(&parts).into_iter();
    let mut hdr = hdrs.next().expect("50 parts");
    hdrs.for_each(|part| hdr.add(part).expect("one layout"));
    let mut dds = ddsketch(&parts).into_iter();
    let mut dd = dds.next().expect("50 parts");
    dds.for_each(|part| dd.merge(&part).expect("one layout"));

    SHARES.iter().fold([0.0; 4], |worst, share| {
        let rank = ((share * VALUES as f64).ceil() as usize).clamp(1, VALUES);
        let truth = sorted.get(rank - 1).copied().unwrap_or(0.0);
        let quantile = Quantile::new(*share).expect("0 to 1");
        let answers = [
            forwards.quantile(quantile).unwrap_or(f64::NAN),
            hdr.value_at_quantile(*share) as f64 / 1e9,
            dd.quantile(*share).ok().flatten().unwrap_or(f64::NAN),
            classic(&sorted, *share),
        ];
        let mut next = worst;
        next.iter_mut()
            .zip(answers)
            .for_each(|(worst, answer)| *worst = worst.max(100.0 * off(answer, truth)));
        next
    })
}

/// Microseconds of the fastest of 2,000 times.
fn fastest<T>(mut prepare: impl FnMut() -> T, mut work: impl FnMut(T) -> T) -> f64 {
    let mut best = Duration::MAX;
    for _ in 0..2_000 {
        let prepared = prepare();
        let begin = Instant::now();
        let done = black_box(work(black_box(prepared)));
        best = best.min(begin.elapsed());
        drop(done);
    }
    best.as_secs_f64() * 1e6
}

fn costs(values: &[f64]) {
    println!("\n| two sketches of 2,000 log-normal values | merge, µs | p99, µs |\n|---|---|---|");
    let parts: Vec<&[f64]> = values.chunks(VALUES / PARTS).take(2).collect();
    let [one, other]: [Sketch; 2] = ours(&parts).try_into().expect("two parts");
    let merge = fastest(|| one.clone(), |one| one.merge(&other).expect("one unit"));
    let ask = fastest(
        || one.clone(),
        |one| {
            black_box(one.quantile(Quantile::P99));
            one
        },
    );
    println!("| **wavequill-monitoring** | {merge:.2} | {ask:.2} |");
    let [one, other]: [_; 2] = hdr(&parts).try_into().expect("two parts");
    let merge = fastest(
        || one.clone(),
        |mut one| {
            one.add(&other).expect("one layout");
            one
        },
    );
    let ask = fastest(
        || one.clone(),
        |one| {
            black_box(one.value_at_quantile(0.99));
            one
        },
    );
    println!("| hdrhistogram, 2 digits | {merge:.2} | {ask:.2} |");
    let [one, other]: [_; 2] = ddsketch(&parts).try_into().ok().expect("two parts");
    let merge = fastest(
        || one.clone(),
        |mut one| {
            one.merge(&other).expect("one layout");
            one
        },
    );
    let ask = fastest(
        || one.clone(),
        |one| {
            _ = black_box(one.quantile(0.99));
            one
        },
    );
    println!("| sketches-ddsketch, 1 % | {merge:.2} | {ask:.2} |");
}

fn main() {
    println!(
        "| worst error in % | wavequill-monitoring | hdrhistogram, 2 digits | sketches-ddsketch, 1 % | 11 `le` |\n|---|---|---|---|---|"
    );
    let mut worst = [0.0_f64; 4];
    for (name, shape) in SHAPES {
        let mut draw = Draw(20_261_124);
        let values: Vec<f64> = (0..VALUES).map(|at| shape(&mut draw, at)).collect();
        let found = errors(&values);
        worst.iter_mut().zip(found).for_each(|(worst, found)| *worst = worst.max(found));
        let [ours, hdr, dd, le] = found;
        println!("| {name} | {ours:.3} | {hdr:.3} | {dd:.3} | {le:.1} |");
    }
    let [ours, hdr, dd, le] = worst;
    println!("| **worst** | **{ours:.3}** | {hdr:.3} | {dd:.3} | {le:.1} |");
    let mut draw = Draw(20_261_124);
    costs(&(0..VALUES).map(|_| draw.normal().exp()).collect::<Vec<_>>());
}
