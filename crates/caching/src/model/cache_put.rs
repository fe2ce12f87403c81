//! What is to be stored, and what became of it.

use std::time::Duration;

use bytes::Bytes;
use serde::Serialize;
use wavequill_kernel::{InvalidValue, Ttl};

use super::{CacheKey, Codec, Label, LoadPermit, MissCost, Outcome, Owner};
use crate::CacheError;

/// What happens when a live entry is there already.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum PutPolicy {
    /// It stays. Right for content-addressed results, where both are worth the same.
    #[default]
    KeepFirst,
    /// It is replaced, on every node.
    Replace,
}

/// One result to be stored.
///
/// ```
/// use std::time::Duration;
/// use wavequill_caching::{CacheKey, CachePut, MissCost, Namespace, Owner};
/// use wavequill_kernel::{ContentHash, Ttl};
///
/// # let key = CacheKey::new(Namespace::CHUNK, [1; 32], ContentHash::new([2; 32], 9));
/// let put = CachePut::new(key, r#"{"text":"so it goes"}"#, Ttl::new(Duration::from_secs(3_600))?)
///     .with_owner(Owner::new("account 17")?)
///     .with_cost(MissCost::ZERO.with_audio(Duration::from_secs(41)).with_micro_dollars(4_100));
/// assert_eq!(put.body().len(), 21);
/// # Ok::<(), wavequill_kernel::InvalidValue>(())
/// ```
#[derive(Debug)]
pub struct CachePut {
    pub(crate) key: CacheKey,
    pub(crate) body: Bytes,
    pub(crate) codec: Codec,
    pub(crate) schema: u16,
    pub(crate) outcome: Outcome,
    pub(crate) labels: Vec<Label>,
    pub(crate) owners: Vec<Owner>,
    pub(crate) cost: MissCost,
    pub(crate) policy: PutPolicy,
    pub(crate) ttl: Ttl,
    pub(crate) stale_for: Duration,
    pub(crate) permit: Option<LoadPermit>,
}

impl CachePut {
    /// How many labels an entry can have.
    pub const MAX_LABELS: usize = 8;
    /// How many owners one put can name.
    pub const MAX_OWNERS: usize = 8;

    /// Stores `body` verbatim under `key` for `ttl`, unless a live entry is there.
    pub fn new(key: CacheKey, body: impl Into<Bytes>, ttl: Ttl) -> Self {
        Self {
            key,
            body: body.into(),
            codec: Codec::Verbatim,
            schema: 0,
            outcome: Outcome::Present,
            labels: Vec::new(),
            owners: Vec::new(),
            cost: MissCost::ZERO,
            policy: PutPolicy::KeepFirst,
            ttl,
            stale_for: Duration::ZERO,
            permit: None,
        }
    }

    /// Stores a value as postcard; `schema` is the version of its type.
    ///
    /// # Errors
    /// [`CacheError::InvalidValue`] if it cannot be written.
    pub fn postcard<T: Serialize + ?Sized>(
        key: CacheKey,
        value: &T,
        schema: u16,
        ttl: Ttl,
    ) -> Result<Self, CacheError> {
        let body = postcard::to_allocvec(value).map_err(|error| CacheError::InvalidValue {
            source: InvalidValue::new("value", error, "a value that postcard can write"),
        })?;
        Ok(Self { codec: Codec::Postcard, schema, ..Self::new(key, body, ttl) })
    }

    /// Says how the body was written, and which version of its type it is.
    #[must_use]
    pub fn with_codec(mut self, codec: Codec, schema: u16) -> Self {
        self.codec = codec;
        self.schema = schema;
        self
    }

    /// Says that there is a result, or why not.
    #[must_use]
    pub fn with_outcome(mut self, outcome: Outcome) -> Self {
        self.outcome = outcome;
        self
    }

    /// Adds a name that many entries can be invalidated by; at most [`MAX_LABELS`](Self::MAX_LABELS).
    #[must_use]
    pub fn with_label(mut self, label: Label) -> Self {
        self.labels.push(label);
        self
    }

    /// Adds someone whose data this is; at most [`MAX_OWNERS`](Self::MAX_OWNERS). The entry lives until its last
    /// owner is erased; one that was stored without an owner belongs to nobody and outlives them all.
    #[must_use]
    pub fn with_owner(mut self, owner: Owner) -> Self {
        self.owners.push(owner);
        self
    }

    /// Says what it took to make, which each hit saves.
    #[must_use]
    pub fn with_cost(mut self, cost: MissCost) -> Self {
        self.cost = cost;
        self
    }

    /// Replaces a live entry.
    #[must_use]
    pub fn replacing(mut self) -> Self {
        self.policy = PutPolicy::Replace;
        self
    }

    /// Lets the value stand in for failed loads this long after its end. Default: not at all.
    #[must_use]
    pub fn with_stale_for(mut self, grace: Duration) -> Self {
        self.stale_for = grace;
        self
    }

    /// Fills the permit, which wakes all that wait for the key.
    #[must_use]
    pub fn under(mut self, permit: LoadPermit) -> Self {
        self.permit = Some(permit);
        self
    }

    /// What it is stored under.
    pub fn key(&self) -> &CacheKey {
        &self.key
    }

    /// What is stored.
    pub fn body(&self) -> &Bytes {
        &self.body
    }
}

/// What became of a put.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PutOutcome {
    /// What the durable level did.
    pub verdict: StoreVerdict,
    /// What this process's memory did.
    pub l1: L1Verdict,
}

/// What the durable level did with a put.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StoreVerdict {
    /// The value is stored and durable.
    Stored,
    /// A live entry was there and stays; the put's owners now share it.
    KeptExisting,
    /// Its key, a label, its namespace or an owner was invalidated after the permit was given: nothing keeps it.
    Superseded,
}

/// What L1 did with a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum L1Verdict {
    /// It is in memory.
    Admitted,
    /// It is heavier than one entry may be, so other levels serve it.
    TooLarge,
    /// It was weighed against what memory holds, and found to be used less.
    Colder,
    /// It was not offered to memory: see the store's verdict.
    NotOffered,
}
