//! What was recorded over the last days, kept small: one list of changes a series, thinned as it ages.
//!
//! Values are cumulative, so thinning is dropping: no average is ever taken.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::model::layout::SCALE;
use crate::model::rule::RuleSet;
use crate::model::rule::derived::Derived;
use crate::model::series_key::SeriesKey;
use crate::model::sketch::Sketch;
use crate::model::snapshot::{Kept, MetricsSnapshot, Tick};

mod series_log;

use series_log::{CounterLog, SketchLog};

/// What a window says: a value, or that too little is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reading<T> {
    /// What was seen.
    Value(T),
    /// No such series, or fewer than two ticks.
    NoData,
}

impl<T> Reading<T> {
    /// The value, if there is one.
    pub fn value(self) -> Option<T> {
        match self {
            Self::Value(value) => Some(value),
            Self::NoData => None,
        }
    }
}

impl<T> From<Option<T>> for Reading<T> {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::NoData, Self::Value)
    }
}

/// A monotonic time in nanoseconds; before the clock's origin it is negative, as after a restart.
pub(crate) type Nanos = i64;

pub(crate) fn nanos(duration: Duration) -> Nanos {
    Nanos::try_from(duration.as_nanos()).unwrap_or(Nanos::MAX)
}

const MINUTE: Nanos = 60_000_000_000;
/// How old a tick may be, and how far apart ticks of that age are kept; the last only for counters.
const STEPS: [(Nanos, Nanos); 4] =
    [(16 * MINUTE, 0), (70 * MINUTE, MINUTE), (370 * MINUTE, 5 * MINUTE), (73 * 60 * MINUTE, 15 * MINUTE)];

/// Cumulative snapshots of one process: every tick for 16 minutes, every minute for 70, every five minutes for 6 h 10,
/// and counters every quarter of an hour for three days and an hour.
///
/// A series that was evicted and came back, and a process that started again with
/// [`CounterHistory`], go on from where they were.
#[derive(Clone, Debug)]
pub struct SnapshotHistory {
    limit_bytes: usize,
    watched: Vec<Derived>,
    ticks: Vec<Nanos>,
    began: Nanos,
    latest: Option<MetricsSnapshot>,
    counters: BTreeMap<SeriesKey, CounterLog>,
    derived: BTreeMap<SeriesKey, CounterLog>,
    sketches: BTreeMap<SeriesKey, SketchLog>,
    restored_until: Option<Nanos>,
    /// Distributions before this have been forgotten.
    sketches_from: Option<Nanos>,
    thinned_at: Nanos,
}

/// What a history saves over a restart: the counters and the objectives' counts.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct CounterHistory {
    ticks: Vec<Nanos>,
    began: Nanos,
    counters: Vec<(SeriesKey, Vec<(Nanos, u64)>)>,
    derived: Vec<(SeriesKey, Vec<(Nanos, u64)>)>,
}

impl SnapshotHistory {
    /// 16 MiB.
    pub const DEFAULT_LIMIT_BYTES: usize = 16 << 20;

    /// An empty history that stays under about this many bytes: over it, the oldest of its fine steps go first.
    pub fn new(limit_bytes: usize) -> Self {
        Self {
            limit_bytes,
            watched: Vec::new(),
            ticks: Vec::new(),
            began: 0,
            latest: None,
            counters: BTreeMap::new(),
            derived: BTreeMap::new(),
            sketches: BTreeMap::new(),
            restored_until: None,
            sketches_from: None,
            thinned_at: Nanos::MIN,
        }
    }

    /// Also counts what these rules want to know of distributions over days, for which those are not kept.
    pub fn watch(&mut self, rules: &RuleSet) {
        self.watched = rules.derived();
    }

    /// Adds a snapshot that is later than all before. One that is not later replaces the latest.
    pub fn push(&mut self, snapshot: MetricsSnapshot) {
        let now = nanos(snapshot.tick.monotonic);
        if self.ticks.is_empty() {
            self.began = nanos(snapshot.started.monotonic).min(now);
        }
        match self.ticks.last() {
            Some(last) if *last >= now => {}
            _ => self.ticks.push(now),
        }
        for (series, kept) in &snapshot.counters {
            push_counter(&mut self.counters, series, now, kept);
        }
        for (series, kept) in self.watched.iter().flat_map(|pair| pair.counts(&snapshot)) {
            push_counter(&mut self.derived, &series, now, &kept);
        }
        for (series, kept) in &snapshot.sketches {
            match self.sketches.get_mut(series) {
                Some(log) => log.push(now, kept),
                None => drop(self.sketches.insert(series.clone(), SketchLog::starting(now, kept))),
            }
        }
        self.latest = Some(snapshot);
        if now - self.thinned_at.max(0) >= MINUTE || self.thinned_at == Nanos::MIN {
            self.thin(now);
        }
    }

