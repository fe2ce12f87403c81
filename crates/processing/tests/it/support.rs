//! What the tests of runs are made of.

use std::sync::Arc;
use std::time::Duration;

use wavequill_processing::testing::{ScriptedRecognizer, chunk_of_bytes, chunks_of};
use wavequill_processing::{
    AdmissionConfig, AudioChunk, ChunkProcessor, ConcurrencyLimit, LatencyModel, OrchestratorConfig,
    ParallelOrchestrator, RecognitionOptions, RecognizingProcessor, SampleIndex, SampleRate, SampleSpan,
    SlownessAdmission,
};

pub(crate) const S: Duration = Duration::from_secs(1);
pub(crate) const MS: Duration = Duration::from_millis(1);

pub(crate) fn rate() -> SampleRate {
    SampleRate::new(16_000).unwrap()
}

pub(crate) fn span(from_seconds: u64, to_seconds: u64) -> SampleSpan {
    let at = |seconds| SampleIndex::new(seconds * 16_000);
    SampleSpan::new(at(from_seconds), at(to_seconds))
}

/// Chunks of a minute.
pub(crate) fn minutes(count: usize) -> Vec<AudioChunk> {
    chunks_of(count, 60 * S, rate())
}

/// A chunk of a minute with so many bytes.
pub(crate) fn heavy(index: usize, bytes: usize) -> AudioChunk {
    chunk_of_bytes(index, span(index as u64 * 60, index as u64 * 60 + 60), rate(), vec![0; bytes])
}

pub(crate) fn admission(limit: u16) -> Arc<SlownessAdmission> {
    let limit = ConcurrencyLimit::new(limit).unwrap();
    Arc::new(SlownessAdmission::new(AdmissionConfig::at(limit), LatencyModel::default()))
}

pub(crate) fn orchestrator(limit: u16) -> ParallelOrchestrator {
    configured(limit, OrchestratorConfig::default())
}

pub(crate) fn configured(limit: u16, config: OrchestratorConfig) -> ParallelOrchestrator {
    ParallelOrchestrator::new(config, admission(limit)).unwrap()
}

pub(crate) fn by(recognizer: &ScriptedRecognizer) -> Arc<dyn ChunkProcessor> {
    Arc::new(RecognizingProcessor::new(Arc::new(recognizer.clone()), RecognitionOptions::default()))
}
