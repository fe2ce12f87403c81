//! What is no sound recording gets an error or warnings that say what to do, never a panic.

use std::sync::Arc;

use proptest::prelude::*;
use wavequill_processing::testing::conformance;
use wavequill_processing::{
    AudioDecoder, AudioFile, AudioSource, CutQuality, FileAudioSource, MemoryAudioSource, PlannedChunk,
    ProcessingError, SampleSpan,
};

use crate::fixtures::{
    Samples, decoder, flac, fmt_chunk, mp3, open, recorded, riff, riff_chunk, signal, wav,
};

async fn refused(bytes: impl Into<Vec<u8>>) -> String {
    let error = open(bytes.into()).await.unwrap_err();
    assert!(matches!(error, ProcessingError::UnsupportedFormat { .. }), "{error:?}");
    error.to_string()
}

#[tokio::test]
async fn what_is_no_audio_is_named() {
    assert!(refused("").await.contains("is empty"));
    assert!(refused("Dear diary,\nit rained today.\n".repeat(500)).await.contains("is text"));
    assert!(refused([0x1a, 0x45, 0xdf, 0xa3, 0x80]).await.contains("Matroska or WebM file without an audio"));
    assert!(refused("\0\0\0\x10ftypM4A \0\0\0\0").await.contains("without an index (`moov`)"));
    assert!(refused("OggS\0").await.contains("no audio stream"));
    assert!(refused("RIFF\0\0\0\0WAVE").await.contains("without a format header"));
    assert!(refused(riff(&[fmt_chunk(Samples::I16, 8_000, 1)])).await.contains("without audio data"));
    assert!(refused("fLaC").await.contains("without a whole header"));
    let random: Vec<u8> = signal(400_000, 1).iter().flat_map(|sample| sample.to_le_bytes()).collect();
    let error = open(random).await.unwrap_err().to_string();
    assert!(error.contains("no format that is known"), "{error}");
}

#[tokio::test]
async fn coding_that_cannot_be_read_is_named_by_its_tag() {
    let mut fmt = fmt_chunk(Samples::I16, 8_000, 1);
    fmt[8] = 0x11;
    let error = refused(riff(&[fmt, riff_chunk(*b"data", &[0; 64])])).await;
    assert!(error.contains("tag 0x0011"), "{error}");
}

#[tokio::test]
async fn a_missing_file_and_a_directory_say_so() {
    let error = AudioFile::open_path("/nonexistent/voice.wav").await.unwrap_err();
    assert_eq!(error.to_string(), "cannot read /nonexistent/voice.wav");
    let directory = env!("CARGO_MANIFEST_DIR");
    let error = AudioFile::open_path(directory).await.unwrap_err();
    let source = std::error::Error::source(&error).unwrap().to_string();
    assert!(source.contains("directory"), "{source}");
}

#[tokio::test]
async fn a_wav_header_that_lies_is_believed_only_as_far_as_the_file_goes() {
    let samples = signal(40_000, 1);
    let good = wav(Samples::I16, 16_000, 1, &samples);
    for (size, rest) in [(0_u32, 0), (u32::MAX, 0), (123_456_789, 0), (1_000, 0), (80_000, 30_000)] {
        let mut lying = good.clone();
        lying[40..44].copy_from_slice(&size.to_le_bytes());
        lying.truncate(good.len() - rest);
        let file = open(lying).await.unwrap();
        assert_eq!(file.span().len(), 40_000 - rest as u64 / 2, "{size}");
        assert_eq!(file.warnings().len(), 1, "{size}: {:?}", file.warnings());
    }
}

#[tokio::test]
async fn chunks_around_the_audio_of_a_wav_are_passed() {
    let samples = signal(5_000, 2);
    let audio = Samples::I24.encode(&samples);
    let file = open(riff(&[
        riff_chunk(*b"LIST", b"INFOICMT\x03\0\0\0odd"),
        riff_chunk(*b"bext", &[7; 603]),
        fmt_chunk(Samples::I24, 48_000, 2),
        riff_chunk(*b"fact", &[0; 4]),
        riff_chunk(*b"data", &audio),
        riff_chunk(*b"LIST", &vec![b'x'; 600_000]),
    ]));
    let file = file.await.unwrap();
    assert_eq!((file.span().len(), file.channels(), file.rate().hertz()), (5_000, 2, 48_000));
    assert_eq!(file.warnings(), &[]);
}

