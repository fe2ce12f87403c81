//! What a recognizer answered for one chunk, as it answered it. Nothing is put right here: see [`TimestampAdjuster`].
//!
//! [`TimestampAdjuster`]: crate::TimestampAdjuster

mod codec;

use std::time::Duration;

use bytes::Bytes;

use crate::ProcessingError;

/// What a recognizer heard in one chunk. Times count from the first sample of the chunk that was sent, in whole
/// microseconds.
///
/// Answers may be as odd as recognizers are: words without punctuation or without times, ends before starts, a text
/// without anything else. The [`TimestampAdjuster`](crate::TimestampAdjuster) makes sense of them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ChunkTranscript {
    /// The whole text.
    pub text: String,
    /// The language, as an ISO 639 code, if the recognizer says.
    pub language: Option<String>,
    /// How much audio the recognizer says it heard.
    pub duration: Option<Duration>,
    /// Word by word; `None` if the recognizer gave no words.
    pub words: Option<Vec<HeardWord>>,
    /// Segment by segment; empty if the recognizer gave none.
    pub segments: Vec<HeardSegment>,
    /// Whether the times were estimated by the recognizer, not measured.
    pub estimated: bool,
    /// What the answer cost, in millionths of a dollar, if known.
    pub microdollars: Option<u64>,
    /// The answer verbatim, for those who keep it.
    pub raw: Bytes,
}

impl ChunkTranscript {
    /// A text without times, as some models answer.
    pub fn of_text(text: impl Into<String>) -> Self {
        Self { text: text.into(), ..Self::default() }
    }

    /// Words with times; the text is the words, joined by spaces.
    pub fn of_words(words: Vec<HeardWord>) -> Self {
        let texts: Vec<&str> = words.iter().map(|word| word.text.trim()).collect();
        Self { text: texts.join(" "), words: Some(words), ..Self::default() }
    }

    /// Whether nothing at all was heard.
    pub fn is_empty(&self) -> bool {
        self.text.trim().is_empty()
            && self.words.as_ref().is_none_or(Vec::is_empty)
            && self.segments.iter().all(|segment| segment.text.trim().is_empty())
    }

    /// Itself in bytes, to be kept: a version, then each field with its length.
    pub fn encode(&self) -> Bytes {
        codec::encode(self)
    }

    /// Reads what [`encode`](Self::encode) wrote.
    ///
    /// # Errors
    /// [`ProcessingError::BadTranscript`] if the bytes are anything else.
    pub fn decode(bytes: &Bytes) -> Result<Self, ProcessingError> {
        codec::decode(bytes).ok_or_else(|| ProcessingError::BadTranscript {
            what: "the bytes are no transcript of a chunk that this version wrote".to_owned(),
        })
    }
}

/// One word as the recognizer gave it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HeardWord {
    /// The word, perhaps with a space before it, perhaps without its punctuation.
    pub text: String,
    /// When it begins, if the recognizer says.
    pub start: Option<Duration>,
    /// When it ends, if the recognizer says. May be before its start: recognizers do that.
    pub end: Option<Duration>,
}

impl HeardWord {
    /// A word and when it was said.
    pub fn new(text: impl Into<String>, start: Duration, end: Duration) -> Self {
        Self { text: text.into(), start: Some(start), end: Some(end) }
    }

    /// A word without times, as aligners give for numbers.
    pub fn untimed(text: impl Into<String>) -> Self {
        Self { text: text.into(), start: None, end: None }
    }
}

/// One segment as the recognizer gave it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct HeardSegment {
    /// When it begins.
    pub start: Duration,
    /// When it ends.
    pub end: Duration,
    /// Its text, perhaps with a space before it.
    pub text: String,
    /// What the recognizer says about how sure it is.
    pub stats: SegmentStats,
}

impl HeardSegment {
    /// A text and when it was said, without statistics.
    pub fn new(text: impl Into<String>, start: Duration, end: Duration) -> Self {
        Self { start, end, text: text.into(), stats: SegmentStats::default() }
    }
}

/// What a Whisper model says about a segment, by OpenAI's names. What a server leaves out is zero or empty.
#[derive(Clone, Debug, Default, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct SegmentStats {
    /// The tokens of the text.
    pub tokens: Vec<u32>,
    /// The temperature that was used at last.
    pub temperature: f64,
    /// The mean logarithm of the tokens' probabilities.
    pub avg_logprob: f64,
    /// The length of the text divided by its length when compressed; high for loops.
    pub compression_ratio: f64,
    /// The probability that nobody spoke.
    pub no_speech_prob: f64,
}
