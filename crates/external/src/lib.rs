#![doc = include_str!("../README.md")]

mod adapters;
mod adaptive_rate_limit_handler;
mod answer;
mod body;
mod circuit_breaker;
mod config;
mod connection_pool_manager;
mod dialect;
mod error;
mod http2_connection_pool_manager;
mod http_speech_api;
mod in_memory_quota_ledger;
mod metrics;
mod model;
mod multipart;
mod ports;
mod rate_limit_handler;
mod shared_quota_ledger;
mod speech_api;
#[cfg(feature = "testing")]
pub mod testing;

#[cfg(feature = "fred")]
pub use adapters::fred::{RedisQuotaLedger, RedisQuotaLog};
#[cfg(feature = "hyper")]
pub use adapters::hyper::preset::HyperSpeechApiConfig;
#[cfg(feature = "hyper")]
pub use adapters::hyper::proxy::HttpProxy;
#[cfg(feature = "hyper")]
pub use adapters::hyper::{AddressPolicy, Http2Use, HyperConfig, HyperHttpTransport, TrustedRoots};
pub use adaptive_rate_limit_handler::AdaptiveRateLimitHandler;
pub use body::{BodyReader, ChainBody, FileRange, ReplayBody};
pub use circuit_breaker::CircuitBreakerConfig;
pub use config::{ConnectionPoolConfig, RateLimitConfig, SpeechApiConfig, UnknownModels};
pub use connection_pool_manager::{ConnectionPoolManager, StreamPermit};
pub use dialect::deepgram::DeepgramDialect;
pub use dialect::openai::{OpenAiDialect, OpenAiFlavor};
pub use error::{ConnectFailure, ExternalError, Phase};
pub use http_speech_api::HttpSpeechApi;
pub use http2_connection_pool_manager::Http2ConnectionPoolManager;
pub use in_memory_quota_ledger::InMemoryQuotaLedger;
pub use model::{
    AnswerFormat, AudioFormat, BaseUrl, CapabilityTable, Cost, Delivery, Dimension, DimensionView,
    HttpRequest, HttpResponse, Lane, LanguageCode, LanguageHints, ModelCapabilities, ModelId, Observation,
    Origin, OriginStats, PlainHttp, PoolStats, Processed, QuotaScope, QuotaView, RateLimit, ResetMeaning,
    SeenLimit, SeenLimits, SeenOutcome, Speakers, SpeechAudio, SpeechEvent, SpeechEventSource, SpeechEvents,
    SpeechRequest, SpeechResponse, StopCause, StreamedPart, Support, ThrottleCause, TimedSegment, TimedWord,
    Timestamps, Timing, TimingNeed, Usage,
};
pub use ports::{
    Answer, Charge, ChargeMark, Charged, Endpoint, HttpLink, HttpTransport, LinkError, LinkPhase, LinkState,
    LogPosition, LogSnapshot, LogTail, LoggedEvent, Protocol, QuotaLedger, QuotaLog, ReplayCause,
    SpeechDialect,
};
pub use rate_limit_handler::{PermitHome, QuotaAnswer, QuotaPermit, RateLimitHandler, Sent};
pub use secrecy::SecretString;
pub use shared_quota_ledger::{SharedQuotaConfig, SharedQuotaLedger};
pub use speech_api::SpeechApi;
