//! How runs behave.

use std::time::Duration;

use wavequill_kernel::{Backoff, InvalidValue};

use crate::{ByteSize, ConcurrencyLimit, ProcessingError};

/// How a [`ParallelOrchestrator`](crate::ParallelOrchestrator) behaves.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(default))]
pub struct OrchestratorConfig {
    /// The most body bytes of requests in flight, in all runs together. A chunk that is larger is sent alone.
    /// Default: 256 MiB.
    pub max_in_flight_bytes: ByteSize,
    /// When a failed attempt is made again.
    pub retry: RetryConfig,
    /// An attempt is given up after four times the time that it is expected to take, and never before this.
    /// Default: 30 s.
    pub min_attempt_timeout: Duration,
    /// A server that asks to be left alone for longer ends the run with
    /// [`ProcessingError::Throttled`]. Default: 120 s.
    pub max_retry_after: Duration,
    /// A key that is throttled for so long without a single answer ends the run likewise. Default: 600 s.
    pub max_throttled: Duration,
    /// Whether slow requests are made a second time. Default: they are not, as the slower of two may be billed.
    pub hedge: Option<HedgeConfig>,
}

impl Default for OrchestratorConfig {
    fn default() -> Self {
        Self {
            max_in_flight_bytes: ByteSize::new(256 << 20),
            retry: RetryConfig::default(),
            min_attempt_timeout: Duration::from_secs(30),
            max_retry_after: Duration::from_secs(120),
            max_throttled: Duration::from_secs(600),
            hedge: None,
        }
    }
}

impl OrchestratorConfig {
    /// The least time, at the price of a few requests that may be billed twice: the default, with hedges for 5 % of the
    /// requests.
    pub fn fastest() -> Self {
        Self { hedge: Some(HedgeConfig::default()), ..Self::default() }
    }

    /// Sets when a failed attempt is made again.
    #[must_use]
    pub fn with_retry(mut self, retry: RetryConfig) -> Self {
        self.retry = retry;
        self
    }

    /// Sets the most body bytes of requests in flight.
    #[must_use]
    pub fn with_max_in_flight_bytes(mut self, bytes: ByteSize) -> Self {
        self.max_in_flight_bytes = bytes;
        self
    }

    /// Sets after which time an attempt may be given up.
    #[must_use]
    pub fn with_min_attempt_timeout(mut self, timeout: Duration) -> Self {
        self.min_attempt_timeout = timeout;
        self
    }

    /// Has slow requests made a second time.
    #[must_use]
    pub fn with_hedge(mut self, hedge: HedgeConfig) -> Self {
        self.hedge = Some(hedge);
        self
    }

    /// Checks each field.
    ///
    /// # Errors
    /// [`ProcessingError::InvalidConfig`] names the first that will not do.
    pub fn validate(&self) -> Result<(), ProcessingError> {
        if self.max_in_flight_bytes.bytes() == 0 {
            return Err(InvalidValue::new("max_in_flight_bytes", 0, "at least 1").into());
        }
        if self.min_attempt_timeout.is_zero() {
            return Err(InvalidValue::new("min_attempt_timeout", "0 s", "above zero").into());
        }
        if let Some(hedge) = &self.hedge {
            share("hedge.max_share", hedge.max_share)?;
        }
        self.retry.check()
    }
}

/// When a failed attempt is made again: only if it failed in a way that may pass, and only while the budget lasts.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(default))]
pub struct RetryConfig {
    /// The most attempts at a chunk, the first among them; at least 1. Attempts that the server asked to delay do not
    /// count. Default: 3.
    pub max_attempts: u32,
    /// The longest delay before the first retry; it doubles with each. Default: 1 s.
    pub base_delay: Duration,
    /// The longest delay before any. Default: 30 s.
    pub max_delay: Duration,
    /// A run may make so many retries whatever happens. Default: 10.
    pub budget: u32,
    /// And one more for each such share of its requests, so that a server in trouble is not asked three times as often
    /// as one in health. Default: 0.2.
    pub budget_share: f64,
}

impl Default for RetryConfig {
    fn default() -> Self {
        Self {
            max_attempts: 3,
            base_delay: Duration::from_secs(1),
            max_delay: Duration::from_secs(30),
            budget: 10,
            budget_share: 0.2,
        }
    }
}

