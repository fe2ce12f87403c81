//! What one node knows of the log: its position, the bumps of late, and until when it may rely on them. It is told
//! pages of the log and times; it neither polls nor reads a clock.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::RwLock;

use crate::l1::Judge;
use crate::ports::{LogPage, LogScope};
use crate::{CacheValue, LogId, LogPosition, Subject};

/// How many bumps a node remembers. What was known alive only before the oldest of them is unknown.
pub(crate) const WINDOW: usize = 65_536;

#[derive(Debug)]
pub(crate) struct LogView {
    position: AtomicU64,
    generation: AtomicU32,
    /// The first monotonic nanosecond at which the position can no longer be relied on.
    fresh_until: AtomicU64,
    max_staleness: Duration,
    known: RwLock<Known>,
}

#[derive(Debug, Default)]
struct Known {
    log: Option<LogId>,
    /// The window's start: bumps after it are all here.
    from: u64,
    last: HashMap<Subject, u64>,
    by_seq: BTreeMap<u64, Subject>,
}

/// What a node can say about a copy without asking the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Liveness {
    Alive,
    /// Ended, or of another log, or older or newer than what the node knows. Unknown is never "unchanged".
    Unproven,
}

/// What a page of the log told a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Applied {
    /// The node is where the log is.
    CaughtUp,
    /// There is more to read.
    Behind,
    /// The log is another one than before, or an older state of it: all that relied on it must go.
    Reset,
}

impl LogView {
    pub(crate) fn new(scope: LogScope, max_staleness: Duration) -> Self {
        // In a log of this process alone, nothing happens unheard.
        let fresh_until = if scope == LogScope::Process { u64::MAX } else { 0 };
        Self {
            position: AtomicU64::new(0),
            generation: AtomicU32::new(0),
            fresh_until: AtomicU64::new(fresh_until),
            max_staleness,
            known: RwLock::default(),
        }
    }

    /// Whether the node may serve from L1 and L2 now.
    pub(crate) fn is_fresh(&self, now: u64) -> bool {
        now < self.fresh_until.load(Ordering::Acquire)
    }

    /// Serves nothing from L1 and L2 until the next good poll.
    pub(crate) fn distrust(&self) {
        let _ = self
            .fresh_until
            .fetch_update(Ordering::AcqRel, Ordering::Relaxed, |until| (until != u64::MAX).then_some(0));
    }

    /// Time since the last good poll was sent, if the log is not in this process.
    pub(crate) fn staleness(&self, now: u64) -> Option<Duration> {
        let until = self.fresh_until.load(Ordering::Relaxed);
        let sent =
            until.checked_sub(self.max_staleness.as_nanos() as u64 + 1).filter(|_| until != u64::MAX)?;
        Some(Duration::from_nanos(now.saturating_sub(sent)))
    }

    /// The node's position; `None` before the first poll.
    pub(crate) fn head(&self) -> Option<LogPosition> {
        let known = self.known.read();
        known.log.map(|log| LogPosition { log, seq: self.position.load(Ordering::Acquire) })
    }

    /// Where the next poll reads from.
    pub(crate) fn next(&self) -> u64 {
        self.position.load(Ordering::Acquire)
    }

    /// The current life of the log, if `position` is of it.
    pub(crate) fn generation_of(&self, position: LogPosition) -> Option<u32> {
        let known = self.known.read();
        (known.log == Some(position.log)).then(|| self.generation.load(Ordering::Acquire))
    }

