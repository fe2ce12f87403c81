//! Opus' identification header (RFC 7845, 5.1), and how long packets are (RFC 6716, 3.1).

const MAGIC: &[u8] = b"OpusHead";

/// The header with a table for 255 channels.
const MAX_BYTES: usize = 21 + 255;

/// Samples of a frame at 48 kHz: of each configuration in four or two lengths.
const SILK_FRAMES: [u32; 4] = [480, 960, 1_920, 2_880];
const HYBRID_FRAMES: [u32; 2] = [480, 960];
const CELT_FRAMES: [u32; 4] = [120, 240, 480, 960];

/// The longest packet: 120 ms.
const MAX_PACKET_SAMPLES: u32 = 5_760;

/// Opus' identification header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct OpusHead(Vec<u8>);

impl OpusHead {
    /// Reads a header; `None` if it is none, or of a version that is not compatible.
    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        let head = bytes.get(..MAX_BYTES.min(bytes.len()))?;
        let &[version, channels, .., family] = head.get(8..19)? else { return None };
        let len = if family == 0 { 19 } else { 21 + usize::from(channels) };
        let sound = head.starts_with(MAGIC) && version & 0xf0 == 0 && channels > 0;
        let sound = sound && (family != 0 || channels <= 2);
        head.get(..len).filter(|_| sound).map(|head| Self(head.to_vec()))
    }

    pub(crate) fn channels(&self) -> u8 {
        self.0.get(9).copied().unwrap_or(1)
    }

    /// Samples that the decoder makes before the first audible one.
    pub(crate) fn pre_skip(&self) -> u16 {
        self.0.get(10..12).and_then(|b| b.try_into().ok()).map_or(0, u16::from_le_bytes)
    }

    /// The gain that a decoder applies, in 1/256 dB.
    #[cfg(feature = "ropus")]
    pub(crate) fn gain(&self) -> i16 {
        self.0.get(16..18).and_then(|b| b.try_into().ok()).map_or(0, i16::from_le_bytes)
    }

    /// 0: mono or stereo in one stream.
    #[cfg(feature = "ropus")]
    pub(crate) fn family(&self) -> u8 {
        self.0.get(18).copied().unwrap_or(0)
    }

    /// The header's bytes with another pre-skip.
    pub(crate) fn with_pre_skip(&self, samples: u16) -> Vec<u8> {
        let mut head = self.0.clone();
        for (to, from) in head.iter_mut().skip(10).zip(samples.to_le_bytes()) {
            *to = from;
        }
        head
    }
}

/// How many samples a decoder makes of the packet that starts so; `None` if it is no packet.
pub(crate) fn samples_of(packet: &[u8]) -> Option<u32> {
    let (toc, rest) = packet.split_first()?;
    let length = usize::from(toc >> 3);
    let frame = match length {
        0..12 => SILK_FRAMES.get(length % 4),
        12..16 => HYBRID_FRAMES.get(length % 2),
        _ => CELT_FRAMES.get(length % 4),
    };
    let frames = match toc & 3 {
        0 => 1,
        1 | 2 => 2,
        _ => u32::from(rest.first()? & 0x3f),
    };
    let samples = frame? * frames;
    (1..=MAX_PACKET_SAMPLES).contains(&samples).then_some(samples)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_last_as_long_as_the_table_of_the_standard_says() {
        for (packet, samples) in [
            (&[0x00][..], Some(480)),
            (&[0x18], Some(2_880)),
            (&[0x19], Some(5_760)),
            (&[0x68], Some(960)),
            (&[0x78, 1], Some(960)),
            (&[0x80], Some(120)),
            (&[0xfc], Some(960)),
            (&[0xff, 3], Some(2_880)),
            (&[0xff, 0], None),
            (&[0x1b, 3], None),
            (&[0xff], None),
            (&[], None),
        ] {
            assert_eq!(samples_of(packet), samples, "{packet:?}");
        }
    }
}
