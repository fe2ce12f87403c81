//! Which error an answer stands for: by its status first, then by the names in its body.

use std::time::Duration;

use http::{HeaderMap, StatusCode, header};

use super::error_body::{self, ErrorBody};
use super::retry_after::retry_after;
use crate::error::ExternalError;
use crate::model::http::Processed;
use crate::model::quota::{StopCause, ThrottleCause};
use crate::ports::Answer;

const BILLING: [&str; 5] = [
    "insufficient_quota",
    "credit_balance_exhausted",
    "organization_spend_limit_exceeded",
    "project_spend_limit_exceeded",
    "organization_usage_limit_exceeded",
];

const TOO_LARGE: [&str; 2] = ["request_too_large", "audio_too_large"];

const CONCURRENCY: [&str; 2] = ["too_many_concurrent_requests", "concurrent_limit_exceeded"];

const RATE: [&str; 7] = [
    "rate_limit_exceeded",
    "requests",
    "tokens",
    "quota-exceeded",
    "temporary-reduced-capacity",
    "abnormal-usage-detected",
    "429",
];

/// The error of an unsuccessful answer.
pub(crate) fn classify(answer: Answer<'_>) -> ExternalError {
    of_status(answer.status, &error_body::parse(answer.body), answer)
}

/// The error of an answer whose status was `status`, wherever that stood.
pub(crate) fn of_status(status: StatusCode, body: &ErrorBody, answer: Answer<'_>) -> ExternalError {
    let error = by_status(status, body, answer);
    let should_retry = answer.headers.get("x-should-retry").map(http::HeaderValue::as_bytes);
    match (should_retry, error) {
        (Some(b"true"), ExternalError::Rejected { status, code, message, request_id }) => {
            let retry_after = retry_after(answer.headers, &body.message, answer.now);
            ExternalError::ServerFailed { status, code, message, retry_after, request_id }
        }
        (Some(b"false"), ExternalError::ServerFailed { status, code, message, request_id, .. }) => {
            ExternalError::Rejected { status, code, message, request_id }
        }
        (_, error) => error,
    }
}

fn by_status(status: StatusCode, body: &ErrorBody, answer: Answer<'_>) -> ExternalError {
    let message = || body.message.clone();
    let throttled = |cause| ExternalError::Throttled {
        cause,
        retry_after: retry_after(answer.headers, &body.message, answer.now),
        message: message(),
    };
    let stopped = |cause| ExternalError::Stopped { cause, status: Some(status), message: message() };
    match status.as_u16() {
        413 => too_large(body, answer),
        401 | 403 => stopped(StopCause::Credential),
        402 => stopped(StopCause::Billing),
        429 if body.is_any(&BILLING) => stopped(StopCause::Billing),
        429 | 503 if body.is_any(&["slow_down"]) => throttled(ThrottleCause::Ramp),
        429 if body.is_any(&CONCURRENCY) => throttled(ThrottleCause::Concurrency),
        429 if body.is_any(&RATE) => throttled(ThrottleCause::Rate),
        429 => throttled(ThrottleCause::Unknown),
        404 => unavailable(body, answer),
        300..=399 => redirected(status, answer.headers),
        400 | 422 if body.is_any(&TOO_LARGE) => too_large(body, answer),
        400 | 422 => match too_long(body) {
            Some(limit) => {
                ExternalError::TooLong { audio: answer.audio, limit: Some(limit), processed: Processed::Yes }
            }
            None => rejected(status, body, answer.headers),
        },
        408 | 409 | 500..=599 => failed(status, body, answer),
        _ if body.is_any(&["system_busy"]) => failed(status, body, answer),
        _ => rejected(status, body, answer.headers),
    }
}

fn failed(status: StatusCode, body: &ErrorBody, answer: Answer<'_>) -> ExternalError {
    ExternalError::ServerFailed {
        status,
        code: body.code().map(str::to_owned),
        message: or_status(status, &body.message),
        retry_after: retry_after(answer.headers, &body.message, answer.now),
        request_id: request_id(answer.headers),
    }
}

fn rejected(status: StatusCode, body: &ErrorBody, headers: &HeaderMap) -> ExternalError {
    ExternalError::Rejected {
        status,
        code: body.code().map(str::to_owned),
        message: or_status(status, &body.message),
        request_id: request_id(headers),
    }
}

fn too_large(body: &ErrorBody, answer: Answer<'_>) -> ExternalError {
    let said = number_after(&body.message, &["limit (", "limit of ", "maximum of ", "maximum size of "]);
    let limit_bytes =
        said.map(|limit| limit as u64).filter(|limit| *limit > 0).or(answer.model.max_body_bytes);
    ExternalError::TooLarge { bytes: answer.sent_bytes, limit_bytes, processed: Processed::Yes }
}

/// "audio duration 1500 seconds is longer than 1400 seconds which is the maximum for this model".
fn too_long(body: &ErrorBody) -> Option<Duration> {
    let lower = body.message.to_lowercase();
    if !lower.contains("second") {
        return None;
    }
    let limit = number_after(&lower, &["longer than ", "maximum duration of ", "exceeds the maximum of "])?;
    Duration::try_from_secs_f64(limit).ok().filter(|limit| !limit.is_zero())
}

fn number_after(text: &str, leads: &[&str]) -> Option<f64> {
    let lower = text.to_lowercase();
    leads.iter().find_map(|lead| {
        let rest = lower.get(lower.find(lead)? + lead.len()..)?;
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        rest.get(..end)?.trim_end_matches('.').parse().ok()
    })
}

fn unavailable(body: &ErrorBody, answer: Answer<'_>) -> ExternalError {
    let hint = "the API knows no such model, or no such path (404): check the model's name and the base URL";
    let reason =
        if body.message.is_empty() { hint.to_owned() } else { format!("{hint}; it says: {}", body.message) };
    ExternalError::ModelUnavailable { model: answer.model.model.clone(), reason }
}

fn redirected(status: StatusCode, headers: &HeaderMap) -> ExternalError {
    let location = headers.get(header::LOCATION).and_then(|value| value.to_str().ok()).unwrap_or("nowhere");
    let location = location.split(['?', '#']).next().unwrap_or(location);
    ExternalError::Redirected { status, location: super::redact::message(location) }
}

fn or_status(status: StatusCode, message: &str) -> String {
    if message.is_empty() {
        status.canonical_reason().unwrap_or("no reason given").to_owned()
    } else {
        message.to_owned()
    }
}

/// What to name when writing to the provider's support.
pub(crate) fn request_id(headers: &HeaderMap) -> Option<String> {
    let ids = ["x-request-id", "dg-request-id", "request-id", "cf-ray"];
    let id = ids.iter().find_map(|name| headers.get(*name).and_then(|value| value.to_str().ok()))?;
    Some(super::redact::message(id.get(..128).unwrap_or(id)))
}

#[cfg(test)]
mod tests;
