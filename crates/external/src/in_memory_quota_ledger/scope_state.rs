//! Everything that is known of one quota, and the rules that join it. Pure: `now` in seconds is an argument.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::pace::{Pace, SendMeter};
use super::told::{Pacing, Told};
use super::twin::{Admission, Twin};
use super::window::{Window, WindowProof};
use crate::config::RateLimitConfig;
use crate::model::quota::{
    Cost, Dimension, DimensionView, Observation, QuotaView, RateLimit, ResetMeaning, SeenLimit, SeenOutcome,
    StopCause, ThrottleCause,
};
use crate::ports::{Charge, Charged};

/// Limits of one dimension: what was told, and what headers say.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Limits {
    told: Option<Told>,
    twin: Option<Twin>,
    window: Option<Window>,
    proof: WindowProof,
}

/// A credential that is refused.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Stop {
    cause: StopCause,
    next_probe: f64,
}

/// A bound on requests in flight that a refusal taught.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Cap {
    most: u32,
    /// When it was last moved.
    at: f64,
}

/// After how many quiet seconds a learned bound on concurrency is tried one higher.
const CAP_RAISE_EVERY: f64 = 60.0;

/// The state of one quota.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct ScopeState {
    limits: [Limits; 4],
    told_in_flight: Option<u32>,
    until_known: u32,
    probe_interval: f64,
    known: bool,
    in_flight: u32,
    in_flight_cost: [f64; 4],
    header_cap: Option<u32>,
    cap: Option<Cap>,
    hold_until: f64,
    stop: Option<Stop>,
    pace: Option<Pace>,
    ramp: Option<Pace>,
    meter: SendMeter,
    delay: f64,
    next_id: u64,
}

impl ScopeState {
    pub(crate) fn new(config: &RateLimitConfig) -> Self {
        let told = |limit: Option<_>, pacing| Limits {
            told: limit.map(|limit| Told::new(limit, pacing)),
            ..Limits::default()
        };
        Self {
            limits: [
                told(config.requests, Pacing::Even),
                told(config.tokens, Pacing::Eager),
                told(config.audio, Pacing::Eager),
                told(config.bytes, Pacing::Eager),
            ],
            told_in_flight: config.max_in_flight,
            until_known: config.in_flight_until_known,
            probe_interval: config.probe_interval.as_secs_f64(),
            known: config.requests.is_some(),
            in_flight: 0,
            in_flight_cost: [0.0; 4],
            header_cap: None,
            cap: None,
            hold_until: 0.0,
            stop: None,
            pace: None,
            ramp: None,
            meter: SendMeter::default(),
            delay: 0.0,
            next_id: 0,
        }
    }

    pub(crate) fn max_in_flight(&self) -> Option<u32> {
        let unknown = (!self.known).then_some(self.until_known);
        let learned = self.cap.map(|cap| cap.most);
        [self.told_in_flight, unknown, self.header_cap, learned].into_iter().flatten().min()
    }

    fn advance(&mut self, now: f64) {
        for limits in &mut self.limits {
            limits.told.iter_mut().for_each(|told| told.advance(now));
            limits.twin.iter_mut().for_each(|twin| twin.advance(now));
            limits.window.iter_mut().for_each(|window| window.advance(now));
        }
        self.pace.iter_mut().for_each(|pace| pace.advance(now));
        self.ramp.iter_mut().for_each(|ramp| ramp.advance(now));
        if let Some(cap) = &mut self.cap
            && self.in_flight >= cap.most
            && now - cap.at >= CAP_RAISE_EVERY
        {
            *cap = Cap { most: cap.most + 1, at: now };
        }
    }

    /// Seconds until the cost can be granted by rate; zero if now.
    fn wait(&self, cost: &Cost, now: f64) -> f64 {
        let mut wait = (self.hold_until - now).max(0.0);
        for (dimension, limits) in Dimension::ALL.into_iter().zip(&self.limits) {
            let cost = cost.of(dimension);
            let told = limits.told.as_ref().map_or(0.0, |told| told.wait(cost, now));
            let twin = limits.twin.as_ref().map_or(0.0, |twin| twin.wait(cost, now));
            let window = limits.window.as_ref().map_or(0.0, |window| window.wait(cost, now));
            wait = wait.max(told).max(twin).max(window);
        }
        for pace in [&self.pace, &self.ramp].into_iter().flatten() {
            wait = wait.max(pace.wait(now));
        }
        wait
    }

