//! The transcript of a whole recording: the words in order, the segments they form, and what is missing.

use std::time::Duration;

use crate::{Gap, RunCosts, SampleIndex, SampleRate, SampleSpan, SegmentStats};

/// The transcript of a whole recording. Positions are on its sample clock; the [outputs](crate::OutputFormat) give
/// seconds.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Transcript {
    /// All of the text: the words, joined.
    pub text: String,
    /// The language that most of the audio is in, as the recognizer named it.
    pub language: Option<String>,
    /// The recording's sample rate.
    pub rate: SampleRate,
    /// The whole recording.
    pub span: SampleSpan,
    /// Every word. Starts never fall.
    pub words: Vec<Word>,
    /// Every segment: a sentence or so. Together they hold each word once.
    pub segments: Vec<Segment>,
    /// What was not heard, in order.
    pub gaps: Vec<Gap>,
    /// What was odd, yet could be helped, for people to read.
    pub warnings: Vec<String>,
    /// Audio whose words were known already.
    pub reused: Duration,
    /// How many chunks it was heard in.
    pub chunks: u64,
    /// What it took.
    pub costs: RunCosts,
}

impl Transcript {
    /// How long the recording lasts.
    pub fn duration(&self) -> Duration {
        self.span.duration(self.rate)
    }

    /// When `at` is, from the start of the recording.
    pub fn time_of(&self, at: SampleIndex) -> Duration {
        self.rate.duration_of(at.get())
    }

    /// Whether any time was estimated, not measured.
    pub fn is_estimated(&self) -> bool {
        self.words.iter().any(|word| word.estimated)
    }

    /// Whether nothing is missing.
    pub fn is_complete(&self) -> bool {
        self.gaps.is_empty()
    }
}

/// One word of a recording.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Word {
    spaced: String,
    /// When it is said.
    pub span: SampleSpan,
    /// Whether its times were estimated, not measured.
    pub estimated: bool,
}

impl Word {
    /// A word as it stands in the text, with the space before it if there is one.
    pub fn new(spaced: impl Into<String>, span: SampleSpan) -> Self {
        Self { spaced: spaced.into(), span, estimated: false }
    }

    /// Says that its times were estimated.
    #[must_use]
    pub fn estimated(mut self) -> Self {
        self.estimated = true;
        self
    }

    /// The word with its punctuation.
    pub fn text(&self) -> &str {
        self.spaced.trim()
    }

    /// The word with the space before it, if there is one: such texts, one after the other, are the whole text.
    pub fn spaced_text(&self) -> &str {
        &self.spaced
    }
}

/// A stretch of a transcript: a sentence or so.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Segment {
    /// When it is said.
    pub span: SampleSpan,
    /// Its text, with a space before it if there is one between it and the last.
    pub text: String,
    /// Its words, by their places in [`Transcript::words`].
    pub words: std::ops::Range<usize>,
    /// What the recognizer said about it.
    pub stats: SegmentStats,
}
