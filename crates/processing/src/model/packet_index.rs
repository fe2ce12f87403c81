//! Where the packets of a recording lie, in two to four bytes a packet.
//!
//! Each packet is one token: its size, and whether its duration changed or bytes that belong to no packet came before
//! it. A checkpoint each 64 packets makes any of them reachable at once.

/// Packets between two checkpoints.
const STRIDE: u64 = 64;

/// One packet of the recording.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Packet {
    /// Its number, from 0.
    pub(crate) number: u64,
    /// Where it starts in the file.
    pub(crate) offset: u64,
    /// Its size in bytes.
    pub(crate) size: u32,
    /// The decoder's first sample of it, the encoder's delay included.
    pub(crate) sample: u64,
    /// How many samples the decoder makes of it.
    pub(crate) samples: u32,
    /// A number that only the container's reader understands.
    pub(crate) extra: u32,
    /// The sizes of all packets before it.
    pub(crate) size_before: u64,
    /// The extras of all packets before it.
    pub(crate) extra_before: u64,
}

impl Packet {
    /// Where the next packet starts, if nothing lies between.
    pub(crate) fn end_offset(&self) -> u64 {
        self.offset + u64::from(self.size)
    }

    /// The decoder's first sample of the next packet.
    pub(crate) fn end_sample(&self) -> u64 {
        self.sample + u64::from(self.samples)
    }
}

#[derive(Clone, Copy, Debug)]
struct Checkpoint {
    at: usize,
    before: Packet,
}

/// All packets of a recording, in order.
#[derive(Clone, Debug, Default)]
pub(crate) struct PacketIndex {
    tokens: Vec<u8>,
    checkpoints: Vec<Checkpoint>,
    last: Packet,
    packets: u64,
}

impl PacketIndex {
    /// Appends a packet, which must lie behind the last one.
    pub(crate) fn push(&mut self, offset: u64, size: u32, samples: u32, extra: u32) {
        let before = self.last;
        if self.packets.is_multiple_of(STRIDE) {
            self.checkpoints.push(Checkpoint { at: self.tokens.len(), before });
        }
        let gap = offset.saturating_sub(before.end_offset());
        let plain = gap == 0 && samples == before.samples;
        put(&mut self.tokens, (u64::from(size) << 1) | u64::from(!plain));
        if !plain {
            put(&mut self.tokens, gap);
            put(&mut self.tokens, u64::from(samples));
        }
        put(&mut self.tokens, u64::from(extra));
        self.last = after(before, self.packets, gap, size, samples, extra);
        self.packets += 1;
    }

    /// How many packets there are.
    pub(crate) fn packets(&self) -> u64 {
        self.packets
    }

    /// How many samples the decoder makes of all of them.
    pub(crate) fn samples(&self) -> u64 {
        self.last.end_sample()
    }

    /// Where the last one ends, or 0.
    pub(crate) fn end_offset(&self) -> u64 {
        self.last.end_offset()
    }

    /// The packet of that number.
    pub(crate) fn get(&self, number: u64) -> Option<Packet> {
        self.from(number).next()
    }

    /// The packet that holds the decoder's sample `sample`, or the last one.
    pub(crate) fn at_sample(&self, sample: u64) -> Option<Packet> {
        let block = self.checkpoints.partition_point(|point| point.before.end_sample() <= sample);
        let mut packets = self.from((block.max(1) as u64 - 1) * STRIDE);
        packets
            .find(|packet| packet.end_sample() > sample)
            .or_else(|| (self.packets > 0).then_some(self.last))
    }

