//! What of a recording nobody heard, and why. A gap is reported; it is never passed over.

use std::fmt;

use crate::SampleSpan;

/// Audio that no words in the transcript answer for, though they should.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Gap {
    /// Which audio, on the file's sample clock.
    pub span: SampleSpan,
    /// Why.
    pub cause: GapCause,
}

/// Why audio was not heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum GapCause {
    /// The recognizer failed for good.
    Failed,
    /// Speech, but not a word in the answer.
    Empty,
    /// The answer ends before the speech does.
    CutOff,
    /// The answer repeats itself, or has more words than anybody can say.
    Loop,
    /// The run ended before it was asked for.
    Cancelled,
}

impl GapCause {
    /// Every cause.
    pub const ALL: [Self; 5] = [Self::Failed, Self::Empty, Self::CutOff, Self::Loop, Self::Cancelled];

    /// Its name in outputs and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Failed => "failed",
            Self::Empty => "empty",
            Self::CutOff => "cut_off",
            Self::Loop => "loop",
            Self::Cancelled => "cancelled",
        }
    }
}

impl fmt::Display for GapCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Sorts gaps and joins those that touch and have one cause.
pub(crate) fn join(mut gaps: Vec<Gap>) -> Vec<Gap> {
    gaps.retain(|gap| !gap.span.is_empty());
    gaps.sort_by_key(|gap| (gap.span.start(), gap.span.end(), gap.cause));
    let mut joined: Vec<Gap> = Vec::with_capacity(gaps.len());
    for gap in gaps {
        match joined.last_mut() {
            Some(last) if last.cause == gap.cause && gap.span.start() <= last.span.end() => {
                last.span = SampleSpan::new(last.span.start(), last.span.end().max(gap.span.end()));
            }
            _ => joined.push(gap),
        }
    }
    joined
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SampleIndex;

    fn gap(start: u64, end: u64, cause: GapCause) -> Gap {
        Gap { span: SampleSpan::new(SampleIndex::new(start), SampleIndex::new(end)), cause }
    }

    #[test]
    fn gaps_that_touch_are_one_if_their_cause_is() {
        let gaps = vec![
            gap(20, 30, GapCause::Failed),
            gap(0, 10, GapCause::Failed),
            gap(10, 20, GapCause::Failed),
            gap(30, 40, GapCause::Cancelled),
            gap(50, 50, GapCause::Failed),
        ];
        assert_eq!(join(gaps), [gap(0, 30, GapCause::Failed), gap(30, 40, GapCause::Cancelled)]);
    }
}
