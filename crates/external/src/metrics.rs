//! The handles of the metrics that this context emits. Each struct is made by the constructor of the service that uses
//! it; nothing is registered later.
#![expect(clippy::disallowed_macros, reason = "the one file of this context in which metrics are registered")]

use std::collections::BTreeMap;
use std::time::Duration;

use metrics::{
    Counter, Gauge, Histogram, Unit, counter, describe_counter, describe_gauge, describe_histogram,
};
use metrics::{gauge, histogram};

use crate::error::Phase;
use crate::model::capabilities::{CapabilityTable, ModelId};
use crate::model::quota::{Dimension, Observation, QuotaView, StopCause, ThrottleCause};
use crate::ports::ReplayCause;

macro_rules! name {
    ($rest:literal) => {
        concat!("wavequill_external_", $rest)
    };
}

/// How an attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Ok,
    Throttled,
    Transient,
    Permanent,
    Cancelled,
}

impl Outcome {
    const ALL: [Self; 5] = [Self::Ok, Self::Throttled, Self::Transient, Self::Permanent, Self::Cancelled];

    fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Throttled => "throttled",
            Self::Transient => "transient",
            Self::Permanent => "permanent",
            Self::Cancelled => "cancelled",
        }
    }
}

/// The handles of one model.
#[derive(Clone, Debug)]
pub(crate) struct ModelMetrics {
    seconds: BTreeMap<&'static str, Histogram>,
    attempts: BTreeMap<&'static str, Counter>,
    audio_ok: Histogram,
    audio_failed: Histogram,
    cost: Counter,
    pub(crate) retires: Gauge,
}

/// Stands for "never" in a gauge, which must be finite: 100 years.
const NO_END_IN_SIGHT_SECONDS: f64 = 100.0 * 365.25 * 86_400.0;

impl ModelMetrics {
    fn register(model: &str) -> Self {
        let model = model.to_owned();
        let seconds = |outcome: Outcome| {
            let outcome = outcome.as_str();
            (outcome, histogram!(name!("request_seconds"), "model" => model.clone(), "outcome" => outcome))
        };
        let attempts = |outcome: Outcome| {
            let outcome = outcome.as_str();
            (outcome, counter!(name!("attempts_total"), "model" => model.clone(), "outcome" => outcome))
        };
        let audio = |outcome: &'static str| histogram!(name!("request_audio_seconds"), "model" => model.clone(), "outcome" => outcome);
        let retires = gauge!(name!("model_retires_seconds"), "model" => model.clone());
        // Zero would say that a model nobody uses ends today.
        retires.set(NO_END_IN_SIGHT_SECONDS);
        Self {
            seconds: Outcome::ALL.map(seconds).into(),
            attempts: Outcome::ALL.map(attempts).into(),
            audio_ok: audio("ok"),
            audio_failed: audio("failed"),
            cost: counter!(name!("cost_microdollars_total"), "model" => model.clone()),
            retires,
        }
    }

    /// A whole request, waiting included.
    pub(crate) fn request(&self, outcome: Outcome, took: Duration, audio: Duration) {
        if let Some(seconds) = self.seconds.get(outcome.as_str()) {
            seconds.record(took.as_secs_f64());
        }
        let by_outcome = if outcome == Outcome::Ok { &self.audio_ok } else { &self.audio_failed };
        by_outcome.record(audio.as_secs_f64());
    }

    /// One time that a request was sent.
    pub(crate) fn attempt(&self, outcome: Outcome) {
        if let Some(attempts) = self.attempts.get(outcome.as_str()) {
            attempts.increment(1);
        }
    }

    pub(crate) fn cost(&self, microdollars: u64) {
        self.cost.increment(microdollars);
    }
}

/// The handles of a speech API.
#[derive(Clone, Debug)]
pub(crate) struct ApiMetrics {
    models: BTreeMap<ModelId, ModelMetrics>,
    other: ModelMetrics,
    phases: BTreeMap<&'static str, Histogram>,
    pub(crate) double_bills: Counter,
    pub(crate) circuit_open: Gauge,
}

impl ApiMetrics {
    pub(crate) fn register(table: &CapabilityTable) -> Self {
        describe_histogram!(
            name!("request_seconds"),
            Unit::Seconds,
            "Time of a request, waiting for quota included"
        );
        describe_counter!(name!("attempts_total"), Unit::Count, "Requests sent, by how they ended");
        describe_histogram!(name!("request_audio_seconds"), Unit::Seconds, "Audio of a request");
        describe_counter!(
            name!("cost_microdollars_total"),
            Unit::Count,
            "Price of what was transcribed, where known"
        );
        describe_gauge!(
            name!("model_retires_seconds"),
            Unit::Seconds,
            "Time until its provider ends the model; a century while it is not used, or if no end is announced"
        );
        describe_histogram!(name!("phase_seconds"), Unit::Seconds, "Time of a phase of a request");
        describe_counter!(
            name!("double_bills_total"),
            Unit::Count,
            "Failures after which a retry may be billed twice"
        );
        describe_gauge!(
            name!("circuit_open"),
            "1 while nothing is sent to an API that fails again and again"
        );
        let models = table.models().map(|model| (model.clone(), ModelMetrics::register(model.as_str())));
        Self {
            models: models.collect(),
            other: ModelMetrics::register("other"),
            phases: phases([Phase::Stream, Phase::Body]),
            double_bills: counter!(name!("double_bills_total")),
            circuit_open: gauge!(name!("circuit_open")),
        }
    }

