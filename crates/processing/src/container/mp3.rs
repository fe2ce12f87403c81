//! MP3: frames are sent as they are, after as many of their predecessors as the decoder needs.

mod frames;
mod header;
mod info;

use std::io;
use std::sync::Arc;

use bytes::Bytes;

use self::frames::Walked;
use self::header::FrameHeader;
use super::crc::crc16;
use super::scanner::Scanner;
use super::{Opened, tags};
use crate::model::audio_file::{Cut, Track, Warning};
use crate::model::packet_index::{Packet, PacketIndex};
use crate::model::recipe::{PacketWriter, Piece, Recipe, read_exact_at};
use crate::{
    AudioFormat, AudioSource, Codec, Container, ProcessingError, SampleIndex, SampleRate, SampleSpan,
};

/// What every decoder of layer III adds to the encoder's delay.
const DECODER_DELAY: u64 = 529;

/// Reads the whole stream once from `start`; `None` if there is none.
pub(crate) fn open(source: &dyn AudioSource, start: u64) -> Result<Option<Opened>, ProcessingError> {
    let failed = |error| ProcessingError::read(source.name(), error);
    let mut scanner = Scanner::new(source);
    let end = tags::audio_end(&mut scanner).map_err(failed)?;
    let frames = match frames::walk(&mut scanner, start, end).map_err(failed)? {
        Walked::Frames(frames) => *frames,
        Walked::NoMpeg => return Ok(None),
        Walked::OtherLayer => {
            return Err(ProcessingError::unsupported(
                format!("{} is MPEG audio of layer I or II, which is not read yet", source.name()),
                "convert it first, for example with `ffmpeg -i in out.flac`",
            ));
        }
    };
    let rate = SampleRate::new(frames.first.rate)
        .map_err(|error| ProcessingError::unsupported(source.name(), error.to_string()))?;
    let mut warnings = frames.damage.finish(end - start, "MP3")?;
    let total = frames.index.samples();
    let announced = frames.info.and_then(|info| info.frames).map(u64::from);
    // An end that is not there cannot be trimmed.
    let whole = announced.is_none_or(|announced| announced <= frames.index.packets());
    if let Some(announced) = announced.filter(|_| !whole && warnings.is_empty()) {
        let what =
            format!("the header announces {announced} frames, but {} are there", frames.index.packets());
        warnings.push(Warning { offset: end, what });
    }
    let (trim, samples) = frames.info.and_then(|info| info.gap).map_or((0, total), |gap| {
        let trim = (u64::from(gap.delay) + DECODER_DELAY).min(total);
        let padding = u64::from(gap.padding).saturating_sub(DECODER_DELAY);
        (trim, (total - trim).saturating_sub(if whole { padding } else { 0 }))
    });
    let channels = u16::from(frames.first.channels);
    let shared = Shared { index: frames.index, first: frames.first, variable: frames.variable, trim };
    Ok(Some(Opened {
        container: Container::Mp3,
        codec: Codec::Mp3,
        rate,
        channels,
        samples,
        warnings,
        track: Box::new(Mp3Track(Arc::new(shared))),
    }))
}

#[derive(Debug)]
struct Shared {
    /// The extra of a packet is how many frames before it the decoder must have seen.
    index: PacketIndex,
    first: FrameHeader,
    variable: bool,
    /// Samples that the decoder makes before the first audible one.
    trim: u64,
}

/// The frames that a chunk is made of.
#[derive(Clone, Copy, Debug)]
struct Needed {
    /// The first that is sent.
    lead: Packet,
    /// The first that is owned.
    first: Packet,
    last: Packet,
}

impl Needed {
    fn bytes(&self) -> u64 {
        self.last.size_before + u64::from(self.last.size) - self.lead.size_before
    }
}

#[derive(Debug)]
struct Mp3Track(Arc<Shared>);

impl Mp3Track {
    fn needed(&self, span: SampleSpan) -> Option<Needed> {
        let Shared { index, trim, .. } = &*self.0;
        let end = span.end().get().checked_sub(1).filter(|_| !span.is_empty())?;
        let first = index.at_sample(span.start().get() + trim)?;
        let last = index.at_sample(end + trim)?;
        let lead = index.get(first.number.saturating_sub(u64::from(first.extra)))?;
        Some(Needed { lead, first, last })
    }

    /// Only a stream whose bit rate changes needs to say how long it is.
    fn head(&self, needed: &Needed) -> Vec<u8> {
        if !self.0.variable {
            return Vec::new();
        }
        info::xing_frame(&self.0.first, needed.last.number - needed.lead.number + 1, needed.bytes())
    }
}

impl Track for Mp3Track {
    fn packet_start(&self, at: SampleIndex) -> SampleIndex {
        let packet = self.0.index.at_sample(at.get() + self.0.trim);
        packet.map_or(at, |packet| SampleIndex::new(packet.sample.saturating_sub(self.0.trim)))
    }

