//! What a recorder has heard, and how it becomes a report.

use super::RunRecorder;
use super::fields::Fields;
use crate::model::run_report::{ChunkBar, Cut, QuotaPoint, Run, RunReport, StageBar, Stretch};

/// What whole numbers of audio are counted in where a run does not say its rate: what recognisers hear.
const DEFAULT_RATE: f64 = 16_000.0;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Run,
    Chunk,
    Stage,
    Attempt,
}

impl Kind {
    pub(super) fn of(name: &str) -> Option<Self> {
        match name {
            "run" => Some(Self::Run),
            "chunk" => Some(Self::Chunk),
            "stage" => Some(Self::Stage),
            "attempt" => Some(Self::Attempt),
            _ => None,
        }
    }
}

pub(super) fn is_event(name: &str) -> bool {
    matches!(name, "envelope" | "pause" | "gap" | "cut" | "quota" | "saved")
}

#[derive(Debug)]
pub(super) struct SpanRecord {
    pub(super) kind: Kind,
    /// The place of the span around it.
    pub(super) parent: Option<usize>,
    pub(super) began: f64,
    pub(super) ended: Option<f64>,
    pub(super) fields: Fields,
}

#[derive(Debug)]
struct EventRecord {
    name: String,
    parent: Option<usize>,
    at: f64,
    fields: Fields,
}

#[derive(Debug, Default)]
pub(super) struct Recording {
    /// The place of the first span: those before it have been forgotten.
    base: usize,
    spans: Vec<SpanRecord>,
    events: Vec<EventRecord>,
    dropped: u64,
}

impl Recording {
    /// Keeps a span, if there is room: for runs and chunks longer than for what was done for them.
    pub(super) fn open(&mut self, span: SpanRecord) -> Option<usize> {
        let limit = match span.kind {
            Kind::Run | Kind::Chunk => 2 * RunRecorder::MAX_SPANS,
            Kind::Stage | Kind::Attempt => RunRecorder::MAX_SPANS,
        };
        if self.spans.len() >= limit {
            self.dropped += 1;
            return None;
        }
        let parent = span.parent.filter(|place| *place >= self.base);
        self.spans.push(SpanRecord { parent, ..span });
        Some(self.base + self.spans.len() - 1)
    }

    /// Forgets everything; what still changes of it goes nowhere.
    pub(super) fn clear(&mut self) {
        *self = Self { base: self.base + self.spans.len(), ..Self::default() };
    }

    pub(super) fn change(&mut self, place: usize, change: impl FnOnce(&mut SpanRecord)) {
        let span = place.checked_sub(self.base).and_then(|at| self.spans.get_mut(at));
        if let Some(span) = span {
            change(span);
        }
    }

    pub(super) fn event(&mut self, name: String, parent: Option<usize>, at: f64, fields: Fields) {
        if self.events.len() >= RunRecorder::MAX_SPANS {
            self.dropped += 1;
            return;
        }
        self.events.push(EventRecord { name, parent, at, fields });
    }

    pub(super) fn report(&self, now: f64) -> RunReport {
        let mut runs: Vec<(usize, Run, Frame)> = Vec::new();
        for (place, span) in self.placed().filter(|(_, span)| span.kind == Kind::Run) {
            let rate = span.fields.number("rate").filter(|rate| *rate > 0.0).unwrap_or(DEFAULT_RATE);
            let run = Run {
                id: span.fields.text("run_id"),
                bytes: span.fields.count("bytes"),
                audio_seconds: span.fields.number("seconds").unwrap_or(0.0),
                wall_seconds: span.ended.unwrap_or(now) - span.began,
                outcome: span.fields.text("outcome"),
                ..Run::default()
            };
            runs.push((place, run, Frame { rate, began: span.began, now }));
        }
        // Where each span's chunk is: in which run, at which place in it.
        let mut chunk_at: Vec<Option<(usize, usize)>> = vec![None; self.spans.len()];
        for (place, span) in self.placed().filter(|(_, span)| span.kind == Kind::Chunk) {
            let Some(at) = self.run_of(Some(place), &runs) else { continue };
            let Some((_, run, frame)) = runs.get_mut(at) else { continue };
            if let Some(cell) = chunk_at.get_mut(place - self.base) {
                *cell = Some((at, run.chunks.len()));
            }
            run.chunks.push(frame.chunk(span));
        }
        for span in self.spans.iter().filter(|span| matches!(span.kind, Kind::Stage | Kind::Attempt)) {
            let chunk = self.above(span.parent).find_map(|place| *chunk_at.get(place - self.base)?);
            let Some(at) = self.run_of(span.parent, &runs) else { continue };
            let Some((_, run, frame)) = runs.get_mut(at) else { continue };
            let Some(bar) = frame.stage(span) else { continue };
            match chunk.and_then(|(_, chunk)| run.chunks.get_mut(chunk)) {
                Some(chunk) => chunk.stages.push(bar),
                None => run.stages.push(bar),
            }
        }
        for event in &self.events {
            let Some(at) = self.run_of(event.parent, &runs) else { continue };
            if let Some((_, run, frame)) = runs.get_mut(at) {
                frame.add(run, event);
            }
        }
        let finished = |(_, mut run, _): (usize, Run, Frame)| {
            run.assign_lanes();
            run
        };
        RunReport { runs: runs.into_iter().map(finished).collect(), dropped_spans: self.dropped }
    }

