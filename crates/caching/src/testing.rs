//! The conformance suites of the ports and of the cache, and tiers that fail or
//! revive on demand. Run them against a store of
//! your own:
//!
//! ```
//! use wavequill_caching::{MemoryStore, testing};
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() {
//! testing::store::a_tier_answers_in_the_order_asked(&MemoryStore::new()).await;
//! # }
//! ```
//!
//! or all of them at once, one test a sentence, with
//! [`store_conformance!`](crate::store_conformance) and [`cache_conformance!`](crate::cache_conformance).

pub mod cache;
mod flaky_tier;
mod memory_tier;
pub mod store;

use std::time::{Duration, SystemTime};

use wavequill_kernel::{ContentHash, Ttl};

pub use flaky_tier::FlakyTier;
pub use memory_tier::MemoryTier;

use crate::{CacheKey, Namespace};

/// A key of the namespace `chunk` whose digest begins with `number`.
pub fn key(number: u64) -> CacheKey {
    key_in(Namespace::CHUNK, number)
}

/// A key whose digest begins with `number`.
pub fn key_in(namespace: Namespace, number: u64) -> CacheKey {
    let mut digest = [0x5a; 32];
    for (to, from) in digest.iter_mut().zip(number.to_be_bytes()) {
        *to = from;
    }
    CacheKey::new(namespace, digest, ContentHash::new([0x11; 32], number))
}

/// A time to live in seconds, between one and the most that there is.
pub fn seconds(seconds: u64) -> Ttl {
    Ttl::new(Duration::from_secs(seconds)).unwrap_or(Ttl::MAX)
}

/// Where [`ManualClock`](wavequill_kernel::testing::ManualClock) starts.
pub(crate) fn start() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_767_225_600)
}
