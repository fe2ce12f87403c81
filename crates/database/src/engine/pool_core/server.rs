//! What only connections to a server need: they may have died unseen, and some leave the pool for good.

use std::ops::{Deref, DerefMut};
use std::sync::Arc;
#[cfg(feature = "diesel-async-0-9")]
use std::time::Duration;

#[cfg(feature = "diesel-async-0-9")]
use super::Asked;
use super::effects::Effects;
use super::lease::{Lease, conn, conn_mut};
use super::state::Member;
use super::{PoolCore, Pooled};
use crate::DatabaseError;

impl<C: Pooled> PoolCore<C> {
    /// A connection that is idle and known to be alive, if nobody waits for one.
    #[cfg(feature = "diesel-async-0-9")]
    pub(crate) fn try_acquire(self: &Arc<Self>, asked: Asked) -> Option<Lease<C>> {
        let now = self.coarse_now();
        let mut state = self.state.lock();
        let newest_is_fresh =
            state.newest_idle_since().is_some_and(|used| now < used + self.policy.fresh_for);
        if !newest_is_fresh {
            return None;
        }
        let granted = state.take_idle(now, asked)?;
        drop(state);
        self.metrics.acquired(Duration::ZERO);
        Some(Lease::new(Arc::clone(self), granted, now, true))
    }

    /// Every connection opened before now is not to be handed on: the server has restarted, or is no primary now.
    pub(crate) fn new_generation(self: &Arc<Self>) {
        let mut effects = Effects::new();
        self.state.lock().new_generation(self.now(), &mut effects);
        self.carry_out(effects);
    }

    /// Takes a connection out of the pool for good; its place stays taken until the result is dropped.
    pub(crate) fn dedicate(self: &Arc<Self>, mut lease: Lease<C>) -> Result<Dedicated<C>, DatabaseError> {
        let mut effects = Effects::new();
        let left = self.state.lock().dedicate(lease.key, self.now(), &mut effects);
        self.carry_out(effects);
        if left {
            Ok(Dedicated { core: Arc::clone(self), member: lease.member.take() })
        } else {
            let max = self.policy.limits.max().get();
            Err(DatabaseError::TooManyDedicated { pool: Arc::clone(&self.name), max })
        }
    }
}

impl<C: Pooled> Lease<C> {
    /// It was checked, and lives.
    pub(crate) fn mark_fresh(&mut self) {
        self.fresh = true;
    }
}

/// A connection that left the pool for good. Its place is free again when this is dropped.
pub(crate) struct Dedicated<C: Pooled> {
    core: Arc<PoolCore<C>>,
    member: Option<Member<C>>,
}

impl<C: Pooled> Deref for Dedicated<C> {
    type Target = C;

    fn deref(&self) -> &C {
        conn(self.member.as_ref())
    }
}

impl<C: Pooled> DerefMut for Dedicated<C> {
    fn deref_mut(&mut self) -> &mut C {
        conn_mut(self.member.as_mut())
    }
}

impl<C: Pooled> Drop for Dedicated<C> {
    fn drop(&mut self) {
        // First the connection, then its place.
        drop(self.member.take());
        let mut effects = Effects::new();
        self.core.state.lock().dedicated_gone(self.core.now(), &mut effects);
        self.core.carry_out(effects);
    }
}
