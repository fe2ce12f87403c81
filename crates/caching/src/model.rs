//! The values that the cache speaks of. None of them does I/O or reads a clock.

mod cache_key;
mod cache_level;
mod cache_put;
mod cache_value;
mod claim;
mod key_spec;
mod log_position;
mod metadata;
mod miss_cost;
mod reports;
mod selector;
mod stats;

pub use cache_key::{CacheKey, Namespace};
pub use cache_level::{CacheHitResult, CacheLevel, Freshness};
pub use cache_put::{CachePut, L1Verdict, PutOutcome, PutPolicy, StoreVerdict};
pub(crate) use cache_value::ValueParts;
pub use cache_value::{CacheValue, Codec, NegativeCause, Outcome};
pub use claim::{Claim, FlightGuard, FlightResult, LoadPermit, LoadWait, Waited};
pub use key_spec::{
    ChunkKeySpec, ContentKind, EmbeddingsKeySpec, KeyMaterial, RequestSpec, Task, Temperature,
    TranscriptKeySpec,
};
pub use log_position::{LogId, LogPosition};
pub use metadata::{Metadata, MetadataValue};
pub use miss_cost::{MissCost, Savings};
pub use reports::{
    EraseCursor, ErasureReport, L1Eviction, SweepBudget, SweepReport, WarmLimits, WarmReport, WarmSnapshot,
};
pub use selector::{KeyPattern, Label, Owner, Selector, SelectorKind, Subject};
pub use stats::{ByteSize, CacheStats, Count, LevelStats};
