//! A quota that is whole again at the end of a window, as headers describe it. Pure: `now` in seconds is an argument.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::model::quota::{RateLimit, SeenLimit};

/// How long after the end a window is believed to be over: clocks differ a little.
const GRACE: f64 = 0.12;

/// What is left of a window.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Window {
    /// The share of what headers say is left that is ours: 1 unless others spend the same without our knowing.
    share: f64,
    limit: f64,
    left: f64,
    ends_at: Option<f64>,
    period: f64,
}

impl Window {
    /// The window that the headers of an answer describe, if they say enough.
    pub(crate) fn seen(seen: &SeenLimit, in_flight: f64, now: f64) -> Option<Self> {
        let remaining = seen.remaining?;
        let reset = seen.reset.map(|reset| reset.as_secs_f64());
        let period = seen.period.map(|period| period.as_secs_f64()).or(reset).unwrap_or(60.0).max(1.0);
        Some(Self {
            share: 1.0,
            limit: seen.limit.unwrap_or(remaining.max(1.0)),
            left: (remaining - in_flight).max(0.0),
            ends_at: reset.map(|reset| now + reset),
            period,
        })
    }

    /// From here on this is one of `parts` that spend the same window without knowing of one another.
    pub(crate) fn part(self, parts: f64) -> Self {
        Self { share: 1.0 / parts, left: self.left / parts, ..self }
    }

    pub(crate) fn limit(&self) -> RateLimit {
        RateLimit { amount: self.limit, period: Duration::from_secs_f64(self.period) }
    }

    pub(crate) fn remaining(&self) -> f64 {
        self.left.max(0.0)
    }

    pub(crate) fn advance(&mut self, now: f64) {
        if self.ends_at.is_some_and(|end| now >= end + GRACE) {
            self.left = self.limit * self.share;
            self.ends_at = None;
        }
    }

    /// Seconds until `cost` can be granted.
    pub(crate) fn wait(&self, cost: f64, now: f64) -> f64 {
        if cost <= 0.0 || self.left >= cost.min(self.limit) {
            return 0.0;
        }
        match self.ends_at {
            Some(end) => (end + GRACE - now).max(0.0),
            // The window began with our own spending, and nobody has said yet when it ends.
            None => self.period,
        }
    }

    pub(crate) fn charge(&mut self, cost: f64) {
        self.left -= cost;
    }

    pub(crate) fn restore(&mut self, cost: f64) {
        self.left += cost;
    }

    /// Learns from an answer; `in_flight` is what was charged and not answered yet, which the API may not have seen.
    pub(crate) fn observe(&mut self, seen: &SeenLimit, in_flight: f64, now: f64) {
        self.advance(now);
        let Some(next) = Self::seen(seen, in_flight, now) else { return };
        let step = seen.reset_step.as_secs_f64();
        let same = match (self.ends_at, next.ends_at) {
            (Some(mine), Some(theirs)) => (mine - theirs).abs() <= step + 1.0,
            _ => false,
        };
        // In the same window what is left only falls: answers overtake one another.
        // Where a window has begun by our own reckoning, so has what is left of it.
        let known = same || self.ends_at.is_none();
        let theirs = seen.remaining.map_or(self.left, |remaining| remaining * self.share);
        let left = if known { self.left.min(theirs) } else { next.left * self.share };
        // A reset of whole seconds may be rounded down: the later end is the safe one.
        let ends_at = match (same, self.ends_at, next.ends_at) {
            (true, Some(mine), Some(theirs)) => Some(mine.max(theirs)),
            (_, _, theirs) => theirs,
        };
        let period = self.period.max(next.period);
        *self = Self { share: self.share, limit: next.limit, left, ends_at, period };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::quota::{Dimension, ResetMeaning};

    fn seen(remaining: f64, reset: u64) -> SeenLimit {
        SeenLimit {
            dimension: Dimension::Requests,
            limit: Some(8.0),
            remaining: Some(remaining),
            reset: Some(Duration::from_secs(reset)),
            meaning: ResetMeaning::UntilWindowEnds,
            period: None,
            reset_step: Duration::from_secs(1),
        }
    }

    #[test]
    fn what_is_left_is_spent_and_then_the_end_is_waited_for() {
        let mut window = Window::seen(&seen(2.0, 30), 0.0, 0.0).unwrap();
        for _ in 0..2 {
            assert_eq!(window.wait(1.0, 0.0), 0.0);
            window.charge(1.0);
        }
        assert!((window.wait(1.0, 10.0) - 20.12).abs() < 1e-9);
        window.advance(30.2);
        assert_eq!((window.wait(1.0, 30.2), window.remaining()), (0.0, 8.0));
    }

    #[test]
    fn an_answer_that_was_overtaken_does_not_give_anything_back() {
        let mut window = Window::seen(&seen(2.0, 30), 0.0, 0.0).unwrap();
        window.observe(&seen(5.0, 30), 0.0, 0.1);
        assert_eq!(window.remaining(), 2.0);
        // The next window has begun by our own reckoning, and two are spent of it, of which the API has seen one.
        window.advance(31.0);
        window.charge(2.0);
        window.observe(&seen(7.0, 60), 1.0, 31.5);
        assert_eq!(window.remaining(), 6.0);
    }
}
