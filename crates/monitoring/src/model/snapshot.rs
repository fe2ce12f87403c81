//! All metrics at one moment, cumulative since they began.

use std::collections::BTreeMap;
use std::fmt;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use crate::model::layout::MetricUnit;
use crate::model::series_key::{MetricName, SeriesKey};
use crate::model::sketch::Sketch;

/// One start of one process: 128 random bits, shown as 32 hex digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ProcessEpoch([u8; 16]);

impl ProcessEpoch {
    /// Draws one, from the randomness that the standard library seeds its hash maps with.
    pub fn random() -> Self {
        let draw = |salt: u64| {
            let mut hasher = RandomState::new().build_hasher();
            hasher.write_u64(salt);
            hasher.write_u32(std::process::id());
            hasher.finish()
        };
        Self::from_bits(u128::from(draw(1)) << 64 | u128::from(draw(2)))
    }

    /// An epoch of these bits.
    pub const fn from_bits(bits: u128) -> Self {
        Self(bits.to_be_bytes())
    }

    /// The bits.
    pub const fn to_bits(self) -> u128 {
        u128::from_be_bytes(self.0)
    }
}

impl fmt::Display for ProcessEpoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.to_bits())
    }
}

impl fmt::Debug for ProcessEpoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ProcessEpoch({self})")
    }
}

/// A moment in both times: monotonic to decide by, wall to tell people.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tick {
    /// Time since the clock's origin.
    pub monotonic: Duration,
    /// The wall clock.
    pub wall: SystemTime,
}

impl Tick {
    /// Reads both times of a clock.
    pub fn of(clock: &dyn wavequill_kernel::Clock) -> Self {
        Self { monotonic: clock.monotonic(), wall: clock.now() }
    }

    /// The same tick some time later, in both times.
    #[must_use]
    pub fn after(self, by: Duration) -> Self {
        Self { monotonic: self.monotonic + by, wall: self.wall + by }
    }
}

/// What kind of metric a name stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MetricKind {
    /// A whole number that never falls.
    Counter,
    /// A number that goes both ways.
    Gauge,
    /// A distribution.
    Histogram,
}

impl MetricKind {
    /// `counter`, `gauge` or `histogram`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// What was said about a metric: one line of the catalogue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MetricDescription {
    /// Its name.
    pub name: MetricName,
    /// Its kind.
    pub kind: MetricKind,
    /// What it counts in.
    pub unit: MetricUnit,
    /// What it tells, in a sentence.
    pub help: String,
}

/// A value, and which life of its series it belongs to: a series that was evicted and came back has another.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Kept<T> {
    pub(crate) value: T,
    pub(crate) life: u64,
}

pub(crate) type SeriesMap<T> = BTreeMap<SeriesKey, Kept<T>>;

/// All series of one process (or of several, merged), cumulative since each began.
///
/// A collector makes it; [`MetricsSnapshot::new`] and `with_…` make one by hand, for tests and for other collectors.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MetricsSnapshot {
    pub(crate) epoch: ProcessEpoch,
    pub(crate) started: Tick,
    pub(crate) tick: Tick,
    #[serde(with = "as_pairs")]
    pub(crate) counters: SeriesMap<u64>,
    #[serde(with = "as_pairs")]
    pub(crate) gauges: SeriesMap<f64>,
    #[serde(with = "as_pairs")]
    pub(crate) sketches: SeriesMap<Arc<Sketch>>,
}

impl MetricsSnapshot {
    /// An empty one: which process, when its collector began, and now.
    pub fn new(epoch: ProcessEpoch, started: Tick, tick: Tick) -> Self {
        Self {
            epoch,
            started,
            tick,
            counters: BTreeMap::new(),
            gauges: BTreeMap::new(),
            sketches: BTreeMap::new(),
        }
    }

    /// With a counter at this value.
    #[must_use]
    pub fn with_counter(mut self, series: SeriesKey, value: u64) -> Self {
        self.counters.insert(series, Kept { value, life: 0 });
        self
    }

    /// With a gauge at this value.
    #[must_use]
    pub fn with_gauge(mut self, series: SeriesKey, value: f64) -> Self {
        self.gauges.insert(series, Kept { value, life: 0 });
        self
    }

    /// With a distribution.
    #[must_use]
    pub fn with_sketch(mut self, series: SeriesKey, sketch: Sketch) -> Self {
        self.sketches.insert(series, Kept { value: Arc::new(sketch), life: 0 });
        self
    }

