//! How long a request takes, learned from those that were answered. It reads no clock.

use std::time::Duration;

use crate::LatencyModel;

/// Whisper hears 30 s at a time; a started window costs as much as a whole one.
const WINDOW_SECONDS: f64 = 30.0;
/// So many answers are believed whatever they say: the start may be far off.
const FIRST: u32 = 8;
/// How much of the doubt of the start comes back with each answer.
const DOUBT: f64 = 0.005;
/// What is slower than expected counts so much less, or a server under load would make its load the new normal.
const SLOW_WEIGHT: f64 = 0.1;
/// What is slower than this says something about the load, not about the audio.
const CONGESTED: f64 = 2.0;

/// Seconds that no part of an estimate is under or over.
const SHORTEST: f64 = 0.01;
const LONGEST: f64 = 3_600.0;

/// T(d) = α + β·w·⌈d/w⌉ by recursive least squares (Ljung, *System Identification*, 11.2) whose covariance leaks back to
/// that of the start, which bounds it.
#[derive(Debug)]
pub(super) struct LatencyEstimate {
    model: LatencyModel,
    per_request: f64,
    /// For a window of audio.
    per_window: f64,
    /// The covariance of the two: [αα, αβ, ββ].
    covariance: [f64; 3],
    answers: u32,
}

impl LatencyEstimate {
    pub(super) fn new(model: LatencyModel) -> Self {
        Self {
            model,
            per_request: model.per_request.as_secs_f64(),
            per_window: model.per_audio_second * WINDOW_SECONDS,
            covariance: [1.0, 0.0, 1.0],
            answers: 0,
        }
    }

    pub(super) fn model(&self) -> LatencyModel {
        LatencyModel {
            per_request: Duration::from_secs_f64(self.per_request),
            per_audio_second: self.per_window / WINDOW_SECONDS,
            ..self.model
        }
    }

    pub(super) fn expected(&self, audio: Duration) -> Duration {
        Duration::from_secs_f64(self.seconds(windows(audio)))
    }

    fn seconds(&self, windows: f64) -> f64 {
        self.per_request + self.per_window * windows
    }

    /// Takes an answer into account. `alone` says that nothing else was in flight: then slow is normal.
    pub(super) fn learn(&mut self, audio: Duration, elapsed: Duration, alone: bool) {
        let windows = windows(audio);
        let expected = self.seconds(windows);
        let elapsed = elapsed.as_secs_f64();
        let slowness = elapsed / expected;
        self.answers = self.answers.saturating_add(1);
        let weight = if self.answers <= FIRST || alone || slowness <= 1.0 {
            1.0
        } else if slowness <= CONGESTED {
            SLOW_WEIGHT
        } else {
            return;
        };
        let [aa, ab, bb] = self.covariance;
        // P·x for x = (1, windows).
        let (pa, pb) = (aa + ab * windows, ab + bb * windows);
        let denominator = 1.0 + weight * (pa + pb * windows);
        let (gain_a, gain_b) = (weight * pa / denominator, weight * pb / denominator);
        let error = elapsed - expected;
        self.per_request = (self.per_request + gain_a * error).clamp(SHORTEST, LONGEST);
        self.per_window = (self.per_window + gain_b * error).clamp(0.0, LONGEST);
        let updated = [aa - gain_a * pa, ab - gain_a * pb, bb - gain_b * pb];
        // Doubt comes back, up to that of the start: so what was learned can be learned anew, and where all chunks are
        // equally long, and nothing is learned about the one of the two, it does not grow without end.
        let start = [1.0, 0.0, 1.0];
        let mut mixed = updated.iter().zip(start).map(|(now, then)| now + DOUBT * (then - now));
        self.covariance = [(); 3].map(|()| mixed.next().unwrap_or_default());
    }
}

/// Windows of audio, at least one.
fn windows(audio: Duration) -> f64 {
    (audio.as_secs_f64() / WINDOW_SECONDS).ceil().max(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_a_server_really_takes_is_found_from_chunks_of_different_lengths() {
        let mut estimate = LatencyEstimate::new(LatencyModel::default());
        for round in 0..40_u32 {
            let audio = Duration::from_secs(u64::from(30 + round % 10 * 60));
            let windows = audio.as_secs_f64() / 30.0;
            estimate.learn(audio, Duration::from_secs_f64(4.0 + 0.3 * windows.ceil()), false);
        }
        let ten_minutes = estimate.expected(Duration::from_secs(600)).as_secs_f64();
        assert!((ten_minutes - 10.0).abs() < 0.5, "{ten_minutes}");
    }

    #[test]
    fn a_server_that_slows_down_under_load_does_not_make_that_the_normal() {
        let mut estimate = LatencyEstimate::new(LatencyModel::default());
        let minute = Duration::from_secs(60);
        for _ in 0..20 {
            estimate.learn(minute, Duration::from_secs(4), false);
        }
        for _ in 0..20 {
            estimate.learn(minute, Duration::from_secs(12), false);
        }
        assert!(estimate.expected(minute) < Duration::from_secs(5));
    }

    #[test]
    fn chunks_that_are_all_equally_long_do_not_make_the_estimate_diverge() {
        let mut estimate = LatencyEstimate::new(LatencyModel::default());
        let minute = Duration::from_secs(60);
        for answer in 0..200_000_u32 {
            estimate.learn(minute, Duration::from_micros(u64::from(answer % 7)), false);
            let expected = estimate.expected(minute);
            assert!(expected < Duration::from_secs(5), "{expected:?} after {answer} answers");
        }
        // And it still learns from the next kind of chunk.
        for _ in 0..40 {
            estimate.learn(minute, Duration::from_secs(3), true);
        }
        assert!(
            (estimate.expected(minute).as_secs_f64() - 3.0).abs() < 0.3,
            "{:?}",
            estimate.expected(minute)
        );
    }

    proptest! {
        #[test]
        fn an_estimate_is_always_a_positive_time(answers in proptest::collection::vec((1_u64..30_000, 0_u64..4_000), 0..60)) {
            let mut estimate = LatencyEstimate::new(LatencyModel::default());
            for (audio, elapsed) in answers {
                estimate.learn(Duration::from_secs(audio), Duration::from_secs(elapsed), true);
                let expected = estimate.expected(Duration::from_secs(1_000)).as_secs_f64();
                prop_assert!(expected > 0.0 && expected < 1e6, "{}", expected);
            }
        }
    }
}
