//! Who waits for a quota, by lane, and whose turn it is.

use std::collections::VecDeque;
use std::sync::Arc;

use tokio::sync::Notify;
use tokio::sync::futures::Notified;

use crate::model::quota::Lane;

/// While a lower lane waits, this many grants go to higher ones before it gets one.
const GRANTS_BEFORE_LOWER: u32 = 9;

/// One that waits.
#[derive(Debug)]
pub(super) struct Ticket {
    id: u64,
    lane: usize,
    call: Notify,
}

impl Ticket {
    /// Waits until it is worth looking again.
    pub(super) fn called(&self) -> Notified<'_> {
        self.call.notified()
    }
}

/// Where to stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Back,
    Front,
}

/// Those who wait for one quota.
#[derive(Debug, Default)]
pub(super) struct Queue {
    lanes: [VecDeque<Arc<Ticket>>; Lane::COUNT],
    next_id: u64,
    /// Grants to higher lanes since a lower one began to wait, or had its last.
    passed_over: u32,
}

impl Queue {
    pub(super) fn is_empty(&self) -> bool {
        self.lanes.iter().all(VecDeque::is_empty)
    }

    pub(super) fn join(&mut self, lane: Lane, place: Place) -> Arc<Ticket> {
        self.next_id += 1;
        let ticket = Arc::new(Ticket { id: self.next_id, lane: lane.index(), call: Notify::new() });
        if let Some(lane) = self.lanes.get_mut(ticket.lane) {
            match place {
                Place::Back => lane.push_back(Arc::clone(&ticket)),
                Place::Front => lane.push_front(Arc::clone(&ticket)),
            }
        }
        ticket
    }

    /// Whose turn it is: the head of the highest lane, or, when that has had its share, the head of a lower lane that
    /// has waited longest.
    fn next(&self) -> Option<&Arc<Ticket>> {
        let mut heads = self.lanes.iter().filter_map(VecDeque::front);
        let highest = heads.next()?;
        let lower = heads.min_by_key(|ticket| ticket.id);
        match lower {
            Some(lower) if self.passed_over >= GRANTS_BEFORE_LOWER => Some(lower),
            _ => Some(highest),
        }
    }

    pub(super) fn is_next(&self, ticket: &Arc<Ticket>) -> bool {
        self.next().is_some_and(|next| Arc::ptr_eq(next, ticket))
    }

    pub(super) fn granted(&mut self, ticket: &Arc<Ticket>) {
        let lower_waits = self.lanes.iter().skip(ticket.lane + 1).any(|lane| !lane.is_empty());
        let higher_waits = self.lanes.iter().take(ticket.lane).any(|lane| !lane.is_empty());
        if lower_waits && !higher_waits {
            self.passed_over += 1;
        } else if higher_waits || !lower_waits {
            self.passed_over = 0;
        }
        self.leave(ticket);
    }

    pub(super) fn leave(&mut self, ticket: &Arc<Ticket>) {
        if let Some(lane) = self.lanes.get_mut(ticket.lane) {
            lane.retain(|other| !Arc::ptr_eq(other, ticket));
        }
    }

    pub(super) fn call_next(&self) {
        if let Some(next) = self.next() {
            next.call.notify_one();
        }
    }

    pub(super) fn call_all(&self) {
        for ticket in self.lanes.iter().flatten() {
            ticket.call.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Grants until nobody waits; gives the lanes in the order of their grants.
    fn drained(queue: &mut Queue) -> Vec<usize> {
        let mut order = Vec::new();
        while let Some(next) = queue.next().cloned() {
            queue.granted(&next);
            order.push(next.lane);
        }
        order
    }

    #[test]
    fn a_lower_lane_gets_each_tenth_grant() {
        let mut queue = Queue::default();
        for _ in 0..30 {
            queue.join(Lane::Urgent, Place::Back);
            queue.join(Lane::Bulk, Place::Back);
        }
        let order = drained(&mut queue);
        let bulk: Vec<_> =
            order.iter().take(30).enumerate().filter(|(_, lane)| **lane == 2).map(|(at, _)| at).collect();
        assert_eq!(bulk, [9, 19, 29]);
    }

    #[test]
    fn within_a_lane_the_first_is_first_and_who_rejoins_is_ahead() {
        let mut queue = Queue::default();
        let first = queue.join(Lane::Normal, Place::Back);
        let second = queue.join(Lane::Normal, Place::Back);
        assert!(queue.is_next(&first));
        let again = queue.join(Lane::Normal, Place::Front);
        assert!(queue.is_next(&again));
        queue.leave(&again);
        queue.leave(&first);
        assert!(queue.is_next(&second));
    }
}
