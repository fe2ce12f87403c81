//! Killed at any moment and started again, the command pays only for what was on its way.

use std::time::Duration;

use wavequill::external::testing::Latency;
use wavequill::testing::speech_api_simulator;

use crate::support::{Stage, speech};

/// Chunks of at most this.
const CHUNK_SECONDS: u64 = 50;
const IN_FLIGHT: u64 = 3;

#[tokio::test(flavor = "multi_thread")]
async fn killed_five_times_it_pays_only_for_what_was_in_flight() {
    let server =
        speech_api_simulator().with_latency(Latency::new(Duration::from_millis(150), Duration::ZERO));
    let stage = Stage::with(server).await;
    let (seconds, speech) = (900, speech(900));
    let audio = stage.tones("tones.wav", &speech);
    let more = ["--concurrency", "3", "--max-chunk-seconds", "50", "--format", "json"];
    // After so many whole answers since the start.
    for kill_after in [1, 3, 0, 2, 4] {
        let before = stage.server.report().granted;
        let (cli, args) = (stage.cli.clone(), stage.args(&audio, &more));
        let mut running = tokio::task::spawn_blocking(move || cli.start(args).unwrap()).await.unwrap();
        let mut ticks = tokio::time::interval(Duration::from_millis(2));
        while stage.server.report().granted < before + kill_after || stage.server.report().in_flight == 0 {
            assert!(!running.has_ended().unwrap(), "it ended before it could be killed");
            ticks.tick().await;
        }
        running.kill().unwrap();
    }
    let ran = stage.run(&audio, &more).await;
    assert_eq!(ran.status.code(), Some(0), "{}", ran.stderr);
    let score = crate::support::score(&speech, &ran.stdout);
    assert_eq!(score.errors(), 0, "{score:?}");
    let sent = stage.server.report().audio_received.as_secs();
    assert!(sent <= seconds + 5 * IN_FLIGHT * CHUNK_SECONDS, "{sent} s were sent");

    let unbroken = Stage::new().await;
    let again = unbroken.run(&unbroken.tones("tones.wav", &speech), &more).await;
    assert_eq!(ran.stdout, again.stdout, "the transcript is the same to the byte");
}
