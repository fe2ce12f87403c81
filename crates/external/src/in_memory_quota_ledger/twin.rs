//! The twin of a token bucket that an API keeps: it reckons what the API reckons, and is corrected by what headers say.
//!
//! Pure: `now` is an argument, in seconds of one clock. An amount costs T = period ÷ limit seconds a unit; `tat`, the
//! time at which the bucket would be full again, is all of its state (GCRA). A correction moves `tat` a little towards
//! what a header said about the moment at which that request was *sent*; their sum is kept, so that an answer that comes
//! late is compared with what was known then.

use std::collections::VecDeque;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::model::quota::{RateLimit, SeenLimit};
use crate::ports::ChargeMark;

/// How much of an error is corrected at once.
const GAIN: f64 = 0.3;
/// How much of an error is taken for what others spend.
const FOREIGN_GAIN: f64 = 0.03;
/// The largest share of a quota that others are believed to spend.
const LARGEST_FOREIGN: f64 = 0.95;
/// The weight of a new delay in their mean.
const DELAY_WEIGHT: f64 = 0.05;
/// The weight of a new cost in their mean.
const COST_WEIGHT: f64 = 0.05;
/// The periods that limits have: one second to one day.
const PERIODS: [f64; 5] = [1.0, 10.0, 60.0, 3600.0, 86_400.0];
/// Requests that are sent within this time of each other may arrive in any order.
const REORDERING: f64 = 0.05;
/// How many moments of sending are remembered.
const REMEMBERED: usize = 4096;
/// How often another period must be seen in a row before it is believed.
const PERIOD_PROOF: u32 = 3;

/// What happened to the request whose headers are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Admission {
    /// It was charged.
    Admitted,
    /// It was refused, and not charged.
    Refused,
}

/// The reckoning of one bucket.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Twin {
    limit: f64,
    /// When the latest request that told this limit was sent.
    limit_of: f64,
    period: f64,
    burst: f64,
    tat: f64,
    advanced_at: f64,
    foreign: f64,
    shift: f64,
    delay: f64,
    mean_cost: f64,
    other_period: Option<(f64, u32)>,
    /// When something was spent, and the sum of all that was spent until then.
    spent: VecDeque<(f64, f64)>,
}

impl Twin {
    /// The bucket that headers describe, less what is in flight and may not have been seen by the API yet.
    pub(crate) fn seen(seen: &SeenLimit, in_flight: f64, now: f64) -> Option<Self> {
        let limit = seen.limit?;
        let mut twin = Self::new(limit, seen.period.unwrap_or(Duration::from_secs(60)), 0.0, now);
        let used = match (seen.reset, seen.remaining) {
            (Some(reset), _) => reset.as_secs_f64() / twin.unit(),
            (None, Some(remaining)) => limit - remaining,
            (None, None) => 0.0,
        };
        if let (Some(remaining), Some(reset)) = (seen.remaining, seen.reset) {
            twin.learn_burst(remaining, reset.as_secs_f64(), seen.reset_step.as_secs_f64());
        }
        twin.tat = now + (used + in_flight).max(0.0) * twin.unit();
        Some(twin)
    }

    /// A bucket that is full but for `used`.
    pub(crate) fn new(limit: f64, period: Duration, used: f64, now: f64) -> Self {
        let period = period.as_secs_f64();
        Self {
            limit,
            limit_of: f64::MIN,
            period,
            burst: limit.max(1.0),
            tat: now + used.max(0.0) * period / limit,
            advanced_at: now,
            foreign: 0.0,
            shift: 0.0,
            delay: 0.0,
            mean_cost: 1.0,
            other_period: None,
            spent: VecDeque::new(),
        }
    }

    /// Seconds that one unit costs.
    pub(crate) fn unit(&self) -> f64 {
        self.period / self.limit
    }

    pub(crate) fn limit(&self) -> RateLimit {
        RateLimit { amount: self.limit, period: Duration::from_secs_f64(self.period) }
    }

    pub(crate) fn foreign_per_second(&self) -> f64 {
        self.foreign
    }

    /// Lets time pass: the bucket fills, and others take their part.
    pub(crate) fn advance(&mut self, now: f64) {
        let passed = (now - self.advanced_at).max(0.0);
        self.tat = (self.tat + self.foreign * self.unit() * passed).max(now);
        self.advanced_at = now;
    }

