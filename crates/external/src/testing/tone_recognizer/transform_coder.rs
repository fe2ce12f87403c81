//! What a lossy codec does to tones, for tests: a lapped transform as that of MP3 (576 lines, sine window), of which
//! only the strongest lines are kept, each to a few bits. It smears onsets by up to 36 ms at 16 kHz, as MP3 does.

use std::f32::consts::PI;

const LINES: usize = 576;

/// Codes and decodes: of each block of 576 samples `kept` lines survive, rounded to sixteenths of the strongest.
pub(super) fn coded(samples: &[i16], kept: usize) -> Vec<i16> {
    let angle = |line: usize, n: usize| {
        PI / LINES as f32 * (n as f32 + 0.5 + LINES as f32 / 2.0) * (line as f32 + 0.5)
    };
    let basis: Vec<Vec<f32>> =
        (0..LINES).map(|line| (0..2 * LINES).map(|n| angle(line, n).cos()).collect()).collect();
    let window: Vec<f32> =
        (0..2 * LINES).map(|n| (PI / (2 * LINES) as f32 * (n as f32 + 0.5)).sin()).collect();
    // A block before and one after, so that each sample lies in two.
    let blocks = samples.len().div_ceil(LINES) + 1;
    let mut padded = vec![0.0_f32; (blocks + 1) * LINES];
    for (to, &from) in padded[LINES..].iter_mut().zip(samples) {
        *to = f32::from(from);
    }
    let mut decoded = vec![0.0_f32; padded.len()];
    for block in 0..blocks {
        let input: Vec<f32> = padded[block * LINES..][..2 * LINES]
            .iter()
            .zip(&window)
            .map(|(sample, gain)| sample * gain)
            .collect();
        let mut lines: Vec<f32> =
            basis.iter().map(|wave| wave.iter().zip(&input).map(|(a, b)| a * b).sum()).collect();
        quantise(&mut lines, kept);
        for (line, wave) in lines.iter().zip(&basis).filter(|(line, _)| **line != 0.0) {
            for (n, (to, value)) in decoded[block * LINES..][..2 * LINES].iter_mut().zip(wave).enumerate() {
                *to += line * value * window[n] / LINES as f32;
            }
        }
    }
    decoded[LINES..][..samples.len()].iter().map(|sample| sample.round() as i16).collect()
}

fn quantise(lines: &mut [f32], kept: usize) {
    let mut strengths: Vec<f32> = lines.iter().map(|line| line.abs()).collect();
    strengths.sort_by(|a, b| b.total_cmp(a));
    let step = strengths[0] / 16.0;
    let least = strengths[kept];
    for line in lines {
        *line = if line.abs() > least && step > 0.0 { (*line / step).round() * step } else { 0.0 };
    }
}