    /// The latest snapshot.
    pub fn latest(&self) -> Option<&MetricsSnapshot> {
        self.latest.as_ref()
    }

    /// How many moments it can tell apart.
    pub fn ticks(&self) -> usize {
        self.ticks.len()
    }

    /// About how many bytes it holds.
    pub fn bytes(&self) -> usize {
        let counters = self.counters.iter().chain(&self.derived);
        let counters: usize = counters.map(|(key, log)| key.heap_bytes() + log.bytes()).sum();
        let sketches: usize = self.sketches.iter().map(|(key, log)| key.heap_bytes() + log.bytes()).sum();
        counters + sketches + self.ticks.len() * size_of::<Nanos>()
    }

    /// A look at it, at this moment; `None` before the first snapshot.
    pub fn view(&self, now: Tick) -> Option<WindowView<'_>> {
        self.latest.as_ref().map(|latest| WindowView { history: self, latest, now })
    }

    /// What to save for a restart.
    pub fn save(&self) -> CounterHistory {
        let points = |logs: &BTreeMap<SeriesKey, CounterLog>| {
            logs.iter().map(|(series, log)| (series.clone(), log.points.clone())).collect()
        };
        CounterHistory {
            ticks: self.ticks.clone(),
            began: self.began,
            counters: points(&self.counters),
            derived: points(&self.derived),
        }
    }

    /// Takes over what another start of the process saved at `saved`; now it is `now`. Call it before the first push.
    pub fn restore(&mut self, saved_history: &CounterHistory, saved: Tick, now: Tick) {
        let downtime = nanos(now.wall.duration_since(saved.wall).unwrap_or_default());
        let shift = nanos(now.monotonic) - downtime - nanos(saved.monotonic);
        // A process that has just begun is at its own origin: what was saved lies before it.
        self.ticks = saved_history.ticks.iter().map(|tick| tick.saturating_add(shift)).collect();
        self.began = saved_history.began.saturating_add(shift);
        self.restored_until = self.ticks.last().copied();
        let logs = |saved: &[(SeriesKey, Vec<(Nanos, u64)>)]| {
            let moved = |points: &[(Nanos, u64)]| {
                points.iter().map(|(at, value)| (at.saturating_add(shift), *value)).collect()
            };
            saved
                .iter()
                .map(|(series, points)| (series.clone(), CounterLog::restored(moved(points))))
                .collect()
        };
        self.counters = logs(&saved_history.counters);
        self.derived = logs(&saved_history.derived);
    }

    /// The newest tick that is at least `window` before the latest, if one is kept that old.
    fn baseline(&self, window: Duration) -> Option<Nanos> {
        let wanted = self.ticks.last()?.checked_sub(nanos(window))?;
        let after = self.ticks.partition_point(|tick| *tick <= wanted);
        after.checked_sub(1).and_then(|at| self.ticks.get(at)).copied()
    }

    fn thin(&mut self, now: Nanos) {
        self.thinned_at = now;
        self.thin_with(now, 0);
        let mut shift = 1;
        while self.bytes() > self.limit_bytes && shift <= 7 {
            self.thin_with(now, shift);
            shift += 1;
        }
    }

    /// Drops the ticks that have become too fine for their age. Each `shift` halves the ages of the finest steps, then
    /// doubles the next: what can be told apart becomes coarser, how far back it goes stays.
    fn thin_with(&mut self, now: Nanos, shift: u32) {
        let [(finest, _), (fine, minute), (hours, five), (days, quarter)] = STEPS;
        let steps = [
            (finest >> shift.min(4), 0),
            (fine >> shift.min(4), minute),
            (hours, five << shift.saturating_sub(4)),
            (days, quarter),
        ];
        let step_at = |age: Nanos| steps.iter().find(|(oldest, _)| age <= *oldest);
        let mut cell = None;
        let newest = self.ticks.last().copied();
        let kept: Vec<Nanos> = self
            .ticks
            .iter()
            .copied()
            .filter(|tick| {
                let Some((_, step)) = step_at(now - tick) else { return false };
                let this = (*step > 0).then(|| (*step, tick.div_euclid(*step)));
                let keep = this.is_none() || this != cell || Some(*tick) == newest;
                cell = this;
                keep
            })
            .collect();
        let horizon = now - hours;
        let fine = kept.get(kept.partition_point(|tick| *tick < horizon)..).unwrap_or_default();
        if fine.len() < kept.len() {
            self.sketches_from = fine.first().copied();
        }
        let present = self.latest.as_ref();
        self.counters.retain(|series, log| {
            log.thin(&kept);
            log.is_recent(horizon) || present.is_none_or(|latest| latest.counters.contains_key(series))
        });
        self.derived.values_mut().for_each(|log| log.thin(&kept));
        self.sketches.retain(|series, log| {
            log.thin(fine);
            log.is_recent(horizon) || present.is_none_or(|latest| latest.sketches.contains_key(series))
        });
        self.ticks = kept;
    }
}

