//! Whether an API that fails again and again is asked at all, and how many requests may be sent again. Pure: `now` is an
//! argument. What counts as a failure is decided by who asks.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use wavequill_kernel::InvalidValue;

/// When [`HttpSpeechApi`](crate::HttpSpeechApi) stops asking an API that fails.
///
/// Failures are those of the server and the way to it: no connection, a broken one, no answer in time, a status of 5xx.
/// Refusals are none, be they of quota, key or request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct CircuitBreakerConfig {
    /// After so many failures without one answer between them. Default: 20.
    pub failures: u32,
    /// For how long nothing is sent then; doubled each time that a probe fails. Default: 1 s.
    pub open_for: Duration,
    /// The longest such time. Default: 30 s.
    pub open_at_most: Duration,
}

impl Default for CircuitBreakerConfig {
    fn default() -> Self {
        Self { failures: 20, open_for: Duration::from_secs(1), open_at_most: Duration::from_secs(30) }
    }
}

impl CircuitBreakerConfig {
    pub(crate) fn check(&self) -> Result<(), InvalidValue> {
        if self.failures == 0 {
            return Err(InvalidValue::new("circuit_breaker.failures", 0, "at least 1"));
        }
        if self.open_for.is_zero() || self.open_at_most < self.open_for {
            let given = format!("{:?}, at most {:?}", self.open_for, self.open_at_most);
            return Err(InvalidValue::new(
                "circuit_breaker.open_for",
                given,
                "above zero, at most `open_at_most`",
            ));
        }
        Ok(())
    }
}

#[derive(Clone, Copy, Debug)]
enum State {
    /// Requests go, and so many have failed since the last answer.
    Closed { failures: u32 },
    /// Nothing goes until then.
    Open { until: Instant, lasted: Duration },
    /// One request goes, and is judged.
    Probing { lasted: Duration },
}

/// What may be done now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Admitted {
    Yes,
    /// Its outcome decides: it must be told, even if that it was given up.
    AsProbe,
    /// Not before this time has passed.
    No(Duration),
}

/// How an admitted request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Health {
    /// The API answered.
    Answered,
    /// It failed.
    Failed,
    /// It was given up: nothing is known.
    Unknown,
}

#[derive(Debug)]
pub(crate) struct CircuitBreaker {
    config: CircuitBreakerConfig,
    state: State,
}

impl CircuitBreaker {
    pub(crate) fn new(config: CircuitBreakerConfig) -> Self {
        Self { config, state: State::Closed { failures: 0 } }
    }

    pub(crate) fn admit(&mut self, now: Instant) -> Admitted {
        match self.state {
            State::Closed { .. } => Admitted::Yes,
            State::Open { until, .. } if now < until => Admitted::No(until - now),
            State::Open { lasted, .. } => {
                self.state = State::Probing { lasted };
                Admitted::AsProbe
            }
            State::Probing { lasted } => Admitted::No(lasted),
        }
    }

    /// Whether nothing but a probe is sent.
    pub(crate) fn is_open(&self, now: Instant) -> bool {
        match self.state {
            State::Closed { .. } => false,
            State::Open { until, .. } => now < until,
            State::Probing { .. } => true,
        }
    }

    pub(crate) fn ended(&mut self, admitted: Admitted, health: Health, now: Instant) {
        let opened = |lasted: Duration| State::Open { until: now + lasted, lasted };
        self.state = match (self.state, admitted, health) {
            // A request from before the failures tells that the API is there all the same.
            (_, _, Health::Answered) => State::Closed { failures: 0 },
            (State::Closed { failures }, _, Health::Failed) if failures + 1 >= self.config.failures => {
                opened(self.config.open_for)
            }
            (State::Closed { failures }, _, Health::Failed) => State::Closed { failures: failures + 1 },
            (State::Probing { lasted }, Admitted::AsProbe, Health::Failed) => {
                opened((lasted * 2).min(self.config.open_at_most))
            }
            // The next one is the probe.
            (State::Probing { lasted }, Admitted::AsProbe, Health::Unknown) => {
                State::Open { until: now, lasted }
            }
            (state, _, _) => state,
        };
    }
}