    /// What is not spent, so that what others take in the time of a round trip does not lead to a refusal.
    fn reserve(&self) -> f64 {
        let units = (2.0 + 3.5 * (self.foreign * self.delay).sqrt()) * self.mean_cost;
        units.min(self.burst / 2.0)
    }

    /// What could be spent at once.
    pub(crate) fn remaining(&self, now: f64) -> f64 {
        (self.burst - self.reserve() - (self.tat - now) / self.unit()).max(0.0)
    }

    /// Seconds until `cost` can be granted; zero if now. Call [`advance`](Self::advance) first.
    pub(crate) fn wait(&self, cost: f64, now: f64) -> f64 {
        if cost <= 0.0 {
            return 0.0;
        }
        // What is larger than the room is granted when the bucket is full: it can never be granted otherwise.
        let room = (self.burst - self.reserve()).max(cost.min(self.burst));
        let missing = self.tat + (cost - room).min(0.0) * self.unit() - now;
        let missing = if cost > self.burst { self.tat - now } else { missing };
        // While we wait, others go on spending.
        (missing / (1.0 - self.foreign * self.unit()).max(1.0 - LARGEST_FOREIGN)).max(0.0)
    }

    /// Charges what was spent some time ago, when others could not be told: the bucket cannot be more than empty by it.
    pub(crate) fn charge_late(&mut self, cost: f64, now: f64) {
        let empty = self.tat.max(now + self.burst * self.unit());
        self.charge(cost, now);
        self.tat = self.tat.min(empty);
    }

    pub(crate) fn charge(&mut self, cost: f64, now: f64) {
        self.tat += cost * self.unit();
        if cost <= 0.0 {
            return;
        }
        self.mean_cost += COST_WEIGHT * (cost - self.mean_cost);
        let all = self.spent.back().map_or(0.0, |(_, sum)| *sum) + cost;
        match self.spent.back_mut() {
            Some((at, sum)) if *at >= now => *sum = all,
            _ => self.spent.push_back((now, all)),
        }
        if self.spent.len() > REMEMBERED {
            self.spent.pop_front();
        }
    }

    /// What was spent until a time, as far as is remembered.
    fn spent_until(&self, time: f64) -> f64 {
        let index = self.spent.partition_point(|(at, _)| *at <= time);
        index.checked_sub(1).and_then(|index| self.spent.get(index)).map_or(0.0, |(_, sum)| *sum)
    }

    /// The part of an error that cannot be explained by the order in which requests arrived: the API may have counted
    /// those sent shortly after this one, and not have counted those sent shortly before.
    fn beyond_reordering(&self, error: f64, sent_at: f64) -> f64 {
        let here = self.spent_until(sent_at);
        let before = here - self.spent_until(sent_at - REORDERING);
        let after = self.spent_until(sent_at + REORDERING) - here;
        if error < 0.0 {
            (error + before * self.unit()).min(0.0)
        } else {
            (error - after * self.unit()).max(0.0)
        }
    }

    pub(crate) fn restore(&mut self, cost: f64) {
        self.tat -= cost * self.unit();
    }

    /// What to compare the answer to a request with that is sent at this time, now or a little later.
    pub(crate) fn mark(&self, at: f64) -> ChargeMark {
        let until_then = self.foreign * self.unit() * (at - self.advanced_at).max(0.0);
        ChargeMark { predicted_s: self.tat + until_then - at, shift_s: self.shift, limit: self.limit }
    }

    /// From here on this is one of `parts` that spend from the same bucket without knowing of one another: the others
    /// are taken for strangers, until headers tell what they really spend.
    pub(crate) fn part(mut self, parts: f64) -> Self {
        let others = (1.0 - 1.0 / parts).min(LARGEST_FOREIGN) / self.unit();
        self.foreign = self.foreign.max(others);
        self
    }

