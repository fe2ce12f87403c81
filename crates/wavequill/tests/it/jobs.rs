//! Files are jobs: accepted once, finished whatever dies.

use std::time::Duration;

use wavequill::external::testing::Latency;
use wavequill::queue::JobState;
use wavequill::testing::speech_api_simulator;
use wavequill::{JobScope, Wavequill, WavequillError};

use crate::transcribing::{speech, wav};

#[tokio::test(flavor = "multi_thread")]
async fn the_same_file_asked_for_twice_is_one_job() {
    let latency = Latency::new(Duration::from_millis(50), Duration::ZERO);
    let server = speech_api_simulator().with_latency(latency).start().await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let audio = folder.path().join("tones.wav");
    std::fs::write(&audio, wav(&speech(30))).unwrap();
    let wavequill =
        Wavequill::builder().base_url(server.base_url()).store(folder.path()).build().await.unwrap();
    let first = wavequill.transcribe(audio.as_path()).await.unwrap();
    let second = wavequill.transcribe(audio.as_path()).await.unwrap();
    assert_eq!(first.job(), second.job());
    assert_eq!(first.await.unwrap(), second.await.unwrap());
    assert_eq!(server.report().requests, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_services_that_share_a_store_send_a_file_once() {
    let latency = Latency::new(Duration::from_millis(100), Duration::ZERO);
    let server = speech_api_simulator().with_latency(latency).start().await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let audio = folder.path().join("tones.wav");
    std::fs::write(&audio, wav(&speech(30))).unwrap();
    let build = || Wavequill::builder().base_url(server.base_url()).store(folder.path()).build();
    let (one, other) = (build().await.unwrap(), build().await.unwrap());
    let first = one.transcribe(audio.as_path()).await.unwrap();
    let second = other.transcribe(audio.as_path()).await.unwrap();
    let (first, second) = tokio::join!(first, second);
    assert_eq!(first.unwrap().text, second.unwrap().text);
    assert_eq!(server.report().requests, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_an_earlier_process_left_is_finished_by_a_service_that_takes_all() {
    let folder = tempfile::tempdir().unwrap();
    let audio = folder.path().join("tones.wav");
    std::fs::write(&audio, wav(&speech(30))).unwrap();
    let latency = Latency::new(Duration::from_secs(3_600), Duration::ZERO);
    let stuck = speech_api_simulator().with_latency(latency).start().await.unwrap();
    let build = |base_url: String| {
        Wavequill::builder()
            .base_url(base_url)
            .provider("simulator")
            .store(folder.path())
            .jobs(JobScope::All)
            .build()
    };
    let first = build(stuck.base_url()).await.unwrap();
    let accepted = first.transcribe(audio.as_path()).await.unwrap();
    let job = accepted.job().unwrap();
    first.shutdown(Duration::ZERO).await;
    drop(accepted);

    let server = speech_api_simulator().start().await.unwrap();
    let second = build(server.base_url()).await.unwrap();
    second.queue().wait(job).await.unwrap();
    assert_eq!(second.queue().job(job).await.unwrap().unwrap().state, JobState::Completed);
    assert_eq!(server.report().requests, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_not_there_is_refused_at_once_and_leaves_no_job() {
    let server = speech_api_simulator().start().await.unwrap();
    let wavequill = Wavequill::builder().base_url(server.base_url()).build().await.unwrap();
    let error = wavequill.transcribe("no/such/file.mp3").await.unwrap_err();
    assert!(matches!(&error, WavequillError::Processing { .. }), "{error}");
    assert!(error.to_string().contains("no/such/file.mp3"), "{error}");
    assert!(wavequill.queue().stats().await.unwrap().kinds.iter().all(|kind| kind.ready + kind.running == 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_tells_its_progress_and_its_end_also_to_who_looks_late() {
    let server = speech_api_simulator().start().await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let audio = folder.path().join("tones.wav");
    std::fs::write(&audio, wav(&speech(30))).unwrap();
    let wavequill =
        Wavequill::builder().base_url(server.base_url()).store(folder.path()).build().await.unwrap();
    let mut transcription = wavequill.transcribe(audio.as_path()).await.unwrap();
    transcription.ended().await;
    while transcription.changed().await.is_some() {}
    assert_eq!(transcription.progress().fraction(), 1.0);
    transcription.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_away_fails_the_first_attempt_for_who_asked() {
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let audio = folder.path().join("tones.wav");
    std::fs::write(&audio, wav(&speech(5))).unwrap();
    let wavequill = Wavequill::builder().base_url(format!("http://{closed}/v1")).build().await.unwrap();
    let error = wavequill.transcribe(audio).await.unwrap().await.unwrap_err();
    assert!(matches!(&error, WavequillError::Processing { .. }), "{error}");
}
