//! Quota: whose it is, what a request costs of it, and what an API's answers tell about it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use wavequill_kernel::InvalidValue;

use super::capabilities::ModelId;

/// What an API counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Dimension {
    /// Requests.
    Requests,
    /// Tokens, in and out.
    Tokens,
    /// Seconds of audio.
    Audio,
    /// Bytes of request bodies.
    Bytes,
}

impl Dimension {
    /// All dimensions, in the order in which they are kept.
    pub const ALL: [Self; 4] = [Self::Requests, Self::Tokens, Self::Audio, Self::Bytes];

    pub(crate) fn index(self) -> usize {
        match self {
            Self::Requests => 0,
            Self::Tokens => 1,
            Self::Audio => 2,
            Self::Bytes => 3,
        }
    }
}

/// Priority among those who wait for the same quota. Within a lane, first come, first served; while a lower lane
/// waits, it gets every tenth grant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Lane {
    /// Somebody waits for the answer.
    Urgent,
    /// The usual.
    #[default]
    Normal,
    /// Whenever there is room.
    Bulk,
}

impl Lane {
    pub(crate) const COUNT: usize = 3;

    pub(crate) fn index(self) -> usize {
        match self {
            Self::Urgent => 0,
            Self::Normal => 1,
            Self::Bulk => 2,
        }
    }
}

/// Whose quota it is: APIs count by provider, credential, and model or deployment.
///
/// The credential is a fingerprint: 64 bits of the key's SHA-256, of which the key cannot be had back.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct QuotaScope {
    provider: Arc<str>,
    credential: u64,
    model: ModelId,
}

impl QuotaScope {
    /// The quota of a key for a model at a provider (any name that is one to one with it, such as its origin).
    pub fn new(provider: impl Into<Arc<str>>, key: Option<&SecretString>, model: ModelId) -> Self {
        let credential = key.map_or(0, |key| {
            let digest = Sha256::digest(key.expose_secret().as_bytes());
            digest.iter().take(8).fold(0, |all, byte| (all << 8) | u64::from(*byte))
        });
        Self { provider: provider.into(), credential, model }
    }

    /// The provider.
    pub fn provider(&self) -> &str {
        &self.provider
    }

    /// The model.
    pub fn model(&self) -> &ModelId {
        &self.model
    }
}

impl fmt::Display for QuotaScope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{:016x}/{}", self.provider, self.credential, self.model)
    }
}

impl fmt::Debug for QuotaScope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "QuotaScope({self})")
    }
}

/// What a request costs in each dimension.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cost {
    /// Requests, usually 1.
    pub requests: u32,
    /// Tokens, estimated.
    pub tokens: u64,
    /// Audio.
    pub audio: Duration,
    /// Bytes of the body.
    pub bytes: u64,
}

impl Cost {
    /// One request with this much audio in so many bytes, and no tokens.
    pub fn request(audio: Duration, bytes: u64) -> Self {
        Self { requests: 1, tokens: 0, audio, bytes }
    }

    /// The amount in the dimension's unit.
    pub fn of(&self, dimension: Dimension) -> f64 {
        match dimension {
            Dimension::Requests => f64::from(self.requests),
            Dimension::Tokens => self.tokens as f64,
            Dimension::Audio => self.audio.as_secs_f64(),
            Dimension::Bytes => self.bytes as f64,
        }
    }
}

impl Default for Cost {
    /// One request, of nothing.
    fn default() -> Self {
        Self::request(Duration::ZERO, 0)
    }
}

/// An amount a period, such as 500 requests a minute.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct RateLimit {
    /// The amount, above zero.
    pub amount: f64,
    /// The period, above zero.
    pub period: Duration,
}

impl RateLimit {
    /// So much a minute.
    pub fn per_minute(amount: f64) -> Self {
        Self { amount, period: Duration::from_secs(60) }
    }

