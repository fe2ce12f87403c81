//! The body of an answer: whole, cut, stalled, or followed by blanks.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};

const BLANKS: &[u8] = &[b' '; 16 * 1024];

/// What follows the bytes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Then {
    End,
    Disconnect,
    Stall,
    Blanks(u64),
}

#[derive(Debug)]
pub(super) struct ScriptedBody {
    bytes: Bytes,
    then: Then,
    /// What the head of the answer promises of what is left.
    promised: u64,
}

impl ScriptedBody {
    pub(super) fn new(bytes: Bytes, then: Then, promised: u64) -> Self {
        Self { bytes, then, promised }
    }

    pub(super) fn whole(bytes: Bytes) -> Self {
        let promised = bytes.len() as u64;
        Self::new(bytes, Then::End, promised)
    }
}

impl Body for ScriptedBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        if self.bytes.is_empty() {
            match self.then {
                Then::End | Then::Blanks(0) => return Poll::Ready(None),
                Then::Disconnect => {
                    let cut =
                        io::Error::new(io::ErrorKind::ConnectionAborted, "the answer is cut, as asked for");
                    return Poll::Ready(Some(Err(cut)));
                }
                // Nobody wakes this: the client gives up, and the connection ends.
                Then::Stall => return Poll::Pending,
                Then::Blanks(blanks) => {
                    let count = blanks.min(BLANKS.len() as u64);
                    self.then = Then::Blanks(blanks - count);
                    self.bytes = Bytes::from_static(BLANKS.split_at(count as usize).0);
                }
            }
        }
        let bytes = std::mem::take(&mut self.bytes);
        self.promised = self.promised.saturating_sub(bytes.len() as u64);
        Poll::Ready(Some(Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        self.bytes.is_empty() && matches!(self.then, Then::End | Then::Blanks(0))
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.promised)
    }
}
