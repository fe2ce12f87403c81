//! When the limit goes up and down: a plain function of what was seen. It reads no clock.

use std::time::Duration;

use crate::{AttemptOutcome, AttemptSeen};

/// A median above this is congestion.
const CONGESTED: f64 = 2.0;
/// A step down goes to this part of the limit.
const DECREASE: f64 = 0.9;
/// So many errors, and such a part of the window, are a reason to step down.
const LEAST_ERRORS: usize = 2;
const ERROR_SHARE: f64 = 0.1;

/// The limit, and the window that decides about its next step.
#[derive(Debug)]
pub(super) struct LimitRule {
    limit: f64,
    max: f64,
    /// Whether it still doubles.
    doubling: bool,
    last_decrease: Option<Duration>,
    window: Window,
}

#[derive(Debug, Default)]
struct Window {
    start: Option<Duration>,
    slowness: Vec<f64>,
    expected: Vec<Duration>,
    errors: usize,
    seen: usize,
    most_in_use: usize,
}

impl LimitRule {
    pub(super) fn new(initial: usize, max: usize) -> Self {
        Self {
            limit: initial as f64,
            max: max as f64,
            doubling: true,
            last_decrease: None,
            window: Window::default(),
        }
    }

    pub(super) fn limit(&self) -> usize {
        (self.limit as usize).max(1)
    }

    /// Takes into account what was seen at `now`, while `in_use` requests were in flight.
    pub(super) fn observe(&mut self, now: Duration, seen: &AttemptSeen, expected: Duration, in_use: usize) {
        let error = match seen.outcome {
            AttemptOutcome::Throttled { .. } | AttemptOutcome::Failed => true,
            AttemptOutcome::Answered => false,
            AttemptOutcome::Refused | AttemptOutcome::Cancelled => return,
        };
        let sent = now.saturating_sub(seen.elapsed);
        if self.last_decrease.is_some_and(|decrease| sent < decrease) {
            return;
        }
        self.window.add(now, seen.elapsed, expected, error, in_use);
        // At once: those who fail together would fail together again if nobody were left to close the window.
        if self.window.is_faulty() {
            return self.decrease(now);
        }
        if self.window.is_over(now) {
            if self.window.is_slow() {
                return self.decrease(now);
            }
            if self.window.most_in_use as f64 >= self.limit / 2.0 {
                let more = if self.doubling { self.limit.floor() * 2.0 } else { self.limit + 1.0 };
                self.limit = more.min(self.max);
            }
            self.window = Window::default();
        }
    }

    fn decrease(&mut self, now: Duration) {
        self.limit = (self.limit * DECREASE).max(1.0);
        self.doubling = false;
        self.last_decrease = Some(now);
        self.window = Window::default();
    }
}

impl Window {
    fn add(&mut self, now: Duration, elapsed: Duration, expected: Duration, error: bool, in_use: usize) {
        self.start.get_or_insert(now);
        self.seen += 1;
        self.most_in_use = self.most_in_use.max(in_use);
        if error {
            self.errors += 1;
        } else {
            self.slowness.push(elapsed.as_secs_f64() / expected.as_secs_f64().max(1e-6));
            self.expected.push(expected);
        }
    }

    fn is_faulty(&self) -> bool {
        let of = self.seen.max(self.most_in_use) as f64;
        self.errors >= LEAST_ERRORS && self.errors as f64 >= ERROR_SHARE * of
    }

    /// Whether it lasted as long as the median request is expected to take.
    fn is_over(&mut self, now: Duration) -> bool {
        let Some(start) = self.start else { return false };
        let middle = self.expected.len() / 2;
        if self.expected.is_empty() {
            return false;
        }
        let (_, median, _) = self.expected.select_nth_unstable(middle);
        now.saturating_sub(start) >= *median
    }

    fn is_slow(&mut self) -> bool {
        let middle = self.slowness.len() / 2;
        if self.slowness.is_empty() {
            return false;
        }
        let (_, median, _) = self.slowness.select_nth_unstable_by(middle, f64::total_cmp);
        *median > CONGESTED
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: Duration = Duration::from_secs(1);

    fn seen(elapsed: Duration, outcome: AttemptOutcome) -> AttemptSeen {
        AttemptSeen { audio: 60 * S, elapsed, outcome }
    }

    /// Answers of `elapsed`, one a second, from `from` seconds on for `seconds`.
    fn answers(rule: &mut LimitRule, from: u32, seconds: u32, elapsed: Duration) {
        for second in from..from + seconds {
            rule.observe(second * S, &seen(elapsed, AttemptOutcome::Answered), 2 * S, rule.limit());
        }
    }

    #[test]
    fn the_limit_doubles_until_it_first_falls_then_climbs_by_one() {
        let mut rule = LimitRule::new(4, 64);
        answers(&mut rule, 10, 3, 2 * S);
        assert_eq!(rule.limit(), 8);
        answers(&mut rule, 13, 3, 2 * S);
        assert_eq!(rule.limit(), 16);
        answers(&mut rule, 30, 3, 9 * S);
        assert_eq!(rule.limit(), 14);
        answers(&mut rule, 60, 3, 2 * S);
        assert_eq!(rule.limit(), 15);
    }

    #[test]
    fn a_limit_that_is_not_used_does_not_grow() {
        let mut rule = LimitRule::new(8, 64);
        for second in 10..30 {
            rule.observe(second * S, &seen(2 * S, AttemptOutcome::Answered), 2 * S, 3);
        }
        assert_eq!(rule.limit(), 8);
    }

    #[test]
    fn a_cohort_that_fails_together_is_one_failure() {
        let mut rule = LimitRule::new(64, 64);
        for _ in 0..64 {
            let throttled = AttemptOutcome::Throttled { retry_after: None };
            rule.observe(10 * S, &seen(S, throttled), 2 * S, 64);
        }
        assert_eq!(rule.limit(), 57);
    }

    #[test]
    fn two_failures_among_many_are_no_reason() {
        let mut rule = LimitRule::new(64, 64);
        for at in 0..60 {
            let outcome = if at % 30 == 0 { AttemptOutcome::Failed } else { AttemptOutcome::Answered };
            rule.observe(10 * S, &seen(S, outcome), 2 * S, 64);
        }
        assert_eq!(rule.limit(), 64);
    }

    #[test]
    fn a_mixture_of_long_and_short_chunks_moves_nothing() {
        let mut rule = LimitRule::new(16, 16);
        for second in 10..200_u32 {
            let time = if second % 2 == 0 { 2 * S } else { 40 * S };
            rule.observe(second * S, &seen(time, AttemptOutcome::Answered), time, 16);
        }
        assert_eq!(rule.limit(), 16);
    }

    #[test]
    fn chunks_that_were_refused_or_given_up_say_nothing_about_the_server() {
        let mut rule = LimitRule::new(8, 8);
        for _ in 0..50 {
            rule.observe(10 * S, &seen(S, AttemptOutcome::Refused), 2 * S, 8);
            rule.observe(10 * S, &seen(90 * S, AttemptOutcome::Cancelled), 2 * S, 8);
        }
        assert_eq!(rule.limit(), 8);
    }
}
