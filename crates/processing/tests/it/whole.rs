//! From a file to a transcript, with a recognizer that follows a script.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};

use wavequill_processing::testing::{ScriptedRecognizer, Step};
use wavequill_processing::{
    AudioFile, ChunkPlanner, ChunkTranscript, ConcurrencyLimit, CoverageRules, DynamicChunkSizer, GapCause,
    HeardWord, MemoryAudioSource, Orchestrator, PauseFinder, RecognitionError, RecognitionOptions,
    RecognitionRequest, RecognizerProfile, RecognizingProcessor, RunReport, SampleSpan, SpeechRecognizer,
    SymphoniaAudioDecoder, TaskSource, TooLarge, Transcript, TranscriptAssembler, VoiceDetector,
};

use crate::fixtures::{Samples, signal, wav};
use crate::support::{MS, S, orchestrator};

/// Hears speech everywhere.
#[derive(Debug)]
struct Everywhere;

impl VoiceDetector for Everywhere {
    fn probabilities(&self, mono: &[f32]) -> Vec<f32> {
        vec![0.9; mono.len() / 256]
    }
}

fn planner() -> ChunkPlanner {
    let finder = PauseFinder::new(Arc::new(SymphoniaAudioDecoder), Arc::new(Everywhere));
    ChunkPlanner::new(DynamicChunkSizer::default(), Some(finder))
}

/// Four minutes of noise at 8 kHz.
async fn file() -> AudioFile {
    let bytes = wav(Samples::I16, 8_000, 1, &signal(240 * 8_000, 1));
    AudioFile::open(MemoryAudioSource::new("noise.wav", bytes)).await.unwrap()
}

/// A word a second of all that the chunk was sent, named by the second of the recording; none after `until`.
fn seconds_of(request: &RecognitionRequest, until: u64) -> ChunkTranscript {
    let heard = request.chunk.heard();
    let (start, end) = (heard.start().get(), heard.end().get().min(until * 8_000));
    let words = (start / 8_000..=end / 8_000).filter_map(|second| {
        let at = second * 8_000 + 2_000;
        let time = |sample: u64| request.chunk.rate().duration_of(sample - start);
        (start <= at && at + 2_000 <= end)
            .then(|| HeardWord::new(format!("s{second}"), time(at), time(at + 2_000)))
    });
    ChunkTranscript::of_words(words.collect())
}

async fn transcribe(
    recognizer: &ScriptedRecognizer,
    processor: RecognizingProcessor,
) -> (RunReport, Transcript) {
    let file = file().await;
    let plan = planner().plan(&file, &recognizer.profile(), ConcurrencyLimit::new(4).unwrap()).await.unwrap();
    let by = Arc::new(processor.with_recording(file.clone(), planner()));
    let report = orchestrator(4).execute_parallel(TaskSource::of_plan(&plan), by).await;
    let transcript = TranscriptAssembler::default().assemble(file.span(), file.rate(), &report).unwrap();
    (report, transcript)
}

fn processor(recognizer: &ScriptedRecognizer) -> RecognizingProcessor {
    RecognizingProcessor::new(Arc::new(recognizer.clone()), RecognitionOptions::default())
}

fn starts_are_right(transcript: &Transcript) -> bool {
    transcript.words.iter().all(|word| {
        let second: u64 = word.text().trim_start_matches('s').parse().unwrap();
        word.span.start().get() == second * 8_000 + 2_000
    })
}

#[tokio::test(start_paused = true)]
async fn chunks_that_end_in_any_order_are_joined_in_the_recordings() {
    let recognizer = ScriptedRecognizer::answering(|request| {
        Step::Answer(S * (20 - request.chunk.index() as u32), seconds_of(request, 240))
    });
    let (report, transcript) = transcribe(&recognizer, processor(&recognizer)).await;
    assert!(report.results.len() >= 2, "{} chunks", report.results.len());
    assert!(transcript.is_complete());
    assert!(transcript.words.len() >= 236, "all but words at cuts: {}", transcript.words.len());
    assert!(transcript.words.is_sorted_by_key(|word| word.span.start()));
    assert!(starts_are_right(&transcript));
}

