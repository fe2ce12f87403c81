//! Hours of tone-coded speech whose words and times are known exactly, from a seed and in constant memory.

use std::ops::RangeInclusive;
use std::time::Duration;

use wavequill_kernel::InvalidValue;

use super::tone_samples::ToneSamples;
use super::tone_vocabulary::{
    ToneCode, ToneVocabulary, ToneWord, WORD_MS, samples_of, samples_of_ms, time_of,
};

/// How words and pauses follow each other.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Pacing {
    /// Phrases as in a talk: a number of words with short gaps, then a pause.
    Phrases {
        /// Words in a phrase.
        words: RangeInclusive<u32>,
        /// Between two words of a phrase.
        gap: RangeInclusive<Duration>,
        /// Between two phrases, and before the first.
        pause: RangeInclusive<Duration>,
    },
    /// A talk that never pauses: the same gap between any two words. Below 60 ms the recogniser may hear two
    /// words as one.
    Steady {
        /// Between any two words, and before the first.
        gap: Duration,
    },
    /// Tone after tone without any gap: there is no place to cut that is not inside a word or at its very edge.
    Unbroken,
    /// No word at all.
    Silent,
}

impl Default for Pacing {
    /// Phrases of 4 to 14 words, gaps of 60 to 160 ms, pauses of 0.3 to 1.2 s.
    fn default() -> Self {
        Self::Phrases {
            words: 4..=14,
            gap: Duration::from_millis(60)..=Duration::from_millis(160),
            pause: Duration::from_millis(300)..=Duration::from_millis(1_200),
        }
    }
}

/// How a sample is stored in a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum SampleEncoding {
    /// Unsigned 8-bit integers.
    Pcm8,
    /// Signed 16-bit integers.
    #[default]
    Pcm16,
    /// Signed 24-bit integers.
    Pcm24,
    /// Signed 32-bit integers.
    Pcm32,
    /// IEEE floats of 32 bits from -1 to 1.
    Float32,
}

impl SampleEncoding {
    /// Bytes of one sample of one channel.
    pub const fn bytes(self) -> u16 {
        match self {
            Self::Pcm8 => 1,
            Self::Pcm16 => 2,
            Self::Pcm24 => 3,
            Self::Pcm32 | Self::Float32 => 4,
        }
    }
}

/// Tone-coded speech: a recipe from which the words, the samples and the file can be made again and again.
///
/// Two recipes that are equal make the same audio. No word comes twice within 65,536 words (some 6 hours of
/// phrases) unless [`with_words`](Self::with_words) asks for a smaller vocabulary, so a word that is heard
/// twice was doubled.
///
/// # Examples
/// ```
/// use std::time::Duration;
/// use wavequill_external::testing::{ToneScore, ToneSpeech, recognize};
///
/// let speech = ToneSpeech::new(Duration::from_secs(20)).with_seed(7);
/// let samples: Vec<i16> = speech.samples()?.collect();
/// let heard = recognize(&samples, speech.rate())?;
///
/// let score = ToneScore::of(speech.truth(), heard);
/// assert!(score.is_exact(Duration::from_millis(8)), "{score}");
/// # Ok::<(), wavequill_kernel::InvalidValue>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct ToneSpeech {
    duration: Duration,
    seed: u64,
    pacing: Pacing,
    words: u32,
    rate: u32,
    channels: u16,
    encoding: SampleEncoding,
    amplitude: f32,
    noise: u16,
}

impl ToneSpeech {
    /// Speech of this length, to the nearest sample: phrases with pauses, 16 kHz, one channel, 16 bits.
    pub fn new(duration: Duration) -> Self {
        Self {
            duration,
            seed: 0,
            pacing: Pacing::default(),
            words: 1 << 16,
            rate: 16_000,
            channels: 1,
            encoding: SampleEncoding::default(),
            amplitude: 0.4,
            noise: 0,
        }
    }

    /// Another seed makes other words and other pauses. Default: 0.
    #[must_use]
    pub fn with_seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// Words and pauses. Default: [`Pacing::Phrases`].
    #[must_use]
    pub fn with_pacing(mut self, pacing: Pacing) -> Self {
        self.pacing = pacing;
        self
    }

    /// Draws each word from a vocabulary of so many (1 to 65,536) instead, so that words repeat as those of a
    /// language do. Default: 65,536, each once before any comes again.
    #[must_use]
    pub fn with_words(mut self, words: u32) -> Self {
        self.words = words.clamp(1, 1 << 16);
        self
    }

