//! Shows how far the recordings are: a bar on a terminal, lines of JSON for programs, or nothing.

use std::io::{IsTerminal, Write};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use wavequill::processing::Progress;

use crate::args::ProgressMode;

/// Shows the progress of all recordings together on the standard error.
#[derive(Debug)]
pub(crate) enum Display {
    Bar(ProgressBar),
    Json,
    Nothing,
}

const TEMPLATE: &str = "{bar:30} {percent:>3} %  {msg}";

impl Display {
    pub(crate) fn new(mode: ProgressMode) -> Self {
        match mode {
            ProgressMode::Json => Self::Json,
            ProgressMode::None => Self::Nothing,
            ProgressMode::Auto if !std::io::stderr().is_terminal() => Self::Nothing,
            ProgressMode::Auto | ProgressMode::Bar => {
                let bar = ProgressBar::with_draw_target(Some(1_000), ProgressDrawTarget::stderr());
                if let Ok(style) = ProgressStyle::with_template(TEMPLATE) {
                    bar.set_style(style);
                }
                Self::Bar(bar)
            }
        }
    }

    /// Shows where things stand now.
    pub(crate) fn show(&self, progress: &Progress) {
        match self {
            Self::Bar(bar) => {
                bar.set_position((progress.fraction() * 1_000.0) as u64);
                bar.set_message(message(progress));
            }
            Self::Json => {
                let line = serde_json::json!({
                    "fraction": progress.fraction(),
                    "audio_seconds_done": progress.audio_done.as_secs_f64(),
                    "audio_seconds": progress.audio_total.as_secs_f64(),
                    "chunks_done": progress.chunks_done,
                    "chunks": progress.chunks_total,
                    "chunks_cached": progress.reused,
                    "in_flight": progress.in_flight,
                    "failed": progress.failed,
                    "eta_seconds": progress.eta.map(|eta| eta.as_secs_f64()),
                });
                // Progress that nobody reads is no reason to stop.
                let _unread = writeln!(std::io::stderr().lock(), "{line}");
            }
            Self::Nothing => {}
        }
    }

    /// Takes the bar away, so that what follows stands alone.
    pub(crate) fn end(&self) {
        if let Self::Bar(bar) = self {
            bar.finish_and_clear();
        }
    }
}

fn message(progress: &Progress) -> String {
    let clock = |time: Duration| format!("{}:{:02}", time.as_secs() / 60, time.as_secs() % 60);
    let done = format!("{} of {}", clock(progress.audio_done), clock(progress.audio_total));
    let known = match progress.reused {
        0 => String::new(),
        known => format!(", {known} of {} chunks known", progress.chunks_total),
    };
    let left = progress.eta.filter(|eta| !eta.is_zero());
    let left = left.map(|eta| format!(", {} left", clock(eta))).unwrap_or_default();
    format!("{done}{known}{left}")
}
