//! The samples of tone-coded speech, block by block.

use super::tone_speech::{SplitMix, SpokenWord, SpokenWords};
use super::tone_vocabulary::ToneVocabulary;

/// The samples of one channel of a [`ToneSpeech`](super::ToneSpeech). Its memory is constant: the tones and
/// one word.
#[derive(Clone, Debug)]
pub struct ToneSamples {
    words: SpokenWords,
    vocabulary: ToneVocabulary,
    next: Option<SpokenWord>,
    rendered: Vec<i16>,
    position: u64,
    len: u64,
    noise: u16,
    random: SplitMix,
}

impl ToneSamples {
    pub(crate) fn new(
        mut words: SpokenWords,
        vocabulary: ToneVocabulary,
        len: u64,
        noise: u16,
        seed: u64,
    ) -> Self {
        let next = words.next();
        let rendered = next.map(|word| vocabulary.word(word.code)).unwrap_or_default();
        // Noise has a sequence of its own, so that it does not change the words.
        let random = SplitMix::new(!seed);
        Self { words, vocabulary, next, rendered, position: 0, len, noise, random }
    }

    /// Fills `block` from its beginning and returns how many samples were written; fewer than asked for means
    /// that the speech has ended.
    pub fn fill(&mut self, block: &mut [i16]) -> usize {
        let count = (self.len - self.position).min(block.len() as u64) as usize;
        let (block, _) = block.split_at_mut(count);
        self.speak(block);
        if self.noise > 0 {
            let span = 2 * u64::from(self.noise) + 1;
            for sample in block {
                let noise = ((self.random.next_u64() >> 32) * span) >> 32;
                *sample = sample.saturating_add((noise as i32 - i32::from(self.noise)) as i16);
            }
        }
        count
    }

    fn speak(&mut self, mut block: &mut [i16]) {
        while !block.is_empty() {
            let Some(word) = self.next else {
                self.position += block.len() as u64;
                return block.fill(0);
            };
            let wait = word.start.saturating_sub(self.position).min(block.len() as u64) as usize;
            let (before, rest) = block.split_at_mut(wait);
            before.fill(0);
            self.position += wait as u64;
            let spoken = self.position.saturating_sub(word.start) as usize;
            let left = self.rendered.get(spoken..).unwrap_or_default();
            let count = left.len().min(rest.len());
            let (now, rest) = rest.split_at_mut(count);
            now.copy_from_slice(left.split_at(count).0);
            self.position += count as u64;
            if self.position >= word.end {
                self.next = self.words.next();
                self.rendered = self.next.map(|word| self.vocabulary.word(word.code)).unwrap_or_default();
            }
            block = rest;
        }
    }
}

impl Iterator for ToneSamples {
    type Item = i16;

    fn next(&mut self) -> Option<i16> {
        let mut sample = [0];
        (self.fill(&mut sample) == 1).then_some(sample[0])
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = (self.len - self.position) as usize;
        (left, Some(left))
    }
}

impl ExactSizeIterator for ToneSamples {}

impl std::iter::FusedIterator for ToneSamples {}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::tone_speech::{Pacing, ToneSpeech};

    #[test]
    fn blocks_of_any_size_hold_the_same_samples() {
        let speech = ToneSpeech::new(Duration::from_millis(5_003)).with_noise(9).with_rate(22_050);
        let whole: Vec<i16> = speech.samples().unwrap().collect();
        assert_eq!(whole.len() as u64, speech.len_samples());
        for size in [1, 7, 640, 4_097, 1 << 20] {
            let mut samples = speech.samples().unwrap();
            let mut blocks = Vec::new();
            let mut block = vec![0; size];
            loop {
                let count = samples.fill(&mut block);
                blocks.extend_from_slice(&block[..count]);
                if count < size {
                    break;
                }
            }
            assert_eq!(blocks, whole, "blocks of {size}");
        }
    }

    #[test]
    fn words_are_where_the_truth_says_and_the_rest_is_silent() {
        let speech = ToneSpeech::new(Duration::from_secs(30)).with_seed(5);
        let samples: Vec<i16> = speech.samples().unwrap().collect();
        let mut last = 0;
        for word in speech.words() {
            let (start, end) = (word.start as usize, word.end as usize);
            assert!(samples[last..start].iter().all(|&sample| sample == 0));
            assert!(samples[start..end].iter().any(|&sample| sample > 10_000));
            last = end;
        }
        assert!(last > 0 && samples[last..].iter().all(|&sample| sample == 0));
    }

    #[test]
    fn noise_stays_within_its_bound_and_covers_it() {
        let speech = ToneSpeech::new(Duration::from_secs(1)).with_pacing(Pacing::Silent).with_noise(3);
        let samples: Vec<i16> = speech.samples().unwrap().collect();
        assert_eq!(samples.iter().min(), Some(&-3));
        assert_eq!(samples.iter().max(), Some(&3));
    }
}
