//! Recordings made in memory, and what a decoder makes of them.

use std::sync::Arc;

use bytes::Bytes;
use wavequill_processing::{
    AudioDecoder, AudioFile, AudioFormat, FirstAudioDecoder, MemoryAudioSource, ProcessingError,
    RopusAudioDecoder, SymphoniaAudioDecoder,
};

/// Numbers that look random and are the same each time.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }
}

/// Interleaved 16-bit samples of a signal that never repeats.
pub(crate) fn signal(frames: usize, channels: usize) -> Vec<i16> {
    let mut random = Random::new(42);
    let mut out = Vec::with_capacity(frames * channels);
    for frame in 0..frames {
        let tone = (frame as f64 * 0.031).sin() * 9_000.0 * (frame as f64 * 0.000_21).sin();
        for channel in 0..channels {
            let noise = random.below(2_001) as f64 - 1_000.0;
            out.push((tone * (1.0 - 0.3 * channel as f64) + noise) as i16);
        }
    }
    out
}

/// How samples are stored in a WAV file.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Samples {
    U8,
    I16,
    I24,
    I32,
    F32,
    Extensible24,
}

impl Samples {
    fn bits(self) -> u16 {
        match self {
            Self::U8 => 8,
            Self::I16 => 16,
            Self::I24 | Self::Extensible24 => 24,
            Self::I32 | Self::F32 => 32,
        }
    }

    fn fmt(self, rate: u32, channels: u16) -> Vec<u8> {
        let tag: u16 = match self {
            Self::F32 => 3,
            Self::Extensible24 => 0xfffe,
            _ => 1,
        };
        let frame = channels * self.bits() / 8;
        let mut fmt = tag.to_le_bytes().to_vec();
        fmt.extend(channels.to_le_bytes());
        fmt.extend(rate.to_le_bytes());
        fmt.extend((rate * u32::from(frame)).to_le_bytes());
        fmt.extend(frame.to_le_bytes());
        fmt.extend(self.bits().to_le_bytes());
        if self == Self::Extensible24 {
            fmt.extend([22, 0, 24, 0, 3, 0, 0, 0]);
            fmt.extend([1, 0, 0, 0, 0, 0, 0x10, 0, 0x80, 0, 0, 0xaa, 0, 0x38, 0x9b, 0x71]);
        }
        fmt
    }

    pub(crate) fn encode(self, samples: &[i16]) -> Vec<u8> {
        let mut out = Vec::new();
        for &sample in samples {
            let wide = i32::from(sample) << 16;
            match self {
                Self::U8 => out.push(((sample >> 8) + 128) as u8),
                Self::I16 => out.extend(sample.to_le_bytes()),
                Self::I24 | Self::Extensible24 => out.extend(&(wide + 0x5500).to_le_bytes()[1..]),
                Self::I32 => out.extend((wide + 0x1234).to_le_bytes()),
                Self::F32 => out.extend((f32::from(sample) / 32_768.0).to_le_bytes()),
            }
        }
        out
    }
}

pub(crate) fn riff_chunk(id: [u8; 4], body: &[u8]) -> Vec<u8> {
    let mut out = id.to_vec();
    out.extend((body.len() as u32).to_le_bytes());
    out.extend(body);
    out.resize(out.len() + body.len() % 2, 0);
    out
}

/// A WAV file of these chunks.
pub(crate) fn riff(chunks: &[Vec<u8>]) -> Vec<u8> {
    let body: Vec<u8> = chunks.concat();
    let mut out = b"RIFF".to_vec();
    out.extend((body.len() as u32 + 4).to_le_bytes());
    out.extend(b"WAVE");
    out.extend(body);
    out
}

pub(crate) fn fmt_chunk(kind: Samples, rate: u32, channels: u16) -> Vec<u8> {
    riff_chunk(*b"fmt ", &kind.fmt(rate, channels))
}

pub(crate) fn wav(kind: Samples, rate: u32, channels: u16, samples: &[i16]) -> Vec<u8> {
    riff(&[fmt_chunk(kind, rate, channels), riff_chunk(*b"data", &kind.encode(samples))])
}

