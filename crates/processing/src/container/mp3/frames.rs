//! Walks the frames of an MP3 stream, past tags and damage, and finds how far back each frame reaches.

use std::collections::VecDeque;
use std::io;

use super::header::{FrameHeader, NoHeader};
use super::info::{self, Info};
use crate::container::damage::Damage;
use crate::container::scanner::Scanner;
use crate::container::tags::id3v2_len;
use crate::model::packet_index::PacketIndex;

/// The longest frame: 320 kbit/s at 8 kHz, free format a little more.
const MAX_FRAME: usize = 8_192;

/// No frame reaches farther back: 511 bytes of main data in frames of at least ten.
const MAX_REACH: usize = 64;

/// What the walk over all frames found.
#[derive(Debug)]
pub(super) struct Frames {
    pub(super) index: PacketIndex,
    pub(super) damage: Damage,
    pub(super) first: FrameHeader,
    pub(super) info: Option<Info>,
    /// Whether the bit rate changes.
    pub(super) variable: bool,
    /// Bytes of a free-format frame without padding.
    pub(super) free: Option<u32>,
}

/// What can be said of a file in which no MP3 stream starts.
#[derive(Debug)]
pub(super) enum Walked {
    Frames(Box<Frames>),
    OtherLayer,
    NoMpeg,
}

/// Walks all frames from `start` to `end`.
pub(super) fn walk(scanner: &mut Scanner<'_>, start: u64, end: u64) -> io::Result<Walked> {
    let (at, first, free) = match first_frame(scanner, start, end)? {
        First::Frame { at, header, free } => (at, header, free),
        First::OtherLayer => return Ok(Walked::OtherLayer),
        First::Nothing => return Ok(Walked::NoMpeg),
    };
    let mut frames = Frames {
        index: PacketIndex::default(),
        damage: Damage::default(),
        first,
        info: None,
        variable: false,
        free,
    };
    if at > start {
        frames.damage.lost(start, at - start);
    }
    let mut at = at;
    let mut reach = Reach::default();
    while at < end {
        at = frames.step(scanner, at, end, &mut reach)?;
    }
    frames.index.shrink();
    Ok(Walked::Frames(Box::new(frames)))
}

impl Frames {
    /// Takes what is at `at`; gives the place of the next.
    fn step(&mut self, scanner: &mut Scanner<'_>, at: u64, end: u64, reach: &mut Reach) -> io::Result<u64> {
        let bytes = scanner.at(at, MAX_FRAME)?;
        let header = FrameHeader::parse(bytes).ok().filter(|header| header.agrees(&self.first));
        let len = header.and_then(|header| header.frame_len(self.free));
        let (Some(header), Some(len)) = (header, len) else { return self.resync(scanner, at, end) };
        if at + u64::from(len) > end {
            self.damage.lost(at, end - at);
            return Ok(end);
        }
        let frame = bytes.get(..len as usize).unwrap_or_default();
        if let Some(info) = info::parse(&header, frame) {
            if self.index.packets() == 0 {
                self.info = self.info.or(Some(info));
            }
        } else {
            let lead = reach.take(&header, frame);
            self.variable |= header.kbps != self.first_kbps(&header);
            self.index.push(at, len, header.samples(), lead);
        }
        Ok(at + u64::from(len))
    }

    /// The bit rate of the first frame of audio.
    fn first_kbps(&mut self, header: &FrameHeader) -> u32 {
        if self.index.packets() == 0 {
            self.first = *header;
        }
        self.first.kbps
    }

    /// Passes a tag, or what is damaged.
    fn resync(&mut self, scanner: &mut Scanner<'_>, at: u64, end: u64) -> io::Result<u64> {
        let head = scanner.at(at, 10)?;
        if let Some(len) = id3v2_len(head) {
            return Ok((at + len).min(end));
        }
        if head.starts_with(b"TAG") {
            return Ok((at + 128).min(end));
        }
        let next = next_frame(scanner, at + 1, end, &self.first, self.free)?.unwrap_or(end);
        self.damage.lost(at, next - at);
        Ok(next)
    }
}

/// How far back frames reach: each may take main data from those before it.
#[derive(Debug, Default)]
struct Reach {
    /// Of the last frames: bytes of main data, and how many bytes of those before them they take.
    frames: VecDeque<Main>,
}

#[derive(Clone, Copy, Debug)]
struct Main {
    len: u32,
    begin: u32,
}

