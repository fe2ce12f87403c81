//! Whole transcripts, kept under the recording's content and everything that was asked. It knows no audio format.

use std::sync::Arc;

use wavequill_caching::{
    Cache, CacheError, CacheKey, CachePut, CacheValue, Claim, ContentAddresser, LoadPermit, MissCost, Owner,
    RequestSpec, TranscriptKeySpec, Waited,
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

/// What a claim on a transcript came to.
#[derive(Debug)]
pub enum TranscriptClaim {
    /// It is kept.
    Known(Arc<Transcript>),
    /// It is not, and the caller is the one to make it: nobody else, in this process or in another one that shares the
    /// store, does so meanwhile. Dropped, the permit passes to one who waits.
    Make(LoadPermit),
}

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
        Ok(self.cache.get(key).await?.into_value().and_then(|value| read(&value)))
    }

    /// The transcript that is kept under the key, or the right to make it. If somebody else is making it, this waits for
    /// them: the same audio asked for twice at the same moment is paid once.
    ///
    /// # Errors
    /// [`WavequillError::Cache`] if the durable level cannot be asked: without it nobody may pay. The error of the one who
    /// was waited for, if it is a failure that would meet the next one, too.
    ///
    /// # Cancellation
    /// Dropped, only this caller stops waiting.
    pub async fn claim(&self, key: &CacheKey) -> Result<TranscriptClaim, WavequillError> {
        let claim = self.cache.claim(std::slice::from_ref(key)).await?.into_iter().next();
        let value = match claim {
            Some(Claim::Hit { value, .. }) => value,
            Some(Claim::Load(permit)) => return Ok(TranscriptClaim::Make(permit)),
            Some(Claim::Wait(wait)) => match wait.wait().await.map_err(of_the_maker)? {
                Waited::Filled { value, .. } => value,
                Waited::TakeOver(permit) => return Ok(TranscriptClaim::Make(permit)),
            },
            // A cache that says nothing knows nothing.
            None => return Ok(TranscriptClaim::Make(LoadPermit::unguarded(*key))),
        };
        // One that cannot be read is joined anew; its chunks are kept, too.
        Ok(read(&value)
            .map_or_else(|| TranscriptClaim::Make(LoadPermit::unguarded(*key)), TranscriptClaim::Known))
    }

    /// Keeps the transcript that was made under this permit, and gives it to all who wait for it.
    ///
    /// # Errors
    /// [`WavequillError::Cache`] if it is not durable. Those who wait have it all the same.
    pub async fn fill(&self, permit: LoadPermit, transcript: &Transcript) -> Result<(), WavequillError> {
        let put = self.entry(permit.key(), transcript)?.under(permit);
        self.cache.put(put).await?;
        Ok(())
    }

    fn entry(&self, key: &CacheKey, transcript: &Transcript) -> Result<CachePut, WavequillError> {
        let cost = MissCost::ZERO
            .with_audio(transcript.duration())
            .with_micro_dollars(transcript.costs.microdollars);
        // Who makes one has found none that can be read.
        Ok(CachePut::postcard(*key, transcript, SCHEMA, self.ttl)?.with_cost(cost).replacing())
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
        let mut put = self.entry(key, transcript)?;
        if let Some(owner) = owner {
            put = put.with_owner(owner);
        }
        self.cache.put(put).await?;
        Ok(())
    }
}

fn read(value: &CacheValue) -> Option<Arc<Transcript>> {
    if value.schema() != SCHEMA {
        return None;
    }
    match value.decode::<Transcript>() {
        Ok(transcript) => Some(transcript),
        Err(error) => {
            // Its chunks are kept too: it is joined anew, and nothing is paid.
            tracing::warn!(target: "wavequill", %error, "a kept transcript cannot be read");
            None
        }
    }
}

/// The error of the one who was waited for, as that one saw it.
fn of_the_maker(error: CacheError) -> WavequillError {
    if let CacheError::LoadFailed { source, .. } = &error
        && let Some(own) = source.as_error().downcast_ref::<WavequillError>()
    {
        return own.clone();
    }
    error.into()
}
