//! Which series there are: sharded maps from keys to cells, the limits on their number, and what is evicted.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use metrics::{Key, Label, Unit};
use parking_lot::{Mutex, RwLock};

use super::cells::{
    COUNTERS_PER_LINE, CounterCell, CounterLines, GaugeCell, HistogramCell, Rejected, counter_lines,
};
use crate::config::CollectorConfig;
use crate::model::layout::MetricUnit;
use crate::model::series_key::SeriesKey;
use crate::model::snapshot::{MetricDescription, MetricKind};

const SHARDS: usize = 16;

pub(super) struct Registry {
    config: CollectorConfig,
    stripes: usize,
    shards: [RwLock<Shard>; SHARDS],
    /// Locked before a shard, never after.
    families: Mutex<BTreeMap<Arc<str>, Family>>,
    /// Places in counter lines that are free.
    places: Mutex<Vec<(CounterLines, usize)>>,
    lives: AtomicU64,
    series: AtomicUsize,
    pub(super) overflowed: AtomicU64,
    pub(super) rejected: Arc<Rejected>,
}

type Shard = HashMap<Key, Entry, BuildHasherDefault<KeyHash>>;

/// A [`Key`] brings its own hash.
#[derive(Default)]
struct KeyHash(u64);

impl Hasher for KeyHash {
    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }

    fn write(&mut self, bytes: &[u8]) {
        // Not called by `Key`; any spread will do.
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// One metric: its kind and unit hold for all its series.
#[derive(Debug)]
struct Family {
    kind: MetricKind,
    unit: MetricUnit,
    help: Option<String>,
    series: usize,
    warned: bool,
}

pub(super) struct Entry {
    pub(super) cell: Cell,
    pub(super) series: SeriesKey,
    pub(super) life: u64,
    /// What it had counted when it was last looked at, and since when that is so.
    mark: AtomicU64,
    idle_since: AtomicU64,
}

#[derive(Clone)]
pub(super) enum Cell {
    Counter(Arc<CounterCell>),
    Gauge(Arc<GaugeCell>),
    Histogram(Arc<HistogramCell>),
}

impl Cell {
    fn is_held(&self) -> bool {
        let holders = match self {
            Self::Counter(cell) => Arc::strong_count(cell),
            Self::Gauge(cell) => Arc::strong_count(cell),
            Self::Histogram(cell) => Arc::strong_count(cell),
        };
        holders > 1
    }

    fn kind(&self) -> MetricKind {
        match self {
            Self::Counter(_) => MetricKind::Counter,
            Self::Gauge(_) => MetricKind::Gauge,
            Self::Histogram(_) => MetricKind::Histogram,
        }
    }

    /// A number that changes with every record.
    fn mark(&self) -> u64 {
        match self {
            Self::Counter(cell) => cell.value(),
            Self::Gauge(cell) => cell.value().to_bits(),
            Self::Histogram(cell) => cell.sketch().count(),
        }
    }
}

impl Registry {
    pub(super) fn new(config: CollectorConfig) -> Self {
        Self {
            stripes: config.stripes.next_power_of_two(),
            config,
            shards: std::array::from_fn(|_| RwLock::default()),
            families: Mutex::default(),
            places: Mutex::default(),
            lives: AtomicU64::new(0),
            series: AtomicUsize::new(0),
            overflowed: AtomicU64::new(0),
            rejected: Arc::default(),
        }
    }

    pub(super) fn describe(&self, kind: MetricKind, name: &str, unit: Option<Unit>, help: &str) {
        let unit = unit.map_or_else(|| MetricUnit::of_name(name), MetricUnit::of_description);
        let mut families = self.families.lock();
        let family = families.entry(name.into()).or_insert_with(|| Family::new(kind, unit));
        family.warn_of_another(name, kind);
        if family.help.is_none() {
            // The first unit holds: series may count in it already.
            if family.series == 0 {
                family.unit = unit;
            }
            family.help = Some(help.to_owned());
        }
    }

    pub(super) fn catalogue(&self) -> Vec<MetricDescription> {
        let families = self.families.lock();
        let described = families.iter().filter_map(|(name, family)| {
            let help = family.help.clone()?;
            Some(MetricDescription { name: (&**name).into(), kind: family.kind, unit: family.unit, help })
        });
        described.collect()
    }

    pub(super) fn counter(&self, key: &Key) -> Option<Arc<CounterCell>> {
        match self.cell(MetricKind::Counter, key)? {
            Cell::Counter(cell) => Some(cell),
            Cell::Gauge(_) | Cell::Histogram(_) => None,
        }
    }

    pub(super) fn gauge(&self, key: &Key) -> Option<Arc<GaugeCell>> {
        match self.cell(MetricKind::Gauge, key)? {
            Cell::Gauge(cell) => Some(cell),
            Cell::Counter(_) | Cell::Histogram(_) => None,
        }
    }

    pub(super) fn histogram(&self, key: &Key) -> Option<Arc<HistogramCell>> {
        match self.cell(MetricKind::Histogram, key)? {
            Cell::Histogram(cell) => Some(cell),
            Cell::Counter(_) | Cell::Gauge(_) => None,
        }
    }

    /// Looks at every series once, and forgets those that are idle and that nobody holds.
    pub(super) fn visit(&self, now: Duration, mut see: impl FnMut(&Entry)) {
        let now = u64::try_from(now.as_nanos()).unwrap_or(u64::MAX);
        let idle = u64::try_from(self.config.idle_eviction.as_nanos()).unwrap_or(u64::MAX);
        for shard in &self.shards {
            let mut some_idle = false;
            for entry in shard.read().values() {
                see(entry);
                some_idle |= entry.look(now) >= idle;
            }
            if some_idle {
                self.evict(shard, now, idle);
            }
        }
    }

    pub(super) fn memory_bytes(&self) -> usize {
        let of_entry = |entry: &Entry| {
            let cell = match &entry.cell {
                Cell::Counter(_) => size_of::<CounterCell>() + 8 * self.stripes,
                Cell::Gauge(_) => size_of::<GaugeCell>(),
                Cell::Histogram(cell) => cell.bytes(),
            };
            cell + 2 * entry.series.heap_bytes() + size_of::<(Key, Entry)>()
        };
        self.shards.iter().map(|shard| shard.read().values().map(of_entry).sum::<usize>()).sum()
    }

    fn evict(&self, shard: &RwLock<Shard>, now: u64, idle: u64) {
        let mut families = self.families.lock();
        // Handles are cloned from the map only under its lock: what is not held now cannot become so.
        shard.write().retain(|_, entry| {
            if entry.cell.is_held() || entry.look(now) < idle {
                return true;
            }
            if let Some(family) = families.get_mut(entry.series.name().as_str()) {
                family.series -= 1;
            }
            self.series.fetch_sub(1, Relaxed);
            if let Cell::Counter(cell) = &entry.cell {
                self.places.lock().push(cell.release());
            }
            false
        });
    }

    fn cell(&self, kind: MetricKind, key: &Key) -> Option<Cell> {
        let known = self.shard(key).read().get(key).map(|entry| entry.cell.clone());
        if let Some(cell) = known.filter(|cell| cell.kind() == kind) {
            return Some(cell);
        }
        let mut families = self.families.lock();
        let name = key.name();
        let family =
            families.entry(name.into()).or_insert_with(|| Family::new(kind, MetricUnit::of_name(name)));
        if family.warn_of_another(name, kind) {
            return None;
        }
        let full = family.series >= self.config.max_series_per_metric
            || self.series.load(Relaxed) >= self.config.max_series
            || key.labels().len() > SeriesKey::MAX_LABELS;
        if !full || self.shard(key).read().contains_key(key) {
            return Some(self.insert(family, key.clone()));
        }
        self.overflowed.fetch_add(1, Relaxed);
        if !std::mem::replace(&mut family.warned, true) {
            let (label, values) = self.widest_label(name);
            tracing::warn!(
                metric = name,
                label,
                values,
                "too many series: further ones count under {{overflow=\"true\"}}; give the label fewer values"
            );
        }
        let overflow = Key::from_parts(name.to_owned(), vec![Label::new(SeriesKey::OVERFLOW_LABEL, "true")]);
        Some(self.insert(family, overflow))
    }

    /// The cell of a key, made if it is not there.
    fn insert(&self, family: &mut Family, key: Key) -> Cell {
        let mut shard = self.shard(&key).write();
        if let Some(entry) = shard.get(&key) {
            return entry.cell.clone();
        }
        let cell = match family.kind {
            MetricKind::Counter => {
                let (lines, place) = self.place();
                Cell::Counter(Arc::new(CounterCell::new(lines, place)))
            }
            MetricKind::Gauge => Cell::Gauge(Arc::new(GaugeCell::new(Arc::clone(&self.rejected)))),
            MetricKind::Histogram => {
                let rejected = Arc::clone(&self.rejected);
                Cell::Histogram(Arc::new(HistogramCell::new(family.unit, self.stripes, rejected)))
            }
        };
        family.series += 1;
        self.series.fetch_add(1, Relaxed);
        let entry = Entry {
            series: SeriesKey::new(
                key.name(),
                key.labels().map(|label| (label.key().to_owned(), label.value().to_owned())),
            ),
            cell: cell.clone(),
            life: self.lives.fetch_add(1, Relaxed),
            mark: AtomicU64::new(u64::MAX),
            idle_since: AtomicU64::new(u64::MAX),
        };
        shard.insert(key, entry);
        cell
    }

    fn place(&self) -> (CounterLines, usize) {
        let mut places = self.places.lock();
        if places.is_empty() {
            let lines = counter_lines(self.stripes);
            places.extend((0..COUNTERS_PER_LINE).rev().map(|place| (Arc::clone(&lines), place)));
        }
        places.pop().unwrap_or_else(|| (counter_lines(self.stripes), 0))
    }

    #[expect(clippy::indexing_slicing, reason = "a remainder of the array's length")]
    fn shard(&self, key: &Key) -> &RwLock<Shard> {
        // The low bits choose the bucket within the shard.
        &self.shards[(key.get_hash() >> 48) as usize % SHARDS]
    }

    /// The label of a metric with most values: the one at fault.
    fn widest_label(&self, name: &str) -> (String, usize) {
        let mut values: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for shard in &self.shards {
            for entry in shard.read().values().filter(|entry| entry.series.name().as_str() == name) {
                for (label, value) in entry.series.labels() {
                    values.entry(label.to_owned()).or_default().insert(value.to_owned());
                }
            }
        }
        let widest = values.into_iter().max_by_key(|(_, values)| values.len());
        widest.map_or_else(|| (String::new(), 0), |(label, values)| (label, values.len()))
    }
}

impl Entry {
    /// How long it has been idle, in nanoseconds.
    fn look(&self, now: u64) -> u64 {
        let mark = self.cell.mark();
        let same = self.mark.swap(mark, Relaxed) == mark && !self.cell.is_held();
        let since = self.idle_since.load(Relaxed);
        if same && since != u64::MAX {
            return now.saturating_sub(since);
        }
        self.idle_since.store(now, Relaxed);
        0
    }
}

impl Family {
    fn new(kind: MetricKind, unit: MetricUnit) -> Self {
        Self { kind, unit, help: None, series: 0, warned: false }
    }

    /// Whether it is of another kind; says so once.
    fn warn_of_another(&mut self, name: &str, kind: MetricKind) -> bool {
        let another = self.kind != kind;
        if another && !std::mem::replace(&mut self.warned, true) {
            tracing::warn!(
                metric = name,
                is = self.kind.as_str(),
                "a metric cannot be a {} too: what is recorded so is dropped; give it another name",
                kind.as_str()
            );
        }
        another
    }
}
