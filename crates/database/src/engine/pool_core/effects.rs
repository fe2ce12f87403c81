//! What a decision leads to, kept until the lock is released.

use std::task::Waker;

use super::state::Member;
use super::{CloseCause, Pooled};

/// Allocates nothing while nothing is to be done.
pub(super) struct Effects<C: Pooled> {
    pub(super) wake: Vec<Waker>,
    pub(super) connects: u32,
    pub(super) close: Vec<(Member<C>, CloseCause)>,
    pub(super) discard: Vec<Member<C>>,
    /// Whether those who watch the pool are to look again.
    pub(super) changed: bool,
}

impl<C: Pooled> Effects<C> {
    pub(super) const fn new() -> Self {
        Self { wake: Vec::new(), connects: 0, close: Vec::new(), discard: Vec::new(), changed: false }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.wake.is_empty()
            && self.connects == 0
            && self.close.is_empty()
            && self.discard.is_empty()
            && !self.changed
    }

    pub(super) fn close(&mut self, member: Member<C>, cause: CloseCause) {
        self.close.push((member, cause));
        self.changed = true;
    }
}