#[tokio::test]
async fn an_rf64_file_says_its_size_in_another_place() {
    let audio = Samples::I16.encode(&signal(3_000, 1));
    let mut ds64 = 0_u64.to_le_bytes().to_vec();
    ds64.extend((audio.len() as u64).to_le_bytes());
    ds64.extend([0; 12]);
    let mut bytes = riff(&[
        riff_chunk(*b"ds64", &ds64),
        fmt_chunk(Samples::I16, 16_000, 1),
        riff_chunk(*b"data", &audio),
        riff_chunk(*b"junk", &vec![1; 50_000]),
    ]);
    bytes[..4].copy_from_slice(b"RF64");
    bytes[4..8].copy_from_slice(&[0xff; 4]);
    let data = bytes.windows(4).position(|id| id == b"data").unwrap();
    bytes[data + 4..data + 8].copy_from_slice(&[0xff; 4]);
    let file = open(bytes).await.unwrap();
    assert_eq!(file.span().len(), 3_000);
    assert_eq!(file.warnings(), &[]);
}

#[tokio::test]
async fn damage_inside_is_left_out_and_told() {
    let mut bytes = mp3("cbr128_44k_stereo_id3v2_cover");
    let whole = open(bytes.clone()).await.unwrap().span().len();
    let middle = bytes.len() / 2;
    bytes[middle..middle + 900].fill(0x55);
    let file = open(bytes).await.unwrap();
    assert_eq!(file.warnings().len(), 1, "{:?}", file.warnings());
    assert!(whole - file.span().len() <= 4 * 1_152);

    let mut bytes = flac(16_000, 1, 4_096, &signal(200_000, 1));
    let middle = bytes.len() / 2;
    bytes[middle..middle + 50].fill(0x55);
    let file = open(bytes).await.unwrap();
    assert_eq!(file.warnings().len(), 1, "{:?}", file.warnings());
    assert_eq!(file.span().len(), 200_000 - 4_096);
}

#[tokio::test]
async fn a_recording_that_is_mostly_damaged_is_refused() {
    let mut bytes = flac(16_000, 1, 4_096, &signal(200_000, 1));
    let from = bytes.len() / 3;
    bytes[from..].fill(0x55);
    let error = open(bytes).await.unwrap_err();
    assert!(matches!(error, ProcessingError::Corrupt { .. }), "{error:?}");
}

#[tokio::test]
async fn cut_off_recordings_give_what_is_there() {
    for bytes in [mp3("vbr_44k_stereo_lame_tag"), flac(16_000, 1, 1_024, &signal(200_000, 1))] {
        let whole = open(bytes.clone()).await.unwrap().span().len();
        let file = open(bytes[..bytes.len() / 2].to_vec()).await.unwrap();
        assert!(!file.warnings().is_empty());
        assert!((whole / 3..whole * 2 / 3).contains(&file.span().len()), "{} of {whole}", file.span().len());
    }
}

#[tokio::test]
async fn tags_between_and_behind_mp3_frames_are_no_audio() {
    let one = mp3("vbr_44k_stereo_no_xing");
    let alone = open(one.clone()).await.unwrap();
    let mut two = one.clone();
    two.extend(b"TAG");
    two.extend([b' '; 125]);
    two.extend(b"ID3\x04\0\0\0\0\x01\x00");
    two.extend([0xff; 128]);
    two.extend(&one);
    let file = open(two).await.unwrap();
    assert_eq!(file.span().len(), 2 * alone.span().len());
    assert_eq!(file.warnings(), &[]);
}

