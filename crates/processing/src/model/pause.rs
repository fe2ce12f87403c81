//! Where to look for pauses, and which were found.

use crate::{SampleIndex, SampleSpan};

/// Where speech is less likely than this, there is a pause.
pub(crate) const PAUSE: f32 = 0.5;

/// A stretch of the recording in which a cut is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CutWindow {
    /// Where the cut would be best.
    pub target: SampleIndex,
    /// Where a pause is looked for first.
    pub span: SampleSpan,
    /// Where if there is none in `span`.
    pub wide: SampleSpan,
}

/// A moment at which a cut does little harm.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pause {
    /// The start of a packet (of a sample, in PCM) in the quietest part of it.
    pub at: SampleIndex,
    /// How likely speech is there: 0 (silence) to 1. Under 0.5 it counts as a pause.
    pub speech: f32,
}

/// The best places for a cut that were found, in order: pauses, or what comes nearest to one.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PauseMap {
    pauses: Vec<Pause>,
}

impl PauseMap {
    /// Sorts them by place; of two at the same place the quieter stays.
    pub fn new(mut pauses: Vec<Pause>) -> Self {
        pauses.sort_by(|a, b| a.at.cmp(&b.at).then(a.speech.total_cmp(&b.speech)));
        pauses.dedup_by_key(|pause| pause.at);
        Self { pauses }
    }

    /// Those in `span`, in order.
    pub fn within(&self, span: SampleSpan) -> &[Pause] {
        let from = self.pauses.partition_point(|pause| pause.at < span.start());
        let to = self.pauses.partition_point(|pause| pause.at < span.end());
        self.pauses.get(from..to).unwrap_or_default()
    }

    /// All of them, in order.
    pub fn all(&self) -> &[Pause] {
        &self.pauses
    }
}
