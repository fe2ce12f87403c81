//! The service that says when a request may go, so that the whole quota is used and none is refused.

use std::fmt::{self, Debug};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use crate::error::ExternalError;
use crate::model::quota::{Cost, Lane, Observation, QuotaScope, QuotaView, StopCause};
use crate::ports::Charge;

/// Decides when a request may be sent.
///
/// # Contract
/// 1. All dimensions of a cost are charged, or none.
/// 2. First come, first served within a lane; a waiting lower lane gets each tenth grant.
/// 3. [`acquire`](Self::acquire) returns within the time that it was given.
/// 4. A permit that is dropped unsent restores its cost.
/// 5. A hard stop fails all waiters at once; one request a minute probes whether it has ended.
/// 6. A new limit acts on the next grant.
/// 7. Nonsense in headers is counted and ignored.
/// 8. A grant that is free is synchronous and does no I/O; where only the ledger's server can tell, the answer is
///    [`QuotaAnswer::Ask`].
#[async_trait]
pub trait RateLimitHandler: Debug + Send + Sync + 'static {
    /// Asks without waiting.
    fn try_acquire(&self, scope: &QuotaScope, cost: &Cost) -> QuotaAnswer;

    /// Waits, at most `within`, until the request may be sent.
    ///
    /// # Errors
    /// [`Throttled`](ExternalError::Throttled) if it cannot be sent within that time,
    /// [`Stopped`](ExternalError::Stopped) if nothing can be sent with this credential,
    /// [`Ledger`](ExternalError::Ledger) if the ledger cannot be asked.
    ///
    /// # Cancellation
    /// A dropped future leaves the queue and has charged nothing.
    async fn acquire(
        &self,
        scope: &QuotaScope,
        cost: &Cost,
        lane: Lane,
        within: Duration,
    ) -> Result<QuotaPermit, ExternalError>;

    /// As [`acquire`](Self::acquire), for a request that was refused for the moment: it goes ahead of its lane, since its
    /// turn had come already. An implementation that has no queue need not tell the two apart.
    ///
    /// # Errors
    /// As [`acquire`](Self::acquire).
    ///
    /// # Cancellation
    /// As [`acquire`](Self::acquire).
    async fn rejoin(
        &self,
        scope: &QuotaScope,
        cost: &Cost,
        lane: Lane,
        within: Duration,
    ) -> Result<QuotaPermit, ExternalError> {
        self.acquire(scope, cost, lane, within).await
    }

    /// Takes a permit back with what was learned, for the benefit of all that wait.
    fn observe(&self, permit: QuotaPermit, seen: &Observation);

    /// What is known of a quota.
    fn view(&self, scope: &QuotaScope) -> QuotaView;
}

#[async_trait]
impl<T: RateLimitHandler + ?Sized> RateLimitHandler for Arc<T> {
    fn try_acquire(&self, scope: &QuotaScope, cost: &Cost) -> QuotaAnswer {
        (**self).try_acquire(scope, cost)
    }

    async fn acquire(
        &self,
        scope: &QuotaScope,
        cost: &Cost,
        lane: Lane,
        within: Duration,
    ) -> Result<QuotaPermit, ExternalError> {
        (**self).acquire(scope, cost, lane, within).await
    }

    async fn rejoin(
        &self,
        scope: &QuotaScope,
        cost: &Cost,
        lane: Lane,
        within: Duration,
    ) -> Result<QuotaPermit, ExternalError> {
        (**self).rejoin(scope, cost, lane, within).await
    }

    fn observe(&self, permit: QuotaPermit, seen: &Observation) {
        (**self).observe(permit, seen);
    }

    fn view(&self, scope: &QuotaScope) -> QuotaView {
        (**self).view(scope)
    }
}

/// The answer to [`RateLimitHandler::try_acquire`].
#[derive(Debug)]
pub enum QuotaAnswer {
    /// It may be sent now.
    Granted(QuotaPermit),
    /// Not before this time has passed.
    Wait(Duration),
    /// Only a ledger on another machine can tell: use [`RateLimitHandler::acquire`].
    Ask,
    /// Nothing can be sent with this credential.
    Stopped(StopCause),
}

/// Where a permit goes back to when it is dropped without [`RateLimitHandler::observe`].
pub trait PermitHome: Debug + Send + Sync + 'static {
    /// The request is about to be put on the wire: notes in the charge what the quota looks like now.
    fn sent(&self, scope: &QuotaScope, charge: &mut Charge);

    /// The permit was dropped; `charge` is restored unless the request was `sent`.
    fn returned(&self, scope: &QuotaScope, cost: &Cost, charge: Charge, sent: Sent);
}

/// Whether the request of a permit was put on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// Not a byte.
    No,
    /// At least a part.
    Yes,
}

/// Leave to send one request. Dropped unsent, it gives its cost back.
pub struct QuotaPermit {
    scope: QuotaScope,
    cost: Cost,
    charge: Option<Box<Charge>>,
    sent: Sent,
    home: Arc<dyn PermitHome>,
}

impl QuotaPermit {
    /// A permit for implementers of [`RateLimitHandler`]: what was charged, and where it goes back to.
    pub fn new(scope: QuotaScope, cost: Cost, charge: Charge, home: Arc<dyn PermitHome>) -> Self {
        Self { scope, cost, charge: Some(Box::new(charge)), sent: Sent::No, home }
    }

    /// Whose quota it is of.
    pub fn scope(&self) -> &QuotaScope {
        &self.scope
    }

    /// What it has cost.
    pub fn cost(&self) -> &Cost {
        &self.cost
    }

    /// Says that the request is now put on the wire: from here on its cost is spent.
    pub fn mark_sent(&mut self) {
        self.sent = Sent::Yes;
        if let Some(charge) = &mut self.charge {
            self.home.sent(&self.scope, charge);
        }
    }

    /// Says that the request provably never reached the API after all.
    pub fn mark_unsent(&mut self) {
        self.sent = Sent::No;
    }

    /// Takes the charge out, for implementers of [`RateLimitHandler::observe`]; nothing is restored any more.
    pub fn settle(mut self) -> Option<(Charge, Sent)> {
        self.charge.take().map(|charge| (*charge, self.sent))
    }
}

impl Drop for QuotaPermit {
    fn drop(&mut self) {
        if let Some(charge) = self.charge.take() {
            self.home.returned(&self.scope, &self.cost, *charge, self.sent);
        }
    }
}

impl Debug for QuotaPermit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("QuotaPermit")
            .field("scope", &self.scope)
            .field("cost", &self.cost)
            .field("sent", &self.sent)
            .finish_non_exhaustive()
    }
}