    fn next_packet_start(&self, at: SampleIndex) -> SampleIndex {
        let packet = self.0.index.at_sample(at.get() + self.0.trim);
        packet.map_or(at, |packet| SampleIndex::new(packet.end_sample().saturating_sub(self.0.trim)))
    }

    fn whole_samples(&self, span: SampleSpan) -> u64 {
        self.needed(span).map_or(0, |needed| needed.last.end_sample() - needed.lead.sample)
    }

    fn payload_bytes(&self, span: SampleSpan) -> u64 {
        self.needed(span).map_or(0, |needed| {
            needed.last.size_before + u64::from(needed.last.size) - needed.first.size_before
        })
    }

    fn content_length(&self, span: SampleSpan) -> u64 {
        self.needed(span).map_or(0, |needed| self.head(&needed).len() as u64 + needed.bytes())
    }

    fn cut(&self, span: SampleSpan) -> Cut {
        let Some(needed) = self.needed(span) else {
            let recipe = Recipe { pieces: Vec::new(), head_len: 0, content_length: 0 };
            return Cut { recipe, first_sample: span.start().get() as i64 };
        };
        let head = self.head(&needed);
        let head_len = head.len() as u64;
        let mut pieces = vec![Piece::Bytes(Bytes::from(head))];
        if needed.lead.number < needed.first.number {
            let writer = LeadWriter { shared: Arc::clone(&self.0), lead: needed.lead.number };
            let numbers = needed.lead.number..needed.first.number;
            pieces.push(Piece::Packets { numbers, writer: Arc::new(writer) });
        }
        let owned = needed.last.number - needed.first.number + 1;
        let mut range = (needed.first.offset, 0);
        for packet in self.0.index.from(needed.first.number).take(owned as usize) {
            if packet.offset != range.0 + range.1 {
                pieces.push(Piece::Range { offset: range.0, len: range.1 });
                range = (packet.offset, 0);
            }
            range.1 += u64::from(packet.size);
        }
        pieces.push(Piece::Range { offset: range.0, len: range.1 });
        let recipe = Recipe { pieces, head_len, content_length: head_len + needed.bytes() };
        Cut { recipe, first_sample: needed.lead.sample as i64 - self.0.trim as i64 }
    }

    fn format(&self) -> AudioFormat {
        AudioFormat::Mp3
    }

    fn identity(&self) -> Vec<u8> {
        // Each frame says all of it.
        Vec::new()
    }
}

/// Writes the frames before the first owned one. Those whose main data begins before the chunk are made silent:
/// they are there to carry main data for the frames behind them.
#[derive(Debug)]
struct LeadWriter {
    shared: Arc<Shared>,
    lead: u64,
}

impl PacketWriter for LeadWriter {
    fn write(&self, source: &dyn AudioSource, number: u64, out: &mut Vec<u8>) -> io::Result<()> {
        let mut carried = 0;
        for packet in self.shared.index.from(self.lead) {
            let mut frame = vec![0; packet.size as usize];
            read_exact_at(source, packet.offset, &mut frame)?;
            let Some(header) = FrameHeader::parse(&frame).ok().filter(|_| number >= packet.number) else {
                break;
            };
            let begin = header.main_data_begin(&frame);
            let most = (1 << header.reservoir_bits()) - 1;
            if packet.number == number {
                if begin > carried {
                    silence(&mut frame, &header, carried.min(most));
                }
                out.extend(frame);
                return Ok(());
            }
            let kept = if begin > carried { carried.min(most) } else { u32::MAX / 2 };
            carried = kept + (frame.len() - header.side_info_end()) as u32;
        }
        Err(io::Error::new(io::ErrorKind::InvalidData, "an MP3 frame is not what it was"))
    }
}

/// Empties the frame's side information, so that it decodes to silence, but keeps what it carries: `begin` bytes of
/// main data before it stay in the decoder's reservoir.
fn silence(frame: &mut [u8], header: &FrameHeader, begin: u32) {
    let bits = header.reservoir_bits();
    let start = (begin << (16 - bits)) as u16;
    let fields = start.to_be_bytes().into_iter().chain(std::iter::repeat(0)).take(header.side_info_len());
    for (to, from) in frame.iter_mut().skip(header.side_info_start()).zip(fields) {
        *to = from;
    }
    if header.crc {
        let crc = crc16(0xffff, frame.get(2..4).unwrap_or_default());
        let side = frame.get(6..header.side_info_end()).unwrap_or_default();
        let crc = crc16(crc, side).to_be_bytes();
        for (to, from) in frame.iter_mut().skip(4).zip(crc) {
            *to = from;
        }
    }
}
