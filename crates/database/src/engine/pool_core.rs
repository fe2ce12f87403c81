//! The heart of every pool: who gets a connection, when one is opened, when one goes.
//!
//! It knows no driver and no runtime. All decisions are taken under one lock that is never held across a wait;
//! what they lead to (opening, closing, waking) is done after it is released. Connections are opened by a
//! [`Connector`], which may take its time and reports through a ticket.
//!
//! Two sums hold at every step: in use + connecting + closing ≤ target but for what a shrink left out, and what is
//! open + connecting + dedicated ≤ max.

mod effects;
mod lease;
#[cfg(feature = "postgres")]
mod server;
mod state;
mod tickets;

#[cfg(test)]
#[cfg(feature = "postgres")]
mod tests;

use std::fmt;
use std::panic::Location;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use wavequill_kernel::{Clock, SystemClock};

use self::effects::Effects;
pub(crate) use self::lease::{Acquire, Lease};
#[cfg(feature = "postgres")]
pub(crate) use self::server::Dedicated;
use self::state::{Member, State};
pub(crate) use self::tickets::{ConnectTicket, DiscardTicket};
use crate::engine::scaling::{ScalePolicy, Scaler};
use crate::metrics::PoolMetrics;
use crate::{
    CloseReport, DatabaseError, Holder, LeasePriority, PoolLimits, PoolSize, PoolStats, ScaleOutcome,
    ScaleReason, Utilization,
};

/// A connection as the core sees it.
pub(crate) trait Pooled: Send + 'static {
    /// Whether it may be handed on: not broken, no transaction open, no statement under way.
    fn is_clean(&mut self) -> bool;

    /// Something that stops the statement that runs on it, from anywhere.
    fn canceller(&self) -> Option<Canceller>;
}

/// Stops a statement.
pub(crate) type Canceller = Arc<dyn Fn() + Send + Sync>;

/// Opens and discards connections for a pool, somewhere else.
pub(crate) trait Connector<C: Pooled>: Send + Sync + 'static {
    /// Begins to open one; the ticket takes the result. A ticket that is dropped counts as a failure.
    fn connect(&self, ticket: ConnectTicket<C>);

    /// Stops what runs on an unclean connection and closes it. Its place is taken until the ticket is dropped.
    fn discard(&self, conn: C, ticket: DiscardTicket<C>);
}

/// The time of this process, real also where a test has stopped the runtime's clock: what the pools wait for is real.
pub(crate) fn system_now() -> Duration {
    SystemClock.monotonic()
}

/// What a pool lives by.
#[derive(Clone, Debug)]
pub(crate) struct Policy {
    pub(crate) limits: PoolLimits,
    pub(crate) initial: PoolSize,
    /// An idle connection beyond the minimum is closed after this.
    pub(crate) idle_timeout: Duration,
    /// A connection is closed at this age, less up to a tenth, so that not all go at once.
    pub(crate) max_lifetime: Duration,
    /// What was used within this time is alive.
    pub(crate) fresh_for: Duration,
    /// Who holds a connection for longer has forgotten it.
    pub(crate) leak_after: Duration,
    pub(crate) scaling: Option<ScalePolicy>,
}

/// What a caller says when it asks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked {
    pub(crate) location: &'static Location<'static>,
    pub(crate) purpose: &'static str,
    pub(crate) priority: LeasePriority,
    pub(crate) task: Option<tokio::task::Id>,
}

impl Asked {
    /// At a place in the code, by the task that runs now.
    pub(crate) fn new(location: &'static Location<'static>, purpose: &'static str) -> Self {
        Self { location, purpose, priority: LeasePriority::Foreground, task: tokio::task::try_id() }
    }
}

/// Why a connection was closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CloseCause {
    Idle,
    Age,
    Broken,
    ScaleDown,
    PoolClosed,
}