    pub(crate) fn model(&self, model: &ModelId) -> &ModelMetrics {
        self.models.get(model).unwrap_or(&self.other)
    }

    pub(crate) fn phase(&self, phase: Phase, took: Duration) {
        record_phase(&self.phases, phase, took);
    }
}

fn phases<const N: usize>(phases: [Phase; N]) -> BTreeMap<&'static str, Histogram> {
    let handle =
        |phase: Phase| (phase.as_str(), histogram!(name!("phase_seconds"), "phase" => phase.as_str()));
    phases.map(handle).into()
}

fn record_phase(phases: &BTreeMap<&'static str, Histogram>, phase: Phase, took: Duration) {
    if let Some(seconds) = phases.get(phase.as_str()) {
        seconds.record(took.as_secs_f64());
    }
}

/// The handles of a rate limit handler.
#[derive(Clone, Debug)]
pub(crate) struct QuotaMetrics {
    pub(crate) wait: Histogram,
    limit: [Gauge; 5],
    remaining: [Gauge; 5],
    pub(crate) retry_after: Histogram,
    pub(crate) bad_headers: Counter,
    throttled: [Counter; 4],
    hard_stops: [Counter; 2],
    pub(crate) key_stopped: Gauge,
    pub(crate) ledger_errors: Counter,
}

impl QuotaMetrics {
    pub(crate) fn register() -> Self {
        describe_histogram!(name!("quota_wait_seconds"), Unit::Seconds, "Wait for quota");
        describe_gauge!(name!("quota_limit"), "The limit of a dimension of the quota");
        describe_gauge!(name!("quota_remaining"), "What is left of it now");
        describe_histogram!(name!("retry_after_seconds"), Unit::Seconds, "Patience that the API asked for");
        describe_counter!(name!("bad_headers_total"), Unit::Count, "Quota headers that made no sense");
        describe_counter!(name!("throttled_total"), Unit::Count, "Refusals of the quota, by cause");
        describe_counter!(name!("hard_stops_total"), Unit::Count, "Refusals of the credential, by cause");
        describe_gauge!(name!("key_stopped"), "1 while a credential is refused");
        describe_counter!(
            name!("ledger_errors_total"),
            Unit::Count,
            "Times that the ledger could not be asked"
        );
        let dimensions = ["requests", "tokens", "audio", "bytes", "concurrency"];
        Self {
            wait: histogram!(name!("quota_wait_seconds")),
            limit: dimensions.map(|dimension| gauge!(name!("quota_limit"), "dimension" => dimension)),
            remaining: dimensions.map(|dimension| gauge!(name!("quota_remaining"), "dimension" => dimension)),
            retry_after: histogram!(name!("retry_after_seconds")),
            bad_headers: counter!(name!("bad_headers_total")),
            throttled: ["rate", "ramp", "concurrency", "unknown"]
                .map(|cause| counter!(name!("throttled_total"), "cause" => cause)),
            hard_stops: ["billing", "credential"]
                .map(|cause| counter!(name!("hard_stops_total"), "cause" => cause)),
            key_stopped: gauge!(name!("key_stopped")),
            ledger_errors: counter!(name!("ledger_errors_total")),
        }
    }

    pub(crate) fn throttled(&self, cause: ThrottleCause) {
        let [rate, ramp, concurrency, unknown] = &self.throttled;
        match cause {
            ThrottleCause::Rate => rate,
            ThrottleCause::Ramp => ramp,
            ThrottleCause::Concurrency => concurrency,
            ThrottleCause::Unknown => unknown,
        }
        .increment(1);
    }

    pub(crate) fn hard_stop(&self, cause: StopCause) {
        let [billing, credential] = &self.hard_stops;
        match cause {
            StopCause::Billing => billing,
            StopCause::Credential => credential,
        }
        .increment(1);
        self.key_stopped.set(1.0);
    }

    /// What a ledger knows after a request has ended.
    pub(crate) fn settled(&self, view: &QuotaView, seen: &Observation) {
        self.bad_headers.increment(u64::from(seen.limits.bad_headers));
        for dimension in &view.dimensions {
            self.dimension(dimension.dimension, dimension.limit.amount, dimension.remaining);
        }
        if let Some(most) = view.max_in_flight {
            self.concurrency(most, view.in_flight);
        }
        if view.stop.is_none() {
            self.key_stopped.set(0.0);
        }
    }

