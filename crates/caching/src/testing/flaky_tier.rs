//! A tier that fails, stalls or lies when told to.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};

use async_trait::async_trait;
use bytes::Bytes;

use crate::ports::{CacheTier, Removal, TierPut, TierRead, TierVerdict};
use crate::{CacheError, CacheKey, CacheLevel, Count};

/// Passes calls on to a tier, or does not.
#[derive(Debug)]
pub struct FlakyTier {
    inner: Arc<dyn CacheTier>,
    level: CacheLevel,
    mood: AtomicU8,
    calls: AtomicUsize,
}

const WELL: u8 = 0;
const FAILING: u8 = 1;
const STALLED: u8 = 2;
const DAMAGING: u8 = 3;

impl FlakyTier {
    /// A tier that is well.
    pub fn new(level: CacheLevel, inner: Arc<dyn CacheTier>) -> Self {
        Self { inner, level, mood: AtomicU8::new(WELL), calls: AtomicUsize::new(0) }
    }

    /// Every call works from now on.
    pub fn recover(&self) {
        self.mood.store(WELL, Ordering::SeqCst);
    }

    /// Every call fails from now on.
    pub fn fail(&self) {
        self.mood.store(FAILING, Ordering::SeqCst);
    }

    /// No call answers from now on.
    pub fn stall(&self) {
        self.mood.store(STALLED, Ordering::SeqCst);
    }

    /// Every envelope is returned with its last bit flipped from now on.
    pub fn damage(&self) {
        self.mood.store(DAMAGING, Ordering::SeqCst);
    }

    /// How many calls it got.
    pub fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }

    async fn gate(&self, operation: &'static str) -> Result<(), CacheError> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        match self.mood.load(Ordering::SeqCst) {
            FAILING => Err(CacheError::unavailable(self.level, operation, "it was told to fail")),
            STALLED => std::future::pending().await,
            _ => Ok(()),
        }
    }
}

#[async_trait]
impl CacheTier for FlakyTier {
    async fn get(&self, keys: &[CacheKey]) -> Result<TierRead, CacheError> {
        self.gate("read entries").await?;
        let mut read = self.inner.get(keys).await?;
        if self.mood.load(Ordering::SeqCst) == DAMAGING {
            for envelope in read.envelopes.iter_mut().flatten() {
                let mut bytes = envelope.to_vec();
                if let Some(last) = bytes.last_mut() {
                    *last ^= 1;
                }
                *envelope = Bytes::from(bytes);
            }
        }
        Ok(read)
    }

    async fn put(&self, puts: Vec<TierPut>) -> Result<Vec<TierVerdict>, CacheError> {
        self.gate("store entries").await?;
        self.inner.put(puts).await
    }

    async fn remove(&self, removals: Vec<Removal>) -> Result<(), CacheError> {
        self.gate("remove entries").await?;
        self.inner.remove(removals).await
    }

    async fn count(&self) -> Result<Count, CacheError> {
        self.gate("count entries").await?;
        self.inner.count().await
    }
}
