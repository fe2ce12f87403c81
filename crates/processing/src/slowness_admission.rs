//! Bounds requests in flight by how slow and how faulty the server gets. It knows no quota and sends nothing.

mod latency_estimate;
mod limit_rule;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use wavequill_kernel::Backoff;

use self::latency_estimate::LatencyEstimate;
use self::limit_rule::LimitRule;
use crate::metrics::Metrics;
use crate::{
    Admission, AdmissionConfig, AttemptOutcome, AttemptSeen, ByteSize, LatencyModel, Permit, RecognitionError,
};

/// The default [`Admission`]: bounds requests in flight, and finds by itself how many the server can take.
///
/// It looks at *slowness*: the time of a request divided by what is expected of one with so much audio. So a long chunk
/// is no sign of congestion. It steps once a window (the median expected time): down to 0.9 of the limit if at least two
/// requests and a tenth of them failed or were throttled, or if the median slowness is above 2; else up, by doubling
/// until it first went down, then by one, as long as at least half of the limit is used. Requests that were sent before a
/// step down count no more: a cohort that fails together is one failure.
///
/// Share one (it is cheap to clone) among all runs that use the same API key.
///
/// ```
/// use std::time::Duration;
/// use wavequill_processing::{Admission, AdmissionConfig, ByteSize, ConcurrencyLimit, LatencyModel, SlownessAdmission};
///
/// let admission = SlownessAdmission::new(AdmissionConfig::at(ConcurrencyLimit::new(2)?), LatencyModel::default());
/// let (audio, bytes) = (Duration::from_secs(60), ByteSize::new(960_000));
/// let first = admission.try_admit(audio, bytes).unwrap();
/// let _second = admission.try_admit(audio, bytes).unwrap();
/// assert!(admission.try_admit(audio, bytes).is_none());
/// drop(first);
/// assert!(admission.try_admit(audio, bytes).is_some());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct SlownessAdmission {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    slots: Arc<Semaphore>,
    state: Mutex<State>,
    origin: Instant,
    metrics: Metrics,
}

#[derive(Debug)]
struct State {
    rule: LimitRule,
    latency: LatencyEstimate,
    /// Slots that are lent, yet are to be taken away when they come back.
    debt: usize,
    pause: Pause,
}

/// When the key may be used again.
#[derive(Debug, Default)]
struct Pause {
    until: Option<Instant>,
    /// When the latest pause was asked for: answers to what was sent before belong to the same refusal.
    since: Option<Instant>,
    in_a_row: u32,
}

impl SlownessAdmission {
    /// Starts with `config.initial` requests, and with what is known about how long a request takes.
    pub fn new(config: AdmissionConfig, latency: LatencyModel) -> Self {
        let rule = LimitRule::new(config.initial.get().min(config.max.get()), config.max.get());
        let metrics = Metrics::register();
        metrics.concurrency_limit.set(rule.limit() as f64);
        Self {
            inner: Arc::new(Inner {
                slots: Arc::new(Semaphore::new(rule.limit())),
                state: Mutex::new(State {
                    rule,
                    latency: LatencyEstimate::new(latency),
                    debt: 0,
                    pause: Pause::default(),
                }),
                origin: Instant::now(),
                metrics,
            }),
        }
    }

    /// How long requests have turned out to take.
    pub fn latency(&self) -> LatencyModel {
        self.inner.lock().latency.model()
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Each change is made whole under the lock, so a panic elsewhere leaves it usable.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn paused_until(&self) -> Option<Instant> {
        let mut state = self.lock();
        let until = state.pause.until.filter(|until| *until > Instant::now());
        state.pause.until = until;
        until
    }

    fn permit(self: &Arc<Self>, slot: OwnedSemaphorePermit) -> Permit {
        Permit::holding(Slot { inner: Arc::clone(self), slot: Some(slot) })
    }

    fn resize(&self, state: &mut State, from: usize, to: usize) {
        if to > from {
            let forgiven = state.debt.min(to - from);
            state.debt -= forgiven;
            self.slots.add_permits(to - from - forgiven);
        } else {
            let taken = self.slots.forget_permits(from - to);
            state.debt += from - to - taken;
        }
        self.metrics.concurrency_limit.set(to as f64);
    }
}

#[async_trait]
impl Admission for SlownessAdmission {
    fn limit(&self) -> usize {
        self.inner.lock().rule.limit()
    }

    fn try_admit(&self, _: Duration, _: ByteSize) -> Option<Permit> {
        if self.inner.paused_until().is_some() {
            return None;
        }
        let slot = Arc::clone(&self.inner.slots).try_acquire_owned().ok()?;
        Some(self.inner.permit(slot))
    }

    async fn admit(&self, _: Duration, _: ByteSize) -> Result<Permit, RecognitionError> {
        loop {
            if let Some(until) = self.inner.paused_until() {
                tokio::time::sleep_until(until).await;
            }
            let Ok(slot) = Arc::clone(&self.inner.slots).acquire_owned().await else {
                // Nobody closes it: this is how a closed semaphore would show.
                return Err(RecognitionError::permanent("no more requests are admitted").for_the_run());
            };
            // Somebody may have been throttled while this one waited for a slot.
            if self.inner.paused_until().is_none() {
                return Ok(self.inner.permit(slot));
            }
        }
    }

