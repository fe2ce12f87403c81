//! Ogg pages as they are read (RFC 3533).

use std::io;

use crate::container::crc::crc32;
use crate::container::scanner::Scanner;

/// A page's header without its table of segments.
pub(super) const PAGE_HEAD: usize = 27;

/// The longest page.
const MAX_PAGE: u64 = 27 + 255 + 255 * 255;

/// A page: its header and how its body is divided.
#[derive(Clone, Debug)]
pub(super) struct Page {
    pub(super) start: u64,
    flags: u8,
    /// The stream's position at the end of the last packet that ends in the page; all ones: none does.
    pub(super) granule: u64,
    pub(super) serial: u32,
    lacing: Vec<u8>,
}

/// What a page holds of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) len: u32,
    /// Whether the packet ends there.
    pub(super) ends: bool,
}

impl Page {
    /// The page at `at`, if there is one with the right checksum.
    pub(super) fn read(scanner: &mut Scanner<'_>, at: u64) -> io::Result<Option<Self>> {
        let Some(page) = Self::parse(scanner.at(at, PAGE_HEAD + 255)?, at) else { return Ok(None) };
        let len = (page.end() - at) as usize;
        let bytes = scanner.at(at, len)?;
        let (Some((head, rest)), true) = (bytes.split_at_checked(22), bytes.len() == len) else {
            return Ok(None);
        };
        let (told, rest) = rest.split_at(4);
        let crc = crc32(crc32(crc32(0, head), &[0; 4]), rest);
        Ok((told == crc.to_le_bytes()).then_some(page))
    }

    /// The page whose header is given.
    pub(super) fn parse(bytes: &[u8], start: u64) -> Option<Self> {
        let head = bytes.first_chunk::<PAGE_HEAD>()?;
        let [b'O', b'g', b'g', b'S', 0, flags, rest @ ..] = head else { return None };
        let (granule, rest) = rest.split_first_chunk::<8>()?;
        let (serial, rest) = rest.split_first_chunk::<4>()?;
        let segments = usize::from(*rest.last()?);
        Some(Self {
            start,
            flags: *flags,
            granule: u64::from_le_bytes(*granule),
            serial: u32::from_le_bytes(*serial),
            lacing: bytes.get(PAGE_HEAD..PAGE_HEAD + segments)?.to_vec(),
        })
    }

    pub(super) fn is_continued(&self) -> bool {
        self.flags & 1 != 0
    }

    pub(super) fn is_first(&self) -> bool {
        self.flags & 2 != 0
    }

    pub(super) fn is_last(&self) -> bool {
        self.flags & 4 != 0
    }

    /// Where the body starts.
    pub(super) fn body(&self) -> u64 {
        self.start + (PAGE_HEAD + self.lacing.len()) as u64
    }

    /// Bytes of the body.
    pub(super) fn len(&self) -> u64 {
        self.lacing.iter().map(|len| u64::from(*len)).sum()
    }

    /// Where the next page starts.
    pub(super) fn end(&self) -> u64 {
        self.body() + self.len()
    }

    /// The packets' parts, in order.
    pub(super) fn parts(&self) -> impl Iterator<Item = Part> {
        self.lacing.chunk_by(|left, _| *left == 255).map(|segments| Part {
            len: segments.iter().map(|len| u32::from(*len)).sum(),
            ends: segments.last().is_some_and(|len| *len < 255),
        })
    }
}

/// Where the next page starts from `at` on, or the end. Each place that looks like a page takes its length from `budget`:
/// a file made to be slow is given up.
pub(super) fn next_page(scanner: &mut Scanner<'_>, mut at: u64, budget: &mut u64) -> io::Result<u64> {
    while at < scanner.len() && *budget > 0 {
        let run = scanner.run(at, 4)?;
        let len = run.len() as u64;
        match run.windows(4).position(|id| id == b"OggS") {
            Some(found) => {
                at += found as u64;
                *budget = budget.saturating_sub(MAX_PAGE);
                if Page::read(scanner, at)?.is_some() {
                    return Ok(at);
                }
                at += 1;
            }
            None => at += len.saturating_sub(3).max(1),
        }
    }
    Ok(scanner.len())
}

/// What a stream that starts so holds.
pub(super) fn name_of(body: &[u8]) -> Option<&'static str> {
    let is = |id: &[u8]| body.starts_with(id);
    Some(match () {
        () if is(b"\x01vorbis") => "Vorbis",
        () if is(b"Speex   ") => "Speex",
        () if is(b"\x7fFLAC") => "FLAC",
        () => return None,
    })
}
