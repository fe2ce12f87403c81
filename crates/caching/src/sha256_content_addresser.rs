//! Keys by SHA-256 over a canonical encoding: length-prefixed, domain-separated, versioned.
//!
//! `digest = SHA-256( u8 len(domain) ‖ domain ‖ u16 version ‖ fields )`, `field = u8 tag ‖ u64 len ‖ bytes`, all
//! big-endian, tags rising; an absent option has no field. A list is a `u32` count, then items behind `u32` lengths,
//! sorted where order means nothing. Content is its 32-byte hash and `u64` length.

use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use wavequill_kernel::ContentHash;

use crate::{
    CacheKey, ChunkKeySpec, ContentAddresser, ContentKind, EmbeddingsKeySpec, KeyMaterial, Metadata,
    MetadataValue, Namespace, RequestSpec, Task, TranscriptKeySpec,
};

/// The version of each domain's encoding. Raise it when a field changes its meaning: old keys are then never found.
const VERSION: u16 = 1;

/// Names results by SHA-256 over all that was asked.
///
/// ```
/// use wavequill_caching::{ChunkKeySpec, ContentAddresser, RequestSpec, Sha256ContentAddresser};
///
/// let addresser = Sha256ContentAddresser::new();
/// let request = RequestSpec::new("openai", "whisper-1").with_language("en");
/// let content = addresser.hash_content(b"the compressed packets of a chunk");
///
/// let key = addresser.generate_chunk_key(&ChunkKeySpec { content, request: &request });
/// let prompted = request.clone().with_prompt("Names: Ayn, Kees.");
/// assert_ne!(key, addresser.generate_chunk_key(&ChunkKeySpec { content, request: &prompted }));
/// assert!(addresser.validate_key(&key, b"the compressed packets of a chunk"));
/// ```
#[derive(Clone, Default)]
pub struct Sha256ContentAddresser {
    tenant: Option<Hmac<Sha256>>,
}

impl Sha256ContentAddresser {
    /// Keys that all who have the content can make.
    pub const fn new() -> Self {
        Self { tenant: None }
    }

    /// Keys that only holders of `secret` can make (HMAC-SHA-256 in place of SHA-256): tenants then share no entry,
    /// and none can tell by a hit what another has asked.
    #[must_use]
    #[expect(
        clippy::expect_used,
        clippy::missing_panics_doc,
        reason = "HMAC takes a key of any length (RFC 2104, section 2)"
    )]
    pub fn with_tenant_key(secret: &[u8]) -> Self {
        Self { tenant: Some(Hmac::new_from_slice(secret).expect("a key of any length")) }
    }

    fn digest(&self, encoded: &[u8]) -> [u8; 32] {
        match &self.tenant {
            None => Sha256::digest(encoded).into(),
            Some(mac) => mac.clone().chain_update(encoded).finalize().into_bytes().into(),
        }
    }
}

impl fmt::Debug for Sha256ContentAddresser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tenant = self.tenant.as_ref().map(|_| "***");
        f.debug_struct("Sha256ContentAddresser").field("tenant_key", &tenant).finish()
    }
}

impl ContentAddresser for Sha256ContentAddresser {
    fn address(&self, material: &KeyMaterial<'_>) -> CacheKey {
        let (namespace, content, encoded) = encode(material);
        CacheKey::new(namespace, self.digest(&encoded), content)
    }
}

/// The canonical encoding of what a key is made from.
fn encode(material: &KeyMaterial<'_>) -> (Namespace, ContentHash, Vec<u8>) {
    match material {
        KeyMaterial::Transcript(spec) => {
            let TranscriptKeySpec { content, request, plan_fingerprint, post_processing } = spec;
            let mut encoder = Encoder::new("wavequill/transcript");
            encoder.field(1, &content.to_bytes());
            encoder.request(request);
            encoder.optional(12, plan_fingerprint.as_ref().map(<[u8; 32]>::as_slice));
            encoder.optional(13, post_processing.map(u32::to_be_bytes).as_ref().map(<[u8; 4]>::as_slice));
            (Namespace::TRANSCRIPT, *content, encoder.bytes)
        }
        KeyMaterial::Chunk(spec) => {
            let ChunkKeySpec { content, request } = spec;
            let mut encoder = Encoder::new("wavequill/chunk");
            encoder.field(1, &content.to_bytes());
            encoder.request(request);
            (Namespace::CHUNK, *content, encoder.bytes)
        }
        KeyMaterial::Embeddings(spec) => {
            let EmbeddingsKeySpec { text, provider, model, model_revision, dimension } = spec;
            let content = ContentHash::new(Sha256::digest(text).into(), text.len() as u64);
            let mut encoder = Encoder::new("wavequill/embeddings");
            encoder.field(1, &content.to_bytes());
            encoder.field(2, provider.as_bytes());
            encoder.field(3, model.as_bytes());
            encoder.optional(4, model_revision.map(str::as_bytes));
            encoder.optional(5, dimension.map(u32::to_be_bytes).as_ref().map(<[u8; 4]>::as_slice));
            (Namespace::EMBEDDINGS, content, encoder.bytes)
        }
        KeyMaterial::Generic { namespace, content, kind, metadata } => {
            let mut encoder = Encoder::new(&format!("wavequill/generic/{namespace}"));
            encoder.field(1, &content.to_bytes());
            let kind = match kind {
                ContentKind::Bytes => 0,
                ContentKind::Text => 1,
            };
            encoder.field(2, &[kind]);
            encoder.field(3, &encode_metadata(metadata));
            (*namespace, *content, encoder.bytes)
        }
    }
}

