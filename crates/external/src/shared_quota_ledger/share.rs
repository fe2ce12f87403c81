//! What one process knows of one shared quota, and what it has still to say. Synchronous; round trips are around it.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use super::replica::{AHEAD, Deed, Event, Leased, Replica};
use crate::config::RateLimitConfig;
use crate::in_memory_quota_ledger::scope_state::ScopeState;
use crate::model::quota::{Cost, Dimension, Observation, QuotaView};
use crate::ports::{Charge, Charged, LogPosition, LogSnapshot, LogTail};

/// The most permits of one lease.
const LARGEST_LEASE: u32 = 16;
/// A lease that lasted less than this was too small.
const SHORT_LEASE: f64 = AHEAD / 2.0;
/// A permit that nobody took for so long is given back.
const UNUSED_AFTER: f64 = 0.25;
/// How soon it is worth asking again for a place in flight: others do not tell when they leave one.
const ASK_AGAIN: Duration = Duration::from_millis(50);
/// After so many events a snapshot is handed in.
const SNAPSHOT_EVERY: u64 = 512;
/// The most events that wait to be told; beyond that the oldest are forgotten.
const UNTOLD: usize = 4096;
/// How often a process says that it is still there, in seconds.
const BEAT_EVERY: f64 = 20.0;

/// A permit that was leased and is not used yet.
#[derive(Debug)]
struct Spare {
    cost: Cost,
    charge: Charge,
}

/// The quota while the log cannot be reached.
#[derive(Debug)]
struct Alone {
    state: ScopeState,
    ask_again: Instant,
}

/// What is to be appended.
#[derive(Debug)]
pub(super) struct Letter {
    pub(super) seen: LogPosition,
    pub(super) events: Vec<String>,
    pub(super) snapshot: Option<LogSnapshot>,
}

#[derive(Debug)]
pub(super) struct Share {
    node: u64,
    told: RateLimitConfig,
    numbers: u64,
    seen: LogPosition,
    snapshot_at: u64,
    replica: Replica,
    /// What to add to this process's time to have the log's.
    offset: f64,
    spares: VecDeque<Spare>,
    untold: VecDeque<Event>,
    told_at: f64,
    lease: u32,
    leased_at: f64,
    refused: Option<Charged>,
    alone: Option<Alone>,
}

impl Share {
    /// `now` is this process's time, in seconds since whenever.
    pub(super) fn new(node: u64, told: &RateLimitConfig, now: f64) -> Self {
        let mut share = Self {
            node,
            told: told.clone(),
            numbers: 0,
            seen: LogPosition::default(),
            snapshot_at: 0,
            replica: Replica::new(),
            offset: 0.0,
            spares: VecDeque::new(),
            untold: VecDeque::new(),
            told_at: now,
            lease: 1,
            leased_at: f64::MIN,
            refused: None,
            alone: None,
        };
        share.tell_what_was_told();
        share
    }

    fn tell(&mut self, deed: Deed) {
        self.numbers += 1;
        self.untold.push_back(Event { node: self.node, number: self.numbers, deed });
        if self.untold.len() > UNTOLD {
            self.untold.pop_front();
        }
    }

    fn tell_what_was_told(&mut self) {
        let config = self.told.clone();
        self.tell(Deed::Told { config });
    }

    /// The answer that needs no round trip, if there is one.
    pub(super) fn at_hand(&mut self, cost: &Cost, now: f64) -> Option<Charged> {
        let log_now = now + self.offset;
        if let Some(alone) = &mut self.alone {
            let charged = alone.state.try_charge(cost, log_now);
            if matches!(charged, Charged::Granted(_)) {
                self.tell(Deed::Spent { cost: *cost, at_s: log_now });
            }
            return Some(charged);
        }
        let covers = |spare: &Spare| Dimension::ALL.into_iter().all(|d| cost.of(d) <= spare.cost.of(d));
        let next = self.spares.front().filter(|spare| covers(spare))?;
        let wait = next.charge.at_s - log_now;
        if wait > 1e-6 {
            return Some(Charged::Wait(Duration::from_secs_f64(wait) + Duration::from_nanos(1)));
        }
        self.spares.pop_front().map(|spare| Charged::Granted(spare.charge))
    }

