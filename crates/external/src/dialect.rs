//! How providers speak: one file a family of APIs.

pub(crate) mod deepgram;
pub(crate) mod openai;
pub(crate) mod transcript;

use http::header::{ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, CONTENT_TYPE, USER_AGENT};
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue};
use secrecy::{ExposeSecret, SecretString};

use crate::error::ExternalError;
use crate::model::request::{Delivery, SpeechRequest};
use crate::multipart::random_hex;

/// Headers that all requests have.
fn headers(content_type: &str, request: &SpeechRequest) -> Result<HeaderMap, ExternalError> {
    let mut headers = HeaderMap::new();
    let content_type = HeaderValue::from_str(content_type);
    headers.insert(CONTENT_TYPE, content_type.map_err(|_| invalid("audio format", "it is no media type"))?);
    let accept = match request.delivery {
        Delivery::Whole => "application/json",
        Delivery::Events => "text/event-stream, application/json",
    };
    headers.insert(ACCEPT, HeaderValue::from_static(accept));
    headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    headers.insert(USER_AGENT, HeaderValue::from_static(concat!("wavequill/", env!("CARGO_PKG_VERSION"))));
    let key = request.idempotency_key.clone().unwrap_or_else(random_hex);
    let key = HeaderValue::from_str(&key);
    let key = key.map_err(|_| invalid("idempotency key", "only visible ASCII characters can be sent"))?;
    headers.insert(HeaderName::from_static("idempotency-key"), key);
    Ok(headers)
}

/// Puts a key into a header that is never shown.
fn authorize(headers: &mut HeaderMap, scheme: &str, key: Option<&SecretString>) -> Result<(), ExternalError> {
    let Some(key) = key else { return Ok(()) };
    let value = HeaderValue::from_str(&format!("{scheme} {}", key.expose_secret().trim()));
    let mut value =
        value.map_err(|_| invalid("key", "it holds characters that cannot be sent, such as a line end"))?;
    value.set_sensitive(true);
    headers.insert(AUTHORIZATION, value);
    Ok(())
}

fn path(text: &str) -> Result<PathAndQuery, ExternalError> {
    text.parse().map_err(|_| invalid("base URL", "its path cannot be sent"))
}

fn invalid(field: &'static str, reason: &str) -> ExternalError {
    ExternalError::InvalidRequest { field, reason: reason.to_owned() }
}
