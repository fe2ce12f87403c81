//! A cached result.

use std::any::type_name;
use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use serde::de::DeserializeOwned;

use super::{MissCost, PutPolicy, Subject};
use crate::CacheError;
use crate::error::Cause;

/// How a body was written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Codec {
    /// As it came, to the byte: a provider's answer, which a change of our own types must not bill again.
    #[default]
    Verbatim,
    /// JSON text.
    Json,
    /// postcard 1, for derived data; the schema number tells its versions apart.
    Postcard,
}

/// Why there is nothing to store, where asking again would give the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum NegativeCause {
    /// The content holds nothing to recognise.
    Empty,
    /// The provider cannot read the content.
    Unreadable,
    /// The provider does not take content this long or large.
    TooLarge,
    /// The content breaks the provider's rules.
    Refused,
}

/// Whether an entry holds a result or the lack of one.
///
/// A refused credential, an exhausted quota or an outage is no outcome of the content: never store one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// The body is the result.
    #[default]
    Present,
    /// There is no result; the body may say more.
    Negative(NegativeCause),
}

/// One cached result. A clone is a reference count: the body is shared.
#[derive(Clone)]
pub struct CacheValue(Arc<ValueParts>);

/// What a value is made of, for those who read and write envelopes.
#[derive(Clone, Debug)]
pub(crate) struct ValueParts {
    pub(crate) body: Bytes,
    pub(crate) codec: Codec,
    pub(crate) schema: u16,
    pub(crate) outcome: Outcome,
    /// Key, namespace, everything, labels; then the owners, of which there are `owner_count`.
    pub(crate) subjects: Box<[Subject]>,
    pub(crate) owner_count: u8,
    pub(crate) cost: MissCost,
    pub(crate) policy: PutPolicy,
    pub(crate) created_at: SystemTime,
    pub(crate) expires_at: SystemTime,
    pub(crate) stale_until: SystemTime,
}

impl CacheValue {
    pub(crate) fn from_parts(parts: ValueParts) -> Self {
        Self(Arc::new(parts))
    }

    pub(crate) fn parts(&self) -> &ValueParts {
        &self.0
    }

    /// The body.
    pub fn body(&self) -> &Bytes {
        &self.0.body
    }

    /// How the body was written.
    pub fn codec(&self) -> Codec {
        self.0.codec
    }

    /// The version of the body's type, as its writer counted.
    pub fn schema(&self) -> u16 {
        self.0.schema
    }

    /// Whether it is a result, or the lack of one.
    pub fn outcome(&self) -> Outcome {
        self.0.outcome
    }

    /// What it took to make.
    pub fn cost(&self) -> MissCost {
        self.0.cost
    }

    /// Whether a later put may replace it.
    pub fn policy(&self) -> PutPolicy {
        self.0.policy
    }

    /// When it was stored.
    pub fn created_at(&self) -> SystemTime {
        self.0.created_at
    }

    /// The first moment at which it is no longer served.
    pub fn expires_at(&self) -> SystemTime {
        self.0.expires_at
    }

    /// Until when it may stand in for a load that failed; at least [`expires_at`](Self::expires_at).
    pub fn stale_until(&self) -> SystemTime {
        self.0.stale_until
    }

    /// Whether its time is over.
    pub fn is_expired(&self, now: SystemTime) -> bool {
        now >= self.0.expires_at
    }

    /// What an invalidation can name it by: its key, namespace, everything, its labels, its owners.
    pub fn subjects(&self) -> &[Subject] {
        &self.0.subjects
    }

    /// The subjects that end it for every level; owners are not among them, since others may share it.
    pub(crate) fn hard_subjects(&self) -> &[Subject] {
        let end = self.0.subjects.len().saturating_sub(usize::from(self.0.owner_count));
        self.0.subjects.get(..end).unwrap_or_default()
    }

    /// The owners that it was stored with.
    pub(crate) fn owner_subjects(&self) -> &[Subject] {
        let end = self.0.subjects.len().saturating_sub(usize::from(self.0.owner_count));
        self.0.subjects.get(end..).unwrap_or_default()
    }

    /// Reads the body as a `T`, by its codec; a verbatim body is tried as JSON. Today each call decodes anew.
    ///
    /// # Errors
    /// [`CacheError::Undecodable`] if the body is no such `T`.
    pub fn decode<T: DeserializeOwned>(&self) -> Result<Arc<T>, CacheError> {
        let decoded = match self.0.codec {
            Codec::Verbatim | Codec::Json => serde_json::from_slice(&self.0.body).map_err(Cause::new),
            Codec::Postcard => postcard::from_bytes(&self.0.body).map_err(Cause::new),
        };
        decoded.map(Arc::new).map_err(|source| CacheError::Undecodable { wanted: type_name::<T>(), source })
    }

    /// Bytes of memory that it holds.
    pub(crate) fn heap_bytes(&self) -> usize {
        self.0.body.len() + self.0.subjects.len() * size_of::<Subject>() + size_of::<ValueParts>() + 16
    }
}

impl fmt::Debug for CacheValue {
    /// Says all but the body, which may be somebody's speech.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CacheValue")
            .field("bytes", &self.0.body.len())
            .field("codec", &self.0.codec)
            .field("outcome", &self.0.outcome)
            .field("cost", &self.0.cost)
            .field("expires_at", &self.0.expires_at)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn value(codec: Codec, body: &'static [u8]) -> CacheValue {
        let at = SystemTime::UNIX_EPOCH + Duration::from_secs(1);
        CacheValue::from_parts(ValueParts {
            body: Bytes::from_static(body),
            codec,
            schema: 0,
            outcome: Outcome::Present,
            subjects: [1, 2, 3].map(|byte| Subject::from_bytes([byte; 16])).into(),
            owner_count: 1,
            cost: MissCost::ZERO,
            policy: PutPolicy::KeepFirst,
            created_at: at,
            expires_at: at,
            stale_until: at,
        })
    }

    #[test]
    fn a_body_that_is_something_else_is_undecodable_and_says_what_was_wanted() {
        let error = value(Codec::Json, b"{}").decode::<u32>().unwrap_err();
        assert!(error.to_string().contains("the cached body is no u32"), "{error}");
        assert_eq!(*value(Codec::Verbatim, b"17").decode::<u32>().unwrap(), 17);
        assert_eq!(*value(Codec::Postcard, &[17]).decode::<u32>().unwrap(), 17);
    }

    #[test]
    fn owners_are_not_among_what_ends_a_value_for_all() {
        let value = value(Codec::Verbatim, b"");
        assert_eq!((value.hard_subjects().len(), value.owner_subjects().len()), (2, 1));
    }

    #[test]
    fn what_is_logged_of_a_value_is_not_its_body() {
        assert!(!format!("{:?}", value(Codec::Verbatim, b"my secret")).contains("secret"));
    }
}
