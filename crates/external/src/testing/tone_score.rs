//! Compares what was heard with what was spoken: words lost, doubled, wrong, moved and shifted, as numbers.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use super::tone_vocabulary::{ToneCode, ToneWord};

/// How a transcript of tone-coded speech differs from the truth.
///
/// A heard word belongs to the spoken word of the same text that is nearest in time, and each spoken word has
/// at most one; what is left over on one side is lost, on the other doubled, garbled or extra. Where a text is
/// spoken several times ([`ToneSpeech::with_words`](super::ToneSpeech::with_words)), one lost here and doubled
/// there is paired, and shows in `max_start_error` and `reordered`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ToneScore {
    /// Words that were spoken.
    pub spoken: usize,
    /// Words that were heard, whatever they were.
    pub heard: usize,
    /// Spoken words that were not heard.
    pub lost: usize,
    /// Heard words that were spoken, but not that often.
    pub doubled: usize,
    /// Heard texts that are no word: the halves of words that were cut.
    pub garbled: usize,
    /// Heard words that were never spoken.
    pub extra: usize,
    /// Fewest words that would have to move for those that were heard to be in the order they were spoken.
    pub reordered: usize,
    /// The largest difference between the heard and the spoken start of a word.
    pub max_start_error: Duration,
    /// The largest difference between the heard and the spoken end of a word.
    pub max_end_error: Duration,
    /// The spoken words that were lost.
    pub lost_words: Vec<ToneWord>,
    /// The heard words that were doubled, garbled or extra.
    pub surplus_words: Vec<ToneWord>,
}

impl ToneScore {
    /// Scores words with times. `heard` is in the order of the transcript.
    pub fn of(truth: impl IntoIterator<Item = ToneWord>, heard: impl IntoIterator<Item = ToneWord>) -> Self {
        score(truth.into_iter().collect(), &heard.into_iter().collect::<Vec<_>>(), Times::Compared)
    }

    /// Scores a text without times: words are what stands between blanks. Both errors of time stay zero.
    pub fn of_text(truth: impl IntoIterator<Item = ToneWord>, text: &str) -> Self {
        let heard = text.split_whitespace().map(|word| {
            let text = word.trim_matches(|c: char| !c.is_ascii_alphanumeric()).to_ascii_lowercase();
            ToneWord { text, start: Duration::ZERO, end: Duration::ZERO }
        });
        score(truth.into_iter().collect(), &heard.collect::<Vec<_>>(), Times::Absent)
    }

    /// Whether every word was heard once, in order and at most `tolerance` from its place, and nothing else.
    pub fn is_exact(&self, tolerance: Duration) -> bool {
        self.errors() == 0 && self.max_start_error <= tolerance && self.max_end_error <= tolerance
    }

    /// Words lost, doubled, garbled, extra and reordered together.
    pub fn errors(&self) -> usize {
        self.lost + self.doubled + self.garbled + self.extra + self.reordered
    }

    /// The share of the spoken words that were lost or doubled; 0 if nothing was spoken.
    pub fn lost_or_doubled(&self) -> f64 {
        (self.lost + self.doubled) as f64 / self.spoken.max(1) as f64
    }
}

impl fmt::Display for ToneScore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} spoken, {} heard: {} lost, {} doubled, {} garbled, {} extra, {} reordered; \
             start off by at most {:.1} ms, end by {:.1} ms",
            self.spoken,
            self.heard,
            self.lost,
            self.doubled,
            self.garbled,
            self.extra,
            self.reordered,
            self.max_start_error.as_secs_f64() * 1e3,
            self.max_end_error.as_secs_f64() * 1e3,
        )?;
        for (what, words) in [("lost", &self.lost_words), ("surplus", &self.surplus_words)] {
            if !words.is_empty() {
                let shown = words.iter().take(5).map(|word| format!("{}@{:.3}", word.text, seconds(word)));
                write!(f, "; {what}: {}", shown.collect::<Vec<_>>().join(" "))?;
                if words.len() > 5 {
                    f.write_str(" …")?;
                }
            }
        }
        Ok(())
    }
}

fn seconds(word: &ToneWord) -> f64 {
    word.start.as_secs_f64()
}

#[derive(Clone, Copy, PartialEq)]
enum Times {
    Compared,
    Absent,
}

/// Where the words of one text stand in the truth and in what was heard.
#[derive(Default)]
struct Places {
    spoken: Vec<usize>,
    heard: Vec<usize>,
}

fn score(truth: Vec<ToneWord>, heard: &[ToneWord], times: Times) -> ToneScore {
    let mut score = ToneScore { spoken: truth.len(), heard: heard.len(), ..ToneScore::default() };
    let mut places: BTreeMap<&str, Places> = BTreeMap::new();
    for (index, word) in truth.iter().enumerate() {
        places.entry(&word.text).or_default().spoken.push(index);
    }
    for (index, word) in heard.iter().enumerate() {
        places.entry(&word.text).or_default().heard.push(index);
    }
    let mut partner: Vec<Option<usize>> = vec![None; heard.len()];
    let mut lost = vec![true; truth.len()];
    for places in places.values() {
        for (spoken, heard) in pairs(places, &truth, heard, times) {
            if let (Some(partner), Some(lost)) = (partner.get_mut(heard), lost.get_mut(spoken)) {
                *partner = Some(spoken);
                *lost = false;
            }
        }
    }
    for (word, partner) in heard.iter().zip(&partner) {
        if let Some(spoken) = partner.and_then(|spoken| truth.get(spoken)) {
            if times == Times::Compared {
                score.max_start_error = score.max_start_error.max(word.start.abs_diff(spoken.start));
                score.max_end_error = score.max_end_error.max(word.end.abs_diff(spoken.end));
            }
            continue;
        }
        let spoken = places.get(word.text.as_str()).is_some_and(|places| !places.spoken.is_empty());
        let kind = match (spoken, word.text.parse::<ToneCode>()) {
            (true, _) => &mut score.doubled,
            (false, Ok(_)) => &mut score.extra,
            (false, Err(_)) => &mut score.garbled,
        };
        *kind += 1;
        score.surplus_words.push(word.clone());
    }
    let order: Vec<usize> = partner.into_iter().flatten().collect();
    score.reordered = order.len() - longest_rising(&order);
    score.lost_words = truth.into_iter().zip(lost).filter_map(|(word, lost)| lost.then_some(word)).collect();
    score.lost = score.lost_words.len();
    score
}

