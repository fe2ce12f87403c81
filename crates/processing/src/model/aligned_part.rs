//! What was heard in one chunk or several, on the recording's clock.
//!
//! A part holds what each chunk heard, whole, and between each two the seam: where the words of the one end and those
//! of the other begin. A seam depends on its two neighbours alone. So joining parts is a union of sets, and it does not
//! matter in which order parts are joined, or whether one is joined twice.

use std::sync::Arc;

use crate::{SampleIndex, SampleRate, SampleSpan, Segment, SegmentStats, Word};

/// What was heard in one chunk or several that have been joined, on the recording's clock. Cheap to clone.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AlignedPart {
    pub(crate) leaves: Vec<Arc<Leaf>>,
    pub(crate) seams: Vec<Seam>,
}

/// What one chunk heard, put right.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Leaf {
    pub(crate) owned: SampleSpan,
    pub(crate) heard: SampleSpan,
    pub(crate) rate: SampleRate,
    pub(crate) language: Option<String>,
    /// In order; starts never fall.
    pub(crate) words: Vec<LeafWord>,
    /// In order.
    pub(crate) segments: Vec<LeafSegment>,
    pub(crate) fixes: Fixes,
}

/// A word of a chunk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LeafWord {
    /// As it stands in the text, with the space before it.
    pub(crate) spaced: String,
    pub(crate) span: SampleSpan,
    pub(crate) estimated: bool,
    /// Which of the segments it is in.
    pub(crate) segment: usize,
}

/// A segment of a chunk.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct LeafSegment {
    pub(crate) span: SampleSpan,
    pub(crate) stats: SegmentStats,
}

/// What had to be put right in a chunk's answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fixes {
    /// Words whose times were out of order or out of the audio, and were moved.
    pub clamped: u64,
    /// Words that have no counterpart in the text, and were dropped.
    pub not_in_text: u64,
    /// Words that had no times, and were given some between their neighbours'.
    pub untimed: u64,
}

/// Where the words of the left neighbour end, and those of the right one begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seam {
    /// How many words of the left one are kept.
    pub(crate) left_until: usize,
    /// The first word of the right one that is kept.
    pub(crate) right_from: usize,
}

/// What happened where two parts were joined.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SeamReport {
    /// Words that both heard alike, and that are one now.
    pub merged: u64,
    /// Words that only one of them heard, and that were left out for what the other heard there.
    pub dropped: u64,
    /// The audio that both heard.
    pub overlap_samples: u64,
}

impl SeamReport {
    /// Both together.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            merged: self.merged + other.merged,
            dropped: self.dropped + other.dropped,
            overlap_samples: self.overlap_samples + other.overlap_samples,
        }
    }
}

/// The words and segments of a part, each once.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Resolved {
    /// The words. Starts never fall.
    pub words: Vec<Word>,
    /// The segments; together they hold each word once.
    pub segments: Vec<Segment>,
    /// Words whose starts had to be moved, so that they do not fall at a seam.
    pub clamped: u64,
}

impl Resolved {
    /// The whole text: the words, joined.
    pub fn text(&self) -> String {
        self.words.iter().map(Word::spaced_text).collect()
    }
}

impl AlignedPart {
    /// Whether it holds nothing.
    pub fn is_empty(&self) -> bool {
        self.leaves.is_empty()
    }

    /// From the first sample that it answers for to the last.
    pub fn span(&self) -> SampleSpan {
        let start = self.leaves.iter().map(|leaf| leaf.owned.start()).min().unwrap_or_default();
        let end = self.leaves.iter().map(|leaf| leaf.owned.end()).max().unwrap_or_default();
        SampleSpan::new(start, end)
    }

    /// What had to be put right in the answers.
    pub fn fixes(&self) -> Fixes {
        self.leaves.iter().fold(Fixes::default(), |sum, leaf| Fixes {
            clamped: sum.clamped + leaf.fixes.clamped,
            not_in_text: sum.not_in_text + leaf.fixes.not_in_text,
            untimed: sum.untimed + leaf.fixes.untimed,
        })
    }

    /// The language that most of its audio is in.
    pub fn language(&self) -> Option<String> {
        let mut heard: Vec<(&str, u64)> = Vec::new();
        for leaf in &self.leaves {
            let Some(language) = leaf.language.as_deref() else { continue };
            match heard.iter_mut().find(|(known, _)| *known == language) {
                Some((_, samples)) => *samples += leaf.owned.len(),
                None => heard.push((language, leaf.owned.len())),
            }
        }
        // Of equals the first that was heard.
        heard.sort_by_key(|(_, samples)| std::cmp::Reverse(*samples));
        heard.first().map(|(language, _)| (*language).to_owned())
    }

    /// What is left of a part that was not joined yet before and behind `hole`, which another one answers for.
    pub(crate) fn carve(&self, hole: SampleSpan) -> [Option<Self>; 2] {
        let side = |leaf: &Leaf, keep: SampleSpan| {
            let words = leaf.words.iter().filter(|word| {
                let middle = word.span.start().get().midpoint(word.span.end().get());
                keep.contains(SampleIndex::new(middle))
            });
            Leaf {
                owned: leaf.owned.intersection(keep),
                heard: leaf.heard.intersection(keep),
                words: words.cloned().collect(),
                ..leaf.clone()
            }
        };
        let before = SampleSpan::new(SampleIndex::ZERO, hole.start());
        let behind = SampleSpan::new(hole.end(), SampleIndex::new(u64::MAX));
        [before, behind].map(|keep| {
            let leaves: Vec<Arc<Leaf>> = self
                .leaves
                .iter()
                .map(|leaf| Arc::new(side(leaf, keep)))
                .filter(|leaf| !leaf.owned.is_empty())
                .collect();
            (!leaves.is_empty()).then_some(Self { leaves, seams: Vec::new() })
        })
    }

