//! What a service has done so far, in the numbers that its users ask for, read from its metrics.

use std::collections::BTreeMap;

use serde::Serialize;
use wavequill_monitoring::{MetricsSnapshot, Percentiles, SeriesKey, Sketch};

/// What a service has done since it was built. All of it comes from the metrics that the contexts emit, so that a
/// dashboard shows the same.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Usage {
    /// Requests that were sent to the API, each retry counted.
    pub requests: u64,
    /// Requests that were sent again because an earlier one failed.
    pub retries: u64,
    /// Refusals for lack of quota.
    pub throttled: u64,
    /// Seconds of audio that were sent, each time counted.
    pub seconds_sent: f64,
    /// Bytes of requests' bodies that were sent.
    pub bytes_sent: u64,
    /// What the answers cost in millionths of a US dollar, as far as prices are known.
    pub cost_microdollars: u64,
    /// Latencies by what they are of, in seconds.
    pub latencies: BTreeMap<&'static str, Latency>,
}

/// The percentiles of a latency, in seconds, each right to 0.55 %.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Latency {
    /// How often it was measured.
    pub count: u64,
    /// The mean.
    pub mean: f64,
    /// Half are at most this.
    pub p50: f64,
    /// Nine in ten are at most this.
    pub p90: f64,
    /// 95 in 100 are at most this.
    pub p95: f64,
    /// 99 in 100 are at most this.
    pub p99: f64,
    /// The longest.
    pub max: f64,
}

/// The latencies that are shown, by the metric that they are read from.
const LATENCIES: [(&str, &str); 5] = [
    ("request", "wavequill_external_request_seconds"),
    ("quota_wait", "wavequill_external_quota_wait_seconds"),
    ("chunk", "wavequill_processing_chunk_seconds"),
    ("file", "wavequill_processing_run_seconds"),
    ("pool_wait", "wavequill_database_acquire_seconds"),
];

impl Usage {
    pub(crate) fn of(snapshot: &MetricsSnapshot) -> Self {
        let audio = merged(snapshot, "wavequill_external_request_audio_seconds");
        let latencies = LATENCIES
            .iter()
            .filter_map(|(name, metric)| Some((*name, latency(&merged(snapshot, metric)?)?)))
            .collect();
        Self {
            requests: snapshot.counter_total("wavequill_external_attempts_total"),
            retries: snapshot.counter_total("wavequill_processing_retries_total"),
            throttled: snapshot.counter_total("wavequill_external_throttled_total"),
            seconds_sent: audio.map_or(0.0, |sketch| sketch.sum()),
            bytes_sent: snapshot.counter_total("wavequill_external_sent_bytes_total"),
            cost_microdollars: snapshot.counter_total("wavequill_external_cost_microdollars_total"),
            latencies,
        }
    }
}

/// All series of a metric as one.
fn merged(snapshot: &MetricsSnapshot, metric: &str) -> Option<Sketch> {
    let of_metric = |series: &SeriesKey| series.name().as_str() == metric;
    let mut sketches = snapshot.sketches().filter(|(series, _)| of_metric(series)).map(|(_, sketch)| sketch);
    let first = sketches.next()?.clone();
    // Series of one metric have one unit: they merge.
    sketches.try_fold(first, |all, next| all.merge(next)).ok()
}

fn latency(sketch: &Sketch) -> Option<Latency> {
    let Percentiles { p50, p90, p95, p99, max, .. } = sketch.percentiles()?;
    Some(Latency { count: sketch.count(), mean: sketch.mean()?, p50, p90, p95, p99, max })
}
