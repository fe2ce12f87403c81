//! Plans keep every limit, cover everything, and are fast.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use wavequill_processing::testing::conformance;
use wavequill_processing::{
    AudioFile, AudioSource, ByteSize, ChunkPlanner, ChunkSizer, ChunkSizerConfig, ConcurrencyLimit,
    CutQuality, DynamicChunkSizer, LatencyModel, Pause, PauseFinder, PauseMap, ProcessingError,
    RecognizerProfile, RequestQuota, SampleIndex, SampleSpan, SizeReason, SymphoniaAudioDecoder,
    VoiceDetector,
};

use crate::fixtures::{Samples, flac, fmt_chunk, mp3, open, signal};

/// A WAV file of any length that exists only as its header: 16 kHz, mono, 16 bits, all zeros.
#[derive(Debug)]
struct Endless {
    header: Vec<u8>,
    len: u64,
}

impl AudioSource for Endless {
    fn name(&self) -> String {
        "endless.wav".into()
    }

    fn len(&self) -> u64 {
        self.len
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        let rest = self.len.saturating_sub(offset).min(buf.len() as u64) as usize;
        for (at, byte) in buf[..rest].iter_mut().enumerate() {
            *byte = self.header.get(offset as usize + at).copied().unwrap_or(0);
        }
        Ok(rest)
    }
}

async fn endless(seconds: u64) -> AudioFile {
    let mut header = b"RIFF\xff\xff\xff\xffWAVE".to_vec();
    header.extend(fmt_chunk(Samples::I16, 16_000, 1));
    header.extend(b"data\xff\xff\xff\xff");
    let len = header.len() as u64 + seconds * 32_000;
    AudioFile::open(Endless { header, len }).await.unwrap()
}

fn blocking<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(work)
}

fn concurrency(n: u16) -> ConcurrencyLimit {
    ConcurrencyLimit::new(n).unwrap()
}

fn without_noise() -> LatencyModel {
    LatencyModel { sigma: 0.0, ..LatencyModel::default() }
}

