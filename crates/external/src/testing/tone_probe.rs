//! Reads one tone: which of the sixteen frequencies is in a stretch of samples.

use std::f64::consts::PI;

use super::tone_vocabulary::{TONE_MS, TONES_IN_WORD, ToneCode, frequency, samples_of_ms};

/// How much stronger than the second the strongest tone is at least, in power.
const CLEAR: f32 = 1.25;
/// Higher rates are read sample by sample at about this one: the tones end at 3,200 Hz.
const READ_RATE: u32 = 16_000;

/// Discrete Fourier transforms of the middle two thirds of a tone at the sixteen frequencies, under a Hann
/// window.
#[derive(Clone, Debug)]
pub(crate) struct ToneProbe {
    rate: u32,
    stride: usize,
    waves: Vec<Vec<Wave>>,
}

#[derive(Clone, Copy, Debug)]
struct Wave {
    cos: f32,
    sin: f32,
}

impl ToneProbe {
    pub(crate) fn new(rate: u32) -> Self {
        let stride = (rate / READ_RATE).max(1) as usize;
        let count = samples_of_ms(TONE_MS * 2 / 3, rate) as usize / stride;
        let wave = |tone: usize, n: usize| {
            let window = 0.5 - 0.5 * (2.0 * PI * (n as f64 + 0.5) / count as f64).cos();
            let phase = 2.0 * PI * frequency(tone) * (n * stride) as f64 / f64::from(rate);
            Wave { cos: (window * phase.cos()) as f32, sin: (window * phase.sin()) as f32 }
        };
        let waves = (0..16).map(|tone| (0..count).map(|n| wave(tone, n)).collect()).collect();
        Self { rate, stride, waves }
    }

    /// The tone of a slot that begins at `start`, if one is clear. The slot may lie outside the samples in
    /// part, as long as they hold more than half of its middle.
    pub(crate) fn tone(&self, samples: &[i16], start: i64) -> Option<u8> {
        let from = start + samples_of_ms(TONE_MS / 6, self.rate) as i64;
        let count = self.waves.first()?.len();
        let missing = usize::try_from(-from).unwrap_or(0).div_ceil(self.stride);
        let middle = samples.get(usize::try_from(from + (missing * self.stride) as i64).ok()?..)?;
        if middle.len() / self.stride < (count / 2 + 1).saturating_sub(missing) || missing > count / 2 {
            return None;
        }
        let (mut best, mut second, mut tone) = (0.0_f32, 0.0_f32, 0);
        for (number, wave) in self.waves.iter().enumerate() {
            let (mut real, mut imaginary) = (0.0_f32, 0.0_f32);
            for (&sample, wave) in middle.iter().step_by(self.stride).zip(wave.iter().skip(missing)) {
                real += f32::from(sample) * wave.cos;
                imaginary += f32::from(sample) * wave.sin;
            }
            let power = real * real + imaginary * imaginary;
            if power > best {
                (best, second, tone) = (power, best, number as u8);
            } else if power > second {
                second = power;
            }
        }
        (best > CLEAR * second).then_some(tone)
    }

    /// The five tones of a word that begins at `start`; those that are not clear are `None`.
    pub(crate) fn tones(&self, samples: &[i16], start: i64) -> [Option<u8>; TONES_IN_WORD] {
        std::array::from_fn(|slot| {
            let offset = samples_of_ms(TONE_MS * slot as u64, self.rate) as i64;
            self.tone(samples, start + offset)
        })
    }

    /// The word that begins at `start`, if its tones are clear and check.
    pub(crate) fn word(&self, samples: &[i16], start: i64) -> Option<ToneCode> {
        let mut tones = [0; TONES_IN_WORD];
        for (tone, heard) in tones.iter_mut().zip(self.tones(samples, start)) {
            *tone = heard?;
        }
        ToneCode::from_tones(tones)
    }
}
