//! Servers that are away, refuse, or fail: the right status, one clear line, and nothing paid twice.

use std::net::TcpListener;
use std::time::Duration;

use http::StatusCode;
use wavequill::external::testing::{Fault, Faults, RetryAfterForm};
use wavequill::testing::speech_api_simulator;

use crate::support::{Stage, complaint, speech};

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_not_there_is_named_with_what_to_do() {
    let stage = Stage::new().await;
    let audio = stage.tones("tones.wav", &speech(5));
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let ran = stage.run(&audio, &["--base-url", &format!("http://{closed}/v1")]).await;
    assert_eq!(ran.status.code(), Some(1));
    let line = complaint(&ran);
    assert!(line.contains(&closed.to_string()) && line.contains("is the server running there?"), "{line}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_key_ends_the_run_at_once_and_is_never_shown() {
    let stage = Stage::with(speech_api_simulator().with_api_key("sk-right")).await;
    let audio = stage.tones("tones.wav", &speech(300));
    let ran = stage.run(&audio, &["--max-chunk-seconds", "35"]).await;
    assert_eq!(ran.status.code(), Some(1), "{}", ran.stderr);
    assert!(complaint(&ran).contains("check it"), "{}", ran.stderr);
    assert!(!ran.stderr.contains("sk-right"));
    assert!(stage.server.report().requests <= 8, "it stopped: {:?}", stage.server.report().requests);
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_and_failures_are_got_over() {
    let faults = Faults::none()
        .on(1, Fault::Status(StatusCode::INTERNAL_SERVER_ERROR))
        .on(2, Fault::throttled(RetryAfterForm::Milliseconds, Duration::from_millis(20)))
        .on(4, Fault::DropAfterUpload);
    let stage = Stage::with(speech_api_simulator().with_faults(faults)).await;
    let speech = speech(200);
    let audio = stage.tones("tones.wav", &speech);
    let ran = stage.run(&audio, &["--format", "json", "--max-chunk-seconds", "40"]).await;
    assert_eq!(ran.status.code(), Some(0), "{}", ran.stderr);
    let score = crate::support::score(&speech, &ran.stdout);
    assert_eq!(score.errors(), 0, "{score:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn ranges_that_fail_for_good_are_named_and_nothing_is_written_unless_gaps_are_allowed() {
    // The third request is refused for good; the chunk that it carried stays unheard.
    let faults = Faults::none().on(3, Fault::Status(StatusCode::UNPROCESSABLE_ENTITY));
    let stage = Stage::with(speech_api_simulator().with_faults(faults)).await;
    let audio = stage.tones("tones.wav", &speech(200));
    let output = stage.path("out.txt");
    let more = ["--max-chunk-seconds", "40", "--concurrency", "1", "--output", output.to_str().unwrap()];
    let ran = stage.run(&audio, &more).await;
    assert_eq!(ran.status.code(), Some(3), "{}", ran.stderr);
    assert!(complaint(&ran).contains("(failed) could not be transcribed"), "{}", ran.stderr);
    assert!(!output.exists());

    let requests = stage.server.report().requests;
    let ran = stage.run(&audio, &more).await;
    assert_eq!(ran.status.code(), Some(0), "{}", ran.stderr);
    assert_eq!(stage.server.report().requests, requests + 1, "only what failed was sent again");
    assert!(output.exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn with_gaps_allowed_the_rest_is_written_and_the_status_still_tells() {
    let faults = Faults::none().on(1, Fault::Status(StatusCode::UNPROCESSABLE_ENTITY));
    let stage = Stage::with(speech_api_simulator().with_faults(faults)).await;
    let audio = stage.tones("tones.wav", &speech(100));
    let ran = stage.run(&audio, &["--max-chunk-seconds", "40", "--allow-gaps", "--format", "json"]).await;
    assert_eq!(ran.status.code(), Some(3), "{}", ran.stderr);
    let transcript: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(transcript["wavequill"]["gaps"].as_array().unwrap().len(), 1, "{}", ran.stdout);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chunk_that_the_server_finds_too_long_is_cut_anew() {
    let server = speech_api_simulator().with_duration_limit(Duration::from_secs(45));
    let stage = Stage::with(server).await;
    let speech = speech(210);
    let audio = stage.tones("tones.wav", &speech);
    let ran = stage.run(&audio, &["--format", "json", "--max-chunk-seconds", "80"]).await;
    assert_eq!(ran.status.code(), Some(0), "{}", ran.stderr);
    let score = crate::support::score(&speech, &ran.stdout);
    assert_eq!(score.errors(), 0, "{score:?}");
}