/// How much sending again is worth: each request earns a part of one, each one that is sent again costs one.
#[derive(Debug)]
pub(crate) struct RetryBudget {
    left: f64,
    most: f64,
    earned: f64,
}

impl RetryBudget {
    /// `earned` a request, beginning with `most`.
    pub(crate) fn new(earned: f64, most: f64) -> Self {
        Self { left: most, most, earned }
    }

    pub(crate) fn earn(&mut self) {
        self.left = (self.left + self.earned).min(self.most);
    }

    /// Whether one more may be sent again.
    pub(crate) fn spend(&mut self) -> bool {
        let enough = self.left >= 1.0;
        if enough {
            self.left -= 1.0;
        }
        enough
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn tripped(now: Instant) -> CircuitBreaker {
        let config = CircuitBreakerConfig { failures: 3, ..CircuitBreakerConfig::default() };
        let mut breaker = CircuitBreaker::new(config);
        for _ in 0..3 {
            let admitted = breaker.admit(now);
            assert_eq!(admitted, Admitted::Yes);
            breaker.ended(admitted, Health::Failed, now);
        }
        breaker
    }

    #[tokio::test(start_paused = true)]
    async fn failures_without_an_answer_between_them_open_it() {
        let now = Instant::now();
        let mut breaker =
            CircuitBreaker::new(CircuitBreakerConfig { failures: 3, ..CircuitBreakerConfig::default() });
        for health in [Health::Failed, Health::Failed, Health::Answered, Health::Failed, Health::Failed] {
            breaker.ended(Admitted::Yes, health, now);
            assert_eq!(breaker.admit(now), Admitted::Yes);
        }
        breaker.ended(Admitted::Yes, Health::Failed, now);
        assert_eq!(breaker.admit(now), Admitted::No(SECOND));
    }

    #[tokio::test(start_paused = true)]
    async fn one_probe_goes_at_a_time_and_decides() {
        let mut now = Instant::now();
        let mut breaker = tripped(now);
        now += SECOND;
        assert_eq!(breaker.admit(now), Admitted::AsProbe);
        assert!(matches!(breaker.admit(now), Admitted::No(_)), "one at a time");
        breaker.ended(Admitted::Yes, Health::Failed, now);
        assert!(matches!(breaker.admit(now), Admitted::No(_)), "a late failure of before decides nothing");
        breaker.ended(Admitted::AsProbe, Health::Failed, now);
        assert_eq!(breaker.admit(now), Admitted::No(2 * SECOND));
        now += 2 * SECOND;
        assert_eq!(breaker.admit(now), Admitted::AsProbe);
        breaker.ended(Admitted::AsProbe, Health::Unknown, now);
        assert_eq!(breaker.admit(now), Admitted::AsProbe, "a probe that was given up leaves it to the next");
        breaker.ended(Admitted::AsProbe, Health::Answered, now);
        assert_eq!(breaker.admit(now), Admitted::Yes);
    }

    #[tokio::test(start_paused = true)]
    async fn it_never_stays_open_longer_than_told() {
        let mut now = Instant::now();
        let mut breaker = tripped(now);
        for _ in 0..20 {
            let Admitted::No(wait) = breaker.admit(now) else { panic!("it is open") };
            assert!(wait <= Duration::from_secs(30));
            now += wait;
            assert_eq!(breaker.admit(now), Admitted::AsProbe);
            breaker.ended(Admitted::AsProbe, Health::Failed, now);
        }
    }

    #[test]
    fn a_budget_is_earned_by_requests_and_spent_by_sending_again() {
        let mut budget = RetryBudget::new(0.5, 2.0);
        assert!(budget.spend() && budget.spend() && !budget.spend());
        budget.earn();
        assert!(!budget.spend());
        budget.earn();
        assert!(budget.spend() && !budget.spend());
    }
}
