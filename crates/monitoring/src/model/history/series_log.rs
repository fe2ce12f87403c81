//! The changes of one series: cumulative values, each stamped with the tick from which on it held.

use std::sync::Arc;

use super::Nanos;
use crate::model::layout::MetricUnit;
use crate::model::sketch::Sketch;
use crate::model::snapshot::Kept;

/// A counter's changes; lives of the series are strung together, so that the value never falls.
#[derive(Clone, Debug)]
pub(super) struct CounterLog {
    pub(super) points: Vec<(Nanos, u64)>,
    /// What former lives and former starts of the process counted.
    before: u64,
    raw: u64,
    life: Option<u64>,
}

impl CounterLog {
    pub(super) fn starting(at: Nanos, kept: &Kept<u64>) -> Self {
        let points = if kept.value == 0 { Vec::new() } else { vec![(at, kept.value)] };
        Self { points, before: 0, raw: kept.value, life: Some(kept.life) }
    }

    pub(super) fn restored(points: Vec<(Nanos, u64)>) -> Self {
        let before = points.last().map_or(0, |(_, value)| *value);
        Self { points, before, raw: 0, life: None }
    }

    pub(super) fn push(&mut self, at: Nanos, kept: &Kept<u64>) {
        let another_life = self.life.is_some_and(|life| life != kept.life);
        if another_life || kept.value < self.raw {
            self.before = self.before.saturating_add(self.raw);
        }
        self.raw = kept.value;
        self.life = Some(kept.life);
        push_change(&mut self.points, at, self.before.saturating_add(self.raw));
    }

    pub(super) fn since(&self, from: Nanos) -> u64 {
        let last = self.points.last().map_or(0, |(_, value)| *value);
        last - at(&self.points, from).copied().unwrap_or(0)
    }

    pub(super) fn thin(&mut self, kept: &[Nanos]) {
        thin(&mut self.points, kept);
    }

    pub(super) fn is_recent(&self, horizon: Nanos) -> bool {
        self.points.last().is_some_and(|(at, _)| *at >= horizon)
    }

    pub(super) fn bytes(&self) -> usize {
        size_of::<Self>() + self.points.capacity() * size_of::<(Nanos, u64)>()
    }
}

/// A distribution's changes, each packed to a few bytes a bucket.
#[derive(Clone, Debug)]
pub(super) struct SketchLog {
    unit: MetricUnit,
    points: Vec<(Nanos, Packed)>,
    before: Option<Sketch>,
    raw: Arc<Sketch>,
    life: u64,
}

impl SketchLog {
    pub(super) fn starting(at: Nanos, kept: &Kept<Arc<Sketch>>) -> Self {
        let raw = Arc::clone(&kept.value);
        let points = if raw.is_empty() { Vec::new() } else { vec![(at, Packed::of(&raw))] };
        Self { unit: raw.unit(), points, before: None, raw, life: kept.life }
    }

    pub(super) fn push(&mut self, at: Nanos, kept: &Kept<Arc<Sketch>>) {
        if self.life != kept.life || kept.value.count() < self.raw.count() {
            self.before = Some(self.whole());
        }
        self.raw = Arc::clone(&kept.value);
        self.life = kept.life;
        let whole = self.whole();
        push_change(&mut self.points, at, Packed::of(&whole));
    }

    /// What all lives together recorded.
    fn whole(&self) -> Sketch {
        // Lives of one series have one unit: a collector fixes it for the metric's whole life.
        self.before
            .as_ref()
            .and_then(|before| before.merge(&self.raw).ok())
            .unwrap_or_else(|| (*self.raw).clone())
    }

    pub(super) fn since(&self, from: Nanos) -> Option<Sketch> {
        let last = self.whole();
        match at(&self.points, from) {
            Some(packed) => last.subtract(&packed.sketch(self.unit)).ok(),
            None => Some(last),
        }
    }

    pub(super) fn thin(&mut self, kept: &[Nanos]) {
        thin(&mut self.points, kept);
    }

    pub(super) fn is_recent(&self, horizon: Nanos) -> bool {
        self.points.last().is_some_and(|(at, _)| *at >= horizon)
    }