/// See the module.
pub(crate) struct PoolCore<C: Pooled> {
    name: Arc<str>,
    policy: Policy,
    connector: Box<dyn Connector<C>>,
    /// The exact time, for those who wait.
    now: fn() -> Duration,
    /// The time of the last tick, for those who do not.
    coarse_ms: AtomicU64,
    state: Mutex<State<C>>,
    changed: Notify,
    metrics: PoolMetrics,
}

impl<C: Pooled> PoolCore<C> {
    pub(crate) fn new(
        name: Arc<str>,
        policy: Policy,
        connector: Box<dyn Connector<C>>,
        now: fn() -> Duration,
    ) -> Arc<Self> {
        let target = policy.limits.clamp(policy.initial).get();
        let metrics = PoolMetrics::register(&name);
        metrics.limit(target);
        let scaler = Scaler::new(now());
        Arc::new(Self {
            coarse_ms: AtomicU64::new(now().as_millis() as u64),
            state: Mutex::new(State::new(target, policy.limits, scaler)),
            changed: Notify::new(),
            name,
            policy,
            connector,
            now,
            metrics,
        })
    }

    pub(crate) fn name(&self) -> &Arc<str> {
        &self.name
    }

    pub(crate) fn now(&self) -> Duration {
        (self.now)()
    }

    /// The time of the last tick: free to read.
    fn coarse_now(&self) -> Duration {
        Duration::from_millis(self.coarse_ms.load(Ordering::Relaxed))
    }

    /// A connection in turn. It may have to be checked first: [`Lease::is_fresh`].
    pub(crate) fn acquire(self: &Arc<Self>, asked: Asked) -> Acquire<C> {
        Acquire::new(Arc::clone(self), asked)
    }

    pub(crate) fn stats(&self) -> PoolStats {
        let now = self.now();
        self.state.lock().stats(now)
    }

    /// Who holds connections, longest first.
    pub(crate) fn holders(&self) -> Vec<Holder> {
        let now = self.now();
        self.state.lock().holders(now)
    }

    /// The last failure to connect that no success has followed.
    pub(crate) fn trouble(&self) -> Option<DatabaseError> {
        self.state.lock().trouble()
    }

    /// Sets how many connections the pool may have, within its limits.
    pub(crate) fn scale_to(self: &Arc<Self>, wanted: PoolSize) -> Result<ScaleOutcome, DatabaseError> {
        let to = self.policy.limits.clamp(wanted);
        let reason = if to == wanted { ScaleReason::Requested } else { ScaleReason::Clamped };
        self.set_target(to.get(), wanted.get(), reason)
    }

    /// Sets the target so that the demand of the last second uses this share of it.
    pub(crate) fn scale_by_utilization(
        self: &Arc<Self>,
        target: Utilization,
    ) -> Result<ScaleOutcome, DatabaseError> {
        let demand = self.state.lock().demand();
        let wanted = (demand / target.get()).ceil() as u32;
        let size = PoolSize::new(wanted).unwrap_or(PoolSize::ONE);
        let to = self.policy.limits.clamp(size);
        let reason = if to.get() == wanted { ScaleReason::Demand } else { ScaleReason::Clamped };
        self.set_target(to.get(), wanted, reason)
    }

    fn set_target(
        self: &Arc<Self>,
        to: u32,
        wanted: u32,
        reason: ScaleReason,
    ) -> Result<ScaleOutcome, DatabaseError> {
        let now = self.now();
        let mut effects = Effects::new();
        let from = {
            let mut state = self.state.lock();
            if state.is_closed() {
                return Err(self.closed());
            }
            state.set_target(to, now, &mut effects)
        };
        self.carry_out(effects);
        self.metrics.resized(from, to);
        let reason =
            if from == to && reason == ScaleReason::Demand { ScaleReason::Unchanged } else { reason };
        Ok(ScaleOutcome { from, to, wanted, reason })
    }

