//! Configuration: public data with defaults, checked once by the service that takes it.

use std::time::Duration;

use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use wavequill_kernel::InvalidValue;

use crate::circuit_breaker::CircuitBreakerConfig;
use crate::error::ExternalError;
use crate::model::capabilities::ModelCapabilities;
use crate::model::origin::{BaseUrl, PlainHttp};
use crate::model::quota::RateLimit;

/// What to do about a model that has no row in the table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UnknownModels {
    /// Treat it like `whisper-1`: self-hosted servers name their models as they please.
    #[default]
    LikeWhisper,
    /// Refuse it before anything is sent.
    Refuse,
}

/// How [`HttpSpeechApi`](crate::HttpSpeechApi) reaches an API and what it bounds.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SpeechApiConfig {
    /// The root of the API, such as `https://api.openai.com/v1` or `http://127.0.0.1:8000/v1`.
    pub base_url: BaseUrl,
    /// The key. It is never written out. Default: none.
    #[serde(default, skip_serializing)]
    pub key: Option<SecretString>,
    /// Rows of models that are added to the dialect's, or take their place. Default: none.
    #[serde(default)]
    pub models: Vec<ModelCapabilities>,
    /// What to do about a model without a row. Default: [`UnknownModels::LikeWhisper`].
    #[serde(default)]
    pub unknown_models: UnknownModels,
    /// Whether plain `http` may be used. Default: [`PlainHttp::Loopback`].
    #[serde(default)]
    pub plain_http: PlainHttp,
    /// The longest wait for quota of a request without a deadline. Default: 10 min.
    #[serde(default = "defaults::quota_wait")]
    pub quota_wait: Duration,
    /// The longest wait for a stream before the quota is given back. Default: 30 s.
    #[serde(default = "defaults::stream_wait")]
    pub stream_wait: Duration,
    /// How long the head of an answer may take, besides the duration of the audio. Default: 60 s.
    #[serde(default = "defaults::answer_within")]
    pub answer_within: Duration,
    /// How long the head of an answer may take at most. Default: 600 s.
    #[serde(default = "defaults::answer_within_at_most")]
    pub answer_within_at_most: Duration,
    /// The largest body of an answer, in bytes. Default: 16 MiB.
    #[serde(default = "defaults::max_answer_bytes")]
    pub max_answer_bytes: usize,
    /// When an API that fails is no longer asked; `None`: never. Default: after 20 failures in a row, for 1 s at first.
    #[serde(default = "defaults::circuit_breaker")]
    pub circuit_breaker: Option<CircuitBreakerConfig>,
    /// The longest `Retry-After` that is waited for in the process. Default: 120 s.
    #[serde(default = "defaults::longest_retry_after")]
    pub longest_retry_after: Duration,
}

mod defaults {
    use std::time::Duration;

    pub(super) fn quota_wait() -> Duration {
        Duration::from_secs(600)
    }

    pub(super) fn stream_wait() -> Duration {
        Duration::from_secs(30)
    }

    pub(super) fn answer_within() -> Duration {
        Duration::from_secs(60)
    }

    pub(super) fn answer_within_at_most() -> Duration {
        Duration::from_secs(600)
    }

    pub(super) fn max_answer_bytes() -> usize {
        16 * 1024 * 1024
    }

    #[expect(clippy::unnecessary_wraps, reason = "serde wants the field's type")]
    pub(super) fn circuit_breaker() -> Option<super::CircuitBreakerConfig> {
        Some(super::CircuitBreakerConfig::default())
    }

    pub(super) fn longest_retry_after() -> Duration {
        Duration::from_secs(120)
    }
}

impl SpeechApiConfig {
    /// The defaults for an API.
    pub fn new(base_url: BaseUrl) -> Self {
        Self {
            base_url,
            key: None,
            models: Vec::new(),
            unknown_models: UnknownModels::default(),
            plain_http: PlainHttp::default(),
            quota_wait: defaults::quota_wait(),
            stream_wait: defaults::stream_wait(),
            answer_within: defaults::answer_within(),
            answer_within_at_most: defaults::answer_within_at_most(),
            max_answer_bytes: defaults::max_answer_bytes(),
            circuit_breaker: defaults::circuit_breaker(),
            longest_retry_after: defaults::longest_retry_after(),
        }
    }

