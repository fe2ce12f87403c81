//! The packets of an Ogg Opus file one by one, for a decoder.

use std::ops::Range;
use std::sync::Arc;

use super::OpusHead;
use crate::container::ogg::{self, OggStream};
use crate::{AudioSource, ProcessingError};

/// The packets of an Ogg Opus file one by one.
#[derive(Debug)]
pub(crate) struct OpusReader {
    source: Arc<dyn AudioSource>,
    stream: OggStream,
    head: OpusHead,
    /// Decoded samples that are heard.
    heard: Range<u64>,
    next: u64,
}

impl OpusReader {
    pub(crate) fn open(source: Arc<dyn AudioSource>) -> Result<Self, ProcessingError> {
        let ogg = ogg::read(&source)?;
        let trim = ogg.stream.timeline.trim;
        Ok(Self { heard: trim..trim + ogg.samples, source, stream: ogg.stream, head: ogg.head, next: 0 })
    }

    /// How many channels there are, if they are mono or stereo in one stream.
    pub(crate) fn channels(&self) -> Option<u8> {
        (self.head.family() == 0).then_some(self.head.channels())
    }

    /// The gain that a decoder applies, in 1/256 dB.
    pub(crate) fn gain(&self) -> i16 {
        self.head.gain()
    }

    /// Puts the next packet into `packet`; gives which of its samples are heard.
    pub(crate) fn next(&mut self, packet: &mut Vec<u8>) -> Result<Option<Range<usize>>, ProcessingError> {
        let Some(place) = self.stream.timeline.index.get(self.next) else { return Ok(None) };
        self.next += 1;
        packet.clear();
        self.stream
            .read(&*self.source, &place, packet)
            .map_err(|error| ProcessingError::read(self.source.name(), error))?;
        let within = |at: u64| at.clamp(place.sample, place.end_sample()) - place.sample;
        Ok(Some(within(self.heard.start) as usize..within(self.heard.end) as usize))
    }
}
