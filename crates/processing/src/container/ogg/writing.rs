//! Ogg pages as they are written: as many whole packets in each as always fit, so that lengths are known beforehand.

use std::io;
use std::sync::Arc;

use super::read_split;
use crate::AudioSource;
use crate::container::crc::crc32;
use crate::container::packets::{Needed, Timeline, copy_packets};
use crate::model::packet_index::Packet;
use crate::model::recipe::PacketWriter;

/// A page has no more segments.
const MAX_SEGMENTS: u32 = 255;

/// A page has no more packets: of 20 ms each, it lasts a second, as RFC 7845 asks for.
const MAX_PACKETS: u64 = 50;

/// The pages' stream number: any will do.
const SERIAL: u32 = 0x7175_696c;

/// Pages before the first of audio.
const HEAD_PAGES: u32 = 2;

/// Packets of which some may be divided between pages of the source. The extra of a packet is the number of its
/// segments.
#[derive(Debug, Default)]
pub(crate) struct OggStream {
    pub(crate) timeline: Timeline,
    splits: Vec<Split>,
    most_segments: u32,
}

#[derive(Clone, Copy, Debug)]
struct Split {
    number: u64,
    /// Bytes before the first page that goes between.
    first: u32,
    serial: u32,
}

impl OggStream {
    /// Whether a page can hold a packet of that size.
    pub(crate) fn can_hold(size: u32) -> bool {
        segments(size) <= MAX_SEGMENTS
    }

    /// Appends a packet that lies in one piece.
    pub(crate) fn push(&mut self, offset: u64, size: u32, samples: u32) {
        self.most_segments = self.most_segments.max(segments(size));
        self.timeline.index.push(offset, size, samples, segments(size));
    }

    /// Appends a packet of which only the first `first` bytes lie at `offset`.
    pub(crate) fn push_split(&mut self, offset: u64, size: u32, samples: u32, first: u32, serial: u32) {
        self.splits.push(Split { number: self.timeline.index.packets(), first, serial });
        self.push(offset, size, samples);
    }

    /// How many pages the packets take.
    pub(crate) fn pages(&self, needed: &Needed) -> u64 {
        needed.packets().div_ceil(self.page_packets())
    }

    /// How many bytes those pages have.
    pub(crate) fn pages_len(&self, needed: &Needed) -> u64 {
        let last = &needed.last;
        let segments = last.extra_before + u64::from(last.extra) - needed.lead.extra_before;
        27 * self.pages(needed) + segments + needed.bytes()
    }

    /// Appends the bytes of a packet to `out`.
    pub(crate) fn read(
        &self,
        source: &dyn AudioSource,
        packet: &Packet,
        out: &mut Vec<u8>,
    ) -> io::Result<()> {
        let split = self.splits.binary_search_by_key(&packet.number, |split| split.number);
        match split.ok().and_then(|at| self.splits.get(at)) {
            Some(split) => read_split(source, packet.offset, split.first, packet.size, split.serial, out),
            None => copy_packets(source, std::iter::once(*packet), out),
        }
    }

    fn page_packets(&self) -> u64 {
        u64::from(MAX_SEGMENTS / self.most_segments.max(1)).clamp(1, MAX_PACKETS)
    }

    fn has_split(&self, numbers: std::ops::Range<u64>) -> bool {
        let at = self.splits.partition_point(|split| split.number < numbers.start);
        self.splits.get(at).is_some_and(|split| split.number < numbers.end)
    }
}

/// Segments of a packet: the last one is shorter than 255 bytes, and may be empty.
fn segments(size: u32) -> u32 {
    size / 255 + 1
}

fn lacing(size: u32) -> impl Iterator<Item = u8> {
    std::iter::repeat_n(255, (size / 255) as usize).chain([(size % 255) as u8])
}

/// Writes the pages of one chunk.
#[derive(Debug)]
pub(crate) struct PageWriter {
    pub(crate) stream: Arc<OggStream>,
    pub(crate) needed: Needed,
    /// The position of the chunk's end, counted from its first packet.
    pub(crate) end: u64,
}

impl PacketWriter for PageWriter {
    fn write(&self, source: &dyn AudioSource, number: u64, out: &mut Vec<u8>) -> io::Result<()> {
        let size = self.stream.page_packets();
        let first = self.needed.lead.number + number * size;
        let end = (first + size).min(self.needed.last.number + 1);
        let packets = || self.stream.timeline.index.from(first).take((end - first) as usize);
        let last = packets().last().unwrap_or(self.needed.last);
        let is_end = end > self.needed.last.number;
        let position = last.end_sample() - self.needed.lead.sample;
        let start = out.len();
        let head = PageHead {
            flags: if is_end { 4 } else { 0 },
            granule: if is_end { self.end.min(position) } else { position },
            number: (number as u32).wrapping_add(HEAD_PAGES),
        };
        head.write(packets().flat_map(|packet| lacing(packet.size)), out);
        if self.stream.has_split(first..end) {
            for packet in packets() {
                self.stream.read(source, &packet, out)?;
            }
        } else {
            copy_packets(source, packets(), out)?;
        }
        seal(out, start);
        Ok(())
    }
}

/// A page with one header packet, which must be shorter than 65,025 bytes.
pub(crate) fn page(packet: &[u8], number: u32) -> Vec<u8> {
    let mut out = Vec::new();
    let flags = if number == 0 { 2 } else { 0 };
    PageHead { flags, granule: 0, number }.write(lacing(packet.len() as u32), &mut out);
    out.extend(packet);
    seal(&mut out, 0);
    out
}

struct PageHead {
    flags: u8,
    granule: u64,
    number: u32,
}

impl PageHead {
    fn write(&self, lacing: impl Iterator<Item = u8>, out: &mut Vec<u8>) {
        out.extend(b"OggS\0");
        out.push(self.flags);
        out.extend(self.granule.to_le_bytes());
        out.extend(SERIAL.to_le_bytes());
        out.extend(self.number.to_le_bytes());
        out.extend([0; 4]);
        let count = out.len();
        out.push(0);
        out.extend(lacing);
        let segments = (out.len() - count - 1) as u8;
        if let Some(at) = out.get_mut(count) {
            *at = segments;
        }
    }
}

/// Writes the checksum of the page that starts at `start`.
fn seal(out: &mut [u8], start: usize) {
    let crc = crc32(0, out.get(start..).unwrap_or_default());
    for (to, from) in out.iter_mut().skip(start + 22).zip(crc.to_le_bytes()) {
        *to = from;
    }
}
