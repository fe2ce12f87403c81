//! What became of rules: the state of each alert, and what changed.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use crate::model::history::{Nanos, nanos};
use crate::model::rule::{Labels, Severity};
use crate::model::snapshot::Tick;

/// A monotonic moment in nanoseconds; after a restart, what was before has a negative one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Moment(pub(crate) Nanos);

impl Moment {
    /// The monotonic time of a tick.
    pub fn of(tick: Tick) -> Self {
        Self(nanos(tick.monotonic))
    }

    /// How long ago it was; zero if it is to come.
    pub fn age(self, now: Self) -> Duration {
        Duration::from_nanos(now.0.saturating_sub(self.0).max(0) as u64)
    }

    /// That much later.
    #[must_use]
    pub fn after(self, by: Duration) -> Self {
        Self(self.0.saturating_add(nanos(by)))
    }

    /// What the wall clock said then, judged from now.
    pub fn wall(self, now: Tick) -> SystemTime {
        let ago = self.age(Moment::of(now));
        now.wall.checked_sub(ago).unwrap_or(SystemTime::UNIX_EPOCH)
    }
}

/// Where an alert is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AlertState {
    /// True, but not yet for long enough.
    Pending,
    /// True for long enough.
    Firing,
    /// It fired and is no longer true; remembered for 15 minutes.
    Resolved,
}

/// One label set of one rule that is or was true.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Alert {
    /// The rule's name.
    pub rule: String,
    /// All its labels: `alertname`, `severity`, the rule's and the series'.
    pub labels: Labels,
    /// The rule's texts, filled in.
    pub annotations: BTreeMap<String, String>,
    /// How much it matters.
    pub severity: Severity,
    /// Where it is.
    pub state: AlertState,
    /// What the query gave last while it was true.
    pub value: f64,
    /// Since when it has been true.
    pub active_at: Moment,
    /// When it began to fire.
    pub fired_at: Option<Moment>,
    /// Since when it fires only because it is kept firing.
    pub keep_firing_since: Option<Moment>,
    /// When it was resolved.
    pub resolved_at: Option<Moment>,
    /// When it was last handed out for sending.
    pub last_sent_at: Option<Moment>,
    /// When its series last said something, and what: what is remembered while there is no data.
    pub(crate) last_seen: Moment,
}

impl Alert {
    /// What tells it from every other: its labels.
    pub fn id(&self) -> &Labels {
        &self.labels
    }

    /// Whether it has not been resolved.
    pub fn is_active(&self) -> bool {
        self.state != AlertState::Resolved
    }
}

/// All alerts of a rule set: a value that an evaluation takes and gives back.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct AlertStates {
    /// By rule, then by labels.
    #[serde(with = "by_rule")]
    pub(crate) alerts: BTreeMap<String, BTreeMap<Labels, Alert>>,
}

impl AlertStates {
    /// Every alert, also the resolved ones that are still remembered.
    pub fn iter(&self) -> impl Iterator<Item = &Alert> {
        self.alerts.values().flat_map(BTreeMap::values)
    }

    /// Those in one state.
    pub fn in_state(&self, state: AlertState) -> impl Iterator<Item = &Alert> {
        self.iter().filter(move |alert| alert.state == state)
    }

    /// Moves what another start of the process saved at `saved` into this one's time. What fires goes on firing and
    /// grows older by the downtime; what is pending does not, since nobody looked.
    pub fn rebase(&mut self, saved: Tick, now: Tick) {
        let downtime = nanos(now.wall.duration_since(saved.wall).unwrap_or_default());
        let stopped = nanos(now.monotonic).saturating_sub(nanos(saved.monotonic));
        let lived = stopped.saturating_sub(downtime);
        let shift = |moment: &mut Moment, by: Nanos| moment.0 = moment.0.saturating_add(by);
        for alert in self.alerts.values_mut().flat_map(BTreeMap::values_mut) {
            let by = if alert.state == AlertState::Pending { stopped } else { lived };
            shift(&mut alert.active_at, by);
            // Data was last seen as long ago as when it was saved: the downtime was ours, not the series'.
            shift(&mut alert.last_seen, stopped);
            let others = [
                &mut alert.fired_at,
                &mut alert.keep_firing_since,
                &mut alert.resolved_at,
                &mut alert.last_sent_at,
            ];
            others.into_iter().flatten().for_each(|moment| shift(moment, by));
        }
    }
}

/// A change of an alert's state; `None` stands for no alert.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AlertEvent {
    /// When.
    pub at: Tick,
    /// The rule's name.
    pub rule: String,
    /// All the alert's labels.
    pub labels: Labels,
    /// The state before.
    pub from: Option<AlertState>,
    /// The state after; `None` if a pending one was forgotten.
    pub to: Option<AlertState>,
    /// What the query gave.
    pub value: f64,
}

/// A rule that could not be evaluated; its alerts stay as they were.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleError {
    /// The rule's name.
    pub rule: String,
    /// Why.
    pub reason: String,
}

/// What an evaluation gives.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Evaluation {
    /// The states from now on.
    pub states: AlertStates,
    /// What changed.
    pub events: Vec<AlertEvent>,
    /// What a receiver of raw alerts, such as Prometheus' Alertmanager, is to be sent now.
    pub to_send: Vec<Alert>,
    /// Rules that failed.
    pub errors: Vec<RuleError>,
}

/// Keys of JSON objects are texts: alerts are written as a list, and found again by their own labels.
mod by_rule {
    use std::collections::BTreeMap;

    use serde::{Deserialize, Deserializer, Serializer};

    use super::{Alert, Labels};

    pub(super) fn serialize<S: Serializer>(
        alerts: &BTreeMap<String, BTreeMap<Labels, Alert>>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(alerts.values().flat_map(BTreeMap::values))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<BTreeMap<String, BTreeMap<Labels, Alert>>, D::Error> {
        let mut alerts: BTreeMap<String, BTreeMap<Labels, Alert>> = BTreeMap::new();
        for alert in Vec::<Alert>::deserialize(deserializer)? {
            alerts.entry(alert.rule.clone()).or_default().insert(alert.labels.clone(), alert);
        }
        Ok(alerts)
    }
}
