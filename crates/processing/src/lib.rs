#![doc = include_str!("../README.md")]

mod chunk_sizer;
#[expect(dead_code, reason = "the readers of containers use it; they come next")]
mod error;
#[expect(dead_code, reason = "the readers of containers use it; they come next")]
mod model;
mod ports;
#[cfg(feature = "testing")]
pub mod testing;

pub use chunk_sizer::ChunkSizer;
pub use error::{Amount, Limit, ProcessingError};
pub use model::audio_file::{AudioFile, Warning};
pub use model::chunk::{AudioChunk, ChunkBody, CutQuality};
pub use model::format::{AudioFormat, Codec, Container};
pub use model::pause::{CutWindow, Pause, PauseMap};
pub use model::plan::{ChunkLimits, ChunkPlan, ChunkSizeRecommendation, PlanKind, PlannedChunk, SizeReason};
pub use model::profile::{ConcurrencyLimit, LatencyModel, RecognizerProfile, RequestQuota, Times};
pub use model::sample::{ByteSize, SampleIndex, SampleRate, SampleSpan};
pub use ports::audio::{
    AudioDecoder, AudioSource, FileAudioSource, MemoryAudioSource, SampleReader, VoiceDetector,
};
