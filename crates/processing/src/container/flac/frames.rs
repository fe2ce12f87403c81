//! Finds the frames of a FLAC stream: a frame has no length field, it ends where the next one starts.

use std::io;

use super::header::{FrameHeader, MAX_HEADER, StreamInfo};
use crate::container::crc::crc16;
use crate::container::damage::Damage;
use crate::container::scanner::Scanner;
use crate::model::packet_index::PacketIndex;

/// What the walk over all frames found.
#[derive(Debug)]
pub(super) struct Frames {
    pub(super) index: PacketIndex,
    pub(super) damage: Damage,
    pub(super) blocks: Blocks,
}

/// How many samples frames hold; the last frame may hold fewer and does not count.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Blocks {
    pub(super) min: u32,
    pub(super) max: u32,
}

impl Blocks {
    /// Whether frames may be numbered by frame; if not, they must be numbered by sample.
    pub(super) fn uniform(self) -> bool {
        self.min == self.max
    }

    fn add(self, last: Option<u32>, samples: u32) -> Self {
        let min = if self.max == 0 { samples } else { self.min.min(last.unwrap_or(samples)) };
        Self { min, max: self.max.max(samples) }
    }
}

/// What starts at a place in the stream.
enum Found {
    Frame {
        header: FrameHeader,
        end: u64,
    },
    /// No whole frame; the next may start at the place given.
    Nothing {
        next: u64,
    },
}

/// Walks all frames from `start` to `end`.
pub(super) fn walk(
    scanner: &mut Scanner<'_>,
    stream: &StreamInfo,
    start: u64,
    end: u64,
) -> io::Result<Frames> {
    let mut frames =
        Frames { index: PacketIndex::default(), damage: Damage::default(), blocks: Blocks::default() };
    // Two checks a byte are what a sound file takes; a file made to be slow is given up.
    let mut budget = (end - start).saturating_mul(8).saturating_add(1 << 24);
    let mut at = start;
    let mut last = None;
    while at < end {
        let found = if budget == 0 {
            Found::Nothing { next: end }
        } else {
            find(scanner, stream, at, end, &mut budget)?
        };
        match found {
            Found::Frame { header, end: next } => {
                frames.blocks = frames.blocks.add(last, header.samples);
                last = Some(header.samples);
                frames.index.push(at, (next - at) as u32, header.samples, header.number_len as u32);
                at = next;
            }
            Found::Nothing { next } => {
                frames.damage.lost(at, next - at);
                at = next;
            }
        }
    }
    frames.index.shrink();
    Ok(frames)
}

fn find(
    scanner: &mut Scanner<'_>,
    stream: &StreamInfo,
    start: u64,
    end: u64,
    budget: &mut u64,
) -> io::Result<Found> {
    let Some(header) = header_at(scanner, stream, start, end)? else {
        let next = next_sync(scanner, start + 1, end)?.unwrap_or(end);
        return Ok(Found::Nothing { next });
    };
    let limit = end.min(start + header.max_frame_len(stream));
    let mut checked = start;
    let mut crc = 0;
    let mut at = start + header.len as u64;
    let mut resume = None;
    // Where the frame may end although what follows is no header: the next frame may be the damaged one.
    let mut perhaps = None;
    let nothing = |next, perhaps: Option<u64>| match perhaps {
        Some(end) => Found::Frame { header, end },
        None => Found::Nothing { next },
    };
    loop {
        let candidate = next_sync(scanner, at, limit)?;
        let here = candidate.unwrap_or(limit);
        let next = header_at(scanner, stream, here, end)?;
        *budget = budget.saturating_sub(here - checked);
        crc = extend(scanner, crc, checked, here)?;
        checked = here;
        if crc == 0 && (next.is_some() || here == end) {
            return Ok(Found::Frame { header, end: here });
        }
        if crc == 0 {
            perhaps = perhaps.or(Some(here));
        }
        resume = resume.or(next.map(|_| here));
        if next.is_some_and(|next| header.precedes(&next)) {
            return Ok(nothing(here, perhaps));
        }
        let Some(candidate) = candidate else {
            return Ok(nothing(resume.unwrap_or(limit), perhaps));
        };
        at = candidate + 1;
    }
}

fn header_at(
    scanner: &mut Scanner<'_>,
    stream: &StreamInfo,
    at: u64,
    end: u64,
) -> io::Result<Option<FrameHeader>> {
    let most = MAX_HEADER.min(end.saturating_sub(at) as usize);
    Ok(FrameHeader::parse(scanner.at(at, most)?).filter(|header| header.fits(stream)))
}

/// The next place in [at, end) that looks like the start of a frame.
fn next_sync(scanner: &mut Scanner<'_>, mut at: u64, end: u64) -> io::Result<Option<u64>> {
    while at + 1 < end {
        let run = scanner.run(at, 2)?;
        let len = run.len().min((end - at) as usize);
        let run = run.get(..len).unwrap_or_default();
        if let Some(found) = run.windows(2).position(|pair| matches!(pair, [0xff, 0xf8 | 0xf9])) {
            return Ok(Some(at + found as u64));
        }
        at += len.max(2) as u64 - 1;
    }
    Ok(None)
}

fn extend(scanner: &mut Scanner<'_>, mut crc: u16, mut from: u64, to: u64) -> io::Result<u16> {
    while from < to {
        let run = scanner.run(from, 1)?;
        let len = run.len().min((to - from) as usize);
        crc = crc16(crc, run.get(..len).unwrap_or_default());
        from += len.max(1) as u64;
    }
    Ok(crc)
}