    fn dimension(&self, dimension: Dimension, limit: f64, remaining: f64) {
        if let (Some(l), Some(r)) = (self.limit.get(dimension.index()), self.remaining.get(dimension.index()))
        {
            l.set(limit);
            r.set(remaining);
        }
    }

    fn concurrency(&self, limit: u32, in_flight: u32) {
        let ([.., l], [.., r]) = (&self.limit, &self.remaining);
        l.set(f64::from(limit));
        r.set(f64::from(limit.saturating_sub(in_flight)));
    }
}

/// Why a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CloseCause {
    Goaway,
    Idle,
    Age,
    Error,
    Failed,
}

/// The handles of a connection pool.
#[derive(Clone, Debug)]
pub(crate) struct PoolMetrics {
    connections: BTreeMap<(&'static str, &'static str), Gauge>,
    closed: [Counter; 5],
    pub(crate) streams: Gauge,
    replays: [Counter; 3],
    pub(crate) sent_bytes: Counter,
    pub(crate) received_bytes: Counter,
    pub(crate) wasted_throttled: Counter,
    pub(crate) wasted_reset: Counter,
    pub(crate) wasted_cancelled: Counter,
    phases: BTreeMap<&'static str, Histogram>,
}

impl PoolMetrics {
    pub(crate) fn register() -> Self {
        describe_gauge!(name!("connections"), "Connections by protocol and state");
        describe_counter!(name!("connections_closed_total"), Unit::Count, "Connections that ended, by cause");
        describe_gauge!(name!("streams"), "Requests on connections");
        describe_counter!(
            name!("replays_total"),
            Unit::Count,
            "Requests sent again since they were never processed"
        );
        describe_counter!(name!("sent_bytes_total"), Unit::Bytes, "Bytes of request bodies sent");
        describe_counter!(name!("received_bytes_total"), Unit::Bytes, "Bytes of answers' bodies received");
        describe_counter!(name!("wasted_bytes_total"), Unit::Bytes, "Bytes of bodies sent in vain, by cause");
        let state = |(protocol, state): (&'static str, &'static str)| {
            ((protocol, state), gauge!(name!("connections"), "protocol" => protocol, "state" => state))
        };
        let states = [
            ("h1", "active"),
            ("h1", "idle"),
            ("h1", "draining"),
            ("h2", "active"),
            ("h2", "idle"),
            ("h2", "draining"),
        ];
        let wasted = |cause: &'static str| counter!(name!("wasted_bytes_total"), "cause" => cause);
        Self {
            connections: states.map(state).into(),
            closed: ["goaway", "idle", "age", "error", "failed"]
                .map(|cause| counter!(name!("connections_closed_total"), "cause" => cause)),
            streams: gauge!(name!("streams")),
            replays: ["goaway", "refused", "unsent"]
                .map(|cause| counter!(name!("replays_total"), "cause" => cause)),
            sent_bytes: counter!(name!("sent_bytes_total")),
            received_bytes: counter!(name!("received_bytes_total")),
            wasted_throttled: wasted("throttled"),
            wasted_reset: wasted("reset"),
            wasted_cancelled: wasted("cancelled"),
            phases: phases([Phase::Upload, Phase::FirstByte]),
        }
    }

    pub(crate) fn connections(&self, protocol: &'static str, state: &'static str, count: usize) {
        if let Some(gauge) = self.connections.get(&(protocol, state)) {
            gauge.set(count as f64);
        }
    }

    pub(crate) fn closed(&self, cause: CloseCause) {
        let [goaway, idle, age, error, failed] = &self.closed;
        match cause {
            CloseCause::Goaway => goaway,
            CloseCause::Idle => idle,
            CloseCause::Age => age,
            CloseCause::Error => error,
            CloseCause::Failed => failed,
        }
        .increment(1);
    }

    pub(crate) fn replay(&self, cause: ReplayCause) {
        let [goaway, refused, unsent] = &self.replays;
        match cause {
            ReplayCause::GoAway => goaway,
            ReplayCause::Refused => refused,
            ReplayCause::Unsent => unsent,
        }
        .increment(1);
    }

    pub(crate) fn phase(&self, phase: Phase, took: Duration) {
        record_phase(&self.phases, phase, took);
    }
}

/// The handles of a transport.
#[cfg(feature = "hyper")]
#[derive(Clone, Debug)]
pub(crate) struct TransportMetrics {
    phases: BTreeMap<&'static str, Histogram>,
}

#[cfg(feature = "hyper")]
impl TransportMetrics {
    pub(crate) fn register() -> Self {
        Self { phases: phases([Phase::Dns, Phase::Connect, Phase::Tls]) }
    }

    pub(crate) fn phase(&self, phase: Phase, took: Duration) {
        record_phase(&self.phases, phase, took);
    }
}
