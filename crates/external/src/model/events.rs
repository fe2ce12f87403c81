//! A transcript that arrives piece by piece.

use std::fmt;

use async_trait::async_trait;

use super::response::{SpeechResponse, TimedSegment, Usage};
use crate::error::ExternalError;

/// A piece of a transcript. Its `Debug` form holds no text.
#[derive(Clone, PartialEq)]
pub enum SpeechEvent {
    /// Text to be put behind what came before, spaces included.
    Delta(String),
    /// A phrase with its times.
    Segment(TimedSegment),
    /// The whole, which comes last and once.
    Done(Box<SpeechResponse>),
}

impl fmt::Debug for SpeechEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Delta(text) => write!(f, "Delta({} bytes)", text.len()),
            Self::Segment(segment) => f.debug_tuple("Segment").field(segment).finish(),
            Self::Done(response) => f.debug_tuple("Done").field(response).finish(),
        }
    }
}

/// What one event of an API's stream holds, for implementers of [`SpeechDialect`](crate::SpeechDialect).
#[derive(Clone, PartialEq)]
pub enum StreamedPart {
    /// A piece of text.
    Delta(String),
    /// A phrase.
    Segment(TimedSegment),
    /// The end: all of the text, and what was used.
    Done {
        /// All of the text, if the API repeats it.
        text: Option<String>,
        /// What was used.
        usage: Usage,
    },
}

impl fmt::Debug for StreamedPart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Delta(_) => "Delta",
            Self::Segment(_) => "Segment",
            Self::Done { .. } => "Done",
        })
    }
}

/// Where events come from, for implementers of [`SpeechApi`](crate::SpeechApi).
#[async_trait]
pub trait SpeechEventSource: Send {
    /// The next event; `None` after [`SpeechEvent::Done`] or an error.
    ///
    /// # Errors
    /// As [`SpeechApi::transcribe`](crate::SpeechApi::transcribe).
    ///
    /// # Cancellation
    /// A dropped future has lost nothing: the next call goes on where it was.
    async fn next(&mut self) -> Option<Result<SpeechEvent, ExternalError>>;
}

/// A transcript that arrives piece by piece. Dropping it ends the request.
pub struct SpeechEvents(Box<dyn SpeechEventSource>);

impl SpeechEvents {
    /// Events of a source.
    pub fn new(source: impl SpeechEventSource + 'static) -> Self {
        Self(Box::new(source))
    }

    /// The one event of an answer that came as a whole.
    pub fn whole(response: SpeechResponse) -> Self {
        Self::new(Whole(Some(response)))
    }

    /// The next event; `None` after [`SpeechEvent::Done`] or an error.
    ///
    /// # Errors
    /// As [`SpeechApi::transcribe`](crate::SpeechApi::transcribe). A stream that ends before its whole has come is an
    /// error: what came before is not the transcript.
    ///
    /// # Cancellation
    /// A dropped future has lost nothing: the next call goes on where it was.
    pub async fn next(&mut self) -> Option<Result<SpeechEvent, ExternalError>> {
        self.0.next().await
    }
}

impl fmt::Debug for SpeechEvents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SpeechEvents").finish_non_exhaustive()
    }
}

struct Whole(Option<SpeechResponse>);

#[async_trait]
impl SpeechEventSource for Whole {
    async fn next(&mut self) -> Option<Result<SpeechEvent, ExternalError>> {
        self.0.take().map(|response| Ok(SpeechEvent::Done(Box::new(response))))
    }
}
