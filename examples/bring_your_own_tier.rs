//! A second level of one's own: envelopes as files of a folder, such as one on a network drive. The tests run the
//! contract of the cache over it.
//!
//! ```console
//! $ cargo run --example bring_your_own_tier
//! $ cargo test --example bring_your_own_tier
//! ```
#![expect(clippy::print_stdout, reason = "it prints what it does")]

use std::fmt::Write;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use wavequill::caching::ports::{CachePorts, CacheTier, LogScope, Removal, TierPut, TierRead, TierVerdict};
use wavequill::caching::{
    Cache, CacheConfig, CacheError, CacheKey, CacheLevel, CachePut, ContentAddresser, Count, MemoryStore,
    Metadata, MultiLevelCache, Namespace, Sha256ContentAddresser, StoreVerdict,
};
use wavequill::kernel::Ttl;

/// A file for each entry. What it answers is checked by the cache, so it need not be right, only quick.
#[derive(Debug)]
struct FolderTier {
    folder: PathBuf,
}

impl FolderTier {
    fn new(folder: &Path) -> Self {
        Self { folder: folder.to_owned() }
    }

    fn path(&self, key: &CacheKey) -> PathBuf {
        let mut name = format!("{}-", key.namespace());
        for byte in key.digest() {
            // Writing to a string does not fail.
            let _ = write!(name, "{byte:02x}");
        }
        self.folder.join(name)
    }
}

/// What is not there is no error.
fn there<T>(found: io::Result<T>, operation: &'static str) -> Result<Option<T>, CacheError> {
    match found {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(CacheError::unavailable(CacheLevel::L2, operation, error)),
    }
}

#[async_trait]
impl CacheTier for FolderTier {
    async fn get(&self, keys: &[CacheKey]) -> Result<TierRead, CacheError> {
        let mut envelopes = Vec::with_capacity(keys.len());
        for key in keys {
            envelopes.push(there(tokio::fs::read(self.path(key)).await, "read entries")?.map(Into::into));
        }
        Ok(TierRead { envelopes, as_of: None })
    }

    async fn put(&self, puts: Vec<TierPut>) -> Result<Vec<TierVerdict>, CacheError> {
        let stored = TierVerdict { verdict: StoreVerdict::Stored, as_of: None };
        for put in &puts {
            // One that is read while it is written is damaged, and a miss.
            there(tokio::fs::write(self.path(&put.key), &put.envelope).await, "store entries")?;
        }
        Ok(vec![stored; puts.len()])
    }

    async fn remove(&self, removals: Vec<Removal>) -> Result<(), CacheError> {
        for removal in removals {
            there(tokio::fs::remove_file(self.path(&removal.key)).await, "remove entries")?;
        }
        Ok(())
    }

    async fn count(&self) -> Result<Count, CacheError> {
        Ok(Count::Unknown)
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = tempfile::tempdir()?;
    // In production the store is a database that all nodes share: its log says what the files are worth.
    let store = Arc::new(MemoryStore::with_scope(LogScope::Fleet));
    let node = || {
        let tier = Arc::new(FolderTier::new(folder.path()));
        MultiLevelCache::new(CacheConfig::default(), CachePorts::on(store.clone()).with_l2(tier))
    };
    let key =
        Sha256ContentAddresser::new().generate_text_key("7 × 6", Namespace::new("sums")?, &Metadata::new());
    node()?.put(CachePut::new(key, "42", Ttl::new(Duration::from_secs(60))?)).await?;
    let found = node()?.get(&key).await?;
    println!("{:?} from {:?}", found.value().map(|value| value.body().clone()), found.level());
    Ok(())
}

#[cfg(test)]
mod tests {
    use wavequill::kernel::testing::ManualClock;

    use super::*;

    /// A cache over a folder of its own, which the system's temporary folder keeps until the process has ended.
    fn over_a_folder() -> (MultiLevelCache, Arc<ManualClock>) {
        let clock = Arc::new(ManualClock::new());
        let tier = Arc::new(FolderTier::new(&tempfile::tempdir().unwrap().keep()));
        let ports = CachePorts::on(Arc::new(MemoryStore::with_scope(LogScope::Fleet))).with_l2(tier);
        let cache = MultiLevelCache::with_clock(CacheConfig::default(), ports, clock.clone()).unwrap();
        (cache, clock)
    }

    wavequill_caching::cache_conformance!(the_contract_of_the_cache_over_files, over_a_folder());
}
