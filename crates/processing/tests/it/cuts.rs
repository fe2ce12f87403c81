//! Chunks decode to exactly what the uncut recording decodes to.

use wavequill_processing::{AudioFile, AudioFormat, CutQuality, PlannedChunk, SampleIndex, SampleSpan};

use crate::fixtures::{
    AACS, Decoded, MP3S, OPUSES, Random, Samples, decode, flac, mp3, open, recorded, signal, wav,
};

fn span(start: u64, end: u64) -> SampleSpan {
    SampleSpan::new(SampleIndex::new(start), SampleIndex::new(end))
}

/// Cuts `owned` out of the file and compares what it decodes to with the same stretch of `whole`, sample by sample.
async fn assert_equal_to_uncut(file: &AudioFile, whole: &Decoded, trim: u64, owned: SampleSpan) {
    let planned = PlannedChunk::new(owned, CutQuality::Pause);
    let chunk = file.chunk(0, planned).await.unwrap();
    let body = chunk.body().collect().await.unwrap();
    assert_eq!(body.len() as u64, chunk.content_length(), "{owned}: the length must be known before");
    assert_eq!(chunk.content_length(), file.chunk_size(owned).bytes());
    let part = decode(body, chunk.format());
    assert_eq!((part.rate, part.channels), (whole.rate, whole.channels));
    let channels = whole.channels;
    let skip = (owned.start().get() as i64 - chunk.first_sample()) as usize * channels;
    let len = owned.len() as usize * channels;
    let got = part
        .samples
        .get(skip..skip + len)
        .unwrap_or_else(|| panic!("{owned}: {} samples decoded, {} wanted", part.samples.len(), skip + len));
    let from = (owned.start().get() + trim) as usize * channels;
    let want = &whole.samples[from..from + len];
    let damaged = got.iter().zip(want).filter(|(got, want)| got != want).count();
    assert_eq!(damaged, 0, "{owned}: of {len} samples");
}

async fn assert_random_cuts_are_whole(bytes: Vec<u8>, trim: u64, cuts: u64) {
    let file = open(bytes.clone()).await.unwrap();
    assert_eq!(file.warnings(), &[], "a sound file needs no warning");
    let whole = decode(bytes, file.chunk_format());
    let samples = file.span().len();
    assert!(trim + samples <= whole.samples.len() as u64 / whole.channels as u64);
    let mut random = Random::new(samples);
    assert_equal_to_uncut(&file, &whole, trim, file.span()).await;
    for _ in 0..cuts {
        let start = random.below(samples);
        let owned = span(start, start + 1 + random.below(samples - start));
        assert_equal_to_uncut(&file, &whole, trim, owned).await;
        let snapped = span(file.packet_start(owned.start()).get(), owned.end().get());
        assert_equal_to_uncut(&file, &whole, trim, snapped).await;
    }
}

#[tokio::test]
async fn wav_cuts_lose_and_damage_no_sample() {
    let samples = signal(20_000, 2);
    for kind in [Samples::U8, Samples::I16, Samples::I24, Samples::I32, Samples::F32, Samples::Extensible24] {
        assert_random_cuts_are_whole(wav(kind, 16_000, 2, &samples), 0, 20).await;
    }
    assert_random_cuts_are_whole(wav(Samples::U8, 11_025, 1, &signal(9_999, 1)), 0, 40).await;
}

#[tokio::test]
async fn flac_cuts_lose_and_damage_no_sample() {
    assert_random_cuts_are_whole(flac(16_000, 1, 4_096, &signal(200_037, 1)), 0, 40).await;
    assert_random_cuts_are_whole(flac(44_100, 2, 576, &signal(150_000, 2)), 0, 40).await;
}

#[tokio::test]
async fn mp3_cuts_lose_and_damage_no_sample() {
    for name in MP3S {
        let has_lame_tag =
            ["cbr128_44k_stereo_id3v2_cover", "vbr_44k_stereo_lame_tag", "cbr64_22k_mono"].contains(&name);
        // LAME's delay and the decoder's.
        let trim = if has_lame_tag { 576 + 529 } else { 0 };
        assert_random_cuts_are_whole(mp3(name), trim, 100).await;
    }
}

#[tokio::test]
async fn aac_cuts_lose_and_damage_no_sample() {
    for (name, samples, trim) in AACS {
        let bytes = recorded(name);
        assert_eq!(open(bytes.clone()).await.unwrap().span().len(), samples, "{name}");
        assert_random_cuts_are_whole(bytes, trim, 60).await;
    }
}

#[tokio::test]
async fn opus_cuts_are_heard_as_in_the_uncut_recording() {
    for (name, samples, allowed) in OPUSES {
        let file = open(recorded(name)).await.unwrap();
        assert_eq!(file.warnings(), &[], "{name}");
        assert_eq!(file.span().len(), samples, "{name}");
        let whole = cut_and_decode(&file, file.span()).await;
        assert_eq!(whole.samples.len() as u64, samples * whole.channels as u64, "{name}");
        let mut random = Random::new(samples);
        for _ in 0..70 {
            let start = random.below(samples);
            let owned = span(start, start + 1 + random.below((samples - start).min(100_000)));
            let part = cut_and_decode(&file, owned).await;
            let from = start as usize * whole.channels;
            let want = &whole.samples[from..from + owned.len() as usize * whole.channels];
            assert_eq!(part.samples.len(), want.len(), "{name} {owned}");
            let off = part.samples.iter().zip(want).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(off <= allowed, "{name} {owned}: {off}");
        }
    }
}

