//! A distribution: exact while it is small, else counts in buckets whose relative error is bounded.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::error::MonitoringError;
use crate::model::layout::{MetricUnit, OCTAVES, SCALE, SUB, index_of, lower_bound, representative};
use crate::model::quantile::{Percentiles, Quantile};

/// A mergeable distribution of values of at least 0, with its exact sum.
///
/// Up to [`Sketch::EXACT_VALUES`] values are kept as they are; beyond, or once it came from a collector, each is counted
/// in a bucket at most 1.09 % wide, whose answer is within 0.542 % of every value in it. Values under the range of its
/// [`MetricUnit`] count in the first bucket, values above it in the last.
///
/// ```
/// use wavequill_monitoring::{MetricUnit, Quantile, Sketch};
///
/// let mut waits = Sketch::new(MetricUnit::Seconds);
/// for millis in 1..=1000 {
///     waits.record(f64::from(millis) / 1000.0)?;
/// }
/// let p99 = waits.quantile(Quantile::P99).unwrap();
/// assert!((p99 / 0.990 - 1.0).abs() < 0.0055);
/// assert_eq!(waits.sum(), 500.5);
/// # Ok::<(), wavequill_monitoring::MonitoringError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Wire", into = "Wire")]
pub struct Sketch {
    unit: MetricUnit,
    values: Values,
}

#[derive(Clone, Debug, PartialEq)]
enum Values {
    /// Sorted.
    Exact(Vec<f64>),
    Buckets(Buckets),
}

/// Counts from the first bucket that is not empty to the last, so that equal distributions are equal values.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Buckets {
    scale: u8,
    zero: u64,
    /// The sum in ticks, wrapping: what wraps twice still subtracts exactly.
    ticks: u64,
    first: i32,
    counts: Vec<u64>,
}

impl Sketch {
    /// How many values are kept as they are.
    pub const EXACT_VALUES: usize = 64;

    /// No value yet.
    pub const fn new(unit: MetricUnit) -> Self {
        Self { unit, values: Values::Exact(Vec::new()) }
    }

    /// Counts that a collector kept: the whole layout of the unit from its first bucket, and the sum in ticks.
    pub(crate) fn from_counts(unit: MetricUnit, zero: u64, ticks: u64, first: i32, counts: Vec<u64>) -> Self {
        let mut buckets = Buckets { scale: SCALE, zero, ticks, first, counts };
        buckets.trim();
        Self { unit, values: Values::Buckets(buckets) }
    }

    /// Adds a value.
    ///
    /// # Errors
    /// [`MonitoringError::RejectedSample`] if it is negative, infinite or not a number.
    pub fn record(&mut self, value: f64) -> Result<(), MonitoringError> {
        if !value.is_finite() || value < 0.0 {
            return Err(MonitoringError::RejectedSample { value: value.to_string() });
        }
        let value = value.abs(); // −0 is 0
        match &mut self.values {
            Values::Exact(values) => {
                let at = values.partition_point(|known| *known <= value);
                values.insert(at, value);
                if values.len() > Self::EXACT_VALUES {
                    *self = self.to_buckets();
                }
            }
            Values::Buckets(buckets) => buckets.add(value, self.unit),
        }
        Ok(())
    }

    /// What it counts in.
    pub fn unit(&self) -> MetricUnit {
        self.unit
    }

    /// Whether every value is still known as it was.
    pub fn is_exact(&self) -> bool {
        matches!(self.values, Values::Exact(_))
    }

    /// How many values it holds.
    pub fn count(&self) -> u64 {
        match &self.values {
            Values::Exact(values) => values.len() as u64,
            Values::Buckets(buckets) => buckets.zero + buckets.counts.iter().sum::<u64>(),
        }
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        match &self.values {
            Values::Exact(values) => values.is_empty(),
            Values::Buckets(buckets) => buckets.zero == 0 && buckets.counts.is_empty(),
        }
    }

    /// The sum of the values, each rounded to a tick of its unit (1 ns, 1 byte, one thing, 2⁻²⁰).
    pub fn sum(&self) -> f64 {
        self.unit.ticks_to_units(self.ticks())
    }

    /// The sum divided by the count, if there is a value.
    pub fn mean(&self) -> Option<f64> {
        let count = self.count();
        (count > 0).then(|| self.sum() / count as f64)
    }

