//! Whether an answer says something about all of the speech: plain rules over words and speech. Nothing is asked here.

use std::time::Duration;

use crate::model::aligned_part::{hull_of, is_unspaced};
use crate::model::gap;
use crate::{Gap, GapCause, Resolved, SampleRate, SampleSpan, Word};

/// When an answer is suspect. Servers answer 200 with half a transcript, with nothing, or with one phrase over and over.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(default))]
pub struct CoverageRules {
    /// Speech of so long that no word answers for is a gap. Default: 3 s.
    pub max_unheard_speech: Duration,
    /// More words a second than anybody can say are invented. Default: 7.
    pub max_words_per_second: f64,
    /// Text that compresses better than this repeats itself. Default: 2.4.
    pub max_compression: f64,
    /// Fewer words a second of speech mean that parts are missing; for texts without times. Default: 0.3.
    pub min_words_per_second: f64,
}

impl Default for CoverageRules {
    fn default() -> Self {
        Self {
            max_unheard_speech: Duration::from_secs(3),
            max_words_per_second: 7.0,
            max_compression: 2.4,
            min_words_per_second: 0.3,
        }
    }
}

/// So many words are looked at together.
const WINDOW: usize = 60;
/// And then those that begin so many words later.
const STEP: usize = 20;
/// A gap reaches so far beyond the speech, if nothing is said there: cuts do not clip it.
const MARGIN_MS: u64 = 300;

impl CoverageRules {
    /// Stretches without a word that are long enough to hold unheard speech: only these need to be listened to. Those of a
    /// text without times are all of it.
    pub fn holes(&self, heard: &Resolved, owned: SampleSpan, rate: SampleRate) -> Vec<SampleSpan> {
        if !heard.words.is_empty() && heard.words.iter().all(|word| word.estimated) {
            return vec![owned];
        }
        let least = rate.samples_in(self.max_unheard_speech);
        let mut holes = Vec::new();
        let mut at = owned.start();
        for word in &heard.words {
            holes.push(SampleSpan::new(at, word.span.start()));
            at = at.max(word.span.end());
        }
        holes.push(SampleSpan::new(at, owned.end()));
        holes.retain(|hole| hole.len() > least);
        holes
    }

    /// The gaps in an answer, given where somebody speaks in its [holes](Self::holes).
    pub fn gaps(
        &self,
        heard: &Resolved,
        owned: SampleSpan,
        rate: SampleRate,
        speech: &[SampleSpan],
    ) -> Vec<Gap> {
        let mut gaps = self.loops(heard, rate);
        let least = rate.samples_in(self.max_unheard_speech);
        let spoken = |span: SampleSpan| -> Vec<SampleSpan> {
            speech.iter().map(|part| part.intersection(span)).filter(|part| !part.is_empty()).collect()
        };
        for hole in self.holes(heard, owned, rate) {
            let inside = spoken(hole);
            let length: u64 = inside.iter().map(|part| part.len()).sum();
            if length < least {
                continue;
            }
            let seconds = rate.duration_of(length).as_secs_f64();
            let estimated = hole == owned && !heard.words.is_empty();
            if estimated && heard.words.len() as f64 >= self.min_words_per_second * seconds {
                continue;
            }
            let last = heard.words.last().is_some_and(|word| word.span.end() <= hole.start());
            let cause = if estimated || (last && hole.end() == owned.end()) {
                GapCause::CutOff
            } else {
                GapCause::Empty
            };
            gaps.push(Gap { span: widened(hull_of(inside.into_iter()), hole, rate), cause });
        }
        gap::join(gaps)
    }

    /// Words that repeat themselves, or come faster than anybody speaks.
    fn loops(&self, heard: &Resolved, rate: SampleRate) -> Vec<Gap> {
        let words = &heard.words;
        let starts = (0..words.len().saturating_sub(WINDOW - 1)).step_by(STEP);
        let window = |from: usize| words.get(from..from + WINDOW);
        let suspect = starts
            .filter_map(window)
            .filter(|window| compression(window) > self.max_compression || self.is_too_fast(window, rate));
        gap::join(
            suspect
                .map(|window| Gap {
                    span: hull_of(window.iter().map(|word| word.span)),
                    cause: GapCause::Loop,
                })
                .collect(),
        )
    }

