//! Measures what wavequill promises of the main job, with the command line as users run it, against the built-in simulator.
//!
//! ```console
//! $ cargo build --release --examples
//! $ target/release/examples/measure [words|memory|killed|all] [FOLDER]
//! ```
//! The folder (a temporary one if absent) needs 5 GB for `memory`. `flac` and `lame` must be installed for `words`.
#![expect(clippy::print_stdout, reason = "it prints a table")]

use std::fs::File;
use std::io::BufWriter;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use wavequill::external::testing::{Latency, SimulatorHandle, ToneScore, ToneSpeech, ToneWord};
use wavequill::testing::speech_api_simulator;
use wavequill_examples::{Cli, Ran};

#[tokio::main]
async fn main() -> Result<()> {
    let mut args = std::env::args().skip(1);
    let what = args.next().unwrap_or_else(|| "all".into());
    let temporary = tempfile::tempdir().context("no temporary folder")?;
    let folder = args.next().map_or_else(|| temporary.path().to_owned(), PathBuf::from);
    match what.as_str() {
        "words" => words(&folder).await,
        "memory" => memory(&folder).await,
        "killed" => killed(&folder).await,
        "all" => {
            words(&folder).await?;
            memory(&folder).await?;
            killed(&folder).await
        }
        other => bail!("`{other}` is not one of words, memory, killed, all"),
    }
}

/// 45 minutes of tone-coded speech as WAV, FLAC and MP3, with the API's limits of 25 MB and 1400 s.
async fn words(folder: &Path) -> Result<()> {
    let speech = ToneSpeech::new(Duration::from_secs(45 * 60)).with_seed(45);
    let wav = folder.join("words.wav");
    speech.write_wav(BufWriter::new(File::create(&wav)?))?;
    let (flac, mp3) = (folder.join("words.flac"), folder.join("words.mp3"));
    encode(Command::new("flac").args(["-s", "-f", "-o"]).arg(&flac).arg(&wav))?;
    encode(Command::new("lame").args(["--quiet", "-b", "64"]).arg(&wav).arg(&mp3))?;
    println!(
        "| 45 min of tone-coded speech | bytes | chunks | words | lost | doubled or garbled | largest start error | memory | time |"
    );
    println!("|---|---|---|---|---|---|---|---|---|");
    for audio in [wav, flac, mp3] {
        let server = speech_api_simulator().start().await?;
        let store = tempfile::tempdir_in(folder)?;
        let ran = transcribe(&server, &audio, store.path(), &["--format", "json"]).await?;
        ensure!(ran.status.success(), "{}", ran.stderr);
        let score = ToneScore::of(speech.truth(), heard(&ran.stdout)?);
        println!(
            "| {} | {} | {} | {} | {} | {} | {:.1} ms | {} MB | {:.1} s |",
            audio.extension().unwrap_or_default().to_string_lossy(),
            std::fs::metadata(&audio)?.len(),
            server.report().requests,
            score.spoken,
            score.lost,
            score.surplus_words.len(),
            score.max_start_error.as_secs_f64() * 1e3,
            megabytes(&ran),
            ran.elapsed.as_secs_f64(),
        );
    }
    Ok(())
}

/// The memory of the process for a WAV file of 4 GB.
async fn memory(folder: &Path) -> Result<()> {
    // Stereo at 48 kHz: 192,000 bytes a second, so 6 hours are 4.1 GB.
    let speech = ToneSpeech::new(Duration::from_secs(6 * 3_600)).with_rate(48_000).with_channels(2);
    let audio = folder.join("memory.wav");
    speech.write_wav(BufWriter::new(File::create(&audio)?))?;
    let bytes = std::fs::metadata(&audio)?.len();
    let server = speech_api_simulator().start().await?;
    let store = tempfile::tempdir_in(folder)?;
    let ran = transcribe(&server, &audio, store.path(), &["--format", "json"]).await?;
    ensure!(ran.status.success(), "{}", ran.stderr);
    let score = ToneScore::of(speech.truth(), heard(&ran.stdout)?);
    println!(
        "WAV of {bytes} bytes, {} requests: {} MB of memory at most, {} of {} words lost, {:.1} s",
        server.report().requests,
        megabytes(&ran),
        score.lost,
        score.spoken,
        ran.elapsed.as_secs_f64(),
    );
    std::fs::remove_file(&audio)?;
    Ok(())
}