    /// Samples a second. Default: 16,000.
    #[must_use]
    pub fn with_rate(mut self, rate: u32) -> Self {
        self.rate = rate;
        self
    }

    /// Channels, all of them the same. Default: 1.
    #[must_use]
    pub fn with_channels(mut self, channels: u16) -> Self {
        self.channels = channels;
        self
    }

    /// How a sample is stored in a file. Default: [`SampleEncoding::Pcm16`].
    #[must_use]
    pub fn with_encoding(mut self, encoding: SampleEncoding) -> Self {
        self.encoding = encoding;
        self
    }

    /// Loudness of the tones; 1.0 is full scale. Default: 0.4.
    #[must_use]
    pub fn with_amplitude(mut self, amplitude: f32) -> Self {
        self.amplitude = amplitude;
        self
    }

    /// White noise of at most so many 16-bit steps everywhere, pauses too. Default: 0, digital silence.
    #[must_use]
    pub fn with_noise(mut self, amplitude: u16) -> Self {
        self.noise = amplitude;
        self
    }

    /// Samples a second.
    pub fn rate(&self) -> u32 {
        self.rate
    }

    /// Channels of the file.
    pub fn channels(&self) -> u16 {
        self.channels
    }

    /// How samples are stored in the file.
    pub fn encoding(&self) -> SampleEncoding {
        self.encoding
    }

    /// The length in samples of one channel.
    pub fn len_samples(&self) -> u64 {
        samples_of(self.duration, self.rate)
    }

    /// The words that are spoken, computed anew from the seed, with positions in samples.
    pub fn words(&self) -> SpokenWords {
        SpokenWords::new(self)
    }

    /// The words that are spoken, with times.
    pub fn truth(&self) -> impl Iterator<Item = ToneWord> + use<> {
        let rate = self.rate;
        self.words().map(move |word| word.at_rate(rate))
    }

    /// The samples of one channel, one by one. For blocks see [`ToneSamples::fill`].
    ///
    /// # Errors
    /// A rate or an amplitude that [`ToneVocabulary::new`] refuses.
    pub fn samples(&self) -> Result<ToneSamples, InvalidValue> {
        let vocabulary = ToneVocabulary::new(self.rate, self.amplitude)?;
        Ok(ToneSamples::new(self.words(), vocabulary, self.len_samples(), self.noise, self.seed))
    }
}

/// A word and where it is, in samples of one channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpokenWord {
    /// The word.
    pub code: ToneCode,
    /// The first sample.
    pub start: u64,
    /// The first sample after it.
    pub end: u64,
}

impl SpokenWord {
    /// The same with text and times, rounded to whole microseconds.
    pub fn at_rate(self, rate: u32) -> ToneWord {
        ToneWord {
            text: self.code.to_string(),
            start: time_of(self.start, rate),
            end: time_of(self.end, rate),
        }
    }
}

/// The words of a [`ToneSpeech`] in order. Its memory is constant.
#[derive(Clone, Debug)]
pub struct SpokenWords {
    pacing: Pacing,
    words: u32,
    rate: u32,
    len: u64,
    seed: u64,
    random: SplitMix,
    spoken: u64,
    left_in_phrase: u32,
    position: u64,
}

impl SpokenWords {
    fn new(speech: &ToneSpeech) -> Self {
        Self {
            pacing: speech.pacing.clone(),
            words: speech.words,
            rate: speech.rate,
            len: speech.len_samples(),
            seed: speech.seed,
            random: SplitMix::new(speech.seed),
            spoken: 0,
            left_in_phrase: 0,
            position: 0,
        }
    }

    /// Samples before the next word, or `None` if there is none.
    fn gap(&mut self) -> Option<u64> {
        let gap = match &self.pacing {
            Pacing::Phrases { words, gap, pause } => {
                let range = if self.left_in_phrase == 0 {
                    self.left_in_phrase = self.random.within(*words.start(), *words.end()).max(1);
                    pause
                } else {
                    gap
                };
                self.left_in_phrase -= 1;
                let micros = self.random.within_u64(micros(*range.start()), micros(*range.end()));
                Duration::from_micros(micros)
            }
            Pacing::Steady { gap } => *gap,
            Pacing::Unbroken => Duration::ZERO,
            Pacing::Silent => return None,
        };
        Some(samples_of(gap, self.rate))
    }

