//! The name of a cached result. How it is made is the business of a `ContentAddresser`.

use std::fmt;
use std::hash::{Hash, Hasher};

use wavequill_kernel::{ContentHash, InvalidValue};

/// A family of keys: 1 to 32 characters of `a-z`, `0-9`, `_`, `-`.
///
/// ```
/// use wavequill_caching::Namespace;
///
/// assert_eq!(Namespace::new("speaker-labels")?.as_str(), "speaker-labels");
/// assert!(Namespace::new("Speaker Labels").is_err());
/// # Ok::<(), wavequill_kernel::InvalidValue>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Namespace {
    len: u8,
    text: [u8; Self::MAX_LEN],
}

impl Namespace {
    /// The longest name, in bytes.
    pub const MAX_LEN: usize = 32;
    /// Whole transcripts.
    pub const TRANSCRIPT: Self = Self::constant(b"transcript");
    /// Answers for one chunk of audio each.
    pub const CHUNK: Self = Self::constant(b"chunk");
    /// Embeddings of text.
    pub const EMBEDDINGS: Self = Self::constant(b"embeddings");

    /// Checks the name.
    ///
    /// # Errors
    /// [`InvalidValue`] if it is empty, longer than 32 bytes, or holds another character.
    pub fn new(name: &str) -> Result<Self, InvalidValue> {
        let bytes = name.as_bytes();
        let fits = (1..=Self::MAX_LEN).contains(&bytes.len());
        if !fits || !bytes.iter().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-')) {
            return Err(InvalidValue::new(
                "namespace",
                format!("{name:?}"),
                "1 to 32 characters of a-z, 0-9, `_` and `-`",
            ));
        }
        let mut text = [0; Self::MAX_LEN];
        for (to, from) in text.iter_mut().zip(bytes) {
            *to = *from;
        }
        Ok(Self { len: bytes.len() as u8, text })
    }

    #[expect(
        clippy::indexing_slicing,
        reason = "evaluated at compile time: an index out of range does not build"
    )]
    const fn constant(name: &[u8]) -> Self {
        let mut text = [0; Self::MAX_LEN];
        let mut at = 0;
        while at < name.len() {
            text[at] = name[at];
            at += 1;
        }
        Self { len: name.len() as u8, text }
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        self.text
            .get(..usize::from(self.len))
            .and_then(|text| std::str::from_utf8(text).ok())
            .unwrap_or_default()
    }
}

impl fmt::Display for Namespace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Namespace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Namespace({self})")
    }
}

/// Names one cached result: a namespace, 32 bytes that depend on all that was asked, and the hash of the content
/// that it was asked about.
///
/// Two keys are equal if namespace and digest are; the content travels along, so that a value can be verified.
/// Whoever makes digests must make them depend on the namespace: stores look entries up by digest alone.
/// Shown as `<namespace>:<64 hex digits>`, which says nothing about the content to who does not have it.
#[derive(Clone, Copy)]
pub struct CacheKey {
    namespace: Namespace,
    digest: [u8; 32],
    content: ContentHash,
}

impl CacheKey {
    /// Joins the parts of a key. Services get theirs from a [`ContentAddresser`](crate::ContentAddresser).
    pub const fn new(namespace: Namespace, digest: [u8; 32], content: ContentHash) -> Self {
        Self { namespace, digest, content }
    }

    /// The family.
    pub const fn namespace(&self) -> Namespace {
        self.namespace
    }

    /// What was asked, in 32 bytes.
    pub const fn digest(&self) -> &[u8; 32] {
        &self.digest
    }

    /// The content that the key was made from: a file, a chunk, a text.
    pub const fn content(&self) -> ContentHash {
        self.content
    }
}

impl PartialEq for CacheKey {
    fn eq(&self, other: &Self) -> bool {
        self.digest == other.digest && self.namespace == other.namespace
    }
}

impl Eq for CacheKey {}

impl Hash for CacheKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.digest.hash(state);
    }
}

impl fmt::Display for CacheKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.namespace)?;
        self.digest.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for CacheKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CacheKey({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_with_a_foreign_character_or_length_is_refused_with_the_rule() {
        for name in ["", "a:b", "Ä", "a b", &"x".repeat(33)] {
            let error = Namespace::new(name).unwrap_err();
            assert!(error.to_string().contains("1 to 32 characters"), "{error}");
        }
        assert_eq!(Namespace::new(&"x".repeat(32)).unwrap().as_str().len(), 32);
        assert_eq!(Namespace::new("chunk").unwrap(), Namespace::CHUNK);
    }

    #[test]
    fn keys_are_equal_by_namespace_and_digest() {
        let content = ContentHash::new([1; 32], 3);
        let key = CacheKey::new(Namespace::CHUNK, [7; 32], content);
        assert_eq!(key, CacheKey::new(Namespace::CHUNK, [7; 32], ContentHash::new([2; 32], 9)));
        assert_ne!(key, CacheKey::new(Namespace::TRANSCRIPT, [7; 32], content));
        assert_eq!(key.to_string(), format!("chunk:{}", "07".repeat(32)));
    }
}
