//! Who loads what is missing, and who waits for it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use tokio::time::Instant;

use super::{CacheKey, CacheLevel, CacheValue, LogPosition};
use crate::CacheError;

/// The answer to a claim on one key.
#[derive(Debug)]
pub enum Claim {
    /// It is there.
    Hit {
        /// Where it was found.
        level: CacheLevel,
        /// The entry.
        value: CacheValue,
    },
    /// It is not, and the caller is the one to load it.
    Load(LoadPermit),
    /// It is not, and somebody else is loading it.
    Wait(LoadWait),
}

/// How a load ended.
#[derive(Clone, Debug)]
pub enum FlightResult {
    /// With a value.
    Filled(CacheValue),
    /// With an error.
    Failed(CacheError),
    /// With a value that was invalidated while it was loaded: only the one who loaded it may use it.
    Superseded(CacheValue),
}

/// What a [`LoadPermit`] holds on to. A cache implements it to learn how the load ended; dropped unresolved, the
/// permit passes to a waiter.
pub trait FlightGuard: fmt::Debug + Send + Sync + 'static {
    /// Ends the load for all that wait for it.
    fn resolve(self: Box<Self>, result: FlightResult);
}

/// The right, and the duty, to load one key: no other task of this process, and while its lease is renewed none of
/// any other, holds one for the same key.
///
/// Fill it with [`CachePut::under`](crate::CachePut::under), or say why not with [`fail`](Self::fail). Dropped, by a
/// cancellation or a panic too, it passes to a waiter.
#[must_use = "dropping a permit passes it to a waiter"]
pub struct LoadPermit {
    key: CacheKey,
    as_of: Option<LogPosition>,
    stale: Option<CacheValue>,
    granted: Instant,
    guard: Option<Box<dyn FlightGuard>>,
}

impl LoadPermit {
    /// A permit of a cache that has no flights.
    pub fn unguarded(key: CacheKey) -> Self {
        Self { key, as_of: None, stale: None, granted: Instant::now(), guard: None }
    }

    /// A permit that tells `guard` how its load ended.
    pub fn guarded(key: CacheKey, guard: Box<dyn FlightGuard>) -> Self {
        Self { guard: Some(guard), ..Self::unguarded(key) }
    }

    /// Sets the position up to which the log was known when the permit was given: what is invalidated later
    /// supersedes its value.
    pub fn with_as_of(mut self, as_of: Option<LogPosition>) -> Self {
        self.as_of = as_of;
        self
    }

    /// Sets the value that may stand in if the load fails.
    pub fn with_stale(mut self, stale: Option<CacheValue>) -> Self {
        self.stale = stale;
        self
    }

    /// What is to be loaded.
    pub const fn key(&self) -> &CacheKey {
        &self.key
    }

    /// The log's position when the permit was given, where the cache has a log.
    pub const fn as_of(&self) -> Option<LogPosition> {
        self.as_of
    }

    /// The ended value that may stand in if the load fails.
    pub const fn stale(&self) -> Option<&CacheValue> {
        self.stale.as_ref()
    }

    /// Time since the permit was given.
    pub fn elapsed(&self) -> Duration {
        self.granted.elapsed()
    }

    /// Gives every waiter this error. The next caller loads anew.
    pub fn fail(self, error: CacheError) {
        self.resolve(FlightResult::Failed(error));
    }

    /// Listens in on how the load ends.
    pub(crate) fn tapped(mut self) -> (Self, FlightTap) {
        let tap = FlightTap::default();
        self.guard = Some(Box::new(TappedGuard { inner: self.guard.take(), tap: tap.clone() }));
        (self, tap)
    }

    /// Ends the load. Caches call it when a put under the permit is done.
    pub fn resolve(self, result: FlightResult) {
        if let Some(guard) = self.guard {
            guard.resolve(result);
        }
    }
}

impl fmt::Debug for LoadPermit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LoadPermit")
            .field("key", &self.key)
            .field("as_of", &self.as_of)
            .finish_non_exhaustive()
    }
}

/// Hears how a load ended.
#[derive(Clone, Debug, Default)]
pub(crate) struct FlightTap(Arc<Mutex<Option<FlightResult>>>);

impl FlightTap {
    pub(crate) fn take(&self) -> Option<FlightResult> {
        self.0.lock().take()
    }
}

#[derive(Debug)]
struct TappedGuard {
    inner: Option<Box<dyn FlightGuard>>,
    tap: FlightTap,
}

impl FlightGuard for TappedGuard {
    fn resolve(self: Box<Self>, result: FlightResult) {
        *self.tap.0.lock() = Some(result.clone());
        if let Some(inner) = self.inner {
            inner.resolve(result);
        }
    }
}

/// Somebody else's load of one key, waited for by [`wait`](Self::wait).
#[must_use = "a wait does nothing unless awaited"]
pub struct LoadWait {
    key: CacheKey,
    outcome: BoxFuture<'static, Result<Waited, CacheError>>,
}

/// How a wait ended.
#[derive(Debug)]
pub enum Waited {
    /// The value was loaded.
    Filled {
        /// Where it was found.
        level: CacheLevel,
        /// The entry.
        value: CacheValue,
    },
    /// Whoever was loading is gone: it is the caller's turn.
    TakeOver(LoadPermit),
}

impl LoadWait {
    /// A wait for `key` that ends as `outcome` does.
    pub fn new(key: CacheKey, outcome: BoxFuture<'static, Result<Waited, CacheError>>) -> Self {
        Self { key, outcome }
    }

    /// What is waited for.
    pub const fn key(&self) -> &CacheKey {
        &self.key
    }

    /// Waits for the load to end, or to be taken over.
    ///
    /// Fill the permits that you hold before you wait: two batches that wait for each other would never end.
    ///
    /// # Errors
    /// The loader's error, the same for each waiter; or [`CacheError::Unavailable`] if the level that knows fails.
    ///
    /// # Cancellation
    /// Dropped, the wait is over for this caller only.
    pub async fn wait(self) -> Result<Waited, CacheError> {
        self.outcome.await
    }
}

impl fmt::Debug for LoadWait {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LoadWait").field("key", &self.key).finish_non_exhaustive()
    }
}
