//! Decoded audio, and how it is brought to what the detector hears: one channel at 16 kHz.

use crate::{AudioFile, SampleIndex, SampleRate, SampleSpan};

/// Hertz of what the detector hears.
pub(super) const DETECTOR_RATE: u32 = 16_000;

/// A place is moved at most this much to a quieter one.
const SNAP_MS: u64 = 100;

/// How long must be quiet.
const QUIET_MS: u64 = 20;

/// Decoded audio, all channels as one.
#[derive(Debug)]
pub(super) struct Mono {
    /// Where in the file the first sample lies.
    pub(super) first: i64,
    pub(super) rate: SampleRate,
    pub(super) samples: Vec<f32>,
}

impl Mono {
    /// The same at 16 kHz: a mean over each output sample's width, interpolated linearly. Good enough to hear speech.
    pub(super) fn to_detector_rate(&self) -> Vec<f32> {
        let rate = f64::from(self.rate.hertz());
        let step = rate / f64::from(DETECTOR_RATE);
        if self.rate.hertz() == DETECTOR_RATE {
            return self.samples.clone();
        }
        let frames = (self.samples.len() as f64 / step) as usize;
        if step < 1.0 {
            return (0..frames).map(|at| self.between(at as f64 * step)).collect();
        }
        let sums: Vec<f64> = std::iter::once(0.0)
            .chain(self.samples.iter().scan(0.0, |sum, sample| {
                *sum += f64::from(*sample);
                Some(*sum)
            }))
            .collect();
        let sum_to = |at: f64| {
            let whole = at as usize;
            let here = sums.get(whole).copied().unwrap_or_default();
            let next = sums.get(whole + 1).copied().unwrap_or(here);
            here + (next - here) * at.fract()
        };
        (0..frames)
            .map(|at| {
                let from = at as f64 * step;
                ((sum_to(from + step) - sum_to(from)) / step) as f32
            })
            .collect()
    }

    fn between(&self, at: f64) -> f32 {
        let whole = at as usize;
        let here = self.samples.get(whole).copied().unwrap_or_default();
        let next = self.samples.get(whole + 1).copied().unwrap_or(here);
        here + (next - here) * at.fract() as f32
    }

    /// The start of a packet near `at` with the least energy around it; of equals the first.
    pub(super) fn quietest_start(
        &self,
        file: &AudioFile,
        at: SampleIndex,
        within: SampleSpan,
    ) -> SampleIndex {
        let samples_in = |ms: u64| (u64::from(self.rate.hertz()) * ms / 1_000).max(1);
        let reach = samples_in(SNAP_MS);
        let around = SampleSpan::new(at.minus(reach), at.plus(reach + 1)).intersection(within);
        let half = samples_in(QUIET_MS) as i64 / 2;
        let energy = self.energy_sums(around, half);
        let mut best: Option<(f64, SampleIndex)> = None;
        let mut place = file.packet_start(around.start());
        while place < around.end() {
            if around.contains(place) {
                let from = (place.get() - around.start().get()) as usize;
                let sum = |at: usize| energy.get(at).copied().unwrap_or_default();
                let loudness = sum(from + 2 * half as usize) - sum(from);
                if best.is_none_or(|(least, _)| loudness < least) {
                    best = Some((loudness, place));
                }
            }
            let next = file.track().next_packet_start(place);
            if next <= place {
                break;
            }
            place = next;
        }
        best.map_or_else(|| file.packet_start(at).max(within.start()), |(_, place)| place)
    }

    /// Running sums of energy from `half` samples before `span` to as many after it.
    fn energy_sums(&self, span: SampleSpan, half: i64) -> Vec<f64> {
        let start = span.start().get() as i64 - half - self.first;
        let energies = (start..start + span.len() as i64 + 2 * half).map(|at| {
            let sample =
                usize::try_from(at).ok().and_then(|at| self.samples.get(at)).copied().unwrap_or_default();
            f64::from(sample) * f64::from(sample)
        });
        std::iter::once(0.0)
            .chain(energies.scan(0.0, |sum, energy| {
                *sum += energy;
                Some(*sum)
            }))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tone_keeps_its_shape_at_any_rate() {
        for hertz in [8_000, 11_025, 16_000, 22_050, 44_100, 48_000, 96_000] {
            let tone = |at: f64| (at * 2.0 * std::f64::consts::PI * 300.0).sin() as f32;
            let samples = (0..hertz).map(|at| tone(f64::from(at) / f64::from(hertz))).collect();
            let mono = Mono { first: 0, rate: SampleRate::new(hertz).unwrap(), samples };
            let resampled = mono.to_detector_rate();
            assert!((15_999..=16_000).contains(&resampled.len()), "{hertz} Hz: {} samples", resampled.len());
            for (at, sample) in resampled.iter().enumerate().take(15_990) {
                // The mean over an output sample lies half of it later.
                let late = if hertz > 16_000 { 0.5 - 8_000.0 / f64::from(hertz) } else { 0.0 };
                let want = tone((at as f64 + late) / 16_000.0);
                assert!((sample - want).abs() < 0.03, "{hertz} Hz, sample {at}: {sample}, not {want}");
            }
        }
    }
}
