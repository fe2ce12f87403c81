//! Has each chunk heard by a recognizer. It neither waits nor tries again.

use std::fmt::Write as _;
use std::sync::Arc;

use async_trait::async_trait;
use sha2::{Digest, Sha256};

use crate::{
    AudioChunk, ChunkAttempt, ChunkProcessor, ChunkTranscript, RecognitionError, RecognitionOptions,
    RecognitionRequest, SpeechRecognizer,
};

/// Has each chunk heard by a [`SpeechRecognizer`], each with the same options.
///
/// Today it splits nothing and audits nothing by itself: who can cut the file wraps it and adds
/// [`split`](ChunkProcessor::split), [`audit`](ChunkProcessor::audit) and [`reask`](ChunkProcessor::reask).
#[derive(Clone, Debug)]
pub struct RecognizingProcessor {
    recognizer: Arc<dyn SpeechRecognizer>,
    options: RecognitionOptions,
}

impl RecognizingProcessor {
    /// Asks `recognizer` with `options`.
    pub fn new(recognizer: Arc<dyn SpeechRecognizer>, options: RecognitionOptions) -> Self {
        Self { recognizer, options }
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
}