    /// Sets the key.
    #[must_use]
    pub fn with_key(mut self, key: SecretString) -> Self {
        self.key = Some(key);
        self
    }

    /// Adds rows of models, or puts them in the place of known ones.
    #[must_use]
    pub fn with_models(mut self, rows: impl IntoIterator<Item = ModelCapabilities>) -> Self {
        self.models.extend(rows);
        self
    }

    /// Sets what to do about a model without a row.
    #[must_use]
    pub fn with_unknown_models(mut self, unknown_models: UnknownModels) -> Self {
        self.unknown_models = unknown_models;
        self
    }

    /// Sets whether plain `http` may be used.
    #[must_use]
    pub fn with_plain_http(mut self, plain_http: PlainHttp) -> Self {
        self.plain_http = plain_http;
        self
    }

    /// Sets how long the head of an answer may take, besides the duration of the audio.
    #[must_use]
    pub fn with_answer_within(mut self, within: Duration) -> Self {
        self.answer_within = within;
        self.answer_within_at_most = self.answer_within_at_most.max(within);
        self
    }

    /// Sets the longest wait for quota of a request without a deadline.
    #[must_use]
    pub fn with_quota_wait(mut self, wait: Duration) -> Self {
        self.quota_wait = wait;
        self
    }

    /// Sets when an API that fails is no longer asked; `None`: never.
    #[must_use]
    pub fn with_circuit_breaker(mut self, breaker: Option<CircuitBreakerConfig>) -> Self {
        self.circuit_breaker = breaker;
        self
    }

    /// Sets the longest wait for a stream.
    #[must_use]
    pub fn with_stream_wait(mut self, wait: Duration) -> Self {
        self.stream_wait = wait;
        self
    }

    pub(crate) fn check(&self) -> Result<(), ExternalError> {
        let origin = self.base_url.origin();
        if !origin.is_https() && self.plain_http == PlainHttp::Loopback && !origin.is_loopback() {
            let expected = "https, or plain http allowed for hosts other than this machine";
            return Err(InvalidValue::new("base URL", &self.base_url, expected).into());
        }
        above_zero("stream wait", self.stream_wait)?;
        above_zero("answer within", self.answer_within)?;
        self.circuit_breaker.as_ref().map_or(Ok(()), CircuitBreakerConfig::check)?;
        if self.answer_within_at_most < self.answer_within {
            let given = format!("{:?}", self.answer_within_at_most);
            let expected = format!("at least `answer_within` ({:?})", self.answer_within);
            return Err(InvalidValue::new("answer_within_at_most", given, expected).into());
        }
        if self.max_answer_bytes == 0 {
            return Err(InvalidValue::new("max_answer_bytes", 0, "above zero").into());
        }
        Ok(())
    }
}

fn above_zero(name: &'static str, time: Duration) -> Result<(), InvalidValue> {
    if time.is_zero() { Err(InvalidValue::new(name, "0 s", "above zero")) } else { Ok(()) }
}

/// Bounds and time-outs of [`Http2ConnectionPoolManager`](crate::Http2ConnectionPoolManager).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ConnectionPoolConfig {
    /// The most connections to one origin. Default: 16.
    pub max_connections_per_origin: usize,
    /// The most streams on one connection, whatever its peer grants. Default: 1000.
    pub max_streams_per_connection: usize,
    /// How long a connection without streams is kept. Default: 90 s.
    pub idle: Duration,
    /// How old a connection may become. Default: 1 h.
    pub max_age: Duration,
    /// How long `stream` waits. Default: 60 s.
    pub stream_wait: Duration,
    /// How long an upload may make no progress. Default: 30 s.
    pub upload_stall: Duration,
    /// How long the head of an answer may take once the body was sent, unless the request says. Default: 60 s.
    pub answer_within: Duration,
    /// How long the body of an answer may make no progress. Default: 30 s.
    pub body_idle: Duration,
    /// How often a request that was provably never processed is sent again. Default: 5.
    pub max_replays: u32,
}

