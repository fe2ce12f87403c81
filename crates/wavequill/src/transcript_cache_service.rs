//! Whole transcripts, kept under the recording's content and everything that was asked. It knows no audio format.

use std::sync::Arc;

use wavequill_caching::{
    Cache, CacheKey, CachePut, ContentAddresser, MissCost, Owner, RequestSpec, TranscriptKeySpec,
};
use wavequill_kernel::{ContentHash, Ttl};
use wavequill_processing::Transcript;

use crate::WavequillError;

/// How this version joins chunks. Both are raised whenever the same chunks would give other words or times.
const PLAIN: u32 = 1;
/// An audited transcript is another one than one that nobody audited.
pub(crate) const AUDITED: u32 = 2;

/// The schema of the stored [`Transcript`].
const SCHEMA: u16 = 1;

/// Finds and keeps whole transcripts.
#[derive(Clone, Debug)]
pub struct TranscriptCacheService {
    cache: Arc<dyn Cache>,
    addresser: Arc<dyn ContentAddresser>,
    ttl: Ttl,
    post_processing: u32,
}

impl TranscriptCacheService {
    /// Keeps transcripts in `cache` for `ttl`.
    pub fn new(cache: Arc<dyn Cache>, addresser: Arc<dyn ContentAddresser>, ttl: Ttl) -> Self {
        Self { cache, addresser, ttl, post_processing: PLAIN }
    }

    /// Keeps apart what is made of the same chunks in another way, by a number above 1.
    #[must_use]
    pub fn with_post_processing(mut self, way: u32) -> Self {
        self.post_processing = way;
        self
    }

    /// The key of a recording's transcript: its raw bytes, and what was asked.
    pub fn key(&self, content: ContentHash, request: &RequestSpec) -> CacheKey {
        self.addresser.generate_transcript_key(&TranscriptKeySpec {
            content,
            request,
            // Whatever the cuts, the words are those of the recording.
            plan_fingerprint: None,
            post_processing: Some(self.post_processing),
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
}
