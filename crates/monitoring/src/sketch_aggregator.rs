//! The default aggregator: cumulative counts are added and subtracted, nothing is ever averaged.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::aggregator::Aggregator;
use crate::error::MonitoringError;
use crate::model::quantile::Quantile;
use crate::model::series_key::SeriesKey;
use crate::model::sketch::Sketch;
use crate::model::snapshot::{Kept, MetricsSnapshot, ProcessEpoch, SeriesMap};

/// Adds, subtracts and asks [`Sketch`]es; it holds nothing.
///
/// ```
/// use std::time::{Duration, SystemTime};
/// use wavequill_monitoring::*;
///
/// let begin = Tick { monotonic: Duration::ZERO, wall: SystemTime::UNIX_EPOCH };
/// let of = |process, files| {
///     MetricsSnapshot::new(ProcessEpoch::from_bits(process), begin, begin)
///         .with_counter(SeriesKey::bare("files_total"), files)
/// };
/// let fleet = SketchAggregator.merge(&[of(1, 30), of(2, 12)])?;
/// assert_eq!(fleet.counter(&SeriesKey::bare("files_total")), Some(42));
/// # Ok::<(), MonitoringError>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct SketchAggregator;

impl Aggregator for SketchAggregator {
    fn subtract(
        &self,
        later: &MetricsSnapshot,
        earlier: &MetricsSnapshot,
    ) -> Result<MetricsSnapshot, MonitoringError> {
        if later.epoch != earlier.epoch {
            return Err(MonitoringError::EpochMismatch {
                earlier: earlier.epoch.to_string(),
                later: later.epoch.to_string(),
            });
        }
        let mut between = MetricsSnapshot::new(later.epoch, earlier.tick, later.tick);
        between.gauges.clone_from(&later.gauges);
        between.counters = each(&later.counters, &earlier.counters, |series, later, earlier| {
            later.checked_sub(*earlier).ok_or_else(|| fell(series))
        })?;
        between.sketches = each(&later.sketches, &earlier.sketches, |series, later, earlier| {
            let grown = later.subtract(earlier).map_err(|error| match error {
                MonitoringError::CountFell { .. } => fell(series),
                other => other,
            })?;
            Ok(Arc::new(grown))
        })?;
        Ok(between)
    }

    fn merge(&self, parts: &[MetricsSnapshot]) -> Result<MetricsSnapshot, MonitoringError> {
        let (first, rest) = parts.split_first().ok_or(MonitoringError::NothingToMerge)?;
        rest.iter().try_fold(first.clone(), join)
    }

    fn quantile(&self, sketch: &Sketch, quantile: Quantile) -> Option<f64> {
        sketch.quantile(quantile)
    }
}

fn fell(series: &SeriesKey) -> MonitoringError {
    MonitoringError::CountFell { series: series.to_string() }
}

/// Each series of `later` less the same life of it in `earlier`; one that began in between is taken whole.
fn each<T: Clone>(
    later: &SeriesMap<T>,
    earlier: &SeriesMap<T>,
    subtract: impl Fn(&SeriesKey, &T, &T) -> Result<T, MonitoringError>,
) -> Result<SeriesMap<T>, MonitoringError> {
    let one = |(series, later): (&SeriesKey, &Kept<T>)| {
        let value = match earlier.get(series).filter(|earlier| earlier.life == later.life) {
            Some(earlier) => subtract(series, &later.value, &earlier.value)?,
            None => later.value.clone(),
        };
        Ok((series.clone(), Kept { value, life: later.life }))
    };
    later.iter().map(one).collect()
}

/// Every step is commutative and associative: sums, greatest and least values, exclusive or.
fn join(mut sum: MetricsSnapshot, part: &MetricsSnapshot) -> Result<MetricsSnapshot, MonitoringError> {
    sum.epoch = ProcessEpoch::from_bits(sum.epoch.to_bits() ^ part.epoch.to_bits());
    sum.started.monotonic = sum.started.monotonic.min(part.started.monotonic);
    sum.started.wall = sum.started.wall.min(part.started.wall);
    sum.tick.monotonic = sum.tick.monotonic.max(part.tick.monotonic);
    sum.tick.wall = sum.tick.wall.max(part.tick.wall);
    add(&mut sum.counters, &part.counters, |left, right| Ok(left.wrapping_add(*right)))?;
    add(&mut sum.gauges, &part.gauges, |left, right| {
        Ok(if right.total_cmp(left).is_gt() { *right } else { *left })
    })?;
    add(&mut sum.sketches, &part.sketches, |left, right| left.merge(right).map(Arc::new))?;
    Ok(sum)
}

fn add<T: Clone>(
    sum: &mut BTreeMap<SeriesKey, Kept<T>>,
    part: &SeriesMap<T>,
    join: impl Fn(&T, &T) -> Result<T, MonitoringError>,
) -> Result<(), MonitoringError> {
    for (series, kept) in part {
        match sum.get_mut(series) {
            Some(known) => {
                known.value = join(&known.value, &kept.value)?;
                known.life = known.life.wrapping_add(kept.life);
            }
            None => drop(sum.insert(series.clone(), kept.clone())),
        }
    }
    Ok(())
}

#[cfg(test)]
#[path = "sketch_aggregator_tests.rs"]
mod tests;
