//! The state under the lock, and the rules by which it changes. Nothing here waits, wakes or opens anything: it
//! writes down what is to be done.

mod holders;
mod line;
#[cfg(feature = "postgres")]
mod server;

use std::collections::HashMap;
use std::task::Waker;
use std::time::Duration;

use wavequill_kernel::{Backoff, ErrorClass, Retryable};

use self::holders::Holders;
use self::line::Line;
use super::effects::Effects;
use super::{Asked, Canceller, CloseCause, Policy, Pooled};
use crate::engine::scaling::{Observation, ScalePolicy, Scaler};
use crate::{DatabaseError, Holder, LeasePriority, PoolLimits, PoolStats, ScaleOutcome, TimeoutCause};

/// A connection of the pool.
pub(super) struct Member<C> {
    pub(super) conn: C,
    id: u64,
    expires: Duration,
    used: Duration,
    generation: u64,
}

impl<C> Member<C> {
    pub(super) fn is_fresh(&self, now: Duration, fresh_for: Duration) -> bool {
        now.saturating_sub(self.used) < fresh_for
    }
}

/// A connection for a caller, with the caller's place among the holders and in line.
pub(super) struct Granted<C> {
    pub(super) member: Member<C>,
    pub(super) key: usize,
    pub(super) ticket: u64,
}

/// What a waiter gets.
pub(super) type Grant<C> = Result<Granted<C>, DatabaseError>;

/// Why no connection can be opened, while none can.
struct Trouble {
    error: DatabaseError,
    since: Duration,
    attempts: u32,
    retry_at: Duration,
}

/// See the module.
pub(super) struct State<C> {
    /// Oldest use first.
    idle: Vec<Member<C>>,
    line: Line,
    granted: HashMap<u64, Grant<C>>,
    holders: Holders,
    in_use: u32,
    connecting: u32,
    closing: u32,
    dedicated: u32,
    target: u32,
    limits: PoolLimits,
    keep_min: bool,
    generation: u64,
    next_id: u64,
    cancellers: HashMap<u64, Canceller>,
    closed: bool,
    trouble: Option<Trouble>,
    failures: u64,
    scaler: Scaler,
}

impl<C: Pooled> State<C> {
    pub(super) fn new(target: u32, limits: PoolLimits, scaler: Scaler) -> Self {
        Self {
            idle: Vec::new(),
            line: Line::default(),
            granted: HashMap::new(),
            holders: Holders::default(),
            in_use: 0,
            connecting: 0,
            closing: 0,
            dedicated: 0,
            target,
            limits,
            keep_min: false,
            generation: 0,
            next_id: 0,
            cancellers: HashMap::new(),
            closed: false,
            trouble: None,
            failures: 0,
            scaler,
        }
    }

    /// Places that may not be granted again now.
    fn occupied(&self) -> u32 {
        self.in_use + self.connecting + self.closing
    }

    /// The target, less what the dedicated connections leave of the maximum.
    fn allowed(&self) -> u32 {
        self.target.min(self.limits.max().get().saturating_sub(self.dedicated))
    }

    fn has_room(&self) -> bool {
        self.occupied() < self.allowed()
    }

    pub(super) fn open(&self) -> u32 {
        self.in_use + self.closing + self.idle.len() as u32
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed
    }

    pub(super) fn is_empty(&self) -> bool {
        self.open() + self.connecting + self.dedicated == 0
    }

    /// How often a connection could not be opened.
    pub(super) fn failures(&self) -> u64 {
        self.failures
    }

    pub(super) fn trouble(&self) -> Option<DatabaseError> {
        self.trouble.as_ref().map(|trouble| trouble.error.clone())
    }

    /// Why it is no use to wait: nothing is open, and to try again soon would fail again.
    pub(super) fn hopeless(&self, now: Duration) -> Option<DatabaseError> {
        let trouble = self.trouble.as_ref()?;
        let hopeless =
            self.open() == 0 && now < trouble.retry_at && trouble.error.class() == ErrorClass::Permanent;
        hopeless.then(|| trouble.error.clone())
    }

    pub(super) fn demand(&self) -> f64 {
        self.scaler.demand()
    }