    /// The span at a place and those around it, from the innermost.
    fn above(&self, place: Option<usize>) -> impl Iterator<Item = usize> {
        let known = place.filter(|place| *place >= self.base);
        std::iter::successors(known, |place| self.spans.get(*place - self.base)?.parent)
    }

    fn placed(&self) -> impl Iterator<Item = (usize, &SpanRecord)> {
        (self.base..).zip(&self.spans)
    }

    /// The run that a place is in; what is in none belongs to the only one there is.
    fn run_of(&self, place: Option<usize>, runs: &[(usize, Run, Frame)]) -> Option<usize> {
        let around =
            self.above(place).find_map(|place| runs.iter().position(|(run_place, ..)| *run_place == place));
        around.or((runs.len() == 1).then_some(0))
    }
}

/// How a run counts: its rate and its beginning.
#[derive(Clone, Copy, Debug)]
struct Frame {
    rate: f64,
    began: f64,
    now: f64,
}

impl Frame {
    fn chunk(&self, span: &SpanRecord) -> ChunkBar {
        ChunkBar {
            index: span.fields.count("index"),
            lane: 0,
            start: span.fields.seconds("start", self.rate),
            seconds: span.fields.seconds("samples", self.rate),
            began: span.began - self.began,
            ended: span.ended.unwrap_or(self.now) - self.began,
            outcome: span.fields.text("outcome"),
            stages: Vec::new(),
        }
    }

    /// A stage named `attempt` is left out: the attempts in it tell more.
    fn stage(&self, span: &SpanRecord) -> Option<StageBar> {
        let stage = match span.kind {
            Kind::Attempt if span.fields.count("hedge") > 0 => "hedge".to_owned(),
            Kind::Attempt if span.fields.count("n") > 1 => "retry".to_owned(),
            Kind::Attempt => "attempt".to_owned(),
            Kind::Run | Kind::Chunk | Kind::Stage => span.fields.text("stage"),
        };
        if span.kind == Kind::Stage && (stage == "attempt" || stage.is_empty()) {
            return None;
        }
        let outcome = span.fields.text("outcome");
        // What was found did not have to be sent.
        let stage = if stage == "find" && outcome == "hit" { "hit".to_owned() } else { stage };
        let began = span.began - self.began;
        Some(StageBar { stage, began, ended: span.ended.unwrap_or(self.now) - self.began, outcome })
    }

    fn add(&self, run: &mut Run, event: &EventRecord) {
        let fields = &event.fields;
        let stretch =
            || Stretch { start: fields.seconds("start", self.rate), end: fields.seconds("end", self.rate) };
        match event.name.as_str() {
            "envelope" => run.envelope = envelope(&fields.text("peaks")),
            "pause" => run.pauses.push(stretch()),
            "gap" => run.gaps.push(stretch()),
            "cut" => {
                run.cuts.push(Cut { at: fields.seconds("at", self.rate), quality: fields.text("quality") });
            }
            "quota" => run.quota.push(QuotaPoint {
                at: event.at - self.began,
                dimension: fields.text("dimension"),
                remaining: fields.number("remaining").unwrap_or(0.0),
                limit: fields.number("limit").unwrap_or(0.0),
            }),
            "saved" => {
                run.saved_seconds += fields.number("seconds").unwrap_or(0.0);
                run.saved_microdollars = run.saved_microdollars.saturating_add(fields.count("microdollars"));
            }
            _ => {}
        }
    }
}

/// Two hexadecimal digits a value.
fn envelope(peaks: &str) -> Vec<u8> {
    let digits = peaks.as_bytes();
    let pairs = digits.chunks_exact(2).map_while(|pair| std::str::from_utf8(pair).ok());
    pairs.map_while(|pair| u8::from_str_radix(pair, 16).ok()).collect()
}
