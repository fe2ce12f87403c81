//! The quotas that the simulator keeps: exact, of the kinds that speech APIs use.

use std::collections::VecDeque;
use std::time::Duration;

/// What a quota counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Measure {
    /// Requests, also those that fail.
    Requests,
    /// Seconds of audio, once it has been decoded.
    AudioSeconds,
    /// Bytes of the body, by its declared length.
    Bytes,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    TokenBucket { burst: f64 },
    FixedWindow,
    SlidingLog,
    Concurrency,
}

/// A limit of the simulated API.
///
/// ```
/// use std::time::Duration;
/// use wavequill_external::testing::{Measure, Quota};
///
/// let openai = Quota::requests_per_minute(500);
/// let azure = Quota::fixed_window(Measure::Requests, 50, Duration::from_secs(10));
/// let audio = Quota::token_bucket(Measure::AudioSeconds, 7_200, Duration::from_secs(3_600)).hidden();
/// let deepgram = Quota::concurrency(5);
/// # let _ = (openai, azure, audio, deepgram);
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Quota {
    measure: Measure,
    limit: f64,
    period: Duration,
    kind: Kind,
    hidden: bool,
}

impl Quota {
    /// A token bucket of requests that fills in a minute: OpenAI's RPM.
    pub fn requests_per_minute(limit: u64) -> Self {
        Self::token_bucket(Measure::Requests, limit, Duration::from_secs(60))
    }

    /// A bucket that holds `limit` and fills from empty to full in `period`, evenly.
    pub fn token_bucket(measure: Measure, limit: u64, period: Duration) -> Self {
        Self::new(measure, limit, period, Kind::TokenBucket { burst: limit.max(1) as f64 })
    }

    /// `limit` in each window of `period`; windows follow each other from the simulator's start.
    pub fn fixed_window(measure: Measure, limit: u64, period: Duration) -> Self {
        Self::new(measure, limit, period, Kind::FixedWindow)
    }

    /// `limit` in any stretch of `period`.
    pub fn sliding_log(measure: Measure, limit: u64, period: Duration) -> Self {
        Self::new(measure, limit, period, Kind::SlidingLog)
    }

    /// `limit` requests at a time, from their first byte to the end of the answer.
    pub fn concurrency(limit: u64) -> Self {
        Self::new(Measure::Requests, limit, Duration::from_secs(1), Kind::Concurrency)
    }

    fn new(measure: Measure, limit: u64, period: Duration, kind: Kind) -> Self {
        Self { measure, limit: limit.max(1) as f64, period, kind, hidden: false }
    }

    /// A token bucket that holds less (or more) than its limit of a period. Other kinds have no burst.
    #[must_use]
    pub fn with_burst(mut self, burst: u64) -> Self {
        if let Kind::TokenBucket { burst: own } = &mut self.kind {
            *own = burst.max(1) as f64;
        }
        self
    }

    /// No header tells of this quota.
    #[must_use]
    pub fn hidden(mut self) -> Self {
        self.hidden = true;
        self
    }

    /// What it counts.
    pub fn measure(&self) -> Measure {
        self.measure
    }

    pub(crate) fn is_concurrency(&self) -> bool {
        self.kind == Kind::Concurrency
    }

    pub(crate) fn is_told(&self) -> bool {
        !self.hidden && !self.is_concurrency() && self.measure == Measure::Requests
    }

    pub(crate) fn limit(&self) -> u64 {
        self.limit as u64
    }

    pub(crate) fn period(&self) -> Duration {
        self.period
    }

    /// Seconds that one unit takes to come back.
    fn unit_s(&self) -> f64 {
        self.period.as_secs_f64() / self.limit
    }
}

/// How much of a quota is left.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct QuotaLevel {
    pub(crate) limit: u64,
    pub(crate) remaining: u64,
    /// Until all of it is there again.
    pub(crate) reset: Duration,
}

/// A quota and what was used of it. Time is counted from the simulator's start.
#[derive(Clone, Debug)]
pub(crate) struct QuotaState {
    quota: Quota,
    /// Token bucket: when it will be full, in seconds.
    full_at_s: f64,
    /// Fixed window: its number and its use.
    window: u64,
    used: f64,
    /// Sliding log: what was used when.
    log: VecDeque<(f64, f64)>,
    in_flight: u64,
}

