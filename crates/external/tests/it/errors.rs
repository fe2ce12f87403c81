//! Errors as the caller of the API sees them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::time::Instant;
use wavequill_external::{
    CircuitBreakerConfig, ConnectFailure, Cost, ExternalError, HttpSpeechApi, ModelId, Processed,
    QuotaAnswer, SpeechApi, StopCause, Timestamps, TimingNeed,
};
use wavequill_kernel::{ErrorClass, Retryable};

use crate::server::{Reply, Server};
use crate::{HELLO, api, config, request};

#[tokio::test]
async fn where_no_server_runs_the_message_says_so() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/v1", listener.local_addr().unwrap());
    drop(listener);
    let error = api(&url).transcribe(request(1000)).await.unwrap_err();
    assert!(matches!(error, ExternalError::Connect { failure: ConnectFailure::Refused, .. }), "{error:?}");
    assert!(error.to_string().ends_with("is the server running there?"), "{error}");
    assert_eq!(error.processed(), Processed::No);
}

#[tokio::test]
async fn a_throttled_request_waits_as_long_as_the_server_said_and_goes_again() {
    let limited =
        r#"{"error":{"message":"Rate limit reached","type":"requests","code":"rate_limit_exceeded"}}"#;
    let server = Server::http1(move |number| match number {
        0 => Reply::json("429 Too Many Requests", "retry-after-ms: 40\r\n", limited),
        _ => Reply::ok(HELLO),
    })
    .await;
    let begun = Instant::now();
    api(&server.url).transcribe(request(1000)).await.unwrap();
    assert!(begun.elapsed() >= Duration::from_millis(40), "{:?}", begun.elapsed());
    assert_eq!(server.requests(), 2);
}

#[tokio::test]
async fn who_brings_the_permit_is_told_of_the_refusal_at_once() {
    let server = Server::http1(|_| Reply::json("429 Too Many Requests", "retry-after: 7\r\n", "{}")).await;
    let api = api(&server.url);
    let scope = api.quota_scope(&ModelId::new("whisper-1").unwrap());
    let QuotaAnswer::Granted(permit) = api.quota().try_acquire(&scope, &Cost::default()) else {
        panic!("free")
    };
    let error = api.transcribe(request(1000).with_permit(permit)).await.unwrap_err();
    assert_eq!(error.class(), ErrorClass::Throttled { retry_after: Some(Duration::from_secs(7)) });
    assert_eq!(server.requests(), 1);
    let next = api.quota().view(&scope).next_grant;
    assert!(next > Duration::from_secs(6), "all others wait too: {next:?}");
}

#[tokio::test]
async fn patience_of_days_is_not_waited_for_in_the_process() {
    let server =
        Server::http1(|_| Reply::json("429 Too Many Requests", "retry-after: 1000000000\r\n", "{}")).await;
    let error = api(&server.url).transcribe(request(1000)).await.unwrap_err();
    assert!(matches!(error, ExternalError::RetryAfterTooLong { .. }), "{error:?}");
}

#[tokio::test]
async fn spent_credit_stops_everything_and_nothing_more_is_sent() {
    let body = r#"{"error":{"message":"You exceeded your current quota","type":"insufficient_quota","code":"insufficient_quota"}}"#;
    let server = Server::http1(move |_| Reply::json("429 Too Many Requests", "", body)).await;
    let api = api(&server.url);
    for _ in 0..5 {
        let error = api.transcribe(request(1000)).await.unwrap_err();
        assert!(matches!(error, ExternalError::Stopped { cause: StopCause::Billing, .. }), "{error:?}");
    }
    assert_eq!(server.requests(), 1);
}

#[tokio::test]
async fn a_wrong_key_says_what_to_do() {
    let body = r#"{"error":{"message":"Incorrect API key provided: sk-marker-key-0123456789","code":"invalid_api_key"}}"#;
    let server = Server::http1(move |_| Reply::json("401 Unauthorized", "", body)).await;
    let error = api(&server.url).transcribe(request(1000)).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "the key is missing or wrong: check it (401): Incorrect API key provided: ***"
    );
    assert!(error.concerns_the_client());
}

#[tokio::test]
async fn a_redirect_is_not_followed_with_the_key() {
    let other = Server::http1(|_| Reply::ok(HELLO)).await;
    let to = format!("location: {}/elsewhere\r\n", other.url);
    let server = Server::http1(move |_| Reply::json("307 Temporary Redirect", &to, "")).await;
    let error = api(&server.url).transcribe(request(1000)).await.unwrap_err();
    assert!(matches!(error, ExternalError::Redirected { .. }), "{error:?}");
    assert_eq!(other.connections(), 0);
}

