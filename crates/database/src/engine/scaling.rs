//! How many connections a pool should have: a rule of values, which takes the time and reads none.
//!
//! Demand is what is in use and what waits. After Little's law its mean is the rate of arrivals times the time that
//! each holds a connection, however bursty the arrivals are. Growth answers the mean of the last second, shrinking
//! the 95th percentile of those means over the last minute.
//!
//! Today it watches the pool alone: it does not hold back when a saturated server makes statements slower, and does
//! not share the server's connections with other processes.

use std::collections::VecDeque;
use std::time::Duration;

use crate::{PoolLimits, PoolSize, ScaleOutcome, ScaleReason};

/// How a pool sizes itself.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ScalePolicy {
    /// The share of the connections that should be in use.
    pub(crate) utilization: f64,
    /// Growth by this factor at most a step.
    pub(crate) grow: f64,
    /// Shrinking by this factor at most a step.
    pub(crate) shrink: f64,
}

/// The pool at one moment.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Observation {
    pub(crate) in_use: u32,
    pub(crate) waiting: u32,
}

/// A second of observations.
#[derive(Clone, Copy, Debug, Default)]
struct Second {
    sum: f64,
    count: u32,
    waited: bool,
}

impl Second {
    fn mean(self) -> f64 {
        if self.count == 0 { 0.0 } else { self.sum / f64::from(self.count) }
    }
}

/// Remembers a minute of demand.
#[derive(Debug)]
pub(crate) struct Scaler {
    current: Second,
    second_began: Duration,
    seconds: VecDeque<Second>,
    /// Since when the pool has been far too large.
    oversized_since: Option<Duration>,
    last_shrink: Option<Duration>,
}

const MINUTE: usize = 60;
const OVERSIZED: f64 = 0.35;
const OVERSIZED_FOR: Duration = Duration::from_secs(300);
const SHRINK_EVERY: Duration = Duration::from_secs(30);

impl Scaler {
    pub(crate) fn new(now: Duration) -> Self {
        Self {
            current: Second::default(),
            second_began: now,
            seconds: VecDeque::with_capacity(MINUTE),
            oversized_since: None,
            last_shrink: None,
        }
    }

    /// Notes the demand at a tick.
    pub(crate) fn observe(&mut self, now: Duration, observation: Observation) {
        if now.saturating_sub(self.second_began) >= Duration::from_secs(1) {
            if self.seconds.len() == MINUTE {
                self.seconds.pop_front();
            }
            self.seconds.push_back(std::mem::take(&mut self.current));
            self.second_began = now;
        }
        self.current.sum += f64::from(observation.in_use) + f64::from(observation.waiting);
        self.current.count += 1;
        self.current.waited |= observation.waiting > 0;
    }

    /// The mean demand of the second that runs and the one before it, whichever is larger.
    pub(crate) fn demand(&self) -> f64 {
        self.seconds.back().map_or(0.0, |second| second.mean()).max(self.current.mean())
    }

    fn waited(&self) -> bool {
        self.current.waited || self.seconds.back().is_some_and(|second| second.waited)
    }

    /// The 95th percentile of the means of the last minute.
    fn busiest(&self) -> f64 {
        let mut means: Vec<f64> = self.seconds.iter().map(|second| second.mean()).collect();
        means.push(self.current.mean());
        means.sort_by(f64::total_cmp);
        let rank = ((means.len() as f64 * 0.95).ceil() as usize).clamp(1, means.len());
        means.get(rank - 1).copied().unwrap_or(0.0)
    }