    /// Seconds until a window or a common patience ends that holds this cost back; zero if none does.
    fn wait_for_an_end(&self, cost: &Cost, now: f64) -> f64 {
        let windows = Dimension::ALL.into_iter().zip(&self.limits).filter_map(|(dimension, limits)| {
            limits.window.as_ref().map(|window| window.wait(cost.of(dimension), now))
        });
        windows.fold((self.hold_until - now).max(0.0), f64::max)
    }

    pub(crate) fn try_charge(&mut self, cost: &Cost, now: f64) -> Charged {
        self.try_reserve(cost, now, 0.0)
    }

    /// As [`try_charge`](Self::try_charge), but takes a place in the order of grants that comes at most `ahead` seconds
    /// later: [`Charge::at_s`] is when it may be sent.
    pub(crate) fn try_reserve(&mut self, cost: &Cost, now: f64, ahead: f64) -> Charged {
        self.advance(now);
        if let Some(stop) = &mut self.stop {
            if now < stop.next_probe {
                return Charged::Stopped(stop.cause);
            }
            stop.next_probe = now + self.probe_interval;
            return Charged::Granted(self.charge(cost, now));
        }
        if self.max_in_flight().is_some_and(|most| self.in_flight >= most) {
            // Nobody knows when: whoever comes back makes place.
            return Charged::Wait(Duration::MAX);
        }
        let wait = self.wait(cost, now);
        // What ends all at once has no places in an order: they would all be at the same moment.
        let ahead = if self.wait_for_an_end(cost, now) > 0.0 { 0.0 } else { ahead };
        // A nanosecond is what is lost between seconds as numbers and durations.
        if wait > ahead + 1e-9 {
            return Charged::Wait(Duration::from_secs_f64((wait - ahead).min(1e9)) + Duration::from_nanos(1));
        }
        Charged::Granted(self.charge(cost, if wait > 1e-9 { now + wait } else { now }))
    }

    fn charge(&mut self, cost: &Cost, now: f64) -> Charge {
        self.in_flight += 1;
        self.each(cost, |limits, cost| {
            limits.told.iter_mut().for_each(|told| told.charge(cost, now));
            limits.twin.iter_mut().for_each(|twin| twin.charge(cost, now));
            limits.window.iter_mut().for_each(|window| window.charge(cost));
        });
        for (sum, dimension) in self.in_flight_cost.iter_mut().zip(Dimension::ALL) {
            *sum += cost.of(dimension);
        }
        self.pace.iter_mut().for_each(|pace| pace.charge(now));
        self.ramp.iter_mut().for_each(|ramp| ramp.charge(now));
        self.next_id += 1;
        let mut charge = Charge { id: self.next_id, at_s: now, marks: [None; 4] };
        self.mark(&mut charge, now);
        charge
    }

    /// Charges what was spent at an earlier time, when others could not be told.
    pub(crate) fn charge_late(&mut self, cost: &Cost, at: f64, now: f64) {
        self.advance(now);
        self.in_flight += 1;
        self.each(cost, |limits, cost| {
            limits.told.iter_mut().for_each(|told| told.charge_late(cost, at, now));
            limits.twin.iter_mut().for_each(|twin| twin.charge_late(cost, now));
            limits.window.iter_mut().for_each(|window| window.charge(cost));
        });
        for (sum, dimension) in self.in_flight_cost.iter_mut().zip(Dimension::ALL) {
            *sum += cost.of(dimension);
        }
    }

    fn each(&mut self, cost: &Cost, mut act: impl FnMut(&mut Limits, f64)) {
        for (dimension, limits) in Dimension::ALL.into_iter().zip(&mut self.limits) {
            act(limits, cost.of(dimension));
        }
    }

    fn mark(&self, charge: &mut Charge, now: f64) {
        for (mark, limits) in charge.marks.iter_mut().zip(&self.limits) {
            *mark = limits.twin.as_ref().map(|twin| twin.mark(now));
        }
    }