/// Killed at five moments drawn at random, and started again: what is sent, and whether the transcript is the same.
async fn killed(folder: &Path) -> Result<()> {
    let speech = ToneSpeech::new(Duration::from_secs(45 * 60)).with_seed(5);
    let audio = folder.join("killed.wav");
    speech.write_wav(BufWriter::new(File::create(&audio)?))?;
    let latency = Latency::new(Duration::from_millis(300), Duration::from_millis(2));
    let server = speech_api_simulator().with_latency(latency).start().await?;
    let store = tempfile::tempdir_in(folder)?;
    let more = ["--format", "json", "--max-chunk-seconds", "120", "--concurrency", "4"];
    let cli = Cli::find()?;
    let mut in_flight = 0;
    let mut moments = std::collections::hash_map::RandomState::new();
    for _ in 0..5 {
        let before = server.report().granted;
        let after = draw(&mut moments) % 5;
        let running = cli.start(arguments(&server, &audio, store.path(), &more))?;
        while server.report().granted < before + after || server.report().in_flight == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        tokio::time::sleep(Duration::from_millis(draw(&mut moments) % 300)).await;
        in_flight += server.report().in_flight;
        running.kill()?;
    }
    let ran = transcribe(&server, &audio, store.path(), &more).await?;
    ensure!(ran.status.success(), "{}", ran.stderr);
    let report = server.report();
    let other = tempfile::tempdir_in(folder)?;
    let unbroken = transcribe(&server, &audio, other.path(), &more).await?;
    println!(
        "killed 5 times with {in_flight} requests in flight in all: {:.0} s of {} s sent, {:.0} s of them twice; the same to the byte: {}",
        report.audio_received.as_secs_f64(),
        45 * 60,
        report.audio_billed_twice.as_secs_f64(),
        ran.stdout == unbroken.stdout,
    );
    Ok(())
}

fn draw(state: &mut std::collections::hash_map::RandomState) -> u64 {
    use std::hash::{BuildHasher, Hasher};
    let drawn = state.build_hasher().finish();
    *state = std::collections::hash_map::RandomState::new();
    drawn
}

fn encode(command: &mut Command) -> Result<()> {
    let name = command.get_program().to_owned();
    let status = command.status().with_context(|| format!("{} is not installed", name.display()))?;
    if status.success() { Ok(()) } else { bail!("{} failed", name.display()) }
}

fn arguments(server: &SimulatorHandle, audio: &Path, store: &Path, more: &[&str]) -> Vec<String> {
    let text = |path: &Path| path.to_string_lossy().into_owned();
    let fixed = [text(audio), "--base-url".into(), server.base_url(), "--store".into(), text(store)];
    fixed.into_iter().chain(more.iter().map(|arg| (*arg).to_owned())).collect()
}

/// Runs the command off the async threads, where the server lives.
async fn transcribe(server: &SimulatorHandle, audio: &Path, store: &Path, more: &[&str]) -> Result<Ran> {
    let (cli, args) = (Cli::find()?, arguments(server, audio, store, more));
    Ok(tokio::task::spawn_blocking(move || cli.run(args)).await??)
}

fn heard(json: &str) -> Result<Vec<ToneWord>> {
    let transcript: serde_json::Value = serde_json::from_str(json)?;
    let words = transcript.get("words").and_then(|words| words.as_array()).context("no words")?;
    let time = |word: &serde_json::Value, name: &str| {
        Duration::from_secs_f64(word.get(name).and_then(serde_json::Value::as_f64).unwrap_or_default())
    };
    let word = |word: &serde_json::Value| {
        let text = word.get("word").and_then(serde_json::Value::as_str)?.to_owned();
        Some(ToneWord { text, start: time(word, "start"), end: time(word, "end") })
    };
    words.iter().map(word).collect::<Option<Vec<_>>>().context("a word without text")
}

fn megabytes(ran: &Ran) -> u64 {
    ran.peak_bytes.unwrap_or_default() / 1_000_000
}
