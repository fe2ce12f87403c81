//! Bounds on the rate where no header tells one: after a refusal, and while a rate may only rise slowly. Pure.

use serde::{Deserialize, Serialize};

/// By how much a refusal lowers the rate.
const CUT: f64 = 0.7;
/// How much a rate rises after each [`RAISE_EVERY`] seconds of full use.
const RAISE: f64 = 1.05;
const RAISE_EVERY: f64 = 30.0;
/// A ramp may rise by half in a quarter of an hour.
const RAMP_RAISE: f64 = 1.5;
const RAMP_EVERY: f64 = 900.0;

/// How much was sent in the last minute.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct SendMeter {
    seconds: std::collections::VecDeque<(i64, f64)>,
}

impl SendMeter {
    pub(crate) fn sent(&mut self, now: f64) {
        let second = now.floor() as i64;
        match self.seconds.back_mut() {
            Some((last, count)) if *last == second => *count += 1.0,
            _ => self.seconds.push_back((second, 1.0)),
        }
        while self.seconds.front().is_some_and(|(first, _)| *first <= second - 60) {
            self.seconds.pop_front();
        }
    }

    /// Requests a second over the last minute, or over the time since the first one.
    pub(crate) fn rate(&self, now: f64) -> f64 {
        let since = now.floor() as i64 - 60;
        let recent = self.seconds.iter().filter(|(second, _)| *second > since);
        let (first, sum) =
            recent.fold((None, 0.0), |(first, sum), (second, count)| (first.or(Some(*second)), sum + count));
        let first = first.map_or(now, |first: i64| first as f64);
        sum / (now - first).clamp(1.0, 60.0)
    }
}

/// A bound on the rate that falls with refusals and rises with time.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Pace {
    rate: f64,
    tat: f64,
    raised_at: f64,
    cut_at: f64,
    factor: f64,
    every: f64,
}

impl Pace {
    /// Below what was sent until a refusal that did not say how long to wait.
    pub(crate) fn after_refusal(sent_per_second: f64, now: f64) -> Self {
        Self::new(sent_per_second, RAISE, RAISE_EVERY, now)
    }

    /// Below what was sent until the API said that the rate rose too fast.
    pub(crate) fn ramp(sent_per_second: f64, now: f64) -> Self {
        Self::new(sent_per_second, RAMP_RAISE, RAMP_EVERY, now)
    }

    fn new(sent_per_second: f64, factor: f64, every: f64, now: f64) -> Self {
        let rate = (CUT * sent_per_second).max(1.0 / 60.0);
        Self { rate, tat: now + 1.0 / rate, raised_at: now, cut_at: now, factor, every }
    }

    pub(crate) fn per_second(&self) -> f64 {
        self.rate
    }

    /// A refusal more. Those of one burst count once: `delay` is the time in which they come.
    pub(crate) fn refused(&mut self, delay: f64, now: f64) {
        if now - self.cut_at >= delay {
            self.rate = (self.rate * CUT).max(1.0 / 60.0);
            self.cut_at = now;
            self.raised_at = now;
            self.tat = self.tat.max(now + 1.0 / self.rate);
        }
    }

    /// Lets time pass.
    pub(crate) fn advance(&mut self, now: f64) {
        self.tat = self.tat.max(now);
    }

    /// Seconds until the next grant.
    pub(crate) fn wait(&self, now: f64) -> f64 {
        (self.tat - now).max(0.0)
    }

    pub(crate) fn charge(&mut self, now: f64) {
        // It only rises while it is what holds back.
        if self.tat >= now && now - self.raised_at >= self.every {
            self.rate *= self.factor;
            self.raised_at = now;
        }
        self.tat = self.tat.max(now) + 1.0 / self.rate;
    }

    pub(crate) fn restore(&mut self) {
        self.tat -= 1.0 / self.rate;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_of_one_burst_cut_the_rate_once() {
        let mut pace = Pace::after_refusal(10.0, 0.0);
        assert!((pace.per_second() - 7.0).abs() < 1e-9);
        pace.refused(1.0, 0.5);
        assert!((pace.per_second() - 7.0).abs() < 1e-9);
        pace.refused(1.0, 1.5);
        assert!((pace.per_second() - 4.9).abs() < 1e-9);
    }

    #[test]
    fn a_ramp_rises_by_half_in_a_quarter_of_an_hour() {
        let (mut pace, mut at) = (Pace::ramp(10.0, 0.0), 0.0);
        while at < 1_000.0 {
            pace.advance(at);
            at += pace.wait(at);
            pace.charge(at);
        }
        assert!((pace.per_second() - 10.5).abs() < 1e-9, "{}", pace.per_second());
    }

    #[test]
    fn the_rate_of_the_last_minute_is_measured() {
        let mut meter = SendMeter::default();
        for tenth in 0..1_000 {
            meter.sent(f64::from(tenth) / 10.0);
        }
        assert!((meter.rate(100.0) - 10.0).abs() < 0.5, "{}", meter.rate(100.0));
    }
}
