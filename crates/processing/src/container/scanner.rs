//! Reads a source from its start to its end through one bounded buffer.

use std::io;

use crate::AudioSource;
use crate::model::recipe::read_exact_at;

/// How much is read at a time.
const BUFFER_BYTES: usize = 256 * 1024;

/// Reads a source from its start to its end through one bounded buffer.
#[derive(Debug)]
pub(crate) struct Scanner<'a> {
    source: &'a dyn AudioSource,
    buffer: Vec<u8>,
    start: u64,
    len: u64,
}

impl<'a> Scanner<'a> {
    pub(crate) fn new(source: &'a dyn AudioSource) -> Self {
        Self { source, buffer: Vec::new(), start: 0, len: source.len() }
    }

    /// The length of the source.
    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    /// At most `n` bytes from `offset`; fewer only at the end of the source.
    pub(crate) fn at(&mut self, offset: u64, n: usize) -> io::Result<&[u8]> {
        let have = self.start + self.buffer.len() as u64;
        let want = (offset.saturating_add(n as u64)).min(self.len);
        if offset < self.start || want > have {
            self.fill(offset, n)?;
        }
        let from = usize::try_from(offset - self.start).unwrap_or(usize::MAX);
        let rest = self.buffer.get(from..).unwrap_or_default();
        Ok(rest.get(..n).unwrap_or(rest))
    }

    /// What the buffer holds from `offset` on: at least `n` bytes unless the source ends before.
    pub(crate) fn run(&mut self, offset: u64, n: usize) -> io::Result<&[u8]> {
        self.at(offset, n)?;
        let from = usize::try_from(offset - self.start).unwrap_or(usize::MAX);
        Ok(self.buffer.get(from..).unwrap_or_default())
    }

    /// Exactly the `N` bytes from `offset`, or `None` if the source ends before.
    pub(crate) fn array<const N: usize>(&mut self, offset: u64) -> io::Result<Option<[u8; N]>> {
        Ok(self.at(offset, N)?.try_into().ok())
    }

    fn fill(&mut self, offset: u64, n: usize) -> io::Result<()> {
        let rest = self.len.saturating_sub(offset);
        let size = rest.min(n.max(BUFFER_BYTES) as u64) as usize;
        self.start = offset;
        self.buffer.resize(size, 0);
        let read = read_exact_at(self.source, offset, &mut self.buffer);
        if read.is_err() {
            self.buffer.clear();
        }
        read
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::MemoryAudioSource;

    #[test]
    fn it_gives_what_is_there_and_no_more() {
        let bytes: Vec<u8> = (0..700_000_u32).map(|n| (n % 251) as u8).collect();
        let source = MemoryAudioSource::new("bytes", bytes.clone());
        let mut scanner = Scanner::new(&source);
        for (offset, n) in
            [(0, 4), (262_140, 8), (262_000, 10), (699_998, 8), (700_000, 1), (u64::MAX, 9), (3, 500_000)]
        {
            let from = usize::try_from(offset).unwrap().min(bytes.len());
            let to = from.saturating_add(n).min(bytes.len());
            assert_eq!(scanner.at(offset, n).unwrap(), &bytes[from..to]);
        }
        assert_eq!(scanner.array::<2>(699_999).unwrap(), None);
    }
}
