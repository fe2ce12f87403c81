//! Decodes WAV as it arrives, piece by piece: RIFF and RF64, integers of 8 to 32 bits, floats, A-law and µ-law.
//!
//! It is as lenient as the decoders behind real APIs: sizes that are wrong in the header are no error, what is
//! there counts.

const UNKNOWN_SIZE: u64 = u32::MAX as u64;
/// A `fmt ` or `ds64` chunk that is larger is nonsense.
const MAX_HEADER_CHUNK: u64 = 4_096;

/// How samples are stored.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Encoding {
    Unsigned8,
    Signed { bytes: usize },
    Float32,
    Float64,
    ALaw,
    MuLaw,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Format {
    encoding: Encoding,
    channels: usize,
    rate: u32,
    sample_bytes: usize,
}

/// What is expected next.
#[derive(Clone, Copy, Debug, PartialEq)]
enum State {
    Riff,
    Chunk,
    Header { id: [u8; 4], size: u64 },
    Skip { left: u64 },
    Data { left: Option<u64> },
    Done,
}

/// A decoder of WAV to one channel of 16-bit samples.
#[derive(Debug)]
pub(crate) struct WavDecoder {
    state: State,
    pending: Vec<u8>,
    format: Option<Format>,
    data_size: Option<u64>,
}

impl WavDecoder {
    pub(crate) fn new() -> Self {
        Self { state: State::Riff, pending: Vec::new(), format: None, data_size: None }
    }

    /// Samples a second, once the header has been read.
    pub(crate) fn rate(&self) -> Option<u32> {
        matches!(self.state, State::Data { .. } | State::Done).then_some(self.format?.rate)
    }

    /// Takes more of the file and appends the samples in it.
    pub(crate) fn push(&mut self, mut bytes: &[u8], samples: &mut Vec<i16>) -> Result<(), String> {
        while !bytes.is_empty() {
            match self.state {
                State::Riff => {
                    let Some(head) = self.gather(&mut bytes, 12) else { return Ok(()) };
                    self.riff(&head)?;
                }
                State::Chunk => {
                    let Some(head) = self.gather(&mut bytes, 8) else { return Ok(()) };
                    self.chunk(&head)?;
                }
                State::Header { id, size } => {
                    let Some(body) = self.gather(&mut bytes, size as usize) else { return Ok(()) };
                    self.header(id, &body)?;
                    self.state = if size % 2 == 1 { State::Skip { left: 1 } } else { State::Chunk };
                }
                State::Skip { left } => {
                    let skipped = left.min(bytes.len() as u64);
                    bytes = bytes.split_at(skipped as usize).1;
                    self.state =
                        if skipped == left { State::Chunk } else { State::Skip { left: left - skipped } };
                }
                State::Data { left } => {
                    let count = left.unwrap_or(u64::MAX).min(bytes.len() as u64);
                    let (data, rest) = bytes.split_at(count as usize);
                    self.data(data, samples)?;
                    bytes = rest;
                    let left = left.map(|left| left - count);
                    self.state = if left == Some(0) { State::Done } else { State::Data { left } };
                }
                State::Done => return Ok(()),
            }
        }
        Ok(())
    }

    /// Whether the file has got as far as its samples.
    pub(crate) fn finish(&self) -> Result<(), String> {
        match self.state {
            State::Data { .. } | State::Done => Ok(()),
            _ => Err("the WAV file ends before its samples".into()),
        }
    }

    /// Collects `size` bytes across pieces.
    fn gather(&mut self, bytes: &mut &[u8], size: usize) -> Option<Vec<u8>> {
        let missing = size.saturating_sub(self.pending.len()).min(bytes.len());
        let (head, rest) = bytes.split_at(missing);
        self.pending.extend_from_slice(head);
        *bytes = rest;
        (self.pending.len() >= size).then(|| std::mem::take(&mut self.pending))
    }

    fn riff(&mut self, head: &[u8]) -> Result<(), String> {
        let known = matches!(head.get(..4), Some(b"RIFF" | b"RF64" | b"BW64"));
        if !known || head.get(8..12) != Some(b"WAVE") {
            return Err("this is no WAV file".into());
        }
        self.state = State::Chunk;
        Ok(())
    }

