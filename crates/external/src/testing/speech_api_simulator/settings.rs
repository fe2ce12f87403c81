//! How the simulated API behaves when nothing goes wrong.

use std::time::Duration;

use super::quota::{Quota, QuotaLevel, QuotaState};
use crate::testing::tone_speech::SplitMix;

/// How long an answer takes, from the end of the upload: a base, and a share of the audio's duration.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Latency {
    base: Duration,
    per_audio_second: Duration,
    straggler_chance: f64,
    straggler_factor: f64,
}

impl Latency {
    /// `base` and, for each second of audio, `per_audio_second`.
    pub fn new(base: Duration, per_audio_second: Duration) -> Self {
        Self { base, per_audio_second, ..Self::default() }
    }

    /// With this probability (0 to 1) an answer takes `factor` times as long.
    #[must_use]
    pub fn with_stragglers(mut self, probability: f64, factor: f64) -> Self {
        self.straggler_chance = probability;
        self.straggler_factor = factor.max(0.0);
        self
    }

    pub(crate) fn of(&self, audio: Duration, random: &mut SplitMix) -> Duration {
        let usual = self.base + self.per_audio_second.mul_f64(audio.as_secs_f64());
        if random.unit() < self.straggler_chance { usual.mul_f64(self.straggler_factor) } else { usual }
    }
}

/// What the headers tell about the quota of requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum QuotaHeaders {
    /// Nothing, as some accounts get.
    None,
    /// OpenAI's `x-ratelimit-{limit,remaining,reset}-requests`, as of when the request came.
    #[default]
    OpenAi,
    /// The same, as of when it was answered.
    OpenAiAtEnd,
    /// `RateLimit-Policy` and `RateLimit` (IETF draft).
    Ietf,
    /// OpenAI's names with values that make no sense.
    Nonsense,
}

impl QuotaHeaders {
    pub(crate) fn write(self, quota: &Quota, level: QuotaLevel) -> Vec<(&'static str, String)> {
        let QuotaLevel { limit, remaining, reset } = level;
        match self {
            Self::None => Vec::new(),
            Self::OpenAi | Self::OpenAiAtEnd => vec![
                ("x-ratelimit-limit-requests", limit.to_string()),
                ("x-ratelimit-remaining-requests", remaining.to_string()),
                ("x-ratelimit-reset-requests", super::answers::go_duration(reset)),
            ],
            Self::Ietf => vec![
                ("ratelimit-policy", format!("\"requests\";q={limit};w={}", quota.period().as_secs())),
                ("ratelimit", format!("\"requests\";r={remaining};t={}", reset.as_secs_f64().ceil())),
            ],
            Self::Nonsense => vec![
                ("x-ratelimit-limit-requests", "-1".into()),
                ("x-ratelimit-remaining-requests", "1e400".into()),
                ("x-ratelimit-reset-requests", "soon".into()),
            ],
        }
    }
}

/// When a refusal for the quota, the key or the declared length is sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Refusals {
    /// Once the body has been read, as OpenAI does.
    #[default]
    AfterUpload,
    /// At once: what was sent of the body is wasted, the rest need not be.
    BeforeUpload,
}

/// A model of the simulated API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SimulatedModel {
    name: String,
    times: bool,
}

impl SimulatedModel {
    /// A model that knows `verbose_json` and times, as `whisper-1`.
    pub fn with_times(name: impl Into<String>) -> Self {
        Self { name: name.into(), times: true }
    }

    /// A model that knows `json` and `text` alone, as `gpt-4o-transcribe`.
    pub fn text_only(name: impl Into<String>) -> Self {
        Self { name: name.into(), times: false }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn answers_in(&self, format: &str) -> bool {
        matches!(format, "json" | "text") || self.times && matches!(format, "srt" | "verbose_json" | "vtt")
    }
}

/// All quotas together.
#[derive(Clone, Debug, Default)]
pub(crate) struct Quotas(Vec<QuotaState>);

impl Quotas {
    pub(crate) fn add(&mut self, quota: Quota) {
        self.0.push(QuotaState::new(quota));
    }

