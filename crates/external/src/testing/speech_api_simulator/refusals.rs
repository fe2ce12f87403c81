//! Answers that are no transcripts: refusals for quota, key and form, and the answers of faults.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, Request, Response, StatusCode, header};
use secrecy::ExposeSecret;

use super::SpeechApiSimulator;
use super::action::{Action, Ending};
use super::answers::{self, go_duration, invalid};
use super::faults::{Fault, RetryAfterForm};
use super::form::TranscriptionForm;
use super::quota::{Measure, Quota};
use super::report::Outcome;

/// An answer that refuses, and what it counts as.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) response: Response<Bytes>,
    pub(crate) outcome: Outcome,
}

impl Refusal {
    fn new(outcome: Outcome, response: Response<Bytes>) -> Self {
        Self { response, outcome }
    }

    fn invalid(response: Response<Bytes>) -> Self {
        Self::new(Outcome::Invalid, response)
    }
}

/// What a fault does to a request that is otherwise right.
pub(crate) enum Damage {
    /// Nothing is transcribed; this is the answer.
    Refused(Refusal),
    /// Nothing is transcribed, and nothing is answered.
    Silence(Action, Outcome),
    /// It is transcribed, but the answer suffers.
    Answer(Fault),
}

const EXTENSIONS: [&str; 10] = ["flac", "m4a", "mp3", "mp4", "mpeg", "mpga", "oga", "ogg", "wav", "webm"];

impl SpeechApiSimulator {
    /// What is wrong with the address or the key.
    pub(crate) fn refuse_head(&self, head: &Request<()>) -> Option<Refusal> {
        if let Some(key) = &self.key {
            let given = head.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
            let given = given.and_then(|value| value.strip_prefix("Bearer "));
            if given != Some(key.expose_secret()) {
                return Some(Refusal::new(Outcome::HardStop, unauthorized(given)));
            }
        }
        let known = matches!(
            (head.method(), head.uri().path()),
            (&Method::POST, "/v1/audio/transcriptions") | (&Method::GET, "/v1/models")
        );
        (!known).then(|| {
            let message = format!("Invalid URL ({} {})", head.method(), head.uri().path());
            let kind = "invalid_request_error";
            Refusal::invalid(answers::error(StatusCode::NOT_FOUND, kind, None, None, &message))
        })
    }

    /// Charges the quotas that count by the head, or refuses.
    pub(crate) fn charge_head(&mut self, now: Duration, bytes: u64) -> Option<Refusal> {
        let charged = self.quotas.charge(now, |quota| match quota.measure() {
            Measure::Requests => Some(1.0),
            Measure::Bytes => Some(bytes as f64),
            Measure::AudioSeconds => None,
        });
        charged.err().map(|(quota, wait)| self.over_quota(now, &quota, wait))
    }

    /// Charges the quotas that count audio, or refuses.
    pub(crate) fn charge_audio(&mut self, now: Duration, audio: Duration) -> Option<Refusal> {
        let charged = self
            .quotas
            .charge(now, |quota| (quota.measure() == Measure::AudioSeconds).then_some(audio.as_secs_f64()));
        charged.err().map(|(quota, wait)| self.over_quota(now, &quota, wait))
    }

    fn over_quota(&self, now: Duration, quota: &Quota, wait: Duration) -> Refusal {
        if quota.is_concurrency() {
            return too_many_concurrent(quota.limit());
        }
        let what = match quota.measure() {
            Measure::Requests => "requests per min (RPM)",
            Measure::AudioSeconds => "audio seconds per hour (ASPH)",
            Measure::Bytes => "bytes per min (BPM)",
        };
        let what = format!("Rate limit reached on {what}: Limit {}.", quota.limit());
        self.throttled(now, self.retry_after, wait, &what)
    }