    pub(crate) fn sent(&mut self, charge: &mut Charge, now: f64) {
        self.advance(now);
        self.meter.sent(now);
        charge.at_s = now;
        self.mark(charge, now);
    }

    /// Notes that a reserved request goes out, for the rate that was reached.
    pub(crate) fn meter(&mut self, at: f64) {
        self.meter.sent(at);
    }

    /// Requests of somebody who has gone without a word: nobody knows what became of them, but that they have ended.
    pub(crate) fn forget(&mut self, requests: u32, costs: [f64; 4]) {
        self.in_flight = self.in_flight.saturating_sub(requests);
        for (sum, cost) in self.in_flight_cost.iter_mut().zip(costs) {
            *sum = (*sum - cost).max(0.0);
        }
    }

    /// What was told is another now; what was spent of it stays spent.
    pub(crate) fn retell(&mut self, config: &RateLimitConfig) {
        let next = Self::new(config);
        for (limits, next) in self.limits.iter_mut().zip(next.limits) {
            limits.told = match (limits.told.take(), next.told) {
                (Some(told), Some(next)) => Some(told.retold(next.limit())),
                (_, next) => next,
            };
        }
        self.told_in_flight = next.told_in_flight;
        self.until_known = next.until_known;
        self.probe_interval = next.probe_interval;
        self.known |= next.known;
    }

    /// One of `parts` that use the same quota without knowing of one another, with `in_flight` requests of its own.
    pub(crate) fn part(mut self, parts: u32, in_flight: u32, in_flight_cost: [f64; 4]) -> Self {
        let parts = f64::from(parts.max(1));
        let bound = |most: u32| ((f64::from(most) / parts) as u32).max(1);
        for limits in &mut self.limits {
            limits.told = limits.told.take().map(|told| {
                let RateLimit { amount, period } = told.limit();
                told.retold(RateLimit { amount: amount / parts, period })
            });
            limits.twin = limits.twin.take().map(|twin| twin.part(parts));
            limits.window = limits.window.take().map(|window| window.part(parts));
        }
        self.told_in_flight = self.told_in_flight.map(bound);
        self.header_cap = self.header_cap.map(bound);
        self.cap = self.cap.map(|cap| Cap { most: bound(cap.most), ..cap });
        self.until_known = bound(self.until_known);
        (self.in_flight, self.in_flight_cost) = (in_flight, in_flight_cost);
        self
    }

    fn landed(&mut self, cost: &Cost) {
        self.in_flight = self.in_flight.saturating_sub(1);
        for (sum, dimension) in self.in_flight_cost.iter_mut().zip(Dimension::ALL) {
            *sum = (*sum - cost.of(dimension)).max(0.0);
        }
    }

    pub(crate) fn restore(&mut self, cost: &Cost) {
        self.landed(cost);
        self.each(cost, |limits, cost| {
            limits.told.iter_mut().for_each(|told| told.restore(cost));
            limits.twin.iter_mut().for_each(|twin| twin.restore(cost));
            limits.window.iter_mut().for_each(|window| window.restore(cost));
        });
        self.pace.iter_mut().for_each(Pace::restore);
        self.ramp.iter_mut().for_each(Pace::restore);
    }

    pub(crate) fn settle(&mut self, cost: &Cost, charge: &Charge, seen: &Observation, now: f64) {
        let in_flight = self.in_flight;
        self.landed(cost);
        let delay = (now - charge.at_s).max(0.0);
        self.delay = if self.delay > 0.0 { self.delay + 0.05 * (delay - self.delay) } else { delay };
        let throttled = matches!(seen.outcome, SeenOutcome::Throttled { .. });
        for limit in &seen.limits.limits {
            self.learn(limit, cost, charge, delay, throttled, now);
        }
        if let Some(most) = seen.limits.max_concurrency {
            self.header_cap = Some(most);
        }
        match seen.outcome {
            SeenOutcome::Served => {
                self.known = true;
                self.stop = None;
            }
            SeenOutcome::Stopped(cause) => {
                self.stop = Some(Stop { cause, next_probe: now + self.probe_interval });
            }
            SeenOutcome::Throttled { cause, retry_after } => {
                self.throttled(cause, retry_after, seen, in_flight, now);
            }
            SeenOutcome::Failed => self.known = true,
            SeenOutcome::Unknown => {}
        }
    }

