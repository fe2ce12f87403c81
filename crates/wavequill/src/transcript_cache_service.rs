//! Whole transcripts, kept under the recording's content and everything that was asked. It knows no audio format.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use wavequill_caching::{
    Cache, CacheKey, CachePut, ContentAddresser, MissCost, Owner, RequestSpec, TranscriptKeySpec,
};
use wavequill_kernel::{ContentHash, Ttl};
use wavequill_processing::Transcript;

use crate::WavequillError;

/// How this version joins chunks. Raised whenever the same chunks would give other words or times.
const POST_PROCESSING: u32 = 1;

/// The schema of the stored [`Transcript`].
const SCHEMA: u16 = 1;

/// Finds and keeps whole transcripts.
#[derive(Clone, Debug)]
pub struct TranscriptCacheService {
    cache: Arc<dyn Cache>,
    addresser: Arc<dyn ContentAddresser>,
    ttl: Ttl,
}

impl TranscriptCacheService {
    /// Keeps transcripts in `cache` for `ttl`.
    pub fn new(cache: Arc<dyn Cache>, addresser: Arc<dyn ContentAddresser>, ttl: Ttl) -> Self {
        Self { cache, addresser, ttl }
    }

    /// The key of a recording's transcript: its raw bytes, and what was asked.
    pub fn key(&self, content: ContentHash, request: &RequestSpec) -> CacheKey {
        self.addresser.generate_transcript_key(&TranscriptKeySpec {
            content,
            request,
            // Whatever the cuts, the words are those of the recording.
            plan_fingerprint: None,
            post_processing: Some(POST_PROCESSING),
        })
    }

    /// The transcript that is kept under the key, if there is one.
    ///
    /// # Errors
    /// [`WavequillError::Cache`] if the durable level cannot be asked.
    pub async fn get_transcript(&self, key: &CacheKey) -> Result<Option<Arc<Transcript>>, WavequillError> {
        let Some(value) = self.cache.get(key).await?.into_value() else { return Ok(None) };
        if value.schema() != SCHEMA {
            return Ok(None);
        }
        match value.decode::<Transcript>() {
            Ok(transcript) => Ok(Some(transcript)),
            Err(error) => {
                // Its chunks are kept too: it is joined anew, and nothing is paid.
                tracing::warn!(target: "wavequill", %error, "a kept transcript cannot be read");
                Ok(None)
            }
        }
    }

    /// Keeps a transcript, durably; `owner` can have it erased.
    ///
    /// # Errors
    /// [`WavequillError::Cache`] if it is not durable.
    pub async fn cache_transcript(
        &self,
        key: &CacheKey,
        transcript: &Transcript,
        owner: Option<Owner>,
    ) -> Result<(), WavequillError> {
        let cost = MissCost::ZERO
            .with_audio(transcript.duration())
            .with_micro_dollars(transcript.costs.microdollars);
        let mut put = CachePut::postcard(*key, transcript, SCHEMA, self.ttl)?.with_cost(cost);
        if let Some(owner) = owner {
            put = put.with_owner(owner);
        }
        self.cache.put(put).await?;
        Ok(())
    }

    /// The kept transcript, or the one that `transcribe` makes, which is then kept.
    ///
    /// # Errors
    /// What `transcribe` fails with, or [`WavequillError::Cache`].
    pub async fn get_or_transcribe<F>(
        &self,
        key: &CacheKey,
        owner: Option<Owner>,
        transcribe: F,
    ) -> Result<Arc<Transcript>, WavequillError>
    where
        F: Future<Output = Result<Transcript, WavequillError>> + Send,
    {
        if let Some(known) = self.get_transcript(key).await? {
            return Ok(known);
        }
        let transcript = transcribe.await?;
        if transcript.is_complete() {
            self.cache_transcript(key, &transcript, owner).await?;
        }
        Ok(Arc::new(transcript))
    }

    /// How long transcripts are kept.
    pub fn ttl(&self) -> Duration {
        self.ttl.as_duration()
    }
}
