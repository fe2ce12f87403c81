//! AAC packets of any container, sent as an MP4 file of their own.
//!
//! The file has no edit list: some decoders keep to one and some do not, but all decode the first packet that they get.
//! So all agree on where the chunk's samples lie.

mod config;
mod file;

use std::io;
use std::sync::Arc;

use bytes::Bytes;

pub(crate) use self::config::{AacConfig, NoAac};
use super::packets::{Lead, Needed, Timeline, copy_packets};
use crate::model::audio_file::{Cut, Track};
use crate::model::recipe::{PacketWriter, Piece, Recipe};
use crate::{AudioFormat, AudioSource, SampleIndex, SampleSpan};

/// Packets that are written at a time.
const GROUP: u64 = 64;

/// Sizes that are written at a time.
const SIZES: u64 = 4_096;

#[derive(Debug)]
struct Shared {
    timeline: Timeline,
    config: AacConfig,
}

/// A stream of AAC packets.
#[derive(Debug)]
pub(crate) struct AacTrack(Arc<Shared>);

impl AacTrack {
    pub(crate) fn new(timeline: Timeline, config: AacConfig) -> Self {
        Self(Arc::new(Shared { timeline, config }))
    }

    fn needed(&self, span: SampleSpan) -> Option<Needed> {
        self.0.timeline.needed(span, |_| Lead::Packets(self.0.config.lead_packets()))
    }
}

impl Track for AacTrack {
    fn packet_start(&self, at: SampleIndex) -> SampleIndex {
        self.0.timeline.packet_start(at)
    }

    fn next_packet_start(&self, at: SampleIndex) -> SampleIndex {
        self.0.timeline.next_packet_start(at)
    }

    fn whole_samples(&self, span: SampleSpan) -> u64 {
        self.needed(span).map_or(0, |needed| needed.samples())
    }

    fn payload_bytes(&self, span: SampleSpan) -> u64 {
        self.needed(span).map_or(0, |needed| needed.owned_bytes())
    }

    fn content_length(&self, span: SampleSpan) -> u64 {
        self.needed(span)
            .map_or(0, |needed| file::head_len(&self.0.config) + file::rest_len(&needed) + needed.bytes())
    }

    fn cut(&self, span: SampleSpan) -> Cut {
        let Some(needed) = self.needed(span) else {
            let recipe = Recipe { pieces: Vec::new(), head_len: 0, content_length: 0 };
            return Cut { recipe, first_sample: span.start().get() as i64 };
        };
        let head = file::head(&self.0.config, &needed);
        // The sizes are no header: they say where packets end, so they are part of what a chunk is told by.
        let head_len = head.len() as u64;
        let packets = needed.packets();
        let writer = |what| Arc::new(Writer { shared: Arc::clone(&self.0), needed, what });
        let pieces = vec![
            Piece::Bytes(Bytes::from(head)),
            Piece::Packets { numbers: 0..packets.div_ceil(SIZES), writer: writer(Part::Sizes) },
            Piece::Bytes(Bytes::from(file::mdat_head(needed.bytes()))),
            Piece::Packets { numbers: 0..packets.div_ceil(GROUP), writer: writer(Part::Packets) },
        ];
        let recipe = Recipe { pieces, head_len, content_length: self.content_length(span) };
        Cut { recipe, first_sample: self.0.timeline.position_of(&needed.lead) }
    }

    fn format(&self) -> AudioFormat {
        AudioFormat::M4a
    }

    fn identity(&self) -> Vec<u8> {
        self.0.config.bytes().to_vec()
    }
}

#[derive(Clone, Copy, Debug)]
enum Part {
    Sizes,
    Packets,
}

/// Writes a part of the file, a group of packets at a time.
#[derive(Debug)]
struct Writer {
    shared: Arc<Shared>,
    needed: Needed,
    what: Part,
}

impl PacketWriter for Writer {
    fn write(&self, source: &dyn AudioSource, number: u64, out: &mut Vec<u8>) -> io::Result<()> {
        let size = match self.what {
            Part::Sizes => SIZES,
            Part::Packets => GROUP,
        };
        let first = self.needed.lead.number + number * size;
        let count = size.min((self.needed.last.number + 1).saturating_sub(first));
        let packets = self.shared.timeline.index.from(first).take(count as usize);
        match self.what {
            Part::Sizes => {
                out.extend(packets.flat_map(|packet| packet.size.to_be_bytes()));
                Ok(())
            }
            Part::Packets => copy_packets(source, packets, out),
        }
    }
}
