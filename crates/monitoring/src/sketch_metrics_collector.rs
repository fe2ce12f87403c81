//! The default collector: a recorder for the `metrics` facade whose records take no lock.
//!
//! It neither ticks nor answers questions about windows: that is [`SnapshotHistory`](crate::SnapshotHistory).

use std::fmt;
use std::sync::Arc;

use metrics::{Counter, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit};
use wavequill_kernel::{Clock, SystemClock};

use crate::config::CollectorConfig;
use crate::error::MonitoringError;
use crate::metrics_collector::MetricsCollector;
use crate::model::snapshot::{MetricDescription, MetricKind, MetricsSnapshot, ProcessEpoch, Tick};

mod cells;
mod fan_out;
mod registry;
mod snapshot;

use registry::Registry;

/// Keeps counters, gauges and distributions in cells that threads do not share, and sums them when it is asked.
/// Cheap to clone; clones share everything.
///
/// A handle belongs for ever to the recorder that is there when it is made. So build services under
/// [`metrics::with_local_recorder`], or [`install`](Self::install) the collector for the whole process first:
///
/// ```
/// use wavequill_monitoring::{MetricsCollector, SketchMetricsCollector, SeriesKey};
///
/// let collector = SketchMetricsCollector::default();
/// let files = metrics::with_local_recorder(collector.recorder(), || metrics::counter!("files_total"));
/// files.increment(3);
/// assert_eq!(collector.snapshot().counter(&SeriesKey::bare("files_total")), Some(3));
/// ```
#[derive(Clone)]
pub struct SketchMetricsCollector {
    inner: Arc<Inner>,
}

struct Inner {
    epoch: ProcessEpoch,
    started: Tick,
    clock: Arc<dyn Clock>,
    registry: Registry,
    downstream: Option<Box<dyn Recorder + Send + Sync>>,
}

impl SketchMetricsCollector {
    /// A collector of its own epoch.
    ///
    /// # Errors
    /// [`MonitoringError::InvalidConfig`] if a field of the configuration is out of its range.
    pub fn new(config: CollectorConfig, clock: Arc<dyn Clock>) -> Result<Self, MonitoringError> {
        config.check()?;
        Ok(Self::of(config, clock, None))
    }

    /// The same, but what is recorded also goes to another recorder: an exporter that the service has already.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn with_downstream(
        config: CollectorConfig,
        clock: Arc<dyn Clock>,
        downstream: impl Recorder + Send + Sync + 'static,
    ) -> Result<Self, MonitoringError> {
        config.check()?;
        Ok(Self::of(config, clock, Some(Box::new(downstream))))
    }

    fn of(
        config: CollectorConfig,
        clock: Arc<dyn Clock>,
        downstream: Option<Box<dyn Recorder + Send + Sync>>,
    ) -> Self {
        let inner = Inner {
            epoch: ProcessEpoch::random(),
            started: Tick::of(&clock),
            clock,
            registry: Registry::new(config),
            downstream,
        };
        Self { inner: Arc::new(inner) }
    }

    /// Makes it the recorder of the whole process, for handles that are made from now on.
    ///
    /// # Errors
    /// [`MonitoringError::AlreadyInstalled`] if there is one.
    pub fn install(&self) -> Result<(), MonitoringError> {
        metrics::set_global_recorder(self.clone()).map_err(|_| MonitoringError::AlreadyInstalled)
    }

    /// The start that its snapshots are of.
    pub fn epoch(&self) -> ProcessEpoch {
        self.inner.epoch
    }

    /// About how many bytes its series take.
    pub fn memory_bytes(&self) -> usize {
        self.inner.registry.memory_bytes()
    }
}

impl Default for SketchMetricsCollector {
    fn default() -> Self {
        Self::of(CollectorConfig::default(), Arc::new(SystemClock), None)
    }
}

impl fmt::Debug for SketchMetricsCollector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SketchMetricsCollector")
            .field("epoch", &self.inner.epoch)
            .field("downstream", &self.inner.downstream.is_some())
            .finish_non_exhaustive()
    }
}

impl MetricsCollector for SketchMetricsCollector {
    fn recorder(&self) -> &(dyn Recorder + Sync) {
        self
    }

    fn snapshot(&self) -> MetricsSnapshot {
        snapshot::take(&self.inner)
    }

    fn catalogue(&self) -> Vec<MetricDescription> {
        let mut all = self.inner.registry.catalogue();
        all.extend(snapshot::own_descriptions());
        all.sort_by(|left, right| left.name.cmp(&right.name));
        all
    }
}

impl Recorder for SketchMetricsCollector {
    fn describe_counter(&self, name: KeyName, unit: Option<Unit>, help: SharedString) {
        self.inner.registry.describe(MetricKind::Counter, name.as_str(), unit, &help);
        if let Some(theirs) = &self.inner.downstream {
            theirs.describe_counter(name, unit, help);
        }
    }

    fn describe_gauge(&self, name: KeyName, unit: Option<Unit>, help: SharedString) {
        self.inner.registry.describe(MetricKind::Gauge, name.as_str(), unit, &help);
        if let Some(theirs) = &self.inner.downstream {
            theirs.describe_gauge(name, unit, help);
        }
    }

    fn describe_histogram(&self, name: KeyName, unit: Option<Unit>, help: SharedString) {
        self.inner.registry.describe(MetricKind::Histogram, name.as_str(), unit, &help);
        if let Some(theirs) = &self.inner.downstream {
            theirs.describe_histogram(name, unit, help);
        }
    }

    fn register_counter(&self, key: &Key, metadata: &Metadata<'_>) -> Counter {
        let ours = self.inner.registry.counter(key);
        match &self.inner.downstream {
            None => ours.map_or_else(Counter::noop, Counter::from_arc),
            Some(theirs) => fan_out::counter(ours, theirs.register_counter(key, metadata)),
        }
    }

    fn register_gauge(&self, key: &Key, metadata: &Metadata<'_>) -> Gauge {
        let ours = self.inner.registry.gauge(key);
        match &self.inner.downstream {
            None => ours.map_or_else(Gauge::noop, Gauge::from_arc),
            Some(theirs) => fan_out::gauge(ours, theirs.register_gauge(key, metadata)),
        }
    }

    fn register_histogram(&self, key: &Key, metadata: &Metadata<'_>) -> Histogram {
        let ours = self.inner.registry.histogram(key);
        match &self.inner.downstream {
            None => ours.map_or_else(Histogram::noop, Histogram::from_arc),
            Some(theirs) => fan_out::histogram(ours, theirs.register_histogram(key, metadata)),
        }
    }
}

#[cfg(test)]
#[path = "sketch_metrics_collector/tests.rs"]
mod tests;
