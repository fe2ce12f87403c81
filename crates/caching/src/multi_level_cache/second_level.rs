//! L2 behind a time-out, a breaker and a bound on calls: it may be slow, down or absent, and that is never an error.

use std::fmt;
use std::future::Future;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::Duration;

use metrics::Gauge;
use parking_lot::Mutex;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::CacheError;
use crate::breaker::Breaker;
use crate::ports::CacheTier;

/// How many calls may be under way; more are skipped.
const CALLS: usize = 256;

pub(crate) struct SecondLevel {
    tier: Arc<dyn CacheTier>,
    breaker: Mutex<Breaker>,
    calls: Semaphore,
    open: Gauge,
    seed: u64,
}

/// Why there is no answer.
#[derive(Debug)]
pub(crate) enum NoAnswer {
    /// It was not asked: it is left alone after failures, or has too much to do.
    Skipped,
    /// It failed, or did not answer in time (`None`).
    Failed(Option<CacheError>),
}

impl SecondLevel {
    pub(super) fn new(tier: Arc<dyn CacheTier>, open: Gauge) -> Self {
        open.set(0.0);
        let seed = RandomState::new().hash_one(0x4c32_u64);
        Self { tier, breaker: Mutex::default(), calls: Semaphore::new(CALLS), open, seed }
    }

    pub(crate) fn tier(&self) -> &Arc<dyn CacheTier> {
        &self.tier
    }

    /// Makes a call that takes at most `limit`, if the level is not left alone. `now` is in monotonic nanoseconds.
    pub(super) async fn call<T>(
        &self,
        now: impl Fn() -> u64,
        limit: Duration,
        call: impl Future<Output = Result<T, CacheError>>,
    ) -> Result<T, NoAnswer> {
        let Ok(_place) = self.calls.try_acquire() else { return Err(NoAnswer::Skipped) };
        if !self.breaker.lock().admits(now()) {
            return Err(NoAnswer::Skipped);
        }
        let answer = timeout(limit, call).await;
        let mut breaker = self.breaker.lock();
        let was_open = breaker.is_open();
        let answer = match answer {
            Ok(Ok(answer)) => {
                breaker.succeeded();
                Ok(answer)
            }
            Ok(Err(error)) => {
                breaker.failed(now(), self.seed);
                Err(NoAnswer::Failed(Some(error)))
            }
            Err(_) => {
                breaker.failed(now(), self.seed);
                Err(NoAnswer::Failed(None))
            }
        };
        let is_open = breaker.is_open();
        drop(breaker);
        if was_open != is_open {
            self.open.set(f64::from(u8::from(is_open)));
            tracing::info!(target: "wavequill::caching", open = is_open, "the breaker of L2 changed");
        }
        answer
    }
}

impl fmt::Debug for SecondLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SecondLevel")
            .field("tier", &self.tier)
            .field("breaker", &self.breaker)
            .finish_non_exhaustive()
    }
}