impl Default for ConnectionPoolConfig {
    fn default() -> Self {
        Self {
            max_connections_per_origin: 16,
            max_streams_per_connection: 1000,
            idle: Duration::from_secs(90),
            max_age: Duration::from_secs(3600),
            stream_wait: Duration::from_secs(60),
            upload_stall: Duration::from_secs(30),
            answer_within: Duration::from_secs(60),
            body_idle: Duration::from_secs(30),
            max_replays: 5,
        }
    }
}

impl ConnectionPoolConfig {
    /// Sets the most connections to one origin.
    #[must_use]
    pub fn with_max_connections_per_origin(mut self, connections: usize) -> Self {
        self.max_connections_per_origin = connections;
        self
    }

    /// Sets how long a connection without streams is kept.
    #[must_use]
    pub fn with_idle(mut self, idle: Duration) -> Self {
        self.idle = idle;
        self
    }

    /// Sets how old a connection may become.
    #[must_use]
    pub fn with_max_age(mut self, max_age: Duration) -> Self {
        self.max_age = max_age;
        self
    }

    pub(crate) fn check(&self) -> Result<(), InvalidValue> {
        if self.max_connections_per_origin == 0 {
            return Err(InvalidValue::new("max_connections_per_origin", 0, "at least 1"));
        }
        if self.max_streams_per_connection == 0 {
            return Err(InvalidValue::new("max_streams_per_connection", 0, "at least 1"));
        }
        for (name, time) in [
            ("idle", self.idle),
            ("max_age", self.max_age),
            ("stream_wait", self.stream_wait),
            ("upload_stall", self.upload_stall),
            ("answer_within", self.answer_within),
            ("body_idle", self.body_idle),
        ] {
            above_zero(name, time)?;
        }
        Ok(())
    }
}

/// What is known of the quota in advance, for [`AdaptiveRateLimitHandler`](crate::AdaptiveRateLimitHandler).
///
/// A limit that is told holds whatever the API's headers say; what they say holds besides.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct RateLimitConfig {
    /// Requests a period. Default: learned.
    pub requests: Option<RateLimit>,
    /// Tokens a period. Default: learned.
    pub tokens: Option<RateLimit>,
    /// Seconds of audio a period. Default: none (no API says it in a header).
    pub audio: Option<RateLimit>,
    /// Bytes a period. Default: none.
    pub bytes: Option<RateLimit>,
    /// Requests in flight. Default: no bound but what the API says.
    pub max_in_flight: Option<u32>,
    /// Requests in flight until the first answer has come and nothing is known. Default: 4.
    pub in_flight_until_known: u32,
    /// The least time between two probes of a credential that was stopped. Default: 1 min.
    pub probe_interval: Duration,
}

impl Default for RateLimitConfig {
    fn default() -> Self {
        Self {
            requests: None,
            tokens: None,
            audio: None,
            bytes: None,
            max_in_flight: None,
            in_flight_until_known: 4,
            probe_interval: Duration::from_secs(60),
        }
    }
}

impl RateLimitConfig {
    /// Tells the limit of requests a minute.
    #[must_use]
    pub fn with_requests_per_minute(mut self, requests: u32) -> Self {
        self.requests = Some(RateLimit::per_minute(f64::from(requests)));
        self
    }

    /// Tells the limit of audio seconds.
    #[must_use]
    pub fn with_audio(mut self, limit: RateLimit) -> Self {
        self.audio = Some(limit);
        self
    }

    /// Bounds the requests in flight.
    #[must_use]
    pub fn with_max_in_flight(mut self, requests: u32) -> Self {
        self.max_in_flight = Some(requests);
        self
    }

    pub(crate) fn check(&self) -> Result<(), InvalidValue> {
        for (name, limit) in [
            ("requests", self.requests),
            ("tokens", self.tokens),
            ("audio", self.audio),
            ("bytes", self.bytes),
        ] {
            limit.map_or(Ok(()), |limit| limit.check(name))?;
        }
        if self.max_in_flight == Some(0) {
            return Err(InvalidValue::new("max_in_flight", 0, "at least 1"));
        }
        if self.in_flight_until_known == 0 {
            return Err(InvalidValue::new("in_flight_until_known", 0, "at least 1"));
        }
        above_zero("probe_interval", self.probe_interval)
    }
}
