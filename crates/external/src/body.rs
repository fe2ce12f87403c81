//! Bodies of requests that can be read again, and the readers that yield them.
//!
//! It sends nothing; the pool reads a body once for each time that it puts a request on the wire.

use std::fmt::Debug;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;

/// How many bytes a file's range is read at a time: 64 KiB.
const BLOCK_BYTES: usize = 64 * 1024;

/// The body of a request: its exact length is known, and it can be read from the start any number of times.
///
/// # Contract
/// 1. [`len`](Self::len) never changes, and every reader yields exactly so many bytes, or an error.
/// 2. Every reader yields the same bytes.
/// 3. [`open`](Self::open) does no I/O: what can fail fails in [`BodyReader::next`].
pub trait ReplayBody: Debug + Send + Sync + 'static {
    /// How many bytes the body has.
    fn len(&self) -> u64;

    /// Whether there is nothing to send.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A reader of its own, at the first byte.
    fn open(&self) -> Box<dyn BodyReader>;
}

/// Yields a body piece by piece.
#[async_trait]
pub trait BodyReader: Send + Sync {
    /// The next piece, never empty; `None` at the end.
    ///
    /// # Errors
    /// What reading failed with. The reader is not to be asked again.
    ///
    /// # Cancellation
    /// A future that was dropped may have lost a piece: drop the reader too.
    async fn next(&mut self) -> io::Result<Option<Bytes>>;
}

impl<T: ReplayBody + ?Sized> ReplayBody for Arc<T> {
    fn len(&self) -> u64 {
        (**self).len()
    }

    fn open(&self) -> Box<dyn BodyReader> {
        (**self).open()
    }
}

impl<T: ReplayBody + ?Sized> ReplayBody for Box<T> {
    fn len(&self) -> u64 {
        (**self).len()
    }

    fn open(&self) -> Box<dyn BodyReader> {
        (**self).open()
    }
}

impl ReplayBody for Bytes {
    fn len(&self) -> u64 {
        self.as_ref().len() as u64
    }

    fn open(&self) -> Box<dyn BodyReader> {
        Box::new(BytesReader((!self.as_ref().is_empty()).then(|| self.clone())))
    }
}

#[derive(Debug)]
struct BytesReader(Option<Bytes>);

#[async_trait]
impl BodyReader for BytesReader {
    async fn next(&mut self) -> io::Result<Option<Bytes>> {
        Ok(self.0.take())
    }
}

/// A range of bytes of a file, read in blocks of 64 KiB while it is sent.
#[derive(Clone, Debug)]
pub struct FileRange {
    path: PathBuf,
    range: Range<u64>,
}

impl FileRange {
    /// The bytes of `range` in the file at `path`. The file is opened when a reader is first asked.
    pub fn new(path: impl AsRef<Path>, range: Range<u64>) -> Self {
        Self { path: path.as_ref().to_owned(), range }
    }
}

impl ReplayBody for FileRange {
    fn len(&self) -> u64 {
        self.range.end.saturating_sub(self.range.start)
    }

    fn open(&self) -> Box<dyn BodyReader> {
        Box::new(FileReader { path: self.path.clone(), at: self.range.start, left: self.len(), file: None })
    }
}

#[derive(Debug)]
struct FileReader {
    path: PathBuf,
    at: u64,
    left: u64,
    file: Option<File>,
}

#[async_trait]
impl BodyReader for FileReader {
    async fn next(&mut self) -> io::Result<Option<Bytes>> {
        if self.left == 0 {
            return Ok(None);
        }
        let (path, at, file) = (self.path.clone(), self.at, self.file.take());
        let want = usize::try_from(self.left).unwrap_or(usize::MAX).min(BLOCK_BYTES);
        let (file, block) = tokio::task::spawn_blocking(move || read_block(&path, file, at, want))
            .await
            .map_err(io::Error::other)??;
        self.file = Some(file);
        self.left -= block.len() as u64;
        Ok(Some(block))
    }
}

/// Reads exactly `want` bytes; a file that was not open yet is opened and positioned first.
fn read_block(path: &Path, file: Option<File>, at: u64, want: usize) -> io::Result<(File, Bytes)> {
    let mut file = if let Some(file) = file {
        file
    } else {
        let mut file = File::open(path)?;
        file.seek(SeekFrom::Start(at))?;
        file
    };
    let mut block = vec![0; want];
    file.read_exact(&mut block)?;
    Ok((file, Bytes::from(block)))
}

/// Several bodies, one after the other.
#[derive(Clone, Debug, Default)]
pub struct ChainBody {
    parts: Vec<Arc<dyn ReplayBody>>,
}

impl ChainBody {
    /// The parts in their order.
    pub fn new(parts: Vec<Arc<dyn ReplayBody>>) -> Self {
        Self { parts }
    }
}

impl ReplayBody for ChainBody {
    fn len(&self) -> u64 {
        self.parts.iter().map(ReplayBody::len).fold(0, u64::saturating_add)
    }

    fn open(&self) -> Box<dyn BodyReader> {
        Box::new(ChainReader { parts: self.parts.clone().into_iter(), reader: None })
    }
}

struct ChainReader {
    parts: std::vec::IntoIter<Arc<dyn ReplayBody>>,
    reader: Option<Box<dyn BodyReader>>,
}

#[async_trait]
impl BodyReader for ChainReader {
    async fn next(&mut self) -> io::Result<Option<Bytes>> {
        loop {
            if let Some(reader) = &mut self.reader {
                if let Some(piece) = reader.next().await? {
                    return Ok(Some(piece));
                }
                self.reader = None;
            }
            match self.parts.next() {
                Some(part) => self.reader = Some(part.open()),
                None => return Ok(None),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    async fn read(body: &dyn ReplayBody) -> io::Result<Vec<u8>> {
        let mut reader = body.open();
        let mut all = Vec::new();
        while let Some(piece) = reader.next().await? {
            assert!(!piece.is_empty(), "a piece is never empty");
            all.extend_from_slice(&piece);
        }
        Ok(all)
    }

    #[tokio::test]
    async fn a_chain_of_bytes_and_a_file_range_reads_the_same_twice() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        let content: Vec<u8> = (0..200_000_u32).map(|n| n as u8).collect();
        file.write_all(&content).unwrap();
        let body = ChainBody::new(vec![
            Arc::new(Bytes::from_static(b"head")),
            Arc::new(Bytes::new()),
            Arc::new(FileRange::new(file.path(), 1_000..190_000)),
            Arc::new(Bytes::from_static(b"tail")),
        ]);
        let expected = [b"head", &content[1_000..190_000], b"tail"].concat();
        assert_eq!(body.len(), expected.len() as u64);
        assert_eq!(read(&body).await.unwrap(), expected);
        assert_eq!(read(&body).await.unwrap(), expected);
    }

    #[tokio::test]
    async fn a_file_that_has_become_shorter_is_an_error_not_a_short_body() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let body = FileRange::new(file.path(), 0..10);
        assert_eq!(read(&body).await.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }
}
