//! The wire: what a client sees over HTTP/1.1 and HTTP/2, faults included. These are real sockets, so nothing here
//! depends on how fast they are.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode, Version};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::{SimulatorHandle, StreamTasks};
use crate::AudioFormat;
use crate::testing::{
    DecodedAudio, Fault, Faults, Latency, Outcome, Quota, Refusals, SampleEncoding, SpeechApiSimulator,
    ToneScore, ToneSpeech, ToneWord,
};

const BOUNDARY: &str = "cafe0123456789";

enum Sender {
    Http1(http1::SendRequest<Full<Bytes>>),
    Http2(http2::SendRequest<Full<Bytes>>),
}

/// A client of one connection, and the task that keeps it.
struct Client {
    sender: Sender,
    _tasks: JoinSet<()>,
}

impl Client {
    async fn connect(handle: &SimulatorHandle, version: Version) -> Self {
        let io = TokioIo::new(TcpStream::connect(handle.address()).await.unwrap());
        let mut tasks = JoinSet::new();
        let sender = if version == Version::HTTP_2 {
            let (sender, connection) = http2::handshake(StreamTasks::default(), io).await.unwrap();
            tasks.spawn(async { drop(connection.await) });
            Sender::Http2(sender)
        } else {
            let (sender, connection) = http1::handshake(io).await.unwrap();
            tasks.spawn(async { drop(connection.await) });
            Sender::Http1(sender)
        };
        Self { sender, _tasks: tasks }
    }

    async fn send(&mut self, body: impl Into<Bytes>) -> hyper::Result<Answer> {
        let request = Request::post("http://simulator/v1/audio/transcriptions")
            .header("host", "simulator")
            .header("content-type", format!("multipart/form-data; boundary={BOUNDARY}"))
            .body(Full::new(body.into()))
            .unwrap();
        let response = match &mut self.sender {
            Sender::Http1(sender) => {
                sender.ready().await?;
                sender.send_request(request).await?
            }
            Sender::Http2(sender) => {
                sender.ready().await?;
                sender.send_request(request).await?
            }
        };
        let (head, body) = response.into_parts();
        Ok(Answer { status: head.status, body: body.collect().await?.to_bytes() })
    }
}

#[derive(Debug)]
struct Answer {
    status: StatusCode,
    body: Bytes,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    fn words(&self) -> Vec<ToneWord> {
        let time = |value: &Value| Duration::from_secs_f64(value.as_f64().unwrap());
        let word = |word: &Value| ToneWord {
            text: word["word"].as_str().unwrap().to_owned(),
            start: time(&word["start"]),
            end: time(&word["end"]),
        };
        self.json()["words"].as_array().unwrap().iter().map(word).collect()
    }
}

fn body(file: &[u8], name: &str) -> Vec<u8> {
    let mut body = Vec::new();
    for (field, value) in [
        ("model", "whisper-1"),
        ("response_format", "verbose_json"),
        ("timestamp_granularities[]", "word"),
        ("timestamp_granularities[]", "segment"),
    ] {
        let part =
            format!("--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"{field}\"\r\n\r\n{value}\r\n");
        body.extend_from_slice(part.as_bytes());
    }
    let file_head = format!(
        "--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"file\"; filename=\"{name}\"\r\n\
         Content-Type: application/octet-stream\r\n\r\n"
    );
    body.extend_from_slice(file_head.as_bytes());
    body.extend_from_slice(file);
    body.extend_from_slice(format!("\r\n--{BOUNDARY}--\r\n").as_bytes());
    body
}

fn wav(speech: &ToneSpeech) -> Vec<u8> {
    let mut file = Vec::new();
    speech.write_wav(&mut file).unwrap();
    body(&file, "audio.wav")
}

fn speech() -> ToneSpeech {
    ToneSpeech::new(Duration::from_secs(20)).with_seed(9)
}

const VERSIONS: [Version; 2] = [Version::HTTP_11, Version::HTTP_2];

