//! How long a plan takes: chunks handed out longest first to as many workers as may be in flight.
//!
//! Request times vary. A plan is played with a few fixed draws of that variation, the same on every platform: only
//! additions and multiplications of IEEE numbers are used, no function of the C library.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use crate::{AudioFile, ConcurrencyLimit, LatencyModel, RecognizerProfile, RequestQuota, SampleSpan};

/// Recognizers of the Whisper family work in windows of this many seconds.
const WINDOW: f64 = 30.0;

/// Plays of each plan.
const PLAYS: u64 = 8;

/// The waves at the end that are played; those before them take their mean.
const PLAYED_WAVES: usize = 4;

/// Ten points of the standard normal distribution: the means of ten equally likely parts of it.
const NORMAL: [f64; 10] = [
    -1.754_983, -1.044_633, -0.677_310, -0.386_545, -0.125_661, 0.125_661, 0.386_545, 0.677_310, 1.044_633,
    1.754_983,
];

/// As many workers as requests may be in flight.
#[derive(Debug)]
pub(super) struct Workers<'a> {
    file: &'a AudioFile,
    latency: LatencyModel,
    quota: Option<RequestQuota>,
    count: usize,
    request_cost: f64,
}

impl<'a> Workers<'a> {
    pub(super) fn new(
        file: &'a AudioFile,
        profile: &RecognizerProfile,
        concurrency: ConcurrencyLimit,
        request_cost: Duration,
    ) -> Self {
        Self {
            file,
            latency: profile.latency,
            quota: profile.quota,
            count: concurrency.get(),
            request_cost: request_cost.as_secs_f64(),
        }
    }

    /// The expected time of a plan, quota included.
    pub(super) fn makespan(&self, plan: &[SampleSpan]) -> Duration {
        Duration::try_from_secs_f64(self.seconds(plan)).unwrap_or(Duration::MAX)
    }

    /// What plans are compared by: time, and a little for each request.
    pub(super) fn cost(&self, plan: &[SampleSpan]) -> f64 {
        self.seconds(plan) + self.request_cost * plan.len().saturating_sub(1) as f64
    }

    /// Whether the quota, not the workers, decides how long the plan takes.
    pub(super) fn quota_decides(&self, plan: &[SampleSpan], n: usize) -> bool {
        self.quota_seconds(n, 0.0) * 2.0 > self.seconds(plan)
    }

    fn seconds(&self, plan: &[SampleSpan]) -> f64 {
        let mut times: Vec<f64> = plan.iter().map(|span| self.request_seconds(*span)).collect();
        times.sort_by(|a, b| b.total_cmp(a));
        let Some(&shortest) = times.last() else { return 0.0 };
        let played = if self.latency.sigma > 0.0 { self.played(&times) } else { self.play(&times, |_| 1.0) };
        played.max(self.quota_seconds(times.len(), shortest))
    }

    /// T(d) = α + β·w·⌈d/w⌉ + bytes/uplink.
    fn request_seconds(&self, span: SampleSpan) -> f64 {
        let seconds = span.len() as f64 / f64::from(self.file.rate().hertz());
        let windows = (seconds / WINDOW).ceil().max(1.0);
        let sent = self.latency.uplink_bytes_per_second.filter(|rate| *rate > 0.0);
        let sent = sent.map_or(0.0, |rate| self.file.chunk_size(span).bytes() as f64 / rate);
        self.latency.per_request.as_secs_f64()
            + self.latency.per_audio_second.max(0.0) * WINDOW * windows
            + sent
    }

    /// The earliest end of `n` requests by the quota alone, if the last takes `last` seconds.
    fn quota_seconds(&self, n: usize, last: f64) -> f64 {
        let Some(quota) = self.quota.filter(|quota| quota.per_minute > 0.0) else { return 0.0 };
        let waiting = n.saturating_sub(quota.burst.max(1) as usize) as f64;
        if waiting > 0.0 { waiting * 60.0 / quota.per_minute + last } else { 0.0 }
    }

    /// The mean over some plays with varying times.
    fn played(&self, times: &[f64]) -> f64 {
        let head = times.len().saturating_sub(PLAYED_WAVES * self.count);
        let (steady, last) = times.split_at(head);
        let before = steady.iter().sum::<f64>() / self.count as f64;
        let sigma = self.latency.sigma.min(1.5);
        let factors = NORMAL.map(|z| exp(sigma * z - sigma * sigma / 2.0));
        let mean = factors.iter().sum::<f64>() / factors.len() as f64;
        let plays = (0..PLAYS).map(|play| {
            self.play(last, |at| {
                let drawn = mix(play << 32 | at as u64) % NORMAL.len() as u64;
                factors.get(drawn as usize).copied().unwrap_or(mean) / mean
            })
        });
        before + plays.sum::<f64>() / PLAYS as f64
    }

    /// The time until all are done if each free worker takes the longest that is left.
    fn play(&self, times: &[f64], factor: impl Fn(usize) -> f64) -> f64 {
        let mut free_at: BinaryHeap<Reverse<Moment>> =
            (0..self.count.min(times.len())).map(|_| Reverse(Moment(0.0))).collect();
        let mut end = 0.0_f64;
        for (at, time) in times.iter().enumerate() {
            let Some(Reverse(Moment(start))) = free_at.pop() else { break };
            let done = start + time * factor(at);
            end = end.max(done);
            free_at.push(Reverse(Moment(done)));
        }
        end
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Moment(f64);

impl Eq for Moment {}

impl PartialOrd for Moment {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Moment {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.total_cmp(&other.0)
    }
}

/// e^x for small x, from multiplications alone: (1 + x/1024)^1024.
fn exp(x: f64) -> f64 {
    (0..10).fold(1.0 + x / 1_024.0, |power, _| power * power)
}

/// The finaliser of SplitMix64.
fn mix(n: u64) -> u64 {
    let n = n.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let n = (n ^ (n >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let n = (n ^ (n >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    n ^ (n >> 31)
}
