//! Hears tone-coded words in samples: finds where it is loud, and hands each loud stretch to be read.
//!
//! Memory is constant: it holds one stretch of at most ten seconds.

#[cfg(test)]
mod transform_coder;

use std::collections::VecDeque;

use wavequill_kernel::InvalidValue;

use super::tone_run::{RunEdges, RunReader};
use super::tone_vocabulary::{ToneVocabulary, ToneWord, samples_of_ms};

/// Quiet of this length ends a stretch. Codecs fill some of the 60 ms between words.
const QUIET_MS: usize = 24;
/// What is kept from before a stretch became loud.
const BEFORE_MS: usize = 12;
/// A stretch this long is read as far as it goes.
const LONGEST_MS: usize = 9_600;
/// Below this share of full scale all is quiet.
const FLOOR: f32 = 0.005;
/// Below this share of the loudness so far it is quiet.
const SHARE: f32 = 0.2;

/// Hears the words of tone-coded speech in the samples of one channel.
///
/// Words that were cut are garbled, not guessed: the piece becomes a word whose text begins with `x`, so that a
/// cut is counted. A piece of less than 20 ms is not heard at all, and a word that lacks less than 20 ms is
/// still understood. Other sounds become garbled words, too.
///
/// # Errors
/// A rate at which the tones cannot be (below 8,000 Hz or above 384,000 Hz).
pub fn recognize(samples: &[i16], rate: u32) -> Result<Vec<ToneWord>, InvalidValue> {
    let mut recognizer = ToneRecognizer::new(rate)?;
    recognizer.push(samples);
    Ok(recognizer.finish())
}

/// [`recognize`] for samples that come block by block.
#[derive(Clone, Debug)]
pub struct ToneRecognizer {
    reader: RunReader,
    hop: usize,
    hop_samples: Vec<i16>,
    before: VecDeque<i16>,
    run: Vec<i16>,
    run_start: u64,
    in_run: bool,
    quiet_hops: usize,
    level: f32,
    position: u64,
    words: Vec<ToneWord>,
}

impl ToneRecognizer {
    /// A recogniser for samples of one channel at `rate`.
    ///
    /// # Errors
    /// A rate at which the tones cannot be (below 8,000 Hz or above 384,000 Hz).
    pub fn new(rate: u32) -> Result<Self, InvalidValue> {
        if !(ToneVocabulary::MIN_RATE..=ToneVocabulary::MAX_RATE).contains(&rate) {
            return Err(InvalidValue::new("sample rate", rate, "8,000 to 384,000 Hz"));
        }
        Ok(Self {
            reader: RunReader::new(rate),
            hop: samples_of_ms(1, rate) as usize,
            hop_samples: Vec::new(),
            before: VecDeque::new(),
            run: Vec::new(),
            run_start: 0,
            in_run: false,
            quiet_hops: 0,
            level: 0.0,
            position: 0,
            words: Vec::new(),
        })
    }

    /// Hears more samples.
    pub fn push(&mut self, mut samples: &[i16]) {
        if !self.hop_samples.is_empty() {
            let missing = (self.hop - self.hop_samples.len()).min(samples.len());
            let (head, rest) = samples.split_at(missing);
            self.hop_samples.extend_from_slice(head);
            samples = rest;
            if self.hop_samples.len() < self.hop {
                return;
            }
            let hop = std::mem::take(&mut self.hop_samples);
            self.hear(&hop);
        }
        let mut hops = samples.chunks_exact(self.hop);
        for hop in hops.by_ref() {
            self.hear(hop);
        }
        self.hop_samples.extend_from_slice(hops.remainder());
    }

    /// The number of samples heard so far.
    pub fn samples(&self) -> u64 {
        self.position + self.hop_samples.len() as u64
    }

    /// The words, once all samples are there.
    pub fn finish(mut self) -> Vec<ToneWord> {
        if self.in_run {
            let rest = std::mem::take(&mut self.hop_samples);
            self.run.extend_from_slice(&rest);
            self.end_run(RunEdges::AtEnd);
        }
        self.words
    }