    /// The value of the nearest rank: exact while the sketch is, else within 0.542 % of it. `None` if it is empty.
    pub fn quantile(&self, quantile: Quantile) -> Option<f64> {
        if self.is_empty() {
            return None;
        }
        let rank = quantile.rank(self.count());
        match &self.values {
            Values::Exact(values) => values.get(rank as usize - 1).copied(),
            Values::Buckets(buckets) => Some(buckets.at_rank(rank)),
        }
    }

    /// The usual percentiles, if there is a value.
    pub fn percentiles(&self) -> Option<Percentiles> {
        Some(Percentiles {
            p50: self.quantile(Quantile::P50)?,
            p90: self.quantile(Quantile::P90)?,
            p95: self.quantile(Quantile::P95)?,
            p99: self.quantile(Quantile::P99)?,
            p999: self.quantile(Quantile::P999)?,
            max: self.quantile(Quantile::MAX)?,
        })
    }

    /// How many values are at most `bound`. Once it is counted in buckets, `bound` is first lowered to the nearest bound
    /// of a bucket (at most 1.09 % away); every power of two is one.
    pub fn count_at_most(&self, bound: f64) -> u64 {
        match &self.values {
            Values::Exact(values) => values.partition_point(|value| *value <= bound) as u64,
            Values::Buckets(buckets) => buckets.at_most(bound, self.unit),
        }
    }

    /// The buckets that are not empty, from the lowest: each with its inclusive upper bound and its count. Values of 0
    /// come first, with the bound 0. A sketch that is still exact is counted as if it were not.
    pub fn buckets(&self) -> impl Iterator<Item = (f64, u64)> {
        let Buckets { scale, zero, first, counts, .. } = self.counted();
        let rest = (first..).zip(counts).map(move |(index, count)| (lower_bound(index + 1, scale), count));
        [(0.0, zero)].into_iter().chain(rest).filter(|(_, count)| *count > 0)
    }

    /// How many values are at most 2 to the power of each exponent; these must be whole and rise by one.
    pub(crate) fn at_most_powers_of_two(
        &self,
        exponents: std::ops::RangeInclusive<i32>,
    ) -> impl Iterator<Item = u64> {
        let Buckets { scale, zero, first, counts, .. } = &*self.counted_or_kept();
        let (per_octave, mut from) = (1_i32 << scale, 0);
        let mut below = *zero;
        let upto = exponents.map(|exponent| {
            // A power of two is the upper bound of the last bucket of its octave.
            let to = usize::try_from(exponent * per_octave - first).unwrap_or(0).min(counts.len());
            below += counts.get(from..to).unwrap_or_default().iter().sum::<u64>();
            from = from.max(to);
            below
        });
        upto.collect::<Vec<_>>().into_iter()
    }

    /// The same distribution counted in buckets.
    #[must_use]
    pub fn to_buckets(&self) -> Self {
        Self { unit: self.unit, values: Values::Buckets(self.counted()) }
    }

    /// Both together.
    ///
    /// # Errors
    /// [`MonitoringError::UnitMismatch`] if they do not count in the same unit.
    pub fn merge(&self, other: &Self) -> Result<Self, MonitoringError> {
        self.same_unit(other)?;
        let values = match (&self.values, &other.values) {
            (Values::Exact(left), Values::Exact(right)) if left.len() + right.len() <= Self::EXACT_VALUES => {
                let mut both = [left.as_slice(), right].concat();
                both.sort_by(f64::total_cmp);
                Values::Exact(both)
            }
            _ => Values::Buckets(self.counted().plus(other.counted())),
        };
        Ok(Self { unit: self.unit, values })
    }

    /// What this holds more than `earlier` did.
    ///
    /// # Errors
    /// [`MonitoringError::UnitMismatch`]; [`MonitoringError::CountFell`] if `earlier` holds a value that this does not.
    pub fn subtract(&self, earlier: &Self) -> Result<Self, MonitoringError> {
        self.same_unit(earlier)?;
        let fell = || MonitoringError::CountFell { series: "a sketch".to_owned() };
        let values = match (&self.values, &earlier.values) {
            (Values::Exact(later), Values::Exact(earlier)) => {
                let mut rest = later.clone();
                for value in earlier {
                    let at = rest.iter().position(|known| known == value).ok_or_else(fell)?;
                    rest.remove(at);
                }
                Values::Exact(rest)
            }
            _ => Values::Buckets(self.counted().minus(earlier.counted()).ok_or_else(fell)?),
        };
        Ok(Self { unit: self.unit, values })
    }

