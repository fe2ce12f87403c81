//! What can go wrong between a recording and its transcript.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use wavequill_kernel::{ErrorClass, InvalidValue, Retryable};

use crate::{ByteSize, RecognitionError, Transcript};

/// What can go wrong between a recording and its transcript.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProcessingError {
    /// The input is no audio that this crate can read: empty, no audio track, encrypted, an unknown container.
    #[error("{what}: {hint}")]
    UnsupportedFormat {
        /// What the input is.
        what: String,
        /// What to do about it.
        hint: String,
    },
    /// The input is audio, but so damaged that more than a tenth of it is lost.
    #[error("the audio is damaged from byte {offset}: {what}; repair or export the recording again")]
    Corrupt {
        /// Where in the file the damage was met.
        offset: u64,
        /// What was met there.
        what: String,
    },
    /// The input could not be read.
    #[error("cannot read {what}")]
    Read {
        /// What was read.
        what: String,
        /// Why it failed.
        #[source]
        source: Arc<io::Error>,
    },
    /// The input was changed by someone else while it was being processed.
    #[error("{what} changed while it was being read; start again once nobody writes to it")]
    SourceChanged {
        /// What was read.
        what: String,
    },
    /// No chunk can be small enough for the recognizer.
    #[error("the limit {limit} is too small: the smallest chunk of this recording needs {needed}")]
    LimitTooSmall {
        /// The limit, by its name and value.
        limit: Limit,
        /// What the smallest chunk needs, in the limit's unit.
        needed: Amount,
    },
    /// A piece of the recording could not be decoded.
    #[error("cannot decode {what}: {reason}")]
    Decode {
        /// What was decoded.
        what: String,
        /// What the decoder said.
        reason: String,
    },
    /// A configuration value was refused.
    #[error("a configuration value was refused")]
    InvalidConfig {
        /// Which one, and what would do.
        #[source]
        source: InvalidValue,
    },
    /// The recognizer failed for good, or as often as it may be asked.
    #[error("the recognizer gave no answer after {attempts} attempts")]
    Recognition {
        /// How often it was asked.
        attempts: u32,
        /// What it said last.
        #[source]
        source: RecognitionError,
    },
    /// No attempt ended in time.
    #[error("no answer within {after:?} in {attempts} attempts; allow more time or send shorter chunks")]
    TimedOut {
        /// How long the last attempt was waited for.
        after: Duration,
        /// How often it was asked.
        attempts: u32,
    },
    /// The recognizer asks for more patience than there is time.
    #[error(
        "the recognizer asks to be left alone for {retry_after:?}; start again then, what is finished is kept"
    )]
    Throttled {
        /// How long it asked for.
        retry_after: Duration,
    },
    /// The code that handles a chunk panicked.
    #[error("the code that handles the chunk panicked: {what}; this is a bug in it")]
    Panicked {
        /// What it said.
        what: String,
    },
    /// The run was cancelled before this was done.
    #[error("the run was cancelled; start it again to go on")]
    Cancelled,
    /// The run's time was over before this was done.
    #[error("the run's deadline of {deadline:?} is over; start it again to go on")]
    DeadlineExceeded {
        /// The time that the run had.
        deadline: Duration,
    },
    /// The journal cannot be read or written.
    #[error("cannot {what} the journal {path}; free some space or name another file")]
    Journal {
        /// `read`, `write`, `open` or `lock`.
        what: &'static str,
        /// Which file.
        path: String,
        /// Why it failed.
        #[source]
        source: Arc<io::Error>,
    },
    /// The store of transcripts failed.
    #[error("the store of transcripts failed")]
    Store {
        /// What it said.
        #[source]
        source: Arc<dyn std::error::Error + Send + Sync>,
    },
    /// A transcript makes no sense.
    #[error("the transcript of a chunk makes no sense: {what}")]
    BadTranscript {
        /// What is wrong with it.
        what: String,
    },
    /// Some of the recording was not heard, and everything was asked for.
    #[error("{} of the recording could not be transcribed; allow gaps to take the rest", gaps(transcript))]
    Incomplete {
        /// The rest, with the gaps.
        transcript: Box<Transcript>,
    },
}

/// How many gaps, in words.
fn gaps(transcript: &Transcript) -> String {
    match transcript.gaps.len() {
        1 => "one stretch".to_owned(),
        n => format!("{n} stretches"),
    }
}

/// A limit of a recognizer, by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Limit {
    /// `max_chunk_bytes` of the profile.
    ChunkBytes(ByteSize),
    /// `max_chunk_duration` of the profile.
    ChunkDuration(Duration),
}

/// What would have been needed, in the unit of the limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Amount {
    /// Bytes.
    Bytes(ByteSize),
    /// Time.
    Duration(Duration),
}

impl std::fmt::Display for Limit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::ChunkBytes(bytes) => write!(f, "max_chunk_bytes = {}", bytes.bytes()),
            Self::ChunkDuration(time) => write!(f, "max_chunk_duration = {time:?}"),
        }
    }
}

impl std::fmt::Display for Amount {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Bytes(bytes) => write!(f, "{bytes}"),
            Self::Duration(time) => write!(f, "{time:?}"),
        }
    }
}

impl ProcessingError {
    /// What was being read, and why it failed. An error of this crate that travelled as an [`io::Error`] is itself again.
    pub(crate) fn read(what: impl Into<String>, source: io::Error) -> Self {
        match source.downcast::<Self>() {
            Ok(own) => own,
            Err(source) => Self::Read { what: what.into(), source: Arc::new(source) },
        }
    }

    pub(crate) fn unsupported(what: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::UnsupportedFormat { what: what.into(), hint: hint.into() }
    }
}

impl From<InvalidValue> for ProcessingError {
    fn from(source: InvalidValue) -> Self {
        Self::InvalidConfig { source }
    }
}

impl From<ProcessingError> for io::Error {
    fn from(error: ProcessingError) -> Self {
        Self::other(error)
    }
}

impl Retryable for ProcessingError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::UnsupportedFormat { .. }
            | Self::Corrupt { .. }
            | Self::LimitTooSmall { .. }
            | Self::Decode { .. }
            | Self::InvalidConfig { .. }
            | Self::Panicked { .. }
            | Self::BadTranscript { .. } => ErrorClass::Permanent,
            Self::SourceChanged { .. } | Self::Cancelled | Self::Journal { .. } | Self::Store { .. } => {
                ErrorClass::Transient
            }
            Self::Recognition { source, .. } => source.class().exhausted(),
            Self::TimedOut { .. } | Self::DeadlineExceeded { .. } | Self::Incomplete { .. } => {
                ErrorClass::Exhausted
            }
            Self::Throttled { retry_after } => ErrorClass::Throttled { retry_after: Some(*retry_after) },
            Self::Read { source, .. } => match source.kind() {
                io::ErrorKind::NotFound
                | io::ErrorKind::PermissionDenied
                | io::ErrorKind::IsADirectory
                | io::ErrorKind::InvalidInput
                | io::ErrorKind::UnexpectedEof => ErrorClass::Permanent,
                _ => ErrorClass::Transient,
            },
        }
    }
}
