//! Time limits for calls that other threads serve, kept in real time by a thread of their own.
//!
//! A runtime's timers would do, but for tests: a runtime whose clock is paused leaps ahead whenever it only waits
//! for other threads, and each call would seem to have taken too long.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::Duration;

use parking_lot::{Condvar, Mutex, MutexGuard};

use crate::engine::pool_core::system_now;

/// Wakes whoever has waited long enough, and calls `tick` from time to time. Its thread ends with it.
#[derive(Debug)]
pub(crate) struct Timer {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// By time, then by a number that tells equal times apart.
    waiting: BTreeMap<Key, Waker>,
    next: u64,
    ended: bool,
}

type Key = (Duration, u64);

/// Ends at its time.
#[derive(Debug)]
pub(crate) struct Sleep {
    shared: Arc<Shared>,
    at: Duration,
    key: Option<Key>,
}

impl Timer {
    /// Starts the thread. A `tick` that returns `false` is the last.
    pub(crate) fn start(
        name: String,
        every: Duration,
        tick: impl Fn() -> bool + Send + 'static,
    ) -> std::io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let serving = Arc::clone(&shared);
        thread::Builder::new().name(name).spawn(move || serving.serve(every, tick))?;
        Ok(Self { shared })
    }

    /// The time that deadlines are counted in.
    pub(crate) fn now() -> Duration {
        system_now()
    }

    /// A future that ends at `at`, which is counted as [`now`](Self::now) is.
    pub(crate) fn sleep_until(&self, at: Duration) -> Sleep {
        Sleep { shared: Arc::clone(&self.shared), at, key: None }
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        self.shared.state.lock().ended = true;
        self.shared.changed.notify_one();
    }
}

impl Shared {
    fn serve(&self, every: Duration, tick: impl Fn() -> bool) {
        let mut next_tick = Timer::now() + every;
        let mut ticking = true;
        let mut state = self.state.lock();
        while !state.ended {
            let now = Timer::now();
            if let Some(waker) = state.pop_due(now) {
                MutexGuard::unlocked(&mut state, || waker.wake());
            } else if ticking && now >= next_tick {
                next_tick = now + every;
                ticking = MutexGuard::unlocked(&mut state, &tick);
            } else {
                let first = state.waiting.keys().next().map(|&(at, _)| at);
                let until = if ticking {
                    first.map_or(next_tick, |at| at.min(next_tick))
                } else {
                    first.unwrap_or(FOREVER)
                };
                self.changed.wait_for(&mut state, until.saturating_sub(now).min(FOREVER));
            }
        }
    }
}

/// A wait that a change ends in any case.
const FOREVER: Duration = Duration::from_secs(86_400);

impl State {
    fn pop_due(&mut self, now: Duration) -> Option<Waker> {
        let first = self.waiting.first_entry()?;
        if first.key().0 <= now { Some(first.remove()) } else { None }
    }
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if Timer::now() >= self.at {
            return Poll::Ready(());
        }
        let shared = Arc::clone(&self.shared);
        let mut state = shared.state.lock();
        let key = self.key.unwrap_or((self.at, state.next));
        if self.key.is_none() {
            state.next += 1;
            self.key = Some(key);
        }
        state.waiting.insert(key, cx.waker().clone());
        if state.waiting.keys().next() == Some(&key) {
            shared.changed.notify_one();
        }
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let Some(key) = self.key {
            self.shared.state.lock().waiting.remove(&key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn sleeps_end_in_the_order_of_their_times_and_dropped_ones_are_forgotten() {
        let timer = Timer::start("timer".to_owned(), Duration::from_millis(1), || false).unwrap();
        let now = Timer::now();
        let late = timer.sleep_until(now + Duration::from_millis(8));
        let early = timer.sleep_until(now + Duration::from_millis(2));
        let mut never = Box::pin(timer.sleep_until(now + Duration::from_secs(3_600)));
        assert!(futures_util::poll!(&mut never).is_pending());
        drop(never);
        let ended = Mutex::new(Vec::new());
        tokio::join!(
            async {
                late.await;
                ended.lock().push("late");
            },
            async {
                early.await;
                ended.lock().push("early");
            }
        );
        assert_eq!(*ended.lock(), ["early", "late"]);
        assert!(timer.shared.state.lock().waiting.is_empty());
    }
}
