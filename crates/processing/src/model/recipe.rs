//! How the bytes of a chunk are made when they are sent: headers, byte ranges, and packets that are written anew.

use std::fmt::Debug;
use std::io;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use crate::AudioSource;

/// How many bytes a body gives at a time, about.
const PIECE_BYTES: usize = 64 * 1024;

/// Writes packets (or pages of them) of a file anew, each by its number.
pub(crate) trait PacketWriter: Debug + Send + Sync {
    /// Appends packet `number`, ready to be sent, to `out`.
    fn write(&self, source: &dyn AudioSource, number: u64, out: &mut Vec<u8>) -> io::Result<()>;
}

/// A stretch of a chunk's bytes.
#[derive(Clone, Debug)]
pub(crate) enum Piece {
    /// Bytes that are in no file: headers.
    Bytes(Bytes),
    /// Bytes of the source as they are.
    Range {
        /// Where they start in the source.
        offset: u64,
        /// How many there are.
        len: u64,
    },
    /// Packets of the source, written anew.
    Packets {
        /// Their numbers.
        numbers: Range<u64>,
        /// Who writes them.
        writer: Arc<dyn PacketWriter>,
    },
}

/// How a chunk's bytes are made, and how many there are.
#[derive(Clone, Debug)]
pub(crate) struct Recipe {
    pub(crate) pieces: Vec<Piece>,
    /// How many bytes of headers come before the first packet.
    pub(crate) head_len: u64,
    pub(crate) content_length: u64,
}

/// Where a body has got to.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Cursor {
    piece: usize,
    done: u64,
}

impl Recipe {
    /// The next bytes from `cursor` on, about [`PIECE_BYTES`] of them, and where they end; empty at the end. Blocks.
    pub(crate) fn read(&self, source: &dyn AudioSource, mut cursor: Cursor) -> io::Result<(Bytes, Cursor)> {
        let mut out = Vec::with_capacity(PIECE_BYTES);
        while out.len() < PIECE_BYTES {
            let Some(piece) = self.pieces.get(cursor.piece) else { break };
            let finished = match piece {
                Piece::Bytes(bytes) => {
                    out.extend_from_slice(bytes);
                    true
                }
                Piece::Range { offset, len } => {
                    let n = (len - cursor.done).min((PIECE_BYTES - out.len()) as u64);
                    let start = out.len();
                    out.resize(start + n as usize, 0);
                    read_exact_at(source, offset + cursor.done, out.get_mut(start..).unwrap_or_default())?;
                    cursor.done += n;
                    cursor.done == *len
                }
                Piece::Packets { numbers, writer } => {
                    let number = numbers.start + cursor.done;
                    if number < numbers.end {
                        writer.write(source, number, &mut out)?;
                        cursor.done += 1;
                    }
                    number + 1 >= numbers.end
                }
            };
            if finished {
                cursor = Cursor { piece: cursor.piece + 1, done: 0 };
            }
        }
        Ok((out.into(), cursor))
    }
}

impl Recipe {
    /// Gives all bytes behind the headers to `take`; how many there were. Blocks.
    pub(crate) fn read_packets(
        &self,
        source: &dyn AudioSource,
        mut take: impl FnMut(&[u8]),
    ) -> io::Result<u64> {
        let mut cursor = Cursor::default();
        let mut skip = self.head_len as usize;
        let mut taken = 0;
        loop {
            let (bytes, next) = self.read(source, cursor)?;
            if bytes.is_empty() {
                return Ok(taken);
            }
            let packets = bytes.get(skip.min(bytes.len())..).unwrap_or_default();
            skip = skip.saturating_sub(bytes.len());
            take(packets);
            taken += packets.len() as u64;
            cursor = next;
        }
    }
}

/// Fills `buf` from `offset`, or fails: what was there when the file was opened must still be there.
pub(crate) fn read_exact_at(source: &dyn AudioSource, mut offset: u64, mut buf: &mut [u8]) -> io::Result<()> {
    while !buf.is_empty() {
        match source.read_at(offset, buf) {
            Ok(0) => {
                source.check_unchanged()?;
                let what = format!("{} ends at byte {offset}, before what is needed", source.name());
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, what));
            }
            Ok(n) => {
                offset += n as u64;
                buf = buf.get_mut(n..).unwrap_or_default();
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
