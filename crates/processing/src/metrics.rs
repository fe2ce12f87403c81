//! The handles that this context emits through, each registered once. Nothing is named anywhere else.

use std::time::Duration;

use metrics::{
    Counter, Gauge, Histogram, Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge,
    histogram,
};

use crate::{AudioFormat, CutQuality, GapCause, Origin};

/// The values of a label, in the order of their variants.
macro_rules! label {
    ($(#[$doc:meta])* $name:ident { $($variant:ident = $value:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum $name { $($variant),+ }

        impl $name {
            pub(crate) const ALL: [Self; [$($value),+].len()] = [$(Self::$variant),+];

            pub(crate) const fn name(self) -> &'static str {
                match self { $(Self::$variant => $value),+ }
            }
        }
    };
}

label!(/// What kind of file a run's chunks are.
Format {
    Wav = "wav", Flac = "flac", Mp3 = "mp3", M4a = "m4a", Ogg = "ogg", Webm = "webm", Other = "other",
});
label!(/// Where a chunk was cut.
    Quality { Pause = "pause", Blind = "blind" });
label!(/// How a run ended.
    RunOutcome { Done = "done", Gaps = "gaps", Failed = "failed", Refused = "refused", Cancelled = "cancelled" });
label!(/// How a chunk ended.
    ChunkOutcome { Done = "done", Failed = "failed", Cancelled = "cancelled" });
label!(/// What takes time.
Stage {
    Open = "open", Plan = "plan", Cut = "cut", Find = "find", Permit = "permit", Attempt = "attempt",
    Keep = "keep", Align = "align", Audit = "audit",
});
label!(/// Why audio was asked for again.
    RetryCause { Transient = "transient", Timeout = "timeout", Split = "split", Audit = "audit" });
label!(/// What came of a second request.
    HedgeOutcome { Won = "won", Lost = "lost", Refused = "refused" });
label!(/// What became of words at seams.
    SeamVerdict { Merged = "merged", Dropped = "dropped", Clamped = "clamped" });
label!(/// Who did not keep a chunk.
    Keeper { Store = "store", Journal = "journal" });

/// The handles. They are bound to the recorder that is there when they are made.
#[derive(Clone, Debug)]
pub(crate) struct Metrics {
    pub(crate) in_flight: Gauge,
    pub(crate) in_flight_bytes: Gauge,
    pub(crate) concurrency_limit: Gauge,
    files: [[Counter; RunOutcome::ALL.len()]; Format::ALL.len()],
    file_audio_seconds: Histogram,
    makespan_ratio: Histogram,
    cuts: [Counter; Quality::ALL.len()],
    run_seconds: [Histogram; RunOutcome::ALL.len()],
    chunk_seconds: [Histogram; ChunkOutcome::ALL.len()],
    chunk_audio_seconds: [Histogram; Origin::ALL.len()],
    stage_seconds: [Histogram; Stage::ALL.len()],
    retries: [Counter; RetryCause::ALL.len()],
    hedges: [Counter; HedgeOutcome::ALL.len()],
    gap_audio_seconds: [Histogram; GapCause::ALL.len()],
    seam_words: [Counter; SeamVerdict::ALL.len()],
    keep_errors: [Counter; Keeper::ALL.len()],
}

