//! What an AAC decoder must know before the first packet: the `AudioSpecificConfig` (ISO/IEC 14496-3, 1.6.2.1).

const RATES: [u32; 13] =
    [96_000, 88_200, 64_000, 48_000, 44_100, 32_000, 24_000, 22_050, 16_000, 12_000, 11_025, 8_000, 7_350];

/// Up to this rate a stream may hold spectral band replication without saying so.
const MAX_IMPLICIT_SBR_RATE: u32 = 24_000;

/// Longer ones hold nothing that this crate reads.
const MAX_BYTES: usize = 64;

const LOW_COMPLEXITY: u32 = 2;
const SBR: u32 = 5;
const PARAMETRIC_STEREO: u32 = 29;

/// What an AAC decoder must know before the first packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AacConfig {
    bytes: Vec<u8>,
    /// The core decoder's sample rate, half of what spectral band replication makes of it.
    pub(crate) rate: u32,
    pub(crate) channels: u16,
    /// Samples that the core decoder makes of a packet.
    pub(crate) frame: u32,
    sbr: bool,
}

/// Why a configuration cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoAac {
    Damaged,
    /// A kind of AAC whose packets cannot be decoded without those before them.
    OtherKind(u32),
}

impl AacConfig {
    /// Reads a configuration; `channels` is what the container says, for streams that tell it in their packets.
    pub(crate) fn parse(bytes: &[u8], channels: u16) -> Result<Self, NoAac> {
        let mut bits = Bits { bytes, at: 0 };
        let parsed = (|| {
            let mut kind = bits.kind()?;
            let mut rate = bits.rate()?;
            let config = bits.take(4)?;
            let sbr = matches!(kind, SBR | PARAMETRIC_STEREO);
            if sbr {
                bits.rate()?;
                kind = bits.kind()?;
            }
            let short = bits.take(1)? == 1;
            rate = rate.clamp(1, 192_000);
            Some((kind, rate, config, sbr, short))
        })();
        let Some((kind, rate, config, sbr, short)) = parsed else { return Err(NoAac::Damaged) };
        if kind != LOW_COMPLEXITY {
            return Err(NoAac::OtherKind(kind));
        }
        let channels = match config {
            0 => channels.max(1),
            7 => 8,
            n => n as u16,
        };
        let bytes = bytes.get(..MAX_BYTES).unwrap_or(bytes).to_vec();
        Ok(Self { bytes, rate, channels, frame: if short { 960 } else { 1_024 }, sbr })
    }

    /// The configuration as it was read.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// How many packets before the first owned one a decoder must have seen: each overlaps with the one before it, and
    /// spectral band replication looks back once more.
    pub(crate) fn lead_packets(&self) -> u64 {
        if self.sbr || self.rate <= MAX_IMPLICIT_SBR_RATE { 2 } else { 1 }
    }
}

struct Bits<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Bits<'_> {
    fn take(&mut self, count: usize) -> Option<u32> {
        let mut value = 0;
        for _ in 0..count {
            let byte = self.bytes.get(self.at / 8)?;
            value = (value << 1) | u32::from((byte >> (7 - self.at % 8)) & 1);
            self.at += 1;
        }
        Some(value)
    }

    fn kind(&mut self) -> Option<u32> {
        match self.take(5)? {
            31 => Some(32 + self.take(6)?),
            kind => Some(kind),
        }
    }

    fn rate(&mut self) -> Option<u32> {
        match self.take(4)? {
            15 => self.take(24),
            index => RATES.get(index as usize).copied(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn common_configurations_are_read() {
        let plain = AacConfig::parse(&[0x12, 0x10], 0).unwrap();
        assert_eq!((plain.rate, plain.channels, plain.frame, plain.lead_packets()), (44_100, 2, 1_024, 1));
        let low = AacConfig::parse(&[0x13, 0x88], 1).unwrap();
        assert_eq!((low.rate, low.channels, low.lead_packets()), (22_050, 1, 2));
        // HE-AAC: 24 kHz, replicated to 48 kHz.
        let he = AacConfig::parse(&[0x2b, 0x11, 0x88, 0x00], 1).unwrap();
        assert_eq!((he.rate, he.channels, he.lead_packets()), (24_000, 2, 2));
        assert_eq!(AacConfig::parse(&[0x0a, 0x10], 2), Err(NoAac::OtherKind(1)));
        assert_eq!(AacConfig::parse(&[0x12], 2), Err(NoAac::Damaged));
        assert_eq!(AacConfig::parse(&[], 2), Err(NoAac::Damaged));
    }
}
