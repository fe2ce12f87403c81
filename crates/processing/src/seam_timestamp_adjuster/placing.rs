//! Puts the words of one chunk on the recording's clock: in order, within the audio, each with times.

use super::dialect::{Answer, RawSegment, RawWord};
use crate::model::aligned_part::{Fixes, LeafSegment, LeafWord, ends_sentence, hull_of};
use crate::{ChunkMap, SampleIndex, SampleSpan, SegmentStats};

/// A word that has no times is guessed to last at most so long, in milliseconds a character.
const MILLIS_A_CHARACTER: u64 = 70;
/// A segment that is made here ends at a pause of a second, or after half a minute.
const SEGMENT_PAUSE_SECONDS: u64 = 1;
const SEGMENT_SECONDS: u64 = 30;

#[derive(Debug, Default)]
pub(super) struct Placed {
    pub(super) words: Vec<LeafWord>,
    pub(super) segments: Vec<LeafSegment>,
    pub(super) fixes: Fixes,
}

pub(super) fn place(map: &ChunkMap, answer: Answer) -> Placed {
    let mut fixes = Fixes { not_in_text: answer.not_in_text, ..Fixes::default() };
    let mut spans: Vec<Option<SampleSpan>> =
        answer.words.iter().map(|word| on_clock(map, word, &mut fixes)).collect();
    drop_disordered(&mut spans, &mut fixes);
    let measured: Vec<bool> = spans.iter().map(Option::is_some).collect();
    fill(map, &answer.words, &mut spans);
    let mut words: Vec<LeafWord> = Vec::with_capacity(answer.words.len());
    for ((raw, span), measured) in answer.words.into_iter().zip(spans).zip(measured) {
        fixes.untimed += u64::from(raw.start.is_none());
        // Filled from neighbours that are in order, so only rounding can be undone here.
        let last = words.last().map_or(SampleIndex::ZERO, |word| word.span.start());
        let span = span.unwrap_or_default();
        let start = span.start().max(last);
        words.push(LeafWord {
            spaced: raw.spaced,
            span: SampleSpan::new(start, span.end().max(start)),
            estimated: raw.estimated || !measured,
            segment: raw.segment,
        });
    }
    let segments = if answer.segments.is_empty() {
        make_segments(map, &mut words)
    } else {
        answer.segments.into_iter().map(|segment| own_segment(map, segment)).collect()
    };
    Placed { words, segments, fixes }
}

/// The word's times on the recording's clock, inside of what was heard. An end before the start is the start.
fn on_clock(map: &ChunkMap, word: &RawWord, fixes: &mut Fixes) -> Option<SampleSpan> {
    let (start, end) = (map.position_of(word.start?), map.position_of(word.end?));
    let inside = |at: SampleIndex| at.clamp(map.heard().start(), map.heard().end());
    let span = SampleSpan::new(inside(start), inside(end));
    // Who rounds to hundredths of a second ends a little after the audio: that is no fault.
    let tolerance = u64::from(map.rate().hertz()) / 50;
    let moved = |from: SampleIndex, to: SampleIndex| from.get().abs_diff(to.get()) > tolerance;
    if moved(start, span.start()) || moved(end, span.end()) {
        fixes.clamped += 1;
    }
    Some(span)
}

/// Forgets the times of as few words as possible, so that the starts of the others do not fall: all but a longest
/// sequence that does not fall. One time far off costs only its own word.
fn drop_disordered(spans: &mut [Option<SampleSpan>], fixes: &mut Fixes) {
    // tails[n]: the place of the word that ends the best sequence of n + 1 words; before: the one before each.
    let mut tails: Vec<(SampleIndex, usize)> = Vec::new();
    let mut before: Vec<Option<usize>> = vec![None; spans.len()];
    for (at, span) in spans.iter().enumerate() {
        let Some(span) = span else { continue };
        let length = tails.partition_point(|(start, _)| *start <= span.start());
        let previous = length.checked_sub(1).and_then(|last| tails.get(last)).map(|(_, at)| *at);
        if let Some(slot) = before.get_mut(at) {
            *slot = previous;
        }
        match tails.get_mut(length) {
            Some(tail) => *tail = (span.start(), at),
            None => tails.push((span.start(), at)),
        }
    }
    let mut kept = vec![false; spans.len()];
    let mut next = tails.last().map(|(_, at)| *at);
    while let Some(at) = next {
        if let Some(slot) = kept.get_mut(at) {
            *slot = true;
        }
        next = before.get(at).copied().flatten();
    }
    for (span, kept) in spans.iter_mut().zip(kept) {
        if span.is_some() && !kept {
            *span = None;
            fixes.clamped += 1;
        }
    }
}

