//! The same audio, asked for by several at the same moment, is paid once; what was paid outlasts what goes wrong.

use std::path::Path;
use std::time::Duration;

use wavequill::external::testing::{Latency, SimulatorHandle, ToneScore};
use wavequill::testing::speech_api_simulator;
use wavequill::{Transcription, Wavequill, WavequillError};

use crate::transcribing::{speech, tones, wav};

async fn slow_server() -> SimulatorHandle {
    let latency = Latency::new(Duration::from_millis(100), Duration::ZERO);
    speech_api_simulator().with_latency(latency).start().await.unwrap()
}

async fn service(server: &SimulatorHandle, folder: &Path) -> Wavequill {
    let builder = Wavequill::builder().base_url(server.base_url()).store(folder).concurrency(2);
    builder.max_chunk_duration(Duration::from_secs(50)).build().await.unwrap()
}

/// Names of the journals in a store's folder.
fn journals(folder: &Path) -> Vec<String> {
    let files = std::fs::read_dir(folder.join("runs")).unwrap();
    files.map(|file| file.unwrap().file_name().into_string().unwrap()).collect()
}

async fn after_chunks(transcription: &mut Transcription, chunks: u64) {
    while transcription.progress().chunks_done < chunks {
        transcription.changed().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recording_asked_for_under_three_names_at_once_by_two_services_is_sent_once() {
    let server = slow_server().await;
    let folder = tempfile::tempdir().unwrap();
    let bytes = wav(&speech(300));
    let (one, other) = (folder.path().join("one.wav"), folder.path().join("other.wav"));
    std::fs::write(&one, &bytes).unwrap();
    std::fs::write(&other, &bytes).unwrap();
    let (first, second) = (service(&server, folder.path()).await, service(&server, folder.path()).await);
    let (one, other, memory) = tokio::join!(
        async { first.transcribe(one).await.unwrap().await.unwrap() },
        async { first.transcribe(other).await.unwrap().await.unwrap() },
        async { second.transcribe(tones(300)).await.unwrap().await.unwrap() },
    );
    assert_eq!(server.report().requests, one.chunks);
    assert_eq!(ToneScore::of_text(speech(300).truth(), &one.text).errors(), 0);
    assert_eq!((&one.text, &one.text), (&other.text, &memory.text));
    let reused = [&one, &other, &memory].map(|transcript| transcript.reused);
    let paid = reused.iter().filter(|reused| reused.is_zero()).count();
    assert_eq!(paid, 1, "two of three know that they cost nothing: {reused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waited_gets_the_error_of_the_one_who_asked_and_sends_nothing() {
    let server = speech_api_simulator()
        .with_latency(Latency::new(Duration::from_millis(200), Duration::ZERO))
        .with_api_key("the right one")
        .start()
        .await
        .unwrap();
    let builder = Wavequill::builder().base_url(server.base_url()).api_key("another one");
    let wavequill = builder.build().await.unwrap();
    let [one, other] = [wavequill.transcribe(tones(30)).await, wavequill.transcribe(tones(30)).await];
    let (one, other) = tokio::join!(one.unwrap().result(), other.unwrap().result());
    let (one, other) = (one.unwrap_err(), other.unwrap_err());
    assert!(matches!(one, WavequillError::Processing { .. }), "{one}");
    assert_eq!(one.to_string(), other.to_string());
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_goes_on_where_a_cancelled_run_stopped() {
    let server = slow_server().await;
    let folder = tempfile::tempdir().unwrap();
    let audio = folder.path().join("tones.wav");
    std::fs::write(&audio, wav(&speech(600))).unwrap();
    let wavequill = service(&server, folder.path()).await;
    let mut cancelled = wavequill.transcribe(audio).await.unwrap();
    after_chunks(&mut cancelled, 3).await;
    let waiting = wavequill.transcribe(tones(600)).await.unwrap();
    cancelled.cancel().await.unwrap();
    assert!(matches!(cancelled.result().await.unwrap_err(), WavequillError::Cancelled));
    let transcript = waiting.await.unwrap();
    assert_eq!(ToneScore::of_text(speech(600).truth(), &transcript.text).errors(), 0);
    // Two were in flight when it was cancelled.
    assert!(server.report().requests <= transcript.chunks + 2, "{:?}", server.report());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unfinished_run_has_a_journal_and_a_finished_one_has_none() {
    let server = slow_server().await;
    let folder = tempfile::tempdir().unwrap();
    let audio = folder.path().join("tones.wav");
    std::fs::write(&audio, wav(&speech(600))).unwrap();
    let wavequill = service(&server, folder.path()).await;
    let mut transcription = wavequill.transcribe(audio.as_path()).await.unwrap();
    after_chunks(&mut transcription, 2).await;
    assert_eq!(journals(folder.path()).len(), 1);
    transcription.cancel().await.unwrap();
    transcription.result().await.unwrap_err();
    assert_eq!(journals(folder.path()).len(), 1);
    wavequill.transcribe(audio.as_path()).await.unwrap().await.unwrap();
    assert_eq!(journals(folder.path()), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_answers_store_has_lost_is_taken_from_the_journal() {
    let server = slow_server().await;
    let folder = tempfile::tempdir().unwrap();
    let audio = folder.path().join("tones.wav");
    std::fs::write(&audio, wav(&speech(600))).unwrap();
    let wavequill = service(&server, folder.path()).await;
    let mut transcription = wavequill.transcribe(audio.as_path()).await.unwrap();
    after_chunks(&mut transcription, 3).await;
    transcription.cancel().await.unwrap();
    let kept = transcription.progress().chunks_done;
    transcription.result().await.unwrap_err();
    wavequill.shutdown(Duration::ZERO).await;
    let sent = server.report().requests;
    for file in std::fs::read_dir(folder.path()).unwrap() {
        let file = file.unwrap().path();
        if file.file_name().is_some_and(|name| name.to_string_lossy().starts_with("wavequill.sqlite3")) {
            std::fs::remove_file(file).unwrap();
        }
    }
    let wavequill = service(&server, folder.path()).await;
    let transcript = wavequill.transcribe(audio.as_path()).await.unwrap().await.unwrap();
    assert_eq!(ToneScore::of_text(speech(600).truth(), &transcript.text).errors(), 0);
    assert!(server.report().requests - sent <= transcript.chunks - kept, "what was heard is not sent again");
}
