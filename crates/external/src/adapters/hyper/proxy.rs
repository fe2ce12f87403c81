//! Connections through an HTTP proxy: a tunnel by CONNECT (RFC 9110 §9.3.6), so that the proxy sees no request.

use std::io;
use std::sync::Arc;

use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use wavequill_kernel::InvalidValue;

use super::{AddressPolicy, HyperConfig, dial};
use crate::error::{ConnectFailure, ExternalError, Phase};
use crate::metrics::TransportMetrics;
use crate::model::http::Processed;
use crate::model::origin::{BaseUrl, Origin};

/// The most bytes of a proxy's answer.
const MAX_HEAD: usize = 8 * 1024;

/// An HTTP proxy that connections go through, but for those to this machine. It resolves the names.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct HttpProxy {
    /// Where it is: `http://host:port`.
    pub url: BaseUrl,
    /// Whom it knows this client as. Default: nobody.
    #[serde(default)]
    pub user: Option<String>,
    /// The user's password. It is never written out. Default: none.
    #[serde(default, skip_serializing)]
    pub password: Option<SecretString>,
}

impl HttpProxy {
    /// A proxy that asks for no password.
    pub fn new(url: BaseUrl) -> Self {
        Self { url, user: None, password: None }
    }

    /// Sets the user and the password.
    #[must_use]
    pub fn with_credentials(mut self, user: impl Into<String>, password: SecretString) -> Self {
        self.user = Some(user.into());
        self.password = Some(password);
        self
    }

    pub(super) fn check(&self) -> Result<(), InvalidValue> {
        if self.url.origin().is_https() {
            return Err(InvalidValue::new("proxy", &self.url, "http://host:port"));
        }
        if self.user.as_ref().is_some_and(|user| user.contains(':')) {
            return Err(InvalidValue::new("proxy user", "one with a colon", "one without"));
        }
        Ok(())
    }

    fn authorization(&self) -> String {
        let Some(user) = &self.user else { return String::new() };
        let password = self.password.as_ref().map_or("", |password| password.expose_secret());
        format!("Proxy-Authorization: Basic {}\r\n", base64(format!("{user}:{password}").as_bytes()))
    }
}

impl PartialEq for HttpProxy {
    fn eq(&self, other: &Self) -> bool {
        let secret =
            |proxy: &Self| proxy.password.as_ref().map(|password| password.expose_secret().to_owned());
        self.url == other.url && self.user == other.user && secret(self) == secret(other)
    }
}

impl Eq for HttpProxy {}

/// A connection to `origin` through the proxy.
pub(super) async fn tunnel(
    proxy: &HttpProxy,
    origin: &Origin,
    config: &HyperConfig,
    metrics: &TransportMetrics,
) -> Result<TcpStream, ExternalError> {
    // Proxies are on private networks as a rule, and this one was named.
    let near = HyperConfig { addresses: AddressPolicy::Any, ..config.clone() };
    let mut tcp = dial::dial(proxy.url.origin(), &near, metrics).await?;
    let asked = timeout(config.connect, connect(&mut tcp, proxy, origin)).await;
    asked
        .map_err(|_| {
            let (phase, after, processed) = (Phase::Connect, config.connect, Processed::No);
            ExternalError::Timeout { phase, after, processed }
        })?
        .map_err(|source| {
            let (origin, failure) = (origin.clone(), ConnectFailure::Proxy);
            ExternalError::Connect { origin, failure, source: Arc::new(source) }
        })?;
    Ok(tcp)
}

async fn connect(tcp: &mut TcpStream, proxy: &HttpProxy, origin: &Origin) -> io::Result<()> {
    let to = format!("{}:{}", origin.host(), origin.port());
    let head = format!("CONNECT {to} HTTP/1.1\r\nHost: {to}\r\n{}\r\n", proxy.authorization());
    tcp.write_all(head.as_bytes()).await?;
    let mut answer = Vec::new();
    // Byte by byte: what follows the head is the tunnel's.
    while !answer.ends_with(b"\r\n\r\n") {
        if answer.len() >= MAX_HEAD {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the proxy's answer has no end"));
        }
        answer.push(tcp.read_u8().await?);
    }
    match status(&answer) {
        Some(200..=299) => Ok(()),
        Some(407) => {
            Err(io::Error::new(io::ErrorKind::PermissionDenied, "the proxy wants other credentials (407)"))
        }
        Some(status) => Err(io::Error::other(format!("the proxy refused the tunnel ({status})"))),
        None => Err(io::Error::new(io::ErrorKind::InvalidData, "the proxy does not speak HTTP")),
    }
}

fn status(head: &[u8]) -> Option<u16> {
    let line = std::str::from_utf8(head.split(|byte| *byte == b'\r').next()?).ok()?;
    let mut words = line.split(' ');
    words.next().filter(|version| version.starts_with("HTTP/1."))?;
    words.next()?.parse().ok()
}

/// RFC 4648 §4.
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for group in bytes.chunks(3) {
        let bits =
            group.iter().fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - group.len()));
        for place in 0..4 {
            let digit = DIGITS.get((bits >> (18 - 6 * place)) as usize & 63).copied().unwrap_or(b'=');
            out.push(if place <= group.len() { char::from(digit) } else { '=' });
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_that_of_the_standard() {
        let table = [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy")];
        for (plain, coded) in table {
            assert_eq!(base64(plain.as_bytes()), coded);
        }
        assert_eq!(base64(&[0xff, 0xfe, 0xfb]), "//77");
    }

    #[test]
    fn the_status_is_read_from_http_alone() {
        let table: [(&[u8], Option<u16>); 5] = [
            (b"HTTP/1.1 200 Connection established\r\n\r\n", Some(200)),
            (b"HTTP/1.0 407\r\n\r\n", Some(407)),
            (b"SSH-2.0-x\r\n\r\n", None),
            (b"HTTP/1.1 abc\r\n\r\n", None),
            (b"\xff\r\n\r\n", None),
        ];
        for (head, expected) in table {
            assert_eq!(status(head), expected);
        }
    }

    #[test]
    fn a_password_is_not_shown() {
        let proxy = HttpProxy::new("http://10.0.0.1:3128".parse().unwrap());
        let proxy = proxy.with_credentials("me", "marker".to_owned().into());
        assert!(!format!("{proxy:?}").contains("marker"));
        assert_eq!(proxy.authorization(), "Proxy-Authorization: Basic bWU6bWFya2Vy\r\n");
    }
}
