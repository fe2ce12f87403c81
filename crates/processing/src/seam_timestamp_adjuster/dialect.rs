//! Reads the answers of recognizers, odd as they are, into one shape: pieces of text, each with the times that are known.

use std::time::Duration;

use super::matching::{self, Piece};
use crate::{ChunkTranscript, HeardSegment, HeardWord, SegmentStats};

/// An answer in one shape.
#[derive(Debug, Default)]
pub(super) struct Answer {
    pub(super) words: Vec<RawWord>,
    /// The recognizer's own segments, those that say anything; none: they are to be made.
    pub(super) segments: Vec<RawSegment>,
    /// Words that stand nowhere in the text.
    pub(super) not_in_text: u64,
}

/// A word, and what is known about when it was said.
#[derive(Clone, Debug)]
pub(super) struct RawWord {
    pub(super) spaced: String,
    pub(super) start: Option<Duration>,
    pub(super) end: Option<Duration>,
    /// Whether the times are a guess.
    pub(super) estimated: bool,
    /// Which of the segments it is in, if there are any.
    pub(super) segment: usize,
}

#[derive(Clone, Debug)]
pub(super) struct RawSegment {
    pub(super) start: Duration,
    pub(super) end: Duration,
    pub(super) stats: SegmentStats,
}

pub(super) fn read(heard: &ChunkTranscript) -> Answer {
    let segments: Vec<&HeardSegment> =
        heard.segments.iter().filter(|segment| !segment.text.trim().is_empty()).collect();
    let listed = heard.words.as_deref().unwrap_or_default();
    let spread = if listed.is_empty() { spread(&segments) } else { Vec::new() };
    let words = if listed.is_empty() { &spread } else { listed };
    let text = text_of(heard, &segments, words);
    let pieces = matching::pieces(&text, words);
    let not_in_text = unused(words, &pieces);
    let guessed = heard.estimated || listed.is_empty();
    let mut answer = Answer {
        words: pieces.into_iter().map(|piece| raw(piece, words, guessed)).collect(),
        segments: segments
            .iter()
            .map(|segment| RawSegment {
                start: segment.start,
                end: segment.end,
                stats: segment.stats.clone(),
            })
            .collect(),
        not_in_text,
    };
    assign(&mut answer, &segments);
    answer
}

/// The text; where it is missing, what the segments say, else the words.
fn text_of(heard: &ChunkTranscript, segments: &[&HeardSegment], words: &[HeardWord]) -> String {
    if !heard.text.trim().is_empty() {
        return heard.text.clone();
    }
    if !segments.is_empty() {
        return joined(segments.iter().map(|segment| segment.text.as_str()));
    }
    joined(words.iter().map(|word| word.text.as_str()))
}

/// Texts one after the other: as they are if any of them brings its own space, else joined by spaces.
fn joined<'a>(texts: impl Iterator<Item = &'a str> + Clone) -> String {
    let brings_space =
        |text: &str| text.starts_with(char::is_whitespace) || text.ends_with(char::is_whitespace);
    let separator = if texts.clone().any(brings_space) { "" } else { " " };
    texts.collect::<Vec<_>>().join(separator)
}

/// The words of segments without words: each segment's time, shared out by length.
fn spread(segments: &[&HeardSegment]) -> Vec<HeardWord> {
    let mut words = Vec::new();
    for segment in segments {
        let tokens = matching::pieces(&segment.text, &[]);
        let weights: Vec<usize> = tokens.iter().map(|token| token.spaced.chars().count() + 1).collect();
        let total = weights.iter().sum::<usize>().max(1) as u128;
        let length = segment.end.saturating_sub(segment.start).as_nanos();
        let mut done = 0;
        for (token, weight) in tokens.into_iter().zip(weights) {
            let at = |done: usize| {
                let nanos = length * done as u128 / total;
                segment.start + Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
            };
            words.push(HeardWord::new(token.spaced, at(done), at(done + weight)));
            done += weight;
        }
    }
    words
}

