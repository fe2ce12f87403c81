//! Places of connections that are being opened or closed elsewhere. A place is never lost: a ticket that is
//! dropped unused frees it.

use std::sync::{Arc, Weak};
use std::time::Duration;

use super::effects::Effects;
use super::{PoolCore, Pooled};
use crate::{ConnectFailure, DatabaseError};

/// The place of a connection that is being opened.
pub(crate) struct ConnectTicket<C: Pooled> {
    core: Weak<PoolCore<C>>,
    begun: Duration,
    used: bool,
}

impl<C: Pooled> ConnectTicket<C> {
    pub(super) fn new(core: &Arc<PoolCore<C>>, begun: Duration) -> Self {
        Self { core: Arc::downgrade(core), begun, used: false }
    }

    /// Hands over the connection, or says why there is none.
    pub(crate) fn finish(mut self, result: Result<C, DatabaseError>) {
        self.used = true;
        self.report(result);
    }

    fn report(&self, result: Result<C, DatabaseError>) {
        // A pool that has gone needs no connection.
        let Some(core) = self.core.upgrade() else { return };
        let now = core.now();
        core.metrics.connected(now.saturating_sub(self.begun), result.is_ok());
        if let Err(error) = &result {
            tracing::warn!(pool = %core.name, %error, "a connection could not be opened");
        }
        let mut effects = Effects::new();
        core.state.lock().connected(result, now, &core.policy, &core.closed(), &mut effects);
        core.carry_out(effects);
    }
}

impl<C: Pooled> Drop for ConnectTicket<C> {
    fn drop(&mut self) {
        if self.used {
            return;
        }
        if let Some(core) = self.core.upgrade() {
            let error = DatabaseError::Connect {
                pool: Arc::clone(&core.name),
                failure: ConnectFailure::Unreachable,
                detail: "the runtime that was opening the connection has ended".to_owned(),
            };
            self.report(Err(error));
        }
    }
}

/// The place of a connection that is being stopped and closed.
pub(crate) struct DiscardTicket<C: Pooled> {
    core: Weak<PoolCore<C>>,
}

impl<C: Pooled> DiscardTicket<C> {
    pub(super) fn new(core: &Arc<PoolCore<C>>) -> Self {
        Self { core: Arc::downgrade(core) }
    }
}

impl<C: Pooled> Drop for DiscardTicket<C> {
    fn drop(&mut self) {
        if let Some(core) = self.core.upgrade() {
            let mut effects = Effects::new();
            core.state.lock().discarded(core.now(), &mut effects);
            core.carry_out(effects);
        }
    }
}
