//! Several machines with one PostgreSQL, and a Redis beside it: what one has paid for, none sends again.

use std::path::Path;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use wavequill::external::testing::{Latency, SimulatorHandle, ToneScore};
use wavequill::testing::speech_api_simulator;
use wavequill::{Wavequill, WavequillBuilder, WavequillError};

use crate::transcribing::{speech, tones, wav};

#[expect(clippy::disallowed_methods, reason = "the runner of the tests says where its servers are")]
fn server(variable: &str) -> String {
    let url = std::env::var(variable);
    assert!(url.is_ok(), "{variable} is not set: run cargo xtask test");
    url.unwrap()
}

fn database() -> String {
    server("WAVEQUILL_TEST_DATABASE_URL")
}

fn redis() -> String {
    server("WAVEQUILL_TEST_REDIS_URL")
}

/// A machine of its own: another folder, the same servers. The speech API's port, which no other test has, keeps the tests'
/// answers apart.
fn machine(api: &SimulatorHandle, folder: &Path) -> WavequillBuilder {
    let builder = Wavequill::builder().base_url(api.base_url()).store(folder).concurrency(2);
    builder.max_chunk_duration(Duration::from_secs(50)).database(database())
}

async fn slow_api() -> SimulatorHandle {
    let latency = Latency::new(Duration::from_millis(100), Duration::ZERO);
    speech_api_simulator().with_latency(latency).start().await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_machine_sends_nothing_that_the_first_has_sent() {
    for with_redis in [true, false] {
        let api = speech_api_simulator().start().await.unwrap();
        let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        let mut texts = Vec::new();
        for folder in &folders {
            let builder = machine(&api, folder.path());
            let builder = if with_redis { builder.redis(redis()) } else { builder };
            let wavequill = builder.build().await.unwrap();
            let transcript = wavequill.transcribe(tones(200)).await.unwrap().await.unwrap();
            assert_eq!(api.report().requests, transcript.chunks, "Redis: {with_redis}");
            texts.push(transcript.text.clone());
            wavequill.shutdown(Duration::from_secs(5)).await;
        }
        assert_eq!(texts.first(), texts.last());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_machines_that_are_asked_at_the_same_moment_pay_once() {
    let api = slow_api().await;
    let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let [one, other] = folders.each_ref().map(|folder| machine(&api, folder.path()).redis(redis()).build());
    let (one, other) = (one.await.unwrap(), other.await.unwrap());
    let (first, second) =
        tokio::join!(async { one.transcribe(tones(300)).await.unwrap().await.unwrap() }, async {
            other.transcribe(tones(300)).await.unwrap().await.unwrap()
        },);
    assert_eq!(api.report().requests, first.chunks);
    assert_eq!(first.text, second.text);
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_without_a_database_is_refused_with_what_to_do() {
    let builder = Wavequill::builder().base_url("http://127.0.0.1:1/v1").redis(redis());
    let error = builder.build().await.unwrap_err();
    let cause = std::error::Error::source(&error).unwrap().to_string();
    assert!(cause.contains("database"), "{error}: {cause}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_is_not_there_is_named_at_the_start_without_its_password() {
    let builder = Wavequill::builder().base_url("http://127.0.0.1:1/v1");
    let error = builder.database("postgres://user:hunter2@127.0.0.1:1/none").build().await.unwrap_err();
    let shown = format!("{error} {error:?}");
    assert!(shown.contains("refused") && !shown.contains("hunter2"), "{shown}");
}

/// Passes bytes on to the database until it is cut, and takes no more then.
struct Cable {
    url: String,
    running: JoinSet<()>,
}

impl Cable {
    async fn to(url: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let here = listener.local_addr().unwrap();
        let (before, host) = match url.rsplit_once('@') {
            Some((before, rest)) => (format!("{before}@"), rest),
            None => ("postgres://".to_owned(), url.split_once("://").unwrap().1),
        };
        let (host, rest) = host.split_once('/').unwrap();
        let there = host.to_owned();
        let mut running = JoinSet::new();
        running.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((mut near, _)) = listener.accept().await {
                let there = there.clone();
                connections.spawn(async move {
                    let Ok(mut far) = TcpStream::connect(there).await else { return };
                    tokio::io::copy_bidirectional(&mut near, &mut far).await.ok();
                });
            }
        });
        Self { url: format!("{before}{here}/{rest}"), running }
    }

    async fn cut(&mut self) {
        self.running.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_heard_while_the_database_went_away_is_not_lost_and_not_paid_again() {
    let api = slow_api().await;
    let folder = tempfile::tempdir().unwrap();
    let audio = folder.path().join("tones.wav");
    std::fs::write(&audio, wav(&speech(300))).unwrap();
    let mut cable = Cable::to(&database()).await;
    let wavequill = machine(&api, folder.path()).database(cable.url.clone()).build().await.unwrap();
    let mut transcription = wavequill.transcribe(audio.as_path()).await.unwrap();
    while transcription.progress().chunks_done < 3 {
        transcription.changed().await.unwrap();
    }
    cable.cut().await;
    let transcript = transcription.result().await.unwrap();
    assert_eq!(ToneScore::of_text(speech(300).truth(), &transcript.text).errors(), 0);
    assert!(transcript.warnings.iter().any(|warning| warning.contains("could not be kept")));
    // Nobody can know what others have paid for: no more is sent.
    let refused = wavequill.transcribe(tones(100)).await.unwrap().await.unwrap_err();
    assert!(matches!(refused, WavequillError::Cache { .. }), "{refused}");
    let sent = api.report().requests;
    assert_eq!(sent, transcript.chunks);
    wavequill.shutdown(Duration::ZERO).await;
    let again = machine(&api, folder.path()).build().await.unwrap();
    let again = again.transcribe(audio.as_path()).await.unwrap().await.unwrap();
    assert_eq!((&again.text, api.report().requests), (&transcript.text, sent));
}
