//! [`HttpTransport`] on hyper: HTTP/1.1, and HTTP/2 by ALPN or by prior knowledge; TLS by rustls.
//!
//! It opens links and drives them; it does not decide how many there are, nor what is sent again.

mod body;
mod dial;
mod h1;
mod h2;
pub(crate) mod preset;
pub(crate) mod proxy;
mod tls;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use hyper_util::rt::TokioIo;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;
use wavequill_kernel::InvalidValue;

use self::proxy::HttpProxy;
use crate::error::ExternalError;
use crate::metrics::TransportMetrics;
use crate::model::origin::Origin;
use crate::ports::{HttpLink, HttpTransport};

/// When HTTP/2 is spoken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Http2Use {
    /// Over TLS if the server chooses it (ALPN); never over plain connections.
    #[default]
    Negotiated,
    /// Always, also over plain connections (h2c), without asking.
    PriorKnowledge,
    /// Never.
    Never,
}

/// Which addresses a host's name may lead to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AddressPolicy {
    /// Public ones. Where the URL holds an address, or the name of this machine, that is what was meant and is allowed.
    #[default]
    Public,
    /// Any: private, link-local and loopback ones too.
    Any,
}

/// Which certificates are trusted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TrustedRoots {
    /// Those that Mozilla ships (`webpki-roots`).
    #[default]
    Mozilla,
    /// Those in this PEM text alone.
    Pem(String),
    /// Mozilla's, and those in this PEM text.
    MozillaAndPem(String),
}

/// How [`HyperHttpTransport`] opens and drives connections.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct HyperConfig {
    /// When HTTP/2 is spoken. Default: [`Http2Use::Negotiated`].
    pub http2: Http2Use,
    /// Which addresses a name may lead to. Default: [`AddressPolicy::Public`].
    pub addresses: AddressPolicy,
    /// Which certificates are trusted. Default: [`TrustedRoots::Mozilla`].
    pub roots: TrustedRoots,
    /// The proxy that connections go through. Default: none.
    pub proxy: Option<HttpProxy>,
    /// The time for resolving the name. Default: 5 s.
    pub dns: Duration,
    /// The time for the TCP connection. Default: 5 s.
    pub connect: Duration,
    /// The time for agreeing on TLS, and on HTTP/2's preface. Default: 10 s.
    pub tls: Duration,
    /// How often an HTTP/2 connection with streams is pinged. Default: 20 s.
    pub ping_interval: Duration,
    /// How long the answer to a ping may take before the connection is given up. Default: 10 s.
    pub ping_timeout: Duration,
    /// The most bytes that a peer may send on an HTTP/2 connection before they are read. Default: 64 MiB.
    pub connection_window_bytes: u32,
    /// The most bytes that a peer may send on a stream before they are read. Default: 2 MiB.
    pub stream_window_bytes: u32,
    /// The most bytes of an answer's headers. Default: 16 KiB.
    pub max_header_bytes: u32,
}

impl Default for HyperConfig {
    fn default() -> Self {
        Self {
            http2: Http2Use::default(),
            addresses: AddressPolicy::default(),
            roots: TrustedRoots::default(),
            proxy: None,
            dns: Duration::from_secs(5),
            connect: Duration::from_secs(5),
            tls: Duration::from_secs(10),
            ping_interval: Duration::from_secs(20),
            ping_timeout: Duration::from_secs(10),
            connection_window_bytes: 64 * 1024 * 1024,
            stream_window_bytes: 2 * 1024 * 1024,
            max_header_bytes: 16 * 1024,
        }
    }
}

impl HyperConfig {
    /// Sets when HTTP/2 is spoken.
    #[must_use]
    pub fn with_http2(mut self, http2: Http2Use) -> Self {
        self.http2 = http2;
        self
    }

    /// Sets which addresses a name may lead to.
    #[must_use]
    pub fn with_addresses(mut self, addresses: AddressPolicy) -> Self {
        self.addresses = addresses;
        self
    }

    /// Sets which certificates are trusted.
    #[must_use]
    pub fn with_roots(mut self, roots: TrustedRoots) -> Self {
        self.roots = roots;
        self
    }

    /// Sets the proxy that connections go through.
    #[must_use]
    pub fn with_proxy(mut self, proxy: HttpProxy) -> Self {
        self.proxy = Some(proxy);
        self
    }

    fn check(&self) -> Result<(), InvalidValue> {
        self.proxy.as_ref().map_or(Ok(()), HttpProxy::check)?;
        for (name, time) in [
            ("dns", self.dns),
            ("connect", self.connect),
            ("tls", self.tls),
            ("ping_interval", self.ping_interval),
            ("ping_timeout", self.ping_timeout),
        ] {
            if time.is_zero() {
                return Err(InvalidValue::new(name, "0 s", "above zero"));
            }
        }
        // RFC 9113 §6.9.1.
        let largest = (1_u32 << 31) - 1;
        for (name, bytes) in [
            ("connection_window_bytes", self.connection_window_bytes),
            ("stream_window_bytes", self.stream_window_bytes),
        ] {
            if !(65_535..=largest).contains(&bytes) {
                return Err(InvalidValue::new(name, bytes, "65535 to 2147483647"));
            }
        }
        if self.max_header_bytes < 8192 {
            return Err(InvalidValue::new("max_header_bytes", self.max_header_bytes, "at least 8192"));
        }
        Ok(())
    }
}

/// Opens connections with hyper.
#[derive(Clone)]
pub struct HyperHttpTransport {
    config: HyperConfig,
    tls: TlsConnector,
    metrics: TransportMetrics,
}

impl std::fmt::Debug for HyperHttpTransport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HyperHttpTransport").field("config", &self.config).finish_non_exhaustive()
    }
}

impl HyperHttpTransport {
    /// Checks the configuration and reads the roots.
    ///
    /// # Errors
    /// [`InvalidConfig`](ExternalError::InvalidConfig) if a value or the PEM text makes no sense.
    pub fn new(config: HyperConfig) -> Result<Self, ExternalError> {
        config.check()?;
        let tls = tls::connector(&config)?;
        Ok(Self { config, tls, metrics: TransportMetrics::register() })
    }

    async fn handshake<T>(
        &self,
        io: T,
        origin: &Origin,
        http2: bool,
    ) -> Result<Arc<dyn HttpLink>, ExternalError>
    where
        T: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let io = TokioIo::new(io);
        if http2 {
            Ok(Arc::new(h2::H2Link::open(io, origin, &self.config).await?))
        } else {
            Ok(Arc::new(h1::H1Link::open(io, origin, &self.config).await?))
        }
    }
}

#[async_trait]
impl HttpTransport for HyperHttpTransport {
    async fn connect(&self, origin: &Origin) -> Result<Arc<dyn HttpLink>, ExternalError> {
        let tcp = match &self.config.proxy {
            Some(proxy) if !origin.is_loopback() => {
                proxy::tunnel(proxy, origin, &self.config, &self.metrics).await?
            }
            _ => dial::dial(origin, &self.config, &self.metrics).await?,
        };
        if !origin.is_https() {
            return self.handshake(tcp, origin, self.config.http2 == Http2Use::PriorKnowledge).await;
        }
        let (tls, http2) = tls::wrap(&self.tls, tcp, origin, &self.config, &self.metrics).await?;
        self.handshake(tls, origin, http2).await
    }
}
