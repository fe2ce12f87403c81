//! The error bodies of all APIs, read into one shape.

use bytes::Bytes;
use serde_json::Value;

use super::redact;

/// What an error body says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ErrorBody {
    /// What is said to people; keys blotted out.
    pub(crate) message: String,
    /// Names of the error, the most telling first: code, status, type.
    pub(crate) codes: Vec<String>,
    /// A status inside the body, which counts where the outer one says that all is well.
    pub(crate) status: Option<u16>,
}

impl ErrorBody {
    /// The most telling name.
    pub(crate) fn code(&self) -> Option<&str> {
        self.codes.first().map(String::as_str)
    }

    /// Whether one of the names is among these.
    pub(crate) fn is_any(&self, names: &[&str]) -> bool {
        self.codes.iter().any(|code| names.contains(&code.as_str()))
    }
}

/// Reads a body of any form; one that is not JSON is its own message.
pub(crate) fn parse(body: &Bytes) -> ErrorBody {
    match serde_json::from_slice::<Value>(body) {
        Ok(value) => read(&value).unwrap_or_default(),
        Err(_) => plain(&String::from_utf8_lossy(body.get(..4096).unwrap_or(body))),
    }
}

/// An error inside a body that came with a success, if there is one.
pub(crate) fn hidden(value: &Value) -> Option<ErrorBody> {
    let object = value.as_object()?;
    let status = status_of(value).filter(|status| *status >= 400);
    let error = object.get("error").is_some_and(|error| !error.is_null());
    if !error && (status.is_none() || object.contains_key("text")) {
        return None;
    }
    let mut body = read(value).unwrap_or_default();
    body.status = status;
    Some(body)
}

fn plain(text: &str) -> ErrorBody {
    let text = text.trim();
    // A page of a proxy says nothing that its status does not.
    let page = text.starts_with('<');
    ErrorBody { message: if page { String::new() } else { redact::message(text) }, ..ErrorBody::default() }
}

fn read(value: &Value) -> Option<ErrorBody> {
    match value {
        Value::String(text) => Some(plain(text)),
        Value::Object(object) => {
            let inner =
                ["error", "detail"].iter().find_map(|name| object.get(*name).filter(|v| !v.is_null()));
            match inner {
                Some(inner @ (Value::Object(_) | Value::Array(_))) => read(inner),
                Some(Value::String(text)) => Some(with_names(value, text)),
                _ => Some(with_names(value, "")),
            }
        }
        Value::Array(items) => items.first().map(item),
        _ => None,
    }
}

/// FastAPI's validation errors: where and what, not the input itself, which may be the prompt.
fn item(value: &Value) -> ErrorBody {
    let place: Vec<_> = value
        .get("loc")
        .and_then(Value::as_array)
        .map(|parts| parts.iter().filter_map(Value::as_str).filter(|part| *part != "body").collect())
        .unwrap_or_default();
    let said = text_of(value, "msg").or_else(|| text_of(value, "message")).unwrap_or_default();
    let said = if place.is_empty() { said.to_owned() } else { format!("{}: {said}", place.join(".")) };
    ErrorBody { message: redact::message(&said), codes: names(value), status: None }
}

fn with_names(value: &Value, text: &str) -> ErrorBody {
    let said =
        ["message", "err_msg", "title", "error_description"].iter().find_map(|name| text_of(value, name));
    let details = text_of(value, "details").or_else(|| text_of(value, "detail"));
    let mut message = if text.is_empty() { said.or(details).unwrap_or_default() } else { text }.to_owned();
    if text.is_empty()
        && let (Some(said), Some(details)) = (said, details)
        && said != details
    {
        message = format!("{said}: {details}");
    }
    ErrorBody { message: redact::message(&message), codes: names(value), status: None }
}

fn names(value: &Value) -> Vec<String> {
    let mut names = Vec::new();
    for field in ["code", "err_code", "error_code", "status", "category", "type"] {
        let name = match value.get(field) {
            Some(Value::String(text)) => text.rsplit(['/', '#']).next().unwrap_or(text).to_owned(),
            Some(Value::Number(number)) => number.to_string(),
            _ => continue,
        };
        if !name.is_empty() && name != "null" && name.len() <= 100 {
            names.push(redact::message(&name));
        }
    }
    names
}

fn text_of<'a>(value: &'a Value, name: &str) -> Option<&'a str> {
    value.get(name).and_then(Value::as_str).filter(|text| !text.is_empty() && *text != "null")
}

fn status_of(value: &Value) -> Option<u16> {
    let status = value.get("status_code").or_else(|| value.get("status"))?;
    let status = status.as_u64()?;
    u16::try_from(status).ok().filter(|status| (100..600).contains(status))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_error_body_is_read() {
        for (body, code, message) in [
            (
                r#"{"error":{"message":"Rate limit reached","type":"requests","param":"null","code":"rate_limit_exceeded"}}"#,
                Some("rate_limit_exceeded"),
                "Rate limit reached",
            ),
            (r#"{"error":{"message":"slow down","type":"x","code":"429"}}"#, Some("429"), "slow down"),
            (r#"{"error":"it broke"}"#, None, "it broke"),
            (r#"{"detail":"Not Found"}"#, None, "Not Found"),
            (r#"{"detail":{"error":{"message":"m","code":"c"}}}"#, Some("c"), "m"),
            (
                r#"{"detail":[{"type":"missing","loc":["body","file"],"msg":"Field required","input":"SECRET PROMPT"}]}"#,
                Some("missing"),
                "file: Field required",
            ),
            (r#"{"detail":{"status":"system_busy","message":"busy"}}"#, Some("system_busy"), "busy"),
            (
                r#"{"err_code":"Bad Request","err_msg":"no audio","request_id":"r"}"#,
                Some("Bad Request"),
                "no audio",
            ),
            (
                r#"{"category":"TOO_MANY","message":"m","details":"d","request_id":"r"}"#,
                Some("TOO_MANY"),
                "m: d",
            ),
            (r#"{"status":400,"title":"Bad","detail":"why"}"#, Some("400"), "why"),
            (r#"{"error_code":"audio_too_short","message":"short"}"#, Some("audio_too_short"), "short"),
            (
                r#"{"type":"https://iana.org/assignments/http-problem-types#quota-exceeded","title":"Quota"}"#,
                Some("quota-exceeded"),
                "Quota",
            ),
            ("Internal Server Error", None, "Internal Server Error"),
            ("<html><body>502</body></html>", None, ""),
            ("", None, ""),
            ("[]", None, ""),
            ("null", None, ""),
        ] {
            let read = parse(&Bytes::from(body.to_owned()));
            assert_eq!((read.code(), read.message.as_str()), (code, message), "{body}");
        }
    }

    #[test]
    fn an_error_that_comes_as_a_success_is_found() {
        let found = |body: &str| hidden(&serde_json::from_str(body).unwrap());
        assert_eq!(found(r#"{"status_code":400,"detail":"bad"}"#).unwrap().status, Some(400));
        assert_eq!(found(r#"{"error":{"message":"m"}}"#).unwrap().message, "m");
        assert_eq!(found(r#"{"text":"hello","error":null}"#), None);
        assert_eq!(found(r#"{"text":"hello","status":500}"#), None);
    }
}
