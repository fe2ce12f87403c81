//! Whether monitoring itself works, in words.

use std::time::Duration;

use serde::Serialize;

use crate::model::alert::RuleError;
use crate::model::snapshot::Tick;

/// What works and what does not.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Health {
    /// How long ago the latest tick was; `None` before the first.
    pub tick_age: Option<Duration>,
    /// Whether ticks come when they should.
    pub ticks: bool,
    /// Every sink.
    pub sinks: Vec<SinkHealth>,
    /// Rules that failed at the latest tick.
    pub rule_errors: Vec<RuleError>,
    /// Why the state could not be saved or read, if so.
    pub state_error: Option<String>,
    /// Why snapshots could not be exchanged, if so.
    pub exchange_error: Option<String>,
}

/// One sink.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SinkHealth {
    /// Its name.
    pub name: String,
    /// How many notifications wait.
    pub queued: usize,
    /// How many were dropped since the start.
    pub dropped: u64,
    /// Why the last delivery failed; `None` once one succeeded.
    pub last_error: Option<String>,
}

/// What went wrong lately.
#[derive(Debug, Default)]
pub(super) struct Troubles {
    pub(super) rules: Vec<RuleError>,
    pub(super) state: Option<String>,
    pub(super) exchange: Option<String>,
}

impl Health {
    /// Whether everything works.
    pub fn is_healthy(&self) -> bool {
        self.ticks
            && self.rule_errors.is_empty()
            && self.state_error.is_none()
            && self.exchange_error.is_none()
            && self.sinks.iter().all(|sink| sink.last_error.is_none())
    }

    pub(super) fn of(
        last: Option<Tick>,
        now: Tick,
        interval: Duration,
        sinks: Vec<SinkHealth>,
        troubles: &Troubles,
    ) -> Self {
        let tick_age = last.map(|last| now.monotonic.saturating_sub(last.monotonic));
        Self {
            tick_age,
            ticks: tick_age.is_none_or(|age| age <= 3 * interval),
            sinks,
            rule_errors: troubles.rules.clone(),
            state_error: troubles.state.clone(),
            exchange_error: troubles.exchange.clone(),
        }
    }
}