    pub(super) fn bytes(&self) -> usize {
        let packed: usize = self.points.iter().map(|(_, packed)| packed.0.len()).sum();
        let dense = self.raw.dense().2.len() * size_of::<u64>();
        size_of::<Self>() + packed + dense + self.points.capacity() * size_of::<(Nanos, Packed)>()
    }
}

/// Adds a value if it is another than the last.
fn push_change<T: PartialEq>(points: &mut Vec<(Nanos, T)>, at: Nanos, value: T) {
    match points.last_mut() {
        Some((_, last)) if *last == value => {}
        Some((known, last)) if *known >= at => *last = value,
        _ => points.push((at, value)),
    }
}

/// The value that held at a tick.
fn at<T>(points: &[(Nanos, T)], tick: Nanos) -> Option<&T> {
    let after = points.partition_point(|(at, _)| *at <= tick);
    after.checked_sub(1).and_then(|at| points.get(at)).map(|(_, value)| value)
}

/// Moves each change to the first kept tick at or after it; of those that meet, the last tells.
fn thin<T>(points: &mut Vec<(Nanos, T)>, kept: &[Nanos]) {
    let Some(newest) = kept.last() else { return };
    for (at, _) in points.iter_mut() {
        *at = *kept.get(kept.partition_point(|tick| tick < at)).unwrap_or(newest);
    }
    points.reverse();
    points.dedup_by_key(|(at, _)| *at);
    points.reverse();
}

/// A sketch as variable-length numbers: zero count, sum, then for each bucket in use its distance and count.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Packed(Box<[u8]>);

impl Packed {
    fn of(sketch: &Sketch) -> Self {
        let (_, first, counts) = sketch.dense();
        let mut bytes = Vec::new();
        write(&mut bytes, sketch.zero_count());
        write(&mut bytes, sketch.ticks());
        write(&mut bytes, u64::from((first.wrapping_shl(1) ^ (first >> 31)) as u32));
        let mut gap = 0;
        for count in counts {
            if count == 0 {
                gap += 1;
            } else {
                write(&mut bytes, gap);
                write(&mut bytes, count);
                gap = 0;
            }
        }
        Self(bytes.into_boxed_slice())
    }

    fn sketch(&self, unit: MetricUnit) -> Sketch {
        let mut rest = &*self.0;
        let mut next = || read(&mut rest);
        let zero = next().unwrap_or(0);
        let ticks = next().unwrap_or(0);
        let first = next().unwrap_or(0) as u32;
        let mut counts = Vec::new();
        while let (Some(gap), Some(count)) = (next(), next()) {
            counts.resize(counts.len() + gap as usize, 0);
            counts.push(count);
        }
        Sketch::from_counts(unit, zero, ticks, (first >> 1) as i32 ^ -((first & 1) as i32), counts)
    }
}

/// LEB128.
fn write(bytes: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
}

fn read(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7F) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_packed_sketch_unpacks_to_itself(values in prop::collection::vec(0.0_f64..1e6, 0..200)) {
            let mut sketch = Sketch::new(MetricUnit::Seconds);
            for value in values {
                sketch.record(value).unwrap();
            }
            let counted = sketch.to_buckets();
            prop_assert_eq!(Packed::of(&counted).sketch(MetricUnit::Seconds), counted);
        }

        #[test]
        fn thinning_keeps_the_value_at_every_kept_tick(
            changes in prop::collection::vec((0_i64..1_000, 1_u64..5), 1..60),
            kept in prop::collection::btree_set(0_i64..1_000, 1..30),
        ) {
            let mut changes = changes;
            changes.sort_unstable();
            let mut points: Vec<(Nanos, u64)> = Vec::new();
            let mut total = 0;
            for (tick, more) in changes {
                total += more;
                push_change(&mut points, tick, total);
            }
            let kept: Vec<Nanos> = kept.into_iter().chain([1_000]).collect();
            let before: Vec<_> = kept.iter().map(|tick| at(&points, *tick).copied()).collect();
            thin(&mut points, &kept);
            let after: Vec<_> = kept.iter().map(|tick| at(&points, *tick).copied()).collect();
            prop_assert_eq!(before, after);
            prop_assert!(points.len() <= kept.len());
        }
    }
}
