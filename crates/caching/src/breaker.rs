//! Decides when a level that fails is left alone, and when it is tried again. Pure: it is told times and outcomes.

use std::time::Duration;

use wavequill_kernel::Backoff;

/// Failures in a row that open it.
const IN_A_ROW: u32 = 5;
/// Of this many calls, half failed opens it.
const SAMPLE: u32 = 20;
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// A circuit breaker. Times are monotonic nanoseconds.
#[derive(Debug, Default)]
pub(crate) struct Breaker {
    in_a_row: u32,
    /// The last calls, the latest in the lowest bit; a failure is a one.
    outcomes: u32,
    calls: u32,
    /// While open: when the next probe may go. One goes at a time.
    probe_at: Option<u64>,
    probes: u32,
}

impl Breaker {
    /// Whether a call may go now. While open, one that may is the probe, and the next waits for its outcome.
    pub(crate) fn admits(&mut self, now: u64) -> bool {
        match self.probe_at {
            None => true,
            Some(at) if now < at => false,
            Some(_) => {
                self.probe_at = Some(now.saturating_add(nanos(LONGEST_PAUSE)));
                true
            }
        }
    }

    /// Whether calls are refused.
    pub(crate) fn is_open(&self) -> bool {
        self.probe_at.is_some()
    }

    /// A call answered.
    pub(crate) fn succeeded(&mut self) {
        if self.is_open() {
            *self = Self::default();
        }
        self.in_a_row = 0;
        self.remember(0);
    }

    /// A call failed. `seed` spreads the probes of many nodes.
    pub(crate) fn failed(&mut self, now: u64, seed: u64) {
        self.in_a_row += 1;
        self.remember(1);
        let half_failed = self.calls >= SAMPLE && self.outcomes.count_ones() * 2 >= SAMPLE;
        if self.is_open() || self.in_a_row >= IN_A_ROW || half_failed {
            self.probes += 1;
            self.probe_at = Some(now.saturating_add(nanos(pause(self.probes, seed))));
        }
    }

    fn remember(&mut self, outcome: u32) {
        self.outcomes = (self.outcomes << 1 | outcome) & ((1 << SAMPLE) - 1);
        self.calls = (self.calls + 1).min(SAMPLE);
    }
}

/// Half of the doubled pause, and up to as much again: never at once, never all together.
fn pause(probe: u32, seed: u64) -> Duration {
    Backoff::new(FIRST_PAUSE, LONGEST_PAUSE)
        .map_or(LONGEST_PAUSE, |backoff| (backoff.ceiling(probe) + backoff.delay(probe, seed)) / 2)
}

fn nanos(duration: Duration) -> u64 {
    duration.as_nanos() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn open() -> Breaker {
        let mut breaker = Breaker::default();
        (0..IN_A_ROW).for_each(|_| breaker.failed(0, 7));
        breaker
    }

    #[test]
    fn five_failures_in_a_row_open_it_and_four_do_not() {
        let mut breaker = Breaker::default();
        (0..4).for_each(|_| breaker.failed(0, 7));
        assert!(breaker.admits(0));
        breaker.failed(0, 7);
        assert!(breaker.is_open() && !breaker.admits(0));
    }

    #[test]
    fn half_of_twenty_calls_failed_opens_it() {
        let mut breaker = Breaker::default();
        for _ in 0..SAMPLE / 2 {
            breaker.succeeded();
            breaker.failed(0, 7);
        }
        assert!(breaker.is_open());
    }

    #[test]
    fn one_probe_goes_and_its_success_closes_it() {
        let mut breaker = open();
        assert!(!breaker.admits(SECOND / 2 - 1));
        assert!(breaker.admits(SECOND));
        assert!(!breaker.admits(SECOND + 1), "a second call went with the probe");
        breaker.succeeded();
        assert!(!breaker.is_open() && breaker.admits(SECOND + 2));
    }

    #[test]
    fn pauses_double_up_to_thirty_seconds() {
        let mut breaker = open();
        let mut now = 0;
        for _ in 0..12 {
            now += nanos(LONGEST_PAUSE);
            assert!(breaker.admits(now));
            breaker.failed(now, 7);
        }
        assert!(!breaker.admits(now + nanos(LONGEST_PAUSE) / 2 - 1));
        assert!(breaker.admits(now + nanos(LONGEST_PAUSE)));
    }

    #[test]
    fn a_probe_that_is_never_heard_of_again_does_not_keep_it_open_for_ever() {
        let mut breaker = open();
        assert!(breaker.admits(SECOND));
        assert!(breaker.admits(SECOND + nanos(LONGEST_PAUSE)));
    }
}