    fn code(&mut self) -> ToneCode {
        if self.words < 1 << 16 {
            let drawn = self.random.within(0, self.words - 1);
            return ToneCode::new(permuted(drawn as u16, self.seed));
        }
        let round = self.spoken >> 16;
        ToneCode::new(permuted(self.spoken as u16, self.seed ^ round.wrapping_mul(0x9e37_79b9_7f4a_7c15)))
    }
}

impl Iterator for SpokenWords {
    type Item = SpokenWord;

    fn next(&mut self) -> Option<SpokenWord> {
        let start = self.position + self.gap()?;
        let end = start + samples_of_ms(WORD_MS, self.rate);
        if end > self.len {
            // Speech ends with the first word that does not fit whole; silence fills the rest.
            self.pacing = Pacing::Silent;
            return None;
        }
        let code = self.code();
        self.spoken += 1;
        self.position = end;
        Some(SpokenWord { code, start, end })
    }
}

impl std::iter::FusedIterator for SpokenWords {}

fn micros(time: Duration) -> u64 {
    time.as_micros().min(u128::from(u64::MAX / 2)) as u64
}

/// A permutation of the sixteen-bit numbers: four rounds of a Feistel network.
fn permuted(number: u16, key: u64) -> u16 {
    let [mut left, mut right] = number.to_be_bytes();
    for round in 0..4 {
        let mixed = SplitMix::new(key ^ (u64::from(right) << 8 | round) << 32).next_u64();
        (left, right) = (right, left ^ (mixed >> 56) as u8);
    }
    u16::from_be_bytes([left, right])
}

/// The generator SplitMix64: small, fast, and the same on every machine.
#[derive(Clone, Debug)]
pub(crate) struct SplitMix(u64);

impl SplitMix {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// From 0 up to, but not including, 1.
    pub(crate) fn unit(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn within_u64(&mut self, low: u64, high: u64) -> u64 {
        let span = high.saturating_sub(low).saturating_add(1);
        low + ((u128::from(self.next_u64()) * u128::from(span)) >> 64) as u64
    }

    fn within(&mut self, low: u32, high: u32) -> u32 {
        self.within_u64(u64::from(low), u64::from(high)) as u32
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn hours(hours: u64) -> ToneSpeech {
        ToneSpeech::new(Duration::from_secs(hours * 3_600))
    }

    #[test]
    fn no_word_comes_twice_in_65536_words() {
        let codes: HashSet<u16> = (0..=u16::MAX).map(|number| permuted(number, 42)).collect();
        assert_eq!(codes.len(), 1 << 16);
        let speech = hours(5).with_pacing(Pacing::Unbroken).words().map(|word| word.code);
        assert_eq!(speech.take(1 << 16).collect::<HashSet<_>>().len(), 1 << 16);
    }

    #[test]
    fn the_words_that_follow_65536_words_come_in_another_order() {
        let codes: Vec<_> = hours(9).with_pacing(Pacing::Unbroken).words().map(|word| word.code).collect();
        let same = codes.iter().zip(codes.iter().skip(1 << 16)).filter(|(first, second)| first == second);
        assert!(codes.len() > 130_000 && same.count() < 20);
    }

    #[test]
    fn the_same_seed_speaks_the_same_words_and_another_seed_does_not() {
        let words = |seed| hours(1).with_seed(seed).words().collect::<Vec<_>>();
        assert_eq!(words(3), words(3));
        assert_ne!(words(3), words(4));
    }

    #[test]
    fn phrases_keep_to_their_gaps_and_pauses() {
        let words: Vec<_> = hours(1).words().collect();
        let gaps: Vec<u64> = words.windows(2).map(|pair| (pair[1].start - pair[0].end) / 16).collect();
        assert!(gaps.iter().all(|gap| (60..=160).contains(gap) || (300..=1_200).contains(gap)));
        assert!(gaps.iter().filter(|&&gap| gap >= 300).count() > 500);
        assert!(words.last().unwrap().end <= 3_600 * 16_000);
    }

    #[test]
    fn a_small_vocabulary_repeats_itself() {
        let words: HashSet<_> = hours(1).with_words(50).words().map(|word| word.code).collect();
        assert_eq!(words.len(), 50);
    }

    #[test]
    fn silence_and_speech_shorter_than_a_word_have_no_words() {
        assert_eq!(hours(1).with_pacing(Pacing::Silent).words().count(), 0);
        let short = ToneSpeech::new(Duration::from_millis(239)).with_pacing(Pacing::Unbroken);
        assert_eq!(short.words().count(), 0);
        assert_eq!(
            ToneSpeech::new(Duration::from_millis(240)).with_pacing(Pacing::Unbroken).words().count(),
            1
        );
    }
}