    /// A 429 that says when to come again.
    pub(crate) fn throttled(
        &self,
        now: Duration,
        form: RetryAfterForm,
        after: Duration,
        what: &str,
    ) -> Refusal {
        let told = matches!(form, RetryAfterForm::OpenAi | RetryAfterForm::Text);
        let text = if told { format!(" Please try again in {}.", go_duration(after)) } else { String::new() };
        let message = format!("{what}{text}");
        let status = StatusCode::TOO_MANY_REQUESTS;
        let mut response = answers::error(status, "requests", Some("rate_limit_exceeded"), None, &message);
        let whole = after.as_nanos().div_ceil(1_000_000_000);
        let ms = after.as_nanos().div_ceil(1_000_000).to_string();
        let headers = match form {
            RetryAfterForm::None | RetryAfterForm::Text => vec![],
            RetryAfterForm::OpenAi => vec![("retry-after-ms", ms), ("retry-after", whole.to_string())],
            RetryAfterForm::Seconds => vec![("retry-after", whole.to_string())],
            RetryAfterForm::FloatSeconds => {
                vec![("retry-after", (after.as_micros() as f64 / 1e6).to_string())]
            }
            RetryAfterForm::HttpDate => {
                // A date has no fractions: the next whole second is not too early.
                let date = self.started_at + now + after + Duration::from_nanos(999_999_999);
                vec![("retry-after", httpdate::fmt_http_date(date))]
            }
            RetryAfterForm::Milliseconds => vec![("retry-after-ms", ms)],
            RetryAfterForm::ResetDuration => vec![("x-ratelimit-reset-requests", go_duration(after))],
        };
        set_headers(&mut response, headers);
        Refusal::new(Outcome::Throttled, response)
    }

    /// What is wrong with the form.
    pub(crate) fn refuse_form(&self, form: &TranscriptionForm) -> Option<Refusal> {
        let Some(file_name) = &form.file_name else {
            return Some(Refusal::invalid(invalid(None, Some("file"), "you must provide a file parameter")));
        };
        let Some(name) = &form.model else {
            return Some(Refusal::invalid(invalid(
                None,
                Some("model"),
                "you must provide a model parameter",
            )));
        };
        let Some(model) = self.models.iter().find(|model| model.name() == name) else {
            let message = format!("The model `{name}` does not exist or you do not have access to it.");
            let (status, kind) = (StatusCode::NOT_FOUND, "invalid_request_error");
            let response = answers::error(status, kind, Some("model_not_found"), Some("model"), &message);
            return Some(Refusal::invalid(response));
        };
        let extension = file_name.rsplit_once('.').map(|(_, extension)| extension.to_ascii_lowercase());
        if !extension.is_some_and(|extension| EXTENSIONS.contains(&extension.as_str())) {
            let supported = EXTENSIONS.map(|extension| format!("'{extension}'")).join(", ");
            let message = format!("Unrecognized file format. Supported formats: [{supported}]");
            return Some(Refusal::invalid(invalid(None, Some("file"), &message)));
        }
        let format = &form.response_format;
        if !model.answers_in(format) {
            let message = format!(
                "response_format '{format}' is not compatible with model '{name}'. Use 'json' or 'text' instead."
            );
            let (code, param) = (Some("unsupported_value"), Some("response_format"));
            return Some(Refusal::invalid(invalid(code, param, &message)));
        }
        let temperature = form.temperature.as_deref().map(str::parse::<f64>);
        if temperature.is_some_and(|given| !given.is_ok_and(|given| (0.0..=1.0).contains(&given))) {
            let message = "temperature must be between 0 and 1";
            return Some(Refusal::invalid(invalid(Some("invalid_value"), Some("temperature"), message)));
        }
        if !form.granularities.is_empty() && format != "verbose_json" {
            let message = "timestamp_granularities requires response_format 'verbose_json'";
            return Some(Refusal::invalid(invalid(None, Some("timestamp_granularities"), message)));
        }
        let wrong = form.granularities.iter().find(|given| !matches!(given.as_str(), "word" | "segment"))?;
        let message = format!("Invalid value: '{wrong}'. Supported values are: 'word' and 'segment'.");
        let (code, param) = (Some("invalid_value"), Some("timestamp_granularities"));
        Some(Refusal::invalid(invalid(code, param, &message)))
    }

