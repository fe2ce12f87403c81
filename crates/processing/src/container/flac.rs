//! Native FLAC: frames are found by their checksums, renumbered for a chunk, and nothing is decoded.

mod frames;
mod header;

use std::io;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use self::frames::Blocks;
use self::header::{FrameHeader, NUMBER_STEPS, StreamInfo, renumbered};
use super::crc::crc16;
use super::scanner::Scanner;
use super::{Opened, tags};
use crate::model::audio_file::{Cut, Track, Warning};
use crate::model::packet_index::{Packet, PacketIndex};
use crate::model::recipe::{PacketWriter, Piece, Recipe, read_exact_at};
use crate::{
    AudioFormat, AudioSource, Codec, Container, ProcessingError, SampleIndex, SampleRate, SampleSpan,
};

/// "fLaC", a block header and STREAMINFO.
const HEAD_LEN: u64 = 42;

/// Reads the whole stream once, from "fLaC" at `start`.
pub(crate) fn open(source: &dyn AudioSource, start: u64) -> Result<Opened, ProcessingError> {
    let failed = |error| ProcessingError::read(source.name(), error);
    let mut scanner = Scanner::new(source);
    let end = tags::audio_end(&mut scanner).map_err(failed)?;
    let blocks = metadata(&mut scanner, start + 4).map_err(failed)?;
    let Some((stream, audio)) = blocks.filter(|(stream, audio)| stream.rate > 0 && *audio <= end) else {
        return Err(ProcessingError::unsupported(
            format!("{} is a FLAC file without a whole header", source.name()),
            "it was probably cut off; download or export it again",
        ));
    };
    let found = frames::walk(&mut scanner, &stream, audio, end).map_err(failed)?;
    let rate = SampleRate::new(stream.rate)
        .map_err(|error| ProcessingError::unsupported(source.name(), error.to_string()))?;
    let samples = found.index.samples();
    let mut warnings = found.damage.finish(end - audio, "FLAC")?;
    if stream.samples > samples && warnings.is_empty() {
        let what = format!("the header announces {} samples, but only {samples} are there", stream.samples);
        warnings.push(Warning { offset: end, what });
    }
    let channels = u16::from(stream.channels);
    let track = FlacTrack(Arc::new(Shared { stream, index: found.index, blocks: found.blocks }));
    Ok(Opened {
        container: Container::Flac,
        codec: Codec::Flac,
        rate,
        channels,
        samples,
        warnings,
        track: Box::new(track),
    })
}

/// STREAMINFO, and where the frames start.
fn metadata(scanner: &mut Scanner<'_>, mut offset: u64) -> io::Result<Option<(StreamInfo, u64)>> {
    let mut stream = None;
    while let Some([kind, a, b, c]) = scanner.array::<4>(offset)? {
        let len = u64::from(u32::from_be_bytes([0, a, b, c]));
        if matches!(kind, 0 | 0x80) && len == 34 {
            stream = scanner.array::<34>(offset + 4)?.map(StreamInfo::parse);
        }
        offset += 4 + len;
        if kind & 0x80 != 0 {
            break;
        }
    }
    Ok(stream.map(|stream| (stream, offset)))
}

#[derive(Debug)]
struct Shared {
    stream: StreamInfo,
    index: PacketIndex,
    blocks: Blocks,
}

#[derive(Debug)]
struct FlacTrack(Arc<Shared>);

impl FlacTrack {
    /// The frames that hold `span`.
    fn frames(&self, span: SampleSpan) -> Option<(Packet, Packet)> {
        let index = &self.0.index;
        let last = span.end().get().checked_sub(1).filter(|_| !span.is_empty())?;
        Some((index.at_sample(span.start().get())?, index.at_sample(last)?))
    }