    /// Takes other limits; a quota keeps what was used of the one that stood in its place.
    pub(crate) fn change(&mut self, now: Duration, quotas: Vec<Quota>) {
        self.0.truncate(quotas.len());
        for (index, quota) in quotas.into_iter().enumerate() {
            match self.0.get_mut(index) {
                Some(state) if state.quota().measure() == quota.measure() => state.change(now, quota),
                Some(state) => *state = QuotaState::new(quota),
                None => self.add(quota),
            }
        }
    }

    pub(crate) fn set_in_flight(&mut self, in_flight: u64) {
        self.0.iter_mut().for_each(|state| state.set_in_flight(in_flight));
    }

    /// Charges all quotas for which `cost` knows a cost, or none: then the one that has to be waited for longest
    /// is returned.
    pub(crate) fn charge(
        &mut self,
        now: Duration,
        cost: impl Fn(&Quota) -> Option<f64>,
    ) -> Result<(), (Quota, Duration)> {
        let refused = self
            .0
            .iter_mut()
            .filter_map(|state| Some((state.quota().clone(), state.wait(now, cost(state.quota())?)?)))
            .max_by_key(|(_, wait)| *wait);
        if let Some(refused) = refused {
            return Err(refused);
        }
        for state in &mut self.0 {
            if let Some(cost) = cost(state.quota()) {
                state.charge(now, cost);
            }
        }
        Ok(())
    }

    /// Uses requests whether they are there or not.
    pub(crate) fn use_elsewhere(&mut self, now: Duration, requests: u64) {
        let counted = |state: &&mut QuotaState| state.quota().measure() == super::quota::Measure::Requests;
        self.0.iter_mut().filter(counted).for_each(|state| state.charge(now, requests as f64));
    }

    /// The headers for the first quota that is told.
    pub(crate) fn headers(&mut self, now: Duration, form: QuotaHeaders) -> Vec<(&'static str, String)> {
        let told = self.0.iter_mut().find(|state| state.quota().is_told());
        told.map(|state| {
            let level = state.level(now);
            form.write(state.quota(), level)
        })
        .unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::super::quota::Measure;
    use super::*;

    #[test]
    fn latency_grows_with_the_audio_and_stragglers_take_longer() {
        let latency =
            Latency::new(Duration::from_millis(100), Duration::from_millis(10)).with_stragglers(0.1, 5.0);
        let mut random = SplitMix::new(1);
        let drawn: Vec<_> = (0..1_000).map(|_| latency.of(Duration::from_secs(60), &mut random)).collect();
        let slow = drawn.iter().filter(|&&latency| latency == Duration::from_millis(3_500)).count();
        let usual = drawn.iter().filter(|&&latency| latency == Duration::from_millis(700)).count();
        assert_eq!(slow + usual, 1_000);
        assert!((70..130).contains(&slow));
    }

    #[test]
    fn all_quotas_are_charged_or_none() {
        let mut quotas = Quotas::default();
        quotas.add(Quota::requests_per_minute(60));
        quotas.add(Quota::token_bucket(Measure::Bytes, 100, Duration::from_secs(60)));
        let cost = |quota: &Quota| Some(if quota.measure() == Measure::Bytes { 80.0 } else { 1.0 });
        assert_eq!(quotas.charge(Duration::ZERO, cost), Ok(()));
        let (refused, wait) = quotas.charge(Duration::ZERO, cost).unwrap_err();
        assert_eq!((refused.measure(), wait), (Measure::Bytes, Duration::from_secs(36)));
        let headers = quotas.headers(Duration::ZERO, QuotaHeaders::OpenAi);
        assert_eq!(headers[1], ("x-ratelimit-remaining-requests", "59".into()));
    }

    #[test]
    fn hidden_quotas_are_kept_and_not_told() {
        let mut quotas = Quotas::default();
        quotas.add(Quota::token_bucket(Measure::Requests, 5, Duration::from_secs(1)).hidden());
        quotas.add(Quota::fixed_window(Measure::Requests, 50, Duration::from_secs(10)));
        for _ in 0..5 {
            assert_eq!(quotas.charge(Duration::ZERO, |_| Some(1.0)), Ok(()));
        }
        assert!(quotas.charge(Duration::ZERO, |_| Some(1.0)).is_err());
        let ietf = quotas.headers(Duration::ZERO, QuotaHeaders::Ietf);
        assert_eq!(ietf[0].1, "\"requests\";q=50;w=10");
        assert_eq!(ietf[1].1, "\"requests\";r=45;t=10");
    }
}
