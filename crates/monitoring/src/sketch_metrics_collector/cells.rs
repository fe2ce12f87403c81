//! Where records go: atomic cells in stripes, one of which each thread draws once.
//!
//! A record is a relaxed addition in the thread's own stripe. Counts are summed over the stripes when they are read;
//! no total is kept, so that none can disagree with its parts.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};

use crossbeam_utils::CachePadded;
use metrics::{CounterFn, GaugeFn, HistogramFn};

use crate::model::layout::{MetricUnit, OCTAVES, SUB, slot, ticks};
use crate::model::sketch::Sketch;

/// Round robin, not one a thread: a runtime's blocking pool has hundreds of them.
static NEXT: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    static STRIPE: Cell<usize> = const { Cell::new(usize::MAX) };
}

/// This thread's stripe, to be cut to the number of stripes.
#[inline]
fn stripe() -> usize {
    STRIPE.with(|drawn| {
        let known = drawn.get();
        if known != usize::MAX {
            return known;
        }
        // One bit fewer, so that it is never what stands for "not drawn".
        let next = NEXT.fetch_add(1, Relaxed) & (usize::MAX >> 1);
        drawn.set(next);
        next
    })
}

/// Counters a cache line: all that fit the 128 bytes to which lines are padded.
pub(super) const COUNTERS_PER_LINE: usize = 16;

/// A line of counters for each stripe.
pub(super) type CounterLines = Arc<[CachePadded<[AtomicU64; COUNTERS_PER_LINE]>]>;

pub(super) fn counter_lines(stripes: usize) -> CounterLines {
    (0..stripes).map(|_| CachePadded::new([const { AtomicU64::new(0) }; COUNTERS_PER_LINE])).collect()
}

/// One counter: the same place in the line of each stripe.
#[derive(Debug)]
pub(super) struct CounterCell {
    lines: CounterLines,
    place: usize,
    /// What [`CounterFn::absolute`] found missing.
    absolute: AtomicU64,
}

impl CounterCell {
    pub(super) fn new(lines: CounterLines, place: usize) -> Self {
        Self { lines, place, absolute: AtomicU64::new(0) }
    }

    pub(super) fn value(&self) -> u64 {
        self.added().wrapping_add(self.absolute.load(Relaxed))
    }

    /// Gives the place back, empty. Only for a cell that nobody else holds.
    pub(super) fn release(&self) -> (CounterLines, usize) {
        for line in self.lines.iter() {
            if let Some(cell) = line.get(self.place) {
                cell.store(0, Relaxed);
            }
        }
        (Arc::clone(&self.lines), self.place)
    }

    fn added(&self) -> u64 {
        let cells = self.lines.iter().filter_map(|line| line.get(self.place));
        cells.fold(0, |sum, cell| sum.wrapping_add(cell.load(Relaxed)))
    }
}

impl CounterFn for CounterCell {
    #[inline]
    fn increment(&self, value: u64) {
        // The number of stripes is a power of two.
        let line = self.lines.get(stripe() & (self.lines.len() - 1));
        if let Some(cell) = line.and_then(|line| line.get(self.place)) {
            cell.fetch_add(value, Relaxed);
        }
    }

    fn absolute(&self, value: u64) {
        self.absolute.fetch_max(value.saturating_sub(self.added()), Relaxed);
    }
}

/// One gauge: the bits of its value.
#[derive(Debug)]
pub(super) struct GaugeCell {
    bits: AtomicU64,
    rejected: Arc<Rejected>,
}

impl GaugeCell {
    pub(super) fn new(rejected: Arc<Rejected>) -> Self {
        Self { bits: AtomicU64::new(0), rejected }
    }

    pub(super) fn value(&self) -> f64 {
        f64::from_bits(self.bits.load(Relaxed))
    }

    fn change(&self, by: f64) {
        if !by.is_finite() {
            self.rejected.not_finite.fetch_add(1, Relaxed);
            return;
        }
        let next = |bits| Some((f64::from_bits(bits) + by).to_bits());
        // The closure always gives a value, so that this never fails.
        let _ = self.bits.fetch_update(Relaxed, Relaxed, next);
    }
}

impl GaugeFn for GaugeCell {
    fn increment(&self, value: f64) {
        self.change(value);
    }

    fn decrement(&self, value: f64) {
        self.change(-value);
    }

    fn set(&self, value: f64) {
        if value.is_finite() {
            self.bits.store(value.to_bits(), Relaxed);
        } else {
            self.rejected.not_finite.fetch_add(1, Relaxed);
        }
    }
}

/// Samples that no distribution takes, or takes only at its edge.
#[derive(Debug, Default)]
pub(super) struct Rejected {
    pub(super) negative: AtomicU64,
    pub(super) not_finite: AtomicU64,
    pub(super) out_of_range: AtomicU64,
}

