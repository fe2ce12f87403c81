//! HTTP/1.1.

use std::time::Duration;

use wavequill_external::{ConnectionPoolManager, ExternalError, Phase, Processed, SpeechApi, Timing};
use wavequill_kernel::{ErrorClass, Retryable};

use crate::server::{Reply, Server};
use crate::{HELLO, api, config, request};

#[tokio::test]
async fn speech_goes_out_as_a_form_and_comes_back_with_words() {
    let server = Server::http1(|_| Reply::ok(HELLO)).await;
    let answer = api(&server.url).transcribe(request(200_000)).await.unwrap();
    assert_eq!(answer.text, "Hello.");
    assert!(matches!(&answer.timing, Timing::Words { words, .. } if words.len() == 1));
    assert_eq!(answer.raw, HELLO);
    let seen = server.seen.lock().pop().unwrap();
    assert!(seen.head.starts_with("POST /v1/audio/transcriptions HTTP/1.1\r\n"), "{}", seen.head);
    let authority = server.url.trim_start_matches("http://").trim_end_matches("/v1").to_owned();
    assert!(seen.head.contains(&format!("host: {authority}\r\n")), "{}", seen.head);
    assert!(seen.head.contains("authorization: Bearer sk-marker-key-0123456789\r\n"));
    assert!(seen.body.windows(1000).any(|window| window.iter().all(|byte| *byte == b'a')));
}

#[tokio::test]
async fn one_connection_serves_one_request_after_another() {
    let server = Server::http1(|_| Reply::ok(HELLO)).await;
    let api = api(&server.url);
    for _ in 0..5 {
        api.transcribe(request(1000)).await.unwrap();
    }
    assert_eq!((server.requests(), server.connections()), (5, 1));
    assert_eq!(api.pool().stats().total.opened, 1);
}

#[tokio::test]
async fn requests_at_once_each_get_a_connection_up_to_the_bound() {
    let server = Server::http1(|_| Reply::ok(HELLO)).await;
    let mut config = config(&server.url);
    config.pool.max_connections_per_origin = 3;
    let api = wavequill_external::HttpSpeechApi::over_hyper(config).unwrap();
    let all = futures_util::future::join_all((0..12).map(|_| api.transcribe(request(1000)))).await;
    assert!(all.iter().all(Result::is_ok), "{all:?}");
    assert!(server.connections() <= 3, "{}", server.connections());
    assert_eq!(server.requests(), 12);
}

#[tokio::test]
async fn a_connection_that_the_server_closes_is_replaced() {
    let ok =
        format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{HELLO}", HELLO.len());
    let server = Server::http1(move |_| Reply::RawThenClose(ok.clone())).await;
    let api = api(&server.url);
    for _ in 0..4 {
        api.transcribe(request(1000)).await.unwrap();
    }
    assert_eq!((server.requests(), server.connections()), (4, 4));
}

#[tokio::test]
async fn a_connection_that_breaks_after_the_request_may_have_been_billed() {
    let server = Server::http1(|_| Reply::Close).await;
    let error = api(&server.url).transcribe(request(1000)).await.unwrap_err();
    assert!(matches!(error, ExternalError::ConnectionLost { .. }), "{error:?}");
    assert_eq!((error.processed(), error.class()), (Processed::Maybe, ErrorClass::Transient));
    assert_eq!(server.requests(), 1, "it is not sent again without being asked");
}

#[tokio::test]
async fn an_answer_that_ends_early_or_never_ends_is_an_error() {
    let cut = "HTTP/1.1 200 OK\r\ncontent-length: 500\r\n\r\n{\"text\":".to_owned();
    let server = Server::http1(move |_| Reply::RawThenClose(cut.clone())).await;
    let error = api(&server.url).transcribe(request(1000)).await.unwrap_err();
    assert!(matches!(error, ExternalError::ConnectionLost { processed: Processed::Yes, .. }), "{error:?}");

    let endless = format!("HTTP/1.1 200 OK\r\ncontent-length: 99999999\r\n\r\n{}", "x".repeat(100_000));
    let server = Server::http1(move |_| Reply::Raw(endless.clone())).await;
    let mut config = config(&server.url);
    config.api.max_answer_bytes = 50_000;
    let api = wavequill_external::HttpSpeechApi::over_hyper(config).unwrap();
    let error = api.transcribe(request(1000)).await.unwrap_err();
    assert!(
        matches!(&error, ExternalError::InvalidResponse { reason } if reason.contains("50000 bytes")),
        "{error:?}"
    );
}