/// Gives each run of words without times the room between its neighbours, shared out by length.
fn fill(map: &ChunkMap, words: &[RawWord], spans: &mut [Option<SampleSpan>]) {
    if spans.iter().all(Option::is_none) {
        return fill_all(map, words, spans);
    }
    let mut at = 0;
    while at < spans.len() {
        let run = spans.iter().skip(at).take_while(|span| span.is_none()).count();
        if run == 0 {
            at += 1;
            continue;
        }
        let until = at + run;
        let weights = weights(words.get(at..until).unwrap_or_default());
        let wanted = samples_for(map, weights.iter().sum());
        let before = at.checked_sub(1).and_then(|last| spans.get(last).copied().flatten());
        let after = spans.get(until).copied().flatten();
        let room = match (before, after) {
            (Some(before), Some(after)) => {
                // Words may overlap; the run still comes after the start of the one before.
                let start = before.end().min(after.start()).max(before.start());
                SampleSpan::new(start, after.start())
            }
            (None, Some(after)) => {
                SampleSpan::new(after.start().minus(wanted).max(map.heard().start()), after.start())
            }
            (Some(before), None) => {
                let start = before.end();
                SampleSpan::new(start, start.plus(wanted).min(map.heard().end()))
            }
            (None, None) => map.heard(),
        };
        share(&[room], &weights, spans.get_mut(at..until).unwrap_or_default());
        at = until;
    }
}

/// A text without any times: spread over the speech, else over what the chunk answers for.
fn fill_all(map: &ChunkMap, words: &[RawWord], spans: &mut [Option<SampleSpan>]) {
    let speech: Vec<SampleSpan> = map
        .speech()
        .iter()
        .map(|span| span.intersection(map.owned()))
        .filter(|span| !span.is_empty())
        .collect();
    let rooms = if speech.is_empty() { vec![map.owned()] } else { speech };
    share(&rooms, &weights(words), spans);
}

/// A word takes as long as it has characters, and one more for the pause behind it.
fn weights(words: &[RawWord]) -> Vec<u64> {
    words.iter().map(|word| word.spaced.trim().chars().count() as u64 + 1).collect()
}

fn samples_for(map: &ChunkMap, characters: u64) -> u64 {
    characters.saturating_mul(MILLIS_A_CHARACTER).saturating_mul(u64::from(map.rate().hertz())) / 1_000
}

/// Lays words one after the other over `rooms`, which are in order, as if those were one.
fn share(rooms: &[SampleSpan], weights: &[u64], spans: &mut [Option<SampleSpan>]) {
    let length: u64 = rooms.iter().map(|room| room.len()).sum();
    let total = weights.iter().sum::<u64>().max(1);
    let mut done = 0;
    for (span, weight) in spans.iter_mut().zip(weights) {
        let offset = |done: u64| (u128::from(length) * u128::from(done) / u128::from(total)) as u64;
        let start = at_offset(rooms, offset(done), Bound::Start);
        done += weight;
        *span = Some(SampleSpan::new(start, at_offset(rooms, offset(done), Bound::End)));
    }
}

/// Which side of a pause an offset at its edge is on: words start behind pauses and end before them.
#[derive(Clone, Copy, PartialEq)]
enum Bound {
    Start,
    End,
}

fn at_offset(rooms: &[SampleSpan], mut offset: u64, bound: Bound) -> SampleIndex {
    for room in rooms {
        if offset < room.len() || (bound == Bound::End && offset == room.len()) {
            return room.start().plus(offset);
        }
        offset -= room.len();
    }
    rooms.last().map_or(SampleIndex::ZERO, |room| room.end())
}

/// Sentences, where the recognizer gave no segments.
fn make_segments(map: &ChunkMap, words: &mut [LeafWord]) -> Vec<LeafSegment> {
    let second = u64::from(map.rate().hertz());
    let mut segments: Vec<LeafSegment> = Vec::new();
    let mut last: Option<(SampleIndex, bool)> = None;
    for word in words {
        let ends = |(end, sentence): (SampleIndex, bool)| {
            let pause = word.span.start().get().saturating_sub(end.get());
            sentence || pause >= SEGMENT_PAUSE_SECONDS * second
        };
        let full = |segment: &LeafSegment| {
            word.span.end().get().saturating_sub(segment.span.start().get()) > SEGMENT_SECONDS * second
        };
        match segments.last_mut() {
            Some(open) if !last.is_some_and(ends) && !full(open) => {
                open.span = hull_of([open.span, word.span].into_iter());
            }
            _ => segments.push(LeafSegment { span: word.span, stats: SegmentStats::default() }),
        }
        word.segment = segments.len() - 1;
        last = Some((word.span.end(), ends_sentence(&word.spaced)));
    }
    segments
}

