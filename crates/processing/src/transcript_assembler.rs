//! From the results of a run to the transcript of the recording.

use std::sync::Arc;

use tokio::time::Instant;

use crate::coverage;
use crate::metrics::{Metrics, SeamVerdict, Stage};
use crate::model::gap;
use crate::spans;
use crate::{
    AlignedPart, ChunkMap, Gap, ProcessingError, RunReport, SampleRate, SampleSpan, SeamTimestampAdjuster,
    TimestampAdjuster, Transcript,
};

/// Puts together what a run heard: aligned, joined, with what is missing.
///
/// ```
/// use std::sync::Arc;
/// use std::time::Duration;
/// use wavequill_processing::{
///     AdmissionConfig, LatencyModel, Orchestrator, OrchestratorConfig, OutputFormat, ParallelOrchestrator,
///     RecognitionOptions, RecognizingProcessor, SampleRate, SampleSpan, SlownessAdmission, TaskSource,
///     TranscriptAssembler, testing::{ScriptedRecognizer, chunks_of},
/// };
///
/// # let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
/// # runtime.block_on(async {
/// let rate = SampleRate::new(16_000)?;
/// let admission = Arc::new(SlownessAdmission::new(AdmissionConfig::default(), LatencyModel::default()));
/// let orchestrator = ParallelOrchestrator::new(OrchestratorConfig::default(), admission)?;
/// let by = RecognizingProcessor::new(Arc::new(ScriptedRecognizer::new()), RecognitionOptions::default());
/// let chunks = chunks_of(2, Duration::from_secs(2), rate);
/// let report = orchestrator.execute_parallel(TaskSource::longest_first(chunks), Arc::new(by)).await;
///
/// let transcript = TranscriptAssembler::default().assemble(SampleSpan::of_file(4 * 16_000), rate, &report)?;
/// assert_eq!(OutputFormat::Text.render(&transcript), "c0w0 c0w1 c1w0 c1w1\n");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct TranscriptAssembler {
    adjuster: Arc<dyn TimestampAdjuster>,
    metrics: Metrics,
}

impl Default for TranscriptAssembler {
    /// With a [`SeamTimestampAdjuster`].
    fn default() -> Self {
        Self::new(Arc::new(SeamTimestampAdjuster::new()))
    }
}

impl TranscriptAssembler {
    /// Has times aligned and seams found by `adjuster`.
    pub fn new(adjuster: Arc<dyn TimestampAdjuster>) -> Self {
        Self { adjuster, metrics: Metrics::register() }
    }

    /// The transcript of a recording that is `span` long, with what `report` says is missing.
    ///
    /// What was asked for again and heard takes the place of what the first answer had there.
    ///
    /// # Errors
    /// [`ProcessingError::BadTranscript`] if nothing can be made of an answer.
    pub fn assemble(
        &self,
        span: SampleSpan,
        rate: SampleRate,
        report: &RunReport,
    ) -> Result<Transcript, ProcessingError> {
        let started = Instant::now();
        let mut parts: Vec<AlignedPart> = Vec::new();
        let mut heard: Vec<_> = report
            .results
            .values()
            .filter_map(|result| Some((&result.task.chunk, result.transcript()?)))
            .collect();
        // The longer first: what was asked for again lies within it.
        heard.sort_by_key(|(chunk, _)| (chunk.owned().start(), std::cmp::Reverse(chunk.owned().end())));
        for (chunk, heard) in heard {
            let again = chunk.owned();
            // Chunks come in order, so it can only be within one of the last.
            let within = parts.iter().rposition(|part| contains(part.span(), again));
            if let Some(at) = within {
                let first = parts.swap_remove(at);
                parts.extend(first.carve(again).into_iter().flatten());
            }
            parts.push(self.adjuster.adjust(&ChunkMap::of_chunk(chunk), heard)?);
        }
        let (joined, seams) = self.adjuster.stitch(&parts);
        let resolved = joined.resolve();
        let fixes = joined.fixes();
        self.metrics.seam_words(SeamVerdict::Merged, seams.merged);
        self.metrics.seam_words(SeamVerdict::Dropped, seams.dropped + fixes.not_in_text);
        self.metrics.seam_words(SeamVerdict::Clamped, resolved.clamped + fixes.clamped);
        let gaps = report.gaps.clone();
        for gap in &gaps {
            spans::gap(gap, rate);
            self.metrics.gap(gap.cause, gap.span.duration(rate));
        }
        self.metrics.stage(Stage::Align, started.elapsed());
        let mut warnings = Vec::new();
        let mut warn = |count: u64, what: &str| {
            if count > 0 {
                warnings.push(format!("{count} {what}"));
            }
        };
        warn(fixes.clamped, "words had times out of order or out of the audio; they were moved");
        warn(fixes.untimed, "words had no times; they were put between their neighbours");
        warn(fixes.not_in_text, "words stood nowhere in the text; they were dropped");
        warn(
            report.costs.store_errors,
            "times the store of transcripts failed; its chunks were asked for anew",
        );
        Ok(Transcript {
            text: resolved.text(),
            language: joined.language(),
            rate,
            span,
            words: resolved.words,
            segments: resolved.segments,
            gaps,
            warnings,
            reused: report.audio_reused(),
            chunks: report.results.len() as u64,
            costs: report.costs,
        })
    }
}

fn contains(outer: SampleSpan, inner: SampleSpan) -> bool {
    !inner.is_empty() && outer.start() <= inner.start() && inner.end() <= outer.end()
}

/// What is missing in the end: what nobody heard, without what was asked for again and heard then.
pub(crate) fn open_gaps(gaps: Vec<Gap>, heard_again: &[SampleSpan]) -> Vec<Gap> {
    let mut open = gaps;
    for again in heard_again {
        open = open.into_iter().flat_map(|gap| coverage::without(gap, *again)).collect();
    }
    gap::join(open)
}
