//! HTTP/2 by prior knowledge.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use http::Method;
use wavequill_external::{
    BaseUrl, ConnectionPoolConfig, ConnectionPoolManager, ExternalError, Http2Use, HttpRequest,
    HttpSpeechApi, Origin, Phase, SpeechApi,
};

use crate::server::{H2Script, Server};
use crate::{config, pool, raw_http2, request};

fn origin(server: &Server) -> Origin {
    server.url.parse::<BaseUrl>().unwrap().origin().clone()
}

/// Sends a numbered request and reads its answer.
async fn numbered(
    pool: Arc<impl ConnectionPoolManager>,
    origin: Origin,
    number: usize,
) -> Result<Bytes, ExternalError> {
    let body = Bytes::from(format!("{number:>6}").repeat(50));
    let permit = pool.stream(&origin, body.len() as u64).await?;
    let request = HttpRequest::new(Method::POST, "/v1/x".parse().unwrap(), Arc::new(body));
    pool.send(permit, request).await?.read_all(1 << 20).await
}

async fn all(
    server: &Server,
    config: ConnectionPoolConfig,
    requests: usize,
) -> wavequill_external::PoolStats {
    let pool = pool(config, Http2Use::PriorKnowledge);
    let answers = join_all((0..requests).map(|n| numbered(Arc::clone(&pool), origin(server), n))).await;
    for answer in answers {
        assert_eq!(answer.unwrap(), crate::HELLO);
    }
    let bodies: BTreeSet<_> = server.seen.lock().iter().map(|seen| seen.body.clone()).collect();
    assert_eq!(bodies.len(), requests, "every request arrived");
    assert_eq!(server.requests(), requests, "none was processed twice");
    pool.stats()
}

#[tokio::test]
async fn requests_share_a_connection_as_far_as_the_peer_grants() {
    let server = Server::http2(H2Script { max_streams: Some(100), ..H2Script::default() }).await;
    let stats = all(&server, ConnectionPoolConfig::default(), 50).await;
    assert_eq!((stats.total.opened, server.connections()), (1, 1), "{stats:?}");
    assert_eq!(stats.total.replays, 0);
}

#[tokio::test]
async fn a_full_connection_spills_into_further_ones_within_the_bound() {
    let server = Server::http2(H2Script { max_streams: Some(7), ..H2Script::default() }).await;
    let stats = all(&server, ConnectionPoolConfig::default().with_max_connections_per_origin(4), 200).await;
    assert!(stats.total.opened > 1 && stats.total.opened <= 4, "{stats:?}");
    assert_eq!((stats.total.checked_out, stats.total.overflow), (0, 0));
    assert_eq!(stats.total.checked_in, 7 * stats.total.size);
}

#[tokio::test]
async fn a_peer_that_grants_one_stream_gets_one_at_a_time() {
    let server = Server::http2(H2Script { max_streams: Some(1), ..H2Script::default() }).await;
    let stats = all(&server, ConnectionPoolConfig::default().with_max_connections_per_origin(2), 20).await;
    assert!(stats.total.opened <= 2, "{stats:?}");
}

#[tokio::test]
async fn a_refused_stream_is_sent_again_unseen() {
    let server = Server::http2(H2Script { refuse: vec![0, 3, 4, 9], ..H2Script::default() }).await;
    let stats = all(&server, ConnectionPoolConfig::default(), 30).await;
    assert_eq!(stats.total.replays, 4, "{stats:?}");
}

#[tokio::test]
async fn a_connection_that_winds_down_in_order_loses_and_doubles_none() {
    let server = Server::http2(H2Script { goaway_after: Some(10), ..H2Script::default() }).await;
    let stats = all(&server, ConnectionPoolConfig::default(), 300).await;
    assert!(server.connections() > 1 && stats.total.goaways > 0, "{stats:?}");
}

#[tokio::test]
async fn a_connection_that_ends_after_each_ten_requests_loses_and_doubles_none() {
    let server = raw_http2::Server::start(10).await;
    let pool = pool(ConnectionPoolConfig::default(), Http2Use::PriorKnowledge);
    let origin: Origin = server.url.parse().unwrap();
    let answers = join_all((0..500).map(|n| numbered(Arc::clone(&pool), origin.clone(), n))).await;
    for (number, answer) in answers.into_iter().enumerate() {
        assert_eq!(answer.unwrap(), format!("{number:>6}").repeat(50), "each gets its own answer");
    }
    let stats = pool.stats();
    assert!(stats.total.replays > 0, "requests above the last stream were sent again: {stats:?}");
    assert_eq!(server.processed(), 500, "none was processed twice");
}

#[tokio::test]
async fn speech_goes_over_http2_with_a_body_larger_than_a_window() {
    let server = Server::http2(H2Script::default()).await;
    let mut config = config(&server.url);
    config.hyper.http2 = Http2Use::PriorKnowledge;
    let api = HttpSpeechApi::over_hyper(config).unwrap();
    let answer = api.transcribe(request(3_000_000)).await.unwrap();
    assert_eq!(answer.text, "Hello.");
    let seen = server.seen.lock().pop().unwrap();
    assert!(seen.body.len() > 3_000_000);
    assert!(seen.head.contains("Bearer sk-marker"), "{}", seen.head);
}

#[tokio::test]
async fn a_peer_that_never_answers_is_given_up_and_the_stream_is_freed() {
    let server = Server::http2(H2Script { hang: true, ..H2Script::default() }).await;
    let pool = pool(ConnectionPoolConfig::default(), Http2Use::PriorKnowledge);
    let call = numbered(Arc::clone(&pool), origin(&server), 1);
    tokio::pin!(call);
    tokio::select! {
        ended = &mut call => panic!("{ended:?}"),
        () = server.arrived.notified() => {}
    }
    tokio::time::pause();
    let error = call.await.unwrap_err();
    assert!(
        matches!(
            error,
            ExternalError::Timeout { phase: Phase::FirstByte, .. } | ExternalError::ConnectionLost { .. }
        ),
        "{error:?}"
    );
    assert_eq!(pool.stats().total.checked_out, 0);
}

#[tokio::test]
async fn a_peer_that_speaks_no_http2_fails_the_request_in_time() {
    let server = Server::http1(|_| crate::server::Reply::Close).await;
    let pool = pool(ConnectionPoolConfig::default(), Http2Use::PriorKnowledge);
    let error = tokio::time::timeout(Duration::from_secs(30), numbered(pool, origin(&server), 1)).await;
    assert!(error.expect("it ends by itself").is_err());
}
