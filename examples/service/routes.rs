//! What each path answers.

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::header::{ACCEPT, ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use serde_json::json;
use wavequill::monitoring::Format;
use wavequill::processing::OutputFormat;
use wavequill::{Source, Wavequill, WavequillError};

use crate::live_page;

pub(crate) type Answer = Response<Full<Bytes>>;

/// Answers requests.
#[derive(Debug)]
pub(crate) struct Routes {
    wavequill: Wavequill,
    max_upload_bytes: usize,
}

impl Routes {
    pub(crate) fn new(wavequill: Wavequill, max_upload_bytes: usize) -> Self {
        Self { wavequill, max_upload_bytes }
    }

    pub(crate) async fn answer(&self, request: Request<Incoming>) -> Answer {
        let allowed = match request.uri().path() {
            "/transcripts" => Method::POST,
            "/" | "/metrics" | "/health" => Method::GET,
            _ => {
                return problem(StatusCode::NOT_FOUND, "there are /, /transcripts, /metrics and /health");
            }
        };
        if request.method() != allowed {
            let mut answer = problem(StatusCode::METHOD_NOT_ALLOWED, &format!("use {allowed}"));
            if let Ok(value) = HeaderValue::from_str(allowed.as_str()) {
                answer.headers_mut().insert(ALLOW, value);
            }
            return answer;
        }
        match request.uri().path() {
            "/transcripts" => self.transcribe(request).await,
            "/metrics" => self.metrics(&request),
            "/health" => self.health(),
            _ => self.live(),
        }
    }

    /// The body is a recording; the query may say `name=` and `format=json|srt|vtt|txt`.
    async fn transcribe(&self, request: Request<Incoming>) -> Answer {
        let query = request.uri().query().unwrap_or_default().to_owned();
        let field = |wanted: &str| {
            let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
            pairs.into_iter().find(|(name, _)| *name == wanted).map(|(_, value)| value)
        };
        let (format, content_type) = match field("format").unwrap_or("json") {
            "json" => (OutputFormat::VerboseJson, "application/json"),
            "srt" => (OutputFormat::Srt, "application/x-subrip; charset=utf-8"),
            "vtt" => (OutputFormat::Vtt, "text/vtt; charset=utf-8"),
            "txt" => (OutputFormat::Text, "text/plain; charset=utf-8"),
            _ => return problem(StatusCode::BAD_REQUEST, "format is json, srt, vtt or txt"),
        };
        let name = field("name").unwrap_or("upload").to_owned();
        let body = match Limited::new(request.into_body(), self.max_upload_bytes).collect().await {
            Ok(body) => body.to_bytes(),
            Err(error) if error.is::<LengthLimitError>() => {
                let most = format!("an upload may have {} bytes", self.max_upload_bytes);
                return problem(StatusCode::PAYLOAD_TOO_LARGE, &most);
            }
            Err(error) => return problem(StatusCode::BAD_REQUEST, &format!("the upload broke off: {error}")),
        };
        let transcript = match self.wavequill.transcribe(Source::bytes(name, body)).await {
            Ok(accepted) => accepted.await,
            Err(error) => Err(error),
        };
        match transcript {
            Ok(transcript) => answer(StatusCode::OK, content_type, format.render(&transcript)),
            Err(error) => problem(status(&error), &format!("{:#}", anyhow::Error::from(error))),
        }
    }

    fn metrics(&self, request: &Request<Incoming>) -> Answer {
        let accept = request.headers().get(ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or("");
        let format = Format::negotiate(accept);
        match self.wavequill.monitor().render(format) {
            Ok(page) => answer(StatusCode::OK, format.content_type(), page),
            Err(error) => problem(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
        }
    }

    /// Whether the service can work, for a load balancer: what monitoring itself has to say, and the alerts that page.
    fn health(&self) -> Answer {
        let (monitor, health) = (self.wavequill.monitor(), self.wavequill.monitor().health());
        let firing: Vec<_> = monitor
            .alerts()
            .into_iter()
            .filter(|alert| alert.state == wavequill::monitoring::AlertState::Firing)
            .map(|alert| json!({ "rule": alert.rule, "severity": alert.severity.as_str(), "value": alert.value }))
            .collect();
        let status = if health.is_healthy() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
        let body = json!({ "healthy": health.is_healthy(), "alerts": firing });
        answer(status, "application/json", body.to_string())
    }

    fn live(&self) -> Answer {
        let mut answer = answer(StatusCode::OK, "text/html; charset=utf-8", live_page::of(&self.wavequill));
        let policy = HeaderValue::from_static("default-src 'none'; style-src 'unsafe-inline'");
        answer.headers_mut().insert(CONTENT_SECURITY_POLICY, policy);
        answer
    }
}

/// Whose fault it is, as HTTP says it.
fn status(error: &WavequillError) -> StatusCode {
    match error {
        WavequillError::Processing { .. } => StatusCode::UNPROCESSABLE_ENTITY,
        WavequillError::ShutDown => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::BAD_GATEWAY,
    }
}

fn problem(status: StatusCode, what: &str) -> Answer {
    answer(status, "application/json", json!({ "error": what }).to_string())
}

fn answer(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(Full::new(body.into()));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    answer.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}
