//! Positions and amounts on a file's own sample clock. Seconds appear in outputs only.

use std::fmt;
use std::num::NonZeroU32;
use std::time::Duration;

use wavequill_kernel::InvalidValue;

/// A position on the sample clock of a file: sample frames since its first audible one, after its gapless trim.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct SampleIndex(u64);

impl SampleIndex {
    /// The first sample of the file.
    pub const ZERO: Self = Self(0);

    /// The position after `samples` sample frames.
    pub const fn new(samples: u64) -> Self {
        Self(samples)
    }

    /// Sample frames since the start of the file.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The position `samples` later; saturates.
    #[must_use]
    pub const fn plus(self, samples: u64) -> Self {
        Self(self.0.saturating_add(samples))
    }

    /// The position `samples` earlier, or the start of the file.
    #[must_use]
    pub const fn minus(self, samples: u64) -> Self {
        Self(self.0.saturating_sub(samples))
    }
}

/// Sample frames a second: 1 to 768,000 Hz.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(try_from = "u32", into = "u32"))]
pub struct SampleRate(NonZeroU32);

impl SampleRate {
    /// Checks that the rate is 1 to 768,000 Hz.
    ///
    /// # Errors
    /// [`InvalidValue`] if it is not.
    pub fn new(hertz: u32) -> Result<Self, InvalidValue> {
        NonZeroU32::new(hertz)
            .filter(|rate| rate.get() <= 768_000)
            .map(Self)
            .ok_or_else(|| InvalidValue::new("sample rate", format!("{hertz} Hz"), "1 to 768,000 Hz"))
    }

    /// Hertz.
    pub const fn hertz(self) -> u32 {
        self.0.get()
    }

    /// How long `samples` sample frames last, to the nanosecond below.
    pub fn duration_of(self, samples: u64) -> Duration {
        let rate = u64::from(self.hertz());
        let nanos = u128::from(samples % rate) * 1_000_000_000 / u128::from(rate);
        // The remainder is under a second, so its nanoseconds fit in a u32.
        Duration::new(samples / rate, nanos as u32)
    }

    /// How many whole sample frames fit in `duration`; saturates.
    pub fn samples_in(self, duration: Duration) -> u64 {
        let samples = duration.as_nanos().saturating_mul(u128::from(self.hertz())) / 1_000_000_000;
        u64::try_from(samples).unwrap_or(u64::MAX)
    }

    /// The position nearest to `time` from the start of the file; saturates.
    pub fn index_at(self, time: Duration) -> SampleIndex {
        let scaled = time.as_nanos().saturating_mul(u128::from(self.hertz()));
        SampleIndex(u64::try_from((scaled + 500_000_000) / 1_000_000_000).unwrap_or(u64::MAX))
    }
}

impl TryFrom<u32> for SampleRate {
    type Error = InvalidValue;

    fn try_from(hertz: u32) -> Result<Self, InvalidValue> {
        Self::new(hertz)
    }
}

impl From<SampleRate> for u32 {
    fn from(rate: SampleRate) -> Self {
        rate.hertz()
    }
}

impl fmt::Display for SampleRate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} Hz", self.hertz())
    }
}

/// A half-open range [start, end) on the sample clock of a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct SampleSpan {
    start: SampleIndex,
    end: SampleIndex,
}

impl SampleSpan {
    /// From `start` up to, but without, `end`; empty if `end` is not after `start`.
    pub const fn new(start: SampleIndex, end: SampleIndex) -> Self {
        let end = if end.0 < start.0 { start } else { end };
        Self { start, end }
    }

    /// The whole of a file of `samples` sample frames.
    pub const fn of_file(samples: u64) -> Self {
        Self { start: SampleIndex::ZERO, end: SampleIndex(samples) }
    }

    /// The first sample in it.
    pub const fn start(self) -> SampleIndex {
        self.start
    }

    /// The first sample after it.
    pub const fn end(self) -> SampleIndex {
        self.end
    }

    /// How many sample frames it holds.
    pub const fn len(self) -> u64 {
        self.end.0 - self.start.0
    }

    /// Whether it holds no sample.
    pub const fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// How long it lasts.
    pub fn duration(self, rate: SampleRate) -> Duration {
        rate.duration_of(self.len())
    }

    /// Whether the position lies in it.
    pub const fn contains(self, at: SampleIndex) -> bool {
        self.start.0 <= at.0 && at.0 < self.end.0
    }

    /// What both have in common; empty, at the later start, if nothing.
    #[must_use]
    pub fn intersection(self, other: Self) -> Self {
        Self::new(self.start.max(other.start), self.end.min(other.end))
    }
}

impl fmt::Display for SampleSpan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{}, {})", self.start.0, self.end.0)
    }
}

/// A number of bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct ByteSize(u64);

impl ByteSize {
    /// That many bytes.
    pub const fn new(bytes: u64) -> Self {
        Self(bytes)
    }

    /// The number of bytes.
    pub const fn bytes(self) -> u64 {
        self.0
    }

    /// In megabytes of 1,000,000 bytes, for messages.
    pub fn megabytes(self) -> f64 {
        self.0 as f64 / 1e6
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_position_survives_the_way_through_time(hertz in 8_000_u32..192_000, at in 0_u64..u64::from(u32::MAX) * 100) {
            let rate = SampleRate::new(hertz).unwrap();
            prop_assert_eq!(rate.index_at(rate.duration_of(at)), SampleIndex::new(at));
        }
    }

    #[test]
    fn spans_that_do_not_meet_have_nothing_in_common() {
        let span = |a, b| SampleSpan::new(SampleIndex::new(a), SampleIndex::new(b));
        assert!(span(0, 10).intersection(span(10, 20)).is_empty());
        assert_eq!(span(0, 10).intersection(span(5, 20)), span(5, 10));
        assert!(span(9, 3).is_empty());
    }

    #[test]
    fn a_rate_of_zero_is_refused() {
        assert!(SampleRate::new(0).is_err());
    }
}
