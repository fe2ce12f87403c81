//! processing's `TranscriptStore` over caching: a chunk's answer under what exactly was asked about which audio.

use std::sync::Arc;

use async_trait::async_trait;
use wavequill_caching::{
    Cache, CacheError, CacheHitResult, CacheKey, CachePut, ChunkKeySpec, ContentAddresser, MissCost,
    RequestSpec,
};
use wavequill_kernel::{ContentHash, Ttl};
use wavequill_processing::{AudioChunk, ChunkTranscript, ProcessingError, TranscriptStore};

/// Keeps the answers to one kind of request.
#[derive(Clone, Debug)]
pub(crate) struct CachedTranscripts {
    cache: Arc<dyn Cache>,
    addresser: Arc<dyn ContentAddresser>,
    request: Arc<RequestSpec>,
    ttl: Ttl,
}

impl CachedTranscripts {
    pub(crate) fn new(
        cache: Arc<dyn Cache>,
        addresser: Arc<dyn ContentAddresser>,
        request: Arc<RequestSpec>,
        ttl: Ttl,
    ) -> Self {
        Self { cache, addresser, request, ttl }
    }

    fn key(&self, content: ContentHash) -> CacheKey {
        self.addresser.generate_chunk_key(&ChunkKeySpec { content, request: &self.request })
    }
}

fn failed(error: CacheError) -> ProcessingError {
    ProcessingError::Store { source: Arc::new(error) }
}

/// A transcript that this version cannot read is a miss: it is asked for again and replaced.
fn decode(found: CacheHitResult) -> Option<ChunkTranscript> {
    let value = found.into_value()?;
    match ChunkTranscript::decode(value.body()) {
        Ok(transcript) => Some(transcript),
        Err(error) => {
            tracing::warn!(target: "wavequill", %error, "a kept chunk cannot be read");
            None
        }
    }
}

#[async_trait]
impl TranscriptStore for CachedTranscripts {
    async fn find(&self, chunks: &[ContentHash]) -> Result<Vec<Option<ChunkTranscript>>, ProcessingError> {
        let keys: Vec<CacheKey> = chunks.iter().map(|content| self.key(*content)).collect();
        let found = self.cache.get_many(&keys).await.map_err(failed)?;
        Ok(found.into_iter().map(decode).collect())
    }

    async fn keep(&self, chunk: &AudioChunk, heard: &ChunkTranscript) -> Result<(), ProcessingError> {
        let cost = MissCost::ZERO
            .with_audio(chunk.duration())
            .with_micro_dollars(heard.microdollars.unwrap_or_default());
        let put = CachePut::new(self.key(chunk.content_hash()), heard.encode(), self.ttl).with_cost(cost);
        self.cache.put(put).await.map_err(failed)?;
        Ok(())
    }
}
