//! The whole fleet's metrics as one snapshot whose totals never fall, whoever comes and goes.
//!
//! It adds up what each process recorded since it was last seen. The first look counts nothing: what happened before
//! somebody led is in nobody's window.

use std::collections::BTreeMap;

use crate::aggregator::Aggregator;
use crate::model::snapshot::{MetricsSnapshot, ProcessEpoch, Tick};
use crate::sketch_aggregator::SketchAggregator;

#[derive(Debug, Default)]
pub(super) struct FleetTotals {
    totals: Option<MetricsSnapshot>,
    last: BTreeMap<ProcessEpoch, MetricsSnapshot>,
}

impl FleetTotals {
    /// Adds what the parts recorded since the last call, and gives the whole; parts that do not fit are told of.
    pub(super) fn add(&mut self, parts: Vec<MetricsSnapshot>, now: Tick) -> (MetricsSnapshot, Vec<String>) {
        let mut troubles = Vec::new();
        let fleet = ProcessEpoch::from_bits(0);
        let first = self.totals.is_none();
        let mut totals = self.totals.take().unwrap_or_else(|| MetricsSnapshot::new(fleet, now, now));
        let started = totals.started;
        totals.gauges.clear();
        for part in &parts {
            let grown = match self.last.get(&part.epoch()) {
                Some(before) => SketchAggregator.subtract(part, before),
                None if first => SketchAggregator.subtract(part, part),
                None => Ok(part.clone()),
            };
            let joined = grown.and_then(|mut grown| {
                // Lives belong to one process; the fleet's series have one.
                grown.counters.values_mut().for_each(|kept| kept.life = 0);
                grown.gauges.values_mut().for_each(|kept| kept.life = 0);
                grown.sketches.values_mut().for_each(|kept| kept.life = 0);
                SketchAggregator.merge(&[totals.clone(), grown])
            });
            match joined {
                Ok(joined) => totals = joined,
                Err(error) => troubles.push(error.to_string()),
            }
        }
        totals.epoch = fleet;
        totals.tick = now;
        // Each process' clock has an origin of its own: the fleet began when somebody first looked at it.
        totals.started = started;
        self.last = parts.into_iter().map(|part| (part.epoch(), part)).collect();
        self.totals = Some(totals.clone());
        (totals, troubles)
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::*;
    use crate::SeriesKey;

    const BEGIN: Tick = Tick { monotonic: Duration::ZERO, wall: SystemTime::UNIX_EPOCH };

    fn part(process: u128, files: u64) -> MetricsSnapshot {
        MetricsSnapshot::new(ProcessEpoch::from_bits(process), BEGIN, BEGIN)
            .with_counter(SeriesKey::bare("files_total"), files)
            .with_gauge(SeriesKey::new("up", [("instance", process.to_string())]), 1.0)
    }

    #[test]
    fn totals_never_fall_when_processes_come_and_go_and_start_again() {
        let mut fleet = FleetTotals::default();
        let mut at = BEGIN;
        let mut files = |parts| {
            at = at.after(Duration::from_secs(10));
            let (totals, troubles) = fleet.add(parts, at);
            assert_eq!(troubles, Vec::<String>::new());
            assert_eq!(totals.tick(), at);
            (totals.counter(&SeriesKey::bare("files_total")).unwrap(), totals.gauges().len())
        };
        assert_eq!(files(vec![part(1, 100), part(2, 50)]), (0, 2), "what was before is in no window");
        assert_eq!(files(vec![part(1, 103), part(2, 50)]), (3, 2));
        assert_eq!(
            files(vec![part(1, 104), part(3, 7)]),
            (11, 2),
            "one is gone, a new one counts from its start"
        );
        assert_eq!(files(vec![part(3, 9)]), (13, 1));
    }
}
