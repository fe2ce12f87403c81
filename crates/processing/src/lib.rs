#![doc = include_str!("../README.md")]

mod adapters;
mod blocking;
mod chunk_sizer;
mod config;
mod container;
mod error;
mod file_run_journal;
#[expect(dead_code, reason = "who puts the transcript together uses the rest; that comes next")]
mod metrics;
mod model;
mod orchestrator;
mod output;
mod parallel_orchestrator;
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
pub use chunk_sizer::ChunkSizer;
pub use config::run::{AdmissionConfig, HedgeConfig, OrchestratorConfig, RetryConfig};
pub use error::{Amount, Limit, ProcessingError};
pub use file_run_journal::{FileRunJournal, JournalIdentity};
pub use model::{
    AlignedPart, AudioChunk, AudioFile, AudioFormat, ByteSize, ChunkBody, ChunkLimits, ChunkMap, ChunkPlan,
    ChunkResult, ChunkSizeRecommendation, ChunkTranscript, Codec, ConcurrencyLimit, Container, CutQuality,
    CutWindow, Fixes, Gap, GapCause, HeardSegment, HeardWord, LatencyModel, Origin, Pause, PauseMap,
    PlanKind, PlannedChunk, ProcessingTask, Progress, RecognizerProfile, RequestQuota, Resolved, RunCosts,
    RunReport, SampleIndex, SampleRate, SampleSpan, SeamReport, Segment, SegmentStats, SizeReason, TaskId,
    TaskSource, TaskTotals, Times, Transcript, Warning, Word,
};
pub use orchestrator::{
    Orchestrator, ProgressSender, ProgressWatch, Run, RunClose, RunControl, RunDriver, RunHandle,
};
pub use output::OutputFormat;
pub use parallel_orchestrator::ParallelOrchestrator;
pub use ports::{
    Admission, AttemptOutcome, AttemptSeen, AudioDecoder, AudioSource, ChunkAttempt, ChunkProcessor,
    ErrorScope, FileAudioSource, Grant, JournalEntry, MemoryAudioSource, NoopRunJournal, NoopTranscriptStore,
    Permit, Recalled, RecognitionError, RecognitionOptions, RecognitionRequest, RunJournal, SampleReader,
    SpeechRecognizer, SplitCause, TooLarge, TranscriptStore, VoiceDetector,
};
pub use recognizing_processor::RecognizingProcessor;
pub use seam_timestamp_adjuster::SeamTimestampAdjuster;
pub use slowness_admission::SlownessAdmission;
pub use timestamp_adjuster::TimestampAdjuster;