    /// Asks for permits with the next letter.
    pub(super) fn ask(&mut self, cost: &Cost, now: f64) {
        // Spares that do not cover this cost would be in the way of those that do.
        self.give_back(|_| true);
        let log_now = now + self.offset;
        let short = log_now - self.leased_at < SHORT_LEASE;
        self.lease = if short { (self.lease * 2).min(LARGEST_LEASE) } else { (self.lease / 2).max(1) };
        self.refused = None;
        self.tell(Deed::Lease { cost: *cost, permits: self.lease });
    }

    pub(super) fn letter(&mut self, now: f64) -> Letter {
        self.told_at = now;
        let due = self.seen.next.saturating_sub(self.snapshot_at) >= SNAPSHOT_EVERY;
        let snapshot = due.then(|| {
            self.snapshot_at = self.seen.next;
            LogSnapshot { next: self.seen.next, state: written(&self.replica) }
        });
        Letter { seen: self.seen.clone(), events: self.untold.iter().map(written).collect(), snapshot }
    }

    /// Reads what the log answered. What it said before already is skipped.
    pub(super) fn read(&mut self, tail: LogTail, now: f64) -> Result<(), serde_json::Error> {
        self.offset = tail.now_s - now;
        self.alone = None;
        let (mut lost, mut anew) = (None, false);
        if tail.epoch != self.seen.epoch {
            anew = !self.seen.epoch.is_empty();
            let known = std::mem::replace(&mut self.replica, Replica::new());
            lost = (anew && known.is_used()).then_some(known);
            self.seen = LogPosition { epoch: tail.epoch, next: 0 };
            self.snapshot_at = 0;
            self.spares.clear();
        }
        if let Some(snapshot) = tail.snapshot.filter(|snapshot| snapshot.next > self.seen.next) {
            self.replica = serde_json::from_str(&snapshot.state)?;
            self.seen.next = snapshot.next;
            self.snapshot_at = snapshot.next;
        }
        for (logged, position) in tail.events.into_iter().zip(tail.first..) {
            if position < self.seen.next {
                continue;
            }
            self.seen.next = position + 1;
            let event: Event = serde_json::from_str(&logged.event)?;
            let own = event.node == self.node;
            if let Some(leased) = self.replica.apply(event, logged.at_s).filter(|_| own) {
                self.leased(leased, logged.at_s);
            }
        }
        let known = self.replica.last_number(self.node);
        while self.untold.front().is_some_and(|event| event.number <= known) {
            self.untold.pop_front();
        }
        // Another log, since the one before is lost: what is in none of its events is told again.
        if let Some(replica) = lost {
            self.tell(Deed::Inherit { replica: Box::new(replica) });
        }
        if anew {
            self.tell_what_was_told();
        }
        Ok(())
    }

    fn leased(&mut self, leased: Leased, at: f64) {
        let Leased { cost, granted, refused } = leased;
        self.leased_at = at;
        self.refused = refused;
        self.spares.extend(granted.into_iter().map(|charge| Spare { cost, charge }));
    }

    /// What to answer when the lease brought nothing.
    pub(super) fn refusal(&mut self) -> Charged {
        match self.refused.take() {
            Some(Charged::Wait(Duration::MAX)) | None => Charged::Wait(ASK_AGAIN),
            Some(other) => other,
        }
    }

    /// The log could not be reached: from here on this process goes by its part.
    pub(super) fn cut_off(&mut self, parts: u32, ask_again: Instant) {
        self.untold.retain(|event| !matches!(event.deed, Deed::Lease { .. }));
        if let Some(alone) = &mut self.alone {
            alone.ask_again = ask_again;
            return;
        }
        self.alone = Some(Alone { state: self.replica.part(self.node, &self.told, parts), ask_again });
    }

    /// Gives permits back that nobody took in time.
    fn give_back(&mut self, which: impl Fn(&Spare) -> bool) {
        let (back, kept): (VecDeque<_>, VecDeque<_>) =
            std::mem::take(&mut self.spares).into_iter().partition(which);
        self.spares = kept;
        for spare in back {
            self.tell(Deed::Restore { cost: spare.cost });
        }
    }