    /// Learns from the headers of an answer to a request of `cost` that was marked when it was sent, `delay` ago.
    pub(crate) fn observe(
        &mut self,
        seen: &SeenLimit,
        mark: Option<ChargeMark>,
        cost: f64,
        delay: f64,
        admission: Admission,
        now: f64,
    ) {
        self.advance(now);
        self.delay += DELAY_WEIGHT * (delay - self.delay);
        let limit = seen.limit.unwrap_or(self.limit);
        let changed = (limit - self.limit).abs() > f64::EPSILON * limit;
        let sent_at = now - delay;
        if changed && sent_at < self.limit_of {
            // Sent before the limit was changed, and answered after: what it tells is of the past.
            return;
        }
        self.limit_of = self.limit_of.max(sent_at);
        if let (Some(remaining), Some(reset)) = (seen.remaining, seen.reset) {
            self.learn_period(limit, remaining, reset.as_secs_f64());
        }
        if changed {
            self.rescale(limit, now);
        }
        let Some(reset) = seen
            .reset
            .map(|reset| reset.as_secs_f64())
            .or_else(|| seen.remaining.map(|remaining| (self.burst - remaining).max(0.0) * self.unit()))
        else {
            return;
        };
        if let Some(remaining) = seen.remaining {
            self.learn_burst(remaining, reset, seen.reset_step.as_secs_f64());
        }
        let Some(mark) = mark.filter(|mark| (mark.limit - self.limit).abs() <= f64::EPSILON * self.limit)
        else {
            return;
        };
        let mut error = reset - (mark.predicted_s + self.shift - mark.shift_s);
        if admission == Admission::Refused {
            error += cost * self.unit();
        }
        let half_step = seen.reset_step.as_secs_f64() / 2.0;
        error = error.signum() * (error.abs() - half_step).max(0.0);
        error = self.beyond_reordering(error, sent_at);
        if admission == Admission::Refused && error < -5.0 * self.unit() {
            // Refused with room left: what refuses is another bucket, and this one is not to be trusted less for it.
            return;
        }
        let correction = GAIN * error;
        self.tat += correction;
        self.shift += correction;
        let foreign = self.foreign + FOREIGN_GAIN * error / (self.unit() * self.delay.max(1.0));
        self.foreign = foreign.clamp(0.0, LARGEST_FOREIGN / self.unit());
    }

    /// Keeps what is used, at the new price.
    fn rescale(&mut self, limit: f64, now: f64) {
        let used = (self.tat - now) / self.unit();
        self.burst = (self.burst * limit / self.limit).max(1.0);
        self.foreign = self.foreign.min(LARGEST_FOREIGN * limit / self.period);
        self.limit = limit;
        self.tat = now + used * self.unit();
    }

    fn learn_burst(&mut self, remaining: f64, reset: f64, step: f64) {
        // A reset that was rounded up to whole seconds would make the bucket look larger than it is.
        let burst = remaining + (reset - step).max(0.0) / self.unit();
        if remaining < 1.0 {
            // It may be more than empty, after a limit was lowered: then this is no size, but a bound of one.
            self.burst = self.burst.min(burst.ceil() + 1.0).max(1.0);
            return;
        }
        let rounding = step / self.unit();
        let whole = (burst..=burst + rounding + 1.0).contains(&self.limit);
        self.burst = if whole { self.limit } else { (burst - 1e-6).ceil() }.max(1.0);
    }

