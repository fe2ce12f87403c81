//! The tables of a file whose index lies in one place: which packets lie in which chunk, how large, and where.

use std::io;

use super::Found;
use super::boxes::BoxAt;
use super::track::TrackInfo;
use crate::AudioSource;
use crate::container::scanner::Scanner;

/// Takes all packets that the tables tell of. Each table is read through a buffer of its own, side by side.
pub(super) fn walk(source: &dyn AudioSource, track: &TrackInfo, found: &mut Found) -> io::Result<()> {
    let Some(stbl) = track.stbl else { return Ok(()) };
    let mut scanner = Scanner::new(source);
    let table = |scanner: &mut Scanner<'_>, kind| stbl.child(scanner, kind);
    let Some(stsc) = table(&mut scanner, *b"stsc")? else { return Ok(()) };
    let Some(stsz) = table(&mut scanner, *b"stsz")? else { return Ok(()) };
    let (places, width) = match table(&mut scanner, *b"stco")? {
        Some(stco) => (stco, 4),
        None => match table(&mut scanner, *b"co64")? {
            Some(co64) => (co64, 8),
            None => return Ok(()),
        },
    };
    let mut sizes = Sizes::new(source, stsz)?;
    let mut runs = Table::new(source, stsc, 4, 12)?;
    let mut places = Table::new(source, places, 4, width)?;
    let mut run = runs.next()?.map(|entry| Run::of(&entry));
    let mut next = runs.next()?.map(|entry| Run::of(&entry));
    let mut chunk = 0_u32;
    while let Some(place) = places.next()? {
        chunk = chunk.saturating_add(1);
        while let Some(following) = next.filter(|next| next.first_chunk <= chunk) {
            run = Some(following);
            next = runs.next()?.map(|entry| Run::of(&entry));
        }
        let Some(run) = run else { break };
        let mut at = place.iter().fold(0, |sum, byte| (sum << 8) | u64::from(*byte));
        for _ in 0..run.packets {
            let Some(size) = sizes.next()? else { return Ok(()) };
            if !found.take(at, size) {
                return Ok(());
            }
            at += u64::from(size);
        }
    }
    Ok(())
}

/// From which chunk on there are how many packets in each.
#[derive(Clone, Copy, Debug)]
struct Run {
    first_chunk: u32,
    packets: u32,
}

impl Run {
    fn of(entry: &[u8]) -> Self {
        let word =
            |at: usize| entry.get(at..at + 4).and_then(|b| b.try_into().ok()).map_or(0, u32::from_be_bytes);
        Self { first_chunk: word(0), packets: word(4) }
    }
}

#[derive(Debug)]
enum Sizes<'a> {
    Equal { size: u32, left: u32 },
    Each(Table<'a>),
}

impl<'a> Sizes<'a> {
    fn new(source: &'a dyn AudioSource, stsz: BoxAt) -> io::Result<Self> {
        let mut scanner = Scanner::new(source);
        let Some([a, b, c, d, count @ ..]) = scanner.array::<8>(stsz.body + 4)? else {
            return Ok(Self::Equal { size: 0, left: 0 });
        };
        match u32::from_be_bytes([a, b, c, d]) {
            0 => Ok(Self::Each(Table::new(source, stsz, 8, 4)?)),
            size => Ok(Self::Equal { size, left: u32::from_be_bytes(count) }),
        }
    }

    fn next(&mut self) -> io::Result<Option<u32>> {
        match self {
            Self::Equal { left: 0, .. } => Ok(None),
            Self::Equal { size, left } => {
                *left -= 1;
                Ok(Some(*size))
            }
            Self::Each(table) => {
                let entry = table.next()?;
                Ok(entry.map(|entry| entry.iter().fold(0, |sum, byte| (sum << 8) | u32::from(*byte))))
            }
        }
    }
}

/// A table of entries of one width, read from its start to its end.
#[derive(Debug)]
struct Table<'a> {
    scanner: Scanner<'a>,
    at: u64,
    end: u64,
    left: u32,
    width: usize,
}

impl<'a> Table<'a> {
    /// The count lies `count_at` bytes behind the start of the box, the entries behind it.
    fn new(source: &'a dyn AudioSource, table: BoxAt, count_at: u64, width: usize) -> io::Result<Self> {
        let mut scanner = Scanner::new(source);
        let at = table.body + count_at;
        let left = scanner.array::<4>(at)?.map_or(0, u32::from_be_bytes);
        Ok(Self { scanner, at: at + 4, end: table.end, left, width })
    }

    fn next(&mut self) -> io::Result<Option<Vec<u8>>> {
        if self.left == 0 || self.at + self.width as u64 > self.end {
            return Ok(None);
        }
        let entry = self.scanner.at(self.at, self.width)?.to_vec();
        self.at += self.width as u64;
        self.left -= 1;
        Ok(Some(entry))
    }
}
