//! Boxes: a size, a kind, and what is in it (ISO/IEC 14496-12, 4.2).

use std::io;

use super::each_box;
use crate::container::scanner::Scanner;

/// Where a box lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BoxAt {
    pub(super) kind: [u8; 4],
    pub(super) start: u64,
    /// Where its content starts.
    pub(super) body: u64,
    /// Where it ends, at most where the box around it does.
    pub(super) end: u64,
}

impl BoxAt {
    /// The box at `at`; `None` at `to` or if there is no box.
    pub(super) fn read(scanner: &mut Scanner<'_>, at: u64, to: u64) -> io::Result<Option<Self>> {
        let to = to.min(scanner.len());
        let Some([a, b, c, d, kind @ ..]) = scanner.array::<8>(at)? else { return Ok(None) };
        let (head, size) = match u32::from_be_bytes([a, b, c, d]) {
            0 => (8, to.saturating_sub(at)),
            1 => {
                let Some(size) = scanner.array::<8>(at + 8)? else { return Ok(None) };
                (16, u64::from_be_bytes(size))
            }
            size => (8, u64::from(size)),
        };
        if size < head || at + head > to {
            return Ok(None);
        }
        Ok(Some(Self { kind, start: at, body: at + head, end: at.saturating_add(size).min(to) }))
    }

    /// The bytes of content.
    pub(super) fn len(&self) -> u64 {
        self.end - self.body
    }

    /// The first box of that kind within it.
    pub(super) fn child(&self, scanner: &mut Scanner<'_>, kind: [u8; 4]) -> io::Result<Option<Self>> {
        child(scanner, self.body, self.end, kind)
    }

    /// Its content, at most `most` bytes of it.
    pub(super) fn bytes<'a>(&self, scanner: &'a mut Scanner<'_>, most: u64) -> io::Result<&'a [u8]> {
        scanner.at(self.body, self.len().min(most) as usize)
    }
}

/// The first box of that kind directly within [from, to).
pub(super) fn child(
    scanner: &mut Scanner<'_>,
    from: u64,
    to: u64,
    kind: [u8; 4],
) -> io::Result<Option<BoxAt>> {
    let mut found = None;
    each_box(scanner, from, to, |_, at| {
        found = found.or((at.kind == kind).then_some(at));
        Ok(found.is_none())
    })?;
    Ok(found)
}

/// Numbers in the order in which a box holds them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fields<'a>(pub(super) &'a [u8]);

impl Fields<'_> {
    pub(super) fn skip(&mut self, bytes: usize) -> Option<()> {
        self.0 = self.0.get(bytes..)?;
        Some(())
    }

    pub(super) fn word(&mut self) -> Option<u32> {
        let (word, rest) = self.0.split_first_chunk::<4>()?;
        self.0 = rest;
        Some(u32::from_be_bytes(*word))
    }

    pub(super) fn long(&mut self) -> Option<u64> {
        let (long, rest) = self.0.split_first_chunk::<8>()?;
        self.0 = rest;
        Some(u64::from_be_bytes(*long))
    }

    /// A time of 32 or, in boxes of version 1, 64 bits.
    pub(super) fn time(&mut self, version: u8) -> Option<u64> {
        if version == 1 { self.long() } else { self.word().map(u64::from) }
    }

    /// A descriptor of MPEG-4 systems: its tag and its content; what follows it is left.
    pub(super) fn descriptor(&mut self) -> Option<(u8, Self)> {
        let (tag, mut rest) = self.0.split_first()?;
        let mut len = 0_usize;
        for _ in 0..4 {
            let (byte, behind) = rest.split_first()?;
            rest = behind;
            len = (len << 7) | usize::from(byte & 0x7f);
            if byte & 0x80 == 0 {
                break;
            }
        }
        let body = rest.get(..len).unwrap_or(rest);
        self.0 = rest.get(len..).unwrap_or_default();
        Some((*tag, Fields(body)))
    }
}