    /// Whether there is something to say now, by itself.
    pub(super) fn wants_to_write(&mut self, now: f64) -> bool {
        let log_now = now + self.offset;
        if let Some(alone) = &self.alone {
            return Instant::now() >= alone.ask_again;
        }
        self.give_back(|spare| log_now - spare.charge.at_s > UNUSED_AFTER);
        if now - self.told_at >= BEAT_EVERY && self.untold.is_empty() && self.replica.is_used() {
            self.tell(Deed::Beat);
        }
        !self.untold.is_empty()
    }

    /// Whether it needs to be looked at often.
    pub(super) fn is_busy(&self) -> bool {
        self.alone.is_some() || !self.spares.is_empty() || !self.untold.is_empty()
    }

    pub(super) fn is_alone(&self) -> bool {
        self.alone.is_some()
    }

    /// The request goes out: what was foreseen for its place in the order is moved to the time that it is now.
    pub(super) fn sent(&self, charge: &mut Charge, now: f64) {
        let log_now = now + self.offset;
        for mark in charge.marks.iter_mut().flatten() {
            mark.predicted_s = (mark.predicted_s - (log_now - charge.at_s)).max(0.0);
        }
        charge.at_s = log_now;
    }

    pub(super) fn restore(&mut self, cost: &Cost) {
        if let Some(alone) = &mut self.alone {
            alone.state.restore(cost);
        }
        self.tell(Deed::Restore { cost: *cost });
    }

    pub(super) fn settle(&mut self, cost: &Cost, charge: Charge, seen: &Observation, now: f64) {
        let log_now = now + self.offset;
        if let Some(alone) = &mut self.alone {
            alone.state.settle(cost, &charge, seen, log_now);
        }
        self.tell(Deed::Settle { cost: *cost, charge, seen: seen.clone() });
    }

    pub(super) fn view(&self, now: f64) -> QuotaView {
        let log_now = now + self.offset;
        match &self.alone {
            Some(alone) => alone.state.clone().view(log_now),
            None => self.replica.view(log_now),
        }
    }
}

/// These are plain numbers and names, and maps whose keys are numbers: all of it has a form in JSON.
#[expect(
    clippy::expect_used,
    reason = "own types without anything that JSON lacks cannot fail to be written"
)]
fn written(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).expect("numbers and names have a form in JSON")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ports::LoggedEvent;

    fn tail(epoch: &str, events: &[String]) -> LogTail {
        let logged = |event: &String| LoggedEvent { at_s: 1e9, event: event.clone() };
        let events = events.iter().map(logged).collect();
        LogTail { epoch: epoch.into(), now_s: 1e9, snapshot: None, first: 0, events }
    }

    #[test]
    fn what_was_told_is_told_again_to_a_log_that_has_lost_it() {
        let told = RateLimitConfig::default().with_requests_per_minute(7);
        let mut share = Share::new(1, &told, 0.0);
        let first = share.letter(0.0).events;
        assert_eq!(first.len(), 1, "{first:?}");
        share.read(tail("a", &first), 0.0).unwrap();
        assert_eq!(share.letter(0.0).events, Vec::<String>::new());
        share.read(tail("b", &[]), 0.0).unwrap();
        let again = share.letter(0.0).events;
        assert!(again.len() == 1 && again.iter().all(|event| event.contains("Told")), "{again:?}");
    }

    #[test]
    fn an_answer_that_is_read_twice_counts_once() {
        let mut share = Share::new(1, &RateLimitConfig::default(), 0.0);
        share.ask(&Cost::default(), 0.0);
        let events = share.letter(0.0).events;
        for _ in 0..2 {
            share.read(tail("a", &events), 0.0).unwrap();
        }
        // Sent again under the same numbers, as after an answer that was lost.
        let twice = [events.clone(), events].concat();
        share.read(tail("a", &twice), 0.0).unwrap();
        assert!(matches!(share.at_hand(&Cost::default(), 0.0), Some(Charged::Granted(_))));
        assert_eq!(share.at_hand(&Cost::default(), 0.0), None);
        assert_eq!(share.view(0.0).in_flight, 1);
    }
}
