//! Finds the window's size by hill climbing on the hit ratio. Pure: it is told counts, and answers a share.

/// Shares are parts of 65,536.
#[derive(Debug)]
pub(super) struct WindowClimber {
    share: f64,
    step: f64,
    last_hits: u64,
    last_requests: u64,
    last_ratio: Option<f64>,
    ticks: u32,
}

const ONE: f64 = 65_536.0;
const LEAST: f64 = 0.01;
const MOST: f64 = 0.80;
const FIRST_STEP: f64 = 0.0625;
const FADE: f64 = 0.98;
/// A change of the hit ratio from here on is another workload: search anew.
const RESTART: f64 = 0.05;
/// How many insertions pass between two looks at the counters.
const TICKS: u32 = 256;

impl WindowClimber {
    /// 5 %.
    pub(super) const START: u32 = 3_277;

    pub(super) fn new() -> Self {
        Self {
            share: f64::from(Self::START) / ONE,
            step: FIRST_STEP,
            last_hits: 0,
            last_requests: 0,
            last_ratio: None,
            ticks: 0,
        }
    }

    /// Whether it is time to look at the counters.
    pub(super) fn tick(&mut self) -> bool {
        self.ticks = (self.ticks + 1) % TICKS;
        self.ticks == 0
    }

    /// Takes counters since the start, and the number of entries; answers the share to use. A sample is ten times
    /// as many requests as there are entries.
    pub(super) fn observe(&mut self, hits: u64, requests: u64, entries: u64) -> u32 {
        let sample = requests.saturating_sub(self.last_requests);
        if sample >= entries.max(1).saturating_mul(10) {
            let ratio = hits.saturating_sub(self.last_hits) as f64 / sample as f64;
            self.climb(ratio);
            self.last_hits = hits;
            self.last_requests = requests;
            self.last_ratio = Some(ratio);
        }
        (self.share * ONE) as u32
    }

    fn climb(&mut self, ratio: f64) {
        let change = ratio - self.last_ratio.unwrap_or(ratio);
        if change < 0.0 {
            self.step = -self.step;
        }
        if change.abs() >= RESTART {
            self.step = FIRST_STEP.copysign(self.step);
        }
        self.share = (self.share + self.step).clamp(LEAST, MOST);
        self.step *= FADE;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Climbs on a hit ratio that depends on the share alone.
    fn settle(ratio: impl Fn(f64) -> f64) -> f64 {
        let mut climber = WindowClimber::new();
        let (mut hits, mut requests, mut share) = (0.0, 0_u64, 0.05);
        for _ in 0..400 {
            requests += 1_000;
            hits += 1_000.0 * ratio(share);
            share = f64::from(climber.observe(hits as u64, requests, 100)) / ONE;
        }
        share
    }

    #[test]
    fn it_finds_the_share_with_the_best_hit_ratio() {
        let found = settle(|share| 0.6 - (share - 0.4).abs() / 4.0);
        assert!((found - 0.4).abs() < 0.08, "{found}");
    }

    #[test]
    fn it_stays_within_one_and_eighty_percent() {
        assert!(settle(|share| share) <= MOST);
        assert!(settle(|share| 1.0 - share) >= LEAST - 1e-3);
    }

    #[test]
    fn too_few_requests_change_nothing() {
        let mut climber = WindowClimber::new();
        assert_eq!(climber.observe(5, 999, 100), WindowClimber::START);
    }
}