    pub(crate) fn check(&self, name: &'static str) -> Result<(), InvalidValue> {
        if !(self.amount.is_finite() && self.amount > 0.0) {
            return Err(InvalidValue::new(name, self.amount, "above zero"));
        }
        if self.period.is_zero() || self.period > Duration::from_secs(400 * 86_400) {
            let given = format!("a period of {:?}", self.period);
            return Err(InvalidValue::new(name, given, "a period above zero and at most 400 days"));
        }
        Ok(())
    }
}

/// What `reset` means in a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ResetMeaning {
    /// The time until the bucket is full again: used × period ÷ limit.
    UntilFull,
    /// The time until the window ends and all of the limit is there again.
    UntilWindowEnds,
}

/// What the headers of one answer say about one dimension.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct SeenLimit {
    /// The dimension.
    pub dimension: Dimension,
    /// The limit.
    pub limit: Option<f64>,
    /// What is left of it.
    pub remaining: Option<f64>,
    /// The time to the reset.
    pub reset: Option<Duration>,
    /// What the reset means.
    pub meaning: ResetMeaning,
    /// The period of the limit, where it is said or known of the API.
    pub period: Option<Duration>,
    /// The unit that `reset` was rounded to: a second for whole seconds.
    pub reset_step: Duration,
}

/// What the headers of one answer say about quota.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SeenLimits {
    /// By dimension; a dimension may be there more than once, with different periods.
    pub limits: Vec<SeenLimit>,
    /// The most requests that may be in flight at once.
    pub max_concurrency: Option<u32>,
    /// How many headers made no sense, and were ignored.
    pub bad_headers: u32,
}

/// Why an API refused for the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ThrottleCause {
    /// Too many in a period.
    Rate,
    /// The rate rose too fast.
    Ramp,
    /// Too many at once.
    Concurrency,
    /// It did not say.
    Unknown,
}

/// Why nothing can be sent any more with a credential until somebody does something about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StopCause {
    /// The key is missing, wrong, or may not do this.
    Credential,
    /// There is no credit, or a limit of spending is reached.
    Billing,
}

/// How a request ended, as far as quota is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SeenOutcome {
    /// It was served.
    Served,
    /// It was refused for the moment.
    Throttled {
        /// Why.
        cause: ThrottleCause,
        /// How long to wait, if that was said.
        retry_after: Option<Duration>,
    },
    /// Nothing goes until somebody does something.
    Stopped(StopCause),
    /// It failed otherwise, after it was admitted.
    Failed,
    /// Nobody knows: the answer never came.
    Unknown,
}

/// What was learned from one request.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Observation {
    /// How it ended.
    pub outcome: SeenOutcome,
    /// What the headers said.
    pub limits: SeenLimits,
}

impl Observation {
    /// An end without headers.
    pub fn of(outcome: SeenOutcome) -> Self {
        Self { outcome, limits: SeenLimits::default() }
    }
}

/// What is known of one dimension.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DimensionView {
    /// The dimension.
    pub dimension: Dimension,
    /// The limit.
    pub limit: RateLimit,
    /// What could be spent at once, now.
    pub remaining: f64,
    /// What others spend of the same quota, a second.
    pub foreign_per_second: f64,
}

/// What is known of a quota.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct QuotaView {
    /// Every dimension that has a limit.
    pub dimensions: Vec<DimensionView>,
    /// When one more request of nothing would be granted; zero if now.
    pub next_grant: Duration,
    /// Requests in flight.
    pub in_flight: u32,
    /// The most that may be in flight, if there is a bound.
    pub max_in_flight: Option<u32>,
    /// The bound on the rate while it has to rise slowly, in requests a second.
    pub ramp_per_second: Option<f64>,
    /// Why nothing is sent.
    pub stop: Option<StopCause>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scope_tells_keys_apart_and_does_not_show_them() {
        let model = ModelId::new("whisper-1").unwrap();
        let scope = |key: &str| QuotaScope::new("openai", Some(&key.to_owned().into()), model.clone());
        assert_ne!(scope("sk-one"), scope("sk-two"));
        assert_eq!(scope("sk-one"), scope("sk-one"));
        assert!(!format!("{:?}", scope("sk-one")).contains("sk-one"));
    }
}
