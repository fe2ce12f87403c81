#![doc = include_str!("../README.md")]

pub mod adapters;
mod breaker;
mod cache;
mod cache_invalidator;
mod cache_warmer;
mod config;
mod content_addresser;
mod envelope;
mod error;
mod frequency_cache_warmer;
mod l1;
mod local_bus;
mod log_view;
mod memory_store;
mod metrics;
mod model;
mod multi_level_cache;
pub mod ports;
mod sha256_content_addresser;
mod space_saving;
mod tag_cache_invalidator;
#[cfg(feature = "testing")]
pub mod testing;

pub use cache::{Cache, CacheExt};
pub use cache_invalidator::{CacheInvalidator, CacheInvalidatorExt};
pub use cache_warmer::CacheWarmer;
pub use config::CacheConfig;
pub use content_addresser::{ContentAddresser, ContentHasher};
pub use error::{CacheError, Cause};
pub use frequency_cache_warmer::FrequencyCacheWarmer;
pub use memory_store::MemoryStore;
pub use model::{
    ByteSize, CacheHitResult, CacheKey, CacheLevel, CachePut, CacheStats, CacheValue, ChunkKeySpec, Claim,
    Codec, ContentKind, Count, EmbeddingsKeySpec, EraseCursor, ErasureReport, FlightGuard, FlightResult,
    Freshness, KeyMaterial, KeyPattern, L1Eviction, L1Verdict, Label, LevelStats, LoadPermit, LoadWait,
    LogId, LogPosition, Metadata, MetadataValue, MissCost, Namespace, NegativeCause, Outcome, Owner,
    PutOutcome, PutPolicy, RequestSpec, Savings, Selector, SelectorKind, StoreVerdict, Subject, SweepBudget,
    SweepReport, Task, Temperature, TranscriptKeySpec, Waited, WarmLimits, WarmReport, WarmSnapshot,
};
pub use multi_level_cache::MultiLevelCache;
pub use sha256_content_addresser::Sha256ContentAddresser;
pub use tag_cache_invalidator::TagCacheInvalidator;
