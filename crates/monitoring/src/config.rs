//! What can be set, its defaults, and what is refused.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use wavequill_kernel::InvalidValue;

/// How a collector stores what is recorded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CollectorConfig {
    /// In how many copies each series is kept, so that threads do not wait for each other's cache lines; rounded up to a
    /// power of two. Default: the number of cores, at most 8.
    pub stripes: usize,
    /// How many series one metric may have; further ones count under `{overflow="true"}`. Default: 2,000.
    pub max_series_per_metric: usize,
    /// How many series there may be in all. Default: 20,000.
    pub max_series: usize,
    /// How long a series that nobody holds is kept once nothing is recorded. Default: 10 minutes.
    pub idle_eviction: Duration,
}

impl Default for CollectorConfig {
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            stripes: cores.next_power_of_two().min(8),
            max_series_per_metric: 2_000,
            max_series: 20_000,
            idle_eviction: Duration::from_secs(600),
        }
    }
}

impl CollectorConfig {
    /// With this many copies of each series.
    #[must_use]
    pub fn with_stripes(mut self, stripes: usize) -> Self {
        self.stripes = stripes;
        self
    }

    /// With at most this many series a metric.
    #[must_use]
    pub fn with_max_series_per_metric(mut self, series: usize) -> Self {
        self.max_series_per_metric = series;
        self
    }

    /// With at most this many series in all.
    #[must_use]
    pub fn with_max_series(mut self, series: usize) -> Self {
        self.max_series = series;
        self
    }

    /// With series that nobody holds kept this long.
    #[must_use]
    pub fn with_idle_eviction(mut self, idle: Duration) -> Self {
        self.idle_eviction = idle;
        self
    }

    pub(crate) fn check(&self) -> Result<(), InvalidValue> {
        if !(1..=256).contains(&self.stripes) {
            return Err(InvalidValue::new("stripes", self.stripes, "1 to 256"));
        }
        if self.max_series_per_metric == 0 {
            return Err(InvalidValue::new("max_series_per_metric", 0, "at least 1"));
        }
        if self.max_series < self.max_series_per_metric {
            let least = format!("at least max_series_per_metric, {}", self.max_series_per_metric);
            return Err(InvalidValue::new("max_series", self.max_series, least));
        }
        Ok(())
    }
}