    /// The size that the pool should have, if it is not the one it has.
    pub(crate) fn decide(
        &mut self,
        now: Duration,
        target: u32,
        limits: PoolLimits,
        policy: &ScalePolicy,
    ) -> Option<ScaleOutcome> {
        let demand = self.demand();
        let size = f64::from(target);
        if self.waited() && demand > policy.utilization * size {
            self.oversized_since = None;
            let wanted = (demand / policy.utilization).ceil();
            let step = (size * policy.grow).ceil().max(size + 1.0);
            return outcome(target, wanted.min(step) as u32, limits, ScaleReason::Demand);
        }
        let busiest = self.busiest();
        if busiest > OVERSIZED * size {
            self.oversized_since = None;
            return None;
        }
        let since = *self.oversized_since.get_or_insert(now);
        let due = self.last_shrink.is_none_or(|last| now.saturating_sub(last) >= SHRINK_EVERY);
        if now.saturating_sub(since) < OVERSIZED_FOR || !due {
            return None;
        }
        let wanted = (busiest / policy.utilization).ceil().max((size * policy.shrink).floor());
        let outcome = outcome(target, wanted as u32, limits, ScaleReason::Idle)?;
        self.last_shrink = Some(now);
        Some(outcome)
    }
}

fn outcome(from: u32, wanted: u32, limits: PoolLimits, reason: ScaleReason) -> Option<ScaleOutcome> {
    let to = limits.clamp(PoolSize::new(wanted).unwrap_or(PoolSize::ONE)).get();
    (to != from).then_some(ScaleOutcome { from, to, wanted, reason })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TICK: Duration = Duration::from_millis(250);

    struct Run {
        scaler: Scaler,
        now: Duration,
        target: u32,
        limits: PoolLimits,
        turns: u32,
        last: i64,
    }

    impl Run {
        fn new(min: u32, max: u32) -> Self {
            let limits = PoolLimits::new(min, max).unwrap();
            Self {
                scaler: Scaler::new(Duration::ZERO),
                now: Duration::ZERO,
                target: min,
                limits,
                turns: 0,
                last: 0,
            }
        }

        /// As many as want a connection for so long; the rest wait.
        fn demand(&mut self, wanted: u32, time: Duration) {
            let policy = ScalePolicy { utilization: 0.7, grow: 1.5, shrink: 0.8 };
            let end = self.now + time;
            while self.now < end {
                self.now += TICK;
                let in_use = wanted.min(self.target);
                self.scaler.observe(self.now, Observation { in_use, waiting: wanted - in_use });
                if let Some(outcome) = self.scaler.decide(self.now, self.target, self.limits, &policy) {
                    let change = i64::from(outcome.to) - i64::from(outcome.from);
                    self.turns += u32::from(self.last != 0 && change.signum() != self.last.signum());
                    self.last = change;
                    self.target = outcome.to;
                }
            }
        }
    }

    #[test]
    fn a_load_that_triples_is_followed_within_a_second() {
        let mut run = Run::new(5, 40);
        run.demand(4, Duration::from_secs(30));
        let before = run.target;
        run.demand(12, Duration::from_secs(1));
        assert!(run.target >= 12, "from {before} to {}", run.target);
    }

    #[test]
    fn a_load_that_falls_is_followed_back_to_the_minimum_without_turning() {
        let mut run = Run::new(5, 40);
        run.demand(24, Duration::from_secs(10));
        assert!(run.target >= 24);
        run.demand(1, Duration::from_secs(1_200));
        assert_eq!(run.target, 5);
        assert_eq!(run.turns, 1, "grew, then shrank");
    }

    #[test]
    fn a_minimum_of_one_grows() {
        let mut run = Run::new(1, 10);
        run.demand(2, Duration::from_secs(2));
        assert!(run.target >= 2);
    }

    #[test]
    fn a_steady_load_changes_nothing_once_it_is_served() {
        let mut run = Run::new(2, 64);
        run.demand(20, Duration::from_secs(10));
        let served = run.target;
        run.demand(20, Duration::from_secs(600));
        assert_eq!(run.target, served);
    }

    #[test]
    fn a_wave_within_the_minute_does_not_make_the_size_swing() {
        let mut run = Run::new(2, 64);
        for _ in 0..60 {
            run.demand(20, Duration::from_secs(10));
            run.demand(4, Duration::from_secs(10));
        }
        assert_eq!(run.turns, 0);
    }
}
