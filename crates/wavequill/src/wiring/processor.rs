//! processing's `ChunkProcessor` for one file: asks the recognizer, and cuts anew what turned out too large.

use std::time::Duration;

use async_trait::async_trait;
use wavequill_processing::{
    AudioChunk, AudioFile, ByteSize, ChunkAttempt, ChunkPlanner, ChunkProcessor, ChunkTranscript,
    ConcurrencyLimit, ProcessingTask, RecognitionError, RecognizerProfile, RecognizingProcessor, SplitCause,
    TooLarge,
};

use super::recognizer::{AUDIO_RESERVE, FORM_RESERVE_BYTES};

/// Asks the recognizer about the chunks of one file.
#[derive(Debug)]
pub(crate) struct FileProcessor {
    asking: RecognizingProcessor,
    file: AudioFile,
    planner: ChunkPlanner,
    profile: RecognizerProfile,
    concurrency: ConcurrencyLimit,
}

impl FileProcessor {
    pub(crate) fn new(
        asking: RecognizingProcessor,
        file: AudioFile,
        planner: ChunkPlanner,
        profile: RecognizerProfile,
        concurrency: ConcurrencyLimit,
    ) -> Self {
        Self { asking, file, planner, profile, concurrency }
    }
}

/// The limits for the pieces of a chunk: what the server named, and in any case less than the chunk.
fn narrowed(profile: &RecognizerProfile, chunk: &AudioChunk, why: SplitCause) -> RecognizerProfile {
    let mut narrow = profile.clone();
    let half = chunk.duration() / 2 + Duration::from_secs(1);
    match why {
        SplitCause::TooLarge(TooLarge::Bytes { limit }) => {
            let named = limit.map(|limit| limit.bytes().saturating_sub(FORM_RESERVE_BYTES));
            let bytes = named.unwrap_or(u64::MAX).min(chunk.content_length() / 2 + FORM_RESERVE_BYTES / 16);
            narrow.max_chunk_bytes = narrow.max_chunk_bytes.min(ByteSize::new(bytes));
        }
        SplitCause::TooLarge(TooLarge::Duration { limit }) => {
            let named = limit.map(|limit| limit.saturating_sub(AUDIO_RESERVE));
            narrow.max_chunk_duration = narrow.max_chunk_duration.min(named.unwrap_or(half)).min(half);
        }
        SplitCause::TimedOut => {
            narrow.max_chunk_duration = narrow.max_chunk_duration.min(half);
        }
    }
    narrow
}

#[async_trait]
impl ChunkProcessor for FileProcessor {
    async fn process(&self, attempt: ChunkAttempt) -> Result<ChunkTranscript, RecognitionError> {
        self.asking.process(attempt).await
    }

    async fn split(&self, task: &ProcessingTask, why: SplitCause) -> Vec<AudioChunk> {
        let narrow = narrowed(&self.profile, &task.chunk, why);
        let todo = [task.chunk.owned()];
        match self.planner.plan_spans(&self.file, &narrow, self.concurrency, &todo).await {
            Ok(plan) => plan.chunks().to_vec(),
            Err(error) => {
                tracing::warn!(target: "wavequill", chunk = %task.id, %error, "the chunk cannot be cut smaller");
                Vec::new()
            }
        }
    }
}