fn raw(piece: Piece, words: &[HeardWord], guessed: bool) -> RawWord {
    let word = piece.word.and_then(|number| words.get(number));
    let start = word.and_then(|word| word.start);
    let end = word.and_then(|word| word.end);
    // One of two is enough to know where; the other is the same moment.
    RawWord {
        spaced: piece.spaced,
        start: start.or(end),
        end: end.or(start),
        estimated: guessed || start.is_none() || end.is_none(),
        segment: 0,
    }
}

/// Words with letters that no piece of the text was given.
fn unused(words: &[HeardWord], pieces: &[Piece]) -> u64 {
    let has_letters = words.iter().filter(|word| word.text.chars().any(char::is_alphanumeric)).count();
    let used = pieces.iter().filter(|piece| piece.word.is_some()).count();
    has_letters.saturating_sub(used) as u64
}

/// Puts each word into a segment: by counting letters if the segments hold the text, else by time.
fn assign(answer: &mut Answer, segments: &[&HeardSegment]) {
    let letters = |text: &str| text.chars().filter(|c| c.is_alphanumeric()).count();
    let ends: Vec<usize> = segments
        .iter()
        .scan(0, |sum, segment| {
            *sum += letters(&segment.text);
            Some(*sum)
        })
        .collect();
    let in_text: usize = answer.words.iter().map(|word| letters(&word.spaced)).sum();
    let by_letters = ends.last() == Some(&in_text);
    let (mut done, mut last) = (0, 0);
    for word in &mut answer.words {
        let found = if by_letters {
            ends.partition_point(|end| *end <= done)
        } else {
            let starts = segments.partition_point(|segment| Some(segment.start) <= word.start);
            starts.saturating_sub(1)
        };
        done += letters(&word.spaced);
        last = found.min(segments.len().saturating_sub(1)).max(last);
        word.segment = last;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: Duration = Duration::from_secs(1);

    #[test]
    fn segments_without_words_share_their_time_out_by_length() {
        let heard = ChunkTranscript {
            text: "Go on. Stop".to_owned(),
            segments: vec![HeardSegment::new(" Go on.", S, 2 * S), HeardSegment::new(" Stop", 3 * S, 4 * S)],
            ..ChunkTranscript::default()
        };
        let words = read(&heard).words;
        let seen: Vec<_> =
            words.iter().map(|word| (word.spaced.as_str(), word.start.unwrap(), word.segment)).collect();
        assert_eq!(seen[0], ("Go", S, 0));
        assert_eq!(seen[1].0, " on.");
        assert!(seen[1].1 > S && seen[1].1 < 2 * S);
        assert_eq!(seen[2], (" Stop", 3 * S, 1));
        assert!(words.iter().all(|word| word.estimated));
    }

    #[test]
    fn a_first_segment_that_is_missing_is_still_in_the_text() {
        let heard = ChunkTranscript {
            text: "Lost words. Kept words.".to_owned(),
            segments: vec![HeardSegment::new("Kept words.", 2 * S, 3 * S)],
            ..ChunkTranscript::default()
        };
        let words = read(&heard).words;
        let texts: String = words.iter().map(|word| word.spaced.as_str()).collect();
        assert_eq!(texts, "Lost words. Kept words.");
        assert_eq!(words[0].start, None);
        assert_eq!(words[2].start, Some(2 * S));
    }

    #[test]
    fn words_without_a_text_are_joined_as_they_bring_their_spaces() {
        let of = |texts: [&str; 2]| {
            let words = texts.iter().map(|text| HeardWord::new(*text, S, S)).collect();
            let heard = ChunkTranscript { words: Some(words), ..ChunkTranscript::default() };
            read(&heard).words.iter().map(|word| word.spaced.clone()).collect::<String>()
        };
        assert_eq!(of(["good", "day"]), "good day");
        assert_eq!(of([" good", "-day"]), "good-day");
    }
}