impl Reach {
    /// How many frames before this one its decoder must have seen for all of its samples to be right.
    fn take(&mut self, header: &FrameHeader, frame: &[u8]) -> u32 {
        // The decoder overlaps each granule with the one before, and filters 480 samples back. With one granule a
        // frame (MPEG-2) that needs two whole frames, with two granules one.
        let whole = if header.mpeg1 { 1 } else { 2 };
        let mut lead = 0;
        for back in 1..=whole.min(self.frames.len()) {
            lead = lead.max(back + self.frames_behind(back));
        }
        let len = (frame.len().saturating_sub(header.side_info_end())) as u32;
        self.frames.push_back(Main { len, begin: header.main_data_begin(frame) });
        if self.frames.len() > MAX_REACH {
            self.frames.pop_front();
        }
        lead as u32
    }

    /// How many frames before the one `back` frames ago hold its main data.
    fn frames_behind(&self, back: usize) -> usize {
        let mut newest = self.frames.iter().rev().skip(back - 1);
        let mut needed = newest.next().map_or(0, |frame| frame.begin);
        let mut behind = 0;
        for frame in newest {
            if needed == 0 {
                break;
            }
            needed = needed.saturating_sub(frame.len);
            behind += 1;
        }
        behind
    }
}

enum First {
    Frame { at: u64, header: FrameHeader, free: Option<u32> },
    OtherLayer,
    Nothing,
}

/// How far behind tags the first frame may start.
const MAX_JUNK: u64 = 1 << 20;

/// Finds the first frame that is followed by two more or by the end.
fn first_frame(scanner: &mut Scanner<'_>, start: u64, end: u64) -> io::Result<First> {
    let mut other_layer = false;
    for at in start..end.min(start + MAX_JUNK) {
        match FrameHeader::parse(scanner.at(at, 4)?) {
            Ok(header) if header.kbps > 0 => {
                if chain(scanner, at, end, &header, None, 3)? {
                    return Ok(First::Frame { at, header, free: None });
                }
            }
            Ok(header) => {
                if let Some(free) = free_len(scanner, at, end, &header)? {
                    return Ok(First::Frame { at, header, free: Some(free) });
                }
            }
            // Only at the very start: anywhere else it is chance.
            Err(NoHeader::OtherLayer) => other_layer |= at == start,
            Err(NoHeader::NoSync) => {}
        }
    }
    Ok(if other_layer { First::OtherLayer } else { First::Nothing })
}

/// The next place from `at` on where a frame of the stream starts.
fn next_frame(
    scanner: &mut Scanner<'_>,
    mut at: u64,
    end: u64,
    like: &FrameHeader,
    free: Option<u32>,
) -> io::Result<Option<u64>> {
    while at < end {
        let run = scanner.run(at, 4)?;
        let len = run.len().min((end - at) as usize);
        let Some(found) = run.get(..len).unwrap_or_default().iter().position(|byte| *byte == 0xff) else {
            at += len.max(1) as u64;
            continue;
        };
        at += found as u64;
        let header = FrameHeader::parse(scanner.at(at, 4)?).ok().filter(|header| header.agrees(like));
        if let Some(header) = header
            && chain(scanner, at, end, &header, free, 2)?
        {
            return Ok(Some(at));
        }
        at += 1;
    }
    Ok(None)
}

/// Whether `frames` frames of the same stream stand at `at`, or fewer before a tag or the end.
fn chain(
    scanner: &mut Scanner<'_>,
    mut at: u64,
    end: u64,
    like: &FrameHeader,
    free: Option<u32>,
    frames: usize,
) -> io::Result<bool> {
    for number in 0..frames {
        if at >= end {
            // The last frame may be cut off, if it is not the only one.
            return Ok(number > 1 || at == end);
        }
        let head = scanner.at(at, 10)?;
        if number > 0 && (id3v2_len(head).is_some() || head.starts_with(b"TAG")) {
            return Ok(true);
        }
        let header = FrameHeader::parse(head).ok().filter(|header| header.agrees(like));
        let Some(len) = header.and_then(|header| header.frame_len(free)) else { return Ok(false) };
        at += u64::from(len);
    }
    Ok(true)
}

/// The length, without padding, of the free-format frames that start at `at`: found where the next two start.
fn free_len(scanner: &mut Scanner<'_>, at: u64, end: u64, header: &FrameHeader) -> io::Result<Option<u32>> {
    let bytes = scanner.at(at, 3 * MAX_FRAME)?;
    let usable = bytes.len().min(end.saturating_sub(at) as usize);
    let bytes = bytes.get(..usable).unwrap_or_default();
    let same = |at: usize| {
        let other = FrameHeader::parse(bytes.get(at..)?).ok()?;
        (other.agrees(header) && other.kbps == 0 && other.channels == header.channels).then_some(other)
    };
    for len in header.side_info_end() + 1..MAX_FRAME {
        let Some(second) = same(len) else { continue };
        let free = len as u32 - header.padding_len();
        let third = len + (free + second.padding_len()) as usize;
        if same(third).is_some() || third == bytes.len() {
            return Ok(Some(free));
        }
    }
    Ok(None)
}
