#![doc = include_str!("../README.md")]

mod adapters;
mod blocking;
mod chunk_planner;
mod chunk_sizer;
mod config;
mod container;
mod coverage;
mod dynamic_chunk_sizer;
mod error;
mod file_run_journal;
mod metrics;
mod model;
mod orchestrator;
mod output;
mod parallel_orchestrator;
mod pause_finder;
mod ports;
mod recognizing_processor;
mod seam_timestamp_adjuster;
mod slowness_admission;
mod spans;
#[cfg(feature = "testing")]
pub mod testing;
mod timestamp_adjuster;
mod transcript_assembler;

#[cfg(feature = "earshot")]
pub use adapters::earshot::EarshotVoiceDetector;
#[cfg(feature = "ropus")]
pub use adapters::ropus::RopusAudioDecoder;
#[cfg(feature = "symphonia")]
pub use adapters::symphonia::SymphoniaAudioDecoder;
pub use chunk_planner::ChunkPlanner;
pub use chunk_sizer::ChunkSizer;
pub use config::{AdmissionConfig, ChunkSizerConfig, HedgeConfig, OrchestratorConfig, RetryConfig};
pub use coverage::CoverageRules;
pub use dynamic_chunk_sizer::DynamicChunkSizer;
pub use error::{Amount, Limit, ProcessingError};
pub use file_run_journal::{FileRunJournal, JournalIdentity};
pub use model::*;
pub use orchestrator::{
    Orchestrator, ProgressSender, ProgressWatch, Run, RunClose, RunControl, RunDriver, RunHandle,
};
pub use output::OutputFormat;
pub use parallel_orchestrator::ParallelOrchestrator;
pub use pause_finder::{PauseFinder, VoiceTrack};
pub use ports::*;
pub use recognizing_processor::RecognizingProcessor;
pub use seam_timestamp_adjuster::SeamTimestampAdjuster;
pub use slowness_admission::SlownessAdmission;
pub use timestamp_adjuster::TimestampAdjuster;
pub use transcript_assembler::TranscriptAssembler;