#[tokio::test]
async fn speech_comes_back_word_by_word_over_both_protocols_on_one_port() {
    let handle = SpeechApiSimulator::new().start().await.unwrap();
    assert_eq!(handle.base_url(), format!("http://127.0.0.1:{}/v1", handle.address().port()));
    for version in VERSIONS {
        let mut client = Client::connect(&handle, version).await;
        for encoding in [SampleEncoding::Pcm16, SampleEncoding::Float32] {
            let speech = speech().with_encoding(encoding).with_channels(2);
            let answer = client.send(wav(&speech)).await.unwrap();
            let score = ToneScore::of(speech.truth(), answer.words());
            assert!(score.is_exact(Duration::from_millis(3)) && score.spoken > 40, "{version:?}: {score}");
            assert_eq!(answer.json()["duration"], 20.0);
        }
    }
    let report = handle.shutdown().await;
    let protocols: Vec<_> = report.log.iter().map(|record| record.protocol).collect();
    assert_eq!(protocols, [Version::HTTP_11, Version::HTTP_11, Version::HTTP_2, Version::HTTP_2]);
    assert_eq!((report.granted, report.connections), (4, 2));
    assert_eq!(report.audio_billed, Duration::from_secs(80));
    assert!(report.audio_billed_twice > Duration::from_secs(55), "{report:?}");
    assert!(report.log.iter().all(|record| record.bytes > 640_000 && record.ended.is_some()));
}

#[tokio::test]
async fn uploads_in_other_formats_go_to_the_decoder_that_was_passed_in() {
    let decode = |bytes: Bytes| {
        let samples = speech().samples().map_err(|error| error.to_string())?;
        if bytes.len() < 100 {
            Err("cut".into())
        } else {
            Ok(DecodedAudio::new(16_000, 1, samples.collect()))
        }
    };
    let handle =
        SpeechApiSimulator::new().with_decoder(AudioFormat::Mp3, Arc::new(decode)).start().await.unwrap();
    let mut client = Client::connect(&handle, Version::HTTP_2).await;
    let mp3 = [b"ID3".as_slice(), &[0; 200]].concat();
    let answer = client.send(body(&mp3, "a.mp3")).await.unwrap();
    assert!(ToneScore::of(speech().truth(), answer.words()).is_exact(Duration::from_millis(3)));
    for file in [&mp3[..50], b"text", b"", &[b"fLaC".as_slice(), &[0; 200]].concat()] {
        let answer = client.send(body(file, "a.mp3")).await.unwrap();
        assert_eq!(answer.status, StatusCode::BAD_REQUEST);
        let message = answer.json()["error"]["message"].clone();
        assert_eq!(message, "The audio file could not be decoded or its format is not supported.");
    }
}

#[tokio::test]
async fn a_body_over_the_limit_is_413_and_not_read_to_its_end() {
    for version in VERSIONS {
        let handle = SpeechApiSimulator::new().with_body_limit(100_000).start().await.unwrap();
        let mut client = Client::connect(&handle, version).await;
        let answer = client.send(wav(&ToneSpeech::new(Duration::from_secs(300)))).await.unwrap();
        assert_eq!(answer.status, StatusCode::PAYLOAD_TOO_LARGE, "{version:?}");
        let report = handle.shutdown().await;
        assert!((100_001..1_000_000).contains(&report.bytes_received), "{}", report.bytes_received);
    }
}

#[tokio::test]
async fn early_answers_arrive_although_the_upload_goes_on() {
    for version in VERSIONS {
        let faults = Faults::none().on(0, Fault::InsufficientQuota.early());
        let api = SpeechApiSimulator::new().with_faults(faults).with_refusals(Refusals::BeforeUpload);
        let handle = api.start().await.unwrap();
        let large = wav(&ToneSpeech::new(Duration::from_secs(300)));
        let answer = Client::connect(&handle, version).await.send(large.clone()).await.unwrap();
        assert_eq!(answer.json()["error"]["code"], "insufficient_quota", "{version:?}");
        handle.set_quotas(vec![Quota::requests_per_minute(1)]);
        handle.use_elsewhere(1);
        let answer = Client::connect(&handle, version).await.send(large).await.unwrap();
        assert_eq!(answer.json()["error"]["code"], "rate_limit_exceeded", "{version:?}");
        assert_eq!(handle.shutdown().await.bytes_received, 0);
    }
}

#[tokio::test]
async fn connections_that_drop_and_answers_that_are_cut_are_errors() {
    for version in VERSIONS {
        for fault in [
            Fault::DropBeforeUpload,
            Fault::DropDuringUpload(10_000),
            Fault::DropAfterUpload,
            Fault::TruncatedBody,
        ] {
            let api = SpeechApiSimulator::new().with_faults(Faults::none().on(0, fault.clone()));
            let handle = api.start().await.unwrap();
            let mut client = Client::connect(&handle, version).await;
            assert!(client.send(wav(&speech())).await.is_err(), "{version:?} {fault:?}");
            let mut client = Client::connect(&handle, version).await;
            assert_eq!(client.send(wav(&speech())).await.unwrap().status, StatusCode::OK);
            let outcome = if fault == Fault::TruncatedBody { Outcome::Damaged } else { Outcome::Dropped };
            let report = handle.shutdown().await;
            assert_eq!((report.count(outcome), report.granted), (1, 1), "{version:?} {fault:?}");
        }
    }
}

