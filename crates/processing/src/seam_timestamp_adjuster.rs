//! Puts what was heard in chunks on the recording's clock and joins it at seams. It hears nothing itself.

mod dialect;
mod matching;
mod placing;
mod seam;

use std::cmp::Ordering;
use std::sync::Arc;

use crate::model::aligned_part::{AlignedPart, Fixes, Leaf, Seam, SeamReport};
use crate::{ChunkMap, ChunkTranscript, ProcessingError, TimestampAdjuster};

/// The default [`TimestampAdjuster`].
///
/// **One chunk.** The text decides what was said: words are matched to it by letters and digits, so each gets its
/// punctuation. Times that fall, lie outside of the audio or are missing are replaced by ones between those of the
/// neighbours, marked as estimated and counted. A text without any times is spread over the speech that the
/// [`ChunkMap`] knows, else over the chunk.
///
/// **Two chunks.** Where both heard the same audio, their words are aligned by dynamic programming: a pair costs 1 if
/// the words differ, plus the distance of their middles in half seconds, and cannot be further apart than 1 s; a word
/// without counterpart costs 1. The seam lies where the fewest words are lost, each side being trusted less towards its
/// own edge; of equals, in a pause.
///
/// ```
/// use std::time::Duration;
/// use wavequill_processing::{
///     ChunkMap, ChunkTranscript, HeardWord, SampleIndex, SampleRate, SampleSpan, SeamTimestampAdjuster,
///     TimestampAdjuster,
/// };
///
/// let rate = SampleRate::new(16_000)?;
/// let at = |seconds: u64| SampleIndex::new(seconds * 16_000);
/// let ms = Duration::from_millis;
/// let adjuster = SeamTimestampAdjuster::new();
///
/// // The second chunk starts two seconds before the first one ends, so both hear "new".
/// let left = adjuster.adjust(
///     &ChunkMap::new(SampleSpan::new(at(0), at(9)), rate).with_heard(SampleSpan::new(at(0), at(10))),
///     &ChunkTranscript::of_words(vec![
///         HeardWord::new("something", ms(7_100), ms(7_700)),
///         HeardWord::new("new", ms(9_000), ms(9_300)),
///     ]),
/// )?;
/// let right = adjuster.adjust(
///     &ChunkMap::new(SampleSpan::new(at(9), at(18)), rate)
///         .with_heard(SampleSpan::new(at(8), at(18)))
///         .with_origin(8 * 16_000),
///     &ChunkTranscript::of_words(vec![
///         HeardWord::new("new", ms(1_020), ms(1_310)),
///         HeardWord::new("begins", ms(2_500), ms(3_000)),
///     ]),
/// )?;
/// let (joined, seam) = adjuster.merge(&left, &right);
/// assert_eq!(joined.resolve().text(), "something new begins");
/// assert_eq!(seam.merged, 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct SeamTimestampAdjuster {
    _private: (),
}

impl SeamTimestampAdjuster {
    /// One with the rules above.
    pub const fn new() -> Self {
        Self { _private: () }
    }
}

impl TimestampAdjuster for SeamTimestampAdjuster {
    fn adjust(&self, map: &ChunkMap, heard: &ChunkTranscript) -> Result<AlignedPart, ProcessingError> {
        let answer = dialect::read(heard);
        let placed = placing::place(map, answer);
        let leaf = Leaf {
            owned: map.owned(),
            heard: map.heard(),
            rate: map.rate(),
            language: heard.language.clone(),
            words: placed.words,
            segments: placed.segments,
            fixes: Fixes { ..placed.fixes },
        };
        Ok(AlignedPart { leaves: vec![Arc::new(leaf)], seams: Vec::new() })
    }

    fn merge(&self, left: &AlignedPart, right: &AlignedPart) -> (AlignedPart, SeamReport) {
        let leaves = union(left, right);
        let mut report = SeamReport::default();
        let seams = leaves
            .windows(2)
            .map(|pair| {
                let [a, b] = pair else { return Seam { left_until: usize::MAX, right_from: 0 } };
                known_seam(left, a.left, b.left)
                    .or_else(|| known_seam(right, a.right, b.right))
                    .unwrap_or_else(|| {
                        let (seam, seen) = seam::find(&a.leaf, &b.leaf);
                        report = report.and(seen);
                        seam
                    })
            })
            .collect();
        (AlignedPart { leaves: leaves.into_iter().map(|source| source.leaf).collect(), seams }, report)
    }
}

/// A leaf, and where it stood in the parts that are joined.
struct Sourced {
    leaf: Arc<Leaf>,
    left: Option<usize>,
    right: Option<usize>,
}

/// The leaves of both, in order, equal ones once.
fn union(left: &AlignedPart, right: &AlignedPart) -> Vec<Sourced> {
    let mut out = Vec::with_capacity(left.leaves.len() + right.leaves.len());
    let mut lefts = left.leaves.iter().enumerate().peekable();
    let mut rights = right.leaves.iter().enumerate().peekable();
    loop {
        let order = match (lefts.peek(), rights.peek()) {
            (Some((_, a)), Some((_, b))) => order(a, b),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (None, None) => return out,
        };
        let from_left = if order.is_le() { lefts.next() } else { None };
        let from_right = if order.is_ge() { rights.next() } else { None };
        if let Some((_, leaf)) = from_left.or(from_right) {
            out.push(Sourced {
                leaf: Arc::clone(leaf),
                left: from_left.map(|(at, _)| at),
                right: from_right.map(|(at, _)| at),
            });
        }
    }
}

/// A seam that was found before: between two leaves that were neighbours in `part`.
fn known_seam(part: &AlignedPart, a: Option<usize>, b: Option<usize>) -> Option<Seam> {
    let (a, b) = (a?, b?);
    if a + 1 == b { part.seams.get(a).copied() } else { None }
}

/// A total order of leaves: as the recording goes; of those that answer for the same audio, by what they heard. Equal
/// means the same.
fn order(a: &Arc<Leaf>, b: &Arc<Leaf>) -> Ordering {
    if Arc::ptr_eq(a, b) {
        return Ordering::Equal;
    }
    let place = |leaf: &Leaf| (leaf.owned.start(), leaf.owned.end(), leaf.heard.start(), leaf.heard.end());
    place(a).cmp(&place(b)).then_with(|| {
        let words = |leaf: &Arc<Leaf>| {
            leaf.words
                .iter()
                .map(|word| {
                    (word.spaced.clone(), word.span.start(), word.span.end(), word.estimated, word.segment)
                })
                .collect::<Vec<_>>()
        };
        words(a).cmp(&words(b))
    })
}
