//! The role that ends entries: at once and by name, or physically and completely.

use std::fmt::Debug;
use std::sync::Arc;

use async_trait::async_trait;

use crate::{
    ByteSize, CacheError, CacheKey, EraseCursor, ErasureReport, KeyPattern, L1Eviction, Label, LogPosition,
    Owner, Selector, SweepBudget, SweepReport,
};

/// Ends entries.
///
/// # Contract
/// 1. After [`invalidate`](Self::invalidate) returns, no read on this node, and after `max_staleness` none on any
///    node, serves what was stored or begun before.
/// 2. When [`erase`](Self::erase) returns, that holds everywhere and no level holds the bytes; if a level cannot be
///    reached, that is an error with a cursor to go on from.
/// 3. An entry that has other owners stays.
/// 4. A [`Selector`] means the same set at each level.
/// 5. `invalidate` costs the same for any number of entries.
/// 6. Both are idempotent.
/// 7. A sweep stops at its budget.
/// 8. Memory pressure evicts the coldest first, in slices.
#[async_trait]
pub trait CacheInvalidator: Debug + Send + Sync + 'static {
    /// Ends all selected entries, logically, in one step of the log.
    ///
    /// # Errors
    /// [`CacheError::Unavailable`] if the log did not take it: nothing is invalidated then.
    async fn invalidate(&self, what: &Selector) -> Result<LogPosition, CacheError>;

    /// Removes all selected entries from every level, and verifies that they are gone. `from` goes on with an
    /// erasure that was interrupted.
    ///
    /// # Errors
    /// [`CacheError::ErasureIncomplete`] with the cursor to go on from.
    async fn erase(&self, what: &Selector, from: Option<EraseCursor>) -> Result<ErasureReport, CacheError>;

    /// Removes what nobody can be served any more: call it now and then.
    ///
    /// # Errors
    /// [`CacheError::Unavailable`] if L3 did not answer; what was removed stays removed.
    async fn invalidate_expired(&self, budget: SweepBudget) -> Result<SweepReport, CacheError>;

    /// Shrinks this process's memory to `target` at once. It grows again by use.
    fn invalidate_l1_on_memory_pressure(&self, target: ByteSize) -> L1Eviction;
}

macro_rules! forward_invalidator {
    ($($pointer:ident),*) => {$(
        #[async_trait]
        impl<T: CacheInvalidator + ?Sized> CacheInvalidator for $pointer<T> {
            async fn invalidate(&self, what: &Selector) -> Result<LogPosition, CacheError> {
                (**self).invalidate(what).await
            }
            async fn erase(
                &self,
                what: &Selector,
                from: Option<EraseCursor>,
            ) -> Result<ErasureReport, CacheError> {
                (**self).erase(what, from).await
            }
            async fn invalidate_expired(&self, budget: SweepBudget) -> Result<SweepReport, CacheError> {
                (**self).invalidate_expired(budget).await
            }
            fn invalidate_l1_on_memory_pressure(&self, target: ByteSize) -> L1Eviction {
                (**self).invalidate_l1_on_memory_pressure(target)
            }
        }
    )*};
}
forward_invalidator!(Arc, Box);

/// The invalidations that services ask for by name.
#[async_trait]
pub trait CacheInvalidatorExt: CacheInvalidator {
    /// Ends one entry.
    ///
    /// # Errors
    /// As [`CacheInvalidator::invalidate`].
    async fn invalidate_key(&self, key: &CacheKey) -> Result<LogPosition, CacheError> {
        self.invalidate(&Selector::Key(*key)).await
    }

    /// Ends what a [`KeyPattern`] names.
    ///
    /// # Errors
    /// As [`CacheInvalidator::invalidate`].
    async fn invalidate_pattern(&self, pattern: &KeyPattern) -> Result<LogPosition, CacheError> {
        self.invalidate(&pattern.selector()).await
    }

    /// Ends all entries with the [label of a transcript](Label::of_transcript).
    ///
    /// # Errors
    /// As [`CacheInvalidator::invalidate`]; [`CacheError::InvalidValue`] if the id is empty or too long.
    async fn invalidate_transcript(&self, id: &str) -> Result<LogPosition, CacheError> {
        let label = Label::of_transcript(id).map_err(|source| CacheError::InvalidValue { source })?;
        self.invalidate(&Selector::Label(label)).await
    }

    /// Erases all that belongs to a user and to nobody else.
    ///
    /// # Errors
    /// As [`CacheInvalidator::erase`]; [`CacheError::InvalidValue`] if the name is empty or too long.
    async fn invalidate_user_data(&self, user: &str) -> Result<ErasureReport, CacheError> {
        let owner = Owner::new(user).map_err(|source| CacheError::InvalidValue { source })?;
        self.erase(&Selector::Owner(owner), None).await
    }
}

impl<T: CacheInvalidator + ?Sized> CacheInvalidatorExt for T {}
