//! A recording goes in, its transcript comes out.

use std::time::Duration;

use wavequill::external::testing::{Latency, ToneScore, ToneSpeech};
use wavequill::processing::{OutputFormat, Progress};
use wavequill::testing::speech_api_simulator;
use wavequill::{CacheUse, Source, TranscribeOptions, Wavequill, WavequillError};

pub(crate) fn speech(seconds: u64) -> ToneSpeech {
    ToneSpeech::new(Duration::from_secs(seconds))
}

pub(crate) fn wav(speech: &ToneSpeech) -> Vec<u8> {
    let mut bytes = Vec::new();
    speech.write_wav(&mut bytes).unwrap();
    bytes
}

pub(crate) fn tones(seconds: u64) -> Source {
    Source::bytes("tones.wav", wav(&speech(seconds)))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recording_in_memory_is_transcribed_and_known_the_second_time() {
    let server = speech_api_simulator().start().await.unwrap();
    let wavequill = Wavequill::builder()
        .base_url(server.base_url())
        .max_chunk_duration(Duration::from_secs(50))
        .build()
        .await
        .unwrap();
    let first = wavequill.transcribe(tones(200)).await.unwrap().await.unwrap();
    let score = ToneScore::of_text(speech(200).truth(), &first.text);
    assert_eq!(score.errors(), 0, "{score:?}");
    assert_eq!(first.reused, Duration::ZERO);
    let requests = server.report().requests;
    let second = wavequill.transcribe(tones(200)).await.unwrap().await.unwrap();
    assert_eq!(server.report().requests, requests);
    assert_eq!(second.reused, second.duration());
    let bytes = |transcript| OutputFormat::VerboseJson.render(transcript);
    assert_eq!(bytes(&second), bytes(&first));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bypassed_cache_neither_answers_nor_learns() {
    let server = speech_api_simulator().start().await.unwrap();
    let wavequill = Wavequill::builder().base_url(server.base_url()).build().await.unwrap();
    let bypass = TranscribeOptions::default().with_cache(CacheUse::Bypass);
    for requests in 1..=2 {
        wavequill.transcribe_with(tones(20), bypass.clone()).await.unwrap().await.unwrap();
        assert_eq!(server.report().requests, requests);
    }
    wavequill.transcribe(tones(20)).await.unwrap().await.unwrap();
    assert_eq!(server.report().requests, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn progress_never_falls_and_is_one_at_the_end() {
    let server = speech_api_simulator().start().await.unwrap();
    let wavequill = Wavequill::builder()
        .base_url(server.base_url())
        .max_chunk_duration(Duration::from_secs(40))
        .build()
        .await
        .unwrap();
    let mut transcription = wavequill.transcribe(tones(200)).await.unwrap();
    let mut fractions = vec![transcription.progress().fraction()];
    while let Some(progress) = transcription.changed().await {
        fractions.push(Progress::fraction(&progress));
    }
    fractions.push(transcription.progress().fraction());
    assert!(fractions.is_sorted(), "{fractions:?}");
    assert_eq!(fractions.last(), Some(&1.0));
    transcription.result().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancel_stops_sending_and_keeps_what_was_heard() {
    let latency = Latency::new(Duration::from_millis(100), Duration::ZERO);
    let server = speech_api_simulator().with_latency(latency).start().await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let build = || {
        let builder = Wavequill::builder().base_url(server.base_url()).store(folder.path()).concurrency(2);
        builder.max_chunk_duration(Duration::from_secs(50)).build()
    };
    let audio = folder.path().join("tones.wav");
    std::fs::write(&audio, wav(&speech(600))).unwrap();
    let wavequill = build().await.unwrap();
    let mut transcription = wavequill.transcribe(audio.as_path()).await.unwrap();
    while transcription.progress().chunks_done < 3 {
        transcription.changed().await.expect("it has not ended");
    }
    transcription.cancel().await.unwrap();
    let kept = transcription.progress().chunks_done;
    let error = transcription.result().await.unwrap_err();
    assert!(matches!(error, WavequillError::Cancelled), "{error}");
    let sent = server.report().requests;
    let transcript = wavequill.transcribe(audio.as_path()).await.unwrap().await.unwrap();
    assert_eq!(ToneScore::of_text(speech(600).truth(), &transcript.text).errors(), 0);
    assert!(server.report().requests - sent <= transcript.chunks - kept, "what was heard is not sent again");
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_that_will_not_do_are_refused_with_their_names() {
    for (builder, name) in [
        (Wavequill::builder(), "base_url"),
        (Wavequill::builder().base_url("ftp://example.org"), "scheme"),
        (Wavequill::builder().base_url("http://example.org/v1"), "base URL"),
        (Wavequill::builder().base_url("http://127.0.0.1:1/v1").concurrency(0), "concurrency"),
        (Wavequill::builder().base_url("http://127.0.0.1:1/v1").model("a b"), "model"),
        (Wavequill::builder().base_url("http://127.0.0.1:1/v1").keep_for(Duration::ZERO), "ttl"),
    ] {
        let error = builder.build().await.unwrap_err();
        let mut text = error.to_string();
        let mut source = std::error::Error::source(&error);
        while let Some(cause) = source {
            text = format!("{text}: {cause}");
            source = cause.source();
        }
        assert!(text.contains(name), "{name}: {text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_for_a_recording_in_memory_is_told_of_the_shutdown() {
    let latency = Latency::new(Duration::from_secs(3_600), Duration::ZERO);
    let server = speech_api_simulator().with_latency(latency).start().await.unwrap();
    let wavequill = Wavequill::builder().base_url(server.base_url()).build().await.unwrap();
    let waiting = wavequill.transcribe(tones(20)).await.unwrap();
    wavequill.clone().shutdown(Duration::ZERO).await;
    assert!(matches!(waiting.await.unwrap_err(), WavequillError::ShutDown));
    assert!(matches!(wavequill.transcribe(tones(20)).await.unwrap_err(), WavequillError::ShutDown));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_without_times_is_not_asked_for_them_also_with_a_limit_of_bytes_of_ones_own() {
    let server = speech_api_simulator().start().await.unwrap();
    let wavequill = Wavequill::builder()
        .base_url(server.base_url())
        .model("gpt-4o-transcribe")
        .max_chunk_bytes(2_000_000)
        .build()
        .await
        .unwrap();
    let transcript = wavequill.transcribe(tones(30)).await.unwrap().await.unwrap();
    assert_eq!(ToneScore::of_text(speech(30).truth(), &transcript.text).lost, 0);
    assert!(transcript.is_estimated(), "its times are spread, and say so");
}