#[tokio::test(start_paused = true)]
async fn a_server_that_takes_only_half_a_minute_gets_pieces_of_that() {
    let limit = TooLarge::Duration { limit: Some(31 * S) };
    let recognizer = ScriptedRecognizer::answering(move |request| {
        if request.chunk.duration() > 31 * S {
            Step::Fail(MS, RecognitionError::too_large(limit, "audio is longer than 31 seconds"))
        } else {
            Step::Answer(MS, seconds_of(request, 240))
        }
    });
    let (report, transcript) = transcribe(&recognizer, processor(&recognizer)).await;
    assert!(report.is_complete(), "{:?}", report.gaps);
    assert!(report.results.values().all(|result| result.task.chunk.duration() <= 31 * S));
    assert!(transcript.words.len() >= 230);
    assert!(starts_are_right(&transcript));
}

#[tokio::test(start_paused = true)]
async fn speech_that_a_server_cut_off_is_heard_when_it_is_asked_for_again() {
    let asked: Mutex<HashSet<SampleSpan>> = Mutex::default();
    let recognizer = ScriptedRecognizer::answering(move |request| {
        let first = asked.lock().unwrap().insert(request.chunk.owned()) && request.chunk.duration() > 25 * S;
        // The first answer to each long chunk ends 20 s early.
        let end = request.chunk.owned().end().get() / 8_000;
        Step::Answer(MS, seconds_of(request, if first { end - 20 } else { 240 }))
    });
    let audited = processor(&recognizer).with_audit(CoverageRules::default());
    let (report, transcript) = transcribe(&recognizer, audited).await;
    assert!(transcript.is_complete(), "{:?}", transcript.gaps);
    assert!(report.costs.retries >= 2);
    assert!(transcript.words.len() >= 225, "{}", transcript.words.len());
    assert!(starts_are_right(&transcript));
}

#[tokio::test(start_paused = true)]
async fn speech_that_stays_unheard_is_reported_as_a_gap() {
    let recognizer = ScriptedRecognizer::answering(|request| Step::Answer(MS, seconds_of(request, 200)));
    let audited = processor(&recognizer).with_audit(CoverageRules::default());
    let (_, transcript) = transcribe(&recognizer, audited).await;
    assert!(!transcript.is_complete());
    let missing: u64 = transcript.gaps.iter().map(|gap| gap.span.len()).sum();
    assert!(missing >= 35 * 8_000, "{:?}", transcript.gaps);
    assert!(transcript.gaps.iter().all(|gap| matches!(gap.cause, GapCause::CutOff | GapCause::Empty)));
}

#[tokio::test(start_paused = true)]
async fn what_failed_for_good_is_a_gap_between_the_words_around_it() {
    let recognizer = ScriptedRecognizer::answering(|request| match request.chunk.index() {
        1 => Step::Fail(MS, RecognitionError::permanent("undecodable")),
        _ => Step::Answer(MS, seconds_of(request, 240)),
    });
    let (report, transcript) = transcribe(&recognizer, processor(&recognizer)).await;
    assert_eq!(transcript.gaps.len(), 1);
    let gap = transcript.gaps[0];
    assert_eq!(gap.cause, GapCause::Failed);
    // Its neighbours heard a second and a half of it.
    let inside = transcript.words.iter().filter(|word| !word.span.intersection(gap.span).is_empty());
    assert!(inside.count() <= 4);
    assert_eq!(report.results.values().filter(|result| result.outcome.is_err()).count(), 1);
    assert_eq!(recognizer.profile(), RecognizerProfile::default());
}

#[tokio::test(start_paused = true)]
async fn a_word_at_a_blind_cut_is_heard_by_both_chunks_and_is_there_once() {
    // Speech everywhere: there is no pause to cut in, so neighbours are sent the same three seconds.
    let recognizer = ScriptedRecognizer::answering(|request| Step::Answer(MS, seconds_of(request, 240)));
    let (report, transcript) = transcribe(&recognizer, processor(&recognizer)).await;
    let overlapping =
        report.results.values().filter(|result| result.task.chunk.heard() != result.task.chunk.owned());
    assert!(overlapping.count() >= 2, "no chunk heard more than it owns");
    let words: Vec<u64> =
        transcript.words.iter().map(|word| word.text().trim_start_matches('s').parse().unwrap()).collect();
    assert_eq!(words, (0..240).collect::<Vec<u64>>());
    assert!(starts_are_right(&transcript));
}
