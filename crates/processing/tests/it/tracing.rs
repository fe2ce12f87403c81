//! What a run tells those who listen to its spans.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::{Arc, Mutex};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::{Context, SubscriberExt};
use wavequill_processing::testing::{ScriptedRecognizer, Step};
use wavequill_processing::{ChunkTranscript, Orchestrator, RecognitionError, TaskSource};

use crate::support::{MS, by, minutes, orchestrator};

#[derive(Clone, Debug, Default)]
struct Heard {
    spans: Arc<Mutex<BTreeMap<String, usize>>>,
    fields: Arc<Mutex<Vec<String>>>,
}

impl Visit for Heard {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.fields.lock().unwrap().push(format!("{field}={value:?}"));
    }
}

impl<S: Subscriber> Layer<S> for Heard {
    fn on_new_span(&self, attributes: &Attributes<'_>, _: &Id, _: Context<'_, S>) {
        if attributes.metadata().target() == "wavequill::processing" {
            *self.spans.lock().unwrap().entry(attributes.metadata().name().to_owned()).or_default() += 1;
            attributes.record(&mut self.clone());
        }
    }

    fn on_record(&self, _: &Id, values: &Record<'_>, _: Context<'_, S>) {
        values.record(&mut self.clone());
    }

    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        if event.metadata().target() == "wavequill::processing" {
            *self.spans.lock().unwrap().entry(event.metadata().name().to_owned()).or_default() += 1;
        }
    }
}

#[test]
fn a_run_its_chunks_and_attempts_are_spans_and_nothing_that_was_said_is_in_them() {
    let recognizer =
        ScriptedRecognizer::answering(|request| match (request.chunk.index(), request.attempt) {
            (1, 1) => Step::Fail(MS, RecognitionError::transient("marker in an error")),
            _ => Step::Answer(MS, ChunkTranscript::of_text("marker in a text")),
        });
    let heard = Heard::default();
    let subscriber = tracing_subscriber::registry().with(heard.clone());
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    tracing::subscriber::with_default(subscriber, || {
        let source = TaskSource::in_order(minutes(3)).named("talk.wav");
        let report = runtime.block_on(orchestrator(2).execute_parallel(source, by(&recognizer)));
        assert!(report.is_complete());
    });
    let spans = heard.spans.lock().unwrap().clone();
    assert_eq!((spans["run"], spans["chunk"], spans["attempt"], spans["cut"]), (1, 3, 4, 2));
    let fields = heard.fields.lock().unwrap().clone();
    assert!(fields.contains(&"run_id=\"talk.wav\"".to_owned()), "{fields:?}");
    let outcomes =
        |outcome: &str| fields.iter().filter(|field| **field == format!("outcome={outcome:?}")).count();
    assert_eq!((outcomes("ok"), outcomes("transient"), outcomes("done")), (3, 1, 4));
    assert!(!fields.iter().any(|field| field.contains("marker")), "{fields:?}");
}