#[tokio::test]
async fn an_answer_that_was_compressed_unasked_is_refused() {
    let server = Server::http1(|_| Reply::json("200 OK", "content-encoding: gzip\r\n", "xx")).await;
    let error = api(&server.url).transcribe(request(1000)).await.unwrap_err();
    assert!(
        matches!(&error, ExternalError::InvalidResponse { reason } if reason.contains("encoded")),
        "{error:?}"
    );
}

#[tokio::test]
async fn a_server_that_never_answers_is_given_up_in_time() {
    let server = Server::http1(|_| Reply::Hang).await;
    let api = api(&server.url);
    let call = api.transcribe(request(1000));
    tokio::pin!(call);
    tokio::select! {
        ended = &mut call => panic!("{ended:?}"),
        () = server.arrived.notified() => {}
    }
    // From here on time is the only thing that can happen.
    tokio::time::pause();
    let error = call.await.unwrap_err();
    let ExternalError::Timeout { phase, after, processed } = error else { panic!("{error:?}") };
    assert_eq!((phase, after, processed), (Phase::FirstByte, Duration::from_secs(61), Processed::Maybe));
}

#[tokio::test]
async fn an_answer_that_stalls_is_given_up_in_time() {
    let stalled = "HTTP/1.1 200 OK\r\ncontent-length: 500\r\n\r\n{\"text\":".to_owned();
    let server = Server::http1(move |_| Reply::Raw(stalled.clone())).await;
    let api = api(&server.url);
    let call = api.transcribe(request(1000));
    tokio::pin!(call);
    tokio::select! {
        ended = &mut call => panic!("{ended:?}"),
        () = server.arrived.notified() => {}
    }
    tokio::time::pause();
    let error = call.await.unwrap_err();
    assert!(
        matches!(error, ExternalError::Timeout { phase: Phase::Body | Phase::FirstByte, .. }),
        "{error:?}"
    );
}

#[tokio::test]
async fn dropping_a_request_frees_its_stream_and_its_quota() {
    let server = Server::http1(|number| if number == 0 { Reply::Hang } else { Reply::ok(HELLO) }).await;
    let mut config = config(&server.url);
    config.quota.max_in_flight = Some(1);
    config.pool.max_connections_per_origin = 1;
    let api = wavequill_external::HttpSpeechApi::over_hyper(config).unwrap();
    {
        let call = api.transcribe(request(1000));
        tokio::pin!(call);
        tokio::select! {
            ended = &mut call => panic!("{ended:?}"),
            () = server.arrived.notified() => {}
        }
    }
    assert_eq!(api.pool().stats().total.checked_out, 0);
    api.transcribe(request(1000)).await.unwrap();
    assert_eq!(server.connections(), 2, "HTTP/1.1 can only be stopped by closing");
}

#[tokio::test]
async fn a_closed_pool_refuses_and_says_why() {
    let server = Server::http1(|_| Reply::ok(HELLO)).await;
    let api = api(&server.url);
    api.transcribe(request(1000)).await.unwrap();
    api.pool().close_all(Duration::from_secs(5)).await;
    let error = api.transcribe(request(1000)).await.unwrap_err();
    assert!(matches!(error, ExternalError::Closed), "{error:?}");
    assert_eq!(api.pool().stats().total.size, 0);
}

#[tokio::test]
async fn connections_are_opened_before_they_are_needed_and_closed_when_they_are_too_many() {
    let server = Server::http1(|_| Reply::ok(HELLO)).await;
    let api = api(&server.url);
    let origin = server.url.parse::<wavequill_external::BaseUrl>().unwrap().origin().clone();
    assert_eq!(api.pool().ensure_min_connections(&origin, 3).await, 3);
    assert_eq!(api.pool().stats().total.checked_in, 3);
    api.pool().scale_to(&origin, 1).await;
    let stats = api.pool().stats();
    assert_eq!(stats.total.checked_in, 1, "{stats:?}");
}
