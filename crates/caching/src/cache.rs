//! The role that finds results, stores them, and lets one caller load what is missing.

use std::collections::HashMap;
use std::error::Error;
use std::fmt::Debug;
use std::future::Future;
use std::sync::Arc;

use async_trait::async_trait;
use wavequill_kernel::{InvalidValue, Retryable};

use crate::{
    CacheError, CacheHitResult, CacheKey, CachePut, CacheStats, CacheValue, Claim, FlightResult, LoadPermit,
    LoadWait, PutOutcome, Waited,
};

/// Finds results, stores them, and lets one caller load what is missing.
///
/// # Contract
/// 1. No level serves a value at or after its `expires_at`; up to `stale_until` one may stand in, only for a load
///    that failed.
/// 2. A level keeps a value for the shorter of its own cap and the time left.
/// 3. A value is durable before its put is `Ok`, or L2 sees it. If L3 fails, only L1 keeps it, and the error is
///    [`CacheError::NotDurable`].
/// 4. A failure of L2 is never an error, only slower.
/// 5. A failure of L3 is never a miss but [`CacheError::Unavailable`]: a false miss is a second bill.
/// 6. Under [`KeepFirst`](crate::PutPolicy::KeepFirst) a live entry is not replaced; under
///    [`Replace`](crate::PutPolicy::Replace) the last writer wins on every node.
/// 7. While its lease is renewed, one process holds a key's permit; dropped, cancelled or panicked, it passes to a
///    waiter.
/// 8. A failed load gives each waiter the same error; the next caller loads anew.
/// 9. A put whose key, label, namespace or owner was invalidated after its permit was given is
///    [`Superseded`](crate::StoreVerdict::Superseded): no level keeps it.
/// 10. A batch costs one round trip a level for each 1000 keys or 16 MiB.
/// 11. Every value returned had its digest, content hash, lengths and checksum verified when it left its store.
#[async_trait]
pub trait Cache: Debug + Send + Sync + 'static {
    /// Looks in this process's memory only: no future, no allocation.
    fn get_local(&self, key: &CacheKey) -> Option<CacheValue>;

    /// Looks each key up, level by level, and answers in the order given.
    ///
    /// # Errors
    /// [`CacheError::Unavailable`] if L3 was needed and did not answer.
    ///
    /// # Cancellation
    /// Safe: nothing is lost but the work.
    async fn get_many(&self, keys: &[CacheKey]) -> Result<Vec<CacheHitResult>, CacheError>;

    /// Stores each, durably, and answers in the order given. Permits are filled.
    ///
    /// # Errors
    /// All that is wrong with an entry is found before anything is stored. [`CacheError::NotDurable`] if L3 fails;
    /// the permits of the call are filled all the same, since their waiters need the value and not its durability.
    ///
    /// # Cancellation
    /// Dropped, the call may or may not have stored; permits that are not filled yet pass to a waiter.
    async fn put_many(&self, puts: Vec<CachePut>) -> Result<Vec<PutOutcome>, CacheError>;

    /// Looks each key up, and says for what is missing whether the caller is to load it or somebody else does.
    /// Fill the permits before you wait.
    ///
    /// # Errors
    /// [`CacheError::Unavailable`] if L3 did not answer: without it nobody may pay for a load.
    ///
    /// # Cancellation
    /// Safe: permits not yet handed out pass to a waiter.
    async fn claim(&self, keys: &[CacheKey]) -> Result<Vec<Claim>, CacheError>;

    /// Invalidates one key, on every node.
    ///
    /// # Errors
    /// [`CacheError::Unavailable`] if the log did not take it: the entry is then still there.
    async fn delete(&self, key: &CacheKey) -> Result<(), CacheError>;

    /// How the levels do.
    async fn stats(&self) -> CacheStats;

    /// [`get_many`](Self::get_many) of one key.
    async fn get(&self, key: &CacheKey) -> Result<CacheHitResult, CacheError> {
        if let Some(value) = self.get_local(key) {
            return Ok(CacheHitResult::hit_l1(value));
        }
        let found = self.get_many(std::slice::from_ref(key)).await?;
        Ok(found.into_iter().next().unwrap_or_else(CacheHitResult::miss))
    }

    /// [`put_many`](Self::put_many) of one entry.
    async fn put(&self, put: CachePut) -> Result<PutOutcome, CacheError> {
        let key = put.key;
        let outcomes = self.put_many(vec![put]).await?;
        outcomes.into_iter().next().ok_or_else(|| unanswered(&key))
    }
}

