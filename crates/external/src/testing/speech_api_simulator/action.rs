//! What goes into the simulator's rules, and what comes out: values, no sockets.

use std::time::Duration;

use bytes::Bytes;
use http::Response;

use super::audio::HeardAudio;
use super::form::TranscriptionForm;

/// One thing that the server does next.
#[derive(Debug)]
#[non_exhaustive]
pub enum Action {
    /// Lets time pass.
    Wait(Duration),
    /// Sends an answer.
    Respond(Response<Bytes>),
    /// Sends the head of an answer and so many bytes of its body.
    RespondInPart {
        /// The answer; its `content-length` is that of the whole.
        response: Response<Bytes>,
        /// Bytes of the body that are sent.
        sent: usize,
        /// What comes instead of the rest.
        then: Ending,
    },
    /// Sends an answer and so many blanks behind it.
    RespondPadded {
        /// The answer.
        response: Response<Bytes>,
        /// Blanks behind it.
        blanks: u64,
    },
    /// Ends the connection.
    Disconnect,
    /// Does nothing until the client gives up.
    Stall,
}

/// How half an answer ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// With the connection (HTTP/1.1), or a reset of the stream (HTTP/2).
    Disconnect,
    /// Never.
    Stall,
}

/// Names a request between its head and its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RequestId(pub(crate) u64);

/// What the head of a request leads to.
#[derive(Debug)]
pub enum Begun {
    /// The answer does not wait for the body.
    Answer(Vec<Action>),
    /// The body is read: to its end, or to this many bytes if it is longer.
    Read {
        /// Names the request in [`finish`](super::SpeechApiSimulator::finish) and
        /// [`end`](super::SpeechApiSimulator::end).
        id: RequestId,
        /// Once so many bytes have been read, no more are.
        at_most: u64,
    },
}

/// The body of a request as it was understood.
#[derive(Clone, Debug)]
pub struct Upload {
    /// Its length as far as it was read.
    pub bytes: u64,
    /// The form, or why it could not be read.
    pub form: Result<TranscriptionForm, String>,
    /// What was heard in the file, or why it could not be decoded.
    pub audio: Result<HeardAudio, String>,
}

impl Upload {
    /// A request as wavequill sends it, with this audio and as many bytes as MP3 of 32 kbit/s has.
    pub fn verbose(model: impl Into<String>, audio: HeardAudio) -> Self {
        let bytes = (audio.duration.as_secs_f64() * 4_000.0) as u64;
        Self { bytes, form: Ok(TranscriptionForm::verbose(model)), audio: Ok(audio) }
    }

    /// A body that could not be read.
    pub(crate) fn unreadable(bytes: u64, why: String) -> Self {
        Self { bytes, form: Err(why.clone()), audio: Err(why) }
    }
}
