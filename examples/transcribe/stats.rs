//! The statistics of a run, as `--stats` writes them.

use std::time::Duration;

use anyhow::Result;
use serde_json::{Value, json};
use wavequill::Wavequill;
use wavequill::processing::{Progress, Transcript};

use crate::output::Output;

/// What a run did.
#[derive(Debug)]
pub(crate) struct Stats {
    files: usize,
    progress: Progress,
    audio: Duration,
    words: usize,
    usage: Value,
    alerts: Vec<String>,
}

impl Stats {
    pub(crate) fn of(progress: &Progress, files: usize) -> Self {
        Self {
            files,
            progress: *progress,
            audio: Duration::ZERO,
            words: 0,
            usage: Value::Null,
            alerts: Vec::new(),
        }
    }

    pub(crate) fn add_transcript(&mut self, transcript: &Transcript) {
        self.audio += transcript.duration();
        self.words += transcript.words.len();
    }

    /// Adds what the service's metrics say, and the alerts that fire.
    pub(crate) async fn add_usage(&mut self, wavequill: &Wavequill) -> Result<()> {
        // Rules are evaluated each 10 s; a short run has them evaluated once, here.
        wavequill.monitor().tick().await?;
        self.usage = json!(wavequill.usage());
        self.alerts = wavequill.monitor().alerts().iter().map(|alert| alert.rule.clone()).collect();
        Ok(())
    }

    /// Writes all of it as one JSON object.
    pub(crate) fn write(&self, place: Output, wall: Duration) -> Result<()> {
        let mut stats = json!({
            "files": self.files,
            "audio_seconds": self.audio.as_secs_f64(),
            "words": self.words,
            "chunks": self.progress.chunks_total,
            "chunks_cached": self.progress.reused,
            "chunks_failed": self.progress.failed,
            "wall_ms": wall.as_secs_f64() * 1e3,
            "alerts": self.alerts,
        });
        if let (Some(stats), Value::Object(usage)) = (stats.as_object_mut(), self.usage.clone()) {
            stats.extend(usage);
        }
        place.write(&format!("{stats:#}\n"))
    }
}
