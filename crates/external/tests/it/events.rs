//! Answers that come as server-sent events.
#![expect(clippy::panic, reason = "helpers of tests: what goes wrong there is to fail the test")]

use std::time::Duration;

use wavequill_external::{
    ExternalError, HttpSpeechApi, ModelId, SpeechApi, SpeechEvent, SpeechEvents, SpeechRequest, Timestamps,
    TimingNeed,
};

use crate::server::{Reply, Server};
use crate::{HELLO, api, config, request};

fn streamed() -> SpeechRequest {
    let mut asked = request(1000).with_timestamps(Timestamps::Words, TimingNeed::BestEffort);
    asked.model = ModelId::new("gpt-4o-transcribe").unwrap();
    asked
}

fn events(body: &str) -> Reply {
    Reply::RawThenClose(format!("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n{body}"))
}

/// The text of all pieces, and how it ended.
async fn all(mut events: SpeechEvents) -> (String, Result<String, ExternalError>) {
    let mut pieces = String::new();
    loop {
        match events.next().await {
            Some(Ok(SpeechEvent::Delta(text))) => pieces.push_str(&text),
            Some(Ok(SpeechEvent::Segment(segment))) => pieces.push_str(&segment.text),
            Some(Ok(SpeechEvent::Done(whole))) => {
                assert!(events.next().await.is_none(), "the whole comes last");
                return (pieces, Ok(whole.text));
            }
            Some(Err(error)) => {
                assert!(events.next().await.is_none(), "an error comes last");
                return (pieces, Err(error));
            }
            None => panic!("neither a whole nor an error"),
        }
    }
}

async fn heard(body: &str) -> (String, Result<String, ExternalError>) {
    let reply = body.to_owned();
    let server = Server::http1(move |_| events(&reply)).await;
    let client = api(&server.url);
    let heard = all(client.transcribe_stream(streamed()).await.unwrap()).await;
    let scope = client.quota_scope(&ModelId::new("gpt-4o-transcribe").unwrap());
    assert_eq!(client.quota().view(&scope).in_flight, 0, "the quota is given back");
    heard
}

#[tokio::test]
async fn text_comes_piece_by_piece_and_then_as_a_whole() {
    let body = concat!(
        ": hello\n",
        "event: transcript.text.delta\ndata: {\"type\":\"transcript.text.delta\",\"delta\":\" One\"}\n\n",
        "data: {\"type\":\"something.new\",\"delta\":\"no\"}\r\n\r\n",
        "data: {\"type\":\"transcript.text.delta\",\"delta\":\" two.\",\"logprobs\":[]}\n\n",
        "data: {\"type\":\"transcript.text.segment\",\"id\":\"seg_1\",\"start\":0.5,\"end\":1.0,\"text\":\" Ann\",\"speaker\":\"A\"}\n\n",
        "data: {\"type\":\"transcript.text.done\",\"text\":\"One two.\",\"usage\":{\"type\":\"tokens\",\"input_tokens\":3}}\n\n",
        "data: [DONE]\n\n",
    );
    let (pieces, whole) = heard(body).await;
    assert_eq!((pieces.as_str(), whole.unwrap().as_str()), (" One two.Ann", "One two."));
}

#[tokio::test]
async fn what_is_no_whole_transcript_is_an_error() {
    let delta = "data: {\"type\":\"transcript.text.delta\",\"delta\":\"a\"}\n\n";
    let table = [
        (String::new(), "ended before"),
        (delta.to_owned(), "ended before"),
        (format!("{delta}data: [DONE]\n\n"), "ended before"),
        (format!("{delta}data: {{\"type\":\"transcript.text.done\",\"text\":\"a\"}}"), "ended before"),
        (format!("{delta}data: {{\"type\":\"transcript\n\n"), "not JSON"),
        (
            format!("{delta}data: {{\"error\":{{\"message\":\"out of memory\",\"code\":\"x\"}}}}\n\n"),
            "out of memory",
        ),
        (
            "data: {\"type\":\"transcript.text.segment\",\"start\":2,\"end\":1,\"text\":\"b\"}\n\n"
                .to_owned(),
            "before it starts",
        ),
        (
            "data: {\"type\":\"transcript.text.segment\",\"start\":2,\"end\":3,\"text\":\"b\"}\n\n\
             data: {\"type\":\"transcript.text.segment\",\"start\":1,\"end\":3,\"text\":\"c\"}\n\n"
                .to_owned(),
            "the one before it",
        ),
        (format!("data: {}\n\n", "x".repeat(1024 * 1024 + 1)), "1 MiB"),
    ];
    for (body, reason) in table {
        let (_, whole) = heard(&body).await;
        let error = whole.unwrap_err();
        assert!(matches!(&error, ExternalError::InvalidResponse { .. }), "{error:?}");
        assert!(error.to_string().contains(reason), "{error} for {reason}");
    }
}

