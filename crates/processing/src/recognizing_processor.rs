//! Has each chunk heard by a recognizer. It neither waits nor tries again.

use std::fmt::Write as _;
use std::sync::Arc;

use async_trait::async_trait;
use sha2::{Digest, Sha256};

use crate::coverage::speech_of;
use crate::{
    AudioChunk, AudioFile, ByteSize, ChunkAttempt, ChunkMap, ChunkPlanner, ChunkProcessor, ChunkTranscript,
    ConcurrencyLimit, CoverageRules, Gap, ProcessingTask, RecognitionError, RecognitionOptions,
    RecognitionRequest, RecognizerProfile, SampleSpan, SeamTimestampAdjuster, SpeechRecognizer, SplitCause,
    TimestampAdjuster, TooLarge,
};

/// Has each chunk heard by a [`SpeechRecognizer`], each with the same options.
///
/// [`with_recording`](Self::with_recording) lets it cut chunks that are too large in smaller ones, at pauses;
/// [`with_audit`](Self::with_audit) lets it listen where an answer says nothing, and ask for what it hears there once more.
#[derive(Clone, Debug)]
pub struct RecognizingProcessor {
    recognizer: Arc<dyn SpeechRecognizer>,
    options: RecognitionOptions,
    recording: Option<Recording>,
    audit: Option<CoverageRules>,
}

/// Where the chunks come from.
#[derive(Clone, Debug)]
struct Recording {
    file: AudioFile,
    planner: ChunkPlanner,
}

/// The length of a piece by that of its chunk: two of them, and room to move the cut to a pause.
const PIECE_SHARE: f64 = 0.6;
/// What the frame of a request takes of a limit on its whole body.
const FRAME_BYTES: u64 = 65_536;

impl RecognizingProcessor {
    /// Asks `recognizer` with `options`.
    pub fn new(recognizer: Arc<dyn SpeechRecognizer>, options: RecognitionOptions) -> Self {
        Self { recognizer, options, recording: None, audit: None }
    }

    /// Cuts what is too large anew out of `file`, as `planner` does.
    #[must_use]
    pub fn with_recording(mut self, file: AudioFile, planner: ChunkPlanner) -> Self {
        self.recording = Some(Recording { file, planner });
        self
    }

    /// Looks for what answers leave out. Without a recording, or without a finder of pauses in its planner, nobody can
    /// listen: then only loops are found.
    #[must_use]
    pub fn with_audit(mut self, rules: CoverageRules) -> Self {
        self.audit = Some(rules);
        self
    }

    /// The limits that pieces of a chunk must keep.
    fn piece_profile(&self, chunk: &AudioChunk, why: SplitCause) -> RecognizerProfile {
        let mut profile = self.recognizer.profile();
        let (duration, bytes) = (chunk.duration(), chunk.content_length());
        let shorter = duration.mul_f64(PIECE_SHARE);
        let smaller = (bytes as f64 * PIECE_SHARE) as u64;
        match why {
            SplitCause::TooLarge(TooLarge::Bytes { limit }) => {
                let named =
                    limit.map(|limit| limit.bytes().saturating_sub(FRAME_BYTES).max(limit.bytes() / 2));
                let most = named.filter(|limit| *limit < bytes).unwrap_or(smaller);
                profile.max_chunk_bytes = profile.max_chunk_bytes.min(ByteSize::new(most));
            }
            SplitCause::TooLarge(TooLarge::Duration { limit }) => {
                let most = limit.filter(|limit| *limit < duration).unwrap_or(shorter);
                profile.max_chunk_duration = profile.max_chunk_duration.min(most);
            }
            SplitCause::TimedOut => profile.max_chunk_duration = profile.max_chunk_duration.min(shorter),
        }
        profile
    }

    /// Chunks for these spans. What cannot be cut or read is not asked for again: the error that led here stands.
    async fn cut(&self, profile: &RecognizerProfile, spans: &[SampleSpan]) -> Vec<AudioChunk> {
        let Some(recording) = &self.recording else { return Vec::new() };
        let one = ConcurrencyLimit::new(1).unwrap_or_default();
        let plan = recording.planner.plan_spans(&recording.file, profile, one, spans).await;
        plan.map_or_else(|_| Vec::new(), |plan| plan.chunks().to_vec())
    }

    /// Where somebody speaks in these spans, as far as that can be heard.
    async fn speech_in(&self, spans: &[SampleSpan]) -> Vec<SampleSpan> {
        let Some(recording) = &self.recording else { return Vec::new() };
        let Some(finder) = recording.planner.finder() else { return Vec::new() };
        let mut speech = Vec::new();
        for span in spans {
            // What cannot be decoded here may well have been decoded there: it is no proof of a gap.
            if let Ok(track) = finder.listen(&recording.file, *span).await {
                speech.extend(speech_of(track.span(), track.probabilities(), recording.file.rate()));
            }
        }
        speech
    }

    /// The same for equal audio and equal options, so that a server that knows the key does not bill twice.
    fn idempotency_key(&self, chunk: &AudioChunk) -> String {
        let RecognitionOptions { model, language, prompt, temperature } = &self.options;
        let mut hasher = Sha256::new();
        hasher.update(chunk.content_hash().to_bytes());
        for field in [model, language, prompt] {
            // The length keeps two fields from reading like two others.
            let text = field.as_deref().unwrap_or_default();
            hasher.update([u8::from(field.is_some())]);
            hasher.update((text.len() as u64).to_le_bytes());
            hasher.update(text);
        }
        hasher.update(temperature.unwrap_or(f32::NAN).to_le_bytes());
        let digest = hasher.finalize();
        digest.iter().take(16).fold(String::from("wq-"), |mut key, byte| {
            // Writing to a string cannot fail.
            let _ = write!(key, "{byte:02x}");
            key
        })
    }
}

#[async_trait]
impl ChunkProcessor for RecognizingProcessor {
    async fn process(&self, attempt: ChunkAttempt) -> Result<ChunkTranscript, RecognitionError> {
        let request = RecognitionRequest {
            idempotency_key: self.idempotency_key(&attempt.task.chunk),
            chunk: attempt.task.chunk,
            options: self.options.clone(),
            attempt: attempt.number,
            grant: attempt.grant,
        };
        self.recognizer.recognize(request).await
    }

    async fn split(&self, task: &ProcessingTask, why: SplitCause) -> Vec<AudioChunk> {
        self.cut(&self.piece_profile(&task.chunk, why), &[task.chunk.owned()]).await
    }

    async fn audit(&self, task: &ProcessingTask, heard: &ChunkTranscript) -> Vec<Gap> {
        let Some(rules) = &self.audit else { return Vec::new() };
        let map = ChunkMap::of_chunk(&task.chunk);
        let Ok(part) = SeamTimestampAdjuster::new().adjust(&map, heard) else { return Vec::new() };
        let (resolved, owned, rate) = (part.resolve(), task.chunk.owned(), task.chunk.rate());
        let speech = self.speech_in(&rules.holes(&resolved, owned, rate)).await;
        rules.gaps(&resolved, owned, rate, &speech)
    }

    async fn reask(&self, _: &ProcessingTask, gaps: &[Gap]) -> Vec<AudioChunk> {
        let spans: Vec<SampleSpan> = gaps.iter().map(|gap| gap.span).collect();
        self.cut(&self.recognizer.profile(), &spans).await
    }
}