    fn throttled(
        &mut self,
        cause: ThrottleCause,
        retry_after: Option<Duration>,
        seen: &Observation,
        in_flight: u32,
        now: f64,
    ) {
        self.known = true;
        if let Some(patience) = retry_after {
            self.hold_until = self.hold_until.max(now + patience.as_secs_f64());
        }
        let sent = self.meter.rate(now);
        match cause {
            ThrottleCause::Concurrency => {
                let most = in_flight.saturating_sub(1).max(1);
                let most = self.cap.map_or(most, |cap| cap.most.min(most));
                self.cap = Some(Cap { most, at: now });
            }
            ThrottleCause::Ramp => match &mut self.ramp {
                Some(ramp) => ramp.refused(self.delay.max(1.0), now),
                None => self.ramp = Some(Pace::ramp(sent, now)),
            },
            // Where headers tell the rate, or how long to wait, nothing need be guessed.
            ThrottleCause::Rate | ThrottleCause::Unknown => {
                if retry_after.is_none() && seen.limits.limits.is_empty() {
                    match &mut self.pace {
                        Some(pace) => pace.refused(self.delay.max(1.0), now),
                        None => self.pace = Some(Pace::after_refusal(sent, now)),
                    }
                }
            }
        }
    }

    fn learn(
        &mut self,
        seen: &SeenLimit,
        cost: &Cost,
        charge: &Charge,
        delay: f64,
        throttled: bool,
        now: f64,
    ) {
        let index = seen.dimension.index();
        let in_flight = self.in_flight_cost.get(index).copied().unwrap_or(0.0);
        let (Some(limits), Some(mark)) = (self.limits.get_mut(index), charge.marks.get(index)) else {
            return;
        };
        let cost = cost.of(seen.dimension);
        let by_proof = limits.proof.is_given();
        if by_proof || seen.meaning == ResetMeaning::UntilWindowEnds {
            // The period that goes with a bucket says nothing about a window.
            let seen = &SeenLimit { period: seen.period.filter(|_| !by_proof), ..*seen };
            match &mut limits.window {
                Some(window) => window.observe(seen, in_flight, now),
                None => limits.window = Window::seen(seen, in_flight, now),
            }
            return;
        }
        let admission = if throttled { Admission::Refused } else { Admission::Admitted };
        if let Some(twin) = &limits.twin
            && limits.proof.observe(seen, now - delay, twin.unit())
        {
            // What was taken for a bucket is a window.
            limits.twin = None;
            limits.window = Window::seen(&SeenLimit { period: None, ..*seen }, in_flight, now);
            return;
        }
        match &mut limits.twin {
            Some(twin) => twin.observe(seen, *mark, cost, delay, admission, now),
            None => limits.twin = Twin::seen(seen, in_flight, now),
        }
    }

    pub(crate) fn view(&mut self, now: f64) -> QuotaView {
        self.advance(now);
        let mut dimensions = Vec::new();
        for (dimension, limits) in Dimension::ALL.into_iter().zip(&self.limits) {
            let told = limits.told.as_ref().map(|told| (told.limit(), told.remaining(), 0.0));
            let twin = limits.twin.as_ref().map(|t| (t.limit(), t.remaining(now), t.foreign_per_second()));
            let window = limits.window.as_ref().map(|window| (window.limit(), window.remaining(), 0.0));
            // The one that holds back first.
            let tightest =
                [told, twin, window].into_iter().flatten().min_by(|one, other| one.1.total_cmp(&other.1));
            if let Some((limit, remaining, foreign_per_second)) = tightest {
                dimensions.push(DimensionView { dimension, limit, remaining, foreign_per_second });
            }
        }
        let wait = self.wait(&Cost::default(), now);
        QuotaView {
            dimensions,
            next_grant: Duration::try_from_secs_f64(wait).unwrap_or(Duration::MAX),
            in_flight: self.in_flight,
            max_in_flight: self.max_in_flight(),
            ramp_per_second: self.ramp.as_ref().map(Pace::per_second),
            stop: self.stop.map(|stop| stop.cause),
        }
    }
}