    /// What is wrong with the duration.
    pub(crate) fn refuse_duration(&self, audio: Duration) -> Option<Refusal> {
        if audio < Duration::from_millis(100) {
            let message = "Audio file is too short. Minimum audio length is 0.1 seconds.";
            return Some(Refusal::invalid(invalid(Some("audio_too_short"), Some("file"), message)));
        }
        let limit = self.duration_limit.filter(|limit| audio > *limit)?;
        let message = format!(
            "audio duration {} seconds is longer than {} seconds which is the maximum for this model",
            audio.as_micros() as f64 / 1e6,
            limit.as_secs_f64(),
        );
        Some(Refusal::new(Outcome::TooLarge, invalid(Some("invalid_value"), None, &message)))
    }

    /// What a fault does.
    pub(crate) fn damage(&self, now: Duration, fault: &Fault) -> Damage {
        let throttled = |refusal: Refusal| Damage::Refused(refusal);
        match fault {
            Fault::Throttled { form, after } => {
                throttled(self.throttled(now, *form, *after, "Rate limit reached on requests per min (RPM)."))
            }
            Fault::TooManyConcurrent => throttled(too_many_concurrent(1)),
            Fault::SlowDown => throttled(Refusal::new(
                Outcome::Throttled,
                answers::error(
                    StatusCode::TOO_MANY_REQUESTS,
                    "requests",
                    Some("slow_down"),
                    None,
                    "Slow down: reduce your request rate, keep it steady, then increase it gradually.",
                ),
            )),
            Fault::InsufficientQuota => throttled(Refusal::new(Outcome::HardStop, insufficient_quota())),
            Fault::Status(status) => throttled(Refusal::new(outcome_of(*status), status_error(*status))),
            Fault::PlainText(status) => {
                let text = format!("{status}\n");
                let response = answers::response(*status, "text/plain", text);
                throttled(Refusal::new(outcome_of(*status), response))
            }
            Fault::ErrorInSuccess => {
                let body = serde_json::json!({ "status_code": 400, "detail": "Failed to read audio file" });
                let response = answers::json_response(StatusCode::OK, &body);
                throttled(Refusal::new(Outcome::Damaged, response))
            }
            Fault::Redirect => {
                let status = StatusCode::TEMPORARY_REDIRECT;
                let mut response = answers::response(status, "text/plain", String::new());
                set_headers(&mut response, vec![("location", "http://elsewhere.invalid/v1".into())]);
                throttled(Refusal::new(Outcome::Invalid, response))
            }
            Fault::DropBeforeUpload | Fault::DropDuringUpload(_) => {
                Damage::Silence(Action::Disconnect, Outcome::Dropped)
            }
            Fault::Stall => Damage::Silence(Action::Stall, Outcome::Stalled),
            Fault::Early(fault) => match self.damage(now, fault) {
                // Nothing was uploaded that could be transcribed.
                Damage::Answer(_) => Damage::Silence(Action::Disconnect, Outcome::Dropped),
                other => other,
            },
            Fault::DropAfterUpload
            | Fault::TruncatedBody
            | Fault::StalledBody
            | Fault::OversizedBody(_)
            | Fault::MalformedJson
            | Fault::EmptyBody => Damage::Answer(fault.clone()),
        }
    }
}

