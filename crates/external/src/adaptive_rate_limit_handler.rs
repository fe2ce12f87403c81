//! [`AdaptiveRateLimitHandler`]: queues in front of a ledger, without a herd.
//!
//! Of all that wait for one quota only one, the next in turn, watches the ledger; the others sleep until it is their
//! turn. So a grant costs one wake, and nobody overtakes within a lane.

mod queue;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use tokio::time::{Instant, sleep_until};

use self::queue::{Place, Queue, Ticket};
use crate::error::ExternalError;
use crate::metrics::QuotaMetrics;
use crate::model::quota::{
    Cost, Lane, Observation, QuotaScope, QuotaView, SeenOutcome, StopCause, ThrottleCause,
};
use crate::ports::{Charge, Charged, QuotaLedger};
use crate::rate_limit_handler::{PermitHome, QuotaAnswer, QuotaPermit, RateLimitHandler, Sent};

/// Grants what the ledger allows, in turn, and tells the ledger what came of it.
///
/// ```
/// use std::sync::Arc;
/// use wavequill_external::{
///     AdaptiveRateLimitHandler, Cost, InMemoryQuotaLedger, ModelId, QuotaAnswer, QuotaScope, RateLimitConfig,
///     RateLimitHandler,
/// };
///
/// let told = RateLimitConfig::default().with_requests_per_minute(1);
/// let handler = AdaptiveRateLimitHandler::new(Arc::new(InMemoryQuotaLedger::new(told)?));
/// let scope = QuotaScope::new("example", None, ModelId::new("whisper-1")?);
/// let QuotaAnswer::Granted(mut permit) = handler.try_acquire(&scope, &Cost::default()) else { unreachable!() };
/// permit.mark_sent();
/// assert!(matches!(handler.try_acquire(&scope, &Cost::default()), QuotaAnswer::Wait(_)));
/// # Ok::<(), wavequill_external::ExternalError>(())
/// ```
#[derive(Debug)]
pub struct AdaptiveRateLimitHandler {
    home: Arc<Home>,
}

#[derive(Debug)]
struct Home {
    ledger: Arc<dyn QuotaLedger>,
    queues: Mutex<BTreeMap<QuotaScope, Queue>>,
    metrics: QuotaMetrics,
}

impl AdaptiveRateLimitHandler {
    /// A handler in front of a ledger.
    pub fn new(ledger: Arc<dyn QuotaLedger>) -> Self {
        let metrics = QuotaMetrics::register();
        Self { home: Arc::new(Home { ledger, queues: Mutex::default(), metrics }) }
    }

    fn permit(&self, scope: &QuotaScope, cost: &Cost, charge: Charge) -> QuotaPermit {
        let home: Arc<dyn PermitHome> = Arc::<Home>::clone(&self.home);
        QuotaPermit::new(scope.clone(), *cost, charge, home)
    }

    async fn wait(
        &self,
        scope: &QuotaScope,
        cost: &Cost,
        lane: Lane,
        place: Place,
        within: Duration,
    ) -> Result<QuotaPermit, ExternalError> {
        let begun = Instant::now();
        // An instant that cannot be reckoned is one that never comes.
        let deadline = begun.checked_add(within).unwrap_or(begun + Duration::from_secs(86_400 * 365));
        let mut turn = Turn::queue(&self.home, scope, lane, place);
        let permit = self.in_turn(&mut turn, cost, deadline).await;
        self.home.metrics.wait.record(begun.elapsed().as_secs_f64());
        permit
    }

    async fn in_turn(
        &self,
        turn: &mut Turn,
        cost: &Cost,
        deadline: Instant,
    ) -> Result<QuotaPermit, ExternalError> {
        loop {
            let called = turn.ticket.called();
            tokio::pin!(called);
            // From here on a call is not missed.
            called.as_mut().enable();
            let mut wake = deadline;
            let mut patience = None;
            if turn.is_next() {
                let charged = if let Some(charged) = self.home.ledger.try_charge(&turn.scope, cost) {
                    charged
                } else {
                    let asked = self.home.ledger.charge(&turn.scope, cost).await;
                    asked.inspect_err(|_| self.home.metrics.ledger_errors.increment(1))?
                };
                match charged {
                    Charged::Granted(charge) => {
                        let permit = self.permit(&turn.scope, cost, charge);
                        turn.granted();
                        return Ok(permit);
                    }
                    Charged::Stopped(cause) => return Err(stopped(cause)),
                    Charged::Wait(Duration::MAX) => {}
                    Charged::Wait(wait) => {
                        patience = Some(wait);
                        let at = Instant::now().checked_add(wait);
                        if at.is_none_or(|at| at > deadline) {
                            // It cannot be granted in time: say so now, and let the next in turn judge for itself.
                            return Err(late(patience));
                        }
                        wake = at.unwrap_or(deadline);
                    }
                }
            } else if let Some(cause) = self.home.ledger.view(&turn.scope).stop {
                return Err(stopped(cause));
            }
            tokio::select! {
                () = called => {}
                () = sleep_until(wake) => {
                    if Instant::now() >= deadline {
                        return Err(late(patience));
                    }
                }
            }
        }
    }
}

