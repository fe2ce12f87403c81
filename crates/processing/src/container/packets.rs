//! What all containers of packets share: from samples to packets, and packets copied as they are.

use std::io;

use crate::model::packet_index::{Packet, PacketIndex};
use crate::model::recipe::read_exact_at;
use crate::{AudioSource, SampleIndex, SampleSpan};

/// The packets of a stream on the recording's sample clock.
#[derive(Debug, Default)]
pub(crate) struct Timeline {
    pub(crate) index: PacketIndex,
    /// Samples that the decoder makes before the first audible one.
    pub(crate) trim: u64,
}

/// The packets of a span.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Needed {
    /// The first that is sent.
    pub(crate) lead: Packet,
    /// The first that is owned.
    pub(crate) first: Packet,
    pub(crate) last: Packet,
}

impl Needed {
    /// How many packets are sent.
    pub(crate) fn packets(&self) -> u64 {
        self.last.number - self.lead.number + 1
    }

    /// The bytes of all that is sent.
    pub(crate) fn bytes(&self) -> u64 {
        self.last.size_before + u64::from(self.last.size) - self.lead.size_before
    }

    /// The bytes of what is owned.
    pub(crate) fn owned_bytes(&self) -> u64 {
        self.last.size_before + u64::from(self.last.size) - self.first.size_before
    }

    /// The samples of all that is sent.
    pub(crate) fn samples(&self) -> u64 {
        self.last.end_sample() - self.lead.sample
    }
}

impl Timeline {
    /// The packets that hold `span`, and those before it in which `lead` says that the decoder must start.
    pub(crate) fn needed(&self, span: SampleSpan, lead: impl FnOnce(&Packet) -> Lead) -> Option<Needed> {
        let end = span.end().get().checked_sub(1).filter(|_| !span.is_empty())?;
        let first = self.index.at_sample(span.start().get().saturating_add(self.trim))?;
        let last = self.index.at_sample(end.saturating_add(self.trim))?;
        let lead = match lead(&first) {
            Lead::Packets(packets) => self.index.get(first.number.saturating_sub(packets))?,
            Lead::Samples(samples) => {
                let from = span.start().get().saturating_add(self.trim).saturating_sub(samples);
                self.index.at_sample(from)?
            }
        };
        Some(Needed { lead, first, last })
    }

    pub(crate) fn packet_start(&self, at: SampleIndex) -> SampleIndex {
        let packet = self.index.at_sample(at.get().saturating_add(self.trim));
        packet.map_or(at, |packet| SampleIndex::new(packet.sample.saturating_sub(self.trim)))
    }

    pub(crate) fn next_packet_start(&self, at: SampleIndex) -> SampleIndex {
        let packet = self.index.at_sample(at.get().saturating_add(self.trim));
        packet.map_or(at, |packet| SampleIndex::new(packet.end_sample().saturating_sub(self.trim)))
    }

    /// Where on the recording's clock the first decoded sample of a packet lies.
    pub(crate) fn position_of(&self, packet: &Packet) -> i64 {
        (packet.sample as i64).saturating_sub(self.trim as i64)
    }
}

/// How far before the first owned sample a decoder must start.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Lead {
    Packets(u64),
    Samples(u64),
}

/// Appends packets, each one piece of the source, to `out`; those that lie side by side are read at once.
pub(crate) fn copy_packets(
    source: &dyn AudioSource,
    packets: impl Iterator<Item = Packet>,
    out: &mut Vec<u8>,
) -> io::Result<()> {
    let mut run: Option<(u64, u64)> = None;
    for packet in packets {
        run = match run {
            Some((start, end)) if end == packet.offset => Some((start, packet.end_offset())),
            Some((start, end)) => {
                copy(source, start, end - start, out)?;
                Some((packet.offset, packet.end_offset()))
            }
            None => Some((packet.offset, packet.end_offset())),
        };
    }
    match run {
        Some((start, end)) => copy(source, start, end - start, out),
        None => Ok(()),
    }
}

/// Appends `len` bytes from `offset` of the source to `out`.
pub(crate) fn copy(source: &dyn AudioSource, offset: u64, len: u64, out: &mut Vec<u8>) -> io::Result<()> {
    let start = out.len();
    out.resize(start + len as usize, 0);
    read_exact_at(source, offset, out.get_mut(start..).unwrap_or_default())
}
