//! Whether and when a failed job runs again: the role. [`BackoffRetryHandler`](crate::BackoffRetryHandler) is the
//! default.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use crate::{AttemptError, Attempts, DeadCause, FailureCause, Settlement};

/// Decides what follows a failed attempt. Pure: it neither waits nor draws.
///
/// # Contract
/// 1. The same input gives the same decision.
/// 2. A delay is never below what the other side asked for.
/// 3. Only failures that may be the job's own fault spend an attempt: [`FailureCause::spends`].
/// 4. Attempts, crashes, snoozes and age are bounded.
pub trait RetryHandler: Debug + Send + Sync + 'static {
    /// What follows this failure.
    fn decide(&self, failure: &Failure, seed: u64) -> RetryDecision;

    /// The decision as a settlement that keeps the error.
    fn settle(&self, failure: &Failure, error: AttemptError, seed: u64) -> Settlement {
        match self.decide(failure, seed) {
            RetryDecision::Retry { after } => Settlement::Retry { after, error },
            RetryDecision::Dead { cause } => Settlement::Dead { cause, error },
            RetryDecision::Quarantine => Settlement::Quarantined { error },
        }
    }
}

/// A failed attempt.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Failure {
    /// Why.
    pub cause: FailureCause,
    /// How long the other side asked to be left alone.
    pub retry_after: Option<Duration>,
    /// What the job had spent before this attempt.
    pub attempts: Attempts,
    /// How long ago the job first fell due.
    pub age: Duration,
    /// What the worker may still spend on retries.
    pub budget: RetryBudget,
}

/// What follows a failed attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RetryDecision {
    /// Again after this time.
    Retry {
        /// How long to wait.
        after: Duration,
    },
    /// Given up.
    Dead {
        /// Why.
        cause: DeadCause,
    },
    /// Set aside: it kept taking down its workers.
    Quarantine,
}

/// Keeps retries a small share of the work when everything fails: each success earns a tenth of a retry, at most
/// 100 are saved (after Finagle's retry budget).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RetryBudget {
    tenths: u16,
}

impl RetryBudget {
    const FULL_TENTHS: u16 = 1_000;

    /// 100 retries.
    pub const fn full() -> Self {
        Self { tenths: Self::FULL_TENTHS }
    }

    /// Whether there is none left.
    pub const fn is_empty(self) -> bool {
        self.tenths < 10
    }

    /// A job succeeded.
    pub fn earn(&mut self) {
        self.tenths = (self.tenths + 1).min(Self::FULL_TENTHS);
    }

    /// A job is tried again.
    pub fn spend(&mut self) {
        self.tenths = self.tenths.saturating_sub(10);
    }
}

impl Default for RetryBudget {
    fn default() -> Self {
        Self::full()
    }
}

impl<R: RetryHandler + ?Sized> RetryHandler for Arc<R> {
    fn decide(&self, failure: &Failure, seed: u64) -> RetryDecision {
        (**self).decide(failure, seed)
    }
}

impl<R: RetryHandler + ?Sized> RetryHandler for Box<R> {
    fn decide(&self, failure: &Failure, seed: u64) -> RetryDecision {
        (**self).decide(failure, seed)
    }
}