type Page = CachePadded<[AtomicU64; SUB]>;

/// One thread's part of a distribution: a page an octave, made when it is first needed.
#[derive(Debug)]
struct Part {
    ticks: AtomicU64,
    zero: AtomicU64,
    pages: [OnceLock<Box<Page>>; OCTAVES],
}

impl Part {
    fn new() -> Box<CachePadded<Self>> {
        let pages = [const { OnceLock::new() }; OCTAVES];
        Box::new(CachePadded::new(Self { ticks: AtomicU64::new(0), zero: AtomicU64::new(0), pages }))
    }
}

/// One distribution.
#[derive(Debug)]
pub(super) struct HistogramCell {
    parts: Box<[OnceLock<Box<CachePadded<Part>>>]>,
    // Of the unit, so that a record need not look it up.
    lowest_exponent: i32,
    ticks_per_unit: f64,
    unit: MetricUnit,
    rejected: Arc<Rejected>,
}

impl HistogramCell {
    pub(super) fn new(unit: MetricUnit, stripes: usize, rejected: Arc<Rejected>) -> Self {
        Self {
            parts: (0..stripes).map(|_| OnceLock::new()).collect(),
            lowest_exponent: unit.lowest_exponent(),
            ticks_per_unit: unit.ticks_per_unit(),
            unit,
            rejected,
        }
    }

    /// The parts of all stripes together.
    pub(super) fn sketch(&self) -> Sketch {
        let parts = || self.parts.iter().filter_map(OnceLock::get);
        let used =
            |octave: usize| parts().filter_map(move |part| part.pages.get(octave).and_then(OnceLock::get));
        let first = (0..OCTAVES).find(|octave| used(*octave).next().is_some()).unwrap_or(0);
        let end =
            (first..OCTAVES).rfind(|octave| used(*octave).next().is_some()).map_or(first, |last| last + 1);
        // The sum is read first: a record in flight adds to its bucket before it adds to the sum.
        let sum = |cell: fn(&Part) -> &AtomicU64| {
            parts().fold(0, |sum: u64, part| sum.wrapping_add(cell(part).load(Relaxed)))
        };
        let ticks = sum(|part| &part.ticks);
        let mut counts = vec![0; (end - first) * SUB];
        for (octave, cells) in (first..).zip(counts.chunks_exact_mut(SUB)) {
            for page in used(octave) {
                for (count, cell) in cells.iter_mut().zip(page.iter()) {
                    *count += cell.load(Relaxed);
                }
            }
        }
        let first_index = self.unit.first_index() + (first * SUB) as i32;
        Sketch::from_counts(self.unit, sum(|part| &part.zero), ticks, first_index, counts)
    }

    pub(super) fn bytes(&self) -> usize {
        let pages: usize = self
            .parts
            .iter()
            .filter_map(OnceLock::get)
            .map(|part| {
                let used = part.pages.iter().filter(|page| page.get().is_some()).count();
                size_of::<CachePadded<Part>>() + used * size_of::<Page>()
            })
            .sum();
        size_of::<Self>() + self.parts.len() * size_of::<OnceLock<Box<CachePadded<Part>>>>() + pages
    }

    #[inline]
    fn add(&self, value: f64, count: u64) {
        if !(value > 0.0 && value < f64::INFINITY) {
            self.add_odd(value, count);
            return;
        }
        let slot = slot(value, self.lowest_exponent);
        if slot.beyond {
            self.rejected.out_of_range.fetch_add(count, Relaxed);
        }
        let Some(part) = self.part() else { return };
        if let Some(page) = part.pages.get(slot.octave) {
            let page = page.get_or_init(|| Box::new(CachePadded::new([const { AtomicU64::new(0) }; SUB])));
            if let Some(cell) = page.get(slot.bucket) {
                cell.fetch_add(count, Relaxed);
            }
        }
        part.ticks.fetch_add(ticks(value, self.ticks_per_unit).wrapping_mul(count), Relaxed);
    }

    #[inline]
    fn part(&self) -> Option<&Part> {
        // The number of stripes is a power of two.
        let part = self.parts.get(stripe() & (self.parts.len() - 1));
        part.map(|part| &***part.get_or_init(Part::new))
    }

    /// Zero, and what is refused.
    #[cold]
    fn add_odd(&self, value: f64, count: u64) {
        if value == 0.0 {
            if let Some(part) = self.part() {
                part.zero.fetch_add(count, Relaxed);
            }
        } else if value.is_finite() {
            self.rejected.negative.fetch_add(count, Relaxed);
        } else {
            self.rejected.not_finite.fetch_add(count, Relaxed);
        }
    }
}

impl HistogramFn for HistogramCell {
    #[inline]
    fn record(&self, value: f64) {
        self.add(value, 1);
    }

    fn record_many(&self, value: f64, count: usize) {
        self.add(value, count as u64);
    }
}
