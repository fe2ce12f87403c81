//! The words of tone-coded speech: how sixteen bits become five tones, and how they are written down.
//!
//! Nothing here knows about pauses or files: see [`ToneSpeech`](super::ToneSpeech).

use std::f64::consts::PI;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use wavequill_kernel::InvalidValue;

/// Tones in a word: one a nibble, and one that checks them.
pub(crate) const TONES_IN_WORD: usize = 5;
/// Length of a tone in milliseconds.
pub(crate) const TONE_MS: u64 = 48;
/// Length of a word in milliseconds.
pub(crate) const WORD_MS: u64 = TONE_MS * TONES_IN_WORD as u64;
/// Length of the rise and of the fall of each tone in milliseconds.
pub(crate) const RAMP_MS: u64 = 4;

/// A word of tone-coded speech as it was spoken or heard.
///
/// Its text is `w` and four hexadecimal digits (`w04d2` is word 1234). That form was chosen over a
/// pronounceable one because a failed assertion then shows the number itself; it holds no letter outside
/// ASCII, no blank and no punctuation, so it passes unchanged through every text format. What was heard but
/// could not be read, such as half a word, has a text that begins with `x` and shows the tones that were
/// clear.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ToneWord {
    /// The word as text.
    pub text: String,
    /// Where it begins, from the beginning of the audio.
    pub start: Duration,
    /// Where it ends, from the beginning of the audio.
    pub end: Duration,
}

impl ToneWord {
    /// The word's number, or `None` if this is a garbled piece (or no tone word at all).
    pub fn code(&self) -> Option<ToneCode> {
        self.text.parse().ok()
    }

    /// The same word, later by `offset`: what a chunk heard, in the file's time.
    #[must_use]
    pub fn shifted(mut self, offset: Duration) -> Self {
        self.start += offset;
        self.end += offset;
        self
    }
}

/// The number of a word, from 0 to 65,535.
///
/// ```
/// use wavequill_external::testing::ToneCode;
///
/// let code = ToneCode::new(1234);
/// assert_eq!(code.to_string(), "w04d2");
/// assert_eq!("w04d2".parse(), Ok(code));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ToneCode(u16);

impl ToneCode {
    /// The word of this number.
    pub const fn new(number: u16) -> Self {
        Self(number)
    }

    /// The word's number.
    pub const fn number(self) -> u16 {
        self.0
    }

    /// The five tones, each from 0 to 15: the nibbles a b c d, highest first, then
    /// (3a + 5b + 7c + 11d + 1) mod 16.
    pub const fn tones(self) -> [u8; TONES_IN_WORD] {
        let [high, low] = self.0.to_be_bytes();
        let (a, b, c, d) = (high >> 4, high & 15, low >> 4, low & 15);
        [a, b, c, d, check(a, b, c, d)]
    }

    /// The word of these tones, or `None` if a tone is not below 16 or the last does not check the others.
    pub fn from_tones(tones: [u8; TONES_IN_WORD]) -> Option<Self> {
        let [a, b, c, d, last] = tones;
        let valid = tones.iter().all(|&tone| tone < 16) && check(a, b, c, d) == last;
        valid.then(|| Self(u16::from_be_bytes([a << 4 | b, c << 4 | d])))
    }
}

const fn check(a: u8, b: u8, c: u8, d: u8) -> u8 {
    (3 * a as u16 + 5 * b as u16 + 7 * c as u16 + 11 * d as u16 + 1) as u8 % 16
}

impl fmt::Display for ToneCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "w{:04x}", self.0)
    }
}

impl FromStr for ToneCode {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        let digits = text.strip_prefix('w').filter(|digits| digits.len() == 4);
        digits
            .filter(|digits| digits.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')))
            .and_then(|digits| u16::from_str_radix(digits, 16).ok())
            .map(Self)
            .ok_or_else(|| InvalidValue::new("tone word", text, "`w` and four lower-case hexadecimal digits"))
    }
}

/// The sixteen tones as samples at one rate: tone s is a sine of 500 + 180·s Hz, 48 ms long, that rises and
/// falls within 4 ms.
#[derive(Clone, Debug)]
pub struct ToneVocabulary {
    rate: u32,
    tones: Vec<Vec<i16>>,
}

impl ToneVocabulary {
    /// The lowest sample rate that carries all tones.
    pub const MIN_RATE: u32 = 8_000;
    /// The highest sample rate.
    pub const MAX_RATE: u32 = 384_000;