    fn is_too_fast(&self, words: &[Word], rate: SampleRate) -> bool {
        // Where a character is a word, more of them fit in a second; estimated times say nothing.
        let counts = |word: &&Word| !word.estimated && !word.text().chars().any(is_unspaced);
        let counted = words.iter().filter(counts).count();
        let span = hull_of(words.iter().map(|word| word.span));
        counted == words.len()
            && counted as f64 > self.max_words_per_second * rate.duration_of(span.len()).as_secs_f64()
    }
}

/// A little more than the speech, but no word.
fn widened(speech: SampleSpan, hole: SampleSpan, rate: SampleRate) -> SampleSpan {
    let margin = u64::from(rate.hertz()) * MARGIN_MS / 1_000;
    let start = speech.start().minus(margin).max(hole.start());
    SampleSpan::new(start, speech.end().plus(margin).min(hole.end()))
}

/// The length of the words' text by what is left of it when each stretch of at least four bytes that stood before is
/// replaced by three bytes (Lempel, Ziv 1977). Without the entropy coding of zlib, ordinary text stays near 1: what passes
/// 2.4 here passes it there.
fn compression(words: &[Word]) -> f64 {
    let text: String = words.iter().map(Word::spaced_text).collect();
    let bytes = text.as_bytes();
    let (mut at, mut cost) = (0, 0_usize);
    while at < bytes.len() {
        let len = longest_match(bytes, at);
        if len >= 4 {
            cost += 3;
            at += len;
        } else {
            cost += 1;
            at += 1;
        }
    }
    if cost == 0 { 1.0 } else { bytes.len() as f64 / cost as f64 }
}

/// How far what stands at `at` also stands before it. The text is a window of some hundred bytes.
fn longest_match(bytes: &[u8], at: usize) -> usize {
    let rest = bytes.get(at..).unwrap_or_default();
    (0..at)
        .map(|from| {
            let earlier = bytes.get(from..).unwrap_or_default();
            earlier.iter().zip(rest).take_while(|(a, b)| a == b).count()
        })
        .max()
        .unwrap_or(0)
}

/// Where somebody speaks, from probabilities of equal stretches of `span`: those of at least one half, and the short
/// pauses between them.
pub(crate) fn speech_of(span: SampleSpan, probabilities: &[f32], rate: SampleRate) -> Vec<SampleSpan> {
    let count = probabilities.len().max(1) as u64;
    let edge = |number: usize| span.start().plus((span.len() / count) * number as u64);
    let frames = probabilities.iter().enumerate().filter(|(_, probability)| **probability >= 0.5);
    let bridged = rate.samples_in(Duration::from_millis(300));
    let mut speech: Vec<SampleSpan> = Vec::new();
    for (number, _) in frames {
        let frame = SampleSpan::new(edge(number), edge(number + 1));
        match speech.last_mut() {
            Some(last) if frame.start() <= last.end().plus(bridged) => {
                *last = SampleSpan::new(last.start(), frame.end());
            }
            _ => speech.push(frame),
        }
    }
    // A click is no speech.
    let shortest = rate.samples_in(Duration::from_millis(100));
    speech.retain(|part| part.len() >= shortest);
    speech
}

