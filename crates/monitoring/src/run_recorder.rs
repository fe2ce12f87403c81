//! Listens to the spans and events of a run, and makes a report of them.
//!
//! It reads times and numbers only: nothing of a transcript, a prompt or a key is in a span.

use std::fmt;
use std::sync::Arc;

use parking_lot::Mutex;
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;
use wavequill_kernel::{Clock, SystemClock};

use crate::model::run_report::RunReport;

mod fields;
mod recording;

use fields::Fields;
use recording::{Kind, Recording, SpanRecord};

/// Only what wavequill's crates emit.
const TARGET: &str = "wavequill";

/// A layer of `tracing` that records runs. Cheap to clone; clones share the recording.
///
/// It listens to these, under targets that begin with `wavequill` (numbers that are whole are samples of the audio at
/// the run's `rate`, those with a point seconds):
///
/// | span | fields |
/// |---|---|
/// | `run` | `run_id`, `bytes`, `seconds`, `rate`; later `outcome` |
/// | `chunk` | `index`, `start`, `samples`; later `outcome` |
/// | `stage` | `stage` (`find`, `permit`, `keep`, …); later `outcome` |
/// | `attempt` | `n` (from 1), `hedge`; later `outcome` |
///
/// | event (its name, or its message) | fields |
/// |---|---|
/// | `envelope` | `peaks`: up to 1,000 values of 0 to 255 as two hexadecimal digits each |
/// | `pause`, `gap` | `start`, `end` |
/// | `cut` | `at`, `quality` |
/// | `quota` | `dimension`, `remaining`, `limit` |
/// | `saved` | `seconds`, `microdollars` |
///
/// ```
/// use tracing_subscriber::layer::SubscriberExt as _;
/// use wavequill_monitoring::{RunRecorder, render_html};
///
/// let recorder = RunRecorder::default();
/// let subscriber = tracing_subscriber::registry().with(recorder.clone());
/// tracing::subscriber::with_default(subscriber, || {
///     let run = tracing::info_span!(target: "wavequill::processing", "run", run_id = "talk.wav", seconds = 60.0);
///     let chunk = tracing::info_span!(target: "wavequill::processing", parent: &run, "chunk", index = 0, start = 0.0, samples = 60.0);
///     drop(chunk);
/// });
/// let report = recorder.report();
/// assert_eq!(report.runs[0].chunks.len(), 1);
/// assert!(render_html(&report).starts_with("<!doctype html>"));
/// ```
#[derive(Clone)]
pub struct RunRecorder {
    clock: Arc<dyn Clock>,
    recording: Arc<Mutex<Recording>>,
}

impl RunRecorder {
    /// How many spans are kept; beyond, stages are dropped and counted, and chunks beyond twice as many.
    pub const MAX_SPANS: usize = 100_000;

    /// A recorder that reads this clock.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, recording: Arc::default() }
    }

    /// What has been recorded so far; spans that are still open end now.
    pub fn report(&self) -> RunReport {
        let now = self.clock.monotonic().as_secs_f64();
        self.recording.lock().report(now)
    }

    /// Forgets everything so far, also spans that are still open.
    pub fn clear(&self) {
        self.recording.lock().clear();
    }

    fn now(&self) -> f64 {
        self.clock.monotonic().as_secs_f64()
    }
}

impl Default for RunRecorder {
    fn default() -> Self {
        Self::new(Arc::new(SystemClock))
    }
}

impl fmt::Debug for RunRecorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RunRecorder").finish_non_exhaustive()
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for RunRecorder {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let metadata = attributes.metadata();
        let Some(kind) = Kind::of(metadata.name()).filter(|_| metadata.target().starts_with(TARGET)) else {
            return;
        };
        let Some(span) = context.span(id) else { return };
        let parent =
            span.scope().skip(1).find_map(|parent| parent.extensions().get::<Arc<OpenSpan>>().cloned());
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        let place = self.recording.lock().open(SpanRecord {
            kind,
            parent: parent.and_then(|parent| parent.place),
            began: self.now(),
            ended: None,
            fields,
        });
        span.extensions_mut().insert(Arc::new(OpenSpan { place }));
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        if let Some(place) = place(id, &context) {
            self.recording.lock().change(place, |span| values.record(&mut span.fields));
        }
    }

    fn on_close(&self, id: Id, context: Context<'_, S>) {
        if let Some(place) = place(&id, &context) {
            let now = self.now();
            self.recording.lock().change(place, |span| span.ended = Some(now));
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        if !event.metadata().target().starts_with(TARGET) {
            return;
        }
        let mut fields = Fields::default();
        event.record(&mut fields);
        let name = match event.metadata().name() {
            name if recording::is_event(name) => name.to_owned(),
            _ => fields.text("message"),
        };
        if !recording::is_event(&name) {
            return;
        }
        let parent = context
            .event_scope(event)
            .and_then(|mut scope| scope.find_map(|span| span.extensions().get::<Arc<OpenSpan>>().cloned()));
        let place = parent.and_then(|parent| parent.place);
        self.recording.lock().event(name, place, self.now(), fields);
    }
}

/// Where a span that is open is recorded; `None` if it was dropped.
#[derive(Debug)]
struct OpenSpan {
    place: Option<usize>,
}

fn place<S: Subscriber + for<'a> LookupSpan<'a>>(id: &Id, context: &Context<'_, S>) -> Option<usize> {
    context.span(id)?.extensions().get::<Arc<OpenSpan>>()?.place
}

#[cfg(test)]
#[path = "run_recorder/tests.rs"]
mod tests;
