//! Where two chunks that heard the same audio are joined.

use super::matching;
use crate::model::aligned_part::{Leaf, LeafWord, Seam, SeamReport};
use crate::{SampleIndex, SampleSpan};

/// Words whose middles are further apart are not the same.
const BAND_SECONDS: f64 = 1.0;
/// A distance of so much costs as much as another text.
const SCALE_SECONDS: f64 = 0.5;
/// A word without counterpart.
const SKIP: f64 = 1.0;
/// How far from the edge of what a chunk heard its words are doubted.
const EDGE_SECONDS: f64 = 1.5;
/// Above so many pairs the words are not aligned: chunks of a sane plan share a few seconds.
const MOST_PAIRS: usize = 1 << 22;

/// The seam between two neighbours, and what happened there.
pub(super) fn find(left: &Leaf, right: &Leaf) -> (Seam, SeamReport) {
    let zone = left.heard.intersection(right.heard);
    if zone.is_empty() {
        return (Seam { left_until: left.words.len(), right_from: 0 }, SeamReport::default());
    }
    let band = (BAND_SECONDS * f64::from(left.rate.hertz())) as u64;
    let first = left.words.partition_point(|word| word.span.start() < zone.start().minus(band));
    let last = right.words.partition_point(|word| word.span.start() < zone.end().plus(band));
    let shared = Shared {
        left: left.words.get(first..).unwrap_or_default(),
        right: right.words.get(..last).unwrap_or_default(),
        zone,
        nominal: midpoint(left.owned.end(), right.owned.start()),
        hertz: f64::from(left.rate.hertz()),
    };
    let units = if shared.left.len().saturating_mul(shared.right.len()) > MOST_PAIRS {
        shared.unaligned()
    } else {
        shared.align()
    };
    let at = shared.best_cut(&units);
    let (before, after) = units.split_at(at);
    let seam = Seam {
        left_until: first + before.iter().filter(|unit| unit.left().is_some()).count(),
        right_from: before.iter().filter(|unit| unit.right().is_some()).count(),
    };
    let pairs = units.iter().filter(|unit| matches!(unit, Unit::Both { .. })).count();
    let lost = before.iter().filter(|unit| matches!(unit, Unit::Right(_))).count()
        + after.iter().filter(|unit| matches!(unit, Unit::Left(_))).count();
    let report = SeamReport { merged: pairs as u64, dropped: lost as u64, overlap_samples: zone.len() };
    (seam, report)
}

fn midpoint(a: SampleIndex, b: SampleIndex) -> SampleIndex {
    SampleIndex::new(a.get().midpoint(b.get()))
}

/// One step of an alignment: places of words in the two lists.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Unit {
    /// Both heard it; alike or not.
    Both { left: usize, right: usize, alike: bool },
    /// Only the left one heard it.
    Left(usize),
    /// Only the right one heard it.
    Right(usize),
}

impl Unit {
    fn left(self) -> Option<usize> {
        match self {
            Self::Both { left, .. } | Self::Left(left) => Some(left),
            Self::Right(_) => None,
        }
    }

    fn right(self) -> Option<usize> {
        match self {
            Self::Both { right, .. } | Self::Right(right) => Some(right),
            Self::Left(_) => None,
        }
    }

    fn is_alike(self) -> bool {
        matches!(self, Self::Both { alike: true, .. })
    }
}

/// What two neighbours heard of the audio that both were sent.
struct Shared<'a> {
    left: &'a [LeafWord],
    right: &'a [LeafWord],
    zone: SampleSpan,
    nominal: SampleIndex,
    hertz: f64,
}