    /// The tones at `rate` samples a second and at `amplitude` (1.0 is full scale).
    ///
    /// # Errors
    /// A rate outside [`MIN_RATE`](Self::MIN_RATE)`..=`[`MAX_RATE`](Self::MAX_RATE), or an amplitude that is
    /// not above 0 and at most 1.
    pub fn new(rate: u32, amplitude: f32) -> Result<Self, InvalidValue> {
        if !(Self::MIN_RATE..=Self::MAX_RATE).contains(&rate) {
            return Err(InvalidValue::new("sample rate", rate, "8,000 to 384,000 Hz"));
        }
        if !(amplitude > 0.0 && amplitude <= 1.0) {
            return Err(InvalidValue::new("amplitude", amplitude, "above 0 and at most 1"));
        }
        let tones = (0..16).map(|tone| sine(tone, rate, f64::from(amplitude))).collect();
        Ok(Self { rate, tones })
    }

    /// Samples a second.
    pub fn rate(&self) -> u32 {
        self.rate
    }

    /// The length of a word in samples.
    pub fn word_samples(&self) -> u64 {
        samples_of_ms(WORD_MS, self.rate)
    }

    /// A word as samples. Where a tone does not fill its 48 ms to the sample, a zero follows it.
    pub fn word(&self, code: ToneCode) -> Vec<i16> {
        let mut samples = Vec::with_capacity(self.word_samples() as usize + 1);
        for (slot, tone) in code.tones().into_iter().enumerate() {
            samples.resize(samples_of_ms(TONE_MS * slot as u64, self.rate) as usize, 0);
            if let Some(tone) = self.tones.get(usize::from(tone)) {
                samples.extend_from_slice(tone);
            }
        }
        samples.resize(self.word_samples() as usize, 0);
        samples
    }
}

/// The frequency of a tone in Hz.
pub(crate) fn frequency(tone: usize) -> f64 {
    500.0 + 180.0 * tone as f64
}

/// Milliseconds as samples, to the nearest.
pub(crate) fn samples_of_ms(ms: u64, rate: u32) -> u64 {
    (ms * u64::from(rate) + 500) / 1_000
}

/// Samples as time, to the nearest microsecond.
pub(crate) fn time_of(samples: u64, rate: u32) -> Duration {
    let rate = u128::from(rate.max(1));
    Duration::from_micros(((u128::from(samples) * 1_000_000 + rate / 2) / rate) as u64)
}

/// Time as samples, to the nearest.
pub(crate) fn samples_of(time: Duration, rate: u32) -> u64 {
    ((time.as_nanos() * u128::from(rate) + 500_000_000) / 1_000_000_000) as u64
}

fn sine(tone: usize, rate: u32, amplitude: f64) -> Vec<i16> {
    let length = (TONE_MS * u64::from(rate) / 1_000) as usize;
    let ramp = samples_of_ms(RAMP_MS, rate) as f64;
    let step = 2.0 * PI * frequency(tone) / f64::from(rate);
    (0..length)
        .map(|n| {
            let from_edge = (n as f64 + 0.5).min(length as f64 - n as f64 - 0.5);
            let gain = if from_edge < ramp { 0.5 - 0.5 * (PI * from_edge / ramp).cos() } else { 1.0 };
            (amplitude * gain * (step * n as f64).sin() * f64::from(i16::MAX)).round() as i16
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_comes_back_from_its_text_and_from_its_tones() {
        for number in 0..=u16::MAX {
            let code = ToneCode::new(number);
            assert_eq!(code.to_string().parse(), Ok(code));
            assert_eq!(ToneCode::from_tones(code.tones()), Some(code));
        }
    }

    #[test]
    fn one_wrong_tone_never_makes_another_word() {
        // The factors 3, 5, 7 and 11 are odd, hence invertible modulo 16: any single wrong tone shows.
        for number in (0..=u16::MAX).step_by(97) {
            let tones = ToneCode::new(number).tones();
            for slot in 0..TONES_IN_WORD {
                for wrong in (0..16).filter(|&tone| tone != tones[slot]) {
                    let mut heard = tones;
                    heard[slot] = wrong;
                    assert_eq!(ToneCode::from_tones(heard), None, "{tones:?} heard as {heard:?}");
                }
            }
        }
    }

    #[test]
    fn texts_that_are_no_words_are_refused() {
        for text in ["", "w", "w04d", "w04d22", "w04D2", "x04d2", "w+4d2", "04d2", "w04d2 "] {
            assert!(text.parse::<ToneCode>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_word_lasts_240_ms_at_every_usual_rate() {
        for rate in [8_000, 11_025, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000, 96_000] {
            let vocabulary = ToneVocabulary::new(rate, 0.4).unwrap();
            let word = vocabulary.word(ToneCode::new(0xbeef));
            assert_eq!(word.len() as u64, (u64::from(rate) * 240 + 500) / 1_000, "{rate} Hz");
        }
        assert!(ToneVocabulary::new(7_999, 0.4).is_err());
        assert!(ToneVocabulary::new(16_000, 0.0).is_err());
        assert!(ToneVocabulary::new(16_000, f32::NAN).is_err());
    }
}
