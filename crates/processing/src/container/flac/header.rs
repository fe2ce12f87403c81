//! FLAC's stream and frame headers (RFC 9639, sections 8.2 and 9.1).

use super::frames::Blocks;
use crate::container::crc::crc8;

/// The longest frame header.
pub(super) const MAX_HEADER: usize = 16;

/// What STREAMINFO says.
#[derive(Clone, Debug)]
pub(super) struct StreamInfo {
    pub(super) rate: u32,
    pub(super) channels: u8,
    pub(super) bits: u8,
    /// 0: it does not say.
    pub(super) samples: u64,
}

impl StreamInfo {
    pub(super) fn parse(raw: [u8; 34]) -> Self {
        let packed =
            raw.iter().skip(10).take(8).fold(0, |packed: u64, byte| (packed << 8) | u64::from(*byte));
        Self {
            rate: (packed >> 44) as u32,
            channels: ((packed >> 41) & 7) as u8 + 1,
            bits: ((packed >> 36) & 31) as u8 + 1,
            samples: packed & 0xf_ffff_ffff,
        }
    }

    /// The same stream with other blocks, unknown frame sizes and no checksum of the samples.
    pub(super) fn rewritten(&self, blocks: Blocks, samples: u64) -> Vec<u8> {
        let packed = (u64::from(self.rate) << 44)
            | (u64::from(self.channels - 1) << 41)
            | (u64::from(self.bits - 1) << 36)
            | (samples & 0xf_ffff_ffff);
        let mut out = Vec::with_capacity(34);
        out.extend((blocks.min as u16).to_be_bytes());
        out.extend((blocks.max as u16).to_be_bytes());
        out.extend([0; 6]);
        out.extend(packed.to_be_bytes());
        out.extend([0; 16]);
        out
    }
}

/// A frame's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FrameHeader {
    /// Whether `number` counts samples, not frames.
    pub(super) variable: bool,
    pub(super) number: u64,
    /// Bytes that the number takes.
    pub(super) number_len: usize,
    /// Samples in the frame.
    pub(super) samples: u32,
    pub(super) channels: u8,
    /// Hertz; `None`: as STREAMINFO says.
    pub(super) rate: Option<u32>,
    /// Bits a sample; `None`: as STREAMINFO says.
    pub(super) bits: Option<u8>,
    /// Bytes of the header, its checksum included.
    pub(super) len: usize,
}

impl FrameHeader {
    /// Reads a header whose checksum is right; `bytes` may go beyond it.
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        let &[0xff, sync @ (0xf8 | 0xf9), sizes, layout, ..] = bytes else { return None };
        let channels = match layout >> 4 {
            independent @ 0..=7 => independent + 1,
            8..=10 => 2,
            _ => return None,
        };
        let bits = match (layout >> 1) & 7 {
            0 => None,
            code => Some(*[8, 12, 0, 16, 20, 24, 32].get(usize::from(code) - 1)?).filter(|bits| *bits > 0),
        };
        if layout & 1 != 0 || (layout >> 1) & 7 == 3 {
            return None;
        }
        let (number, number_len) = read_number(bytes.get(4..)?)?;
        let mut at = 4 + number_len;
        let samples = match sizes >> 4 {
            0 => return None,
            1 => 192,
            code @ 2..=5 => 576 << (code - 2),
            6 => take(bytes, &mut at, 1)? + 1,
            7 => take(bytes, &mut at, 2)? + 1,
            code => 256 << (code - 8),
        };
        let rate = match sizes & 15 {
            0 => None,
            12 => Some(take(bytes, &mut at, 1)? * 1_000),
            13 => Some(take(bytes, &mut at, 2)?),
            14 => Some(take(bytes, &mut at, 2)? * 10),
            code => Some(*RATES.get(usize::from(code) - 1)?),
        };
        let checksum = *bytes.get(at)?;
        if samples > 65_535 || crc8(bytes.get(..at)?) != checksum {
            return None;
        }
        Some(Self { variable: sync & 1 == 1, number, number_len, samples, channels, rate, bits, len: at + 1 })
    }

    /// Whether a frame with this header can be part of the stream.
    pub(super) fn fits(&self, stream: &StreamInfo) -> bool {
        self.channels == stream.channels
            && self.rate.is_none_or(|rate| rate == stream.rate)
            && self.bits.is_none_or(|bits| bits == stream.bits)
    }

    /// The most bytes that the frame can have: each channel's samples as they are, one bit more for a difference.
    pub(super) fn max_frame_len(&self, stream: &StreamInfo) -> u64 {
        let bits = u64::from(self.samples) * (u64::from(stream.bits) + 1) + 64;
        64 + u64::from(self.channels) * bits.div_ceil(8)
    }

    /// Whether `next` is the header of the frame behind this one.
    pub(super) fn precedes(&self, next: &Self) -> bool {
        let step = if self.variable { u64::from(self.samples) } else { 1 };
        self.variable == next.variable && next.number == self.number + step
    }
}