impl QuotaState {
    pub(crate) fn new(quota: Quota) -> Self {
        Self { quota, full_at_s: 0.0, window: 0, used: 0.0, log: VecDeque::new(), in_flight: 0 }
    }

    pub(crate) fn quota(&self) -> &Quota {
        &self.quota
    }

    /// Takes another limit; what was used stays used.
    pub(crate) fn change(&mut self, now: Duration, quota: Quota) {
        if let (Kind::TokenBucket { .. }, Kind::TokenBucket { .. }) = (self.quota.kind, quota.kind) {
            let used = (self.full_at_s - now.as_secs_f64()).max(0.0) / self.quota.unit_s();
            self.full_at_s = now.as_secs_f64() + used * quota.unit_s();
        }
        self.quota = quota;
    }

    /// Counts the requests in flight, for a limit of concurrency.
    pub(crate) fn set_in_flight(&mut self, in_flight: u64) {
        self.in_flight = in_flight;
    }

    /// How long until `cost` would be granted; `None` if it would be now.
    pub(crate) fn wait(&mut self, now: Duration, cost: f64) -> Option<Duration> {
        let now_s = now.as_secs_f64();
        // Times that passed through floating point may be off by its last digits.
        let later = |wait: f64| (wait > 1e-9).then(|| Duration::from_secs_f64(wait.min(1e9)));
        match self.quota.kind {
            Kind::TokenBucket { burst } => {
                let full_at = self.full_at_s.max(now_s) + cost * self.quota.unit_s();
                later(full_at - burst * self.quota.unit_s() - now_s)
            }
            Kind::FixedWindow => {
                self.roll(now);
                let fits = self.used + cost <= self.quota.limit + 1e-9;
                if fits { None } else { Some(self.window_end().saturating_sub(now)) }
            }
            Kind::SlidingLog => {
                self.forget(now_s);
                let mut surplus = self.used + cost - self.quota.limit;
                let period = self.quota.period.as_secs_f64();
                self.log
                    .iter()
                    .find_map(|&(at, used)| {
                        let waits = surplus > 1e-9;
                        surplus -= used;
                        (waits && surplus <= 1e-9).then_some(at)
                    })
                    .and_then(|at| later(at + period - now_s))
            }
            Kind::Concurrency => (self.in_flight > self.quota.limit as u64).then_some(Duration::ZERO),
        }
    }

    /// Uses `cost`, whether it is there or not.
    pub(crate) fn charge(&mut self, now: Duration, cost: f64) {
        let now_s = now.as_secs_f64();
        match self.quota.kind {
            Kind::TokenBucket { .. } => {
                self.full_at_s = self.full_at_s.max(now_s) + cost * self.quota.unit_s();
            }
            Kind::FixedWindow => {
                self.roll(now);
                self.used += cost;
            }
            Kind::SlidingLog => {
                self.forget(now_s);
                self.used += cost;
                self.log.push_back((now_s, cost));
            }
            Kind::Concurrency => {}
        }
    }

    pub(crate) fn level(&mut self, now: Duration) -> QuotaLevel {
        let now_s = now.as_secs_f64();
        let (remaining, reset) = match self.quota.kind {
            Kind::TokenBucket { burst } => {
                let reset = (self.full_at_s - now_s).max(0.0);
                (burst - reset / self.quota.unit_s(), Duration::from_secs_f64(reset))
            }
            Kind::FixedWindow => {
                self.roll(now);
                (self.quota.limit - self.used, self.window_end().saturating_sub(now))
            }
            Kind::SlidingLog => {
                self.forget(now_s);
                let last =
                    self.log.back().map_or(0.0, |&(at, _)| at + self.quota.period.as_secs_f64() - now_s);
                (self.quota.limit - self.used, Duration::from_secs_f64(last.max(0.0)))
            }
            Kind::Concurrency => (self.quota.limit - self.in_flight as f64, Duration::ZERO),
        };
        QuotaLevel { limit: self.quota.limit as u64, remaining: (remaining + 1e-9).max(0.0) as u64, reset }
    }