impl Metrics {
    /// Describes every metric, then registers each combination of labels.
    #[expect(clippy::disallowed_macros, reason = "the one place where handles are made")]
    pub(crate) fn register() -> Self {
        describe();
        Self {
            in_flight: gauge!("wavequill_processing_in_flight"),
            in_flight_bytes: gauge!("wavequill_processing_in_flight_bytes"),
            concurrency_limit: gauge!("wavequill_processing_concurrency_limit"),
            files: Format::ALL.map(|format| {
                RunOutcome::ALL.map(|outcome| {
                    counter!(
                        "wavequill_processing_files_total",
                        "format" => format.name(), "outcome" => outcome.name()
                    )
                })
            }),
            file_audio_seconds: histogram!("wavequill_processing_file_audio_seconds"),
            makespan_ratio: histogram!("wavequill_processing_makespan_ratio"),
            cuts: Quality::ALL
                .map(|quality| counter!("wavequill_processing_cuts_total", "quality" => quality.name())),
            run_seconds: RunOutcome::ALL
                .map(|outcome| histogram!("wavequill_processing_run_seconds", "outcome" => outcome.name())),
            chunk_seconds: ChunkOutcome::ALL
                .map(|outcome| histogram!("wavequill_processing_chunk_seconds", "outcome" => outcome.name())),
            chunk_audio_seconds: Origin::ALL.map(
                |origin| histogram!("wavequill_processing_chunk_audio_seconds", "origin" => origin.name()),
            ),
            stage_seconds: Stage::ALL
                .map(|stage| histogram!("wavequill_processing_stage_seconds", "stage" => stage.name())),
            retries: RetryCause::ALL
                .map(|cause| counter!("wavequill_processing_retries_total", "cause" => cause.name())),
            hedges: HedgeOutcome::ALL
                .map(|outcome| counter!("wavequill_processing_hedges_total", "outcome" => outcome.name())),
            gap_audio_seconds: GapCause::ALL
                .map(|cause| histogram!("wavequill_processing_gap_audio_seconds", "cause" => cause.name())),
            seam_words: SeamVerdict::ALL.map(
                |verdict| counter!("wavequill_processing_seam_words_total", "verdict" => verdict.name()),
            ),
            keep_errors: Keeper::ALL
                .map(|keeper| counter!("wavequill_processing_keep_errors_total", "where" => keeper.name())),
        }
    }

    pub(crate) fn run_ended(&self, outcome: RunOutcome, after: Duration) {
        record(&self.run_seconds, outcome as usize, after);
    }

    /// A run has ended, and with it what was asked for of a recording.
    pub(crate) fn file_ended(&self, format: Option<AudioFormat>, outcome: RunOutcome, audio: Duration) {
        let format = match format {
            Some(AudioFormat::Wav) => Format::Wav,
            Some(AudioFormat::Flac) => Format::Flac,
            Some(AudioFormat::Mp3) => Format::Mp3,
            Some(AudioFormat::M4a) => Format::M4a,
            Some(AudioFormat::Ogg) => Format::Ogg,
            None => Format::Other,
        };
        if let Some(outcomes) = self.files.get(format as usize) {
            add(outcomes, outcome as usize, 1);
        }
        self.file_audio_seconds.record(audio.as_secs_f64());
    }

    /// How long a run took by the least that was possible.
    pub(crate) fn makespan(&self, ratio: f64) {
        self.makespan_ratio.record(ratio);
    }

    pub(crate) fn cut(&self, quality: CutQuality) {
        let quality = match quality {
            CutQuality::Pause => Quality::Pause,
            CutQuality::Blind => Quality::Blind,
        };
        add(&self.cuts, quality as usize, 1);
    }

    pub(crate) fn chunk_ended(&self, outcome: ChunkOutcome, after: Duration) {
        record(&self.chunk_seconds, outcome as usize, after);
    }

    pub(crate) fn chunk_heard(&self, origin: Origin, audio: Duration) {
        record(&self.chunk_audio_seconds, origin as usize, audio);
    }

    pub(crate) fn stage(&self, stage: Stage, took: Duration) {
        record(&self.stage_seconds, stage as usize, took);
    }

    pub(crate) fn asked_again(&self, cause: RetryCause) {
        add(&self.retries, cause as usize, 1);
    }

    pub(crate) fn hedged(&self, outcome: HedgeOutcome) {
        add(&self.hedges, outcome as usize, 1);
    }

    pub(crate) fn gap(&self, cause: GapCause, audio: Duration) {
        record(&self.gap_audio_seconds, cause as usize, audio);
    }

    pub(crate) fn seam_words(&self, verdict: SeamVerdict, words: u64) {
        add(&self.seam_words, verdict as usize, words);
    }

    pub(crate) fn not_kept(&self, by: Keeper) {
        add(&self.keep_errors, by as usize, 1);
    }
}

