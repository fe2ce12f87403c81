//! The role of those who collect what is recorded.

use std::fmt::Debug;
use std::sync::Arc;

use crate::model::snapshot::{MetricDescription, MetricsSnapshot};

/// Collects what the process records through the `metrics` facade. All its methods are synchronous.
///
/// # Contract
/// 1. A record through a held handle takes no lock and waits for nobody, but for the first of its octave and stripe,
///    which allocates.
/// 2. Nothing recorded through a live handle is ever lost.
/// 3. In every snapshot a distribution's count is the sum of its buckets; no counter and no bucket ever falls.
/// 4. Memory depends on the number of series, never on how often is recorded or read.
/// 5. Above the limits of series, records go to the overflow series, and are counted as such.
/// 6. The same name and labels in any order are the same series.
pub trait MetricsCollector: Debug + Send + Sync + 'static {
    /// What handles are to be registered with: pass it to [`metrics::with_local_recorder`] around the construction of
    /// services.
    fn recorder(&self) -> &(dyn metrics::Recorder + Sync);

    /// All series as they are now, cumulative since each began.
    fn snapshot(&self) -> MetricsSnapshot;

    /// All that was described, sorted by name.
    fn catalogue(&self) -> Vec<MetricDescription>;
}

impl<T: MetricsCollector + ?Sized> MetricsCollector for Arc<T> {
    fn recorder(&self) -> &(dyn metrics::Recorder + Sync) {
        (**self).recorder()
    }

    fn snapshot(&self) -> MetricsSnapshot {
        (**self).snapshot()
    }

    fn catalogue(&self) -> Vec<MetricDescription> {
        (**self).catalogue()
    }
}

impl<T: MetricsCollector + ?Sized> MetricsCollector for Box<T> {
    fn recorder(&self) -> &(dyn metrics::Recorder + Sync) {
        (**self).recorder()
    }

    fn snapshot(&self) -> MetricsSnapshot {
        (**self).snapshot()
    }

    fn catalogue(&self) -> Vec<MetricDescription> {
        (**self).catalogue()
    }
}