    fn same_unit(&self, other: &Self) -> Result<(), MonitoringError> {
        if self.unit == other.unit {
            return Ok(());
        }
        Err(MonitoringError::UnitMismatch { left: self.unit, right: other.unit })
    }

    pub(crate) fn ticks(&self) -> u64 {
        match &self.values {
            Values::Exact(values) => {
                values.iter().fold(0, |sum: u64, value| sum.wrapping_add(self.unit.ticks(*value)))
            }
            Values::Buckets(buckets) => buckets.ticks,
        }
    }

    /// How many values were 0 exactly.
    pub(crate) fn zero_count(&self) -> u64 {
        match &self.values {
            Values::Exact(values) => values.partition_point(|value| *value == 0.0) as u64,
            Values::Buckets(buckets) => buckets.zero,
        }
    }

    /// Scale, index of the first bucket in OTLP's numbering, counts without a gap.
    pub(crate) fn dense(&self) -> (u8, i32, Vec<u64>) {
        let buckets = self.counted();
        (buckets.scale, buckets.first, buckets.counts)
    }

    /// Its buckets, not copied if it has them.
    fn counted_or_kept(&self) -> Cow<'_, Buckets> {
        match &self.values {
            Values::Buckets(buckets) => Cow::Borrowed(buckets),
            Values::Exact(_) => Cow::Owned(self.counted()),
        }
    }

    fn counted(&self) -> Buckets {
        match &self.values {
            Values::Buckets(buckets) => buckets.clone(),
            Values::Exact(values) => {
                let mut buckets = Buckets { scale: SCALE, ..Buckets::default() };
                for value in values {
                    buckets.add(*value, self.unit);
                }
                buckets
            }
        }
    }
}

impl Buckets {
    fn add(&mut self, value: f64, unit: MetricUnit) {
        self.ticks = self.ticks.wrapping_add(unit.ticks(value));
        if value == 0.0 {
            self.zero += 1;
            return;
        }
        let index = index_of(value, unit) >> (SCALE - self.scale.min(SCALE));
        self.cover(index, index + 1);
        if let Some(count) = self.counts.get_mut((index - self.first) as usize) {
            *count += 1;
        }
    }

    /// Makes room for the buckets `from..to`.
    fn cover(&mut self, from: i32, to: i32) {
        if self.counts.is_empty() {
            self.first = from;
        }
        if from < self.first {
            let more = (self.first - from) as usize;
            self.counts.splice(0..0, std::iter::repeat_n(0, more));
            self.first = from;
        }
        let len = (to - self.first).max(0) as usize;
        if len > self.counts.len() {
            self.counts.resize(len, 0);
        }
    }

    fn trim(&mut self) {
        let leading = self.counts.iter().take_while(|count| **count == 0).count();
        self.counts.drain(..leading);
        self.first += leading as i32;
        let trailing = self.counts.iter().rev().take_while(|count| **count == 0).count();
        self.counts.truncate(self.counts.len() - trailing);
        if self.counts.is_empty() {
            self.first = 0;
        }
    }

    fn at_rank(&self, rank: u64) -> f64 {
        let mut seen = self.zero;
        if rank <= seen {
            return 0.0;
        }
        for (index, count) in (self.first..).zip(&self.counts) {
            seen += count;
            if rank <= seen {
                return representative(index, self.scale);
            }
        }
        // The rank is at most the count, which is what was just summed.
        0.0
    }

    fn at_most(&self, bound: f64, unit: MetricUnit) -> u64 {
        if bound.is_nan() || bound < 0.0 {
            return 0;
        }
        let whole = if bound == 0.0 {
            i32::MIN
        } else if bound.is_infinite() {
            i32::MAX
        } else {
            let fine = index_of(bound, unit);
            // Of the buckets at or over `index`, none is wholly at most the bound.
            let full = fine + i32::from(lower_bound(fine + 1, SCALE) <= bound);
            full >> (SCALE - self.scale.min(SCALE))
        };
        let wanted = whole.saturating_sub(self.first).max(0) as usize;
        self.zero + self.counts.iter().take(wanted).sum::<u64>()
    }