    /// The period of which the reset is the used share, if it is one of those that APIs have.
    fn learn_period(&mut self, limit: f64, remaining: f64, reset: f64) {
        let used = limit - remaining;
        if used < 1.0 || reset <= 0.0 {
            return;
        }
        let seen = reset * limit / used;
        let distance = |period: f64| (period / seen).ln().abs();
        let nearest = PERIODS.into_iter().min_by(|one, other| distance(*one).total_cmp(&distance(*other)));
        let Some(nearest) = nearest.filter(|nearest| distance(*nearest) < 0.4 && *nearest != self.period)
        else {
            self.other_period = None;
            return;
        };
        let times =
            self.other_period.filter(|(period, _)| *period == nearest).map_or(1, |(_, times)| times + 1);
        self.other_period = Some((nearest, times));
        if times >= PERIOD_PROOF {
            let used = (self.tat - self.advanced_at) / self.unit();
            self.period = nearest;
            self.tat = self.advanced_at + used * self.unit();
            self.other_period = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::quota::{Dimension, ResetMeaning};
    use proptest::prelude::*;

    fn seen(limit: f64, remaining: f64, reset: f64) -> SeenLimit {
        SeenLimit {
            dimension: Dimension::Requests,
            limit: Some(limit),
            remaining: Some(remaining),
            reset: Some(Duration::from_secs_f64(reset)),
            meaning: ResetMeaning::UntilFull,
            period: None,
            reset_step: Duration::ZERO,
        }
    }

    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn a_full_bucket_is_spent_but_for_the_reserve_and_then_paced() {
        let mut twin = Twin::new(60.0, MINUTE, 0.0, 0.0);
        for _ in 0..58 {
            assert_eq!(twin.wait(1.0, 0.0), 0.0);
            twin.charge(1.0, 0.0);
        }
        assert!((twin.wait(1.0, 0.0) - 1.0).abs() < 1e-9, "{}", twin.wait(1.0, 0.0));
        twin.advance(1.0);
        assert!(twin.wait(1.0, 1.0) < 1e-9);
    }

    #[test]
    fn a_bucket_of_one_grants_one_at_a_time() {
        let mut twin = Twin::new(1.0, Duration::from_secs(10), 0.0, 0.0);
        assert_eq!(twin.wait(1.0, 0.0), 0.0);
        twin.charge(1.0, 0.0);
        assert_eq!(twin.wait(1.0, 0.0), 10.0);
    }

    #[test]
    fn what_is_larger_than_the_bucket_waits_until_it_is_full() {
        let mut twin = Twin::new(10.0, MINUTE, 0.0, 0.0);
        assert_eq!(twin.wait(50.0, 0.0), 0.0);
        twin.charge(5.0, 0.0);
        assert_eq!(twin.wait(50.0, 0.0), 30.0);
    }

    #[test]
    fn a_new_limit_acts_on_the_next_grant_and_keeps_what_is_used() {
        let mut twin = Twin::new(500.0, MINUTE, 400.0, 0.0);
        let mark = twin.mark(0.0);
        twin.observe(&seen(250.0, 100.0, 36.0), Some(mark), 1.0, 0.1, Admission::Admitted, 0.0);
        assert_eq!(twin.limit().amount, 250.0);
        assert!(twin.wait(1.0, 0.0) > 0.0, "400 are used of 250");
    }

    #[test]
    fn the_period_is_learned_from_the_used_share() {
        let mut twin = Twin::new(14_400.0, MINUTE, 0.0, 0.0);
        for _ in 0..3 {
            let mark = twin.mark(0.0);
            twin.observe(&seen(14_400.0, 14_370.0, 179.56), Some(mark), 1.0, 0.1, Admission::Admitted, 0.0);
        }
        assert_eq!(twin.limit().period, Duration::from_secs(86_400));
    }

    #[test]
    fn what_others_spend_is_learned() {
        // A server's bucket from which somebody else takes 3 units a second.
        let (unit, mut used, mut at) = (60.0 / 500.0, 0.0_f64, 0.0);
        let mut twin = Twin::new(500.0, MINUTE, 0.0, 0.0);
        for _ in 0..6_000 {
            at += 0.1;
            used = (used - 0.1 / unit + 0.1 * 3.0).max(0.0);
            twin.advance(at);
            if twin.wait(1.0, at) == 0.0 && used < 499.0 {
                twin.charge(1.0, at);
                let mark = twin.mark(at);
                used += 1.0;
                twin.observe(
                    &seen(500.0, 500.0 - used, used * unit),
                    Some(mark),
                    1.0,
                    0.2,
                    Admission::Admitted,
                    at,
                );
            }
        }
        assert!((twin.foreign_per_second() - 3.0).abs() < 0.6, "{}", twin.foreign_per_second());
    }

    proptest! {
        #[test]
        fn whatever_headers_say_the_state_stays_finite_and_a_wait_ends(
            headers in prop::collection::vec((0.1_f64..1e9, 0.0_f64..1e9, 0.0_f64..1e7, any::<bool>()), 1..40),
        ) {
            let mut twin = Twin::new(500.0, MINUTE, 0.0, 0.0);
            for (at, (limit, remaining, reset, refused)) in headers.into_iter().enumerate() {
                let now = at as f64;
                twin.advance(now);
                twin.charge(1.0, now);
                let mark = twin.mark(now);
                let admission = if refused { Admission::Refused } else { Admission::Admitted };
                twin.observe(&seen(limit, remaining.min(limit), reset), Some(mark), 1.0, 0.5, admission, now);
                let wait = twin.wait(1.0, now);
                prop_assert!(wait.is_finite() && wait >= 0.0, "{twin:?}");
                prop_assert!(twin.foreign_per_second() >= 0.0 && twin.remaining(now).is_finite());
            }
        }

        #[test]
        fn what_is_restored_leaves_no_trace(costs in prop::collection::vec(0.1_f64..50.0, 1..20)) {
            let mut twin = Twin::new(500.0, MINUTE, 100.0, 0.0);
            let before = twin.mark(0.0).predicted_s;
            for cost in &costs {
                twin.charge(*cost, 0.0);
            }
            for cost in &costs {
                twin.restore(*cost);
            }
            prop_assert!((twin.mark(0.0).predicted_s - before).abs() < 1e-6);
        }
    }
}
