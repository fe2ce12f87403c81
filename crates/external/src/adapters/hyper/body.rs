//! Between the bodies of this crate and hyper's.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use async_trait::async_trait;
use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::{Body, Frame, Incoming, SizeHint};

use crate::body::{BodyReader, ReplayBody};
use crate::error::ExternalError;
use crate::model::http::Processed;
use crate::model::origin::Origin;

type Reading = Pin<Box<dyn Future<Output = (Box<dyn BodyReader>, io::Result<Option<Bytes>>)> + Send>>;

enum State {
    Idle(Box<dyn BodyReader>),
    Reading(Reading),
    Ended,
}

/// A replayable body while it is being sent.
pub(super) struct Upload {
    state: State,
    left: u64,
}

impl Upload {
    pub(super) fn new(body: &Arc<dyn ReplayBody>) -> Self {
        let left = body.len();
        Self { state: if left == 0 { State::Ended } else { State::Idle(body.open()) }, left }
    }
}

impl Body for Upload {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        loop {
            match std::mem::replace(&mut self.state, State::Ended) {
                State::Ended => return Poll::Ready(None),
                State::Idle(mut reader) => {
                    self.state = State::Reading(Box::pin(async move {
                        let piece = reader.next().await;
                        (reader, piece)
                    }));
                }
                State::Reading(mut reading) => {
                    let Poll::Ready((reader, piece)) = reading.as_mut().poll(cx) else {
                        self.state = State::Reading(reading);
                        return Poll::Pending;
                    };
                    return Poll::Ready(self.take(reader, piece));
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self.state, State::Ended)
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

impl Upload {
    /// Counts a piece; a body that is not as long as it said must not be mistaken for a whole one.
    fn take(
        &mut self,
        reader: Box<dyn BodyReader>,
        piece: io::Result<Option<Bytes>>,
    ) -> Option<io::Result<Frame<Bytes>>> {
        let length = |what| Some(Err(io::Error::new(io::ErrorKind::InvalidData, what)));
        match piece {
            Err(error) => Some(Err(error)),
            Ok(None) if self.left > 0 => length("the body is shorter than it said"),
            Ok(None) => None,
            Ok(Some(piece)) if piece.len() as u64 > self.left => length("the body is longer than it said"),
            Ok(Some(piece)) => {
                self.left -= piece.len() as u64;
                if self.left > 0 {
                    self.state = State::Idle(reader);
                }
                Some(Ok(Frame::data(piece)))
            }
        }
    }
}

/// The body of an answer while it is being received.
pub(super) struct Download {
    incoming: Incoming,
    origin: Origin,
}

impl Download {
    pub(super) fn new(incoming: Incoming, origin: &Origin) -> Self {
        Self { incoming, origin: origin.clone() }
    }
}

#[async_trait]
impl BodyReader for Download {
    async fn next(&mut self) -> io::Result<Option<Bytes>> {
        while let Some(frame) = self.incoming.frame().await {
            let frame = frame.map_err(|error| {
                let source = Arc::new(io::Error::other(error));
                io::Error::other(ExternalError::ConnectionLost {
                    origin: self.origin.clone(),
                    processed: Processed::Yes,
                    source,
                })
            })?;
            if let Ok(data) = frame.into_data()
                && !data.is_empty()
            {
                return Ok(Some(data));
            }
        }
        Ok(None)
    }
}

/// Polls a future that may have ended already.
pub(super) fn poll_once<F: Future + Unpin>(slot: &mut Option<F>, cx: &mut Context<'_>) -> Poll<F::Output> {
    let Some(future) = slot else { return Poll::Pending };
    let output = ready!(Pin::new(future).poll(cx));
    *slot = None;
    Poll::Ready(output)
}
