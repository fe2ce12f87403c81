//! What an invalidation names, the same set at every level.

use std::fmt;

use sha2::{Digest, Sha256};
use wavequill_kernel::InvalidValue;

use super::{CacheKey, Namespace};
use crate::CacheError;

const MAX_NAME: usize = 256;

/// What the log orders: 16 bytes that stand for a key, a namespace, a label, an owner, or everything.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Subject([u8; 16]);

impl Subject {
    /// How many bytes [`as_bytes`](Self::as_bytes) gives.
    pub const LEN: usize = 16;

    /// Wraps the 16 bytes that a store kept.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The 16 bytes.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// One key's subject: its digest, cut.
    pub fn of_key(key: &CacheKey) -> Self {
        Self::cut(key.digest())
    }

    /// One namespace's subject.
    pub fn of_namespace(namespace: Namespace) -> Self {
        Self::named(b'n', namespace.as_str())
    }

    /// The subject of every entry.
    pub fn everything() -> Self {
        Self::named(b'*', "")
    }

    fn named(kind: u8, name: &str) -> Self {
        Self::cut(&Sha256::new().chain_update([kind]).chain_update(name).finalize().into())
    }

    fn cut(digest: &[u8; 32]) -> Self {
        let mut subject = [0; 16];
        for (to, from) in subject.iter_mut().zip(digest) {
            *to = *from;
        }
        Self(subject)
    }
}

impl fmt::Debug for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Subject({:032x})", u128::from_be_bytes(self.0))
    }
}

fn checked<'a>(what: &'static str, name: &'a str) -> Result<&'a str, InvalidValue> {
    if name.is_empty() || name.len() > MAX_NAME {
        return Err(InvalidValue::new(what, format!("{} bytes long", name.len()), "1 to 256 bytes"));
    }
    Ok(name)
}

/// A name that many entries can share and be invalidated by. Only its hash is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Label(Subject);

impl Label {
    /// Names a label.
    ///
    /// # Errors
    /// [`InvalidValue`] if the name is empty or longer than 256 bytes.
    pub fn new(name: &str) -> Result<Self, InvalidValue> {
        checked("label", name).map(|name| Self(Subject::named(b'l', name)))
    }

    /// The label of all that belongs to one transcript.
    ///
    /// # Errors
    /// [`InvalidValue`] if the id is empty or longer than 256 bytes.
    pub fn of_transcript(id: &str) -> Result<Self, InvalidValue> {
        checked("transcript id", id).map(|id| Self(Subject::named(b't', id)))
    }

    /// What the log calls it.
    pub const fn subject(&self) -> Subject {
        self.0
    }
}

/// Someone whose data an entry holds. Only the name's hash is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Owner(Subject);

impl Owner {
    /// Names an owner.
    ///
    /// # Errors
    /// [`InvalidValue`] if the name is empty or longer than 256 bytes.
    pub fn new(name: &str) -> Result<Self, InvalidValue> {
        checked("owner", name).map(|name| Self(Subject::named(b'o', name)))
    }

    /// What the log calls it.
    pub const fn subject(&self) -> Subject {
        self.0
    }
}

/// A set of entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Selector {
    /// One key.
    Key(CacheKey),
    /// All entries with a label.
    Label(Label),
    /// All entries that belong to an owner and to nobody else.
    Owner(Owner),
    /// All entries of a namespace.
    Namespace(Namespace),
    /// All entries.
    All,
}

/// The kind of a [`Selector`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SelectorKind {
    /// One key.
    Key,
    /// A label.
    Label,
    /// An owner.
    Owner,
    /// A namespace.
    Namespace,
    /// Everything.
    All,
}

impl Selector {
    /// What the log calls the set.
    pub fn subject(&self) -> Subject {
        match self {
            Self::Key(key) => Subject::of_key(key),
            Self::Label(label) => label.subject(),
            Self::Owner(owner) => owner.subject(),
            Self::Namespace(namespace) => Subject::of_namespace(*namespace),
            Self::All => Subject::everything(),
        }
    }

    /// Its kind.
    pub const fn kind(&self) -> SelectorKind {
        match self {
            Self::Key(_) => SelectorKind::Key,
            Self::Label(_) => SelectorKind::Label,
            Self::Owner(_) => SelectorKind::Owner,
            Self::Namespace(_) => SelectorKind::Namespace,
            Self::All => SelectorKind::All,
        }
    }
}

/// A selector as text: `*`, `<namespace>:*` or `label:<name>`. There is no pattern language: keys are hashes, in
/// which no part of what was asked can be found, and globs mean another set in each store.
///
/// ```
/// use wavequill_caching::{KeyPattern, Label, Namespace, Selector};
///
/// assert_eq!("chunk:*".parse::<KeyPattern>()?.selector(), Selector::Namespace(Namespace::CHUNK));
/// assert_eq!("label:radio".parse::<KeyPattern>()?.selector(), Selector::Label(Label::new("radio")?));
/// assert!("*:17:*".parse::<KeyPattern>().is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyPattern(Selector);

impl KeyPattern {
    /// The set that the pattern means.
    pub const fn selector(&self) -> Selector {
        self.0
    }
}

impl std::str::FromStr for KeyPattern {
    type Err = CacheError;

    fn from_str(pattern: &str) -> Result<Self, CacheError> {
        let selector = match pattern.split_once(':') {
            None if pattern == "*" => Some(Selector::All),
            Some((namespace, "*")) => Namespace::new(namespace).ok().map(Selector::Namespace),
            Some(("label", name)) => Label::new(name).ok().map(Selector::Label),
            _ => None,
        };
        selector.map(Self).ok_or_else(|| CacheError::InvalidPattern { pattern: pattern.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_an_owner_and_a_namespace_of_one_name_are_three_subjects() {
        let label = Label::new("chunk").unwrap().subject();
        let owner = Owner::new("chunk").unwrap().subject();
        let transcript = Label::of_transcript("chunk").unwrap().subject();
        let namespace = Subject::of_namespace(Namespace::CHUNK);
        let all = [label, owner, transcript, namespace, Subject::everything()];
        for (at, one) in all.iter().enumerate() {
            assert!(all.iter().skip(at + 1).all(|other| other != one));
        }
    }

    #[test]
    fn a_pattern_that_would_mean_another_set_at_another_level_is_refused_with_the_three_that_do_not() {
        for pattern in ["", "**", "chunk:[!b]*", "Chunk:*", "label:", "*:*", "user:17"] {
            let error = pattern.parse::<KeyPattern>().unwrap_err();
            assert!(error.to_string().contains("`<namespace>:*`"), "{pattern}: {error}");
        }
    }

    #[test]
    fn a_name_of_no_or_too_many_bytes_is_refused() {
        assert!(Label::new("").is_err());
        assert!(Owner::new(&"x".repeat(257)).is_err());
        assert!(Owner::new(&"x".repeat(256)).is_ok());
    }
}
