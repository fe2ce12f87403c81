#![doc = include_str!("../README.md")]

mod adapters;
mod body;
mod config;
mod connection_pool_manager;
mod error;
mod http2_connection_pool_manager;
mod metrics;
mod model;
mod ports;
mod rate_limit_handler;
mod speech_api;
#[cfg(feature = "testing")]
pub mod testing;

#[cfg(feature = "hyper")]
pub use adapters::hyper::{AddressPolicy, Http2Use, HyperConfig, HyperHttpTransport, TrustedRoots};
pub use body::{BodyReader, ChainBody, FileRange, ReplayBody};
pub use config::{ConnectionPoolConfig, RateLimitConfig, SpeechApiConfig, UnknownModels};
pub use connection_pool_manager::{ConnectionPoolManager, StreamPermit};
pub use error::{ConnectFailure, ExternalError, Phase};
pub use http2_connection_pool_manager::Http2ConnectionPoolManager;
pub use model::audio::{AudioFormat, SpeechAudio};
pub use model::capabilities::{
    AnswerFormat, CapabilityTable, LanguageHints, ModelCapabilities, ModelId, Support,
};
pub use model::http::{HttpRequest, HttpResponse, Processed};
pub use model::language::LanguageCode;
pub use model::origin::{BaseUrl, Origin, PlainHttp};
pub use model::pool::{OriginStats, PoolStats};
pub use model::quota::{
    Cost, Dimension, DimensionView, Lane, Observation, QuotaScope, QuotaView, RateLimit, ResetMeaning,
    SeenLimit, SeenLimits, SeenOutcome, StopCause, ThrottleCause,
};
pub use model::request::{Speakers, SpeechRequest, Timestamps, TimingNeed};
pub use model::response::{SpeechResponse, TimedSegment, TimedWord, Timing, Usage};
pub use ports::{
    Answer, Charge, ChargeMark, Charged, Endpoint, HttpLink, HttpTransport, LinkError, LinkPhase, LinkState,
    Protocol, QuotaLedger, ReplayCause, SpeechDialect,
};
pub use rate_limit_handler::{PermitHome, QuotaAnswer, QuotaPermit, RateLimitHandler, Sent};
pub use secrecy::SecretString;
pub use speech_api::SpeechApi;
