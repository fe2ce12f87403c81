//! Opus packets of any container, sent as an Ogg Opus file of their own (RFC 7845).
//!
//! A decoder settles on what came before: it is sent 300 ms more, and told by the file's pre-skip to drop them. RFC
//! 7845 asks for 80 ms, after which voiced speech was measured to be off by as much as a fifth of full scale. In SILK
//! some 0.2 % of full scale are off for ever, however long the pre-roll: its fixed-point filters do not forget.

mod head;
#[cfg(feature = "ropus")]
mod reader;

use std::sync::Arc;

use bytes::Bytes;

pub(crate) use self::head::{OpusHead, samples_of};
#[cfg(feature = "ropus")]
pub(crate) use self::reader::OpusReader;
use super::ogg::{OggStream, PageWriter, page};
use super::packets::{Lead, Needed};
use crate::model::audio_file::{Cut, Track};
use crate::model::recipe::{Piece, Recipe};
use crate::{AudioFormat, SampleIndex, SampleSpan};

/// The clock of all Opus streams, in samples a second.
pub(crate) const OPUS_RATE: u32 = 48_000;

/// 300 ms, after which a decoder of CELT that starts anew differs by less than 1e-4 of full scale.
const PRE_ROLL: u64 = 14_400;

/// The comments of a file with none: the vendor's name and a count of 0.
const TAGS: &[u8] = b"OpusTags\x09\0\0\0wavequill\0\0\0\0";

/// A stream of Opus packets.
#[derive(Debug)]
pub(crate) struct OpusTrack {
    stream: Arc<OggStream>,
    head: OpusHead,
}

impl OpusTrack {
    pub(crate) fn new(stream: OggStream, head: OpusHead) -> Self {
        Self { stream: Arc::new(stream), head }
    }

    fn needed(&self, span: SampleSpan) -> Option<Needed> {
        self.stream.timeline.needed(span, |_| Lead::Samples(PRE_ROLL))
    }

    /// The two pages before the packets.
    fn head(&self, pre_skip: u64) -> Vec<u8> {
        let mut head = page(&self.head.with_pre_skip(pre_skip as u16), 0);
        head.extend(page(TAGS, 1));
        head
    }
}

impl Track for OpusTrack {
    fn packet_start(&self, at: SampleIndex) -> SampleIndex {
        self.stream.timeline.packet_start(at)
    }

    fn next_packet_start(&self, at: SampleIndex) -> SampleIndex {
        self.stream.timeline.next_packet_start(at)
    }

    fn whole_samples(&self, span: SampleSpan) -> u64 {
        // All decoders drop what the pre-skip and the last page's position say.
        span.len()
    }

    fn payload_bytes(&self, span: SampleSpan) -> u64 {
        self.needed(span).map_or(0, |needed| needed.owned_bytes())
    }

    fn content_length(&self, span: SampleSpan) -> u64 {
        let pages = |needed| self.stream.pages_len(&needed);
        self.needed(span).map_or(0, |needed| self.head(0).len() as u64 + pages(needed))
    }

    fn cut(&self, span: SampleSpan) -> Cut {
        let first_sample = span.start().get() as i64;
        let Some(needed) = self.needed(span) else {
            let recipe = Recipe { pieces: Vec::new(), head_len: 0, content_length: 0 };
            return Cut { recipe, first_sample };
        };
        let pre_skip = (span.start().get() + self.stream.timeline.trim).saturating_sub(needed.lead.sample);
        let head = self.head(pre_skip);
        let head_len = head.len() as u64;
        let content_length = head_len + self.stream.pages_len(&needed);
        let numbers = 0..self.stream.pages(&needed);
        let writer = PageWriter { stream: Arc::clone(&self.stream), needed, end: pre_skip + span.len() };
        let pieces =
            vec![Piece::Bytes(Bytes::from(head)), Piece::Packets { numbers, writer: Arc::new(writer) }];
        Cut { recipe: Recipe { pieces, head_len, content_length }, first_sample }
    }

    fn format(&self) -> AudioFormat {
        AudioFormat::Ogg
    }

    fn identity(&self) -> Vec<u8> {
        self.head.with_pre_skip(0)
    }
}
