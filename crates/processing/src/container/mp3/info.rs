//! Frames that are no audio: Xing, Info and VBRI.

use super::header::FrameHeader;

/// What a Xing, Info or VBRI frame says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Info {
    /// Frames of audio.
    pub(super) frames: Option<u32>,
    /// Samples that the encoder put before and behind the audio, if its name says that decoders trim them.
    pub(super) gap: Option<Gap>,
}

/// Samples that the encoder put before and behind the audio.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Gap {
    pub(super) delay: u32,
    pub(super) padding: u32,
}

/// Reads the frame if it is no audio.
pub(super) fn parse(header: &FrameHeader, frame: &[u8]) -> Option<Info> {
    // The place does not count a checksum, although one may be there.
    xing(frame, 4 + header.side_info_len())
        .or_else(|| header.crc.then(|| xing(frame, 6 + header.side_info_len()))?)
        .or_else(|| vbri(frame))
}

fn xing(frame: &[u8], at: usize) -> Option<Info> {
    let tag = frame.get(at..)?;
    if !tag.starts_with(b"Xing") && !tag.starts_with(b"Info") {
        return None;
    }
    let word = |at: usize| tag.get(at..at + 4)?.try_into().ok().map(u32::from_be_bytes);
    let flags = word(4)?;
    let frames = if flags & 1 == 0 { None } else { word(8) };
    let lengths = [(1, 4), (2, 4), (4, 100), (8, 4)];
    let fields: usize = lengths.into_iter().filter(|(flag, _)| flags & flag != 0).map(|(_, len)| len).sum();
    let lame = tag.get(8 + fields..).unwrap_or_default();
    let trims = [b"LAME".as_slice(), b"Lavf", b"Lavc"].iter().any(|name| lame.starts_with(name));
    let gap = lame.get(21..24).filter(|_| trims).map(|bytes| {
        let packed = bytes.iter().fold(0, |sum, byte| (sum << 8) | u32::from(*byte));
        Gap { delay: packed >> 12, padding: packed & 0xfff }
    });
    Some(Info { frames, gap })
}

/// Fraunhofer's, always 32 bytes behind the header.
fn vbri(frame: &[u8]) -> Option<Info> {
    let tag = frame.get(36..)?;
    if !tag.starts_with(b"VBRI") {
        return None;
    }
    let frames = tag.get(14..18)?.try_into().ok().map(u32::from_be_bytes);
    Some(Info { frames, gap: None })
}

/// A Xing frame that says how long a stream of changing bit rate is, without an encoder's name: nobody trims it.
pub(super) fn xing_frame(like: &FrameHeader, frames: u64, bytes: u64) -> Vec<u8> {
    // Flags, frames and bytes; a reader that looks for an encoder's name finds none.
    let Some((raw, len)) = like.with_least_len(4 + like.side_info_len() + 16 + 36) else { return Vec::new() };
    let mut frame = raw.to_vec();
    frame.resize(4 + like.side_info_len(), 0);
    frame.extend(b"Xing\0\0\0\x03");
    frame.extend(u32::try_from(frames).unwrap_or(u32::MAX).to_be_bytes());
    frame.extend(u32::try_from(bytes + len as u64).unwrap_or(u32::MAX).to_be_bytes());
    frame.resize(len, 0);
    frame
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        for raw in [[0xff, 0xfb, 0x90, 0x64], [0xff, 0xf3, 0x40, 0xc0], [0xff, 0xe3, 0x18, 0xc4]] {
            let header = FrameHeader::parse(&raw).unwrap();
            let frame = xing_frame(&header, 1_234, 99_999);
            let own = FrameHeader::parse(&frame).unwrap();
            assert_eq!(own.frame_len(None), Some(frame.len() as u32));
            assert_eq!(parse(&own, &frame), Some(Info { frames: Some(1_234), gap: None }));
        }
    }

    #[test]
    fn the_delay_of_a_known_encoder_is_read() {
        let header = FrameHeader::parse(&[0xff, 0xfb, 0x90, 0x64]).unwrap();
        let mut frame = vec![0; 417];
        frame[36..44].copy_from_slice(b"Info\0\0\0\x0f");
        frame[44..48].copy_from_slice(&7_u32.to_be_bytes());
        frame[156..165].copy_from_slice(b"LAME3.100");
        frame[177..180].copy_from_slice(&[0x24, 0x04, 0x50]);
        let gap = Some(Gap { delay: 576, padding: 1_104 });
        assert_eq!(parse(&header, &frame), Some(Info { frames: Some(7), gap }));
    }
}
