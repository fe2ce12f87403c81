//! The values of the context.

pub(crate) mod aligned_part;
pub(crate) mod audio_file;
pub(crate) mod chunk;
pub(crate) mod chunk_map;
pub(crate) mod chunk_result;
pub(crate) mod chunk_transcript;
pub(crate) mod format;
pub(crate) mod gap;
pub(crate) mod packet_index;
pub(crate) mod pause;
pub(crate) mod plan;
pub(crate) mod profile;
pub(crate) mod progress;
pub(crate) mod recipe;
pub(crate) mod sample;
pub(crate) mod task;
pub(crate) mod transcript;

pub use aligned_part::{AlignedPart, Fixes, Resolved, SeamReport};
pub use audio_file::{AudioFile, Warning};
pub use chunk::{AudioChunk, ChunkBody, CutQuality};
pub use chunk_map::ChunkMap;
pub use chunk_result::{ChunkResult, Origin, RunCosts, RunReport};
pub use chunk_transcript::{ChunkTranscript, HeardSegment, HeardWord, SegmentStats};
pub use format::{AudioFormat, Codec, Container};
pub use gap::{Gap, GapCause};
pub use pause::{CutWindow, Pause, PauseMap};
pub use plan::{ChunkLimits, ChunkPlan, ChunkSizeRecommendation, PlanKind, PlannedChunk, SizeReason};
pub use profile::{ConcurrencyLimit, LatencyModel, RecognizerProfile, RequestQuota, Times};
pub use progress::Progress;
pub use sample::{ByteSize, SampleIndex, SampleRate, SampleSpan};
pub use task::{ProcessingTask, TaskId, TaskSource, TaskTotals};
pub use transcript::{Segment, Transcript, Word};