/// A FLAC file with blocks of `block` samples.
pub(crate) fn flac(rate: usize, channels: usize, block: usize, samples: &[i16]) -> Vec<u8> {
    use flacenc::component::BitRepr;
    use flacenc::error::Verify;
    let wide: Vec<i32> = samples.iter().map(|sample| i32::from(*sample)).collect();
    let mut config = flacenc::config::Encoder::default();
    config.block_size = block;
    let config = config.into_verified().expect("the configuration holds");
    let source = flacenc::source::MemSource::from_samples(&wide, channels, 16, rate);
    let stream = flacenc::encode_with_fixed_block_size(&config, source, block).expect("it encodes");
    let mut sink = flacenc::bitsink::ByteSink::new();
    stream.write(&mut sink).unwrap();
    let mut bytes = sink.as_slice().to_vec();
    // flacenc counts the short last block as the smallest, which makes the stream look like one of varying blocks.
    bytes.copy_within(10..12, 8);
    bytes
}

/// One of the files in `tests/data`.
pub(crate) fn recorded(name: &str) -> Vec<u8> {
    let path = format!("{}/tests/data/{name}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// One of the MP3 files in `tests/data`.
pub(crate) fn mp3(name: &str) -> Vec<u8> {
    recorded(&format!("{name}.mp3"))
}

/// Those that symphonia decodes: all but the one in free format.
pub(crate) const MP3S: [&str; 6] = [
    "cbr128_44k_stereo_id3v2_cover",
    "vbr_44k_stereo_lame_tag",
    "vbr_44k_stereo_no_xing",
    "cbr64_22k_mono",
    "vbr_22k_mono_crc_no_xing",
    "cbr16_11k_mono_mpeg25",
];

/// The recordings in AAC, how many samples are heard, and how many the encoder put before them. The one in fragments does
/// not say what the encoder added, so all of it is heard.
pub(crate) const AACS: [(&str, u64, u64); 4] = [
    ("aac_44k_moov_last.m4a", 6 * 44_100, 1_024),
    ("aac_16k_moov_first.m4a", 4 * 16_000, 1_024),
    ("aac_44k_fragmented.m4a", 217 * 1_024, 0),
    ("video_aac_24k_stereo.mp4", 4 * 24_000, 1_024),
];

/// The recordings in Opus, how many samples were encoded, and how far from the uncut recording a chunk may be, as a part
/// of full scale.
///
/// In CELT a decoder forgets how it began. In SILK, which is for speech at low bit rates, it never quite does: what is
/// left, 0.003 at the most, is the same after 0.3 s as after 1.2 s of pre-roll, and the same in libopus.
pub(crate) const OPUSES: [(&str, u64, f32); 4] = [
    ("opus_celt.ogg", 3 * 48_000, 1e-4),
    ("opus_ffmpeg.ogg", 12 * 48_000, 5e-3),
    ("opus_opusenc.opus", 5 * 48_000, 5e-3),
    ("opus_60ms_stereo.webm", 5 * 48_000, 5e-3),
];

pub(crate) async fn open(bytes: impl Into<Bytes>) -> Result<AudioFile, ProcessingError> {
    AudioFile::open(MemoryAudioSource::new("fixture", bytes.into())).await
}

/// A decoder of all formats that are sent.
pub(crate) fn decoder() -> FirstAudioDecoder {
    FirstAudioDecoder::new([
        Arc::new(RopusAudioDecoder) as Arc<dyn AudioDecoder>,
        Arc::new(SymphoniaAudioDecoder),
    ])
}

/// What a decoder makes of a whole file.
pub(crate) struct Decoded {
    pub(crate) rate: u32,
    pub(crate) channels: usize,
    pub(crate) samples: Vec<f32>,
}

pub(crate) fn decode(bytes: impl Into<Bytes>, format: AudioFormat) -> Decoded {
    let source = Arc::new(MemoryAudioSource::new("decoded", bytes.into()));
    let mut reader = decoder().open(source, format).unwrap();
    let mut samples = Vec::new();
    while reader.read(&mut samples).unwrap() {}
    Decoded { rate: reader.rate(), channels: reader.channels(), samples }
}