macro_rules! forward_cache {
    ($($pointer:ident),*) => {$(
        #[async_trait]
        impl<T: Cache + ?Sized> Cache for $pointer<T> {
            fn get_local(&self, key: &CacheKey) -> Option<CacheValue> {
                (**self).get_local(key)
            }
            async fn get_many(&self, keys: &[CacheKey]) -> Result<Vec<CacheHitResult>, CacheError> {
                (**self).get_many(keys).await
            }
            async fn put_many(&self, puts: Vec<CachePut>) -> Result<Vec<PutOutcome>, CacheError> {
                (**self).put_many(puts).await
            }
            async fn claim(&self, keys: &[CacheKey]) -> Result<Vec<Claim>, CacheError> {
                (**self).claim(keys).await
            }
            async fn delete(&self, key: &CacheKey) -> Result<(), CacheError> {
                (**self).delete(key).await
            }
            async fn stats(&self) -> CacheStats {
                (**self).stats().await
            }
        }
    )*};
}
forward_cache!(Arc, Box);

/// What every cache can do through its few required methods.
#[async_trait]
pub trait CacheExt: Cache {
    /// Finds the value, or loads it once for all that ask.
    ///
    /// The loader gets the key back and returns what is to be stored under it. How long it took is recorded, unless
    /// the put says otherwise.
    ///
    /// # Errors
    /// [`CacheError::LoadFailed`] with the loader's own error, for each caller that waited; else as
    /// [`Cache::claim`]. A value that was loaded but is not durable is returned all the same.
    ///
    /// # Cancellation
    /// A caller that is dropped while it loads passes the load to one that waits.
    async fn get_or_load<F, Fut, E>(&self, key: &CacheKey, load: F) -> Result<CacheValue, CacheError>
    where
        F: FnOnce(CacheKey) -> Fut + Send,
        Fut: Future<Output = Result<CachePut, E>> + Send,
        E: Error + Retryable + Send + Sync + 'static,
    {
        if let Some(value) = self.get_local(key) {
            return Ok(value);
        }
        let claim = self.claim(std::slice::from_ref(key)).await?.into_iter().next();
        let permit = match claim.ok_or_else(|| unanswered(key))? {
            Claim::Hit { value, .. } => return Ok(value),
            Claim::Load(permit) => permit,
            Claim::Wait(wait) => match wait.wait().await? {
                Waited::Filled { value, .. } => return Ok(value),
                Waited::TakeOver(permit) => permit,
            },
        };
        let loaded = load(*key).await.map_err(CacheError::load_failed);
        fill(self, permit, loaded).await
    }

    /// Finds the values, and loads all that are missing in one call; answers in the order of `keys`.
    ///
    /// The loader may be called again for keys whose first loader, elsewhere, is gone. It returns one put for each
    /// key that it was given.
    ///
    /// # Errors
    /// As [`get_or_load`](Self::get_or_load); an [`CacheError::InvalidKey`] if the loader leaves a key out.
    ///
    /// # Cancellation
    /// As [`get_or_load`](Self::get_or_load).
    async fn get_or_load_many<F, Fut, E>(
        &self,
        keys: &[CacheKey],
        mut load: F,
    ) -> Result<Vec<CacheValue>, CacheError>
    where
        F: FnMut(Vec<CacheKey>) -> Fut + Send,
        Fut: Future<Output = Result<Vec<CachePut>, E>> + Send,
        E: Error + Retryable + Send + Sync + 'static,
    {
        let mut values: Vec<Option<CacheValue>> = vec![None; keys.len()];
        let mut permits = Vec::new();
        let mut waits: Vec<(usize, LoadWait)> = Vec::new();
        for (at, claim) in self.claim(keys).await?.into_iter().enumerate() {
            match claim {
                Claim::Hit { value, .. } => set(&mut values, at, value),
                Claim::Load(permit) => permits.push((at, permit)),
                Claim::Wait(wait) => waits.push((at, wait)),
            }
        }
        loop {
            if !permits.is_empty() {
                let missing = permits.iter().map(|(_, permit)| *permit.key()).collect();
                let loaded = load(missing).await.map_err(CacheError::load_failed);
                for (at, value) in fill_all(self, std::mem::take(&mut permits), loaded).await? {
                    set(&mut values, at, value);
                }
            }
            // What is taken over is loaded before the next wait: no wait while a permit is held.
            let Some((at, wait)) = waits.pop() else { break };
            match wait.wait().await? {
                Waited::Filled { value, .. } => set(&mut values, at, value),
                Waited::TakeOver(permit) => permits.push((at, permit)),
            }
        }
        values.into_iter().zip(keys).map(|(value, key)| value.ok_or_else(|| unanswered(key))).collect()
    }
}

