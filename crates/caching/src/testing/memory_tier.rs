//! A tier without a log, as a shared memory is: it stores whatever it is given, until it is removed or flushed.

use std::collections::HashMap;

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;

use crate::ports::{CacheTier, Removal, TierPut, TierRead, TierVerdict};
use crate::{CacheError, CacheKey, Count, StoreVerdict};

/// An L2 in memory.
#[derive(Debug, Default)]
pub struct MemoryTier {
    entries: Mutex<HashMap<CacheKey, Bytes>>,
}

impl MemoryTier {
    /// An empty tier.
    pub fn new() -> Self {
        Self::default()
    }

    /// All that it holds: to be looked at, or given back to it with [`restore`](Self::restore).
    pub fn contents(&self) -> HashMap<CacheKey, Bytes> {
        self.entries.lock().clone()
    }

    /// Holds this from now on, as a server does that is started with an old state.
    pub fn restore(&self, contents: HashMap<CacheKey, Bytes>) {
        *self.entries.lock() = contents;
    }
}

#[async_trait]
impl CacheTier for MemoryTier {
    async fn get(&self, keys: &[CacheKey]) -> Result<TierRead, CacheError> {
        let entries = self.entries.lock();
        Ok(TierRead { envelopes: keys.iter().map(|key| entries.get(key).cloned()).collect(), as_of: None })
    }

    async fn put(&self, puts: Vec<TierPut>) -> Result<Vec<TierVerdict>, CacheError> {
        let mut entries = self.entries.lock();
        let stored = TierVerdict { verdict: StoreVerdict::Stored, as_of: None };
        let verdicts = vec![stored; puts.len()];
        entries.extend(puts.into_iter().map(|put| (put.key, put.envelope)));
        Ok(verdicts)
    }

    async fn remove(&self, removals: Vec<Removal>) -> Result<(), CacheError> {
        let mut entries = self.entries.lock();
        for removal in removals {
            entries.remove(&removal.key);
        }
        Ok(())
    }

    async fn count(&self) -> Result<Count, CacheError> {
        Ok(Count::Exact(self.entries.lock().len() as u64))
    }
}
