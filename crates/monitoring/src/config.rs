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

/// How a monitor watches.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MonitorConfig {
    /// How often a snapshot is taken and rules are evaluated. Default: 10 s.
    pub tick: Duration,
    /// About how much memory the history may take. Default: 16 MiB.
    pub history_limit_bytes: usize,
    /// How often the state is saved, besides at each change. Default: 1 minute.
    pub save_interval: Duration,
    /// How many notifications may wait for each sink. Default: 1,000.
    pub sink_queue: usize,
    /// How large an output may be. Default: 32 MiB.
    pub output_limit_bytes: usize,
}

impl Default for MonitorConfig {
    fn default() -> Self {
        Self {
            tick: Duration::from_secs(10),
            history_limit_bytes: crate::SnapshotHistory::DEFAULT_LIMIT_BYTES,
            save_interval: Duration::from_secs(60),
            sink_queue: 1_000,
            output_limit_bytes: 32 << 20,
        }
    }
}

impl MonitorConfig {
    /// With a tick that often.
    #[must_use]
    pub fn with_tick(mut self, tick: Duration) -> Self {
        self.tick = tick;
        self
    }

    /// With a history of about this size.
    #[must_use]
    pub fn with_history_limit_bytes(mut self, bytes: usize) -> Self {
        self.history_limit_bytes = bytes;
        self
    }

    /// Saving the state that often.
    #[must_use]
    pub fn with_save_interval(mut self, interval: Duration) -> Self {
        self.save_interval = interval;
        self
    }

    /// With this many notifications waiting for each sink at most.
    #[must_use]
    pub fn with_sink_queue(mut self, notifications: usize) -> Self {
        self.sink_queue = notifications;
        self
    }

    /// With outputs of at most this size.
    #[must_use]
    pub fn with_output_limit_bytes(mut self, bytes: usize) -> Self {
        self.output_limit_bytes = bytes;
        self
    }

    pub(crate) fn check(&self) -> Result<(), InvalidValue> {
        let tick = self.tick;
        if tick < Duration::from_millis(100) || tick > Duration::from_secs(300) {
            return Err(InvalidValue::new("tick", format!("{tick:?}"), "100 ms to 5 min"));
        }
        if self.history_limit_bytes < 64 << 10 {
            return Err(InvalidValue::new(
                "history_limit_bytes",
                self.history_limit_bytes,
                "at least 64 KiB",
            ));
        }
        if self.sink_queue == 0 {
            return Err(InvalidValue::new("sink_queue", 0, "at least 1"));
        }
        if self.output_limit_bytes == 0 {
            return Err(InvalidValue::new("output_limit_bytes", 0, "at least 1"));
        }
        Ok(())
    }
}