    fn hear(&mut self, hop: &[i16]) {
        let energy: f32 = hop.iter().map(|&sample| f32::from(sample) * f32::from(sample)).sum();
        let loudness = (energy / hop.len() as f32).sqrt() / 32_768.0;
        // Half as loud after 7 s: a talk may become quieter.
        self.level = loudness.max(self.level * 0.999_9);
        let loud = loudness > FLOOR.max(SHARE * self.level);
        if loud && !self.in_run {
            self.in_run = true;
            self.run_start = self.position - self.before.len() as u64;
            self.run.extend(self.before.drain(..));
        }
        self.position += hop.len() as u64;
        if !self.in_run {
            self.before.extend(hop);
            let surplus = self.before.len().saturating_sub(BEFORE_MS * self.hop);
            self.before.drain(..surplus);
            return;
        }
        self.run.extend_from_slice(hop);
        self.quiet_hops = if loud { 0 } else { self.quiet_hops + 1 };
        if self.quiet_hops >= QUIET_MS {
            self.end_run(RunEdges::Within);
        } else if self.run.len() >= LONGEST_MS * self.hop {
            let read = self.reader.read_part(&self.run, self.run_start, &mut self.words);
            self.run.drain(..read);
            self.run_start += read as u64;
        }
    }

    fn end_run(&mut self, end: RunEdges) {
        let run = std::mem::take(&mut self.run);
        self.reader.read_rest(&run, self.run_start, end, &mut self.words);
        self.in_run = false;
        self.quiet_hops = 0;
        // What follows may be loud at once: the last quiet of this stretch is what was before it.
        let tail = run.len().saturating_sub(BEFORE_MS * self.hop);
        self.before.clear();
        self.before.extend(run.iter().skip(tail));
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::testing::{Pacing, ToneScore, ToneSpeech};

    const NEAR: Duration = Duration::from_millis(3);

    fn samples(speech: &ToneSpeech) -> Vec<i16> {
        speech.samples().unwrap().collect()
    }

    fn heard(speech: &ToneSpeech) -> ToneScore {
        ToneScore::of(speech.truth(), recognize(&samples(speech), speech.rate()).unwrap())
    }

    fn minutes(minutes: u64) -> ToneSpeech {
        ToneSpeech::new(Duration::from_secs(60 * minutes))
    }

    #[test]
    fn every_word_is_heard_at_every_usual_rate() {
        for rate in [8_000, 11_025, 16_000, 22_050, 24_000, 44_100, 48_000] {
            let score = heard(&minutes(2).with_rate(rate).with_seed(u64::from(rate)));
            assert!(score.is_exact(NEAR) && score.spoken > 250, "{rate} Hz: {score}");
        }
    }

    #[test]
    fn every_word_of_a_talk_without_pauses_is_heard() {
        let gap = Duration::from_millis(60);
        let score = heard(&minutes(5).with_pacing(Pacing::Steady { gap }));
        assert!(score.is_exact(NEAR) && score.spoken == 1_000, "{score}");
    }

    #[test]
    fn every_word_of_unbroken_speech_is_heard() {
        let score = heard(&minutes(5).with_pacing(Pacing::Unbroken));
        assert!(score.is_exact(NEAR) && score.spoken == 1_250, "{score}");
    }

    #[test]
    fn noise_and_a_low_voice_do_not_matter() {
        let score = heard(&minutes(2).with_noise(150));
        assert!(score.is_exact(NEAR), "{score}");
        let score = heard(&minutes(2).with_amplitude(0.03));
        assert!(score.is_exact(NEAR), "{score}");
    }

    #[test]
    fn every_word_is_heard_through_a_codec_that_keeps_little_of_the_sound() {
        let gap = Duration::from_millis(60);
        for (pacing, seed) in [(Pacing::default(), 1), (Pacing::Steady { gap }, 2), (Pacing::Unbroken, 3)] {
            let speech = ToneSpeech::new(Duration::from_secs(20)).with_pacing(pacing.clone()).with_seed(seed);
            let samples = samples(&speech);
            for kept in [12, 40] {
                let coded = transform_coder::coded(&samples, kept);
                assert_ne!(coded, samples);
                let score = ToneScore::of(speech.truth(), recognize(&coded, speech.rate()).unwrap());
                let near = Duration::from_millis(8);
                assert!(score.is_exact(near), "{pacing:?}, {kept} of 576 lines kept: {score}");
            }
        }
    }

    #[test]
    fn blocks_of_any_size_are_heard_alike() {
        let speech = minutes(1).with_noise(50);
        let samples = samples(&speech);
        let whole = recognize(&samples, speech.rate()).unwrap();
        for size in [1, 15, 16, 17, 1_000] {
            let mut recognizer = ToneRecognizer::new(speech.rate()).unwrap();
            samples.chunks(size).for_each(|block| recognizer.push(block));
            assert_eq!(recognizer.samples(), samples.len() as u64);
            assert_eq!(recognizer.finish(), whole, "blocks of {size}");
        }
    }

    #[test]
    fn a_word_that_is_cut_anywhere_is_understood_on_one_side_at_most_and_never_as_another_word() {
        let speech = ToneSpeech::new(Duration::from_secs(8)).with_seed(3);
        let samples = samples(&speech);
        for word in speech.words().skip(3).take(5) {
            for cut in (word.start..=word.end).step_by(16) {
                let (left, right) = samples.split_at(cut as usize);
                let mut words = recognize(left, 16_000).unwrap();
                words.extend(recognize(right, 16_000).unwrap());
                let score = ToneScore::of_text(speech.truth(), &texts(&words));
                let millis = (cut - word.start) / 16;
                let expected = match millis {
                    0..=17 | 223..=240 => (0, 0),
                    23..=217 => (1, 2),
                    _ => (score.lost, score.garbled),
                };
                assert_eq!((score.lost, score.garbled), expected, "cut after {millis} ms: {score}");
                assert_eq!(score.doubled + score.extra, 0, "cut after {millis} ms: {score}");
            }
        }
    }

    #[test]
    fn unbroken_speech_that_is_cut_loses_the_cut_word_and_no_other() {
        let speech = ToneSpeech::new(Duration::from_secs(20)).with_pacing(Pacing::Unbroken).with_seed(4);
        let samples = samples(&speech);
        for cut in (160_000..160_000 + 2 * 3_840).step_by(397) {
            let (left, right) = samples.split_at(cut);
            let mut words = recognize(left, 16_000).unwrap();
            let offset = Duration::from_micros(cut as u64 * 1_000_000 / 16_000);
            words.extend(recognize(right, 16_000).unwrap().into_iter().map(|word| word.shifted(offset)));
            let score = ToneScore::of(speech.truth(), words);
            assert!(score.lost <= 1 && score.garbled <= 2, "cut at {cut}: {score}");
            assert_eq!((score.extra, score.doubled), (0, 0), "cut at {cut}: {score}");
            assert!(score.max_start_error < Duration::from_millis(21), "cut at {cut}: {score}");
        }
    }

    #[test]
    fn silence_and_noise_are_no_words() {
        let silence = minutes(1).with_pacing(Pacing::Silent);
        assert_eq!(heard(&silence).heard, 0);
        assert_eq!(heard(&silence.with_noise(100)).heard, 0);
        assert_eq!(recognize(&[], 16_000).unwrap(), []);
    }

    #[test]
    fn other_sounds_are_garbled() {
        let speech = minutes(1).with_pacing(Pacing::Silent).with_noise(9_000);
        let words = recognize(&samples(&speech), 16_000).unwrap();
        assert!(!words.is_empty() && words.iter().all(|word| word.text.starts_with('x')), "{words:?}");
    }

    #[test]
    fn a_rate_that_cannot_carry_the_tones_is_refused() {
        assert!(recognize(&[0; 100], 6_000).is_err());
    }

    fn texts(words: &[ToneWord]) -> String {
        words.iter().map(|word| word.text.as_str()).collect::<Vec<_>>().join(" ")
    }
}
