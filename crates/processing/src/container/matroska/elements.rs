//! EBML elements: an id, a size, and what is in it (RFC 8794).

use std::io;

use crate::container::scanner::Scanner;

pub(super) const CLUSTER: u32 = 0x1f43_b675;
pub(super) const TRACK_ENTRY: u32 = 0xae;
pub(super) const TRACK_NUMBER: u32 = 0xd7;
pub(super) const TRACK_TYPE: u32 = 0x83;
pub(super) const CODEC_ID: u32 = 0x86;
pub(super) const CODEC_PRIVATE: u32 = 0x63a2;
pub(super) const CODEC_DELAY: u32 = 0x56aa;
pub(super) const CHANNELS: u32 = 0x9f;
const CONTENT_ENCODINGS: u32 = 0x6d80;
pub(super) const SIMPLE_BLOCK: u32 = 0xa3;
pub(super) const BLOCK: u32 = 0xa1;
pub(super) const DISCARD_PADDING: u32 = 0x75a2;

/// Segment, Tracks, Audio and BlockGroup; TrackEntry and Cluster are entered too.
pub(super) const HOLDS_OTHERS: [u32; 4] = [0x1853_8067, 0x1654_ae6b, 0xe1, 0xa0];

pub(super) const DESCRIBES_TRACK: [u32; 7] =
    [TRACK_NUMBER, TRACK_TYPE, CODEC_ID, CODEC_PRIVATE, CODEC_DELAY, CHANNELS, CONTENT_ENCODINGS];

/// Where an element lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Element {
    pub(super) id: u32,
    /// Where its content starts.
    pub(super) body: u64,
    /// Bytes of content; `None`: unknown.
    pub(super) len: Option<u64>,
}

impl Element {
    pub(super) fn read(scanner: &mut Scanner<'_>, at: u64) -> io::Result<Option<Self>> {
        let bytes = scanner.at(at, 12)?;
        let Some(first) = bytes.first().copied().filter(|first| *first >= 0x10) else { return Ok(None) };
        let id_len = first.leading_zeros() as usize + 1;
        let (Some(id), Some(rest)) = (bytes.get(..id_len), bytes.get(id_len..)) else { return Ok(None) };
        let Some((len, size_len)) = size(rest) else { return Ok(None) };
        let body = at + (id_len + size_len) as u64;
        Ok(Some(Self { id: number(id) as u32, body, len }))
    }

    /// Where it ends, if it says so.
    pub(super) fn end(&self) -> Option<u64> {
        self.body.checked_add(self.len?)
    }

    /// Bytes of a number's content.
    pub(super) fn value_len(&self) -> usize {
        self.len.unwrap_or(0).min(8) as usize
    }
}

/// A size and how many bytes it takes; `None` within for a size that is not known.
pub(super) fn size(bytes: &[u8]) -> Option<(Option<u64>, usize)> {
    let first = *bytes.first()?;
    let len = first.leading_zeros() as usize + 1;
    let value = number(bytes.get(..len).filter(|_| len <= 8)?);
    let mask = (1_u64 << (7 * len)) - 1;
    Some(((value & mask != mask).then_some(value & mask), len))
}

/// A number of up to eight bytes.
pub(super) fn number(bytes: &[u8]) -> u64 {
    bytes.iter().take(8).fold(0, |sum, byte| (sum << 8) | u64::from(*byte))
}

/// Where the next cluster starts from `at` on, or the end.
pub(super) fn next_cluster(scanner: &mut Scanner<'_>, mut at: u64) -> io::Result<u64> {
    while at < scanner.len() {
        let run = scanner.run(at, 4)?;
        let len = run.len() as u64;
        if let Some(found) = run.windows(4).position(|id| id == CLUSTER.to_be_bytes()) {
            return Ok(at + found as u64);
        }
        at += len.saturating_sub(3).max(1);
    }
    Ok(scanner.len())
}