    /// The packets from that number on.
    pub(crate) fn from(&self, number: u64) -> Packets<'_> {
        let number = number.min(self.packets);
        let start = self.checkpoints.get((number / STRIDE) as usize);
        let (at, before) = start.map_or((self.tokens.len(), self.last), |point| (point.at, point.before));
        let mut packets = Packets { index: self, at, before, next: number - number % STRIDE };
        if start.is_none() {
            packets.next = self.packets;
        }
        while packets.next < number {
            if packets.next().is_none() {
                break;
            }
        }
        packets
    }

    /// The bytes that it takes in memory.
    #[cfg(test)]
    pub(crate) fn memory(&self) -> usize {
        self.tokens.len() + self.checkpoints.len() * size_of::<Checkpoint>()
    }

    /// Gives back what was allocated in advance.
    pub(crate) fn shrink(&mut self) {
        self.tokens.shrink_to_fit();
        self.checkpoints.shrink_to_fit();
    }
}

/// The packets of an index, from some number on.
#[derive(Debug)]
pub(crate) struct Packets<'a> {
    index: &'a PacketIndex,
    at: usize,
    before: Packet,
    next: u64,
}

impl Iterator for Packets<'_> {
    type Item = Packet;

    fn next(&mut self) -> Option<Packet> {
        if self.next >= self.index.packets {
            return None;
        }
        let token = self.take();
        let (gap, samples) =
            if token & 1 == 0 { (0, self.before.samples) } else { (self.take(), self.take() as u32) };
        let extra = self.take() as u32;
        self.before = after(self.before, self.next, gap, (token >> 1) as u32, samples, extra);
        self.next += 1;
        Some(self.before)
    }
}

impl Packets<'_> {
    fn take(&mut self) -> u64 {
        let mut value = 0;
        let mut shift = 0;
        while let Some(&byte) = self.index.tokens.get(self.at) {
            self.at += 1;
            value |= u64::from(byte & 0x7f) << shift;
            shift += 7;
            if byte < 0x80 || shift > 63 {
                break;
            }
        }
        value
    }
}

fn after(before: Packet, number: u64, gap: u64, size: u32, samples: u32, extra: u32) -> Packet {
    Packet {
        number,
        offset: before.end_offset() + gap,
        size,
        sample: before.end_sample(),
        samples,
        extra,
        size_before: before.size_before + u64::from(before.size),
        extra_before: before.extra_before + u64::from(before.extra),
    }
}

fn put(tokens: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        tokens.push(value as u8 | 0x80);
        value >>= 7;
    }
    tokens.push(value as u8);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_packet_is_found_again_by_number_and_by_sample(
            packets in proptest::collection::vec((0_u64..3, 1_u32..9_000, 1_u32..5_000, 0_u32..40), 1..400)
        ) {
            let mut index = PacketIndex::default();
            let mut offset = 17;
            for &(gap, size, samples, extra) in &packets {
                offset += gap * 1_000;
                index.push(offset, size, samples, extra);
                offset += u64::from(size);
            }
            let all: Vec<Packet> = index.from(0).collect();
            prop_assert_eq!(all.len(), packets.len());
            for (number, (packet, &(_, size, samples, extra))) in all.iter().zip(&packets).enumerate() {
                prop_assert_eq!((packet.size, packet.samples, packet.extra), (size, samples, extra));
                prop_assert_eq!(index.get(number as u64), Some(*packet));
                prop_assert_eq!(index.at_sample(packet.sample), Some(*packet));
                prop_assert_eq!(index.at_sample(packet.end_sample() - 1), Some(*packet));
            }
            prop_assert_eq!(all.last().unwrap().end_offset(), offset);
            prop_assert_eq!(index.get(packets.len() as u64), None);
            prop_assert_eq!(index.at_sample(u64::MAX), all.last().copied());
        }
    }

    #[test]
    fn an_hour_of_mp3_takes_less_than_five_bytes_a_packet() {
        let mut index = PacketIndex::default();
        for number in 0..137_812_u64 {
            index.push(number * 418, 418, 1_152, 4);
        }
        assert!(index.memory() < 137_812 * 5, "{} bytes", index.memory());
        assert_eq!(index.samples(), 137_812 * 1_152);
    }
}
