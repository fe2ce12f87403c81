//! What only connections to a server need: generations, and connections that leave the pool.

use std::time::Duration;

use super::State;
use crate::engine::pool_core::effects::Effects;
use crate::engine::pool_core::{CloseCause, Pooled};

impl<C: Pooled> State<C> {
    #[cfg(feature = "diesel-async-0-9")]
    pub(in crate::engine::pool_core) fn newest_idle_since(&self) -> Option<Duration> {
        self.idle.last().map(|member| member.used)
    }

    pub(in crate::engine::pool_core) fn new_generation(&mut self, now: Duration, effects: &mut Effects<C>) {
        self.generation += 1;
        for member in std::mem::take(&mut self.idle) {
            self.forget(member, CloseCause::Broken, effects);
        }
        self.pump(now, effects);
    }

    /// Whether a held connection has left: one must stay to be shared.
    pub(in crate::engine::pool_core) fn dedicate(
        &mut self,
        key: usize,
        now: Duration,
        effects: &mut Effects<C>,
    ) -> bool {
        if self.closed || self.dedicated + 1 >= self.limits.max().get() {
            return false;
        }
        self.release(key);
        self.dedicated += 1;
        self.trim(effects);
        self.pump(now, effects);
        true
    }

    pub(in crate::engine::pool_core) fn dedicated_gone(&mut self, now: Duration, effects: &mut Effects<C>) {
        self.dedicated -= 1;
        effects.changed = true;
        self.pump(now, effects);
    }
}
