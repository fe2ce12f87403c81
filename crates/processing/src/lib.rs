#![doc = include_str!("../README.md")]

mod adapters;
mod blocking;
mod chunk_planner;
mod chunk_sizer;
mod config;
mod container;
mod dynamic_chunk_sizer;
mod error;
mod model;
mod pause_finder;
mod ports;
#[cfg(feature = "testing")]
pub mod testing;

#[cfg(feature = "earshot")]
pub use adapters::earshot::EarshotVoiceDetector;
#[cfg(feature = "symphonia")]
pub use adapters::symphonia::SymphoniaAudioDecoder;
pub use chunk_planner::ChunkPlanner;
pub use chunk_sizer::ChunkSizer;
pub use config::ChunkSizerConfig;
pub use dynamic_chunk_sizer::DynamicChunkSizer;
pub use error::{Amount, Limit, ProcessingError};
pub use model::audio_file::{AudioFile, Warning};
pub use model::chunk::{AudioChunk, ChunkBody, CutQuality};
pub use model::format::{AudioFormat, Codec, Container};
pub use model::pause::{CutWindow, Pause, PauseMap};
pub use model::plan::{ChunkLimits, ChunkPlan, ChunkSizeRecommendation, PlanKind, PlannedChunk, SizeReason};
pub use model::profile::{ConcurrencyLimit, LatencyModel, RecognizerProfile, RequestQuota, Times};
pub use model::sample::{ByteSize, SampleIndex, SampleRate, SampleSpan};
pub use pause_finder::{PauseFinder, VoiceTrack};
pub use ports::audio::{
    AudioDecoder, AudioSource, FileAudioSource, MemoryAudioSource, SampleReader, VoiceDetector,
};