fn record(histograms: &[Histogram], at: usize, time: Duration) {
    if let Some(histogram) = histograms.get(at) {
        histogram.record(time.as_secs_f64());
    }
}

fn add(counters: &[Counter], at: usize, count: u64) {
    if let Some(counter) = counters.get(at) {
        counter.increment(count);
    }
}

#[rustfmt::skip]
fn describe() {
    describe_counter!("wavequill_processing_files_total", Unit::Count, "Recordings whose run has ended, by how.");
    describe_histogram!("wavequill_processing_file_audio_seconds", Unit::Seconds, "Audio of recordings whose run has ended.");
    describe_histogram!("wavequill_processing_makespan_ratio", "How long runs that asked for everything took, by the least possible.");
    describe_counter!("wavequill_processing_cuts_total", Unit::Count, "Cuts, by where they fell.");
    describe_gauge!("wavequill_processing_in_flight", Unit::Count, "Requests on their way.");
    describe_gauge!("wavequill_processing_in_flight_bytes", Unit::Bytes, "Body bytes of the requests on their way.");
    describe_gauge!("wavequill_processing_concurrency_limit", Unit::Count, "How many requests may be on their way.");
    describe_histogram!("wavequill_processing_run_seconds", Unit::Seconds, "How long runs take, by how they end.");
    describe_histogram!("wavequill_processing_chunk_seconds", Unit::Seconds, "From taking a chunk to its result.");
    describe_histogram!("wavequill_processing_chunk_audio_seconds", Unit::Seconds, "Audio of chunks that were answered, by who answered.");
    describe_histogram!("wavequill_processing_stage_seconds", Unit::Seconds, "How long each stage of a chunk takes.");
    describe_counter!("wavequill_processing_retries_total", Unit::Count, "Audio that was asked for again, by why.");
    describe_counter!("wavequill_processing_hedges_total", Unit::Count, "Second requests beside slow ones, by what came of them.");
    describe_histogram!("wavequill_processing_gap_audio_seconds", Unit::Seconds, "Audio that was not heard, by why.");
    describe_counter!("wavequill_processing_seam_words_total", Unit::Count, "Words at seams, by what became of them.");
    describe_counter!("wavequill_processing_keep_errors_total", Unit::Count, "Finished chunks that were not kept, by where.");
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use metrics::{Key, KeyName, Metadata, Recorder, SharedString, with_local_recorder};

    use super::*;

    #[derive(Default)]
    struct Names(Mutex<Vec<String>>);

    impl Names {
        fn add(&self, key: &Key) {
            let labels: Vec<String> =
                key.labels().map(|label| format!("{}={}", label.key(), label.value())).collect();
            self.0.lock().unwrap().push(format!("{}{{{}}}", key.name(), labels.join(",")));
        }
    }

    impl Recorder for Names {
        fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
        fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
        fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
        fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
            self.add(key);
            Counter::noop()
        }
        fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
            self.add(key);
            Gauge::noop()
        }
        fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
            self.add(key);
            Histogram::noop()
        }
    }

    #[test]
    fn every_combination_of_labels_is_there_from_the_start() {
        let names = Names::default();
        with_local_recorder(&names, Metrics::register);
        let names = names.0.into_inner().unwrap();
        assert!(names.iter().all(|name| name.starts_with("wavequill_processing_")));
        for expected in [
            "files_total{format=mp3,outcome=refused}",
            "makespan_ratio{}",
            "cuts_total{quality=blind}",
            "chunk_audio_seconds{origin=journal}",
            "stage_seconds{stage=align}",
            "retries_total{cause=audit}",
            "hedges_total{outcome=won}",
            "in_flight_bytes{}",
            "gap_audio_seconds{cause=cut_off}",
            "seam_words_total{verdict=clamped}",
            "keep_errors_total{where=journal}",
        ] {
            let full = format!("wavequill_processing_{expected}");
            assert!(names.contains(&full), "{full} is not among {names:?}");
        }
    }
}