fn stopped(cause: StopCause) -> ExternalError {
    ExternalError::Stopped { cause, status: None, message: "an earlier request was refused".into() }
}

fn late(retry_after: Option<Duration>) -> ExternalError {
    ExternalError::Throttled { cause: ThrottleCause::Rate, retry_after, message: String::new() }
}

#[async_trait]
impl RateLimitHandler for AdaptiveRateLimitHandler {
    fn try_acquire(&self, scope: &QuotaScope, cost: &Cost) -> QuotaAnswer {
        if self.home.queues.lock().get(scope).is_some_and(|queue| !queue.is_empty()) {
            // Those who wait come first. How long that takes depends on them; the least is what the ledger says.
            let wait = self.home.ledger.view(scope).next_grant;
            return QuotaAnswer::Wait(wait.max(Duration::from_millis(1)));
        }
        match self.home.ledger.try_charge(scope, cost) {
            None => QuotaAnswer::Ask,
            Some(Charged::Granted(charge)) => QuotaAnswer::Granted(self.permit(scope, cost, charge)),
            Some(Charged::Wait(wait)) => QuotaAnswer::Wait(wait),
            Some(Charged::Stopped(cause)) => QuotaAnswer::Stopped(cause),
        }
    }

    async fn acquire(
        &self,
        scope: &QuotaScope,
        cost: &Cost,
        lane: Lane,
        within: Duration,
    ) -> Result<QuotaPermit, ExternalError> {
        match self.try_acquire(scope, cost) {
            QuotaAnswer::Granted(permit) => Ok(permit),
            QuotaAnswer::Stopped(cause) => Err(stopped(cause)),
            QuotaAnswer::Wait(_) | QuotaAnswer::Ask => {
                self.wait(scope, cost, lane, Place::Back, within).await
            }
        }
    }

    async fn rejoin(
        &self,
        scope: &QuotaScope,
        cost: &Cost,
        lane: Lane,
        within: Duration,
    ) -> Result<QuotaPermit, ExternalError> {
        self.wait(scope, cost, lane, Place::Front, within).await
    }

    fn observe(&self, permit: QuotaPermit, seen: &Observation) {
        let (scope, cost) = (permit.scope().clone(), *permit.cost());
        let Some((charge, _)) = permit.settle() else { return };
        match seen.outcome {
            SeenOutcome::Throttled { cause, retry_after } => {
                self.home.metrics.throttled(cause);
                if let Some(patience) = retry_after {
                    self.home.metrics.retry_after.record(patience.as_secs_f64());
                }
            }
            SeenOutcome::Stopped(cause) => self.home.metrics.hard_stop(cause),
            SeenOutcome::Served | SeenOutcome::Failed | SeenOutcome::Unknown => {}
        }
        self.home.ledger.settle(&scope, &cost, charge, seen);
        let everybody = matches!(seen.outcome, SeenOutcome::Stopped(_));
        self.home.call(&scope, everybody);
    }

    fn view(&self, scope: &QuotaScope) -> QuotaView {
        self.home.ledger.view(scope)
    }
}

impl Home {
    /// Wakes the next in turn, or all.
    fn call(&self, scope: &QuotaScope, everybody: bool) {
        if let Some(queue) = self.queues.lock().get(scope) {
            if everybody { queue.call_all() } else { queue.call_next() }
        }
    }
}

impl PermitHome for Home {
    fn sent(&self, scope: &QuotaScope, charge: &mut Charge) {
        self.ledger.sent(scope, charge);
    }

    fn returned(&self, scope: &QuotaScope, cost: &Cost, charge: Charge, sent: Sent) {
        match sent {
            Sent::No => self.ledger.restore(scope, cost, charge),
            Sent::Yes => self.ledger.settle(scope, cost, charge, &Observation::of(SeenOutcome::Unknown)),
        }
        self.call(scope, false);
    }
}

/// A place in a queue, given up when dropped.
struct Turn {
    home: Arc<Home>,
    scope: QuotaScope,
    ticket: Arc<Ticket>,
}

impl Turn {
    fn queue(home: &Arc<Home>, scope: &QuotaScope, lane: Lane, place: Place) -> Self {
        let mut queues = home.queues.lock();
        let ticket = queues.entry(scope.clone()).or_default().join(lane, place);
        Self { home: Arc::clone(home), scope: scope.clone(), ticket }
    }

    fn is_next(&self) -> bool {
        self.home.queues.lock().get(&self.scope).is_some_and(|queue| queue.is_next(&self.ticket))
    }

    fn granted(&self) {
        if let Some(queue) = self.home.queues.lock().get_mut(&self.scope) {
            queue.granted(&self.ticket);
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut queues = self.home.queues.lock();
        if let Some(queue) = queues.get_mut(&self.scope) {
            queue.leave(&self.ticket);
            queue.call_next();
        }
    }
}

#[cfg(test)]
mod tests;
