//! How a transcript is divided into subtitles.

use super::millis;
use crate::model::aligned_part::ends_sentence;
use crate::{Transcript, Word};

/// Characters of a line.
const LINE: usize = 42;
/// Lines of a cue are at most two: a constant, as a third covers the picture.
const LONGEST_MS: u64 = 7_000;
/// Characters that can be read in a second.
const READ_PER_SECOND: u64 = 20;
/// Between two cues, so that the eye sees that it is another.
const GAP_MS: u64 = 80;
/// A silence that ends a cue.
const PAUSE_MS: u64 = 700;
/// A sentence that ends after fewer characters shares its cue with the next.
const SHORT: usize = 20;

/// A subtitle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Cue {
    pub(super) start_ms: u64,
    pub(super) end_ms: u64,
    /// One or two.
    pub(super) lines: Vec<String>,
}

/// The subtitles of a transcript, in order; they do not overlap.
pub(super) fn of(transcript: &Transcript) -> Vec<Cue> {
    let words: Vec<Timed<'_>> = transcript
        .words
        .iter()
        .map(|word| Timed {
            word,
            start: millis(transcript, word.span.start()),
            end: millis(transcript, word.span.end()),
        })
        .collect();
    let groups = divide(&words);
    let mut cues: Vec<Cue> = Vec::with_capacity(groups.len());
    let starts: Vec<u64> = groups.iter().filter_map(|group| group.first()).map(|word| word.start).collect();
    let nexts = starts.iter().copied().skip(1).map(Some).chain([None]);
    for (group, next) in groups.into_iter().zip(nexts) {
        let Some(first) = group.first() else { continue };
        let spoken_until = group.iter().map(|word| word.end).max().unwrap_or(first.start);
        let after = cues.last().map_or(0, |cue| cue.end_ms);
        let start_ms = first.start.max(after);
        let lines = lines(group);
        let characters: u64 = lines.iter().map(|line| line.chars().count() as u64).sum();
        let wanted = spoken_until.max(start_ms + characters * 1_000 / READ_PER_SECOND);
        // Never into the next one; where two words start as good as together, one millisecond has to do.
        let most = match next {
            Some(next) if next > start_ms + 2 * GAP_MS => next - GAP_MS,
            Some(next) => next.max(start_ms + 1),
            None => u64::MAX,
        };
        cues.push(Cue { start_ms, end_ms: wanted.min(most).max(start_ms + 1), lines });
    }
    cues
}

#[derive(Clone, Copy, Debug)]
struct Timed<'a> {
    word: &'a Word,
    start: u64,
    end: u64,
}

/// Groups of words, one a cue: as long as they fit, broken at pauses and ends of sentences.
fn divide<'a, 'b>(words: &'b [Timed<'a>]) -> Vec<&'b [Timed<'a>]> {
    let mut groups = Vec::new();
    let mut from = 0;
    while from < words.len() {
        let rest = words.get(from..).unwrap_or_default();
        let mut len = 1;
        while let Some(group) = rest.get(..=len) {
            if !belongs(group) {
                break;
            }
            len += 1;
        }
        let must_break = rest.get(..=len).is_some_and(|group| !fits(group));
        let group = rest.get(..len).unwrap_or_default();
        let len = if must_break { better_break(group).unwrap_or(len) } else { len };
        groups.push(rest.get(..len).unwrap_or_default());
        from += len.max(1);
    }
    groups
}