const RATES: [u32; 11] =
    [88_200, 176_400, 192_000, 8_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000, 96_000];

/// `old` (a whole header) with another number, and a checksum of its own.
pub(super) fn renumbered(old: &[u8], number_len: usize, variable: bool, number: u64) -> Vec<u8> {
    let mut new = Vec::with_capacity(MAX_HEADER);
    for (at, &byte) in old.iter().take(4).enumerate() {
        new.push(if at == 1 { (byte & !1) | u8::from(variable) } else { byte });
    }
    put_number(&mut new, number);
    let rest = old.len().saturating_sub(5 + number_len);
    new.extend(old.iter().skip(4 + number_len).take(rest));
    new.push(crc8(&new));
    new
}

/// The numbers from which on a number takes one byte more.
pub(super) const NUMBER_STEPS: [u64; 6] = [0x80, 0x800, 0x1_0000, 0x20_0000, 0x400_0000, 0x8000_0000];

/// FLAC's numbers are written as UTF-8 writes code points, up to 36 bits.
fn put_number(out: &mut Vec<u8>, number: u64) {
    let more = NUMBER_STEPS.iter().filter(|step| number >= **step).count();
    if more == 0 {
        out.push(number as u8);
        return;
    }
    let lead = !0_u8 << (7 - more);
    out.push(lead | (number >> (6 * more)) as u8);
    out.extend((0..more).rev().map(|at| 0x80 | ((number >> (6 * at)) & 0x3f) as u8));
}

fn read_number(bytes: &[u8]) -> Option<(u64, usize)> {
    let first = *bytes.first()?;
    let len = match first.leading_ones() {
        0 => return Some((u64::from(first), 1)),
        ones @ 2..=7 => ones as usize,
        _ => return None,
    };
    let mut number = u64::from(first & (0x7f_u32 >> len) as u8);
    for &byte in bytes.get(1..len)? {
        if byte & 0xc0 != 0x80 {
            return None;
        }
        number = (number << 6) | u64::from(byte & 0x3f);
    }
    Some((number, len))
}

fn take(bytes: &[u8], at: &mut usize, n: usize) -> Option<u32> {
    let value = bytes.get(*at..*at + n)?.iter().fold(0, |sum, byte| (sum << 8) | u32::from(*byte));
    *at += n;
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn numbers_read_back_at_every_length(number in (0_u32..36).prop_flat_map(|bits| 0_u64..1 << bits)) {
            let mut bytes = Vec::new();
            put_number(&mut bytes, number);
            prop_assert_eq!(read_number(&bytes), Some((number, bytes.len())));
        }

        #[test]
        fn a_renumbered_header_says_the_same_but_its_number(number in 0_u64..1 << 31, other in 0_u64..1 << 31) {
            let mut head = vec![0xff, 0xf8, 0x7d, 0x18];
            put_number(&mut head, number);
            let number_len = head.len() - 4;
            head.extend([0x12, 0x34, 0xac, 0x44]);
            head.push(crc8(&head));
            let old = FrameHeader::parse(&head).unwrap();
            let new = renumbered(&head, number_len, false, other);
            let parsed = FrameHeader::parse(&new).unwrap();
            prop_assert_eq!(parsed.number, other);
            prop_assert_eq!(parsed.len, new.len());
            prop_assert_eq!((parsed.samples, parsed.rate), (old.samples, old.rate));
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes: Vec<u8>) {
            if let Some(header) = FrameHeader::parse(&bytes) {
                prop_assert!(header.len <= bytes.len());
            }
        }
    }

    #[test]
    fn stream_info_keeps_all_but_the_samples() {
        let mut raw = [0; 34];
        raw[0..4].copy_from_slice(&[0x10, 0, 0x10, 0]);
        raw[10..18].copy_from_slice(&[0x0a, 0xc4, 0x42, 0xf0, 0, 0, 0x30, 0x39]);
        let info = StreamInfo::parse(raw);
        assert_eq!((info.rate, info.channels, info.bits, info.samples), (44_100, 2, 16, 12_345));
        let raw = info.rewritten(Blocks { min: 192, max: 4_608 }, 7);
        assert_eq!(raw[..4], [0, 192, 0x12, 0]);
        let other = StreamInfo::parse(raw.try_into().unwrap());
        assert_eq!((other.rate, other.channels, other.bits, other.samples), (44_100, 2, 16, 7));
    }
}
