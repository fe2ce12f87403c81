//! The role that names results by what was asked. It is pure: it does no I/O and reads no clock.

use std::fmt::Debug;
use std::sync::Arc;

use sha2::{Digest, Sha256};
use wavequill_kernel::ContentHash;

use crate::{
    CacheKey, ChunkKeySpec, ContentKind, EmbeddingsKeySpec, KeyMaterial, Metadata, Namespace,
    TranscriptKeySpec,
};

/// Names results by what was asked.
///
/// # Contract
/// 1. Different material hashes different bytes.
/// 2. Text and bytes of equal content have different keys.
/// 3. A key is the same on every platform and release until its domain's version is raised.
/// 4. [`validate_key`](Self::validate_key) is true for exactly the content that the key was made from: a transcript
///    key's file, an embeddings key's text.
/// 5. Memory does not grow with the content.
pub trait ContentAddresser: Debug + Send + Sync + 'static {
    /// Makes the key of `material`.
    fn address(&self, material: &KeyMaterial<'_>) -> CacheKey;

    /// A hasher for content that comes in parts. Feed it 1 MiB at a time, on a thread that may block.
    fn hasher(&self) -> ContentHasher {
        ContentHasher::default()
    }

    /// Hashes content that is in memory.
    fn hash_content(&self, content: &[u8]) -> ContentHash {
        let mut hasher = self.hasher();
        hasher.update(content);
        hasher.finish()
    }

    /// The key of a result of the embedder's own, made from bytes.
    fn generate_key(&self, content: &[u8], namespace: Namespace, metadata: &Metadata) -> CacheKey {
        let content = self.hash_content(content);
        self.address(&KeyMaterial::Generic { namespace, content, kind: ContentKind::Bytes, metadata })
    }

    /// The key of a result of the embedder's own, made from text.
    fn generate_text_key(&self, text: &str, namespace: Namespace, metadata: &Metadata) -> CacheKey {
        let content = self.hash_content(text.as_bytes());
        self.address(&KeyMaterial::Generic { namespace, content, kind: ContentKind::Text, metadata })
    }

    /// The key of a whole transcript.
    fn generate_transcript_key(&self, spec: &TranscriptKeySpec<'_>) -> CacheKey {
        self.address(&KeyMaterial::Transcript(spec))
    }

    /// The key of a chunk's answer.
    fn generate_chunk_key(&self, spec: &ChunkKeySpec<'_>) -> CacheKey {
        self.address(&KeyMaterial::Chunk(spec))
    }

    /// The key of an embedding.
    fn generate_embeddings_key(&self, spec: &EmbeddingsKeySpec<'_>) -> CacheKey {
        self.address(&KeyMaterial::Embeddings(spec))
    }

    /// Whether the key was made from exactly this content.
    fn validate_key(&self, key: &CacheKey, content: &[u8]) -> bool {
        self.hash_content(content) == key.content()
    }
}

/// Hashes content in parts of any size, in constant memory.
///
/// ```
/// use wavequill_caching::{ContentAddresser, Sha256ContentAddresser};
///
/// let addresser = Sha256ContentAddresser::new();
/// let mut hasher = addresser.hasher();
/// hasher.update(b"hours ");
/// hasher.update(b"of audio");
/// assert_eq!(hasher.finish(), addresser.hash_content(b"hours of audio"));
/// ```
#[derive(Clone, Debug, Default)]
pub struct ContentHasher {
    sha256: Sha256,
    len: u64,
}

impl ContentHasher {
    /// Adds the next part.
    pub fn update(&mut self, part: &[u8]) {
        self.sha256.update(part);
        self.len += part.len() as u64;
    }

    /// The hash of all parts.
    pub fn finish(self) -> ContentHash {
        ContentHash::new(self.sha256.finalize().into(), self.len)
    }
}

impl<T: ContentAddresser + ?Sized> ContentAddresser for Arc<T> {
    fn address(&self, material: &KeyMaterial<'_>) -> CacheKey {
        (**self).address(material)
    }
}

impl<T: ContentAddresser + ?Sized> ContentAddresser for Box<T> {
    fn address(&self, material: &KeyMaterial<'_>) -> CacheKey {
        (**self).address(material)
    }
}