impl RetryConfig {
    /// Never tries again.
    pub fn never() -> Self {
        Self { max_attempts: 1, ..Self::default() }
    }

    /// Sets the most attempts at a chunk.
    #[must_use]
    pub fn with_max_attempts(mut self, attempts: u32) -> Self {
        self.max_attempts = attempts;
        self
    }

    /// Sets the longest delays before the first retry and before any.
    #[must_use]
    pub fn with_delays(mut self, base: Duration, max: Duration) -> Self {
        (self.base_delay, self.max_delay) = (base, max);
        self
    }

    /// The delay before retry `attempt`, counted from 1: drawn evenly from zero to the longest ("full jitter"), the
    /// same for the same seed.
    ///
    /// # Errors
    /// [`ProcessingError::InvalidConfig`] if the base delay is zero or above the longest.
    pub fn calculate_delay(&self, attempt: u32, seed: u64) -> Result<Duration, ProcessingError> {
        Ok(self.backoff()?.delay(attempt, seed))
    }

    pub(crate) fn backoff(&self) -> Result<Backoff, ProcessingError> {
        Ok(Backoff::new(self.base_delay, self.max_delay)?)
    }

    fn check(&self) -> Result<(), ProcessingError> {
        if self.max_attempts == 0 {
            return Err(InvalidValue::new("retry.max_attempts", 0, "at least 1: the first counts").into());
        }
        share("retry.budget_share", self.budget_share)?;
        self.backoff().map(|_| ())
    }
}

/// When a slow request is made a second time: a slot is free, nothing is left to send, and it takes twice as long as
/// expected. The first answer wins; the other request is given up.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(default))]
pub struct HedgeConfig {
    /// The most second requests, as a share of a run's requests; one is always allowed. Default: 0.05.
    pub max_share: f64,
}

impl Default for HedgeConfig {
    fn default() -> Self {
        Self { max_share: 0.05 }
    }
}

/// How a [`SlownessAdmission`](crate::SlownessAdmission) finds how many requests a server can take.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(default))]
pub struct AdmissionConfig {
    /// The most requests in flight. Default: 8.
    pub max: ConcurrencyLimit,
    /// How many to start with; never more than `max`. Default: 4, as nothing is known of the server yet.
    pub initial: ConcurrencyLimit,
}

impl Default for AdmissionConfig {
    fn default() -> Self {
        let limit = |requests| ConcurrencyLimit::new(requests).unwrap_or_default();
        Self { max: limit(8), initial: limit(4) }
    }
}

impl AdmissionConfig {
    /// Always `limit`, to start with and at most; slowness and errors still lower it.
    pub fn at(limit: ConcurrencyLimit) -> Self {
        Self { max: limit, initial: limit }
    }
}

fn share(name: &'static str, value: f64) -> Result<(), ProcessingError> {
    if (0.0..=1.0).contains(&value) {
        return Ok(());
    }
    Err(InvalidValue::new(name, value, "0 to 1").into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_attempt_at_all_is_refused() {
        let config = OrchestratorConfig::default().with_retry(RetryConfig::default().with_max_attempts(0));
        let error = config.validate().unwrap_err();
        let ProcessingError::InvalidConfig { source } = error else { panic!("{error}") };
        assert_eq!(source.to_string(), "`retry.max_attempts` is 0, but must be at least 1: the first counts");
    }

    #[test]
    fn a_share_that_is_no_number_is_refused() {
        let hedge = HedgeConfig { max_share: f64::NAN };
        assert!(OrchestratorConfig::default().with_hedge(hedge).validate().is_err());
    }

    #[test]
    fn the_defaults_are_accepted() {
        OrchestratorConfig::default().validate().unwrap();
        OrchestratorConfig::fastest().validate().unwrap();
    }

    #[test]
    fn delays_are_drawn_by_the_seed_and_bounded() {
        let retry = RetryConfig::default();
        assert_eq!(retry.calculate_delay(3, 7).unwrap(), retry.calculate_delay(3, 7).unwrap());
        assert!((0..1_000).all(|seed| retry.calculate_delay(9, seed).unwrap() <= Duration::from_secs(30)));
    }
}
