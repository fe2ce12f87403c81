//! Configuration: public data with defaults, checked once where it is used.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use wavequill_kernel::{Clock, InvalidValue, SystemClock};

use crate::error::invalid_config;
use crate::{AgingPriorityManager, BackoffRetryHandler, PriorityManager, QueueError, RetryHandler, Routing};

/// The times of a store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct StoreConfig {
    /// A worker that was not heard of for so long may be declared dead: 1 s to 1 h. Default: 15 s.
    pub session_ttl: Duration,
    /// How long completed and cancelled jobs are kept, with their results. Default: 7 days.
    pub keep_finished: Duration,
    /// How long dead and quarantined jobs are kept. Default: 30 days.
    pub keep_dead: Duration,
    /// A placed job that was not taken up for so long is in line again. Default: 5 s.
    pub placement_timeout: Duration,
}

impl Default for StoreConfig {
    fn default() -> Self {
        Self {
            session_ttl: Duration::from_secs(15),
            keep_finished: Duration::from_secs(7 * 86_400),
            keep_dead: Duration::from_secs(30 * 86_400),
            placement_timeout: Duration::from_secs(5),
        }
    }
}

impl StoreConfig {
    /// Sets how long a silent worker lives.
    #[must_use]
    pub fn with_session_ttl(mut self, ttl: Duration) -> Self {
        self.session_ttl = ttl;
        self
    }

    /// Sets how long completed and cancelled jobs are kept.
    #[must_use]
    pub fn with_keep_finished(mut self, retention: Duration) -> Self {
        self.keep_finished = retention;
        self
    }

    /// Sets how long dead jobs are kept.
    #[must_use]
    pub fn with_keep_dead(mut self, retention: Duration) -> Self {
        self.keep_dead = retention;
        self
    }

    /// Sets how long a placed job waits for its worker.
    #[must_use]
    pub fn with_placement_timeout(mut self, timeout: Duration) -> Self {
        self.placement_timeout = timeout;
        self
    }

    /// Checks the bounds.
    ///
    /// # Errors
    /// [`QueueError::InvalidConfig`] naming the field.
    pub fn check(&self) -> Result<(), QueueError> {
        in_range("session_ttl", self.session_ttl, Duration::from_secs(1), Duration::from_secs(3_600))?;
        in_range(
            "placement_timeout",
            self.placement_timeout,
            Duration::from_millis(100),
            Duration::from_secs(3_600),
        )
    }
}

/// How a worker runs jobs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct WorkerConfig {
    /// A label for people, up to 255 bytes. Default: `worker`.
    pub name: String,
    /// How many jobs run at once: 1 to 100,000. Default: 4.
    pub concurrency: u32,
    /// How long one attempt may take, if the job does not say. Default: 1 h.
    pub timeout: Duration,
    /// How long a handler that was told to stop may take before it is dropped. Default: 5 s.
    pub cancel_grace: Duration,
    /// How often the upkeep runs: dead workers' jobs are rescued so long after their time, at most. Default: 2 s.
    pub sweep_every: Duration,
    /// Which jobs it takes. Default: [`Selection::All`].
    pub selection: Selection,
}

/// Which jobs a worker takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Selection {
    /// All that its handlers can do: also what an earlier process left behind. For services.
    #[default]
    All,
    /// Only those named to [`Worker::take_on`](crate::Worker::take_on). For a program that shares a store with
    /// other programs, and must not do (and pay for) what nobody asked it for.
    Named,
}

impl Default for WorkerConfig {
    fn default() -> Self {
        Self {
            name: "worker".to_owned(),
            concurrency: 4,
            timeout: Duration::from_secs(3_600),
            cancel_grace: Duration::from_secs(5),
            sweep_every: Duration::from_secs(2),
            selection: Selection::All,
        }
    }
}

impl WorkerConfig {
    /// Sets the label.
    #[must_use]
    pub fn with_name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// Sets how many jobs run at once.
    #[must_use]
    pub fn with_concurrency(mut self, jobs: u32) -> Self {
        self.concurrency = jobs;
        self
    }

    /// Sets how long one attempt may take.
    #[must_use]
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Sets how long a handler that was told to stop may take.
    #[must_use]
    pub fn with_cancel_grace(mut self, grace: Duration) -> Self {
        self.cancel_grace = grace;
        self
    }

    /// Sets how often the upkeep runs.
    #[must_use]
    pub fn with_sweep_every(mut self, interval: Duration) -> Self {
        self.sweep_every = interval;
        self
    }

    /// Sets which jobs it takes.
    #[must_use]
    pub fn with_selection(mut self, selection: Selection) -> Self {
        self.selection = selection;
        self
    }

    /// Checks the bounds.
    ///
    /// # Errors
    /// [`QueueError::InvalidConfig`] naming the field.
    pub fn check(&self) -> Result<(), QueueError> {
        if !(1..=100_000).contains(&self.concurrency) {
            let reason = InvalidValue::new("concurrency", self.concurrency, "1 to 100000");
            return Err(invalid_config(reason));
        }
        in_range("timeout", self.timeout, Duration::from_millis(1), Duration::from_secs(400 * 86_400))?;
        in_range("sweep_every", self.sweep_every, Duration::from_millis(10), Duration::from_secs(3_600))
    }
}

fn in_range(name: &'static str, given: Duration, min: Duration, max: Duration) -> Result<(), QueueError> {
    if (min..=max).contains(&given) {
        return Ok(());
    }
    Err(invalid_config(InvalidValue::new(name, format!("{given:?}"), format!("{min:?} to {max:?}"))))
}

/// The decisions that a store and its workers share. Replace any of them.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Policies {
    /// Whose turn it is. Default: [`AgingPriorityManager`].
    pub priority: Arc<dyn PriorityManager>,
    /// Whether and when a failed job runs again. Default: [`BackoffRetryHandler`].
    pub retry: Arc<dyn RetryHandler>,
    /// Which worker type takes which job type. Default: the one of the same name.
    pub routing: Routing,
    /// The time, where the store has none of its own. Default: [`SystemClock`].
    pub clock: Arc<dyn Clock>,
}

impl Default for Policies {
    fn default() -> Self {
        Self {
            priority: Arc::new(AgingPriorityManager::default()),
            retry: Arc::new(BackoffRetryHandler::default()),
            routing: Routing::default(),
            clock: Arc::new(SystemClock),
        }
    }
}

impl Policies {
    /// Sets whose turn it is.
    #[must_use]
    pub fn with_priority(mut self, priority: impl PriorityManager) -> Self {
        self.priority = Arc::new(priority);
        self
    }

    /// Sets what follows a failure.
    #[must_use]
    pub fn with_retry(mut self, retry: impl RetryHandler) -> Self {
        self.retry = Arc::new(retry);
        self
    }

    /// Sets which worker type takes which job type.
    #[must_use]
    pub fn with_routing(mut self, routing: Routing) -> Self {
        self.routing = routing;
        self
    }

    /// Sets the clock.
    #[must_use]
    pub fn with_clock(mut self, clock: impl Clock) -> Self {
        self.clock = Arc::new(clock);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bad_field_is_named() {
        let refused = WorkerConfig::default().with_concurrency(0).check().unwrap_err();
        let QueueError::InvalidConfig { reason } = refused else { panic!("{refused}") };
        assert_eq!(reason.name(), "concurrency");
        let refused = StoreConfig::default().with_session_ttl(Duration::ZERO).check().unwrap_err();
        let QueueError::InvalidConfig { reason } = refused else { panic!("{refused}") };
        assert_eq!(reason.to_string(), "`session_ttl` is 0ns, but must be 1s to 3600s");
    }
}
