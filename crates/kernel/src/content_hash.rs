//! The identity of some content. Hashing itself is done by those who read the content.

use std::fmt;
use std::str::FromStr;

use crate::InvalidValue;

/// SHA-256 (FIPS 180-4) *and* length in bytes of some content; shown as `<64 hex digits>-<length>`.
///
/// The length makes a mix-up of unlike content visible at once, and no known attack on the hash fits in it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(try_from = "String", into = "String"))]
pub struct ContentHash {
    sha256: [u8; 32],
    len: u64,
}

impl ContentHash {
    /// How many bytes [`to_bytes`](Self::to_bytes) gives.
    pub const ENCODED_LEN: usize = 40;

    /// Joins a digest with the length in bytes of what it was made from.
    pub const fn new(sha256: [u8; 32], len: u64) -> Self {
        Self { sha256, len }
    }

    /// The digest.
    pub const fn sha256(&self) -> &[u8; 32] {
        &self.sha256
    }

    /// The length of the content in bytes.
    #[expect(clippy::len_without_is_empty, reason = "the length of what was hashed, not of the hash")]
    pub const fn len(&self) -> u64 {
        self.len
    }

    /// 32 bytes of digest, then the length as a big-endian `u64`.
    pub fn to_bytes(&self) -> [u8; Self::ENCODED_LEN] {
        let mut bytes = [0; Self::ENCODED_LEN];
        let (digest, len) = bytes.split_at_mut(32);
        digest.copy_from_slice(&self.sha256);
        len.copy_from_slice(&self.len.to_be_bytes());
        bytes
    }

    /// Reads what [`to_bytes`](Self::to_bytes) wrote.
    pub fn from_bytes(bytes: &[u8; Self::ENCODED_LEN]) -> Self {
        let mut sha256 = [0; 32];
        let mut len = [0; 8];
        let (digest, tail) = bytes.split_at(32);
        sha256.copy_from_slice(digest);
        len.copy_from_slice(tail);
        Self { sha256, len: u64::from_be_bytes(len) }
    }
}

impl fmt::Display for ContentHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for byte in self.sha256 {
            write!(f, "{byte:02x}")?;
        }
        write!(f, "-{}", self.len)
    }
}

impl fmt::Debug for ContentHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ContentHash({self})")
    }
}

impl FromStr for ContentHash {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        parse(text).ok_or_else(|| {
            InvalidValue::new("content hash", format!("{text:?}"), "64 hex digits, `-`, a length")
        })
    }
}

impl TryFrom<String> for ContentHash {
    type Error = InvalidValue;

    fn try_from(text: String) -> Result<Self, InvalidValue> {
        text.parse()
    }
}

impl From<ContentHash> for String {
    fn from(hash: ContentHash) -> Self {
        hash.to_string()
    }
}

/// One text a number: no sign, no leading zeros.
fn is_plain_number(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_digit()) && (text == "0" || !text.starts_with('0'))
}

fn parse(text: &str) -> Option<ContentHash> {
    let (digest, len) = text.split_once('-')?;
    if digest.len() != 64 || !digest.bytes().all(|b| b.is_ascii_hexdigit()) || !is_plain_number(len) {
        return None;
    }
    let mut sha256 = [0; 32];
    for (at, byte) in sha256.iter_mut().enumerate() {
        *byte = u8::from_str_radix(digest.get(2 * at..2 * at + 2)?, 16).ok()?;
    }
    Some(ContentHash { sha256, len: len.parse().ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn text_and_bytes_read_back(sha256: [u8; 32], len: u64) {
            let hash = ContentHash::new(sha256, len);
            prop_assert_eq!(hash.to_string().parse::<ContentHash>().unwrap(), hash);
            prop_assert_eq!(ContentHash::from_bytes(&hash.to_bytes()), hash);
        }

        #[test]
        fn any_text_is_read_or_refused_without_a_panic(text: String) {
            if let Ok(hash) = text.parse::<ContentHash>() {
                prop_assert_eq!(hash.to_string().to_lowercase(), text.to_lowercase());
            }
        }
    }

    #[test]
    fn content_of_another_length_is_other_content() {
        assert_ne!(ContentHash::new([7; 32], 1), ContentHash::new([7; 32], 2));
    }
}