/// What is sent instead of a whole answer.
pub(crate) fn damaged(fault: &Fault, mut response: Response<Bytes>) -> (Action, Outcome) {
    let half = response.body().len() / 2;
    let action = match fault {
        Fault::DropAfterUpload => return (Action::Disconnect, Outcome::Dropped),
        Fault::TruncatedBody => Action::RespondInPart { response, sent: half, then: Ending::Disconnect },
        Fault::StalledBody => Action::RespondInPart { response, sent: half, then: Ending::Stall },
        Fault::OversizedBody(blanks) => Action::RespondPadded { response, blanks: *blanks },
        Fault::MalformedJson => {
            response.body_mut().truncate(half);
            response.headers_mut().insert(header::CONTENT_LENGTH, half.into());
            Action::Respond(response)
        }
        Fault::EmptyBody => {
            response.body_mut().clear();
            response.headers_mut().insert(header::CONTENT_LENGTH, 0.into());
            Action::Respond(response)
        }
        _ => return (Action::Respond(response), Outcome::Granted),
    };
    (action, Outcome::Damaged)
}

pub(crate) fn set_headers(response: &mut Response<Bytes>, headers: Vec<(&'static str, String)>) {
    for (name, value) in headers {
        if let Ok(value) = HeaderValue::from_str(&value) {
            response.headers_mut().insert(HeaderName::from_static(name), value);
        }
    }
}

pub(crate) fn undecodable() -> Refusal {
    let message = "The audio file could not be decoded or its format is not supported.";
    Refusal::invalid(invalid(None, None, message))
}

pub(crate) fn unreadable_form(why: &str) -> Refusal {
    Refusal::invalid(invalid(None, None, &format!("Could not parse multipart form: {why}")))
}

pub(crate) fn too_large(limit: u64, read: u64) -> Refusal {
    Refusal::new(Outcome::TooLarge, answers::too_large(limit, read))
}

fn unauthorized(given: Option<&str>) -> Response<Bytes> {
    let (code, message) = match given {
        None | Some("") => (
            None,
            "You didn't provide an API key. You need to provide your API key in an Authorization header using \
             Bearer auth (i.e. Authorization: Bearer YOUR_KEY)."
                .to_owned(),
        ),
        // OpenAI's answer repeats a part of the key that it was given.
        Some(key) => {
            let shown: String = key.chars().take(4).collect();
            (Some("invalid_api_key"), format!("Incorrect API key provided: {shown}********."))
        }
    };
    answers::error(StatusCode::UNAUTHORIZED, "invalid_request_error", code, None, &message)
}

fn insufficient_quota() -> Response<Bytes> {
    let message = "You exceeded your current quota, please check your plan and billing details.";
    let code = "insufficient_quota";
    answers::error(StatusCode::TOO_MANY_REQUESTS, code, Some(code), None, message)
}

fn too_many_concurrent(limit: u64) -> Refusal {
    let message = format!("Too many concurrent requests. Your maximum is {limit}.");
    let (status, code) = (StatusCode::TOO_MANY_REQUESTS, "too_many_concurrent_requests");
    let mut response = answers::error(status, "requests", Some(code), None, &message);
    set_headers(&mut response, vec![("maximum-concurrent-requests", limit.to_string())]);
    Refusal::new(Outcome::Throttled, response)
}

fn status_error(status: StatusCode) -> Response<Bytes> {
    let (code, message) = match status.as_u16() {
        503 => (
            Some("server_is_overloaded"),
            "The server is currently overloaded with other requests. Please try again later.",
        ),
        500 => (None, "The server had an error while processing your request. Sorry about that!"),
        _ => (None, status.canonical_reason().unwrap_or("Unknown error")),
    };
    let kind = if status.is_server_error() { "server_error" } else { "invalid_request_error" };
    answers::error(status, kind, code, None, message)
}

fn outcome_of(status: StatusCode) -> Outcome {
    match status.as_u16() {
        401..=403 => Outcome::HardStop,
        413 => Outcome::TooLarge,
        429 => Outcome::Throttled,
        408 | 500.. => Outcome::ServerError,
        _ => Outcome::Invalid,
    }
}