/// Whether the last word of the group belongs into the cue of those before it.
fn belongs(group: &[Timed<'_>]) -> bool {
    let Some((last, before)) = group.split_last() else { return true };
    let Some(previous) = before.last() else { return true };
    let pause = last.start.saturating_sub(previous.end) >= PAUSE_MS;
    let sentence = ends_sentence(previous.word.text()) && width(before) >= SHORT;
    !pause && !sentence && fits(group)
}

fn fits(group: &[Timed<'_>]) -> bool {
    let start = group.first().map_or(0, |word| word.start);
    let end = group.last().map_or(0, |word| word.end);
    end.saturating_sub(start) <= LONGEST_MS && (width(group) <= LINE || line_break(group).is_some())
}

fn width(group: &[Timed<'_>]) -> usize {
    let characters: usize = group.iter().map(|word| word.word.spaced_text().chars().count()).sum();
    let leading = group
        .first()
        .map_or(0, |word| word.word.spaced_text().chars().take_while(|c| c.is_whitespace()).count());
    characters - leading
}

/// After which word of a full group to break instead: the last punctuation in its second half.
fn better_break(group: &[Timed<'_>]) -> Option<usize> {
    let half = group.len().div_ceil(2);
    (half..group.len()).rev().find(|len| {
        let last = len.checked_sub(1).and_then(|last| group.get(last));
        last.is_some_and(|word| word.word.text().ends_with([',', ';', ':', '.', '?', '!', '、', ',', '。']))
    })
}

/// Where the second line begins, so that both fit and are about as long; behind punctuation if that costs little.
fn line_break(group: &[Timed<'_>]) -> Option<usize> {
    (1..group.len())
        .filter_map(|at| {
            let (first, second) = group.split_at_checked(at)?;
            let (a, b) = (width(first), width(second));
            let punctuated = first.last()?.word.text().ends_with([',', ';', ':', '.', '?', '!']);
            let cost = a.abs_diff(b) + if punctuated { 0 } else { 8 };
            (a <= LINE && b <= LINE).then_some((cost, at))
        })
        .min()
        .map(|(_, at)| at)
}

fn lines(group: &[Timed<'_>]) -> Vec<String> {
    let text = |words: &[Timed<'_>]| {
        let text: String = words.iter().map(|word| word.word.spaced_text()).collect();
        // A line feed would end the line, an empty line the cue.
        text.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    match line_break(group).filter(|_| width(group) > LINE).and_then(|at| group.split_at_checked(at)) {
        Some((first, second)) => vec![text(first), text(second)],
        None => vec![text(group)],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::testing::transcript_of;
    use proptest::prelude::*;

    #[test]
    fn a_pause_ends_a_cue() {
        let cues = of(&transcript_of(&[("one", 0, 300), (" two", 400, 700), (" three", 2_000, 2_300)]));
        let texts: Vec<_> = cues.iter().map(|cue| cue.lines.join("|")).collect();
        assert_eq!(texts, ["one two", "three"]);
    }

    #[test]
    fn a_full_cue_is_broken_behind_a_comma_rather_than_anywhere() {
        let text = "we had walked for hours through the wet and silent forest, when suddenly \
                    somebody called out to us";
        let mut words = Vec::new();
        let mut at = 0;
        for (number, word) in text.split(' ').enumerate() {
            words.push((if number == 0 { word.to_owned() } else { format!(" {word}") }, at, at + 150));
            at += 200;
        }
        let words: Vec<(&str, u64, u64)> = words.iter().map(|(text, a, b)| (text.as_str(), *a, *b)).collect();
        let cues = of(&transcript_of(&words));
        assert!(cues[0].lines.concat().ends_with("forest,"), "{cues:?}");
    }

    #[test]
    fn a_cue_stays_long_enough_to_be_read_if_there_is_time() {
        let cues = of(&transcript_of(&[("Incomprehensibilities", 0, 300), (" yes", 5_000, 5_200)]));
        assert_eq!(cues[0].end_ms, 21 * 50);
    }

    proptest! {
        #[test]
        fn cues_keep_every_word_and_all_rules(
            words in proptest::collection::vec(("[a-z]{1,14}[.,?]?", 0_u64..900, 0_u64..600), 0..120),
        ) {
            let mut at = 0;
            let words: Vec<(String, u64, u64)> = words
                .into_iter()
                .enumerate()
                .map(|(number, (word, pause, length))| {
                    let start = at + pause;
                    at = start + length;
                    (if number == 0 { word } else { format!(" {word}") }, start, at)
                })
                .collect();
            let borrowed: Vec<(&str, u64, u64)> = words.iter().map(|(text, a, b)| (text.as_str(), *a, *b)).collect();
            let transcript = transcript_of(&borrowed);
            let cues = of(&transcript);
            let all: Vec<&str> =
                cues.iter().flat_map(|cue| cue.lines.iter()).flat_map(|line| line.split(' ')).collect();
            let heard: Vec<&str> = transcript.words.iter().map(Word::text).collect();
            prop_assert_eq!(all, heard);
            for cue in &cues {
                prop_assert!(cue.lines.len() <= 2);
                prop_assert!(cue.lines.iter().all(|line| line.chars().count() <= LINE));
                prop_assert!(cue.start_ms < cue.end_ms);
            }
            for pair in cues.windows(2) {
                prop_assert!(pair[0].end_ms <= pair[1].start_ms);
                let room = pair[1].start_ms - pair[0].start_ms > 2 * GAP_MS;
                prop_assert!(!room || pair[1].start_ms - pair[0].end_ms >= GAP_MS || pair[0].end_ms - pair[0].start_ms == 1);
            }
        }
    }
}
