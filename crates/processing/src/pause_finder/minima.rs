//! The least likely places of speech in a window.

use super::FRAME;
use super::resample::{DETECTOR_RATE, Mono};
use crate::{SampleIndex, SampleSpan};

/// At most so many pauses are given for a window.
const MOST: usize = 5;

/// Two pauses are at least so many frames of 16 ms apart.
const APART: usize = 31;

/// Frames over which the probability is averaged: 0.4 s.
const LONG: usize = 25;

/// Frames if the energy has its say: 0.2 s.
const SHORT: usize = 13;

/// If the loud and the quiet differ by more than this, the energy has its say, in decibels.
const CLEAR_DB: f32 = 25.0;

/// The likelihood of speech along a window.
#[derive(Debug)]
pub(super) struct Frames {
    scores: Vec<(SampleIndex, f32)>,
}

impl Frames {
    /// What the detector said of `resampled`, smoothed, for the frames whose middle lies in `span`.
    pub(super) fn new(probabilities: &[f32], resampled: &[f32], audio: &Mono, span: SampleSpan) -> Self {
        let loudness: Vec<f32> = resampled.chunks_exact(FRAME).map(decibels).collect();
        let mut sorted = loudness.clone();
        sorted.sort_by(f32::total_cmp);
        let percentile = |part: usize| sorted.get(sorted.len() * part / 100).copied().unwrap_or_default();
        let (quiet, loud) = (percentile(5), percentile(95));
        let smooth = if loud - quiet > CLEAR_DB {
            let with_energy = probabilities
                .iter()
                .zip(&loudness)
                .map(|(speech, level)| speech + ((level - quiet) / (loud - quiet)).clamp(0.0, 1.0));
            averaged(&with_energy.collect::<Vec<f32>>(), SHORT)
        } else {
            averaged(probabilities, LONG)
        };
        let frame = FRAME as f64 * f64::from(audio.rate.hertz()) / f64::from(DETECTOR_RATE);
        let scores = smooth.iter().enumerate().filter_map(|(at, score)| {
            let middle = audio.first + ((at as f64 + 0.5) * frame) as i64;
            let middle = SampleIndex::new(u64::try_from(middle).ok()?);
            span.contains(middle).then_some((middle, score.min(1.0)))
        });
        Self { scores: scores.collect() }
    }
}

/// The lowest places, best first. Of equals, the one nearest to `target`.
pub(super) fn lowest(frames: &Frames, target: SampleIndex) -> Vec<(SampleIndex, f32)> {
    let mut order: Vec<usize> = (0..frames.scores.len()).collect();
    let key = |at: usize| {
        let (place, score) = frames.scores.get(at).copied().unwrap_or_default();
        ((score * 100.0) as u32, place.get().abs_diff(target.get()))
    };
    order.sort_by_key(|at| key(*at));
    let mut chosen: Vec<usize> = Vec::new();
    for at in order {
        if chosen.len() == MOST {
            break;
        }
        if chosen.iter().all(|other| other.abs_diff(at) >= APART) {
            chosen.push(at);
        }
    }
    chosen.iter().filter_map(|at| frames.scores.get(*at).copied()).collect()
}

/// The mean over `width` values around each.
fn averaged(values: &[f32], width: usize) -> Vec<f32> {
    let half = width / 2;
    let window = |at: usize| {
        values.get(at.saturating_sub(half)..(at + half + 1).min(values.len())).unwrap_or_default()
    };
    (0..values.len()).map(|at| window(at).iter().sum::<f32>() / window(at).len().max(1) as f32).collect()
}

fn decibels(frame: &[f32]) -> f32 {
    let power = frame.iter().map(|sample| sample * sample).sum::<f32>() / frame.len().max(1) as f32;
    10.0 * (power + 1e-9).log10()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SampleRate;

    fn frames(probabilities: &[f32]) -> Frames {
        let resampled = vec![0.1; probabilities.len() * FRAME];
        let audio = Mono { first: 0, rate: SampleRate::new(16_000).unwrap(), samples: resampled.clone() };
        Frames::new(probabilities, &resampled, &audio, SampleSpan::of_file(resampled.len() as u64))
    }

    #[test]
    fn the_longest_pause_comes_first_and_speech_not_at_all() {
        let mut heard = vec![1.0; 300];
        heard[50..60].fill(0.0);
        heard[100..130].fill(0.0);
        heard[200..220].fill(0.0);
        let found = lowest(&frames(&heard), SampleIndex::ZERO);
        let at: Vec<u64> = found.iter().map(|(at, _)| at.get() / 256).collect();
        let pauses = found.iter().filter(|(_, speech)| *speech < 0.5).count();
        assert_eq!(pauses, 2, "ten frames of silence are no pause: {found:?}");
        assert!((112..118).contains(&at[0]) && (207..213).contains(&at[1]), "{at:?}");
    }

    #[test]
    fn of_equal_pauses_the_one_nearest_to_the_target_comes_first() {
        let found = lowest(&frames(&[0.0; 400]), SampleIndex::new(256 * 222 + 128));
        assert_eq!(found[0].0.get() / 256, 222);
        assert_eq!(found.len(), 5);
    }
}