    /// Its words and segments, each once and in order.
    pub fn resolve(&self) -> Resolved {
        let mut out = Resolver::default();
        let mut from = 0;
        for (at, leaf) in self.leaves.iter().enumerate() {
            let seam = self.seams.get(at);
            let until = seam.map_or(leaf.words.len(), |seam| seam.left_until).max(from);
            out.take(leaf, from, until);
            from = seam.map_or(0, |seam| seam.right_from);
        }
        out.resolved
    }
}

#[derive(Default)]
struct Resolver {
    resolved: Resolved,
    last_start: SampleIndex,
    last_segment_start: SampleIndex,
}

impl Resolver {
    /// Appends the words `from..until` of a chunk.
    fn take(&mut self, leaf: &Leaf, from: usize, until: usize) {
        let mut open: Option<usize> = None;
        for (at, word) in leaf.words.iter().enumerate().take(until).skip(from) {
            if open != Some(word.segment) {
                open = Some(word.segment);
                self.open_segment(leaf, word);
            }
            self.push_word(word, at == from);
        }
        self.set_segment_spans(leaf, from, until.min(leaf.words.len()));
    }

    fn open_segment(&mut self, leaf: &Leaf, word: &LeafWord) {
        let stats = leaf.segments.get(word.segment).map(|segment| segment.stats.clone()).unwrap_or_default();
        let next = self.resolved.words.len();
        self.resolved.segments.push(Segment {
            span: word.span,
            text: String::new(),
            words: next..next,
            stats,
        });
    }

    fn push_word(&mut self, word: &LeafWord, first_of_leaf: bool) {
        let start = word.span.start().max(self.last_start);
        if start != word.span.start() {
            self.resolved.clamped += 1;
        }
        self.last_start = start;
        let span = SampleSpan::new(start, word.span.end().max(start));
        let spaced = match self.resolved.words.last() {
            None => word.spaced.trim_start().to_owned(),
            Some(last) if first_of_leaf => joined(last.spaced_text(), &word.spaced),
            Some(_) => word.spaced.clone(),
        };
        if let Some(segment) = self.resolved.segments.last_mut() {
            segment.text.push_str(&spaced);
            segment.words.end += 1;
        }
        let mut word_out = Word::new(spaced, span);
        word_out.estimated = word.estimated;
        self.resolved.words.push(word_out);
    }

    /// A segment that is whole keeps its own times; one that a seam cut has those of its words.
    fn set_segment_spans(&mut self, leaf: &Leaf, from: usize, until: usize) {
        let kept = leaf.words.get(from..until).unwrap_or_default();
        let groups: Vec<&[LeafWord]> = kept.chunk_by(|a, b| a.segment == b.segment).collect();
        let first = self.resolved.segments.len().saturating_sub(groups.len());
        let segment_at = |at: Option<usize>| at.and_then(|at| leaf.words.get(at)).map(|word| word.segment);
        let cut_before = segment_at(from.checked_sub(1));
        let cut_after = segment_at(Some(until));
        for (segment, group) in self.resolved.segments.iter_mut().skip(first).zip(groups) {
            let words = self.resolved.words.get(segment.words.clone()).unwrap_or_default();
            let number = group.first().map(|word| word.segment);
            let whole = number != cut_before && number != cut_after;
            let own = number.filter(|_| whole).and_then(|number| leaf.segments.get(number));
            let span = own.map_or_else(|| hull_of(words.iter().map(|word| word.span)), |own| own.span);
            let start = span.start().max(self.last_segment_start);
            self.last_segment_start = start;
            segment.span = SampleSpan::new(start, span.end().max(start));
        }
    }
}

/// From the earliest start to the latest end.
pub(crate) fn hull_of(spans: impl Iterator<Item = SampleSpan>) -> SampleSpan {
    spans
        .reduce(|hull, span| SampleSpan::new(hull.start().min(span.start()), hull.end().max(span.end())))
        .unwrap_or_default()
}

/// A word as it follows another one, which another chunk heard: behind a space, except where the script has none.
fn joined(before: &str, spaced: &str) -> String {
    let word = spaced.trim_start();
    let ends = before.chars().rfind(|c| c.is_alphanumeric());
    let starts = word.chars().find(|c| c.is_alphanumeric());
    match (ends, starts) {
        (Some(a), Some(b)) if is_unspaced(a) && is_unspaced(b) => word.to_owned(),
        _ if word.is_empty() || before.trim().is_empty() => word.to_owned(),
        _ => format!(" {word}"),
    }
}

/// Whether the script of this character puts no spaces between words: Han, kana, and their punctuation.
pub(crate) fn is_unspaced(c: char) -> bool {
    matches!(u32::from(c),
        0x2E80..=0x2FDF | 0x3000..=0x30FF | 0x31F0..=0x31FF | 0x3400..=0x4DBF | 0x4E00..=0x9FFF
        | 0xF900..=0xFAFF | 0xFF00..=0xFFEF | 0x2_0000..=0x3_FFFF)
}

/// Whether a sentence ends with this word.
pub(crate) fn ends_sentence(word: &str) -> bool {
    let word = word.trim_end_matches(['"', '\'', ')', ']', '”', '’', '」', '』']);
    word.ends_with(['.', '?', '!', '…', '。', '?', '!', '。'])
}