    fn chunk(&mut self, head: &[u8]) -> Result<(), String> {
        let (id, size) = head.split_at(4);
        let size = u64::from(u32::from_le_bytes(array(size).ok_or("a chunk without a size")?));
        self.state = match id {
            b"fmt " | b"ds64" if size > MAX_HEADER_CHUNK => {
                return Err("a header chunk of the WAV file is far too large".into());
            }
            b"fmt " | b"ds64" => State::Header { id: array(id).ok_or("a chunk without a name")?, size },
            b"data" => {
                self.format.ok_or("the samples come before their format")?;
                let size = if size == UNKNOWN_SIZE { self.data_size } else { Some(size) };
                if size == Some(0) { State::Done } else { State::Data { left: size } }
            }
            _ => State::Skip { left: size + size % 2 },
        };
        Ok(())
    }

    fn header(&mut self, id: [u8; 4], body: &[u8]) -> Result<(), String> {
        if &id == b"ds64" {
            let size = body.get(8..16).and_then(array).ok_or("the ds64 chunk is too short")?;
            self.data_size = Some(u64::from_le_bytes(size));
            return Ok(());
        }
        let field = |at: usize| body.get(at..at + 2).and_then(array).map(u16::from_le_bytes);
        let (Some(mut tag), Some(channels), Some(bits)) = (field(0), field(2), field(14)) else {
            return Err("the format of the WAV file is too short".into());
        };
        if tag == 0xfffe {
            tag = field(24).ok_or("the extended format of the WAV file is too short")?;
        }
        let rate = body.get(4..8).and_then(array).map(u32::from_le_bytes).unwrap_or_default();
        let encoding = match (tag, bits) {
            (1, 8) => Encoding::Unsigned8,
            (1, 16 | 24 | 32) => Encoding::Signed { bytes: usize::from(bits) / 8 },
            (3, 32) => Encoding::Float32,
            (3, 64) => Encoding::Float64,
            (6, 8) => Encoding::ALaw,
            (7, 8) => Encoding::MuLaw,
            _ => return Err(format!("WAV format {tag} with {bits} bits is not known")),
        };
        if channels == 0 || rate == 0 {
            return Err("the WAV file has no channels or no sample rate".into());
        }
        let sample_bytes = usize::from(bits) / 8;
        self.format = Some(Format { encoding, channels: usize::from(channels), rate, sample_bytes });
        Ok(())
    }

    fn data(&mut self, mut data: &[u8], samples: &mut Vec<i16>) -> Result<(), String> {
        let format = self.format.ok_or("the samples come before their format")?;
        let frame = format.sample_bytes * format.channels;
        if !self.pending.is_empty() {
            let Some(first) = self.gather(&mut data, frame) else { return Ok(()) };
            samples.push(mix(&first, format));
        }
        samples.reserve(data.len() / frame);
        let mut frames = data.chunks_exact(frame);
        samples.extend(frames.by_ref().map(|frame| mix(frame, format)));
        self.pending.extend_from_slice(frames.remainder());
        Ok(())
    }
}

fn array<const N: usize>(bytes: &[u8]) -> Option<[u8; N]> {
    bytes.try_into().ok()
}

/// The mean of the channels of a frame.
fn mix(frame: &[u8], format: Format) -> i16 {
    if format.channels == 1 {
        return sample(frame, format.encoding);
    }
    let sum: i32 =
        frame.chunks_exact(format.sample_bytes).map(|bytes| i32::from(sample(bytes, format.encoding))).sum();
    (sum / format.channels as i32) as i16
}

fn sample(bytes: &[u8], encoding: Encoding) -> i16 {
    match (encoding, bytes) {
        (Encoding::Unsigned8, &[byte]) => (i16::from(byte) - 128) << 8,
        // The two highest bytes are the last.
        (Encoding::Signed { .. }, &[.., low, high]) => i16::from_le_bytes([low, high]),
        (Encoding::Float32, _) => {
            array(bytes).map_or(0, |bytes| from_float(f64::from(f32::from_le_bytes(bytes))))
        }
        (Encoding::Float64, _) => array(bytes).map_or(0, |bytes| from_float(f64::from_le_bytes(bytes))),
        (Encoding::ALaw, &[byte]) => a_law(byte),
        (Encoding::MuLaw, &[byte]) => mu_law(byte),
        _ => 0,
    }
}