#[tokio::test]
async fn a_file_that_somebody_writes_to_is_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("voice.wav");
    std::fs::write(&path, wav(Samples::I16, 16_000, 1, &signal(90_000, 1))).unwrap();
    let file = AudioFile::open_path(&path).await.unwrap();
    let planned = PlannedChunk::new(file.span(), CutQuality::Pause);
    let chunk = file.chunk(0, planned).await.unwrap();
    let mut body = chunk.body();
    assert!(body.next().await.unwrap().is_some());
    std::fs::write(&path, wav(Samples::I16, 16_000, 1, &signal(80_000, 1))).unwrap();
    let error = body.next().await.unwrap_err().downcast::<ProcessingError>().unwrap();
    assert!(matches!(error, ProcessingError::SourceChanged { .. }), "{error:?}");
    let error = file.chunk(0, planned).await.unwrap_err();
    assert!(matches!(error, ProcessingError::SourceChanged { .. }), "{error:?}");
}

#[test]
fn every_source_keeps_the_contract() {
    let bytes: Vec<u8> = (0..5_000_u32).map(|n| (n % 249) as u8).collect();
    conformance::audio_source(&MemoryAudioSource::new("bytes", bytes.clone()), &bytes);
    conformance::audio_source(&MemoryAudioSource::new("nothing", Vec::new()), &[]);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bytes");
    std::fs::write(&path, &bytes).unwrap();
    conformance::audio_source(&FileAudioSource::open(&path).unwrap(), &bytes);
    let boxed: Box<dyn AudioSource> = Box::new(FileAudioSource::open(&path).unwrap());
    conformance::audio_source(&boxed, &bytes);
}

/// Opens a damaged file; if that works, cuts and decodes it. Nothing may panic, and lengths must be true.
async fn survives(bytes: Vec<u8>) -> Result<(), TestCaseError> {
    let Ok(file) = open(bytes).await else { return Ok(()) };
    let whole = file.span();
    let third = whole.len() / 3;
    for owned in [whole, SampleSpan::new(whole.start().plus(third), whole.end().minus(third))] {
        let chunk = file.chunk(0, PlannedChunk::new(owned, CutQuality::Blind)).await.unwrap();
        let body = chunk.body().collect().await.unwrap();
        prop_assert_eq!(body.len() as u64, chunk.content_length());
        let source = Arc::new(MemoryAudioSource::new("damaged", body));
        if let Ok(mut reader) = decoder().open(source, chunk.format()) {
            let mut samples = Vec::new();
            while reader.read(&mut samples).is_ok_and(|more| more) {}
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn damaged_files_never_panic(
        which in 0_usize..14,
        flips in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 0..40),
        cut in proptest::option::of(any::<proptest::sample::Index>()),
        head in proptest::collection::vec((0_usize..80, prop_oneof![Just(0_u8), Just(0xff), any::<u8>()]), 0..6),
        doubled: bool,
    ) {
        let mut bytes = match which {
            0 => wav(Samples::I16, 16_000, 2, &signal(3_000, 2)),
            1 => wav(Samples::Extensible24, 44_100, 2, &signal(2_000, 2)),
            2 => flac(16_000, 1, 576, &signal(6_000, 1)),
            3 => mp3("cbr16_11k_mono_mpeg25"),
            4 => mp3("vbr_22k_mono_crc_no_xing"),
            5 => mp3("free_format_22k_mono"),
            6 => recorded("aac_44k_moov_last.m4a"),
            7 => recorded("aac_16k_moov_first.m4a"),
            8 => recorded("aac_44k_fragmented.m4a"),
            9 => recorded("video_aac_24k_stereo.mp4"),
            10 => recorded("opus_ffmpeg.ogg"),
            11 => recorded("opus_opusenc.opus"),
            12 => recorded("opus_celt.ogg"),
            _ => recorded("opus_60ms_stereo.webm"),
        };
        for (at, byte) in flips {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        for (at, byte) in head {
            bytes[at] = byte;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        if doubled {
            bytes.extend(bytes.clone());
        }
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(survives(bytes))?;
    }
}