    /// How many bytes the new numbers of the frames from `first` to `last` take.
    fn number_bytes(&self, first: &Packet, last: &Packet) -> u64 {
        let frames = last.number - first.number + 1;
        let below = |step: u64| {
            if self.0.blocks.uniform() {
                return step.min(frames);
            }
            let until = self.0.index.at_sample(first.sample + step - 1);
            until.map_or(frames, |packet| (packet.number + 1 - first.number).min(frames))
        };
        7 * frames - NUMBER_STEPS.into_iter().map(below).sum::<u64>()
    }
}

impl Track for FlacTrack {
    fn packet_start(&self, at: SampleIndex) -> SampleIndex {
        self.0.index.at_sample(at.get()).map_or(at, |packet| SampleIndex::new(packet.sample))
    }

    fn next_packet_start(&self, at: SampleIndex) -> SampleIndex {
        self.0.index.at_sample(at.get()).map_or(at, |packet| SampleIndex::new(packet.end_sample()))
    }

    fn whole_samples(&self, span: SampleSpan) -> u64 {
        self.frames(span).map_or(0, |(first, last)| last.end_sample() - first.sample)
    }

    fn payload_bytes(&self, span: SampleSpan) -> u64 {
        self.frames(span)
            .map_or(0, |(first, last)| last.size_before + u64::from(last.size) - first.size_before)
    }

    fn content_length(&self, span: SampleSpan) -> u64 {
        let Some((first, last)) = self.frames(span) else { return HEAD_LEN };
        let old_numbers = last.extra_before + u64::from(last.extra) - first.extra_before;
        HEAD_LEN + self.payload_bytes(span) - old_numbers + self.number_bytes(&first, &last)
    }

    fn cut(&self, span: SampleSpan) -> Cut {
        let frames = self.frames(span);
        let samples = frames.map_or(0, |(first, last)| last.end_sample() - first.sample);
        let mut head = b"fLaC\x80\0\0\x22".to_vec();
        head.extend(self.0.stream.rewritten(self.0.blocks, samples));
        let mut pieces = vec![Piece::Bytes(Bytes::from(head))];
        if let Some((first, last)) = frames {
            let numbers: Range<u64> = first.number..last.number + 1;
            let writer = FrameWriter { shared: Arc::clone(&self.0), first };
            pieces.push(Piece::Packets { numbers, writer: Arc::new(writer) });
        }
        let recipe = Recipe { pieces, head_len: HEAD_LEN, content_length: self.content_length(span) };
        Cut { recipe, first_sample: frames.map_or(span.start().get(), |(first, _)| first.sample) as i64 }
    }

    fn format(&self) -> AudioFormat {
        AudioFormat::Flac
    }

    fn identity(&self) -> Vec<u8> {
        let stream = &self.0.stream;
        let mut identity = stream.rate.to_be_bytes().to_vec();
        identity.extend([stream.channels, stream.bits]);
        identity
    }
}

/// Writes the frames of one chunk, numbered from 0.
#[derive(Debug)]
struct FrameWriter {
    shared: Arc<Shared>,
    first: Packet,
}

impl PacketWriter for FrameWriter {
    fn write(&self, source: &dyn AudioSource, number: u64, out: &mut Vec<u8>) -> io::Result<()> {
        let invalid = || io::Error::new(io::ErrorKind::InvalidData, "a FLAC frame is not what it was");
        let packet = self.shared.index.get(number).ok_or_else(invalid)?;
        let mut frame = vec![0; packet.size as usize];
        read_exact_at(source, packet.offset, &mut frame)?;
        let header = FrameHeader::parse(&frame).ok_or_else(invalid)?;
        let by_frame = self.shared.blocks.uniform();
        let new = if by_frame { number - self.first.number } else { packet.sample - self.first.sample };
        let body_end = frame.len().checked_sub(2).ok_or_else(invalid)?;
        let head = frame.get(..header.len).ok_or_else(invalid)?;
        let start = out.len();
        out.extend(renumbered(head, header.number_len, !by_frame, new));
        out.extend_from_slice(frame.get(header.len..body_end).ok_or_else(invalid)?);
        let crc = crc16(0, out.get(start..).unwrap_or_default());
        out.extend(crc.to_be_bytes());
        Ok(())
    }
}