    /// Takes a page that was asked for at `sent`. Pages must come in the order in which they were asked for.
    pub(crate) fn apply(&self, page: &LogPage, complete: bool, sent: u64) -> Applied {
        let mut known = self.known.write();
        let before = self.position.load(Ordering::Acquire);
        let first = known.log.is_none();
        let reset = known.log.is_some_and(|log| log != page.head.log) || page.head.seq < before;
        if first || reset {
            let start = if complete { page.head.seq } else { 0 };
            *known = Known { log: Some(page.head.log), from: start, ..Known::default() };
            if reset {
                // What was read under the old log must not pass for current: new generation before new position.
                self.generation.fetch_add(1, Ordering::AcqRel);
            }
        }
        if first && !reset {
            // The page starts where the node asked from, which the poller chose as the window's start.
            known.from = before;
        }
        if !reset {
            page.bumps.iter().for_each(|bump| known.add(bump.subject, bump.seq));
        }
        let reached =
            if complete || reset { page.head.seq } else { page.bumps.last().map_or(before, |b| b.seq) };
        self.position.store(reached, Ordering::Release);
        if reset {
            known.from = reached;
        }
        if complete || reset {
            let until = sent.saturating_add(self.max_staleness.as_nanos() as u64 + 1);
            // `fetch_max` keeps the endless freshness of a log in this process.
            self.fresh_until.fetch_max(until, Ordering::AcqRel);
        }
        match (reset, complete) {
            (true, _) => Applied::Reset,
            (false, true) => Applied::CaughtUp,
            (false, false) => Applied::Behind,
        }
    }

    /// Sets where the first poll starts: bumps before it are never known.
    pub(crate) fn start_at(&self, seq: u64) {
        let known = self.known.write();
        if known.log.is_none() {
            self.position.store(seq, Ordering::Release);
        }
    }

    /// Whether a copy that was known alive at `as_of` is known to be alive at the node's position.
    pub(crate) fn liveness(&self, subjects: &[Subject], as_of: Option<LogPosition>) -> Liveness {
        let known = self.known.read();
        let position = self.position.load(Ordering::Acquire);
        let Some(as_of) = as_of
            .filter(|as_of| known.log == Some(as_of.log) && as_of.seq >= known.from && as_of.seq <= position)
        else {
            return Liveness::Unproven;
        };
        if known.is_alive(subjects, as_of.seq) { Liveness::Alive } else { Liveness::Unproven }
    }
}

impl Judge for LogView {
    fn generation(&self) -> u32 {
        self.generation.load(Ordering::Acquire)
    }

    fn position(&self) -> u64 {
        self.position.load(Ordering::Acquire)
    }

    fn is_alive(&self, value: &CacheValue, checked: u64) -> bool {
        let known = self.known.read();
        checked >= known.from && known.is_alive(value.subjects(), checked)
    }
}

impl Known {
    fn add(&mut self, subject: Subject, seq: u64) {
        if let Some(before) = self.last.insert(subject, seq) {
            self.by_seq.remove(&before);
        }
        self.by_seq.insert(seq, subject);
        if self.by_seq.len() > WINDOW
            && let Some((oldest, subject)) = self.by_seq.pop_first()
        {
            self.last.remove(&subject);
            self.from = self.from.max(oldest);
        }
    }

