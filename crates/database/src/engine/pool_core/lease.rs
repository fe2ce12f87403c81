//! Waiting for a connection, and having one.

use std::future::Future;
use std::ops::{Deref, DerefMut};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use super::effects::Effects;
use super::state::{Granted, Member};
use super::{Asked, PoolCore, Pooled};
use crate::DatabaseError;

/// A connection that is out. It goes back when this is dropped.
pub(crate) struct Lease<C: Pooled> {
    pub(super) core: Arc<PoolCore<C>>,
    /// `None` only when it has been given back, or away.
    pub(super) member: Option<Member<C>>,
    pub(super) key: usize,
    leased: Duration,
    pub(super) fresh: bool,
    /// Its place in line.
    ticket: u64,
}

impl<C: Pooled> Lease<C> {
    pub(super) fn new(core: Arc<PoolCore<C>>, granted: Granted<C>, leased: Duration, fresh: bool) -> Self {
        let Granted { member, key, ticket } = granted;
        Self { core, member: Some(member), key, leased, fresh, ticket }
    }

    /// Whether it was opened, used or checked a moment ago.
    pub(crate) fn is_fresh(&self) -> bool {
        self.fresh
    }

    /// It was checked, and is dead: waits for another one, in the place in line that it had.
    pub(crate) fn replace(mut self, asked: Asked) -> Acquire<C> {
        let core = Arc::clone(&self.core);
        let since = core.now();
        let mut effects = Effects::new();
        if let Some(member) = self.member.take() {
            core.state.lock().replace(member, self.key, self.ticket, asked, since, &mut effects);
        }
        core.carry_out(effects);
        Acquire { core, asked, step: Step::Waiting { ticket: self.ticket, since } }
    }
}

impl<C: Pooled> Drop for Lease<C> {
    fn drop(&mut self) {
        if let Some(member) = self.member.take() {
            self.core.give_back(member, self.key, self.leased);
        }
    }
}

impl<C: Pooled> Deref for Lease<C> {
    type Target = C;

    fn deref(&self) -> &C {
        conn(self.member.as_ref())
    }
}

impl<C: Pooled> DerefMut for Lease<C> {
    fn deref_mut(&mut self) -> &mut C {
        conn_mut(self.member.as_mut())
    }
}

#[expect(
    clippy::expect_used,
    reason = "`member` is taken only by methods that consume the guard, and by its drop"
)]
pub(super) fn conn<C: Pooled>(member: Option<&Member<C>>) -> &C {
    &member.expect("a guard has its connection until it ends").conn
}

#[expect(
    clippy::expect_used,
    reason = "`member` is taken only by methods that consume the guard, and by its drop"
)]
pub(super) fn conn_mut<C: Pooled>(member: Option<&mut Member<C>>) -> &mut C {
    &mut member.expect("a guard has its connection until it ends").conn
}

/// Waits for a connection in turn. Dropped, it gives up its turn and loses no connection.
pub(crate) struct Acquire<C: Pooled> {
    core: Arc<PoolCore<C>>,
    asked: Asked,
    step: Step,
}

enum Step {
    /// Not polled yet.
    New,
    Waiting {
        ticket: u64,
        since: Duration,
    },
    Done,
}

impl<C: Pooled> Acquire<C> {
    pub(super) fn new(core: Arc<PoolCore<C>>, asked: Asked) -> Self {
        Self { core, asked, step: Step::New }
    }

    fn begin(&mut self, cx: &Context<'_>) -> Poll<Result<Lease<C>, DatabaseError>> {
        let now = self.core.coarse_now();
        let mut effects = Effects::new();
        let mut state = self.core.state.lock();
        if state.is_closed() {
            self.step = Step::Done;
            return Poll::Ready(Err(self.core.closed()));
        }
        if let Some(granted) = state.take_idle(now, self.asked) {
            drop(state);
            self.step = Step::Done;
            self.core.metrics.acquired(Duration::ZERO);
            return Poll::Ready(Ok(self.lease(granted, now)));
        }
        let since = self.core.now();
        if let Some(error) = state.hopeless(since) {
            self.step = Step::Done;
            return Poll::Ready(Err(error));
        }
        let ticket = state.wait(self.asked, since, cx.waker().clone());
        self.step = Step::Waiting { ticket, since };
        state.pump(since, &mut effects);
        drop(state);
        self.core.carry_out(effects);
        // A grant may have come at once; then the task is woken already.
        Poll::Pending
    }

    /// The caller's time is up: the connection if one has just been granted, else what was waited for.
    pub(crate) fn expire(mut self) -> Result<Lease<C>, DatabaseError> {
        let now = self.core.now();
        let Step::Waiting { ticket, since } = std::mem::replace(&mut self.step, Step::Done) else {
            return Err(self.core.closed());
        };
        let mut state = self.core.state.lock();
        if let Some(grant) = state.leave(ticket, self.asked.priority) {
            drop(state);
            return grant.map(|granted| self.lease(granted, now));
        }
        let cause = state.cause(now, &self.asked, self.core.policy.leak_after);
        drop(state);
        let waited = now.saturating_sub(since);
        self.core.metrics.timed_out(waited);
        Err(DatabaseError::AcquireTimeout { pool: Arc::clone(&self.core.name), waited, cause })
    }

    fn lease(&self, granted: Granted<C>, now: Duration) -> Lease<C> {
        let fresh = granted.member.is_fresh(now, self.core.policy.fresh_for);
        Lease::new(Arc::clone(&self.core), granted, now, fresh)
    }
}

impl<C: Pooled> Future for Acquire<C> {
    type Output = Result<Lease<C>, DatabaseError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let (ticket, since) = match self.step {
            Step::New => return self.begin(cx),
            Step::Waiting { ticket, since } => (ticket, since),
            // Polled after its end: there is nothing more to come.
            Step::Done => return Poll::Pending,
        };
        let grant = self.core.state.lock().collect(ticket, self.asked.priority, cx.waker());
        match grant {
            None => Poll::Pending,
            Some(Ok(granted)) => {
                self.step = Step::Done;
                let now = self.core.now();
                self.core.metrics.acquired(now.saturating_sub(since));
                Poll::Ready(Ok(self.lease(granted, now)))
            }
            Some(Err(error)) => {
                self.step = Step::Done;
                Poll::Ready(Err(error))
            }
        }
    }
}

impl<C: Pooled> Drop for Acquire<C> {
    fn drop(&mut self) {
        let Step::Waiting { ticket, since } = self.step else { return };
        let grant = self.core.state.lock().leave(ticket, self.asked.priority);
        if let Some(Ok(granted)) = grant {
            // It was granted a moment ago: the next in line gets it.
            let now = self.core.coarse_now();
            self.core.give_back(granted.member, granted.key, now);
        } else {
            let waited = self.core.now().saturating_sub(since);
            self.core.metrics.cancelled(waited);
        }
    }
}