impl<T: Cache + ?Sized> CacheExt for T {}

fn set(values: &mut [Option<CacheValue>], at: usize, value: CacheValue) {
    if let Some(slot) = values.get_mut(at) {
        *slot = Some(value);
    }
}

async fn fill<C: Cache + ?Sized>(
    cache: &C,
    permit: LoadPermit,
    loaded: Result<CachePut, CacheError>,
) -> Result<CacheValue, CacheError> {
    let key = *permit.key();
    let loaded = loaded.map(|put| vec![put]);
    let filled = fill_all(cache, vec![(0, permit)], loaded).await?;
    filled.into_iter().next().map(|(_, value)| value).ok_or_else(|| unanswered(&key))
}

/// Stores what was loaded under its permits. A failed load ends each permit with the same error, unless a stale
/// value may stand in.
async fn fill_all<C: Cache + ?Sized>(
    cache: &C,
    permits: Vec<(usize, LoadPermit)>,
    loaded: Result<Vec<CachePut>, CacheError>,
) -> Result<Vec<(usize, CacheValue)>, CacheError> {
    let loaded = loaded.and_then(|puts| match_up(&permits, puts));
    let mut puts = match loaded {
        Ok(puts) => puts,
        Err(error) => return stand_in(permits, error),
    };
    let mut taps = Vec::with_capacity(permits.len());
    for ((at, permit), put) in permits.into_iter().zip(&mut puts) {
        if put.cost.load_time.is_zero() {
            put.cost.load_time = permit.elapsed();
        }
        let (permit, tap) = permit.tapped();
        taps.push((at, put.key, tap));
        put.permit = Some(permit);
    }
    match cache.put_many(puts).await {
        Ok(_) | Err(CacheError::NotDurable { .. }) => {}
        Err(error) => return Err(error),
    }
    taps.into_iter()
        .map(|(at, key, tap)| match tap.take() {
            Some(FlightResult::Filled(value) | FlightResult::Superseded(value)) => Ok((at, value)),
            Some(FlightResult::Failed(error)) => Err(error),
            None => Err(unanswered(&key)),
        })
        .collect()
}

/// Brings the puts into the order of the permits.
fn match_up(permits: &[(usize, LoadPermit)], puts: Vec<CachePut>) -> Result<Vec<CachePut>, CacheError> {
    let mut by_key: HashMap<CacheKey, CachePut> = puts.into_iter().map(|put| (put.key, put)).collect();
    permits
        .iter()
        .map(|(_, permit)| {
            by_key.remove(permit.key()).ok_or_else(|| CacheError::InvalidKey {
                source: InvalidValue::new("key", "left out by the loader", format!("{}", permit.key())),
            })
        })
        .collect()
}

fn stand_in(
    permits: Vec<(usize, LoadPermit)>,
    error: CacheError,
) -> Result<Vec<(usize, CacheValue)>, CacheError> {
    let mut values = Vec::new();
    let mut failed = false;
    for (at, permit) in permits {
        if let Some(stale) = permit.stale().cloned() {
            permit.resolve(FlightResult::Filled(stale.clone()));
            values.push((at, stale));
        } else {
            permit.fail(error.clone());
            failed = true;
        }
    }
    if failed { Err(error) } else { Ok(values) }
}

fn unanswered(key: &CacheKey) -> CacheError {
    CacheError::InvalidKey {
        source: InvalidValue::new("key", key, "answered by the cache; it gave no answer"),
    }
}
