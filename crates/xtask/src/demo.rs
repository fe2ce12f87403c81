//! `cargo xtask demo`: the main job on the bundled recording, then again from the cache.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::children::StopAtEnd;
use crate::whisper::{self, NoPython, Whisper};
use crate::word_error_rate::word_error_rate;
use crate::{root, target_dir};

/// What a small English model must reach on clearly read English.
const MAX_WORD_ERROR_RATE: f64 = 0.20;

pub(crate) fn run() -> Result<()> {
    let _server = StopAtEnd;
    let folder = target_dir()?.join("demo");
    let transcribe = Transcribe::build(&folder)?;
    match whisper::start(&target_dir()?.join("whisper"), &root()?.join("examples/whisper/requirements.txt")) {
        Ok(server) => with_whisper(&transcribe, &server),
        Err(error) if std::env::var_os("CI").is_some() || !error.is::<NoPython>() => Err(error),
        Err(error) => {
            println!("No local Whisper server: {error:#}.");
            println!("The same job with the built-in simulator and tone-coded audio instead.\n");
            with_simulator(&transcribe)
        }
    }
}

fn with_whisper(transcribe: &Transcribe, server: &Whisper) -> Result<()> {
    let data = root()?.join("examples/data");
    let recording = data.join("sense-and-sensibility.flac");
    let said = std::fs::read_to_string(data.join("sense-and-sensibility.txt"))
        .context("the known words are missing")?;
    let api = ["--base-url", &server.base_url, "--model", &server.model];

    println!("\n1. transcribing {} with {}", recording.display(), server.base_url);
    let first = transcribe.run(&recording, &api)?;
    first.print_transcript()?;
    let rate = word_error_rate(&said, first.text()?);
    println!("word error rate {:.1} % of {} words", rate * 100.0, said.split_whitespace().count());
    first.print_summary()?;

    println!("\n2. the same again");
    let second = transcribe.run(&recording, &api)?;
    second.print_summary()?;
    finish(&first, &second)?;
    if rate > MAX_WORD_ERROR_RATE {
        bail!("the word error rate is above {:.0} %", MAX_WORD_ERROR_RATE * 100.0);
    }
    Ok(())
}

fn with_simulator(transcribe: &Transcribe) -> Result<()> {
    let recording = transcribe.folder.join("tones.wav");
    let status = transcribe.command().args(["--write-tones"]).arg(&recording).status()?;
    if !status.success() {
        bail!("the tone-coded recording could not be written");
    }
    println!("1. transcribing {} with the simulator", recording.display());
    let first = transcribe.run(&recording, &["--simulate"])?;
    first.print_transcript()?;
    first.print_summary()?;
    println!("\n2. the same again");
    let second = transcribe.run(&recording, &["--simulate"])?;
    second.print_summary()?;
    finish(&first, &second)
}

fn finish(first: &Outcome, second: &Outcome) -> Result<()> {
    if first.transcript != second.transcript {
        bail!("the second transcript differs from the first");
    }
    let requests = second.stat("requests")?;
    if requests != 0.0 {
        bail!("the second run sent {requests} requests: the cache did not answer");
    }
    println!(
        "\nThe second run sent 0 requests and gave the same transcript: {:.1} s of audio were not paid again.",
        first.stat("audio_seconds")?
    );
    Ok(())
}

/// The command line example, built for release, with a store of its own.
#[derive(Debug)]
struct Transcribe {
    program: PathBuf,
    folder: PathBuf,
}

impl Transcribe {
    fn build(folder: &Path) -> Result<Self> {
        println!("building the example `transcribe`");
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let status = Command::new(cargo)
            .args([
                "build",
                "--quiet",
                "--release",
                "--package",
                "wavequill-examples",
                "--example",
                "transcribe",
            ])
            .current_dir(root()?)
            .status()
            .context("cannot run cargo")?;
        if !status.success() {
            bail!("the example `transcribe` does not build");
        }
        // A demo starts with an empty store, or its first run would have nothing to do.
        if folder.exists() {
            std::fs::remove_dir_all(folder).with_context(|| format!("cannot empty {}", folder.display()))?;
        }
        std::fs::create_dir_all(folder)?;
        Ok(Self { program: target_dir()?.join("release/examples/transcribe"), folder: folder.to_owned() })
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        // A key of the user's is no business of a server that this demo starts.
        command.stdin(Stdio::null()).env_remove("OPENAI_API_KEY").env_remove("OPENAI_BASE_URL");
        command
    }

    fn run(&self, recording: &Path, api: &[&str]) -> Result<Outcome> {
        let (json, stats) = (self.folder.join("transcript.json"), self.folder.join("stats.json"));
        let started = Instant::now();
        let status = self
            .command()
            .arg(recording)
            .args(api)
            // Short chunks show the cutting and the joining even on a short recording.
            .args(["--max-chunk-seconds", "12", "--format", "json", "--output"])
            .arg(&json)
            .arg("--stats")
            .arg(&stats)
            .arg("--store")
            .arg(self.folder.join("store"))
            .status()
            .context("cannot run the example")?;
        if !status.success() {
            bail!("the example `transcribe` failed ({status})");
        }
        let seconds = started.elapsed().as_secs_f64();
        Ok(Outcome { transcript: read_json(&json)?, stats: read_json(&stats)?, seconds })
    }
}

/// What a run wrote.
#[derive(Debug)]
struct Outcome {
    transcript: Value,
    stats: Value,
    seconds: f64,
}

impl Outcome {
    fn text(&self) -> Result<&str> {
        self.transcript.get("text").and_then(Value::as_str).context("the transcript has no text")
    }

    fn stat(&self, name: &str) -> Result<f64> {
        self.stats
            .get(name)
            .and_then(Value::as_f64)
            .with_context(|| format!("the statistics have no `{name}`"))
    }

    fn print_transcript(&self) -> Result<()> {
        let segments = self
            .transcript
            .get("segments")
            .and_then(Value::as_array)
            .context("the transcript has no segments")?;
        println!();
        for segment in segments {
            let time = |name| segment.get(name).and_then(Value::as_f64).unwrap_or_default();
            let text = segment.get("text").and_then(Value::as_str).unwrap_or_default();
            println!("  {:7.2} s – {:7.2} s  {}", time("start"), time("end"), text.trim());
        }
        println!();
        Ok(())
    }

    fn print_summary(&self) -> Result<()> {
        println!(
            "{:.1} s of audio in {:.2} s: {} chunks, {} of them from the cache, {} requests, {:.1} s sent",
            self.stat("audio_seconds")?,
            self.seconds,
            self.stat("chunks")?,
            self.stat("chunks_cached")?,
            self.stat("requests")?,
            self.stat("seconds_sent")?,
        );
        Ok(())
    }
}

fn read_json(file: &Path) -> Result<Value> {
    let text = std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    serde_json::from_str(&text).with_context(|| format!("{} is not JSON", file.display()))
}
