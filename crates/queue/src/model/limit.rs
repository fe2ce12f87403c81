//! How many jobs of a key may run at once, and how fast they may start. Pure: it takes `now`.

use std::time::{Duration, SystemTime};

use wavequill_kernel::InvalidValue;

use super::order::{from_micros, to_micros};

/// What jobs that share a [`LimitKey`](crate::LimitKey) may do together, on all workers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limit {
    /// At most so many at once; 0 holds them all back. Default: no bound.
    pub max_running: Option<u32>,
    /// At most so fast. Default: no bound.
    pub rate: Option<Rate>,
}

impl Limit {
    /// At most so many at once.
    #[must_use]
    pub fn with_max_running(mut self, max: u32) -> Self {
        self.max_running = Some(max);
        self
    }

    /// At most so fast.
    #[must_use]
    pub fn with_rate(mut self, rate: Rate) -> Self {
        self.rate = Some(rate);
        self
    }
}

/// A rate of starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    step_micros: i64,
    burst: u32,
}

impl Rate {
    /// `jobs` starts in each `per`, of which `burst` may come together after a rest.
    ///
    /// # Errors
    /// [`InvalidValue`] if `jobs` or `burst` is 0, or starts would be less than 1 µs or more than 400 days apart.
    pub fn new(jobs: u32, per: Duration, burst: u32) -> Result<Self, InvalidValue> {
        if jobs == 0 || burst == 0 {
            return Err(InvalidValue::new("rate", "0 jobs", "at least 1 job and a burst of at least 1"));
        }
        let step = (per / jobs).as_micros();
        match i64::try_from(step) {
            Ok(step_micros) if (1..=400 * 86_400 * 1_000_000).contains(&step_micros) => {
                Ok(Self { step_micros, burst })
            }
            _ => Err(InvalidValue::new("rate", format!("{per:?} for {jobs}"), "1 µs to 400 days a start")),
        }
    }

    /// The time between two starts in the long run.
    pub const fn step(self) -> Duration {
        Duration::from_micros(self.step_micros.unsigned_abs())
    }

    /// How many may start together after a rest.
    pub const fn burst(self) -> u32 {
        self.burst
    }
}

/// A limit and how much of it is used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LimitState {
    /// The limit.
    pub limit: Limit,
    /// How many jobs of the key are held.
    pub running: u32,
    /// The *theoretical arrival time* of the generic cell rate algorithm (ITU-T I.371), in µs since 1970.
    pub tat_micros: i64,
}

/// Whether a job of a key may start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// It may.
    Now,
    /// Not before one that runs has ended.
    WhenOneEnds,
    /// Not before this instant.
    At(SystemTime),
}

impl LimitState {
    /// Whether one more may start `now`.
    pub fn admits(&self, now: SystemTime) -> Admission {
        if self.limit.max_running.is_some_and(|max| self.running >= max) {
            return Admission::WhenOneEnds;
        }
        let Some(rate) = self.limit.rate else { return Admission::Now };
        let now = to_micros(now);
        let next = self.tat_micros.max(now).saturating_add(rate.step_micros);
        let horizon = now.saturating_add(rate.step_micros.saturating_mul(i64::from(rate.burst)));
        if next <= horizon {
            Admission::Now
        } else {
            Admission::At(from_micros(now.saturating_add(next - horizon)))
        }
    }

    /// One more has started.
    pub fn start(&mut self, now: SystemTime) {
        self.running = self.running.saturating_add(1);
        if let Some(rate) = self.limit.rate {
            self.tat_micros = self.tat_micros.max(to_micros(now)).saturating_add(rate.step_micros);
        }
    }

    /// One has ended.
    pub fn end(&mut self) {
        self.running = self.running.saturating_sub(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_full_waits_for_an_end() {
        let mut state = LimitState { limit: Limit::default().with_max_running(2), ..LimitState::default() };
        let now = SystemTime::UNIX_EPOCH;
        state.start(now);
        assert_eq!(state.admits(now), Admission::Now);
        state.start(now);
        assert_eq!(state.admits(now), Admission::WhenOneEnds);
        state.end();
        assert_eq!(state.admits(now), Admission::Now);
    }

    proptest! {
        #[test]
        fn no_window_sees_more_starts_than_the_rate_and_its_burst(
            jobs in 1_u32..50, burst in 1_u32..10, gaps in prop::collection::vec(0_u64..400_000, 1..200),
        ) {
            let rate = Rate::new(jobs, Duration::from_secs(1), burst).unwrap();
            let mut state = LimitState { limit: Limit::default().with_rate(rate), ..LimitState::default() };
            let mut now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000);
            let mut starts = Vec::new();
            for gap in gaps {
                now += Duration::from_micros(gap);
                match state.admits(now) {
                    Admission::Now => {
                        state.start(now);
                        starts.push(now);
                    }
                    Admission::At(at) => {
                        prop_assert!(at > now);
                        prop_assert_eq!(state.admits(at), Admission::Now);
                    }
                    Admission::WhenOneEnds => prop_assert!(false, "no bound on running was set"),
                }
            }
            for (at, first) in starts.iter().enumerate() {
                for (count, last) in starts.iter().skip(at).enumerate() {
                    let span = last.duration_since(*first).unwrap();
                    let allowed = u128::from(burst) + span.as_micros() / rate.step().as_micros();
                    prop_assert!((count as u128) < allowed, "{} in {span:?}", count + 1);
                }
            }
        }
    }
}