    pub(super) fn stats(&self, now: Duration) -> PoolStats {
        let size = self.open();
        PoolStats {
            size,
            checked_out: self.in_use + self.closing,
            checked_in: self.idle.len() as u32,
            overflow: size.saturating_sub(self.target),
            target: self.target,
            connecting: self.connecting,
            waiting: self.line.len(),
            oldest_wait: self.line.oldest().map_or(Duration::ZERO, |since| now.saturating_sub(since)),
            dedicated: self.dedicated,
            demand: self.scaler.demand(),
        }
    }

    pub(super) fn holders(&self, now: Duration) -> Vec<Holder> {
        self.holders.list(now)
    }

    /// An idle connection for one who came when nobody waited.
    pub(super) fn take_idle(&mut self, now: Duration, asked: Asked) -> Option<Granted<C>> {
        if self.closed || !self.line.is_empty() || !self.has_room() {
            return None;
        }
        let member = self.idle.pop()?;
        Some(self.grant(member, asked, now, None))
    }

    fn grant(&mut self, member: Member<C>, asked: Asked, now: Duration, ticket: Option<u64>) -> Granted<C> {
        self.in_use += 1;
        let ticket = ticket.unwrap_or_else(|| self.line.next_ticket());
        let key = self.holders.insert(asked, now, member.id);
        Granted { member, key, ticket }
    }

    /// Joins the line.
    pub(super) fn wait(&mut self, asked: Asked, since: Duration, waker: Waker) -> u64 {
        let ticket = self.line.next_ticket();
        self.line.join(ticket, asked, since, waker);
        ticket
    }

    /// What has been granted to a waiter, if anything.
    pub(super) fn collect(
        &mut self,
        ticket: u64,
        priority: LeasePriority,
        waker: &Waker,
    ) -> Option<Grant<C>> {
        let grant = self.granted.remove(&ticket);
        if grant.is_none() {
            self.line.renew(ticket, priority, waker);
        }
        grant
    }

    /// A waiter gives up; what had been granted to it is returned.
    pub(super) fn leave(&mut self, ticket: u64, priority: LeasePriority) -> Option<Grant<C>> {
        self.line.leave(ticket, priority);
        self.granted.remove(&ticket)
    }

    /// A dead connection goes; its holder waits for another, in the place in line that it had.
    pub(super) fn replace(
        &mut self,
        member: Member<C>,
        key: usize,
        ticket: u64,
        asked: Asked,
        since: Duration,
        effects: &mut Effects<C>,
    ) {
        self.release(key);
        self.forget(member, CloseCause::Broken, effects);
        self.line.join(ticket, asked, since, Waker::noop().clone());
        self.pump(since, effects);
    }

    fn release(&mut self, key: usize) {
        self.holders.remove(key);
        self.in_use -= 1;
    }

    /// Gives connections to waiters, and opens more for those who still wait, as far as there is room.
    pub(super) fn pump(&mut self, now: Duration, effects: &mut Effects<C>) {
        while !self.closed && !self.line.is_empty() && self.has_room() {
            if let Some(member) = self.idle.pop() {
                self.grant_to_next(member, now, effects);
            } else if self.line.len() > self.connecting && self.may_connect(now) {
                self.connecting += 1;
                effects.connects += 1;
            } else {
                break;
            }
        }
    }

    fn may_connect(&self, now: Duration) -> bool {
        self.trouble.as_ref().is_none_or(|trouble| now >= trouble.retry_at)
    }

    /// To the head of the line, or to the idle ones if nobody waits.
    fn grant_to_next(&mut self, member: Member<C>, now: Duration, effects: &mut Effects<C>) {
        let Some(waiter) = self.line.pop() else {
            self.idle.push(member);
            effects.changed = true;
            return;
        };
        let granted = self.grant(member, waiter.asked, now, Some(waiter.ticket));
        self.granted.insert(waiter.ticket, Ok(granted));
        effects.wake.push(waiter.waker);
    }

