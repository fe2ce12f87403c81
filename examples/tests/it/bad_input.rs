//! Bad input: each gets one clear line and the right exit status; nothing panics, nothing is left half-written.

use wavequill::external::testing::ToneSpeech;

use crate::support::{Stage, complaint, speech};

fn wav(speech: &ToneSpeech) -> Vec<u8> {
    let mut bytes = Vec::new();
    speech.write_wav(&mut bytes).unwrap();
    bytes
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_audio_is_refused_by_its_name() {
    let stage = Stage::new().await;
    let empty = stage.write("empty.wav", b"");
    let text = stage.write("notes.mp3", b"These are notes of a meeting, and no MP3 file.\n".repeat(100));
    let missing = stage.path("missing.flac");
    let folder = stage.path("folder");
    std::fs::create_dir(&folder).unwrap();
    for (audio, said) in
        [(empty, "empty"), (text, "notes.mp3"), (missing, "missing.flac"), (folder, "directory")]
    {
        let output = stage.path("out.txt");
        let ran = stage.run(&audio, &["--output", output.to_str().unwrap()]).await;
        assert_eq!(ran.status.code(), Some(1), "{audio:?}: {}", ran.stderr);
        assert!(complaint(&ran).contains(said), "{audio:?}: {}", ran.stderr);
        assert!(!output.exists() && ran.stdout.is_empty(), "{audio:?}");
    }
    assert_eq!(stage.server.report().requests, 0);
    let left: Vec<_> = std::fs::read_dir(stage.folder.path()).unwrap().flatten().collect();
    assert!(
        left.iter().all(|entry| !entry.file_name().to_string_lossy().starts_with(".transcribe")),
        "{left:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_truncated_wav_gives_what_is_there_and_a_warning() {
    let stage = Stage::new().await;
    let mut bytes = wav(&speech(60));
    bytes.truncate(bytes.len() / 2);
    let audio = stage.write("cut.wav", bytes);
    let ran = stage.run(&audio, &[]).await;
    assert_eq!(ran.status.code(), Some(0), "{}", ran.stderr);
    assert!(ran.stdout.split_whitespace().count() > 30, "{}", ran.stdout);
    assert!(ran.stderr.contains("cut.wav: at byte"), "{}", ran.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wav_whose_header_lies_about_its_size_is_read_to_its_end() {
    let stage = Stage::new().await;
    let honest = stage.write("honest.wav", wav(&speech(30)));
    let wanted = stage.run(&honest, &[]).await.stdout;
    for lie in [0_u32, u32::MAX, 1 << 30] {
        let mut bytes = wav(&speech(30));
        bytes[40..44].copy_from_slice(&lie.to_le_bytes());
        let audio = stage.write(&format!("lie-{lie}.wav"), bytes);
        let ran = stage.run(&audio, &[]).await;
        assert_eq!((ran.status.code(), &ran.stdout), (Some(0), &wanted), "{lie}: {}", ran.stderr);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn silence_gives_an_empty_transcript_and_a_moment_of_sound_sends_nothing() {
    let stage = Stage::new().await;
    let header = wav(&speech(10))[..44].to_vec();
    let silent = |samples: usize| {
        let mut bytes = header.clone();
        bytes[40..44].copy_from_slice(&(2 * samples as u32).to_le_bytes());
        bytes.extend(std::iter::repeat_n(0, 2 * samples));
        bytes
    };
    let moment = stage.write("moment.wav", silent(800));
    let ran = stage.run(&moment, &["--format", "json"]).await;
    assert_eq!(ran.status.code(), Some(0), "{}", ran.stderr);
    assert_eq!(stage.server.report().requests, 0, "0.05 s is nothing to hear");
    let silence = stage.write("silence.wav", silent(16_000 * 20));
    let ran = stage.run(&silence, &[]).await;
    assert_eq!((ran.status.code(), ran.stdout.trim()), (Some(0), ""), "{}", ran.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_output_that_cannot_be_written_is_found_before_anything_is_paid() {
    let stage = Stage::new().await;
    let audio = stage.tones("tones.wav", &speech(10));
    let nowhere = stage.path("no/such/folder/out.txt");
    let ran = stage.run(&audio, &["--output", nowhere.to_str().unwrap()]).await;
    assert_eq!(ran.status.code(), Some(1));
    assert!(complaint(&ran).contains("is it there, and may you write to it?"), "{}", ran.stderr);
    assert_eq!(stage.server.report().requests, 0);
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_for_the_output_is_one_clear_line() {
    let stage = Stage::new().await;
    let audio = stage.tones("tones.wav", &speech(10));
    let ran = stage.run(&audio, &["--output", "/dev/full"]).await;
    assert_eq!(ran.status.code(), Some(1), "{}", ran.stderr);
    let line = complaint(&ran);
    assert!(line.contains("free some space") && line.contains("No space left"), "{line}");
    assert!(
        std::fs::metadata("/dev/full").unwrap().file_type() != std::fs::metadata(&audio).unwrap().file_type()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_usage_has_a_status_of_its_own() {
    let stage = Stage::new().await;
    let audio = stage.tones("tones.wav", &speech(5));
    for more in
        [&["--concurrency", "0"][..], &["--format", "pdf"], &["--max-chunk-seconds", "-1"], &["--no-such"]]
    {
        let ran = stage.run(&audio, more).await;
        assert_eq!(ran.status.code(), Some(2), "{more:?}: {}", ran.stderr);
    }
    let alone = stage.run(&audio, &["--redis", "redis://127.0.0.1"]).await;
    assert_eq!(alone.status.code(), Some(2));
    assert!(alone.stderr.contains("--database"), "{}", alone.stderr);
}
