//! Transcribes recordings on the command line: the main job, over the facade.
//!
//! ```console
//! $ cargo build --release --example transcribe
//! $ target/release/examples/transcribe --base-url http://127.0.0.1:8000/v1 --format srt talk.mp3
//! ```
#![expect(clippy::print_stderr, reason = "a command line speaks to its terminal")]
#![expect(clippy::disallowed_methods, reason = "a command line reads its environment and the clock")]

#[path = "transcribe/args.rs"]
mod args;
#[path = "transcribe/output.rs"]
mod output;
#[path = "transcribe/progress.rs"]
mod progress;
#[path = "transcribe/report.rs"]
mod report;
#[path = "transcribe/setup.rs"]
mod setup;
#[path = "transcribe/stats.rs"]
mod stats;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::Parser;
use wavequill::processing::{Progress, Transcript};
use wavequill::{Transcription, WavequillError};

use crate::args::Args;
use crate::output::Output;
use crate::progress::Display;
use crate::report::RunPicture;
use crate::stats::Stats;

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Status {
    Whole = 0,
    Gaps = 3,
    Failed = 1,
    Stopped = 130,
}

#[tokio::main]
async fn main() -> ExitCode {
    let args = Args::parse();
    if let Err(wrong) = args.check() {
        eprintln!("transcribe: {wrong}");
        return ExitCode::from(2);
    }
    match run(&args).await {
        Ok(status) => ExitCode::from(status as u8),
        Err(error) => {
            complain(&error);
            ExitCode::from(Status::Failed as u8)
        }
    }
}

/// One line: what went wrong and what to do.
fn complain(error: &anyhow::Error) {
    eprintln!("transcribe: {}", format!("{error:#}").replace('\n', " "));
}

async fn run(args: &Args) -> Result<Status> {
    if let Some(place) = &args.write_tones {
        setup::write_tones(place, args.tones_seconds)?;
        return Ok(Status::Whole);
    }
    let started = Instant::now();
    let places = output::places(args.output.as_deref(), &args.audio, args.format.extension())?;
    let outputs = places.iter().map(|place| Output::open(place.as_deref())).collect::<Result<Vec<_>>>()?;
    let stats_output = args.stats.as_deref().map(|place| Output::open(Some(place))).transpose()?;
    let report = args.report.as_deref().map(RunPicture::begin).transpose()?;
    // The simulator, if there is one, ends with the command.
    let (wavequill, _simulator) = setup::service(args).await?;

    let mut work = Vec::new();
    for (audio, output) in args.audio.iter().zip(outputs) {
        let accepted = wavequill.transcribe(audio.as_path()).await.map_err(anyhow::Error::from);
        work.push(Work { name: audio.display().to_string(), accepted, output });
    }
    let display = Display::new(args.progress);
    let stopped = tokio::select! {
        () = watch(&work, &display) => false,
        signal = tokio::signal::ctrl_c() => {
            signal.context("cannot watch for Ctrl-C")?;
            true
        }
    };
    display.show(&total(&work));
    display.end();
    let mut stats = Stats::of(&total(&work), work.len());
    let status = if stopped { stop(args, &work).await } else { write(args, work, &mut stats).await };
    let counted = stats.add_usage(&wavequill).await;
    wavequill.shutdown(Duration::from_secs(1)).await;
    counted?;
    if let Some(place) = stats_output {
        stats.write(place, started.elapsed())?;
    }
    report.map_or(Ok(()), RunPicture::write)?;
    Ok(status)
}

/// One recording and where its transcript goes.
struct Work {
    name: String,
    accepted: Result<Transcription>,
    output: Output,
}

fn total(work: &[Work]) -> Progress {
    let running = work.iter().filter_map(|work| work.accepted.as_ref().ok());
    running.map(Transcription::progress).reduce(Progress::and).unwrap_or_default()
}

/// Shows progress until all have ended.
async fn watch(work: &[Work], display: &Display) {
    let mut ticks = tokio::time::interval(Duration::from_millis(200));
    let running: Vec<&Transcription> = work.iter().filter_map(|work| work.accepted.as_ref().ok()).collect();
    let mut ended = std::pin::pin!(async {
        for transcription in &running {
            transcription.ended().await;
        }
    });
    loop {
        tokio::select! {
            () = &mut ended => return,
            _ = ticks.tick() => display.show(&total(work)),
        }
    }
}

/// Stops what goes on, and says how to go on.
async fn stop(args: &Args, work: &[Work]) -> Status {
    let progress = total(work);
    for transcription in work.iter().filter_map(|work| work.accepted.as_ref().ok()) {
        if let Err(error) = transcription.cancel().await {
            complain(&error.into());
        }
    }
    if args.no_cache {
        eprintln!("transcribe: stopped; nothing is kept with --no-cache");
    } else {
        let done = progress.audio_done.as_secs();
        eprintln!(
            "transcribe: stopped after {done} s of audio; what was heard is kept: run the same command again to go on"
        );
    }
    Status::Stopped
}

/// Writes what is whole, and complains about the rest. The worst end counts.
async fn write(args: &Args, work: Vec<Work>, stats: &mut Stats) -> Status {
    let mut status = Status::Whole;
    for Work { name, accepted, output } in work {
        let outcome = match accepted {
            Ok(transcription) => transcription.result().await.map_err(anyhow::Error::from),
            Err(error) => Err(error),
        };
        let ended = match outcome {
            Ok(transcript) => written(args, &name, &transcript, output, stats),
            Err(error) => {
                let gaps = matches!(error.downcast_ref(), Some(WavequillError::Incomplete { .. }));
                complain(&error.context(name));
                if gaps { Status::Gaps } else { Status::Failed }
            }
        };
        status = worse(status, ended);
    }
    status
}

fn written(
    args: &Args,
    name: &str,
    transcript: &Arc<Transcript>,
    output: Output,
    stats: &mut Stats,
) -> Status {
    for warning in &transcript.warnings {
        eprintln!("transcribe: {name}: {warning}");
    }
    stats.add_transcript(transcript);
    if let Err(error) = output.write(&args.format.render(transcript)) {
        complain(&error);
        return Status::Failed;
    }
    if transcript.is_complete() {
        return Status::Whole;
    }
    let incomplete = WavequillError::Incomplete { transcript: Arc::clone(transcript) };
    complain(&anyhow::Error::from(incomplete).context(name.to_owned()));
    Status::Gaps
}

fn worse(one: Status, other: Status) -> Status {
    let severity = |status| match status {
        Status::Whole => 0,
        Status::Gaps => 1,
        Status::Failed => 2,
        Status::Stopped => 3,
    };
    if severity(other) > severity(one) { other } else { one }
}
