//! The voice detector of the crate `earshot`: a small network over mel bands, about 1,000 times faster than real time.

use crate::VoiceDetector;

/// Samples of a frame: 16 ms at 16 kHz.
const FRAME: usize = 256;

/// The voice detector of the crate `earshot`.
#[derive(Clone, Copy, Debug, Default)]
pub struct EarshotVoiceDetector;

impl VoiceDetector for EarshotVoiceDetector {
    fn probabilities(&self, mono: &[f32]) -> Vec<f32> {
        let mut detector = earshot::Detector::default_boxed();
        let mut frame = [0.0; FRAME];
        let frames = mono.chunks_exact(FRAME).map(|samples| {
            for (to, from) in frame.iter_mut().zip(samples) {
                *to = if from.is_finite() { from.clamp(-1.0, 1.0) } else { 0.0 };
            }
            detector.predict_f32(&frame).clamp(0.0, 1.0)
        });
        frames.collect()
    }
}