    fn is_alive(&self, subjects: &[Subject], as_of: u64) -> bool {
        subjects.iter().all(|subject| self.last.get(subject).is_none_or(|seq| *seq <= as_of))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ports::Bump;

    const LOG: LogId = LogId::from_bytes([1; 16]);

    fn subject(byte: u8) -> Subject {
        Subject::from_bytes([byte; 16])
    }

    fn page(head: u64, bumps: &[(u8, u64)]) -> LogPage {
        LogPage {
            head: LogPosition { log: LOG, seq: head },
            bumps: bumps.iter().map(|(byte, seq)| Bump { subject: subject(*byte), seq: *seq }).collect(),
        }
    }

    fn view() -> LogView {
        LogView::new(LogScope::Fleet, Duration::from_secs(5))
    }

    fn at(seq: u64) -> LogPosition {
        LogPosition { log: LOG, seq }
    }

    #[test]
    fn a_copy_is_alive_if_nothing_of_its_own_was_bumped_since() {
        let view = view();
        assert_eq!(view.apply(&page(9, &[(1, 3), (2, 9)]), true, 0), Applied::CaughtUp);
        assert_eq!(view.liveness(&[subject(1)], Some(at(3))), Liveness::Alive);
        assert_eq!(view.liveness(&[subject(1)], Some(at(2))), Liveness::Unproven);
        assert_eq!(view.liveness(&[subject(1), subject(2)], Some(at(8))), Liveness::Unproven);
        assert_eq!(view.liveness(&[subject(3)], Some(at(0))), Liveness::Alive);
    }

    #[test]
    fn a_copy_without_position_of_another_log_or_from_the_future_is_unproven() {
        let view = view();
        view.apply(&page(9, &[]), true, 0);
        let foreign = LogPosition { log: LogId::from_bytes([2; 16]), seq: 9 };
        for as_of in [None, Some(foreign), Some(at(10))] {
            assert_eq!(view.liveness(&[subject(1)], as_of), Liveness::Unproven);
        }
    }

    #[test]
    fn a_copy_from_before_what_the_node_remembers_is_unproven() {
        let view = view();
        view.start_at(100);
        view.apply(&page(120, &[]), true, 0);
        assert_eq!(view.liveness(&[subject(1)], Some(at(99))), Liveness::Unproven);
        assert_eq!(view.liveness(&[subject(1)], Some(at(100))), Liveness::Alive);
        let bumps: Vec<_> = (0..=WINDOW as u64).map(|n| (120 + n + 1, n)).collect();
        let page = LogPage {
            head: LogPosition { log: LOG, seq: 121 + WINDOW as u64 },
            bumps: bumps
                .iter()
                .map(|(seq, n)| {
                    let mut subject = [0; 16];
                    subject[..8].copy_from_slice(&n.to_le_bytes());
                    Bump { subject: Subject::from_bytes(subject), seq: *seq }
                })
                .collect(),
        };
        view.apply(&page, true, 0);
        assert_eq!(view.liveness(&[subject(1)], Some(at(120))), Liveness::Unproven);
        assert_eq!(view.liveness(&[subject(1)], Some(at(121))), Liveness::Alive);
    }

    #[test]
    fn freshness_counts_from_when_the_poll_was_sent() {
        let view = view();
        let second = 1_000_000_000;
        assert!(!view.is_fresh(0));
        view.apply(&page(1, &[]), true, 10 * second);
        assert!(view.is_fresh(15 * second));
        assert!(!view.is_fresh(15 * second + 1));
        assert_eq!(view.staleness(12 * second), Some(Duration::from_secs(2)));
    }

    #[test]
    fn a_page_that_is_not_the_last_makes_nothing_fresh() {
        let view = view();
        assert_eq!(view.apply(&page(9, &[(1, 3)]), false, 5), Applied::Behind);
        assert!(!view.is_fresh(5));
        assert_eq!(view.next(), 3);
    }

    #[test]
    fn a_log_that_was_restored_from_a_backup_is_another_life() {
        let view = view();
        view.apply(&page(9, &[]), true, 0);
        let generation = view.generation();
        assert_eq!(view.apply(&page(8, &[]), true, 0), Applied::Reset);
        assert_ne!(view.generation(), generation);
        assert_eq!(view.liveness(&[subject(1)], Some(at(7))), Liveness::Unproven);
        let mut other = page(20, &[]);
        other.head.log = LogId::from_bytes([2; 16]);
        assert_eq!(view.apply(&other, true, 0), Applied::Reset);
        assert_eq!(view.generation_of(LogPosition { log: LOG, seq: 8 }), None);
    }

    #[test]
    fn a_log_in_this_process_is_always_fresh() {
        let view = LogView::new(LogScope::Process, Duration::from_secs(5));
        view.apply(&page(1, &[]), true, 0);
        assert!(view.is_fresh(u64::MAX - 1));
        assert_eq!(view.staleness(7), None);
    }
}