    /// Opens what is missing to the minimum, and waits until it is open.
    pub(crate) async fn ensure_min(self: &Arc<Self>) -> Result<PoolStats, DatabaseError> {
        let failures = self.state.lock().failures();
        loop {
            let changed = self.changed.notified();
            let now = self.now();
            let mut effects = Effects::new();
            let verdict = {
                let mut state = self.state.lock();
                if state.is_closed() {
                    Some(Err(self.closed()))
                } else if state.has_min() {
                    Some(Ok(state.stats(now)))
                } else if state.failures() != failures {
                    state.trouble().map(Err)
                } else {
                    state.fill_to_min(&mut effects);
                    None
                }
            };
            self.carry_out(effects);
            if let Some(verdict) = verdict {
                return verdict;
            }
            changed.await;
        }
    }

    /// What passes with time: ages, leaks, retries, the minimum, the automatic size.
    pub(crate) fn tick(self: &Arc<Self>) {
        let now = self.now();
        self.coarse_ms.store(now.as_millis() as u64, Ordering::Relaxed);
        let mut effects = Effects::new();
        let (decision, leaks) = {
            let mut state = self.state.lock();
            state.expire(now, &self.policy, &mut effects);
            let leaks = state.new_leaks(now, self.policy.leak_after);
            let decision = state.sample(now, self.policy.scaling.as_ref());
            state.fill_to_min_if_wanted(now, &mut effects);
            state.pump(now, &mut effects);
            (decision, leaks)
        };
        self.carry_out(effects);
        for holder in leaks {
            self.metrics.leaked();
            tracing::warn!(pool = %self.name, "a connection seems to be forgotten: {holder}");
        }
        if let Some(decision) = decision
            && self.set_target(decision.to, decision.wanted, decision.reason).is_ok()
        {
            tracing::info!(pool = %self.name, from = decision.from, to = decision.to, "the pool changed its size");
        }
        self.metrics.sampled(&self.stats());
    }

    /// Refuses all from now on, and closes what is idle.
    pub(crate) fn close(self: &Arc<Self>) -> u32 {
        let mut effects = Effects::new();
        let refused = self.state.lock().close(&self.closed(), &mut effects);
        self.carry_out(effects);
        refused
    }

    /// Waits until nothing is out any more.
    pub(crate) async fn drained(&self) {
        loop {
            let changed = self.changed.notified();
            if self.state.lock().is_empty() {
                return;
            }
            changed.await;
        }
    }

    /// Stops the statements of all who still hold a connection, and says who they are.
    pub(crate) fn cancel_all(&self, refused: u32) -> CloseReport {
        let cancellers = self.state.lock().cancellers();
        for cancel in cancellers {
            cancel();
        }
        CloseReport { refused, still_out: self.holders() }
    }

    pub(crate) fn closed(&self) -> DatabaseError {
        DatabaseError::Closed { pool: Arc::clone(&self.name) }
    }

    /// A connection comes back.
    fn give_back(self: &Arc<Self>, mut member: Member<C>, key: usize, leased: Duration) {
        let clean = member.conn.is_clean();
        let now = self.coarse_now();
        self.metrics.held(now.saturating_sub(leased));
        let mut effects = Effects::new();
        self.state.lock().give_back(member, key, clean, now, &self.policy, &mut effects);
        self.carry_out(effects);
    }

    /// Does what was decided, with the lock released.
    fn carry_out(self: &Arc<Self>, effects: Effects<C>) {
        if effects.is_empty() {
            return;
        }
        let Effects { wake, connects, close, discard, changed } = effects;
        for waker in wake {
            waker.wake();
        }
        for _ in 0..connects {
            self.connector.connect(ConnectTicket::new(self, self.now()));
        }
        for (member, cause) in close {
            self.metrics.closed(cause);
            drop(member);
        }
        for member in discard {
            self.metrics.closed(CloseCause::Broken);
            self.connector.discard(member.conn, DiscardTicket::new(self));
        }
        if changed {
            self.changed.notify_waiters();
        }
    }
}

impl<C: Pooled> fmt::Debug for PoolCore<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PoolCore")
            .field("name", &self.name)
            .field("stats", &self.stats())
            .finish_non_exhaustive()
    }
}
