//! The role of those who add snapshots up and take them apart.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use crate::error::MonitoringError;
use crate::model::quantile::{Percentiles, Quantile};
use crate::model::series_key::SeriesKey;
use crate::model::sketch::Sketch;
use crate::model::snapshot::MetricsSnapshot;

/// Subtracts, merges and asks snapshots. Pure.
///
/// # Contract
/// 1. [`quantile`](Aggregator::quantile) is within 0.55 % of the value of the nearest rank, for values in the range of
///    the unit; of an exact sketch it is that value.
/// 2. [`merge`](Aggregator::merge) is commutative and associative, bit for bit, and gives the sketch of all values.
///    Counters add up; of a gauge that several parts have, the greatest counts.
/// 3. [`subtract`](Aggregator::subtract) gives what was recorded between. Another epoch or a falling count is an error,
///    never a negative number. A series that began in between counts from 0; one that is gone is left out.
/// 4. Percentiles are never averaged.
pub trait Aggregator: Debug + Send + Sync + 'static {
    /// What was recorded between two snapshots of one process; gauges are those of the later.
    ///
    /// # Errors
    /// [`MonitoringError::EpochMismatch`], [`MonitoringError::CountFell`], [`MonitoringError::UnitMismatch`].
    fn subtract(
        &self,
        later: &MetricsSnapshot,
        earlier: &MetricsSnapshot,
    ) -> Result<MetricsSnapshot, MonitoringError>;

    /// What all parts recorded together.
    ///
    /// # Errors
    /// [`MonitoringError::NothingToMerge`], [`MonitoringError::UnitMismatch`].
    fn merge(&self, parts: &[MetricsSnapshot]) -> Result<MetricsSnapshot, MonitoringError>;

    /// The value of the nearest rank; `None` if the sketch is empty.
    fn quantile(&self, sketch: &Sketch, quantile: Quantile) -> Option<f64>;

    /// The usual percentiles; `None` if the sketch is empty.
    fn percentiles(&self, sketch: &Sketch) -> Option<Percentiles> {
        let at = |quantile| self.quantile(sketch, quantile);
        Some(Percentiles {
            p50: at(Quantile::P50)?,
            p90: at(Quantile::P90)?,
            p95: at(Quantile::P95)?,
            p99: at(Quantile::P99)?,
            p999: at(Quantile::P999)?,
            max: at(Quantile::MAX)?,
        })
    }

    /// How much a counter grew between two snapshots; `None` if the later has no such series.
    ///
    /// # Errors
    /// As [`subtract`](Aggregator::subtract).
    fn increase(
        &self,
        later: &MetricsSnapshot,
        earlier: &MetricsSnapshot,
        series: &SeriesKey,
    ) -> Result<Option<u64>, MonitoringError> {
        let only = |snapshot: &MetricsSnapshot| {
            let mut part = MetricsSnapshot::new(snapshot.epoch, snapshot.started, snapshot.tick);
            if let Some(kept) = snapshot.counters.get(series) {
                part.counters.insert(series.clone(), kept.clone());
            }
            part
        };
        Ok(self.subtract(&only(later), &only(earlier))?.counter(series))
    }

    /// An increase a second.
    fn rate(&self, increase: u64, over: Duration) -> Option<f64> {
        (!over.is_zero()).then(|| increase as f64 / over.as_secs_f64())
    }

    /// One increase as a share of another; `None` if that is 0.
    fn ratio(&self, part: u64, whole: u64) -> Option<f64> {
        (whole > 0).then(|| part as f64 / whole as f64)
    }

    /// The exact mean; `None` if the sketch is empty.
    fn mean(&self, sketch: &Sketch) -> Option<f64> {
        sketch.mean()
    }

    /// How many values are at most `bound`: see [`Sketch::count_at_most`].
    fn count_at_most(&self, sketch: &Sketch, bound: f64) -> u64 {
        sketch.count_at_most(bound)
    }
}

impl<T: Aggregator + ?Sized> Aggregator for Arc<T> {
    fn subtract(
        &self,
        later: &MetricsSnapshot,
        earlier: &MetricsSnapshot,
    ) -> Result<MetricsSnapshot, MonitoringError> {
        (**self).subtract(later, earlier)
    }

    fn merge(&self, parts: &[MetricsSnapshot]) -> Result<MetricsSnapshot, MonitoringError> {
        (**self).merge(parts)
    }

    fn quantile(&self, sketch: &Sketch, quantile: Quantile) -> Option<f64> {
        (**self).quantile(sketch, quantile)
    }
}

impl<T: Aggregator + ?Sized> Aggregator for Box<T> {
    fn subtract(
        &self,
        later: &MetricsSnapshot,
        earlier: &MetricsSnapshot,
    ) -> Result<MetricsSnapshot, MonitoringError> {
        (**self).subtract(later, earlier)
    }

    fn merge(&self, parts: &[MetricsSnapshot]) -> Result<MetricsSnapshot, MonitoringError> {
        (**self).merge(parts)
    }

    fn quantile(&self, sketch: &Sketch, quantile: Quantile) -> Option<f64> {
        (**self).quantile(sketch, quantile)
    }
}
