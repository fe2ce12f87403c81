//! A transcript as others read it: text, JSON, subtitles. Here, and only here, positions become seconds.

mod cues;
mod json;
mod srt;
mod text;
mod tsv;
mod verbose_json;
mod vtt;

use std::fmt;
use std::str::FromStr;

use wavequill_kernel::InvalidValue;

use crate::{SampleIndex, Transcript};

/// How a transcript is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum OutputFormat {
    /// The text alone, and a line feed.
    Text,
    /// OpenAI's `json`: an object with the text.
    Json,
    /// OpenAI's `verbose_json`: `task`, `language` (`unknown` if nobody said), `duration`, `text`, `segments`, `words`,
    /// `usage`; and beside them `wavequill` with what OpenAI's shape has no place for: `gaps`, `estimated`.
    /// What was reused is not told: the same words give the same bytes. Seconds are to the millisecond.
    VerboseJson,
    /// SubRip subtitles.
    Srt,
    /// WebVTT subtitles.
    Vtt,
    /// A line a segment: start and end in milliseconds, and the text, separated by tabs.
    Tsv,
}

impl OutputFormat {
    /// Every format.
    pub const ALL: [Self; 6] = [Self::Text, Self::Json, Self::VerboseJson, Self::Srt, Self::Vtt, Self::Tsv];

    /// Its name, as OpenAI's `response_format` has it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Json => "json",
            Self::VerboseJson => "verbose_json",
            Self::Srt => "srt",
            Self::Vtt => "vtt",
            Self::Tsv => "tsv",
        }
    }

    /// The transcript in this format.
    ///
    /// Subtitles are at most two lines of 42 characters and stay for at least a second for each 20 characters where the
    /// speech leaves the time; they are broken at pauses and punctuation, and 80 ms apart.
    pub fn render(self, transcript: &Transcript) -> String {
        match self {
            Self::Text => text::render(transcript),
            Self::Json => json::render(transcript),
            Self::VerboseJson => verbose_json::render(transcript),
            Self::Srt => srt::render(transcript),
            Self::Vtt => vtt::render(transcript),
            Self::Tsv => tsv::render(transcript),
        }
    }
}

impl fmt::Display for OutputFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for OutputFormat {
    type Err = InvalidValue;

    fn from_str(name: &str) -> Result<Self, InvalidValue> {
        Self::ALL.into_iter().find(|format| format.name() == name).ok_or_else(|| {
            InvalidValue::new("format", format!("{name:?}"), "text, json, verbose_json, srt, vtt or tsv")
        })
    }
}

/// The nearest millisecond.
fn millis(transcript: &Transcript, at: SampleIndex) -> u64 {
    let nanos = transcript.time_of(at).as_nanos();
    u64::try_from((nanos + 500_000) / 1_000_000).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod testing;