impl Shared<'_> {
    fn seconds(&self, from: SampleIndex, to: SampleIndex) -> f64 {
        (to.get() as f64 - from.get() as f64) / self.hertz
    }

    /// The cheapest alignment, word by word.
    fn align(&self) -> Vec<Unit> {
        let keys = |words: &[LeafWord]| -> Vec<Vec<char>> {
            words.iter().map(|word| matching::key(&word.spaced)).collect()
        };
        let (left_keys, right_keys) = (keys(self.left), keys(self.right));
        let width = self.right.len() + 1;
        let mut costs = vec![0.0_f64; (self.left.len() + 1) * width];
        let mut steps = vec![Step::Start; costs.len()];
        for i in 0..=self.left.len() {
            for j in 0..=self.right.len() {
                let at = |i: usize, j: usize| costs.get(i * width + j).copied().unwrap_or(f64::INFINITY);
                let mut best =
                    if i == 0 && j == 0 { (0.0, Step::Start) } else { (f64::INFINITY, Step::Start) };
                let mut offer = |cost: f64, step: Step| {
                    if cost < best.0 {
                        best = (cost, step);
                    }
                };
                if let (Some(a), Some(b)) = (i.checked_sub(1), j.checked_sub(1)) {
                    let alike = left_keys.get(a) == right_keys.get(b);
                    offer(
                        at(a, b) + self.pair_cost(a, b, alike),
                        if alike { Step::Alike } else { Step::Unlike },
                    );
                }
                if let Some(a) = i.checked_sub(1) {
                    offer(at(a, j) + SKIP, Step::Left);
                }
                if let Some(b) = j.checked_sub(1) {
                    offer(at(i, b) + SKIP, Step::Right);
                }
                if let Some(cost) = costs.get_mut(i * width + j) {
                    *cost = best.0;
                }
                if let Some(step) = steps.get_mut(i * width + j) {
                    *step = best.1;
                }
            }
        }
        self.trace(&steps, width)
    }

    fn pair_cost(&self, left: usize, right: usize, alike: bool) -> f64 {
        let (Some(a), Some(b)) = (self.left.get(left), self.right.get(right)) else { return f64::INFINITY };
        let apart = self.seconds(middle(a), middle(b)).abs();
        if apart > BAND_SECONDS {
            return f64::INFINITY;
        }
        f64::from(u8::from(!alike)) + apart / SCALE_SECONDS
    }

    fn trace(&self, steps: &[Step], width: usize) -> Vec<Unit> {
        let (mut i, mut j) = (self.left.len(), self.right.len());
        let mut units = Vec::with_capacity(i.max(j));
        loop {
            match steps.get(i * width + j).copied().unwrap_or(Step::Start) {
                Step::Start => break,
                step @ (Step::Alike | Step::Unlike) => {
                    (i, j) = (i.saturating_sub(1), j.saturating_sub(1));
                    units.push(Unit::Both { left: i, right: j, alike: step == Step::Alike });
                }
                Step::Left => {
                    i = i.saturating_sub(1);
                    units.push(Unit::Left(i));
                }
                Step::Right => {
                    j = j.saturating_sub(1);
                    units.push(Unit::Right(j));
                }
            }
        }
        units.reverse();
        units
    }

    /// All words in the order of their times, none paired.
    fn unaligned(&self) -> Vec<Unit> {
        let lefts = self.left.iter().enumerate().map(|(at, word)| (middle(word), Unit::Left(at)));
        let rights = self.right.iter().enumerate().map(|(at, word)| (middle(word), Unit::Right(at)));
        let mut units: Vec<_> = lefts.chain(rights).collect();
        units.sort_by_key(|(at, _)| *at);
        units.into_iter().map(|(_, unit)| unit).collect()
    }

    /// How much the left one is believed about a moment: less towards the end of what it heard.
    fn trust_left(&self, at: SampleIndex) -> f64 {
        (self.seconds(at, self.zone.end()) / EDGE_SECONDS).clamp(0.0, 1.0)
    }

    fn trust_right(&self, at: SampleIndex) -> f64 {
        (self.seconds(self.zone.start(), at) / EDGE_SECONDS).clamp(0.0, 1.0)
    }

    /// What is lost if the left one's version of a unit is taken, and if the right one's is.
    fn losses(&self, unit: Unit) -> (f64, f64) {
        let at = self.moment(unit);
        let (left, right) = (self.trust_left(at), self.trust_right(at));
        match unit {
            Unit::Both { alike: true, .. } => (0.0, 0.0),
            Unit::Both { alike: false, .. } => {
                let both = left + right;
                if both > 0.0 { (right / both, left / both) } else { (0.5, 0.5) }
            }
            Unit::Left(_) => (1.0 - left, left),
            Unit::Right(_) => (right, 1.0 - right),
        }
    }

    fn moment(&self, unit: Unit) -> SampleIndex {
        let left = unit.left().and_then(|at| self.left.get(at)).map(middle);
        let right = unit.right().and_then(|at| self.right.get(at)).map(middle);
        match (left, right) {
            (Some(left), Some(right)) => midpoint(left, right),
            (Some(at), None) | (None, Some(at)) => at,
            (None, None) => self.nominal,
        }
    }

    /// Before which unit to change from the left one to the right one.
    fn best_cut(&self, units: &[Unit]) -> usize {
        let losses: Vec<(f64, f64)> = units.iter().map(|unit| self.losses(*unit)).collect();
        let mut lost: f64 = losses.iter().map(|(_, right)| right).sum();
        let mut best = (f64::INFINITY, 0);
        for at in 0..=units.len() {
            let cost = lost + self.preference(units, at);
            // Sums of shares differ by rounding: of cuts that are as good, the first.
            if cost < best.0 - 1e-9 {
                best = (cost, at);
            }
            if let Some((left, right)) = losses.get(at) {
                lost += left - right;
            }
        }
        best.1
    }

    /// Decides between cuts that lose the same: next to words that both heard alike, in a pause, near the middle.
    /// Less than one word in all.
    fn preference(&self, units: &[Unit], at: usize) -> f64 {
        let before = at.checked_sub(1).and_then(|last| units.get(last)).copied();
        let after = units.get(at).copied();
        let unsure = [before, after].iter().filter(|unit| !unit.is_some_and(Unit::is_alike)).count();
        let end = before.and_then(|unit| self.version(unit, Side::Left)).map(|word| word.span.end());
        let start = after.and_then(|unit| self.version(unit, Side::Right)).map(|word| word.span.start());
        let pause = match (end, start) {
            (Some(end), Some(start)) => self.seconds(end, start).clamp(0.0, 0.5),
            _ => 0.0,
        };
        let place = match (end, start) {
            (Some(end), Some(start)) => midpoint(end, start),
            (Some(at), None) | (None, Some(at)) => at,
            (None, None) => self.nominal,
        };
        let away = self.seconds(self.nominal, place).abs().min(5.0);
        0.05 * unsure as f64 + 0.2 * (0.5 - pause) + 0.04 * away
    }

    /// The word of a unit as the one side heard it, else as the other did.
    fn version(&self, unit: Unit, side: Side) -> Option<&LeafWord> {
        let left = unit.left().and_then(|at| self.left.get(at));
        let right = unit.right().and_then(|at| self.right.get(at));
        match side {
            Side::Left => left.or(right),
            Side::Right => right.or(left),
        }
    }
}

#[derive(Clone, Copy)]
enum Side {
    Left,
    Right,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Step {
    Start,
    Alike,
    Unlike,
    Left,
    Right,
}

fn middle(word: &LeafWord) -> SampleIndex {
    midpoint(word.span.start(), word.span.end())
}