    /// The same with a label on each gauge, so that those of several processes stay apart when merged.
    #[must_use]
    pub fn with_gauges_labelled(mut self, name: &str, value: &str) -> Self {
        self.gauges =
            self.gauges.into_iter().map(|(series, kept)| (series.with_label(name, value), kept)).collect();
        self
    }

    /// The start of the process that it is of.
    pub fn epoch(&self) -> ProcessEpoch {
        self.epoch
    }

    /// When the collector began.
    pub fn started(&self) -> Tick {
        self.started
    }

    /// When it was taken.
    pub fn tick(&self) -> Tick {
        self.tick
    }

    /// The value of a counter.
    pub fn counter(&self, series: &SeriesKey) -> Option<u64> {
        self.counters.get(series).map(|kept| kept.value)
    }

    /// The value of a gauge.
    pub fn gauge(&self, series: &SeriesKey) -> Option<f64> {
        self.gauges.get(series).map(|kept| kept.value)
    }

    /// A distribution.
    pub fn sketch(&self, series: &SeriesKey) -> Option<&Sketch> {
        self.sketches.get(series).map(|kept| &*kept.value)
    }

    /// All counters, sorted by series.
    pub fn counters(&self) -> impl ExactSizeIterator<Item = (&SeriesKey, u64)> {
        self.counters.iter().map(|(series, kept)| (series, kept.value))
    }

    /// All gauges, sorted by series.
    pub fn gauges(&self) -> impl ExactSizeIterator<Item = (&SeriesKey, f64)> {
        self.gauges.iter().map(|(series, kept)| (series, kept.value))
    }

    /// All distributions, sorted by series.
    pub fn sketches(&self) -> impl ExactSizeIterator<Item = (&SeriesKey, &Sketch)> {
        self.sketches.iter().map(|(series, kept)| (series, &*kept.value))
    }

    /// The sum of a counter over all its series, whatever their labels.
    pub fn counter_total(&self, metric: &str) -> u64 {
        of_metric(&self.counters, metric).fold(0, |sum: u64, (_, kept)| sum.saturating_add(kept.value))
    }
}

/// The series of one metric: they are neighbours, since keys sort by name first.
pub(crate) fn of_metric<'a, T>(
    map: &'a BTreeMap<SeriesKey, T>,
    metric: &'a str,
) -> impl Iterator<Item = (&'a SeriesKey, &'a T)> {
    map.range(SeriesKey::bare(metric)..).take_while(move |(series, _)| series.name().as_str() == metric)
}

/// A map as a list of pairs: keys of JSON objects are texts, ours are not.
mod as_pairs {
    use std::collections::BTreeMap;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::{Kept, SeriesKey};

    pub(super) fn serialize<T: Serialize, S: Serializer>(
        map: &BTreeMap<SeriesKey, Kept<T>>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(map)
    }

    pub(super) fn deserialize<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<BTreeMap<SeriesKey, Kept<T>>, D::Error> {
        Vec::<(SeriesKey, Kept<T>)>::deserialize(deserializer).map(|pairs| pairs.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tick(seconds: u64) -> Tick {
        Tick { monotonic: Duration::ZERO, wall: SystemTime::UNIX_EPOCH }.after(Duration::from_secs(seconds))
    }

    #[test]
    fn two_starts_have_two_epochs() {
        assert_ne!(ProcessEpoch::random(), ProcessEpoch::random());
        assert_eq!(ProcessEpoch::from_bits(0xAB).to_string(), format!("{:032x}", 0xAB));
    }

    #[test]
    fn a_snapshot_reads_back_from_json_and_finds_the_series_of_a_metric() {
        let mut sketch = Sketch::new(MetricUnit::Seconds);
        sketch.record(0.25).unwrap();
        let snapshot = MetricsSnapshot::new(ProcessEpoch::from_bits(7), tick(0), tick(10))
            .with_counter(SeriesKey::new("a_total", [("x", "1")]), 3)
            .with_counter(SeriesKey::new("a_total", [("x", "2")]), 4)
            .with_counter(SeriesKey::bare("a_totally_other"), 100)
            .with_gauge(SeriesKey::bare("g"), -1.5)
            .with_sketch(SeriesKey::bare("s_seconds"), sketch);
        assert_eq!(snapshot.counter_total("a_total"), 7);
        let json = serde_json::to_string(&snapshot).unwrap();
        assert_eq!(serde_json::from_str::<MetricsSnapshot>(&json).unwrap(), snapshot);
    }
}