fn pauses(seeds: &[(u64, f32)], samples: u64) -> PauseMap {
    PauseMap::new(
        seeds
            .iter()
            .map(|(at, speech)| Pause { at: SampleIndex::new(at % samples), speech: *speech })
            .collect(),
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn the_dynamic_sizer_keeps_its_contract_on_long_recordings(
        seconds in 1_u64..30_000,
        n in 1_u16..32,
        max_seconds in 5_u64..2_000,
        max_kilobytes in 200_u64..40_000,
        per_minute in proptest::option::of(1.0_f64..500.0),
        sigma in prop_oneof![Just(0.0), Just(0.25)],
        found in proptest::collection::vec((any::<u64>(), 0.0_f32..1.0), 0..200),
        holes in proptest::collection::vec((0.0_f64..1.0, 0.0_f64..0.2), 0..4),
    ) {
        let file = blocking(endless(seconds));
        let profile = RecognizerProfile {
            max_chunk_duration: Duration::from_secs(max_seconds),
            max_chunk_bytes: ByteSize::new(max_kilobytes * 1_000),
            latency: LatencyModel { sigma, ..LatencyModel::default() },
            quota: per_minute.map(|per_minute| RequestQuota { per_minute, burst: 3 }),
            ..RecognizerProfile::default()
        };
        let samples = file.span().len();
        let mut todo = vec![];
        let mut at = 0;
        for (from, len) in holes {
            let end = at + ((samples - at) as f64 * from) as u64;
            todo.push(SampleSpan::new(SampleIndex::new(at), SampleIndex::new(end)));
            at = end + ((samples - end) as f64 * len) as u64;
        }
        todo.push(SampleSpan::new(SampleIndex::new(at), SampleIndex::new(samples)));
        let found = pauses(&found, samples);
        let plan = conformance::chunk_sizer(&DynamicChunkSizer::default(), &file, &profile, concurrency(n), &todo, &found);
        prop_assert!(plan.is_ok(), "{:?}", plan);
    }
}

#[tokio::test]
async fn the_dynamic_sizer_keeps_its_contract_on_compressed_recordings() {
    let config = ChunkSizerConfig::default()
        .with_min_chunk_duration(Duration::from_secs(1))
        .with_target_chunk_duration(Duration::from_secs(2))
        .with_cut_windows(Duration::from_millis(500), Duration::from_secs(1));
    let sizer = DynamicChunkSizer::new(config).unwrap();
    let recordings =
        [mp3("vbr_44k_stereo_no_xing"), mp3("cbr64_22k_mono"), flac(16_000, 1, 4_096, &signal(300_000, 1))];
    for bytes in recordings {
        let file = open(bytes).await.unwrap();
        let second = file.chunk_size(SampleSpan::of_file(u64::from(file.rate().hertz()))).bytes();
        for (seconds, bytes) in
            [(1.4, second * 20), (60.0, second * 2), (2.0, second * 3 / 2), (900.0, second * 99)]
        {
            let profile = RecognizerProfile {
                max_chunk_duration: Duration::from_secs_f64(seconds),
                max_chunk_bytes: ByteSize::new(bytes),
                ..RecognizerProfile::default()
            };
            let todo = [file.span()];
            let found = PauseMap::default();
            let plan = conformance::chunk_sizer(&sizer, &file, &profile, concurrency(4), &todo, &found);
            assert!(plan.is_ok(), "{seconds} s, {bytes} bytes: {plan:?}");
        }
    }
}

#[tokio::test]
async fn limits_that_nothing_can_meet_are_named() {
    let file = endless(600).await;
    let plan = |bytes, seconds| {
        let profile = RecognizerProfile {
            max_chunk_bytes: ByteSize::new(bytes),
            max_chunk_duration: Duration::from_secs_f64(seconds),
            ..RecognizerProfile::default()
        };
        DynamicChunkSizer::default().calculate_chunk_size(&file, &profile, concurrency(8), &[file.span()])
    };
    let error = plan(20_000, 600.0).unwrap_err();
    assert!(matches!(error, ProcessingError::LimitTooSmall { .. }), "{error}");
    assert!(error.to_string().contains("max_chunk_bytes = 20000"), "{error}");
    let error = plan(1_000_000, 0.5).unwrap_err();
    assert!(error.to_string().contains("max_chunk_duration = 500ms"), "{error}");
}

#[tokio::test]
async fn a_plan_is_near_the_least_possible_time() {
    // What no plan can beat: α for as few chunks as the limits allow and β for all audio, evenly over the workers; and
    // one request that has its share of the windows of 30 s that recognizers work in.
    let profile = RecognizerProfile { latency: without_noise(), ..RecognizerProfile::default() };
    let mut ratios = Vec::new();
    for minutes in [5, 10, 20, 45, 60, 120, 240, 480] {
        for n in [2, 4, 8, 16] {
            let file = endless(minutes * 60).await;
            let size = DynamicChunkSizer::default()
                .calculate_chunk_size(&file, &profile, concurrency(n), &[file.span()])
                .unwrap();
            let audio = minutes as f64 * 60.0;
            let by_bytes = (audio * 32_000.0 / profile.max_chunk_bytes.bytes() as f64).ceil();
            let fewest = by_bytes.max((audio / 1_380.0).ceil());
            let most = (audio / 30.0).floor();
            let spread = (fewest * 1.5 + audio * 0.04) / f64::from(n);
            let windows = (audio / 30.0 / f64::from(n).min(most)).ceil();
            let bound = spread.max(1.5 + 0.04 * 30.0 * windows);
            ratios.push(size.estimated_duration.as_secs_f64() / bound);
        }
    }
    ratios.sort_by(f64::total_cmp);
    let p95 = ratios[ratios.len() * 95 / 100];
    assert!(ratios[0] >= 0.999, "nothing is faster than the bound: {ratios:?}");
    assert!(p95 <= 1.04, "{ratios:?}");
}

#[tokio::test]
async fn cuts_fall_on_the_pauses_that_were_found() {
    let file = endless(3_600).await;
    let profile = RecognizerProfile::default();
    let sizer = DynamicChunkSizer::default();
    let size = sizer.calculate_chunk_size(&file, &profile, concurrency(4), &[file.span()]).unwrap();
    let windows = sizer.cut_windows(&file, &size, &[file.span()]);
    assert_eq!(windows.len(), size.chunk_count() - 1);
    let found: Vec<Pause> =
        windows.iter().map(|window| Pause { at: window.target.plus(32_123), speech: 0.1 }).collect();
    let chunks =
        sizer.split_into_chunks(&file, &size, &[file.span()], &PauseMap::new(found.clone())).unwrap();
    let starts: Vec<SampleIndex> = chunks.iter().skip(1).map(|chunk| chunk.owned.start()).collect();
    assert_eq!(starts, found.iter().map(|pause| pause.at).collect::<Vec<_>>());
    assert!(chunks.iter().all(|chunk| chunk.cut == CutQuality::Pause));
    assert!(chunks.iter().all(|chunk| chunk.heard == chunk.owned));
}

#[tokio::test]
async fn at_a_blind_cut_both_chunks_hear_the_word_that_is_cut() {
    let file = endless(3_600).await;
    let sizer = DynamicChunkSizer::default();
    let profile = RecognizerProfile::default();
    let split = |profile: &RecognizerProfile| {
        let size = sizer.calculate_chunk_size(&file, profile, concurrency(4), &[file.span()]).unwrap();
        sizer.split_into_chunks(&file, &size, &[file.span()], &PauseMap::default()).unwrap()
    };
    let blind = split(&profile);
    assert!(blind.len() > 1);
    for (left, right) in blind.iter().zip(blind.iter().skip(1)) {
        assert_eq!(right.cut, CutQuality::Blind);
        assert_eq!(left.heard.end(), left.owned.end().plus(24_000));
        assert_eq!(right.heard.start(), right.owned.start().minus(24_000));
    }
    let without_times = RecognizerProfile { times: wavequill_processing::Times::None, ..profile };
    assert!(split(&without_times).iter().all(|chunk| chunk.heard == chunk.owned));
}

#[tokio::test]
async fn the_reason_says_what_decided() {
    let file = endless(7_200).await;
    let reason = |profile: &RecognizerProfile, n| {
        DynamicChunkSizer::default()
            .calculate_chunk_size(&file, profile, concurrency(n), &[file.span()])
            .unwrap()
            .reason
    };
    let default = RecognizerProfile::default();
    assert_eq!(reason(&default, 8), SizeReason::Makespan);
    let narrow = RecognizerProfile { max_chunk_bytes: ByteSize::new(1_900_000), ..default.clone() };
    assert_eq!(reason(&narrow, 1), SizeReason::ByteLimit);
    let short = RecognizerProfile { max_chunk_duration: Duration::from_secs(60), ..default };
    assert_eq!(reason(&short, 1), SizeReason::DurationLimit);
}

/// A voice that is there where the signal is loud.
#[derive(Debug)]
struct LoudIsSpeech;

impl VoiceDetector for LoudIsSpeech {
    fn probabilities(&self, mono: &[f32]) -> Vec<f32> {
        let loud = |frame: &[f32]| frame.iter().map(|sample| sample.abs()).fold(0.0, f32::max) > 0.05;
        mono.chunks_exact(256).map(|frame| f32::from(u8::from(loud(frame)))).collect()
    }
}

#[tokio::test]
async fn a_plan_cuts_real_files_in_their_pauses_and_its_chunks_are_whole() {
    // Loud for 3.4 s, silent for 0.6 s, again and again.
    let mut samples = signal(16_000 * 120, 1);
    let quiet = |at: usize| at % 64_000 >= 54_400;
    for (at, sample) in samples.iter_mut().enumerate() {
        *sample = if quiet(at) { *sample / 512 } else { (*sample).max(2_000) };
    }
    let finder = PauseFinder::new(Arc::new(SymphoniaAudioDecoder), Arc::new(LoudIsSpeech));
    let planner = ChunkPlanner::new(DynamicChunkSizer::default(), Some(finder));
    let profile =
        RecognizerProfile { max_chunk_duration: Duration::from_secs(55), ..RecognizerProfile::default() };
    let flac = flac(16_000, 1, 1_024, &samples);
    for bytes in [crate::fixtures::wav(Samples::I16, 16_000, 1, &samples), flac] {
        let file = open(bytes).await.unwrap();
        let plan = planner.plan(&file, &profile, concurrency(1)).await.unwrap();
        assert_eq!(plan.chunks().len(), 3);
        for chunk in plan.chunks() {
            assert_eq!(chunk.cut_quality(), CutQuality::Pause);
            let start = chunk.owned().start().get() as usize;
            assert!(start == 0 || quiet(start), "{start} is loud");
        }
        let again = planner.plan(&file, &profile, concurrency(1)).await.unwrap();
        assert_eq!(again.fingerprint(), plan.fingerprint());
        let track = planner.finder().unwrap().listen(&file, SampleSpan::of_file(64_000 * 20)).await.unwrap();
        let share = track.speech_samples() as f64 / track.span().len() as f64;
        assert!((share - 0.85).abs() < 0.01, "{share}");
    }
}

#[tokio::test]
async fn a_twentieth_of_a_second_has_no_chunk_and_half_a_second_has_one() {
    let planner = ChunkPlanner::default();
    for (samples, chunks) in [(800, 0), (8_000, 1)] {
        let file = open(crate::fixtures::wav(Samples::I16, 16_000, 1, &signal(samples, 1))).await.unwrap();
        let plan = planner.plan(&file, &RecognizerProfile::default(), concurrency(8)).await.unwrap();
        assert_eq!(plan.chunks().len(), chunks, "{samples} samples");
    }
}
