//! Where an API lives: scheme, host and port, and the path under which its endpoints hang.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use url::{Host, Url};
use wavequill_kernel::InvalidValue;

/// Scheme, host and port: what a connection is opened to.
///
/// ```
/// use wavequill_external::Origin;
///
/// let origin: Origin = "https://api.openai.com".parse()?;
/// assert_eq!((origin.host(), origin.port(), origin.is_https()), ("api.openai.com", 443, true));
/// assert!("ftp://example.org".parse::<Origin>().is_err());
/// # Ok::<(), wavequill_kernel::InvalidValue>(())
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Origin {
    https: bool,
    host: Arc<str>,
    port: u16,
}

impl Origin {
    /// The origin of a URL.
    ///
    /// # Errors
    /// [`InvalidValue`] if the scheme is neither `http` nor `https`, or there is no host.
    pub fn of(url: &Url) -> Result<Self, InvalidValue> {
        let https = match url.scheme() {
            "https" => true,
            "http" => false,
            other => return Err(InvalidValue::new("scheme", other, "http or https")),
        };
        let host = url.host_str().filter(|host| !host.is_empty());
        let (Some(host), Some(port)) = (host, url.port_or_known_default()) else {
            return Err(InvalidValue::new("url", format!("{:?}", url.scheme()), "a URL with a host"));
        };
        Ok(Self { https, host: host.into(), port })
    }

    /// Whether connections are encrypted.
    pub fn is_https(&self) -> bool {
        self.https
    }

    /// The host name, or the address in its URL form (IPv6 in brackets).
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port, also where the URL left it out.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The address, if the host is one.
    pub fn ip(&self) -> Option<IpAddr> {
        self.host.trim_start_matches('[').trim_end_matches(']').parse().ok()
    }

    /// Whether the host is this machine by its name or address: `localhost`, `127.0.0.0/8`, `::1`.
    pub fn is_loopback(&self) -> bool {
        match self.ip() {
            Some(ip) => ip.is_loopback(),
            None => self.host.as_ref() == "localhost" || self.host.ends_with(".localhost"),
        }
    }

    /// `host` or `host:port`, as the `Host` header wants it.
    pub fn authority(&self) -> String {
        let default = if self.https { 443 } else { 80 };
        if self.port == default { self.host.to_string() } else { format!("{}:{}", self.host, self.port) }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.https { "https" } else { "http" };
        write!(f, "{scheme}://{}", self.authority())
    }
}

impl fmt::Debug for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Origin({self})")
    }
}

impl FromStr for Origin {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        let url = Url::parse(text).map_err(|_| InvalidValue::new("url", format!("{text:?}"), "a URL"))?;
        Self::of(&url)
    }
}

/// Whether requests may go over plain `http`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PlainHttp {
    /// Only to this machine.
    #[default]
    Loopback,
    /// To any host: the key and the audio can be read by everybody on the way.
    Anywhere,
}

/// The root of an API, such as `https://api.openai.com/v1`: an [`Origin`] and a path.
///
/// A URL with a user, a password, a query or a fragment is refused: a key does not belong in a URL, which is logged.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct BaseUrl {
    origin: Origin,
    path: String,
}

impl BaseUrl {
    /// Reads a URL such as `http://127.0.0.1:8000/v1`.
    ///
    /// # Errors
    /// [`InvalidValue`] if it is no `http` or `https` URL, or has a user, a password, a query or a fragment.
    pub fn new(text: &str) -> Result<Self, InvalidValue> {
        let refuse = |expected: &'static str| InvalidValue::new("base URL", redacted(text), expected);
        let url = Url::parse(text.trim())
            .map_err(|_| refuse("a URL such as https://api.openai.com/v1 or http://127.0.0.1:8000/v1"))?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err(refuse("without user and password: give the key on its own"));
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(refuse("without `?` and `#`: the path alone"));
        }
        if matches!(url.host(), Some(Host::Domain(""))) {
            return Err(refuse("a URL with a host"));
        }
        let path = url.path().trim_end_matches('/').to_owned();
        Ok(Self { origin: Origin::of(&url)?, path })
    }

    /// Where connections go.
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// The path without a slash at its end; empty for the root.
    pub fn path(&self) -> &str {
        &self.path
    }
}

/// A refused URL may hold a password: what stands before the `@` and after the `?` is not repeated.
fn redacted(text: &str) -> String {
    let start = text.find("://").map_or(0, |at| at + 3);
    let (scheme, rest) = text.split_at(start);
    let rest = rest.rsplit_once('@').map_or_else(|| rest.to_owned(), |(_, host)| format!("***@{host}"));
    let rest = rest.split_once('?').map_or_else(|| rest.clone(), |(path, _)| format!("{path}?***"));
    format!("{:?}", format!("{scheme}{rest}"))
}

impl fmt::Display for BaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.origin, self.path)
    }
}

impl fmt::Debug for BaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BaseUrl({self})")
    }
}

impl FromStr for BaseUrl {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        Self::new(text)
    }
}

impl TryFrom<String> for BaseUrl {
    type Error = InvalidValue;

    fn try_from(text: String) -> Result<Self, InvalidValue> {
        Self::new(&text)
    }
}

impl From<BaseUrl> for String {
    fn from(url: BaseUrl) -> Self {
        url.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_base_url_keeps_its_path_and_its_port() {
        let url = BaseUrl::new("http://127.0.0.1:8000/v1/").unwrap();
        assert_eq!(url.to_string(), "http://127.0.0.1:8000/v1");
        assert_eq!(url.path(), "/v1");
        assert!(url.origin().is_loopback());
        assert_eq!(url.origin().authority(), "127.0.0.1:8000");
    }

    #[test]
    fn a_password_in_a_url_is_refused_and_not_repeated() {
        let refused = BaseUrl::new("https://me:hunter2@example.org/v1?key=hunter3").unwrap_err().to_string();
        assert!(!refused.contains("hunter"), "{refused}");
        assert!(refused.contains("example.org"), "{refused}");
    }

    #[test]
    fn loopback_is_known_by_name_and_by_address() {
        for (url, expected) in [
            ("http://localhost:1", true),
            ("http://api.localhost", true),
            ("http://127.8.8.8", true),
            ("http://[::1]:8080", true),
            ("http://10.0.0.1", false),
            ("http://localhost.example.org", false),
        ] {
            assert_eq!(url.parse::<Origin>().unwrap().is_loopback(), expected, "{url}");
        }
    }

    #[test]
    fn what_is_no_url_is_refused_with_an_example() {
        let refused = BaseUrl::new("api.openai.com/v1").unwrap_err().to_string();
        assert!(refused.contains("https://api.openai.com/v1"), "{refused}");
    }
}
