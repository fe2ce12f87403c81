//! What happened in a run, in numbers: chunks over workers, pauses and cuts, quota, savings.

use serde::{Deserialize, Serialize};

use crate::model::layout::MetricUnit;
use crate::model::quantile::Percentiles;
use crate::model::sketch::Sketch;

/// Some runs, each of one file. Serialise it as JSON to keep it, or render it with [`render_html`](crate::render_html).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RunReport {
    /// The runs, in the order they began.
    pub runs: Vec<Run>,
    /// Spans that were not kept, since there were too many.
    pub dropped_spans: u64,
}

/// One file from its opening to its transcript. Times of the run are seconds since it began; places in the audio are seconds
/// since its start.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Run {
    /// What it was called.
    pub id: String,
    /// The size of the file.
    pub bytes: u64,
    /// The length of the audio.
    pub audio_seconds: f64,
    /// How long it took; for a run that still goes on, until now.
    pub wall_seconds: f64,
    /// How it ended; empty while it goes on.
    pub outcome: String,
    /// Its chunks, in the order they began.
    pub chunks: Vec<ChunkBar>,
    /// What was done for the whole file.
    pub stages: Vec<StageBar>,
    /// Loudness over the file, 0 to 255, in equal steps.
    pub envelope: Vec<u8>,
    /// Pauses that were found: where each begins and ends.
    pub pauses: Vec<Stretch>,
    /// Where the audio was cut.
    pub cuts: Vec<Cut>,
    /// What could not be transcribed.
    pub gaps: Vec<Stretch>,
    /// What was left of the API's limits.
    pub quota: Vec<QuotaPoint>,
    /// Audio that did not have to be sent, since its transcript was known.
    pub saved_seconds: f64,
    /// What that would have cost, in millionths of a dollar.
    pub saved_microdollars: u64,
    /// The text, if it was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub transcript: Option<String>,
}

/// One chunk on its way.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ChunkBar {
    /// Its number in the file.
    pub index: u64,
    /// The line it is drawn on: chunks that overlap in time have different ones.
    pub lane: usize,
    /// Where its audio begins.
    pub start: f64,
    /// How much audio it is.
    pub seconds: f64,
    /// When it began.
    pub began: f64,
    /// When it ended.
    pub ended: f64,
    /// `done`, `failed`, `cancelled`, or empty while it goes on.
    pub outcome: String,
    /// What was done for it.
    pub stages: Vec<StageBar>,
}

/// One thing that was done.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct StageBar {
    /// `permit`, `attempt`, `retry`, `hedge`, `hit`, `keep`, or another stage's name.
    pub stage: String,
    /// When it began.
    pub began: f64,
    /// When it ended.
    pub ended: f64,
    /// How it ended, if it said so.
    pub outcome: String,
}

/// Some of the audio.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Stretch {
    /// Where it begins.
    pub start: f64,
    /// Where it ends.
    pub end: f64,
}

/// One cut.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Cut {
    /// Where.
    pub at: f64,
    /// `pause` or `blind`.
    pub quality: String,
}

/// What was left of one limit at one time.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct QuotaPoint {
    /// When.
    pub at: f64,
    /// `requests`, `tokens`, `audio`, `bytes` or `concurrency`.
    pub dimension: String,
    /// What was left.
    pub remaining: f64,
    /// Of how much; 0 if it was not said.
    pub limit: f64,
}

impl RunReport {
    /// With the transcripts in the report; by default they are not.
    #[must_use]
    pub fn with_transcript(mut self, run_id: &str, transcript: impl Into<String>) -> Self {
        if let Some(run) = self.runs.iter_mut().find(|run| run.id == run_id) {
            run.transcript = Some(transcript.into());
        }
        self
    }
}

impl Run {
    /// How many lines the chunks need.
    pub fn lanes(&self) -> usize {
        self.chunks.iter().map(|chunk| chunk.lane + 1).max().unwrap_or(0)
    }

    /// Puts each chunk on the first line that is free when it begins.
    pub(crate) fn assign_lanes(&mut self) {
        self.chunks
            .sort_by(|left, right| left.began.total_cmp(&right.began).then(left.index.cmp(&right.index)));
        let mut free_at: Vec<f64> = Vec::new();
        for chunk in &mut self.chunks {
            let free = free_at.iter().position(|free| *free <= chunk.began);
            chunk.lane = free.unwrap_or(free_at.len());
            match free_at.get_mut(chunk.lane) {
                Some(until) => *until = chunk.ended,
                None => free_at.push(chunk.ended),
            }
        }
    }

    /// How long each stage took: its name, how often, in all, and its percentiles.
    pub fn stage_times(&self) -> Vec<StageTimes> {
        let mut sketches: std::collections::BTreeMap<&str, Sketch> = std::collections::BTreeMap::new();
        let all = self.chunks.iter().flat_map(|chunk| &chunk.stages).chain(&self.stages);
        for bar in all {
            let sketch = sketches.entry(&bar.stage).or_insert_with(|| Sketch::new(MetricUnit::Seconds));
            // A clock that stood still gives 0, which counts; nothing else is refused.
            let _ = sketch.record((bar.ended - bar.began).max(0.0));
        }
        let of = |(stage, sketch): (&str, Sketch)| {
            let percentiles = sketch.percentiles()?;
            let (count, seconds) = (sketch.count(), sketch.sum());
            Some(StageTimes { stage: stage.to_owned(), count, seconds, percentiles })
        };
        sketches.into_iter().filter_map(of).collect()
    }
}

/// How long a stage took.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct StageTimes {
    /// Its name.
    pub stage: String,
    /// How often it was done.
    pub count: u64,
    /// How long all of them took together.
    pub seconds: f64,
    /// How long one took.
    pub percentiles: Percentiles,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn chunks_on_one_line_never_overlap(times in prop::collection::vec((0.0_f64..100.0, 0.0_f64..20.0), 0..60)) {
            let chunk = |(index, (began, took)): (usize, &(f64, f64))| {
                ChunkBar { index: index as u64, began: *began, ended: began + took, ..ChunkBar::default() }
            };
            let mut run = Run { chunks: times.iter().enumerate().map(chunk).collect(), ..Run::default() };
            run.assign_lanes();
            for lane in 0..run.lanes() {
                let on: Vec<_> = run.chunks.iter().filter(|chunk| chunk.lane == lane).collect();
                for pair in on.windows(2) {
                    prop_assert!(pair[0].ended <= pair[1].began);
                }
            }
        }
    }
}
