//! The spans and events that tell the picture of a run: times and numbers only, never a text, a key or a prompt.

use std::time::Duration;

use tracing::{Span, field, info, info_span};

use crate::{AudioChunk, CutQuality, Gap, SampleRate, TaskId};

/// All of a run.
pub(crate) fn run(name: &str, audio: Duration) -> Span {
    info_span!(
        target: "wavequill::processing", "run",
        run_id = name, seconds = audio.as_secs_f64(), outcome = field::Empty
    )
}

/// One task of a run, from its taking to its end. Says where the chunk was cut.
pub(crate) fn chunk(run: &Span, task: TaskId, chunk: &AudioChunk) -> Span {
    let start = chunk.start_timestamp().as_secs_f64();
    if chunk.owned().start().get() > 0 {
        let quality = match chunk.cut_quality() {
            CutQuality::Pause => "pause",
            CutQuality::Blind => "blind",
        };
        info!(name: "cut", target: "wavequill::processing", parent: run, at = start, quality);
    }
    info_span!(
        target: "wavequill::processing", parent: run, "chunk",
        index = task.index(), start, samples = chunk.duration().as_secs_f64(), outcome = field::Empty
    )
}

/// A stage of the task that is being polled.
pub(crate) fn stage(stage: &'static str) -> Span {
    info_span!(target: "wavequill::processing", "stage", stage, outcome = field::Empty)
}

/// A request of the task that is being polled.
pub(crate) fn attempt(number: u32, hedge: bool) -> Span {
    info_span!(
        target: "wavequill::processing", "attempt",
        n = number, hedge = u32::from(hedge), outcome = field::Empty
    )
}

/// Something that nobody heard.
pub(crate) fn gap(gap: &Gap, rate: SampleRate) {
    let seconds = |samples| rate.duration_of(samples).as_secs_f64();
    let (start, end) = (seconds(gap.span.start().get()), seconds(gap.span.end().get()));
    info!(name: "gap", target: "wavequill::processing", start, end, cause = gap.cause.name());
}