#[tokio::test]
async fn opus_pages_say_where_the_audio_ends() {
    for name in ["opus_celt.ogg", "opus_ffmpeg.ogg", "opus_opusenc.opus"] {
        let bytes = recorded(name);
        let uncut = decode(bytes.clone(), AudioFormat::Ogg);
        let file = open(bytes).await.unwrap();
        let again = cut_and_decode(&file, file.span()).await;
        assert!(uncut.samples == again.samples, "{name}: a cut of all decodes to all");
    }
}

/// A chunk of `owned` decoded, of which the decoder drops what the file tells it to.
async fn cut_and_decode(file: &AudioFile, owned: SampleSpan) -> Decoded {
    let chunk = file.chunk(0, PlannedChunk::new(owned, CutQuality::Pause)).await.unwrap();
    assert_eq!(chunk.first_sample(), owned.start().get() as i64);
    let body = chunk.body().collect().await.unwrap();
    assert_eq!(body.len() as u64, chunk.content_length(), "{owned}: the length must be known before");
    assert_eq!(chunk.content_length(), file.chunk_size(owned).bytes());
    decode(body, chunk.format())
}

#[tokio::test]
async fn the_same_packets_have_the_same_hash_in_any_container() {
    // The index in one place or in fragments: none of it is audio.
    let hash = async |file: &AudioFile, start, end| {
        let planned = PlannedChunk::new(span(start, end), CutQuality::Pause);
        file.chunk(0, planned).await.unwrap().content_hash()
    };
    let plain = open(recorded("aac_44k_moov_last.m4a")).await.unwrap();
    let fragmented = open(recorded("aac_44k_fragmented.m4a")).await.unwrap();
    assert_eq!(hash(&plain, 50_000, 150_000).await, hash(&fragmented, 51_024, 151_024).await);
    assert_ne!(hash(&plain, 50_000, 150_000).await, hash(&plain, 50_000, 150_001).await);
    // A chunk of a chunk.
    let chunk = plain.chunk(0, PlannedChunk::new(span(30_000, 200_000), CutQuality::Pause)).await.unwrap();
    let inner = open(chunk.body().collect().await.unwrap()).await.unwrap();
    let from = (50_000 - chunk.first_sample()) as u64;
    assert_eq!(hash(&plain, 50_000, 150_000).await, hash(&inner, from, from + 100_000).await);
}

#[tokio::test]
async fn chunks_of_a_free_format_mp3_are_its_frames_unchanged() {
    // No decoder at hand reads free format, so the bytes themselves are compared.
    let bytes = mp3("free_format_22k_mono");
    let file = open(bytes.clone()).await.unwrap();
    assert_eq!(file.warnings(), &[]);
    assert_eq!(file.span().len(), 194 * 576);
    let mut joined = Vec::new();
    let middle = file.packet_start(SampleIndex::new(61_234));
    for owned in [span(0, middle.get()), SampleSpan::new(middle, file.span().end())] {
        let chunk = file.chunk(0, PlannedChunk::new(owned, CutQuality::Pause)).await.unwrap();
        let body = chunk.body().collect().await.unwrap();
        let owned_bytes =
            if owned.start() == SampleIndex::ZERO { body.len() } else { bytes.len() - joined.len() };
        joined.extend_from_slice(&body[body.len() - owned_bytes..]);
    }
    assert_eq!(joined.len(), bytes.len());
    assert_eq!(joined, bytes);
}

#[tokio::test]
async fn an_mp3_with_a_lame_tag_is_as_long_as_what_was_encoded() {
    for (name, samples) in [
        ("cbr128_44k_stereo_id3v2_cover", 105_840),
        ("vbr_44k_stereo_lame_tag", 105_840),
        ("cbr64_22k_mono", 110_250),
    ] {
        assert_eq!(open(mp3(name)).await.unwrap().span().len(), samples, "{name}");
    }
}

#[tokio::test]
async fn the_same_audio_has_the_same_hash_wherever_it_lies_and_other_audio_another() {
    let samples = signal(40_000, 1);
    let mut longer = signal(1_037, 1);
    longer.extend(&samples);
    let hash = async |bytes: Vec<u8>, start: u64| {
        let file = open(bytes).await.unwrap();
        let planned = PlannedChunk::new(span(start, start + 9_000), CutQuality::Pause);
        file.chunk(0, planned).await.unwrap().content_hash()
    };
    let here = hash(wav(Samples::I16, 16_000, 1, &samples), 5_000).await;
    assert_eq!(here, hash(wav(Samples::I16, 16_000, 1, &longer), 6_037).await);
    assert_ne!(here, hash(wav(Samples::I16, 16_000, 1, &longer), 6_036).await);
    assert_ne!(here, hash(wav(Samples::I16, 8_000, 1, &samples), 5_000).await);
}
