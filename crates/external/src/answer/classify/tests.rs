//! Every row of the table of errors.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use wavequill_kernel::{ErrorClass, Retryable};

use super::classify;
use crate::error::ExternalError;
use crate::model::capabilities::{ModelCapabilities, ModelId};
use crate::model::quota::{StopCause, ThrottleCause};
use crate::ports::Answer;

fn error(status: u16, body: &str, headers: &[(&'static str, &'static str)]) -> ExternalError {
    let headers: HeaderMap =
        headers.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect();
    let model = ModelCapabilities::like_whisper(ModelId::new("whisper-1").unwrap());
    classify(Answer {
        status: StatusCode::from_u16(status).unwrap(),
        headers: &headers,
        body: &Bytes::from(body.to_owned()),
        model: &model,
        audio: Duration::from_secs(1500),
        sent_bytes: 30_000_000,
        now: SystemTime::UNIX_EPOCH + Duration::from_secs(1_767_225_600),
    })
}

fn openai(code: &str, kind: &str, message: &str) -> String {
    format!(r#"{{"error":{{"message":"{message}","type":"{kind}","param":null,"code":"{code}"}}}}"#)
}

#[test]
fn a_body_that_is_too_large_names_the_limit_that_the_api_said() {
    let said = "Maximum content size limit (26214400) exceeded (30000000 bytes read)";
    // The type is a lie: the status counts.
    let refused = error(413, &openai("null", "server_error", said), &[]);
    assert!(
        matches!(refused, ExternalError::TooLarge { bytes: 30_000_000, limit_bytes: Some(26_214_400), .. }),
        "{refused:?}"
    );
    for body in [openai("request_too_large", "x", ""), openai("audio_too_large", "x", "")] {
        assert!(matches!(error(400, &body, &[]), ExternalError::TooLarge { .. }));
    }
    let refused = error(413, "<html>nginx</html>", &[]);
    assert!(matches!(refused, ExternalError::TooLarge { limit_bytes: Some(26_214_400), .. }), "{refused:?}");
}

#[test]
fn audio_that_is_too_long_names_the_limit() {
    let said =
        "audio duration 1500.0 seconds is longer than 1400 seconds which is the maximum for this model";
    let refused = error(400, &openai("invalid_value", "invalid_request_error", said), &[]);
    let ExternalError::TooLong { limit, audio, .. } = refused else { panic!("{refused:?}") };
    assert_eq!((limit, audio), (Some(Duration::from_secs(1400)), Duration::from_secs(1500)));
}

#[test]
fn what_the_chunk_itself_is_guilty_of_is_permanent() {
    for (status, code) in [
        (400, "invalid_value"),
        (400, "unsupported_value"),
        (400, "bad_audio"),
        (400, "audio_too_short"),
        (415, "x"),
        (422, "x"),
    ] {
        let refused = error(status, &openai(code, "invalid_request_error", "no"), &[]);
        assert!(
            matches!(&refused, ExternalError::Rejected { code: Some(c), .. } if c == code),
            "{refused:?}"
        );
        assert_eq!(refused.class(), ErrorClass::Permanent);
        assert!(!refused.concerns_the_client());
    }
}

#[test]
fn a_missing_model_concerns_all_requests() {
    let refused = error(404, &openai("model_not_found", "x", "The model `x` does not exist"), &[]);
    assert!(matches!(refused, ExternalError::ModelUnavailable { .. }), "{refused:?}");
    assert!(refused.concerns_the_client());
    assert!(refused.to_string().contains("base URL"), "{refused}");
}

#[test]
fn credentials_and_credit_are_hard_stops() {
    let stop = |status, body: &str| match error(status, body, &[("x-should-retry", "true")]) {
        ExternalError::Stopped { cause, .. } => Some(cause),
        _ => None,
    };
    assert_eq!(stop(401, &openai("invalid_api_key", "x", "bad")), Some(StopCause::Credential));
    assert_eq!(stop(403, ""), Some(StopCause::Credential));
    assert_eq!(stop(402, ""), Some(StopCause::Billing));
    for code in super::BILLING {
        assert_eq!(stop(429, &openai(code, "x", "")), Some(StopCause::Billing), "{code}");
        assert_eq!(stop(429, &openai("null", code, "")), Some(StopCause::Billing), "{code} as the type");
    }
}

#[test]
fn throttles_are_told_apart() {
    let cause = |status, body: &str| match error(status, body, &[("retry-after", "2")]) {
        ExternalError::Throttled { cause, retry_after, .. } => {
            assert_eq!(retry_after, Some(Duration::from_secs(2)));
            Some(cause)
        }
        _ => None,
    };
    assert_eq!(cause(429, &openai("slow_down", "x", "")), Some(ThrottleCause::Ramp));
    assert_eq!(cause(503, &openai("slow_down", "x", "")), Some(ThrottleCause::Ramp));
    assert_eq!(
        cause(429, &openai("too_many_concurrent_requests", "x", "")),
        Some(ThrottleCause::Concurrency)
    );
    let elevenlabs = r#"{"detail":{"status":"too_many_concurrent_requests","message":"m"}}"#;
    assert_eq!(cause(429, elevenlabs), Some(ThrottleCause::Concurrency));
    for code in [
        "rate_limit_exceeded",
        "quota-exceeded",
        "temporary-reduced-capacity",
        "abnormal-usage-detected",
        "429",
    ] {
        assert_eq!(cause(429, &openai(code, "x", "")), Some(ThrottleCause::Rate), "{code}");
    }
    assert_eq!(cause(429, &openai("null", "requests", "")), Some(ThrottleCause::Rate));
    assert_eq!(cause(429, ""), Some(ThrottleCause::Unknown));
}

#[test]
fn servers_that_fail_may_work_later() {
    for status in [408, 409, 500, 502, 503, 504, 520, 529] {
        let failed = error(status, &openai("server_is_overloaded", "x", "busy"), &[("retry-after", "3")]);
        assert!(
            matches!(failed, ExternalError::ServerFailed { retry_after: Some(wait), .. } if wait.as_secs() == 3),
            "{status}: {failed:?}"
        );
        assert_eq!(failed.class(), ErrorClass::Transient);
    }
}

#[test]
fn the_server_decides_between_transient_and_permanent() {
    assert_eq!(error(500, "", &[("x-should-retry", "false")]).class(), ErrorClass::Permanent);
    assert_eq!(error(400, "", &[("x-should-retry", "true")]).class(), ErrorClass::Transient);
}

#[test]
fn a_redirect_is_not_followed_and_says_where_to() {
    let redirected = error(307, "", &[("location", "https://elsewhere.example/v1?token=secret")]);
    assert_eq!(
        redirected.to_string(),
        "the API redirects to https://elsewhere.example/v1 (307 Temporary Redirect): set that as the base URL if it is right"
    );
}

#[test]
fn an_error_without_words_says_its_status() {
    assert_eq!(
        error(500, "", &[]).to_string(),
        "the API failed (500 Internal Server Error): Internal Server Error"
    );
}

#[test]
fn a_key_in_an_error_is_not_repeated() {
    let refused = error(401, &openai("x", "x", "Incorrect API key provided: sk-marker0123456789"), &[]);
    assert!(!format!("{refused} {refused:?}").contains("marker"), "{refused:?}");
}