    fn roll(&mut self, now: Duration) {
        let window = (now.as_nanos() / self.quota.period.as_nanos().max(1)) as u64;
        if window != self.window {
            self.window = window;
            self.used = 0.0;
        }
    }

    fn window_end(&self) -> Duration {
        Duration::from_secs_f64((self.window + 1) as f64 * self.quota.period.as_secs_f64())
    }

    fn forget(&mut self, now_s: f64) {
        let oldest = now_s - self.quota.period.as_secs_f64();
        while let Some(&(at, used)) = self.log.front().filter(|(at, _)| *at <= oldest + 1e-9) {
            debug_assert!(at <= now_s);
            self.used -= used;
            self.log.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    /// How many of the requests, one each `step`, are granted within `time`.
    fn granted(quota: Quota, step: Duration, time: Duration) -> usize {
        let mut state = QuotaState::new(quota);
        let mut now = Duration::ZERO;
        let mut granted = 0;
        while now < time {
            if state.wait(now, 1.0).is_none() {
                state.charge(now, 1.0);
                granted += 1;
            }
            now += step;
        }
        granted
    }

    #[test]
    fn a_bucket_tells_what_openai_tells() {
        let mut state = QuotaState::new(Quota::requests_per_minute(500));
        state.charge(Duration::ZERO, 1.0);
        assert_eq!(state.level(Duration::ZERO), QuotaLevel { limit: 500, remaining: 499, reset: ms(120) });
        let mut state = QuotaState::new(Quota::requests_per_minute(50));
        for _ in 0..3 {
            state.charge(ms(238), 1.0);
        }
        assert_eq!(state.level(ms(476)), QuotaLevel { limit: 50, remaining: 47, reset: ms(3_362) });
    }

    #[test]
    fn a_bucket_grants_its_burst_and_then_its_rate() {
        assert_eq!(granted(Quota::requests_per_minute(500), ms(10), MINUTE * 2), 500 + 1_000 - 1);
        let small = Quota::requests_per_minute(60).with_burst(1);
        assert_eq!(granted(small, ms(100), MINUTE), 60);
    }

    #[test]
    fn the_wait_of_a_bucket_is_exact() {
        let mut state = QuotaState::new(Quota::requests_per_minute(60).with_burst(2));
        state.charge(Duration::ZERO, 2.0);
        let wait = state.wait(ms(300), 1.0).unwrap();
        assert_eq!(wait, ms(700));
        assert_eq!(state.wait(ms(300) + wait, 1.0), None);
    }

    #[test]
    fn a_window_is_spent_at_once_and_comes_back_whole() {
        let quota = Quota::fixed_window(Measure::Requests, 50, Duration::from_secs(10));
        assert_eq!(granted(quota.clone(), ms(10), MINUTE), 300);
        let mut state = QuotaState::new(quota);
        state.charge(ms(9_000), 50.0);
        assert_eq!(state.wait(ms(9_500), 1.0), Some(ms(500)));
        assert_eq!(state.level(ms(9_500)), QuotaLevel { limit: 50, remaining: 0, reset: ms(500) });
        assert_eq!(state.wait(ms(10_000), 1.0), None);
    }

    #[test]
    fn a_sliding_log_never_grants_more_than_its_limit_in_any_period() {
        let mut state = QuotaState::new(Quota::sliding_log(Measure::Requests, 2, Duration::from_secs(10)));
        state.charge(ms(1_000), 1.0);
        state.charge(ms(4_000), 1.0);
        assert_eq!(state.wait(ms(5_000), 1.0), Some(ms(6_000)));
        assert_eq!(state.wait(ms(5_000), 2.0), Some(ms(9_000)));
        assert_eq!(state.wait(ms(11_000), 1.0), None);
        assert_eq!(state.level(ms(11_000)), QuotaLevel { limit: 2, remaining: 1, reset: ms(3_000) });
    }

    #[test]
    fn a_new_limit_keeps_what_was_used() {
        let mut state = QuotaState::new(Quota::requests_per_minute(500));
        state.charge(Duration::ZERO, 100.0);
        state.change(Duration::ZERO, Quota::requests_per_minute(250));
        assert_eq!(state.level(Duration::ZERO), QuotaLevel { limit: 250, remaining: 150, reset: ms(24_000) });
    }
}
