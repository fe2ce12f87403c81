//! Retries by cause: exponential with jitter where the job failed, patience where it did not.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use wavequill_kernel::{Backoff, InvalidValue};

use crate::error::invalid_config;
use crate::{DeadCause, Failure, FailureCause, QueueError, RetryDecision, RetryHandler};

/// Waits longer after each failure, and gives up in the end. With n for the failures so far and
/// e(n) = min(cap, base · 2ⁿ⁻¹):
///
/// | cause | spends | delay |
/// |---|---|---|
/// | transient, timed out | an attempt | U(0, e) |
/// | exhausted below | an attempt | e/2 + U(0, e/2): the layer below has tried already |
/// | throttled | a snooze | the longer of `Retry-After` and e/2 + U(0, e/2): full jitter could spend all tries at once |
/// | interrupted by a shutdown | a snooze | none |
/// | worker crashed | a crash | none the first time, then U(0, e); the third crash quarantines |
/// | panicked | a crash | U(0, e) |
/// | permanent | – | dead at once |
///
/// Where the worker's retry budget is empty, a failure waits for the cap.
///
/// ```
/// use std::time::Duration;
/// use wavequill_queue::{Attempts, BackoffRetryHandler, Failure, FailureCause, RetryBudget, RetryDecision, RetryHandler};
///
/// let handler = BackoffRetryHandler::default();
/// let mut failure = Failure {
///     cause: FailureCause::Throttled,
///     retry_after: Some(Duration::from_secs(90)),
///     attempts: Attempts::default(),
///     age: Duration::ZERO,
///     budget: RetryBudget::full(),
/// };
/// let RetryDecision::Retry { after } = handler.decide(&failure, 7) else { panic!() };
/// assert!(after >= Duration::from_secs(90));
///
/// failure.cause = FailureCause::Transient;
/// failure.attempts.failures = 4;
/// assert!(matches!(handler.decide(&failure, 7), RetryDecision::Dead { .. }), "the fifth failure ends it");
/// ```
#[derive(Clone, Debug)]
pub struct BackoffRetryHandler {
    config: RetryConfig,
    backoff: Backoff,
}

/// How often and how long.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct RetryConfig {
    /// How many failed attempts end a job that does not say: at least 1. Default: 5.
    pub max_attempts: u16,
    /// How many crashes and panics set it aside: at least 1. Default: 3.
    pub max_crashes: u16,
    /// How often it may be throttled or interrupted. Default: 100.
    pub max_snoozes: u16,
    /// How long after its first due time it is still tried again. Default: 7 days.
    pub max_age: Duration,
    /// The longest first delay. Default: 2 s.
    pub base: Duration,
    /// The longest delay. Default: 15 min.
    pub cap: Duration,
}

impl Default for RetryConfig {
    fn default() -> Self {
        Self {
            max_attempts: 5,
            max_crashes: 3,
            max_snoozes: 100,
            max_age: Duration::from_secs(7 * 86_400),
            base: Duration::from_secs(2),
            cap: Duration::from_secs(900),
        }
    }
}

impl RetryConfig {
    /// Sets how many failed attempts end a job.
    #[must_use]
    pub fn with_max_attempts(mut self, attempts: u16) -> Self {
        self.max_attempts = attempts;
        self
    }

    /// Sets how many crashes set it aside.
    #[must_use]
    pub fn with_max_crashes(mut self, crashes: u16) -> Self {
        self.max_crashes = crashes;
        self
    }

    /// Sets how often it may be throttled or interrupted.
    #[must_use]
    pub fn with_max_snoozes(mut self, snoozes: u16) -> Self {
        self.max_snoozes = snoozes;
        self
    }

    /// Sets how long it is tried.
    #[must_use]
    pub fn with_max_age(mut self, age: Duration) -> Self {
        self.max_age = age;
        self
    }

    /// Sets the delays.
    #[must_use]
    pub fn with_delays(mut self, base: Duration, cap: Duration) -> Self {
        (self.base, self.cap) = (base, cap);
        self
    }
}