    /// The same counts in buckets twice as wide, until the scale is reached.
    fn at_scale(mut self, scale: u8) -> Self {
        let by = self.scale.saturating_sub(scale);
        if by == 0 {
            return self;
        }
        let mut coarse =
            Self { scale, zero: self.zero, ticks: self.ticks, first: self.first >> by, counts: Vec::new() };
        for (index, count) in (self.first..).zip(self.counts.drain(..)) {
            let at = ((index >> by) - coarse.first) as usize;
            coarse.counts.resize(coarse.counts.len().max(at + 1), 0);
            if let Some(cell) = coarse.counts.get_mut(at) {
                *cell += count;
            }
        }
        coarse.trim();
        coarse
    }

    fn plus(self, other: Self) -> Self {
        let scale = self.scale.min(other.scale);
        let (mut sum, other) = (self.at_scale(scale), other.at_scale(scale));
        sum.zero += other.zero;
        sum.ticks = sum.ticks.wrapping_add(other.ticks);
        if other.counts.is_empty() {
            return sum;
        }
        sum.cover(other.first, other.first + other.counts.len() as i32);
        let offset = (other.first - sum.first) as usize;
        if let Some(cells) = sum.counts.get_mut(offset..) {
            for (cell, count) in cells.iter_mut().zip(&other.counts) {
                *cell += count;
            }
        }
        sum
    }

    /// `None` if a count would be negative.
    fn minus(self, earlier: Self) -> Option<Self> {
        let scale = self.scale.min(earlier.scale);
        let (mut rest, earlier) = (self.at_scale(scale), earlier.at_scale(scale));
        rest.zero = rest.zero.checked_sub(earlier.zero)?;
        rest.ticks = rest.ticks.wrapping_sub(earlier.ticks);
        for (index, count) in (earlier.first..).zip(&earlier.counts).filter(|(_, count)| **count > 0) {
            let cell = rest.counts.get_mut(usize::try_from(index - rest.first).ok()?)?;
            *cell = cell.checked_sub(*count)?;
        }
        rest.trim();
        Some(rest)
    }
}

/// What is written and read: checked on the way in.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Wire {
    unit: MetricUnit,
    exact: Option<Vec<f64>>,
    buckets: Option<Buckets>,
}

impl From<Sketch> for Wire {
    fn from(sketch: Sketch) -> Self {
        match sketch.values {
            Values::Exact(values) => Self { unit: sketch.unit, exact: Some(values), buckets: None },
            Values::Buckets(buckets) => Self { unit: sketch.unit, exact: None, buckets: Some(buckets) },
        }
    }
}

impl TryFrom<Wire> for Sketch {
    type Error = MonitoringError;

    fn try_from(wire: Wire) -> Result<Self, MonitoringError> {
        let damaged = |what: &str| MonitoringError::DamagedSnapshot { what: what.to_owned() };
        match (wire.exact, wire.buckets) {
            (Some(values), None) if values.len() <= Self::EXACT_VALUES => {
                let mut sketch = Self::new(wire.unit);
                for value in values {
                    sketch.record(value)?;
                }
                Ok(sketch)
            }
            (None, Some(mut buckets)) => {
                let scale = buckets.scale;
                let per_octave = 1_i64 << scale.min(SCALE);
                let lowest = i64::from(wire.unit.lowest_exponent()) * per_octave;
                let end = i64::from(buckets.first) + buckets.counts.len() as i64;
                let fits = i64::from(buckets.first) >= lowest && end <= lowest + OCTAVES as i64 * per_octave;
                let sums = buckets.counts.iter().try_fold(buckets.zero, |sum, count| sum.checked_add(*count));
                if scale > SCALE || (!buckets.counts.is_empty() && !fits) {
                    return Err(damaged("a sketch with buckets out of its unit's range"));
                }
                if sums.is_none() {
                    return Err(damaged("a sketch with more values than can be counted"));
                }
                buckets.trim();
                Ok(Self { unit: wire.unit, values: Values::Buckets(buckets) })
            }
            _ => Err(damaged("a sketch that is neither exact nor counted in buckets")),
        }
    }
}

const _: () = assert!(SUB == 1 << SCALE, "the scale says how many buckets an octave has");

#[cfg(test)]
#[path = "sketch_tests.rs"]
mod tests;
