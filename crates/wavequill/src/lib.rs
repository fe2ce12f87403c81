#![doc = include_str!("../README.md")]

mod builder;
mod error;
mod live_run;
mod options;
mod parallel_processing_service;
mod recorded;
mod source;
mod store;
#[cfg(feature = "testing")]
pub mod testing;
mod transcript_cache_service;
mod transcription;
mod usage;
mod wavequill;
mod wiring;

pub use wavequill_caching as caching;
pub use wavequill_database as database;
pub use wavequill_external as external;
pub use wavequill_kernel as kernel;
pub use wavequill_monitoring as monitoring;
pub use wavequill_processing as processing;
pub use wavequill_queue as queue;

pub use builder::{JobScope, WavequillBuilder};
pub use error::WavequillError;
pub use options::{CacheUse, Gaps, TranscribeOptions};
pub use parallel_processing_service::{Keeping, ParallelProcessingService, ProcessingParts};
pub use source::Source;
pub use store::Store;
pub use transcript_cache_service::{TranscriptCacheService, TranscriptClaim};
pub use transcription::Transcription;
pub use usage::{Latency, Usage};
pub use wavequill::Wavequill;
