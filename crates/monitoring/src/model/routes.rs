//! Who is told of which alerts, in which groups, how often, and what is held back.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use crate::model::alert::{Alert, AlertState, Moment};
use crate::model::rule::{LabelMatch, Labels, duration_text};
use crate::model::snapshot::Tick;

/// Label values that an alert must have.
pub type Matches = BTreeMap<String, LabelMatch>;

/// Whether labels meet all matches; a label that is not there is the empty value.
pub(crate) fn meets(labels: &Labels, matches: &Matches) -> bool {
    matches.iter().all(|(label, wanted)| wanted.matches(labels.get(label).map_or("", String::as_str)))
}

/// Some alerts, and the receiver that is told of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Route {
    /// The name of the sink.
    pub receiver: String,
    /// Only alerts with these labels. Default: all.
    pub matches: Matches,
    /// Alerts that agree in these labels are told of together. Default: `alertname`.
    pub group_by: Vec<String>,
    /// How long a new group waits for more. Default: 30 s.
    #[serde(with = "duration_text")]
    pub group_wait: Duration,
    /// How long after a notification the next of the group may go out. Default: 5 min.
    #[serde(with = "duration_text")]
    pub group_interval: Duration,
    /// How long until what still fires is told again. Default: 4 h.
    #[serde(with = "duration_text")]
    pub repeat_interval: Duration,
}

impl Route {
    /// All alerts to one sink.
    pub fn to(receiver: impl Into<String>) -> Self {
        Self { receiver: receiver.into(), ..Self::default() }
    }

    /// Only alerts with this value of a label.
    #[must_use]
    pub fn with_match(mut self, label: impl Into<String>, value: impl Into<LabelMatch>) -> Self {
        self.matches.insert(label.into(), value.into());
        self
    }
}

impl Default for Route {
    fn default() -> Self {
        Self {
            receiver: "log".to_owned(),
            matches: Matches::new(),
            group_by: vec!["alertname".to_owned()],
            group_wait: Duration::from_secs(30),
            group_interval: Duration::from_secs(300),
            repeat_interval: Duration::from_secs(4 * 3_600),
        }
    }
}

/// While a source fires, its targets are not told of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Inhibition {
    /// Which alerts hold back.
    pub source: Matches,
    /// Which are held back.
    pub target: Matches,
    /// Only where these labels are equal. Default: anywhere.
    #[serde(default)]
    pub equal: Vec<String>,
}

/// Alerts nobody wants to hear of until a time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Silence {
    /// Which alerts.
    pub matches: Matches,
    /// Until when, by the wall clock.
    pub until: SystemTime,
    /// Why, for those who wonder.
    #[serde(default)]
    pub comment: String,
}

/// The whole routing: the first route that matches tells.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Routes {
    /// Tried in order.
    pub routes: Vec<Route>,
    /// What no route matches. Default: to the sink `log`.
    pub fallback: Route,
    /// What holds back what.
    pub inhibitions: Vec<Inhibition>,
    /// What is silenced.
    pub silences: Vec<Silence>,
}

impl Routes {
    /// Everything to one sink.
    pub fn all_to(receiver: impl Into<String>) -> Self {
        Self { fallback: Route::to(receiver), ..Self::default() }
    }

    /// The route of an alert.
    pub(crate) fn route(&self, labels: &Labels) -> &Route {
        self.routes.iter().find(|route| meets(labels, &route.matches)).unwrap_or(&self.fallback)
    }
}

/// One group of alerts of one receiver.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct GroupKey {
    pub(crate) receiver: String,
    pub(crate) labels: Labels,
}

/// What a group was last told of.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct GroupState {
    pub(crate) key: GroupKey,
    pub(crate) next_flush: Moment,
    pub(crate) told_at: Option<Moment>,
    pub(crate) firing: BTreeSet<Labels>,
    pub(crate) resolved: BTreeSet<Labels>,
    /// Resolved alerts that have not been told of yet.
    pub(crate) pending_resolved: Vec<Alert>,
}

/// How often an alert turned lately.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Turns {
    pub(crate) labels: Labels,
    pub(crate) state: AlertState,
    pub(crate) at: Vec<Moment>,
    pub(crate) flapping: Flapping,
}

/// Whether an alert turns too often to be told of each time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Flapping {
    No,
    /// It is, and the one notice is still to go out.
    ToTell,
    /// It is, and that has been told.
    Told,
}

/// What routing remembers: a value that it takes and gives back.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RouteStates {
    pub(crate) groups: Vec<GroupState>,
    pub(crate) turns: Vec<Turns>,
}

impl RouteStates {
    /// Moves what another start of the process saved at `saved` into this one's time.
    pub fn rebase(&mut self, saved: Tick, now: Tick) {
        let shift = Moment::of(now).0.saturating_sub(Moment::of(saved).0).saturating_sub(
            crate::model::history::nanos(now.wall.duration_since(saved.wall).unwrap_or_default()),
        );
        let moved = |moment: &mut Moment| moment.0 = moment.0.saturating_add(shift);
        for group in &mut self.groups {
            moved(&mut group.next_flush);
            group.told_at.iter_mut().for_each(moved);
        }
        self.turns.iter_mut().flat_map(|turns| &mut turns.at).for_each(moved);
    }
}

/// Something to tell a receiver.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Notification {
    /// The name of the sink.
    pub receiver: String,
    /// The labels that the alerts have in common.
    pub group: Labels,
    /// When it was decided.
    pub at: Tick,
    /// Those that fire, then those that were resolved since.
    pub alerts: Vec<Alert>,
    /// Those among them that turn so often that only this one notice of it goes out.
    pub flapping: Vec<Labels>,
}

impl Notification {
    /// Whether something in it still fires.
    pub fn is_firing(&self) -> bool {
        self.alerts.iter().any(|alert| alert.state == AlertState::Firing)
    }
}

/// What routing gives.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Routed {
    /// What it remembers from now on.
    pub states: RouteStates,
    /// What is to be told now.
    pub notifications: Vec<Notification>,
}
