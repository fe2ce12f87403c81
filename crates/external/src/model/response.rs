//! What a speech API answered, in one shape for all of them.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;

use super::language::LanguageCode;

/// A word and its times from the start of the audio, in whole microseconds.
#[derive(Clone, PartialEq, Eq)]
pub struct TimedWord {
    /// The word, without spaces around it.
    pub text: String,
    /// Where it starts.
    pub start: Duration,
    /// Where it ends, never before its start.
    pub end: Duration,
    /// Who says it, where speakers were told apart.
    pub speaker: Option<String>,
}

/// A phrase and its times from the start of the audio, in whole microseconds.
#[derive(Clone, PartialEq)]
pub struct TimedSegment {
    /// The text, without spaces around it.
    pub text: String,
    /// Where it starts.
    pub start: Duration,
    /// Where it ends, never before its start.
    pub end: Duration,
    /// Who says it, where speakers were told apart.
    pub speaker: Option<String>,
    /// The mean logarithm of its tokens' probabilities, where the API says so: near 0 is sure.
    pub mean_log_probability: Option<f32>,
    /// How probable it is that nobody speaks, 0 to 1, where the API says so.
    pub no_speech_probability: Option<f32>,
    /// Text length by its compressed length, where the API says so: over 2.4 it is likely a loop.
    pub compression_ratio: Option<f32>,
}

/// The times that an answer has.
#[derive(Clone, Debug, PartialEq)]
pub enum Timing {
    /// Times of words, and of segments if there are any.
    Words {
        /// The words in their order.
        words: Vec<TimedWord>,
        /// The segments in their order; empty if the API gave none.
        segments: Vec<TimedSegment>,
    },
    /// Times of segments.
    Segments(Vec<TimedSegment>),
    /// No times at all: the text belongs to the audio as a whole.
    ChunkOnly,
}

impl Timing {
    /// The words; empty without word times.
    pub fn words(&self) -> &[TimedWord] {
        match self {
            Self::Words { words, .. } => words,
            Self::Segments(_) | Self::ChunkOnly => &[],
        }
    }

    /// The segments; empty without segment times.
    pub fn segments(&self) -> &[TimedSegment] {
        match self {
            Self::Words { segments, .. } | Self::Segments(segments) => segments,
            Self::ChunkOnly => &[],
        }
    }
}

/// What the API says the request used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// The audio that is billed.
    pub audio: Option<Duration>,
    /// Tokens that went in.
    pub input_tokens: Option<u64>,
    /// Tokens that came out.
    pub output_tokens: Option<u64>,
}

/// A transcript of one piece of audio.
///
/// Its `Debug` form holds no text.
#[derive(Clone, PartialEq)]
pub struct SpeechResponse {
    /// The whole text, without spaces around it.
    pub text: String,
    /// The language that was recognised, if the API says so.
    pub language: Option<LanguageCode>,
    /// The duration of the audio as the API reports it; often a little short of the true one.
    pub duration: Option<Duration>,
    /// The times.
    pub timing: Timing,
    /// What was used.
    pub usage: Usage,
    /// What to name when writing to the provider's support.
    pub request_id: Option<String>,
    /// The answer as it came, byte for byte.
    pub raw: Bytes,
}

impl fmt::Debug for TimedWord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TimedWord({:?}..{:?})", self.start, self.end)
    }
}

impl fmt::Debug for TimedSegment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TimedSegment({:?}..{:?})", self.start, self.end)
    }
}

impl fmt::Debug for SpeechResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SpeechResponse")
            .field("text_bytes", &self.text.len())
            .field("language", &self.language)
            .field("duration", &self.duration)
            .field("words", &self.timing.words().len())
            .field("segments", &self.timing.segments().len())
            .field("usage", &self.usage)
            .field("request_id", &self.request_id)
            .finish_non_exhaustive()
    }
}
