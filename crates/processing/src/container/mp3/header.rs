//! The header of an MPEG audio frame, layer III (ISO/IEC 11172-3, 13818-3, and Fraunhofer's MPEG-2.5).

/// What a frame's header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FrameHeader {
    raw: [u8; 4],
    /// MPEG-1; else MPEG-2 or 2.5, with half the samples a frame.
    pub(super) mpeg1: bool,
    pub(super) rate: u32,
    pub(super) channels: u8,
    /// Kilobits a second; 0: free format, the frame's length is found by looking for the next.
    pub(super) kbps: u32,
    padding: bool,
    /// Whether two bytes of checksum follow.
    pub(super) crc: bool,
}

/// Why four bytes are no header of a layer III frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoHeader {
    /// They are none of MPEG audio at all.
    NoSync,
    /// They are of layer I or II.
    OtherLayer,
}

const KBPS_1: [u32; 15] = [0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320];
const KBPS_2: [u32; 15] = [0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160];

impl FrameHeader {
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, NoHeader> {
        let Some(&raw @ [0xff, b, c, d]) = bytes.first_chunk::<4>() else { return Err(NoHeader::NoSync) };
        let version = (b >> 3) & 3;
        if b & 0xe0 != 0xe0 || version == 1 || c >> 4 == 15 || (c >> 2) & 3 == 3 {
            return Err(NoHeader::NoSync);
        }
        match (b >> 1) & 3 {
            1 => {}
            0 => return Err(NoHeader::NoSync),
            _ => return Err(NoHeader::OtherLayer),
        }
        let mpeg1 = version == 3;
        let kbps = if mpeg1 { KBPS_1 } else { KBPS_2 };
        let base = [44_100, 48_000, 32_000].get(usize::from((c >> 2) & 3)).copied().unwrap_or(44_100);
        Ok(Self {
            raw,
            mpeg1,
            rate: match version {
                3 => base,
                2 => base / 2,
                _ => base / 4,
            },
            channels: if d >> 6 == 3 { 1 } else { 2 },
            kbps: kbps.get(usize::from(c >> 4)).copied().unwrap_or(0),
            padding: c & 2 != 0,
            crc: b & 1 == 0,
        })
    }

    /// Samples that the decoder makes of the frame.
    pub(super) fn samples(&self) -> u32 {
        if self.mpeg1 { 1_152 } else { 576 }
    }

    /// Bytes of the frame; `free` is the length of a free-format frame without padding.
    pub(super) fn frame_len(&self, free: Option<u32>) -> Option<u32> {
        let len = if self.kbps == 0 {
            free?
        } else {
            // Samples a frame / 8 bits × 1,000, as in the standard: 144 or 72 times the bit rate.
            let factor = if self.mpeg1 { 144_000 } else { 72_000 };
            factor * self.kbps / self.rate
        };
        let len = len + u32::from(self.padding);
        (len as usize > self.side_info_end()).then_some(len)
    }

    /// Bytes of padding of a free-format frame.
    pub(super) fn padding_len(&self) -> u32 {
        u32::from(self.padding)
    }

    /// Where the side information starts in the frame.
    pub(super) fn side_info_start(&self) -> usize {
        if self.crc { 6 } else { 4 }
    }

    /// Bytes of side information.
    pub(super) fn side_info_len(&self) -> usize {
        match (self.mpeg1, self.channels) {
            (true, 1) | (false, 2) => 17,
            (true, _) => 32,
            (false, _) => 9,
        }
    }

    /// Where the main data starts in the frame.
    pub(super) fn side_info_end(&self) -> usize {
        self.side_info_start() + self.side_info_len()
    }

    /// Bits of `main_data_begin`.
    pub(super) fn reservoir_bits(&self) -> u32 {
        if self.mpeg1 { 9 } else { 8 }
    }

    /// How far before the frame its main data begins, in bytes of main data.
    pub(super) fn main_data_begin(&self, frame: &[u8]) -> u32 {
        let at = |n: usize| u32::from(frame.get(self.side_info_start() + n).copied().unwrap_or(0));
        if self.mpeg1 { (at(0) << 1) | (at(1) >> 7) } else { at(0) }
    }

    /// Whether both can be frames of one stream.
    pub(super) fn agrees(&self, other: &Self) -> bool {
        self.mpeg1 == other.mpeg1 && self.rate == other.rate
    }

    /// The same header for a frame of about `kbps`, without padding and checksum.
    pub(super) fn with_least_len(&self, len: usize) -> Option<([u8; 4], usize)> {
        let [a, b, c, d] = self.raw;
        (1..15).find_map(|code| {
            let raw = [a, b | 1, (code << 4) | (c & 0x0d), d];
            let frame_len = Self::parse(&raw).ok()?.frame_len(None)? as usize;
            (frame_len >= len).then_some((raw, frame_len))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_and_rates_are_the_standards() {
        let header = FrameHeader::parse(&[0xff, 0xfb, 0x90, 0x64]).unwrap();
        assert_eq!((header.rate, header.kbps, header.channels, header.samples()), (44_100, 128, 2, 1_152));
        assert_eq!(header.frame_len(None), Some(417));
        let padded = FrameHeader::parse(&[0xff, 0xfb, 0x92, 0x64]).unwrap();
        assert_eq!(padded.frame_len(None), Some(418));
        let lsf = FrameHeader::parse(&[0xff, 0xf3, 0x40, 0xc0]).unwrap();
        assert_eq!((lsf.rate, lsf.kbps, lsf.channels, lsf.samples()), (22_050, 32, 1, 576));
        assert_eq!(lsf.frame_len(None), Some(104));
        assert_eq!(FrameHeader::parse(&[0xff, 0xfd, 0x90, 0x64]), Err(NoHeader::OtherLayer));
        assert_eq!(FrameHeader::parse(&[0xff, 0xfb, 0xf0, 0x64]), Err(NoHeader::NoSync));
        assert_eq!(FrameHeader::parse(b"ID3"), Err(NoHeader::NoSync));
    }

    #[test]
    fn a_longer_frame_of_the_same_stream_can_be_made() {
        let header = FrameHeader::parse(&[0xff, 0xf2, 0x12, 0xc0]).unwrap();
        let (raw, len) = header.with_least_len(60).unwrap();
        let made = FrameHeader::parse(&raw).unwrap();
        assert!(made.agrees(&header) && !made.crc);
        assert_eq!(made.frame_len(None), Some(len as u32));
    }
}