impl BackoffRetryHandler {
    /// Checks the configuration.
    ///
    /// # Errors
    /// [`QueueError::InvalidConfig`] if a count is 0, or the delays do not fit.
    pub fn new(config: RetryConfig) -> Result<Self, QueueError> {
        let counts = [("max_attempts", config.max_attempts), ("max_crashes", config.max_crashes)];
        if let Some((name, _)) = counts.iter().find(|(_, count)| *count == 0) {
            return Err(invalid_config(InvalidValue::new(name, 0, "at least 1")));
        }
        let backoff = Backoff::new(config.base, config.cap).map_err(invalid_config)?;
        Ok(Self { config, backoff })
    }

    /// U(e/2, e).
    fn patient(&self, attempt: u32, seed: u64) -> Duration {
        self.backoff.ceiling(attempt) / 2 + self.backoff.delay(attempt, seed) / 2
    }

    fn failed(&self, failure: &Failure, delay: impl Fn(u32) -> Duration) -> RetryDecision {
        let failures = u32::from(failure.attempts.failures) + 1;
        if failures >= u32::from(failure.attempts.max_attempts.unwrap_or(self.config.max_attempts)) {
            return RetryDecision::Dead { cause: DeadCause::Exhausted };
        }
        let after = if failure.budget.is_empty() { self.config.cap } else { delay(failures) };
        RetryDecision::Retry { after }
    }

    fn crashed(&self, failure: &Failure, delay: impl Fn(u32) -> Duration) -> RetryDecision {
        let crashes = u32::from(failure.attempts.crashes) + 1;
        if crashes >= u32::from(self.config.max_crashes) {
            return RetryDecision::Quarantine;
        }
        RetryDecision::Retry { after: delay(crashes) }
    }

    fn snoozed(&self, failure: &Failure, delay: impl Fn(u32) -> Duration) -> RetryDecision {
        if failure.attempts.snoozes >= self.config.max_snoozes {
            return RetryDecision::Dead { cause: DeadCause::Exhausted };
        }
        RetryDecision::Retry { after: delay(u32::from(failure.attempts.snoozes) + 1) }
    }
}

impl Default for BackoffRetryHandler {
    fn default() -> Self {
        let config = RetryConfig::default();
        #[expect(clippy::expect_used, reason = "2 s is above zero and below 15 min")]
        let backoff = Backoff::new(config.base, config.cap).expect("the defaults fit");
        Self { config, backoff }
    }
}