/// Pairs the spoken with the heard words of one text, nearest first.
fn pairs(places: &Places, truth: &[ToneWord], heard: &[ToneWord], times: Times) -> Vec<(usize, usize)> {
    if times == Times::Absent || (places.spoken.len() == 1 && places.heard.len() == 1) {
        return places.spoken.iter().copied().zip(places.heard.iter().copied()).collect();
    }
    let mut near = Vec::with_capacity(places.spoken.len() * places.heard.len());
    for &s in &places.spoken {
        for &h in &places.heard {
            if let (Some(spoken), Some(word)) = (truth.get(s), heard.get(h)) {
                near.push((word.start.abs_diff(spoken.start), s, h));
            }
        }
    }
    near.sort_unstable();
    let (mut spoken, mut heard) = (BTreeSet::new(), BTreeSet::new());
    let mut pairs = Vec::new();
    for (_, s, h) in near {
        if !spoken.contains(&s) && !heard.contains(&h) {
            spoken.insert(s);
            heard.insert(h);
            pairs.push((s, h));
        }
    }
    pairs
}

/// The length of the longest strictly rising subsequence.
fn longest_rising(order: &[usize]) -> usize {
    let mut tails: Vec<usize> = Vec::new();
    for &index in order {
        let place = tails.partition_point(|&tail| tail < index);
        match tails.get_mut(place) {
            Some(tail) => *tail = index,
            None => tails.push(index),
        }
    }
    tails.len()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::testing::ToneSpeech;

    fn truth() -> Vec<ToneWord> {
        ToneSpeech::new(Duration::from_secs(120)).truth().collect()
    }

    #[test]
    fn the_truth_is_exact() {
        let score = ToneScore::of(truth(), truth());
        assert!(score.is_exact(Duration::ZERO), "{score}");
        assert!(score.spoken > 150);
    }

    #[test]
    fn each_kind_of_error_is_counted_by_itself() {
        let mut heard = truth();
        heard.remove(10);
        heard.remove(20);
        let doubled = heard[30].clone();
        heard.insert(31, doubled);
        heard[50].text = "x04".into();
        let unspoken = (0..1_000)
            .map(|n| ToneCode::new(n).to_string())
            .find(|text| truth().iter().all(|word| word.text != *text));
        heard[60].text = unspoken.unwrap();
        heard.swap(70, 71);
        heard[80].start += Duration::from_millis(31);
        let score = ToneScore::of(truth(), heard);
        // The two words that were overwritten are lost as well.
        assert_eq!((score.lost, score.doubled, score.garbled, score.extra, score.reordered), (4, 1, 1, 1, 1));
        assert_eq!(score.max_start_error, Duration::from_millis(31));
        assert_eq!(score.errors(), 8);
        assert!(!score.is_exact(Duration::from_secs(1)));
        assert!(score.to_string().contains("4 lost, 1 doubled"), "{score}");
    }

    #[test]
    fn a_chunk_that_is_shifted_shows_as_an_error_of_time_and_not_as_words_lost() {
        let shifted = truth().into_iter().map(|word| word.shifted(Duration::from_secs(3)));
        let score = ToneScore::of(truth(), shifted);
        assert_eq!((score.errors(), score.max_start_error), (0, Duration::from_secs(3)));
    }

    #[test]
    fn a_text_without_times_is_scored_by_its_words() {
        let mut words: Vec<String> = truth().into_iter().map(|word| word.text).collect();
        assert_eq!(ToneScore::of_text(truth(), &words.join(" ")).errors(), 0);
        assert_eq!(ToneScore::of_text(truth(), &words.join(", ").to_uppercase()).errors(), 0);
        let doubled = words[5].clone();
        words.insert(6, doubled);
        let score = ToneScore::of_text(truth(), &words.join(" "));
        assert_eq!((score.doubled, score.errors()), (1, 1));
    }

    proptest! {
        #[test]
        fn dropping_and_doubling_words_of_a_small_vocabulary_is_counted_exactly(
            drops in prop::collection::btree_set(0_usize..150, 0..20),
            doubles in prop::collection::btree_set(0_usize..150, 0..20),
        ) {
            let speech = ToneSpeech::new(Duration::from_secs(120)).with_words(40);
            let truth: Vec<_> = speech.truth().collect();
            let mut heard = Vec::new();
            for (index, word) in truth.iter().enumerate() {
                if drops.contains(&index) {
                    continue;
                }
                heard.push(word.clone());
                if doubles.contains(&index) {
                    heard.push(word.clone());
                }
            }
            let score = ToneScore::of(truth.clone(), heard.clone());
            let doubled = doubles.difference(&drops).count();
            prop_assert_eq!(score.heard + score.lost, score.spoken + score.doubled);
            // A word that was doubled may stand for the same word lost elsewhere: then it is far off instead.
            prop_assert!(score.lost <= drops.len() && score.doubled <= doubled);
            prop_assert_eq!(drops.len() - score.lost, doubled - score.doubled);
        }
    }
}
