//! A clock that stands still until a test moves it.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use crate::Clock;

/// A clock that moves only when told to, in both its times.
///
/// ```
/// use std::time::Duration;
/// use wavequill_kernel::{Clock, testing::ManualClock};
///
/// let clock = ManualClock::new();
/// let before = clock.now();
/// clock.advance(Duration::from_secs(5));
/// assert_eq!(clock.monotonic(), Duration::from_secs(5));
/// assert_eq!(clock.now().duration_since(before).unwrap(), Duration::from_secs(5));
/// ```
#[derive(Debug)]
pub struct ManualClock {
    times: Mutex<Times>,
}

#[derive(Clone, Copy, Debug)]
struct Times {
    wall: SystemTime,
    monotonic: Duration,
}

impl ManualClock {
    /// Starts at 2026-01-01T00:00:00Z, with no monotonic time passed.
    pub fn new() -> Self {
        Self::starting_at(SystemTime::UNIX_EPOCH + Duration::from_secs(1_767_225_600))
    }

    /// Starts at the given wall time, with no monotonic time passed.
    pub fn starting_at(wall: SystemTime) -> Self {
        Self { times: Mutex::new(Times { wall, monotonic: Duration::ZERO }) }
    }

    /// Lets time pass.
    pub fn advance(&self, by: Duration) {
        let mut times = self.lock();
        times.wall += by;
        times.monotonic += by;
    }

    /// Steps the wall clock, as an administrator or NTP does; monotonic time stays.
    pub fn set_wall(&self, wall: SystemTime) {
        self.lock().wall = wall;
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Times> {
        self.times.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for ManualClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for ManualClock {
    fn now(&self) -> SystemTime {
        self.lock().wall
    }

    fn monotonic(&self) -> Duration {
        self.lock().monotonic
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_of_the_wall_clock_leaves_monotonic_time_alone() {
        let clock = ManualClock::new();
        clock.advance(Duration::from_secs(1));
        clock.set_wall(SystemTime::UNIX_EPOCH);
        assert_eq!(clock.now(), SystemTime::UNIX_EPOCH);
        assert_eq!(clock.monotonic(), Duration::from_secs(1));
    }
}