    fn observe(&self, seen: &AttemptSeen) {
        let now = Instant::now();
        let mut state = self.inner.lock();
        if let AttemptOutcome::Throttled { retry_after } = seen.outcome {
            state.pause.add(now, seen.elapsed, retry_after);
        } else if seen.outcome == AttemptOutcome::Answered {
            state.pause.in_a_row = 0;
        }
        let before = state.rule.limit();
        let in_use = (before + state.debt).saturating_sub(self.inner.slots.available_permits());
        let expected = state.latency.expected(seen.audio);
        let at = now.saturating_duration_since(self.inner.origin);
        state.rule.observe(at, seen, expected, in_use);
        if seen.outcome == AttemptOutcome::Answered {
            let alone = before == 1;
            state.latency.learn(seen.audio, seen.elapsed, alone);
        }
        let after = state.rule.limit();
        if after != before {
            self.inner.resize(&mut state, before, after);
        }
    }

    fn expected(&self, audio: Duration) -> Duration {
        self.inner.lock().latency.expected(audio)
    }
}

impl Pause {
    /// The server refused something that was sent `elapsed` ago.
    fn add(&mut self, now: Instant, elapsed: Duration, retry_after: Option<Duration>) {
        let sent = now.checked_sub(elapsed);
        let same_refusal = self.since.is_some_and(|since| sent.is_none_or(|sent| sent < since));
        if !same_refusal {
            self.in_a_row = self.in_a_row.saturating_add(1);
            self.since = Some(now);
        }
        let asked = match retry_after {
            Some(asked) => asked,
            // It did not say: longer each time that it refuses again.
            None if same_refusal => return,
            None => unasked_pause(self.in_a_row),
        };
        self.until = self.until.max(now.checked_add(asked));
    }
}

fn unasked_pause(refusals: u32) -> Duration {
    let backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(30));
    backoff.map_or(Duration::from_secs(1), |backoff| backoff.ceiling(refusals))
}

/// A lent slot. Given back when dropped, unless the limit has fallen meanwhile.
#[derive(Debug)]
struct Slot {
    inner: Arc<Inner>,
    slot: Option<OwnedSemaphorePermit>,
}

impl Drop for Slot {
    fn drop(&mut self) {
        let Some(slot) = self.slot.take() else { return };
        let mut state = self.inner.lock();
        if state.debt > 0 {
            state.debt -= 1;
            slot.forget();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ConcurrencyLimit;

    const S: Duration = Duration::from_secs(1);

    fn admission(limit: u16) -> SlownessAdmission {
        let limit = ConcurrencyLimit::new(limit).unwrap();
        SlownessAdmission::new(AdmissionConfig::at(limit), LatencyModel::default())
    }

    fn seen(elapsed: Duration, outcome: AttemptOutcome) -> AttemptSeen {
        AttemptSeen { audio: 60 * S, elapsed, outcome }
    }

    async fn admit(admission: &SlownessAdmission) -> Permit {
        admission.admit(60 * S, ByteSize::new(1)).await.unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn one_refusal_pauses_everybody_for_as_long_as_the_server_said() {
        let admission = admission(4);
        let start = Instant::now();
        admission.observe(&seen(Duration::ZERO, AttemptOutcome::Throttled { retry_after: Some(7 * S) }));
        assert!(admission.try_admit(60 * S, ByteSize::new(1)).is_none());
        let (_a, _b) = tokio::join!(admit(&admission), admit(&admission));
        assert_eq!(start.elapsed(), 7 * S);
    }

    #[tokio::test(start_paused = true)]
    async fn a_cohort_refused_without_a_time_waits_as_for_one_refusal() {
        let admission = admission(64);
        let permits: Vec<_> =
            (0..64).map(|_| admission.try_admit(60 * S, ByteSize::new(1)).unwrap()).collect();
        tokio::time::advance(S).await;
        for _ in &permits {
            admission.observe(&seen(S, AttemptOutcome::Throttled { retry_after: None }));
        }
        drop(permits);
        assert_eq!(admission.limit(), 57, "one step down, to 0.9 of 64");
        let start = Instant::now();
        let _permit = admit(&admission).await;
        assert_eq!(start.elapsed(), S);
    }

    #[tokio::test(start_paused = true)]
    async fn slots_that_are_lent_when_the_limit_falls_are_taken_back_when_they_return() {
        let admission = admission(10);
        let mut permits: Vec<_> =
            (0..10).map(|_| admission.try_admit(S, ByteSize::new(1)).unwrap()).collect();
        tokio::time::advance(S).await;
        admission.observe(&seen(S, AttemptOutcome::Failed));
        admission.observe(&seen(S, AttemptOutcome::Failed));
        assert_eq!(admission.limit(), 9);
        permits.pop();
        assert!(admission.try_admit(S, ByteSize::new(1)).is_none(), "nine are in use, nine are allowed");
        permits.pop();
        assert!(admission.try_admit(S, ByteSize::new(1)).is_some());
    }
}