#[tokio::test]
async fn a_stream_without_end_is_cut_off() {
    let delta =
        "data: {\"type\":\"transcript.text.delta\",\"delta\":\"aaaaaaaaaaaaaaaaaaaaaaaa\"}\n\n".repeat(2_000);
    let server = Server::http1(move |_| events(&delta)).await;
    let mut config = config(&server.url);
    config.api.max_answer_bytes = 100_000;
    let client = HttpSpeechApi::over_hyper(config).unwrap();
    let (_, whole) = all(client.transcribe_stream(streamed()).await.unwrap()).await;
    assert!(whole.unwrap_err().to_string().contains("100000 bytes"));
}

#[tokio::test]
async fn a_server_or_a_model_without_streams_gives_the_whole_as_one_event() {
    let server = Server::http1(|_| Reply::ok(HELLO)).await;
    for asked in [streamed(), request(1000)] {
        let (pieces, whole) = all(api(&server.url).transcribe_stream(asked).await.unwrap()).await;
        assert_eq!((pieces.as_str(), whole.unwrap().as_str()), ("", "Hello."));
    }
}

#[tokio::test]
async fn a_refusal_comes_before_any_event() {
    let server = Server::http1(|_| Reply::json("401 Unauthorized", "", "{}")).await;
    let refused = api(&server.url).transcribe_stream(streamed()).await;
    assert!(matches!(refused, Err(ExternalError::Stopped { .. })), "{refused:?}");
}

#[tokio::test]
async fn waiting_for_an_event_can_be_given_up_and_taken_up_again() {
    let server = Server::http1(|_| {
        events("data: {\"type\":\"transcript.text.delta\",\"delta\":\"a\"}\n\ndata: {\"type\":\"transcript.text.done\",\"text\":\"a\"}\n\n")
    })
    .await;
    let client = api(&server.url);
    let mut stream = client.transcribe_stream(streamed()).await.unwrap();
    // A future that is polled once and dropped, however far it came.
    while futures_util::FutureExt::now_or_never(stream.next()).is_none() {
        tokio::task::yield_now().await;
    }
    assert!(matches!(stream.next().await, Some(Ok(SpeechEvent::Done(_)))));
}

#[tokio::test]
async fn dropping_the_events_gives_stream_and_quota_back() {
    let server = Server::http1(|_| {
        Reply::Raw("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\ndata: {\"type\":\"transcript.text.delta\",\"delta\":\"a\"}\n\n".into())
    })
    .await;
    let client = api(&server.url);
    let mut stream =
        client.transcribe_stream(streamed().with_deadline(Duration::from_secs(600))).await.unwrap();
    assert!(matches!(stream.next().await, Some(Ok(SpeechEvent::Delta(_)))));
    let scope = client.quota_scope(&ModelId::new("gpt-4o-transcribe").unwrap());
    assert_eq!(client.quota().view(&scope).in_flight, 1);
    drop(stream);
    assert_eq!(client.quota().view(&scope).in_flight, 0);
    assert_eq!(client.pool().stats().total.checked_out, 0);
}

#[cfg(feature = "testing")]
#[tokio::test]
async fn the_simulator_streams_the_words_that_it_hears() {
    use wavequill_external::testing::{SimulatedModel, SpeechApiSimulator, ToneScore, ToneSpeech};
    use wavequill_external::{AudioFormat, SpeechAudio};

    let simulator = SpeechApiSimulator::new()
        .with_model(SimulatedModel::text_only("gpt-4o-transcribe"))
        .start()
        .await
        .unwrap();
    let speech = ToneSpeech::new(Duration::from_secs(10));
    let mut file = Vec::new();
    speech.write_wav(&mut file).unwrap();
    let mut asked = streamed();
    asked.audio = SpeechAudio::from_bytes(file, AudioFormat::Wav, Duration::from_secs(10));
    let client = api(&simulator.base_url());
    let (pieces, whole) = all(client.transcribe_stream(asked).await.unwrap()).await;
    assert_eq!(pieces, whole.unwrap());
    assert_eq!(ToneScore::of_text(speech.truth(), &pieces).errors(), 0);
}