    pub(super) fn give_back(
        &mut self,
        mut member: Member<C>,
        key: usize,
        clean: bool,
        now: Duration,
        policy: &Policy,
        effects: &mut Effects<C>,
    ) {
        self.release(key);
        member.used = now;
        if !clean {
            self.closing += 1;
            self.cancellers.remove(&member.id);
            effects.discard.push(member);
        } else if self.closed {
            self.forget(member, CloseCause::PoolClosed, effects);
        } else if member.generation != self.generation {
            self.forget(member, CloseCause::Broken, effects);
        } else if !self.has_room() {
            self.forget(member, CloseCause::ScaleDown, effects);
        } else if now >= member.expires && policy.max_lifetime > Duration::ZERO {
            self.forget(member, CloseCause::Age, effects);
        } else {
            self.grant_to_next(member, now, effects);
        }
        self.pump(now, effects);
    }

    fn forget(&mut self, member: Member<C>, cause: CloseCause, effects: &mut Effects<C>) {
        self.cancellers.remove(&member.id);
        effects.close(member, cause);
    }

    /// A connection has been opened, or could not be.
    pub(super) fn connected(
        &mut self,
        result: Result<C, DatabaseError>,
        now: Duration,
        policy: &Policy,
        closed: &DatabaseError,
        effects: &mut Effects<C>,
    ) {
        self.connecting -= 1;
        effects.changed = true;
        match result {
            Ok(conn) => {
                self.trouble = None;
                let member = self.adopt(conn, now, policy);
                if self.closed {
                    self.forget(member, CloseCause::PoolClosed, effects);
                } else if self.has_room() {
                    self.grant_to_next(member, now, effects);
                } else {
                    self.forget(member, CloseCause::ScaleDown, effects);
                }
            }
            Err(error) => self.failed(error, now, effects),
        }
        if self.closed {
            self.refuse_all(closed, effects);
        }
        self.pump(now, effects);
    }

    fn adopt(&mut self, conn: C, now: Duration, policy: &Policy) -> Member<C> {
        let id = self.next_id;
        self.next_id += 1;
        if let Some(canceller) = conn.canceller() {
            self.cancellers.insert(id, canceller);
        }
        // Up to a tenth less, spread by the golden ratio, so that connections opened together do not end together.
        let spread = ((id + 1) as f64 * 0.618_033_988_749_895).fract();
        let lifetime = policy.max_lifetime.mul_f64(1.0 - 0.1 * spread);
        Member { conn, id, expires: now + lifetime, used: now, generation: self.generation }
    }

    fn failed(&mut self, error: DatabaseError, now: Duration, effects: &mut Effects<C>) {
        self.failures += 1;
        let permanent = error.class() == ErrorClass::Permanent;
        let (since, attempts) = self
            .trouble
            .as_ref()
            .map_or((now, 1), |trouble| (trouble.since, trouble.attempts.saturating_add(1)));
        let pause = retry_backoff().map_or(Duration::from_secs(1), |backoff| backoff.ceiling(attempts));
        // What a person has to put right is not put right by many attempts, and those may lock an account.
        let pause = if permanent { LONGEST_PAUSE } else { pause };
        if permanent {
            self.refuse_all(&error, effects);
        }
        self.trouble = Some(Trouble { error, since, attempts, retry_at: now + pause });
    }

    fn refuse_all(&mut self, error: &DatabaseError, effects: &mut Effects<C>) {
        while let Some(waiter) = self.line.pop() {
            self.granted.insert(waiter.ticket, Err(error.clone()));
            effects.wake.push(waiter.waker);
        }
    }

    /// An unclean connection is gone.
    pub(super) fn discarded(&mut self, now: Duration, effects: &mut Effects<C>) {
        self.closing -= 1;
        effects.changed = true;
        self.pump(now, effects);
    }

    pub(super) fn set_target(&mut self, target: u32, now: Duration, effects: &mut Effects<C>) -> u32 {
        let from = std::mem::replace(&mut self.target, target);
        self.trim(effects);
        self.pump(now, effects);
        from
    }

    /// Closes idle connections until no more are open than may be.
    fn trim(&mut self, effects: &mut Effects<C>) {
        let excess = (self.occupied() + self.idle.len() as u32).saturating_sub(self.allowed());
        let count = (excess as usize).min(self.idle.len());
        let longest_idle: Vec<_> = self.idle.drain(..count).collect();
        for member in longest_idle {
            self.forget(member, CloseCause::ScaleDown, effects);
        }
    }

