//! Where time is read. Waiting is not here: that is `tokio::time`, at the edges.

use std::fmt::Debug;
use std::sync::Arc;
use std::sync::LazyLock;
use std::time::{Duration, Instant, SystemTime};

/// Reads time for those who decide by it.
///
/// # Contract
/// 1. [`monotonic`](Clock::monotonic) never falls, whatever happens to the wall clock.
/// 2. Two readings of one clock may be subtracted; readings of two processes may not.
/// 3. [`now`](Clock::now) may step in both directions: use it for messages and absolute expiry only.
pub trait Clock: Debug + Send + Sync + 'static {
    /// The wall clock.
    fn now(&self) -> SystemTime;

    /// Time since an origin that is the clock's own.
    fn monotonic(&self) -> Duration;
}

impl<T: Clock + ?Sized> Clock for Arc<T> {
    fn now(&self) -> SystemTime {
        (**self).now()
    }

    fn monotonic(&self) -> Duration {
        (**self).monotonic()
    }
}

impl<T: Clock + ?Sized> Clock for Box<T> {
    fn now(&self) -> SystemTime {
        (**self).now()
    }

    fn monotonic(&self) -> Duration {
        (**self).monotonic()
    }
}

/// The clock of the operating system. Its monotonic origin is the first reading in this process.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

#[expect(clippy::disallowed_methods, reason = "the one place where the operating system's clock is read")]
static ORIGIN: LazyLock<Instant> = LazyLock::new(Instant::now);

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "the one place where the operating system's clock is read")]
    fn now(&self) -> SystemTime {
        SystemTime::now()
    }

    fn monotonic(&self) -> Duration {
        ORIGIN.elapsed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn monotonic_time_never_falls() {
        let clock = SystemClock;
        let mut last = clock.monotonic();
        for _ in 0..1_000 {
            let next = clock.monotonic();
            assert!(next >= last);
            last = next;
        }
    }
}