struct Encoder {
    bytes: Vec<u8>,
}

impl Encoder {
    /// `domain` is at most 50 bytes: the longest constant, or `wavequill/generic/` and a namespace.
    fn new(domain: &str) -> Self {
        let mut bytes = Vec::with_capacity(512);
        bytes.push(domain.len() as u8);
        bytes.extend_from_slice(domain.as_bytes());
        bytes.extend_from_slice(&VERSION.to_be_bytes());
        Self { bytes }
    }

    fn field(&mut self, tag: u8, value: &[u8]) {
        self.bytes.push(tag);
        self.bytes.extend_from_slice(&(value.len() as u64).to_be_bytes());
        self.bytes.extend_from_slice(value);
    }

    fn optional(&mut self, tag: u8, value: Option<&[u8]>) {
        if let Some(value) = value {
            self.field(tag, value);
        }
    }

    /// Fields 2 to 11. Destructured whole: a new field does not compile before it is part of the key.
    fn request(&mut self, request: &RequestSpec) {
        let RequestSpec {
            provider,
            model,
            model_revision,
            task,
            language,
            prompt,
            temperature,
            response_format,
            granularities,
            options,
        } = request;
        self.field(2, provider.as_bytes());
        self.field(3, model.as_bytes());
        self.optional(4, model_revision.as_ref().map(String::as_bytes));
        let task = match task {
            Task::Transcribe => 0,
            Task::Translate => 1,
        };
        self.field(5, &[task]);
        self.optional(
            6,
            language.as_ref().map(|language| language.to_lowercase()).as_ref().map(String::as_bytes),
        );
        self.optional(7, prompt.as_ref().map(Sha256::digest).as_deref());
        if let Some(temperature) = temperature {
            self.field(8, &temperature.thousandths().to_be_bytes());
        }
        self.optional(9, response_format.as_ref().map(String::as_bytes));
        if !granularities.is_empty() {
            self.field(10, &encode_set(granularities));
        }
        if !options.is_empty() {
            self.field(11, &encode_metadata(options));
        }
    }
}

/// A list whose order and repetitions mean nothing.
fn encode_set(items: &[String]) -> Vec<u8> {
    let mut sorted: Vec<_> = items.iter().map(String::as_bytes).collect();
    sorted.sort_unstable();
    sorted.dedup();
    let mut bytes = (sorted.len() as u32).to_be_bytes().to_vec();
    for item in sorted {
        bytes.extend_from_slice(&(item.len() as u32).to_be_bytes());
        bytes.extend_from_slice(item);
    }
    bytes
}

/// `u32 count`, then by name: `u32 len ‖ name ‖ u8 type ‖ u32 len ‖ value`.
fn encode_metadata(metadata: &Metadata) -> Vec<u8> {
    let mut bytes = (metadata.len() as u32).to_be_bytes().to_vec();
    for (name, value) in metadata.iter() {
        bytes.extend_from_slice(&(name.len() as u32).to_be_bytes());
        bytes.extend_from_slice(name.as_bytes());
        let (kind, value): (u8, &[u8]) = match value {
            MetadataValue::Text(text) => (1, text.as_bytes()),
            MetadataValue::Bytes(raw) => (2, raw),
            MetadataValue::Int(number) => (3, &number.to_be_bytes()),
            MetadataValue::Bool(yes) => (4, &[u8::from(*yes)]),
        };
        bytes.push(kind);
        bytes.extend_from_slice(&(value.len() as u32).to_be_bytes());
        bytes.extend_from_slice(value);
    }
    bytes
}

#[cfg(test)]
#[path = "sha256_content_addresser/tests.rs"]
mod tests;