#[tokio::test]
async fn answers_may_be_padded_broken_or_empty() {
    let faults = Faults::none()
        .on(0, Fault::OversizedBody(3_000_000))
        .on(1, Fault::MalformedJson)
        .on(2, Fault::EmptyBody);
    for version in VERSIONS {
        let handle = SpeechApiSimulator::new().with_faults(faults.clone()).start().await.unwrap();
        let mut client = Client::connect(&handle, version).await;
        let padded = client.send(wav(&speech())).await.unwrap();
        assert!(padded.body.len() > 3_000_000 && padded.words().len() > 40);
        let broken = client.send(wav(&speech())).await.unwrap();
        assert!(serde_json::from_slice::<Value>(&broken.body).is_err() && !broken.body.is_empty());
        assert!(client.send(wav(&speech())).await.unwrap().body.is_empty());
    }
}

#[tokio::test]
async fn a_stalled_request_ends_when_its_client_goes_away() {
    for version in VERSIONS {
        let handle =
            SpeechApiSimulator::new().with_faults(Faults::none().on(0, Fault::Stall)).start().await.unwrap();
        let mut client = Client::connect(&handle, version).await;
        {
            let mut stalled = Box::pin(client.send(wav(&speech())));
            while handle.report().log.first().is_none_or(|record| record.bytes == 0) {
                let step = tokio::time::timeout(Duration::from_millis(1), &mut stalled).await;
                assert!(step.is_err(), "an answer to a request that stalls");
            }
        }
        drop(client);
        while handle.report().in_flight > 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!(handle.report().count(Outcome::Stalled), 1, "{version:?}");
    }
}

#[tokio::test]
async fn a_connection_ends_in_good_order_after_its_requests() {
    for version in VERSIONS {
        let faults = Faults::none().with_goaway_after(2);
        let handle = SpeechApiSimulator::new().with_faults(faults).start().await.unwrap();
        let mut client = Client::connect(&handle, version).await;
        assert_eq!(client.send(wav(&speech())).await.unwrap().status, StatusCode::OK);
        assert_eq!(client.send(wav(&speech())).await.unwrap().status, StatusCode::OK, "{version:?}");
        assert!(client.send(wav(&speech())).await.is_err(), "{version:?}");
        let report = handle.shutdown().await;
        assert_eq!((report.granted, report.goaways), (2, 1));
    }
}

#[tokio::test]
async fn many_requests_share_one_http2_connection_up_to_its_streams() {
    let api = SpeechApiSimulator::new()
        .with_max_concurrent_streams(3)
        .with_latency(Latency::new(Duration::from_millis(5), Duration::ZERO));
    let handle = api.start().await.unwrap();
    let mut client = Client::connect(&handle, Version::HTTP_2).await;
    // Until the first answer the client does not know how many streams it may open, and would open too many.
    assert_eq!(client.send(wav(&speech())).await.unwrap().status, StatusCode::OK);
    let Sender::Http2(sender) = &client.sender else { panic!("an HTTP/2 client was asked for") };
    let mut requests = JoinSet::new();
    for _ in 0..12 {
        let mut client = Client { sender: Sender::Http2(sender.clone()), _tasks: JoinSet::new() };
        requests.spawn(async move { client.send(wav(&speech())).await.map(|answer| answer.status) });
    }
    let statuses = requests.join_all().await;
    assert!(statuses.into_iter().all(|status| status.is_ok_and(|status| status == StatusCode::OK)));
    let report = handle.shutdown().await;
    assert_eq!((report.granted, report.connections), (13, 1));
    assert!((1..=3).contains(&report.peak_in_flight), "{}", report.peak_in_flight);
}

#[tokio::test]
async fn dropping_the_handle_ends_the_connections() {
    let handle =
        SpeechApiSimulator::new().with_faults(Faults::none().first(9, Fault::Stall)).start().await.unwrap();
    let mut client = Client::connect(&handle, Version::HTTP_11).await;
    let address = handle.address();
    let dropping = async {
        while handle.report().requests == 0 {
            tokio::task::yield_now().await;
        }
        drop(handle);
    };
    let (answer, ()) = tokio::join!(client.send(wav(&speech())), dropping);
    assert!(answer.is_err());
    while TcpStream::connect(address).await.is_ok() {
        tokio::task::yield_now().await;
    }
}
