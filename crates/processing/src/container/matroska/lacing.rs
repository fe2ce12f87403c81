//! Blocks: of which track they are, and how frames are laced in them (RFC 9559, 10.3).

use std::io;

use super::elements::size;
use crate::container::scanner::Scanner;

/// The header of a block with 256 laced frames: a track number, time, flags, and sizes.
const MAX_HEAD: usize = 8 + 3 + 1 + 256 * 260;

/// What a block holds.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Block {
    pub(super) track: u64,
    pub(super) frames_at: u64,
    pub(super) sizes: Vec<u32>,
}

impl Block {
    /// The block in [body, end); `None` if it makes no sense.
    pub(super) fn read(scanner: &mut Scanner<'_>, body: u64, end: u64) -> io::Result<Option<Self>> {
        let len = end - body;
        let Ok(all) = u32::try_from(len) else { return Ok(None) };
        let bytes = scanner.at(body, 13.min(len as usize))?;
        let Some((Some(track), track_len)) = size(bytes) else { return Ok(None) };
        let Some(flags) = bytes.get(track_len + 2) else { return Ok(None) };
        let lacing = (flags >> 1) & 3;
        let head = track_len + 3;
        if lacing == 0 {
            let sizes = vec![all - head as u32];
            return Ok(Some(Self { track, frames_at: body + head as u64, sizes }));
        }
        let bytes = scanner.at(body, MAX_HEAD.min(len as usize))?;
        let Some((count, rest)) = bytes.get(head..).and_then(|rest| rest.split_first()) else {
            return Ok(None);
        };
        let count = usize::from(*count) + 1;
        let laced = match lacing {
            1 => xiph(rest, count),
            3 => ebml(rest, count),
            _ => Some((Vec::new(), 0)),
        };
        let Some((mut sizes, used)) = laced else { return Ok(None) };
        let frames = head + 1 + used;
        let Some(left) = all.checked_sub(frames as u32) else { return Ok(None) };
        if lacing == 2 {
            sizes = vec![left / count as u32; count];
        } else {
            let known = sizes.iter().try_fold(0_u32, |sum, size| sum.checked_add(*size));
            let Some(last) = known.and_then(|known| left.checked_sub(known)) else { return Ok(None) };
            sizes.push(last);
        }
        Ok(Some(Self { track, frames_at: body + frames as u64, sizes }))
    }
}

/// All sizes but the last, and the bytes that they take.
fn xiph(bytes: &[u8], count: usize) -> Option<(Vec<u32>, usize)> {
    let mut sizes = Vec::with_capacity(count);
    let mut at = 0;
    while sizes.len() + 1 < count {
        let mut size = 0_u32;
        loop {
            let byte = *bytes.get(at)?;
            at += 1;
            size = size.checked_add(u32::from(byte))?;
            if byte < 255 {
                break;
            }
        }
        sizes.push(size);
    }
    Some((sizes, at))
}

/// As [`xiph`]: the first size, then differences.
fn ebml(bytes: &[u8], count: usize) -> Option<(Vec<u32>, usize)> {
    let mut sizes: Vec<u32> = Vec::with_capacity(count);
    let mut at = 0;
    while sizes.len() + 1 < count {
        let (value, len) = size(bytes.get(at..)?)?;
        let value = i64::try_from(value?).ok()?;
        let size = match sizes.last() {
            None => value,
            Some(before) => i64::from(*before) + value - ((1 << (7 * len - 1)) - 1),
        };
        sizes.push(u32::try_from(size).ok()?);
        at += len;
    }
    Some((sizes, at))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::MemoryAudioSource;

    fn sizes(bytes: &[u8]) -> Option<(u64, Vec<u32>)> {
        let source = MemoryAudioSource::new("block", bytes.to_vec());
        let block = Block::read(&mut Scanner::new(&source), 0, bytes.len() as u64).unwrap();
        block.map(|block| (block.frames_at, block.sizes))
    }

    #[test]
    fn frames_are_found_with_any_lacing() {
        assert_eq!(sizes(&[0x81, 0, 0, 0x80, 1, 2, 3]), Some((4, vec![3])));
        let mut xiph = vec![0x81, 0, 0, 2, 2, 255, 45, 10];
        xiph.resize(8 + 300 + 10 + 7, 0);
        assert_eq!(sizes(&xiph), Some((8, vec![300, 10, 7])));
        // 800, then 300 less, then the rest.
        let mut ebml = vec![0x81, 0, 0, 6, 2, 0x43, 0x20, 0x5e, 0xd3];
        ebml.resize(9 + 800 + 500 + 1_000, 0);
        assert_eq!(sizes(&ebml), Some((9, vec![800, 500, 1_000])));
        assert_eq!(sizes(&[0x81, 0, 0, 4, 1, 1, 2, 3, 4]), Some((5, vec![2, 2])));
        assert_eq!(sizes(&[0x81, 0, 0, 2, 2, 255, 45, 10]), None);
        assert_eq!(sizes(&[0x81, 0]), None);
    }
}