fn own_segment(map: &ChunkMap, segment: RawSegment) -> LeafSegment {
    let inside = |at: SampleIndex| at.clamp(map.heard().start(), map.heard().end());
    let span = SampleSpan::new(inside(map.position_of(segment.start)), inside(map.position_of(segment.end)));
    LeafSegment { span, stats: segment.stats }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::dialect;
    use super::*;
    use crate::{ChunkTranscript, HeardWord, SampleRate};

    const MS: Duration = Duration::from_millis(1);

    fn map() -> ChunkMap {
        let span = SampleSpan::new(SampleIndex::new(10_000), SampleIndex::new(20_000));
        ChunkMap::new(span, SampleRate::new(1_000).unwrap())
    }

    fn placed(words: &[(&str, u32, u32)]) -> Placed {
        let words = words.iter().map(|(text, start, end)| HeardWord::new(*text, *start * MS, *end * MS));
        place(&map(), dialect::read(&ChunkTranscript::of_words(words.collect())))
    }

    fn starts(placed: &Placed) -> Vec<u64> {
        placed.words.iter().map(|word| word.span.start().get()).collect()
    }

    #[test]
    fn one_start_that_jumps_back_costs_only_its_own_word() {
        let placed = placed(&[("a", 100, 200), ("b", 9_000, 9_100), ("c", 500, 600), ("d", 700, 800)]);
        assert_eq!(starts(&placed), [10_100, 10_200, 10_500, 10_700]);
        let estimated: Vec<bool> = placed.words.iter().map(|word| word.estimated).collect();
        assert_eq!(estimated, [false, true, false, false]);
        assert_eq!(placed.fixes.clamped, 1);
    }

    #[test]
    fn an_end_before_its_start_is_the_start_and_is_counted() {
        let placed = placed(&[("a", 500, 200)]);
        assert_eq!(placed.words[0].span.start(), placed.words[0].span.end());
        assert_eq!(placed.fixes.clamped, 1);
    }

    #[test]
    fn what_ends_after_the_audio_ends_with_it() {
        let placed = placed(&[("a", 9_900, 10_015), ("b", 9_950, 12_000)]);
        assert!(placed.words.iter().all(|word| word.span.end().get() <= 20_000));
        assert_eq!(placed.fixes.clamped, 1, "15 ms are rounding, 2 s are not");
    }

    #[test]
    fn a_number_without_times_is_put_between_its_neighbours() {
        let words = vec![
            HeardWord::new("in", 100 * MS, 200 * MS),
            HeardWord::untimed("1999"),
            HeardWord::new("we", 800 * MS, 900 * MS),
        ];
        let placed = place(&map(), dialect::read(&ChunkTranscript::of_words(words)));
        assert_eq!(placed.words[1].span, SampleSpan::new(SampleIndex::new(10_200), SampleIndex::new(10_800)));
        assert!(placed.words[1].estimated);
        assert_eq!(placed.fixes.untimed, 1);
    }

    #[test]
    fn a_text_without_times_lies_on_the_speech_only() {
        let span = |start, end| SampleSpan::new(SampleIndex::new(start), SampleIndex::new(end));
        let map = map().with_speech(vec![span(11_000, 12_000), span(18_000, 19_000)]);
        let placed = place(&map, dialect::read(&ChunkTranscript::of_text("one two six ten")));
        assert_eq!(starts(&placed), [11_000, 11_500, 18_000, 18_500]);
        assert!(placed.words.iter().all(|word| word.estimated));
        assert_eq!(placed.words[1].span.end().get(), 12_000);
    }

    #[test]
    fn sentences_become_segments_where_the_recognizer_gave_none() {
        let placed = placed(&[("Yes.", 0, 300), ("We", 400, 500), ("do", 500, 600), ("now", 3_000, 3_300)]);
        let segments: Vec<usize> = placed.words.iter().map(|word| word.segment).collect();
        assert_eq!(segments, [0, 1, 1, 2]);
    }
}