#[tokio::test]
async fn what_is_too_large_is_not_sent() {
    let server = Server::http1(|_| Reply::ok(HELLO)).await;
    let error = api(&server.url).transcribe(request(26_214_400)).await.unwrap_err();
    let ExternalError::TooLarge { bytes, limit_bytes: Some(26_214_400), processed: Processed::No } = error
    else {
        panic!("{error:?}")
    };
    assert!(bytes > 26_214_400, "the whole body counts, not the audio alone");
    assert_eq!(server.connections(), 0);
}

#[tokio::test]
async fn a_limit_that_a_refusal_names_holds_from_then_on() {
    let said = r#"{"error":{"message":"audio duration 1.0 seconds is longer than 0.5 seconds which is the maximum for this model"}}"#;
    let server = Server::http1(move |_| Reply::json("400 Bad Request", "", said)).await;
    let api = api(&server.url);
    for _ in 0..3 {
        let error = api.transcribe(request(1000)).await.unwrap_err();
        assert!(matches!(error, ExternalError::TooLong { limit: Some(_), .. }), "{error:?}");
    }
    assert_eq!(server.requests(), 1);
    let row = api.capabilities(&ModelId::new("whisper-1").unwrap()).unwrap();
    assert_eq!(row.max_audio, Some(Duration::from_millis(500)));
}

#[tokio::test]
async fn times_that_a_model_lacks_are_refused_unsent_unless_best_effort_will_do() {
    let server = Server::http1(|_| Reply::ok(r#"{"text":"Hello."}"#)).await;
    let api = api(&server.url);
    let mut asked = request(1000);
    asked.model = ModelId::new("gpt-4o-transcribe").unwrap();
    let error = api.transcribe(asked).await.unwrap_err();
    assert!(matches!(error, ExternalError::Unsupported { what: "word times", .. }), "{error:?}");
    assert_eq!(server.connections(), 0);
    let mut asked = request(1000).with_timestamps(Timestamps::Words, TimingNeed::BestEffort);
    asked.model = ModelId::new("gpt-4o-transcribe").unwrap();
    assert_eq!(api.transcribe(asked).await.unwrap().timing, wavequill_external::Timing::ChunkOnly);
}

#[tokio::test]
async fn a_told_limit_of_requests_is_kept_by_all_callers_together() {
    let server = Server::http1(|_| Reply::ok(HELLO)).await;
    let mut config = config(&server.url);
    config.quota = config.quota.with_requests_per_minute(5);
    config.api.quota_wait = Duration::from_millis(1);
    let api = Arc::new(HttpSpeechApi::over_hyper(config).unwrap());
    let all = futures_util::future::join_all((0..9).map(|_| api.transcribe(request(1000)))).await;
    let refused = all.iter().filter(|result| matches!(result, Err(ExternalError::Throttled { .. }))).count();
    assert_eq!((refused, server.requests()), (4, 5), "{all:?}");
}

#[tokio::test]
async fn a_plain_http_url_of_another_machine_is_refused() {
    let refused = HttpSpeechApi::over_hyper(config("http://api.example.org/v1")).unwrap_err();
    assert!(format!("{refused:?}").contains("https"), "{refused:?}");
}

#[tokio::test]
async fn a_deadline_bounds_everything() {
    let server = Server::http1(|_| Reply::Hang).await;
    let api = api(&server.url);
    let error = api.transcribe(request(1000).with_deadline(Duration::from_millis(50))).await.unwrap_err();
    assert!(
        matches!(error, ExternalError::Timeout { phase: wavequill_external::Phase::Whole, .. }),
        "{error:?}"
    );
}

#[tokio::test]
async fn an_api_that_fails_again_and_again_is_left_alone_until_a_probe_is_answered() {
    let healthy = Arc::new(AtomicBool::new(false));
    let now = Arc::clone(&healthy);
    let server = Server::http1(move |_| {
        if now.load(Ordering::Relaxed) { Reply::ok(HELLO) } else { Reply::json("500 Oops", "", "{}") }
    })
    .await;
    let mut config = config(&server.url);
    let open_for = Duration::from_millis(50);
    let breaker = CircuitBreakerConfig { failures: 3, open_for, ..CircuitBreakerConfig::default() };
    config.api = config.api.with_circuit_breaker(Some(breaker));
    let api = HttpSpeechApi::over_hyper(config).unwrap();
    for _ in 0..3 {
        assert!(matches!(api.transcribe(request(10)).await, Err(ExternalError::ServerFailed { .. })));
    }
    healthy.store(true, Ordering::Relaxed);
    // However long the machine takes: it is either still left alone, or the probe is answered.
    loop {
        match api.transcribe(request(10)).await {
            Ok(_) => break,
            Err(ExternalError::CircuitOpen { retry_after, .. }) => tokio::time::sleep(retry_after).await,
            Err(other) => panic!("{other:?}"),
        }
    }
    assert_eq!(server.requests(), 4);
}
