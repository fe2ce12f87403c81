//! WAV: RIFF, RF64 and BW64 with linear, floating-point or companded samples.
//!
//! A WAV file needs no index: its packets are its sample frames, all of one size.

use std::io;

use bytes::Bytes;

use super::Opened;
use super::scanner::Scanner;
use crate::model::audio_file::{Cut, Track, Warning};
use crate::model::recipe::{Piece, Recipe};
use crate::{
    AudioFormat, AudioSource, Codec, Container, ProcessingError, SampleIndex, SampleRate, SampleSpan,
};

const PCM: u16 = 1;
const FLOAT: u16 = 3;
const A_LAW: u16 = 6;
const MU_LAW: u16 = 7;
const EXTENSIBLE: u16 = 0xfffe;

/// All but the first two bytes of the GUIDs that stand for a format tag in an extensible header.
const GUID_TAIL: [u8; 14] = [0, 0, 0, 0, 0x10, 0, 0x80, 0, 0, 0xaa, 0, 0x38, 0x9b, 0x71];

const HINT: &str = "convert it to 16-bit PCM WAV or FLAC, for example with `ffmpeg -i in.wav out.flac`";

/// Whether the file starts like a WAV file.
pub(crate) fn is_wav(head: &[u8]) -> bool {
    let is_riff = [b"RIFF", b"RF64", b"BW64"].iter().any(|id| head.starts_with(*id));
    is_riff && head.get(8..12) == Some(b"WAVE")
}

/// Reads the headers of a WAV file; its samples are not touched.
pub(crate) fn open(source: &dyn AudioSource) -> Result<Opened, ProcessingError> {
    let chunks = walk(source).map_err(|error| ProcessingError::read(source.name(), error))?;
    let what = || format!("{} is a WAV file", source.name());
    let Some(fmt) = chunks.fmt else {
        return Err(ProcessingError::unsupported(
            what() + " without a format header",
            "it was probably cut off; export it again",
        ));
    };
    let format = Format::parse(&fmt).ok_or_else(|| {
        let tag = fmt.first().zip(fmt.get(1)).map_or(0, |(a, b)| u16::from_le_bytes([*a, *b]));
        ProcessingError::unsupported(
            format!("{} in a coding (tag {tag:#06x}) that cannot be read", what()),
            HINT,
        )
    })?;
    let Some(data) = chunks.data else {
        let hint = "it was probably cut off before the first sample; export it again";
        return Err(ProcessingError::unsupported(what() + " without audio data", hint));
    };
    let rate = SampleRate::new(format.rate)
        .map_err(|error| ProcessingError::unsupported(what(), error.to_string()))?;
    let mut warnings = Vec::new();
    let len = trusted_len(source, &data, u64::from(format.frame) * u64::from(format.rate), &mut warnings)
        .map_err(|error| ProcessingError::read(source.name(), error))?;
    let samples = len / u64::from(format.frame);
    Ok(Opened {
        container: Container::Wav,
        codec: Codec::Pcm,
        rate,
        channels: format.channels,
        samples,
        warnings,
        track: Box::new(WavTrack { format, data: data.offset }),
    })
}

/// What the chunks of the file hold.
#[derive(Debug, Default)]
struct Chunks {
    fmt: Option<Vec<u8>>,
    data: Option<Data>,
}

#[derive(Debug)]
struct Data {
    offset: u64,
    /// As the header says it; `None` if it says that it does not know.
    stated: Option<u64>,
}

/// Walks the chunks up to the audio data. A format header behind the data is not looked for: nobody writes it there.
fn walk(source: &dyn AudioSource) -> io::Result<Chunks> {
    let mut scanner = Scanner::new(source);
    let mut found = Chunks::default();
    let mut long_data = None;
    let mut offset = 12_u64;
    while let Some(head) = scanner.array::<8>(offset)? {
        let (id, size) = id_and_size(head);
        let body = offset + 8;
        match &id {
            b"data" => {
                let stated = match size {
                    u32::MAX => long_data,
                    0 => None,
                    size => Some(u64::from(size)),
                };
                found.data = Some(Data { offset: body, stated });
                break;
            }
            b"fmt " => found.fmt = Some(scanner.at(body, (size as usize).min(40))?.to_vec()),
            // ds64: RIFF size, data size, sample count, each of eight bytes.
            b"ds64" => long_data = scanner.array::<8>(body + 8)?.map(u64::from_le_bytes),
            _ => {}
        }
        offset = body + u64::from(size) + u64::from(size % 2);
    }
    Ok(found)
}

/// How many bytes of audio there really are: headers of interrupted or piped recordings lie.
fn trusted_len(
    source: &dyn AudioSource,
    data: &Data,
    bytes_a_second: u64,
    warnings: &mut Vec<Warning>,
) -> io::Result<u64> {
    let rest = source.len().saturating_sub(data.offset);
    let mut warn = |what: String| warnings.push(Warning { offset: data.offset.saturating_sub(4), what });
    let Some(stated) = data.stated else {
        if rest > 0 && !starts_like_a_chunk(source, data.offset)? {
            warn("the header does not say how much audio there is; all bytes to the end are taken".into());
            return Ok(rest);
        }
        return Ok(0);
    };
    if stated > rest {
        warn(format!(
            "the header announces {stated} bytes of audio, but the file ends after {rest}; it was cut off"
        ));
        return Ok(rest);
    }
    // A size that wrapped at 4 GiB, or that was written before the recording ended.
    let behind = rest - stated;
    if behind > bytes_a_second && !starts_like_a_chunk(source, data.offset + stated + stated % 2)? {
        warn(format!("the header announces {stated} bytes of audio, but {rest} follow; all are taken"));
        return Ok(rest);
    }
    Ok(stated)
}

