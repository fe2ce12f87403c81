#![doc = include_str!("../README.md")]

mod adapters;
mod blocking;
mod chunk_planner;
mod chunk_sizer;
mod config;
mod container;
mod dynamic_chunk_sizer;
mod error;
mod file_run_journal;
#[expect(dead_code, reason = "who puts the transcript together uses the rest; that comes next")]
mod metrics;
mod model;
mod orchestrator;
mod parallel_orchestrator;
mod pause_finder;
mod ports;
mod recognizing_processor;
mod seam_timestamp_adjuster;
mod slowness_admission;
#[cfg(feature = "testing")]
pub mod testing;
mod timestamp_adjuster;

#[cfg(feature = "earshot")]
pub use adapters::earshot::EarshotVoiceDetector;
#[cfg(feature = "symphonia")]
pub use adapters::symphonia::SymphoniaAudioDecoder;
pub use chunk_planner::ChunkPlanner;
pub use chunk_sizer::ChunkSizer;
pub use config::ChunkSizerConfig;
pub use config::run::{AdmissionConfig, HedgeConfig, OrchestratorConfig, RetryConfig};
pub use dynamic_chunk_sizer::DynamicChunkSizer;
pub use error::{Amount, Limit, ProcessingError};
pub use file_run_journal::{FileRunJournal, JournalIdentity};
pub use model::aligned_part::{AlignedPart, Fixes, Resolved, SeamReport};
pub use model::audio_file::{AudioFile, Warning};
pub use model::chunk::{AudioChunk, ChunkBody, CutQuality};
pub use model::chunk_map::ChunkMap;
pub use model::chunk_result::{ChunkResult, Origin, RunCosts, RunReport};
pub use model::chunk_transcript::{ChunkTranscript, HeardSegment, HeardWord, SegmentStats};
pub use model::format::{AudioFormat, Codec, Container};
pub use model::gap::{Gap, GapCause};
pub use model::pause::{CutWindow, Pause, PauseMap};
pub use model::plan::{ChunkLimits, ChunkPlan, ChunkSizeRecommendation, PlanKind, PlannedChunk, SizeReason};
pub use model::profile::{ConcurrencyLimit, LatencyModel, RecognizerProfile, RequestQuota, Times};
pub use model::progress::Progress;
pub use model::sample::{ByteSize, SampleIndex, SampleRate, SampleSpan};
pub use model::task::{ProcessingTask, TaskId, TaskSource, TaskTotals};
pub use model::transcript::{Segment, Transcript, Word};
pub use orchestrator::{
    Orchestrator, ProgressSender, ProgressWatch, Run, RunClose, RunControl, RunDriver, RunHandle,
};
pub use parallel_orchestrator::ParallelOrchestrator;
pub use pause_finder::{PauseFinder, VoiceTrack};
pub use ports::admission::{Admission, AttemptOutcome, AttemptSeen, Grant, Permit};
pub use ports::audio::{
    AudioDecoder, AudioSource, FileAudioSource, MemoryAudioSource, SampleReader, VoiceDetector,
};
pub use ports::keeping::{
    JournalEntry, NoopRunJournal, NoopTranscriptStore, Recalled, RunJournal, TranscriptStore,
};
pub use ports::recognition::{
    ChunkAttempt, ChunkProcessor, ErrorScope, RecognitionError, RecognitionOptions, RecognitionRequest,
    SpeechRecognizer, SplitCause, TooLarge,
};
pub use recognizing_processor::RecognizingProcessor;
pub use seam_timestamp_adjuster::SeamTimestampAdjuster;
pub use slowness_admission::SlownessAdmission;
pub use timestamp_adjuster::TimestampAdjuster;
