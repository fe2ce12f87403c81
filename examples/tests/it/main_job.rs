//! A recording goes in, its transcript comes out; and nothing is paid twice.

use std::time::Duration;

use serde_json::Value;
use wavequill_examples::Cli;

use crate::support::{Stage, score, speech};

#[tokio::test(flavor = "multi_thread")]
async fn every_word_is_there_once_and_at_its_time_after_cutting_and_joining() {
    let stage = Stage::new().await;
    let speech = speech(300);
    let audio = stage.tones("tones.wav", &speech);
    let ran = stage.run(&audio, &["--format", "json", "--max-chunk-seconds", "40"]).await;
    assert!(ran.status.success(), "{}", ran.stderr);
    let score = score(&speech, &ran.stdout);
    assert_eq!(score.errors(), 0, "{score:?}");
    assert!(score.max_start_error <= Duration::from_millis(50), "{score:?}");
    assert!(stage.server.report().requests > 6, "it was cut");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_run_sends_nothing_and_gives_the_same() {
    let stage = Stage::new().await;
    let audio = stage.tones("tones.wav", &speech(120));
    let stats = stage.path("stats.json");
    let more = ["--format", "srt", "--stats", stats.to_str().unwrap()];
    let first = stage.run(&audio, &more).await;
    assert!(first.status.success(), "{}", first.stderr);
    let sent = stage.server.report().requests;
    assert!(sent > 0);
    let second = stage.run(&audio, &more).await;
    assert_eq!((second.stdout, stage.server.report().requests), (first.stdout, sent));
    let stats: Value = serde_json::from_str(&std::fs::read_to_string(&stats).unwrap()).unwrap();
    assert_eq!((stats["requests"].as_u64(), stats["seconds_sent"].as_f64()), (Some(0), Some(0.0)));
    assert_eq!(stats["chunks_cached"], stats["chunks"]);
    assert_eq!(stats["audio_seconds"].as_f64(), Some(120.0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chunk_that_was_heard_before_is_not_sent_for_another_format_or_by_no_cache_kept() {
    let stage = Stage::new().await;
    let audio = stage.tones("tones.wav", &speech(60));
    let bypassed = stage.run(&audio, &["--no-cache"]).await;
    let sent = stage.server.report().requests;
    let kept = stage.run(&audio, &[]).await;
    assert_eq!(kept.stdout, bypassed.stdout);
    assert_eq!(stage.server.report().requests, 2 * sent, "nothing had been kept");
    let other = stage.run(&audio, &["--format", "vtt"]).await;
    assert!(other.stdout.starts_with("WEBVTT"), "{}", other.stdout);
    assert_eq!(stage.server.report().requests, 2 * sent);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_prompt_or_language_is_another_question() {
    let stage = Stage::new().await;
    let audio = stage.tones("tones.wav", &speech(20));
    for more in [&[][..], &["--language", "en"], &["--prompt", "names"]] {
        let before = stage.server.report().requests;
        assert!(stage.run(&audio, more).await.status.success());
        assert_eq!(stage.server.report().requests, before + 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn several_recordings_go_to_a_folder_and_a_bad_one_does_not_stop_the_others() {
    let stage = Stage::new().await;
    let good = stage.tones("good.wav", &speech(20));
    let bad = stage.write("bad.wav", b"this is no audio at all");
    let out = stage.path("out");
    std::fs::create_dir(&out).unwrap();
    let more = [bad.to_str().unwrap(), "--output", out.to_str().unwrap()];
    let ran = stage.run(&good, &more).await;
    assert_eq!(ran.status.code(), Some(1));
    assert!(ran.stderr.contains("bad.wav"), "{}", ran.stderr);
    let words = std::fs::read_to_string(out.join("good.txt")).unwrap();
    assert!(words.split_whitespace().count() > 20, "{words}");
    assert_eq!(std::fs::read_dir(&out).unwrap().count(), 1, "nothing unfinished is left");
}

#[tokio::test(flavor = "multi_thread")]
async fn progress_as_json_never_falls_and_ends_at_one() {
    let stage = Stage::new().await;
    let audio = stage.tones("tones.wav", &speech(200));
    let ran = stage.run(&audio, &["--progress", "json", "--max-chunk-seconds", "40"]).await;
    let fractions: Vec<f64> = ran
        .stderr
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["fraction"].as_f64().unwrap())
        .collect();
    assert!(fractions.is_sorted(), "{fractions:?}");
    assert_eq!(fractions.last(), Some(&1.0));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_requests_in_flight_are_bounded_as_told() {
    let server = wavequill::testing::speech_api_simulator();
    let stage = Stage::with(server).await;
    let audio = stage.tones("tones.wav", &speech(400));
    let ran = stage.run(&audio, &["--concurrency", "2", "--max-chunk-seconds", "35"]).await;
    assert!(ran.status.success(), "{}", ran.stderr);
    let report = stage.server.report();
    assert!(report.requests >= 10 && report.peak_in_flight <= 2, "{report:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_shortest_program_prints_the_words() {
    let stage = Stage::new().await;
    let audio = stage.tones("tones.wav", &speech(20));
    let wanted = stage.run(&audio, &[]).await.stdout;
    let quickstart = Cli::find_named("quickstart").unwrap().in_folder(stage.folder.path());
    let args = [audio.to_str().unwrap().to_owned(), stage.server.base_url()];
    let ran = tokio::task::spawn_blocking(move || quickstart.run(args).unwrap()).await.unwrap();
    assert_eq!(ran.stdout, wanted, "{}", ran.stderr);
    assert!(stage.path("wavequill-data/wavequill.sqlite3").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_picture_of_a_run_has_a_bar_for_each_chunk() {
    let stage = Stage::new().await;
    let audio = stage.tones("tones.wav", &speech(200));
    let page = stage.path("run.html");
    let ran = stage.run(&audio, &["--max-chunk-seconds", "50", "--report", page.to_str().unwrap()]).await;
    assert!(ran.status.success(), "{}", ran.stderr);
    let html = std::fs::read_to_string(&page).unwrap();
    assert!(html.starts_with("<!doctype html>") && html.contains("tones.wav"));
    let data = html.split("id=\"data\">").nth(1).unwrap().split("</script>").next().unwrap();
    let runs: Value = serde_json::from_str(data).unwrap();
    assert_eq!(runs[0]["chunks"].as_array().unwrap().len() as u64, stage.server.report().requests);
}

#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::disallowed_methods, reason = "the runner of the tests says where its servers are")]
async fn a_second_machine_with_the_same_servers_sends_nothing() {
    let servers = ["WAVEQUILL_TEST_DATABASE_URL", "WAVEQUILL_TEST_REDIS_URL"].map(std::env::var);
    assert!(servers.iter().all(Result::is_ok), "a server is not set: run cargo xtask test");
    let [database, redis] = servers.map(Result::unwrap);
    let stage = Stage::new().await;
    let audio = stage.tones("tones.wav", &speech(120));
    let mut outputs = Vec::new();
    for store in ["here", "there"] {
        let store = stage.path(store).to_str().unwrap().to_owned();
        let more =
            ["--database", &database, "--redis", &redis, "--store", &store, "--max-chunk-seconds", "50"];
        let ran = stage.run(&audio, &more).await;
        assert_eq!(ran.status.code(), Some(0), "{}", ran.stderr);
        outputs.push((ran.stdout, stage.server.report().requests));
    }
    assert_eq!(outputs[0], outputs[1], "the same words, and no further request");
}