fn push_counter(
    logs: &mut BTreeMap<SeriesKey, CounterLog>,
    series: &SeriesKey,
    now: Nanos,
    kept: &Kept<u64>,
) {
    match logs.get_mut(series) {
        Some(log) => log.push(now, kept),
        None => drop(logs.insert(series.clone(), CounterLog::starting(now, kept))),
    }
}

impl Default for SnapshotHistory {
    fn default() -> Self {
        Self::new(Self::DEFAULT_LIMIT_BYTES)
    }
}

/// A history at one moment: what alert rules see.
#[derive(Clone, Copy, Debug)]
pub struct WindowView<'a> {
    history: &'a SnapshotHistory,
    latest: &'a MetricsSnapshot,
    now: Tick,
}

impl<'a> WindowView<'a> {
    /// The moment of the look.
    pub fn now(&self) -> Tick {
        self.now
    }

    /// The latest snapshot.
    pub fn latest(&self) -> &'a MetricsSnapshot {
        self.latest
    }

    /// How long the window really is: at most one step of the history longer than asked, or shorter if the process is
    /// younger.
    pub fn span(&self, window: Duration) -> Reading<Duration> {
        let Some((from, to)) = self.edges(window) else { return Reading::NoData };
        Reading::Value(Duration::from_nanos(to.saturating_sub(from).max(0) as u64))
    }

    /// How much a counter grew within the window. A series that began within it grew from 0.
    pub fn increase(&self, series: &SeriesKey, window: Duration) -> Reading<u64> {
        let Some((from, _)) = self.edges(window) else { return Reading::NoData };
        if !self.latest.counters.contains_key(series) {
            return Reading::NoData;
        }
        self.history.counters.get(series).map(|log| log.since(from)).into()
    }

    /// How much a latency objective's count grew within the window.
    pub(crate) fn derived_increase(&self, series: &SeriesKey, window: Duration) -> Reading<u64> {
        let Some((from, _)) = self.edges(window) else { return Reading::NoData };
        self.history.derived.get(series).map(|log| log.since(from)).into()
    }

    /// The distribution of what was recorded within the window; nothing if that has been forgotten.
    pub fn sketch(&self, series: &SeriesKey, window: Duration) -> Reading<Sketch> {
        let Some((from, _)) = self.edges(window) else { return Reading::NoData };
        let forgotten = self.history.sketches_from.is_some_and(|oldest| from < oldest);
        if forgotten || !self.latest.sketches.contains_key(series) {
            return Reading::NoData;
        }
        self.history.sketches.get(series).and_then(|log| log.since(from)).into()
    }

    /// The last value of a gauge.
    pub fn gauge(&self, series: &SeriesKey) -> Reading<f64> {
        self.latest.gauge(series).into()
    }

    /// Everything recorded within the window, as one snapshot.
    pub fn since(&self, window: Duration) -> Reading<MetricsSnapshot> {
        if self.edges(window).is_none() {
            return Reading::NoData;
        }
        let mut part = MetricsSnapshot::new(self.latest.epoch, self.latest.started, self.latest.tick);
        part.gauges.clone_from(&self.latest.gauges);
        for (series, kept) in &self.latest.counters {
            if let Reading::Value(value) = self.increase(series, window) {
                part.counters.insert(series.clone(), Kept { value, life: kept.life });
            }
        }
        for (series, kept) in &self.latest.sketches {
            if let Reading::Value(value) = self.sketch(series, window) {
                part.sketches.insert(series.clone(), Kept { value: Arc::new(value), life: kept.life });
            }
        }
        Reading::Value(part)
    }

    /// Whether distributions are known over the whole window. They are not saved over a restart, so that a process that
    /// took over the history of another knows them only from its own start on.
    pub fn covers_distributions(&self, window: Duration) -> bool {
        let (Some(restored), Some(last)) = (self.history.restored_until, self.history.ticks.last()) else {
            return true;
        };
        last.saturating_sub(nanos(window)) >= restored
    }

    /// Where the window begins and ends; `None` under two ticks.
    fn edges(&self, window: Duration) -> Option<(Nanos, Nanos)> {
        let last = *self.history.ticks.last()?;
        if self.history.ticks.len() < 2 {
            return None;
        }
        // A younger process: all since it began, when every count was 0.
        Some((self.history.baseline(window).unwrap_or(self.history.began.min(last) - 1), last))
    }
}

const _: () = assert!(SCALE == 6, "saved sketches are read at the scale they were written at");

#[cfg(test)]
#[path = "history_tests.rs"]
mod tests;