/// Whether a chunk that ends within the file may start there.
fn starts_like_a_chunk(source: &dyn AudioSource, offset: u64) -> io::Result<bool> {
    let mut scanner = Scanner::new(source);
    let Some(head) = scanner.array::<8>(offset)? else { return Ok(true) };
    let (id, size) = id_and_size(head);
    Ok(id.iter().all(|byte| matches!(byte, b' '..=b'~')) && offset + 8 + u64::from(size) <= source.len())
}

/// What the eight bytes before each chunk's body say.
fn id_and_size([id @ .., a, b, c, d]: [u8; 8]) -> ([u8; 4], u32) {
    (id, u32::from_le_bytes([a, b, c, d]))
}

/// How the samples are coded.
#[derive(Clone, Debug)]
struct Format {
    tag: u16,
    channels: u16,
    rate: u32,
    /// Bytes of a sample frame.
    frame: u16,
    bits: u16,
    /// Valid bits, channel mask and GUID of an extensible header.
    extension: Option<[u8; 24]>,
}

impl Format {
    fn parse(fmt: &[u8]) -> Option<Self> {
        let word = |at: usize| Some(u16::from_le_bytes(fmt.get(at..at + 2)?.try_into().ok()?));
        let (tag, channels, bits) = (word(0)?, word(2)?, word(14)?);
        let rate = u32::from_le_bytes(fmt.get(4..8)?.try_into().ok()?);
        let extension: Option<[u8; 24]> = fmt.get(16..40).and_then(|bytes| bytes.try_into().ok());
        let extension = extension.filter(|_| tag == EXTENSIBLE);
        let coding =
            if tag == EXTENSIBLE { (fmt.get(26..40)? == GUID_TAIL).then_some(word(24)?)? } else { tag };
        let bytes = bits.div_ceil(8);
        let known = match coding {
            PCM => (1..=4).contains(&bytes) || bytes == 8,
            FLOAT => bits == 32 || bits == 64,
            A_LAW | MU_LAW => bits == 8,
            _ => false,
        };
        if !known || channels == 0 {
            return None;
        }
        // Some writers leave the block size empty; 20 bits may be kept in three bytes or in four.
        let least = channels.checked_mul(bytes)?;
        let stated = word(12)?;
        let frame = if stated >= least && stated.is_multiple_of(channels) { stated } else { least };
        Some(Self { tag, channels, rate, frame, bits, extension })
    }

    /// The headers of a file of `len` bytes of audio: 44 bytes, or 68 if extensible.
    fn headers(&self, len: u64) -> Vec<u8> {
        let fmt_len: u32 = if self.extension.is_some() { 40 } else { 16 };
        let padded = len + len % 2;
        let mut out = Vec::with_capacity(68);
        out.extend(b"RIFF");
        out.extend(saturated(padded + u64::from(fmt_len) + 20).to_le_bytes());
        out.extend(b"WAVEfmt ");
        out.extend(fmt_len.to_le_bytes());
        out.extend(self.coding());
        out.extend(b"data");
        out.extend(saturated(len).to_le_bytes());
        out
    }

    /// The body of the `fmt ` chunk.
    fn coding(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(40);
        out.extend(self.tag.to_le_bytes());
        out.extend(self.channels.to_le_bytes());
        out.extend(self.rate.to_le_bytes());
        out.extend((self.rate.saturating_mul(u32::from(self.frame))).to_le_bytes());
        out.extend(self.frame.to_le_bytes());
        out.extend(self.bits.to_le_bytes());
        out.extend(self.extension.iter().flatten());
        out
    }
}

fn saturated(len: u64) -> u32 {
    u32::try_from(len).unwrap_or(u32::MAX)
}

#[derive(Debug)]
struct WavTrack {
    format: Format,
    data: u64,
}

impl Track for WavTrack {
    fn packet_start(&self, at: SampleIndex) -> SampleIndex {
        at
    }

    fn next_packet_start(&self, at: SampleIndex) -> SampleIndex {
        at.plus(1)
    }

    fn whole_samples(&self, span: SampleSpan) -> u64 {
        span.len()
    }

    fn payload_bytes(&self, span: SampleSpan) -> u64 {
        span.len() * u64::from(self.format.frame)
    }

    fn content_length(&self, span: SampleSpan) -> u64 {
        let len = self.payload_bytes(span);
        let headers = if self.format.extension.is_some() { 68 } else { 44 };
        headers + len + len % 2
    }

    fn cut(&self, span: SampleSpan) -> Cut {
        let len = self.payload_bytes(span);
        let offset = self.data + span.start().get() * u64::from(self.format.frame);
        let headers = Bytes::from(self.format.headers(len));
        let head_len = headers.len() as u64;
        let mut pieces = vec![Piece::Bytes(headers), Piece::Range { offset, len }];
        if !len.is_multiple_of(2) {
            pieces.push(Piece::Bytes(Bytes::from_static(&[0])));
        }
        let recipe = Recipe { pieces, head_len, content_length: self.content_length(span) };
        Cut { recipe, first_sample: span.start().get() as i64 }
    }

    fn format(&self) -> AudioFormat {
        AudioFormat::Wav
    }

    fn identity(&self) -> Vec<u8> {
        self.format.coding()
    }
}
