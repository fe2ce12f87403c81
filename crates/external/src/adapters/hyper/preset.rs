//! The usual composition: OpenAI's dialect, adaptive quota, pooled connections, hyper.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use wavequill_kernel::SystemClock;

use super::{HyperConfig, HyperHttpTransport};
use crate::adaptive_rate_limit_handler::AdaptiveRateLimitHandler;
use crate::config::{ConnectionPoolConfig, RateLimitConfig, SpeechApiConfig};
use crate::dialect::openai::{OpenAiDialect, OpenAiFlavor};
use crate::error::ExternalError;
use crate::http_speech_api::HttpSpeechApi;
use crate::http2_connection_pool_manager::Http2ConnectionPoolManager;
use crate::in_memory_quota_ledger::InMemoryQuotaLedger;
use crate::model::origin::BaseUrl;

/// Everything that [`HttpSpeechApi::over_hyper`] is made of.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct HyperSpeechApiConfig {
    /// The API.
    pub api: SpeechApiConfig,
    /// Which of the APIs of OpenAI's dialect it is. Default: [`OpenAiFlavor::Standard`].
    #[serde(default)]
    pub flavor: OpenAiFlavor,
    /// What is known of the quota. Default: nothing, it is learned.
    #[serde(default)]
    pub quota: RateLimitConfig,
    /// The connections.
    #[serde(default)]
    pub pool: ConnectionPoolConfig,
    /// How connections are opened.
    #[serde(default)]
    pub hyper: HyperConfig,
}

impl HyperSpeechApiConfig {
    /// The defaults for an API.
    pub fn new(base_url: BaseUrl) -> Self {
        Self {
            api: SpeechApiConfig::new(base_url),
            flavor: OpenAiFlavor::default(),
            quota: RateLimitConfig::default(),
            pool: ConnectionPoolConfig::default(),
            hyper: HyperConfig::default(),
        }
    }

    /// Sets how the API is reached.
    #[must_use]
    pub fn with_api(mut self, api: SpeechApiConfig) -> Self {
        self.api = api;
        self
    }

    /// Sets which of the APIs of OpenAI's dialect it is.
    #[must_use]
    pub fn with_flavor(mut self, flavor: OpenAiFlavor) -> Self {
        self.flavor = flavor;
        self
    }

    /// Sets what is known of the quota.
    #[must_use]
    pub fn with_quota(mut self, quota: RateLimitConfig) -> Self {
        self.quota = quota;
        self
    }

    /// Sets the bounds of the connections.
    #[must_use]
    pub fn with_pool(mut self, pool: ConnectionPoolConfig) -> Self {
        self.pool = pool;
        self
    }

    /// Sets how connections are opened.
    #[must_use]
    pub fn with_hyper(mut self, hyper: HyperConfig) -> Self {
        self.hyper = hyper;
        self
    }
}

impl HttpSpeechApi {
    /// An API of OpenAI's dialect, with the quota of this process alone, on the system's clock.
    ///
    /// # Errors
    /// [`InvalidConfig`](ExternalError::InvalidConfig).
    pub fn over_hyper(config: HyperSpeechApiConfig) -> Result<Self, ExternalError> {
        let HyperSpeechApiConfig { api, flavor, quota, pool, hyper } = config;
        let transport = Arc::new(HyperHttpTransport::new(hyper)?);
        let pool = Arc::new(Http2ConnectionPoolManager::new(pool, transport)?);
        let ledger = Arc::new(InMemoryQuotaLedger::new(quota)?);
        let quota = Arc::new(AdaptiveRateLimitHandler::new(ledger));
        Self::new(api, Arc::new(OpenAiDialect::new(flavor)), quota, pool, Arc::new(SystemClock))
    }
}