impl RetryHandler for BackoffRetryHandler {
    fn decide(&self, failure: &Failure, seed: u64) -> RetryDecision {
        if failure.cause != FailureCause::Permanent && failure.age >= self.config.max_age {
            return RetryDecision::Dead { cause: DeadCause::Expired };
        }
        let full = |attempt| self.backoff.delay(attempt, seed);
        let patient = |attempt| self.patient(attempt, seed);
        let decision = match failure.cause {
            FailureCause::Permanent => RetryDecision::Dead { cause: DeadCause::Permanent },
            FailureCause::Transient | FailureCause::TimedOut => self.failed(failure, full),
            FailureCause::Exhausted => self.failed(failure, patient),
            FailureCause::Throttled => self.snoozed(failure, patient),
            FailureCause::Interrupted => self.snoozed(failure, |_| Duration::ZERO),
            FailureCause::Crashed => self.crashed(failure, |crashes| match crashes {
                0 | 1 => Duration::ZERO,
                more => full(more - 1),
            }),
            FailureCause::Panicked => self.crashed(failure, full),
        };
        match (decision, failure.retry_after) {
            (RetryDecision::Retry { after }, Some(asked)) => RetryDecision::Retry { after: after.max(asked) },
            (decision, _) => decision,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Attempts, RetryBudget, Spent};
    use proptest::prelude::*;

    const CAUSES: [FailureCause; 8] = [
        FailureCause::Permanent,
        FailureCause::Transient,
        FailureCause::Exhausted,
        FailureCause::Throttled,
        FailureCause::TimedOut,
        FailureCause::Interrupted,
        FailureCause::Crashed,
        FailureCause::Panicked,
    ];

    fn failure(cause: FailureCause) -> Failure {
        Failure {
            cause,
            retry_after: None,
            attempts: Attempts::default(),
            age: Duration::ZERO,
            budget: RetryBudget::full(),
        }
    }

    #[test]
    fn the_third_crash_sets_a_job_aside_and_the_first_is_tried_again_at_once() {
        let handler = BackoffRetryHandler::default();
        let mut crash = failure(FailureCause::Crashed);
        assert_eq!(handler.decide(&crash, 1), RetryDecision::Retry { after: Duration::ZERO });
        crash.attempts.crashes = 2;
        assert_eq!(handler.decide(&crash, 1), RetryDecision::Quarantine);
    }

    #[test]
    fn an_empty_budget_waits_for_the_cap() {
        let mut transient = failure(FailureCause::Transient);
        for _ in 0..200 {
            transient.budget.spend();
        }
        let decision = BackoffRetryHandler::default().decide(&transient, 1);
        assert_eq!(decision, RetryDecision::Retry { after: Duration::from_secs(900) });
        for _ in 0..10 {
            transient.budget.earn();
        }
        assert!(!transient.budget.is_empty());
    }

    #[test]
    fn an_old_job_expires_and_a_permanent_failure_stays_permanent() {
        let handler = BackoffRetryHandler::default();
        let old = Failure { age: Duration::from_secs(8 * 86_400), ..failure(FailureCause::Transient) };
        assert_eq!(handler.decide(&old, 1), RetryDecision::Dead { cause: DeadCause::Expired });
        let permanent = Failure { cause: FailureCause::Permanent, ..old };
        assert_eq!(handler.decide(&permanent, 1), RetryDecision::Dead { cause: DeadCause::Permanent });
    }

    #[test]
    fn a_bad_configuration_is_refused() {
        assert!(BackoffRetryHandler::new(RetryConfig::default().with_max_attempts(0)).is_err());
        let delays = RetryConfig::default().with_delays(Duration::from_secs(2), Duration::from_secs(1));
        assert!(BackoffRetryHandler::new(delays).is_err());
    }

    proptest! {
        #[test]
        fn the_same_input_gives_the_same_decision_and_never_less_than_was_asked_for(
            cause in prop::sample::select(&CAUSES[..]), seed: u64, asked in 0_u64..10_000,
            failures in 0_u16..6, crashes in 0_u16..4, snoozes in 0_u16..110,
        ) {
            let handler = BackoffRetryHandler::default();
            let attempts = Attempts { failures, crashes, snoozes, max_attempts: None };
            let asked = Duration::from_secs(asked);
            let failed = Failure { attempts, retry_after: Some(asked), ..failure(cause) };
            let decision = handler.decide(&failed, seed);
            prop_assert_eq!(decision, handler.decide(&failed, seed));
            if let RetryDecision::Retry { after } = decision {
                prop_assert!(after >= asked);
                prop_assert!(after <= asked.max(Duration::from_secs(900)));
            }
        }

        #[test]
        fn every_job_that_only_fails_ends(causes in prop::collection::vec(prop::sample::select(&CAUSES[..]), 300)) {
            let handler = BackoffRetryHandler::default();
            let mut attempts = Attempts::default();
            let ended = causes.iter().enumerate().any(|(n, cause)| {
                let failed = Failure { attempts, ..failure(*cause) };
                let decision = handler.decide(&failed, n as u64);
                match cause.spends() {
                    Spent::Attempt => attempts.failures += 1,
                    Spent::Crash => attempts.crashes += 1,
                    Spent::Snooze => attempts.snoozes += 1,
                    Spent::Nothing => {}
                }
                !matches!(decision, RetryDecision::Retry { .. })
            });
            prop_assert!(ended);
        }
    }
}
