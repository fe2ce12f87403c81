//! A quota that is whole again at the end of a window, as headers describe it. Pure: `now` in seconds is an argument.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::model::quota::{RateLimit, SeenLimit};

/// How long after the end a window is believed to be over: clocks differ a little.
const GRACE: f64 = 0.12;

/// How often in a row headers must fit a window and no bucket before that is believed.
const PROOF: u32 = 4;

/// Whether headers that mean a bucket by their names tell of a window, as Azure's do: while more and more is used, the
/// reset stays at one moment, where that of a bucket would move on with each use.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(crate) struct WindowProof {
    /// What was left, and until when, when more was left.
    since: Option<(f64, f64)>,
    times: u32,
}

impl WindowProof {
    pub(crate) fn is_given(&self) -> bool {
        self.times >= PROOF
    }

    /// Looks at the headers of an answer to a request that was sent at this time; `unit` is what a unit of a bucket costs,
    /// in seconds. Tells whether the proof is given now.
    pub(crate) fn observe(&mut self, seen: &SeenLimit, sent_at: f64, unit: f64) -> bool {
        let (Some(remaining), Some(reset)) = (seen.remaining, seen.reset) else { return false };
        let end = sent_at + reset.as_secs_f64();
        let Some((was_left, was_end)) = self.since.filter(|(left, _)| remaining < *left) else {
            self.since = Some((remaining, end));
            return false;
        };
        // By how much a bucket's reset would be later at least; less than this is lost in the delays of the network.
        let later = (was_left - remaining) * unit;
        if later < 0.4 {
            return false;
        }
        let fits = (end - was_end).abs() < 0.25 * later + seen.reset_step.as_secs_f64();
        self.times = if fits { self.times + 1 } else { 0 };
        self.since = if fits { self.since } else { Some((remaining, end)) };
        self.is_given()
    }
}

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

    /// Whether the headers of these answers, as (sent at, remaining, reset), prove a window.
    fn proves(unit: f64, answers: impl IntoIterator<Item = (f64, f64, f64)>) -> bool {
        let mut proof = WindowProof::default();
        answers.into_iter().any(|(at, remaining, reset)| {
            let reset = Some(Duration::from_secs_f64(reset));
            let seen = SeenLimit { reset, reset_step: Duration::ZERO, ..seen(remaining, 0) };
            proof.observe(&seen, at, unit)
        })
    }

    #[test]
    fn a_window_behind_the_headers_of_a_bucket_is_known_and_a_bucket_is_not_taken_for_one() {
        let at = |n: u32| f64::from(n) * 0.05;
        assert!(proves(0.72, (0..40).map(|n| (at(n), f64::from(82 - n), 10.0 - at(n)))));
        let bucket =
            |n: u32| (at(n), (499 - n) as f64, f64::from(n + 1) * 0.12 - at(n).min(f64::from(n) * 0.12));
        assert!(!proves(0.12, (0..400).map(bucket)));
    }
}