fn from_float(value: f64) -> i16 {
    (value * 32_768.0).round() as i16
}

/// ITU-T G.711, A-law.
fn a_law(byte: u8) -> i16 {
    let byte = byte ^ 0x55;
    let (exponent, mantissa) = (i16::from(byte >> 4 & 7), i16::from(byte & 15));
    let magnitude = match exponent {
        0 => mantissa << 4 | 8,
        _ => (mantissa << 4 | 0x108) << (exponent - 1),
    };
    if byte & 0x80 == 0 { -magnitude } else { magnitude }
}

/// ITU-T G.711, µ-law.
fn mu_law(byte: u8) -> i16 {
    let byte = !byte;
    let (exponent, mantissa) = (byte >> 4 & 7, i16::from(byte & 15));
    let magnitude = ((mantissa << 3 | 0x84) << exponent) - 0x84;
    if byte & 0x80 == 0 { magnitude } else { -magnitude }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::testing::{SampleEncoding, ToneSpeech};

    fn decode(file: &[u8], piece: usize) -> Result<Vec<i16>, String> {
        let mut decoder = WavDecoder::new();
        let mut samples = Vec::new();
        for piece in file.chunks(piece) {
            decoder.push(piece, &mut samples)?;
        }
        decoder.finish()?;
        Ok(samples)
    }

    fn speech() -> ToneSpeech {
        ToneSpeech::new(Duration::from_millis(1_501)).with_seed(1)
    }

    fn file(speech: &ToneSpeech) -> Vec<u8> {
        let mut file = Vec::new();
        speech.write_wav(&mut file).unwrap();
        file
    }

    #[test]
    fn every_encoding_gives_the_samples_back_in_pieces_of_any_size() {
        let expected: Vec<i16> = speech().samples().unwrap().collect();
        for channels in [1, 2, 3] {
            for encoding in
                [SampleEncoding::Pcm16, SampleEncoding::Pcm24, SampleEncoding::Pcm32, SampleEncoding::Float32]
            {
                let file = file(&speech().with_channels(channels).with_encoding(encoding));
                for piece in [1, 13, 4_096, usize::MAX] {
                    assert_eq!(decode(&file, piece).unwrap(), expected, "{encoding:?} in pieces of {piece}");
                }
            }
        }
        let eight = decode(&file(&speech().with_encoding(SampleEncoding::Pcm8)), 99).unwrap();
        assert!(eight.iter().zip(&expected).all(|(eight, sample)| (eight - sample).abs() < 256));
    }

    #[test]
    fn the_laws_of_g711_give_their_extremes_and_their_zeros() {
        assert_eq!((mu_law(0x00), mu_law(0x80), mu_law(0xff), mu_law(0x7f)), (-32_124, 32_124, 0, 0));
        assert_eq!((a_law(0x2a), a_law(0xaa), a_law(0xd5), a_law(0x55)), (-32_256, 32_256, 8, -8));
    }

    #[test]
    fn other_chunks_are_skipped_and_wrong_sizes_do_not_matter() {
        let plain = file(&speech());
        let expected = decode(&plain, 64).unwrap();
        let mut listed = plain[..36].to_vec();
        listed.extend_from_slice(b"LIST\x03\0\0\0abc\0");
        listed.extend_from_slice(&plain[36..]);
        assert_eq!(decode(&listed, 5).unwrap(), expected);
        for size in [u32::MAX, 2_000_000] {
            let mut lies = plain.clone();
            lies[40..44].copy_from_slice(&size.to_le_bytes());
            assert_eq!(decode(&lies, 64).unwrap(), expected, "data size {size}");
        }
    }

    #[test]
    fn what_is_no_wav_is_an_error() {
        let plain = file(&speech());
        let mut compressed = plain.clone();
        compressed[20] = 2;
        for (file, why) in [
            (b"ID3\x04 this is an MP3 file".to_vec(), "no WAV"),
            (plain[..30].to_vec(), "ends before"),
            (compressed, "format 2 with 16 bits"),
            (Vec::new(), "ends before"),
        ] {
            let error = decode(&file, 7).unwrap_err();
            assert!(error.contains(why), "{error}");
        }
    }
}