/// Where nothing is left after `cut` is taken out of `gap`.
pub(crate) fn without(gap: Gap, cut: SampleSpan) -> impl Iterator<Item = Gap> {
    let (start, end) = (gap.span.start(), gap.span.end());
    let apart = gap.span.intersection(cut).is_empty();
    let left = SampleSpan::new(start, if apart { end } else { cut.start().max(start) });
    let right = if apart { SampleSpan::new(end, end) } else { SampleSpan::new(cut.end().min(end), end) };
    [left, right].into_iter().filter(|span| !span.is_empty()).map(move |span| Gap { span, cause: gap.cause })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SampleIndex;

    fn rate() -> SampleRate {
        SampleRate::new(1_000).unwrap()
    }

    fn span(start: u64, end: u64) -> SampleSpan {
        SampleSpan::new(SampleIndex::new(start), SampleIndex::new(end))
    }

    fn heard(words: &[(&str, u64, u64)]) -> Resolved {
        let words = words.iter().map(|(text, start, end)| Word::new(format!(" {text}"), span(*start, *end)));
        Resolved { words: words.collect(), ..Resolved::default() }
    }

    fn gaps(heard: &Resolved, speech: &[SampleSpan]) -> Vec<Gap> {
        CoverageRules::default().gaps(heard, span(0, 60_000), rate(), speech)
    }

    #[test]
    fn an_empty_answer_over_speech_is_a_gap_and_over_silence_is_none() {
        let empty = Resolved::default();
        let found = gaps(&empty, &[span(5_000, 12_000)]);
        assert_eq!(found, [Gap { span: span(4_700, 12_300), cause: GapCause::Empty }]);
        assert!(gaps(&empty, &[]).is_empty());
        assert!(gaps(&empty, &[span(5_000, 7_900)]).is_empty(), "under 3 s");
    }

    #[test]
    fn speech_behind_the_last_word_was_cut_off() {
        let heard = heard(&[("one", 1_000, 1_400), ("two", 2_000, 2_400)]);
        let found = gaps(&heard, &[span(1_000, 2_400), span(2_600, 59_000)]);
        assert_eq!(found, [Gap { span: span(2_400, 59_300), cause: GapCause::CutOff }]);
    }

    #[test]
    fn speech_between_two_words_is_a_gap_that_touches_neither() {
        let heard = heard(&[("one", 1_000, 1_400), ("two", 6_000, 6_400)]);
        let found = gaps(&heard, &[span(1_000, 6_400)]);
        assert_eq!(found, [Gap { span: span(1_400, 6_000), cause: GapCause::Empty }]);
    }

    #[test]
    fn only_holes_need_to_be_listened_to() {
        let heard = heard(&[("one", 1_000, 1_400), ("two", 3_000, 50_000)]);
        assert_eq!(CoverageRules::default().holes(&heard, span(0, 60_000), rate()), [span(50_000, 60_000)]);
    }

    #[test]
    fn a_phrase_over_and_over_is_a_loop() {
        let words: Vec<(&str, u64, u64)> = (0..90)
            .map(|at| (["thank", "you", "very", "much"][at as usize % 4], at * 300, at * 300 + 250))
            .collect();
        let found = gaps(&heard(&words), &[]);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].cause, GapCause::Loop);
    }

    #[test]
    fn ordinary_speech_is_no_loop() {
        let text = "call me ishmael some years ago never mind how long precisely having little or no money in my \
                    purse and nothing particular to interest me on shore i thought i would sail about a little and \
                    see the watery part of the world it is a way i have of driving off the spleen and regulating the \
                    circulation whenever i find myself growing grim about the mouth whenever it is a damp drizzly \
                    november in my soul";
        let words: Vec<(&str, u64, u64)> =
            (0..).zip(text.split(' ')).map(|(at, word)| (word, at * 350, at * 350 + 300)).collect();
        assert!(gaps(&heard(&words), &[]).is_empty());
    }

    #[test]
    fn more_words_than_anybody_can_say_are_a_loop() {
        let letters: Vec<String> = (0..100).map(|at| format!("w{}", at * 7_919 % 10_007)).collect();
        let words: Vec<(&str, u64, u64)> =
            (0..).zip(&letters).map(|(at, word)| (word.as_str(), at * 100, at * 100 + 90)).collect();
        assert_eq!(gaps(&heard(&words), &[])[0].cause, GapCause::Loop);
    }

    #[test]
    fn a_text_without_times_is_measured_by_its_words() {
        let estimated = |count: usize| Resolved {
            words: vec![Word::new(" word", span(0, 100)).estimated(); count],
            ..Resolved::default()
        };
        let speech = [span(0, 50_000)];
        assert!(gaps(&estimated(16), &speech).is_empty());
        assert_eq!(gaps(&estimated(14), &speech)[0].cause, GapCause::CutOff);
    }

    #[test]
    fn probabilities_become_stretches_of_speech() {
        let probabilities: Vec<f32> =
            (0..100).map(|at| if (20..70).contains(&at) { 0.9 } else { 0.1 }).collect();
        assert_eq!(speech_of(span(0, 10_000), &probabilities, rate()), [span(2_000, 7_000)]);
    }

    #[test]
    fn what_was_heard_again_is_taken_out_of_its_gap() {
        let gap = |start, end| Gap { span: span(start, end), cause: GapCause::Empty };
        let left: Vec<Gap> = without(gap(10, 50), span(20, 30)).collect();
        assert_eq!(left, [gap(10, 20), gap(30, 50)]);
        assert_eq!(without(gap(10, 50), span(0, 60)).count(), 0);
        assert_eq!(without(gap(10, 50), span(60, 70)).collect::<Vec<_>>(), [gap(10, 50)]);
    }
}
