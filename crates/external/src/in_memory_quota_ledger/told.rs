//! A limit that was told: it holds in every window of its period, wherever the window begins. Pure.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use crate::model::quota::RateLimit;

/// Into how many parts a period is divided when what was spent is remembered: a part is what may be lost of the limit.
const PARTS: f64 = 2048.0;

/// How much later an API may have seen a request than we granted it, compared with another: what was spent is remembered
/// that much longer.
const JITTER: f64 = 0.06;

/// How many units may go without pacing at the start, at most, where units are requests.
const BURST: f64 = 8.0;

/// Whether grants are spread over the period, or given as soon as the limit allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Pacing {
    /// Spread, but for a small burst: an API may count in shorter periods than it says.
    Even,
    /// As soon as the limit allows.
    Eager,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Spent {
    first_at: f64,
    last_at: f64,
    amount: f64,
}

/// A limit and what was spent in the last period.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Told {
    limit: RateLimit,
    period: f64,
    pacing: Pacing,
    tat: f64,
    log: VecDeque<Spent>,
    spent: f64,
}

impl Told {
    pub(crate) fn new(limit: RateLimit, pacing: Pacing) -> Self {
        let period = limit.period.as_secs_f64();
        Self { limit, period, pacing, tat: 0.0, log: VecDeque::new(), spent: 0.0 }
    }

    pub(crate) fn limit(&self) -> RateLimit {
        self.limit
    }

    /// The same with another limit; what was spent stays spent.
    pub(crate) fn retold(self, limit: RateLimit) -> Self {
        Self { limit, period: limit.period.as_secs_f64(), ..self }
    }

    pub(crate) fn remaining(&self) -> f64 {
        (self.limit.amount - self.spent).max(0.0)
    }

    pub(crate) fn advance(&mut self, now: f64) {
        while let Some(oldest) = self.log.front().filter(|spent| spent.last_at + self.period + JITTER <= now)
        {
            self.spent = (self.spent - oldest.amount).max(0.0);
            self.log.pop_front();
        }
        if self.log.is_empty() {
            self.spent = 0.0;
        }
        self.tat = self.tat.max(now);
    }

    /// Seconds until `cost` can be granted.
    pub(crate) fn wait(&self, cost: f64, now: f64) -> f64 {
        self.wait_for_window(cost, now).max(self.wait_for_pace(cost, now))
    }

    /// Until enough of what was spent is older than a period. What is larger than the limit waits for all of it.
    fn wait_for_window(&self, cost: f64, now: f64) -> f64 {
        let mut excess = self.spent + cost - self.limit.amount;
        if cost <= 0.0 || excess <= 1e-9 || self.log.is_empty() {
            return 0.0;
        }
        let mut free_at = now;
        for spent in &self.log {
            free_at = spent.last_at + self.period + JITTER;
            excess -= spent.amount;
            if excess <= 1e-9 {
                break;
            }
        }
        (free_at - now).max(0.0)
    }

    fn wait_for_pace(&self, cost: f64, now: f64) -> f64 {
        if self.pacing == Pacing::Eager {
            return 0.0;
        }
        let unit = self.period / self.limit.amount;
        let burst = (self.limit.amount / self.period).ceil().max(BURST).min(self.limit.amount).max(cost);
        (self.tat + (cost - burst) * unit - now).max(0.0)
    }

    pub(crate) fn charge(&mut self, cost: f64, now: f64) {
        if cost <= 0.0 {
            return;
        }
        self.tat += cost * self.period / self.limit.amount;
        self.spent += cost;
        match self.log.back_mut() {
            // Remembered with the later time, so that nothing is forgotten too early.
            Some(last) if now - last.first_at < self.period / PARTS => {
                last.amount += cost;
                last.last_at = last.last_at.max(now);
            }
            _ => self.log.push_back(Spent { first_at: now, last_at: now, amount: cost }),
        }
    }

    /// Charges what was spent at an earlier time, when others could not be told.
    pub(crate) fn charge_late(&mut self, cost: f64, at: f64, now: f64) {
        if cost <= 0.0 || at + self.period + JITTER <= now {
            return;
        }
        let place = self.log.partition_point(|spent| spent.last_at <= at);
        self.log.insert(place, Spent { first_at: at, last_at: at, amount: cost });
        self.spent += cost;
    }

    pub(crate) fn restore(&mut self, cost: f64) {
        self.tat -= cost * self.period / self.limit.amount;
        self.spent = (self.spent - cost).max(0.0);
        let mut rest = cost;
        for spent in self.log.iter_mut().rev() {
            let part = spent.amount.min(rest);
            spent.amount -= part;
            rest -= part;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::time::Duration;

    /// Times of the grants of one unit each, asked for without a pause.
    fn grants(told: &mut Told, count: usize) -> Vec<f64> {
        let (mut at, mut times) = (0.0, Vec::new());
        while times.len() < count {
            told.advance(at);
            let wait = told.wait(1.0, at);
            if wait <= 0.0 {
                told.charge(1.0, at);
                times.push(at);
            } else {
                at += wait;
            }
        }
        times
    }

    #[test]
    fn sixty_a_minute_start_with_a_small_burst_and_go_on_evenly() {
        let times = grants(&mut Told::new(RateLimit::per_minute(60.0), Pacing::Even), 60);
        assert_eq!(times.iter().filter(|at| **at == 0.0).count(), 8);
        assert!((times[20] - 13.0).abs() < 1e-6, "{}", times[20]);
    }

    proptest! {
        #[test]
        fn no_window_of_the_period_ever_holds_more_than_the_limit(
            amount in 1_u32..300,
            pauses in prop::collection::vec(0.0_f64..20.0, 1..200),
        ) {
            let limit = RateLimit { amount: f64::from(amount), period: Duration::from_secs(60) };
            let mut told = Told::new(limit, Pacing::Even);
            let (mut at, mut times) = (0.0, Vec::<f64>::new());
            for pause in pauses {
                at += pause * if times.len() % 7 == 0 { 1.0 } else { 0.01 };
                loop {
                    told.advance(at);
                    let wait = told.wait(1.0, at);
                    if wait <= 0.0 { break; }
                    at += wait;
                }
                told.charge(1.0, at);
                times.push(at);
            }
            for (index, start) in times.iter().enumerate() {
                let inside = times[index..].iter().take_while(|time| **time < start + 60.0 - 1e-6).count();
                prop_assert!(inside <= amount as usize, "{inside} of {amount}");
            }
        }
    }

    #[test]
    fn what_is_larger_than_the_limit_goes_alone() {
        let mut told = Told::new(RateLimit::per_minute(100.0), Pacing::Eager);
        told.charge(10.0, 0.0);
        assert_eq!(told.wait(500.0, 0.0), 60.0 + JITTER);
        told.advance(60.1);
        assert_eq!(told.wait(500.0, 60.1), 0.0);
    }
}
