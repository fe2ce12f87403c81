//! The line of those who wait: by priority, in order of arrival, with every fourth grant for the background.

use std::collections::BTreeMap;
use std::task::Waker;
use std::time::Duration;

use crate::LeasePriority;
use crate::engine::pool_core::Asked;

/// One who waits.
pub(crate) struct Waiter {
    pub(crate) ticket: u64,
    pub(crate) asked: Asked,
    pub(crate) since: Duration,
    pub(crate) waker: Waker,
}

/// See the module. Tickets grow with time, so the order of the keys is the order of arrival.
#[derive(Default)]
pub(crate) struct Line {
    foreground: BTreeMap<u64, Waiter>,
    background: BTreeMap<u64, Waiter>,
    next: u64,
    /// Grants to the foreground while someone in the background waited.
    passed_over: u8,
}

impl Line {
    pub(crate) fn next_ticket(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    pub(crate) fn len(&self) -> u32 {
        (self.foreground.len() + self.background.len()) as u32
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.foreground.is_empty() && self.background.is_empty()
    }

    pub(crate) fn oldest(&self) -> Option<Duration> {
        let heads = [self.foreground.values().next(), self.background.values().next()];
        heads.into_iter().flatten().map(|waiter| waiter.since).min()
    }

    fn of(&mut self, priority: LeasePriority) -> &mut BTreeMap<u64, Waiter> {
        match priority {
            LeasePriority::Foreground => &mut self.foreground,
            LeasePriority::Background => &mut self.background,
        }
    }

    pub(crate) fn join(&mut self, ticket: u64, asked: Asked, since: Duration, waker: Waker) {
        self.of(asked.priority).insert(ticket, Waiter { ticket, asked, since, waker });
    }

    /// The task may have moved since it was polled last.
    pub(crate) fn renew(&mut self, ticket: u64, priority: LeasePriority, waker: &Waker) {
        if let Some(waiter) = self.of(priority).get_mut(&ticket) {
            waiter.waker.clone_from(waker);
        }
    }

    pub(crate) fn leave(&mut self, ticket: u64, priority: LeasePriority) {
        self.of(priority).remove(&ticket);
    }

    /// Whose turn it is.
    pub(crate) fn pop(&mut self) -> Option<Waiter> {
        let turn_of_background = self.foreground.is_empty() || self.passed_over >= 3;
        if turn_of_background && let Some((_, waiter)) = self.background.pop_first() {
            self.passed_over = 0;
            return Some(waiter);
        }
        let (_, waiter) = self.foreground.pop_first()?;
        self.passed_over = if self.background.is_empty() { 0 } else { self.passed_over + 1 };
        Some(waiter)
    }
}