    /// Whether as many are open as the minimum wants, or as the dedicated ones leave of it.
    pub(super) fn has_min(&self) -> bool {
        self.open() >= self.limits.min().get().min(self.allowed())
    }

    /// Keeps the minimum open from now on.
    pub(super) fn fill_to_min(&mut self, effects: &mut Effects<C>) {
        self.keep_min = true;
        let min = self.limits.min().get().min(self.allowed());
        while !self.closed && self.open() + self.connecting < min {
            self.connecting += 1;
            effects.connects += 1;
        }
    }

    pub(super) fn fill_to_min_if_wanted(&mut self, now: Duration, effects: &mut Effects<C>) {
        if self.keep_min && self.may_connect(now) {
            self.fill_to_min(effects);
        }
    }

    /// Closes what is too old, and what has been idle for long beyond the minimum.
    pub(super) fn expire(&mut self, now: Duration, policy: &Policy, effects: &mut Effects<C>) {
        let mut spare = self.open().saturating_sub(self.limits.min().get());
        let mut kept = Vec::with_capacity(self.idle.len());
        for member in std::mem::take(&mut self.idle) {
            if now >= member.expires && policy.max_lifetime > Duration::ZERO {
                self.forget(member, CloseCause::Age, effects);
                spare = spare.saturating_sub(1);
            } else if spare > 0 && now >= member.used + policy.idle_timeout {
                self.forget(member, CloseCause::Idle, effects);
                spare -= 1;
            } else {
                kept.push(member);
            }
        }
        self.idle = kept;
    }

    pub(super) fn new_leaks(&mut self, now: Duration, leak_after: Duration) -> Vec<Holder> {
        self.holders.new_leaks(now, leak_after)
    }

    /// Notes the demand, and says what the size should be if it should be another.
    pub(super) fn sample(&mut self, now: Duration, policy: Option<&ScalePolicy>) -> Option<ScaleOutcome> {
        let observation = Observation { in_use: self.in_use + self.closing, waiting: self.line.len() };
        self.scaler.observe(now, observation);
        let policy = policy?;
        self.scaler.decide(now, self.target, self.limits, policy)
    }

    /// Why a caller's time was up.
    pub(super) fn cause(&self, now: Duration, asked: &Asked, leak_after: Duration) -> TimeoutCause {
        let describe = |holders: Vec<Holder>| holders.iter().take(3).map(ToString::to_string).collect();
        if let Some(trouble) = &self.trouble {
            let error = trouble.error.to_string();
            return TimeoutCause::Connecting { since: now.saturating_sub(trouble.since), error };
        }
        if let Some(holder) = asked.task.and_then(|task| self.holders.of_task(task, now)) {
            return TimeoutCause::Nested { holder: holder.to_string() };
        }
        let holders = self.holders.list(now);
        let forgotten: Vec<_> = holders.iter().filter(|holder| holder.age >= leak_after).cloned().collect();
        if forgotten.is_empty() {
            let waiting = self.line.len() + 1;
            TimeoutCause::Saturated { target: self.target, waiting, holders: describe(holders) }
        } else {
            TimeoutCause::Leaked { holders: describe(forgotten) }
        }
    }

    pub(super) fn close(&mut self, closed: &DatabaseError, effects: &mut Effects<C>) -> u32 {
        self.closed = true;
        let refused = self.line.len();
        self.refuse_all(closed, effects);
        for member in std::mem::take(&mut self.idle) {
            self.forget(member, CloseCause::PoolClosed, effects);
        }
        effects.changed = true;
        refused
    }

    pub(super) fn cancellers(&self) -> Vec<Canceller> {
        self.holders.connections().filter_map(|id| self.cancellers.get(&id).cloned()).collect()
    }
}

const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// After a failure to connect, all wait together: 0.25 s, doubling to 5 s.
fn retry_backoff() -> Option<Backoff> {
    Backoff::new(Duration::from_millis(250), LONGEST_PAUSE).ok()
}
