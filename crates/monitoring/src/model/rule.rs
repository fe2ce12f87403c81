//! Alert rules as data: what to look at, when it is too much, and for how long.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::error::MonitoringError;
use crate::model::quantile::Quantile;
use crate::model::series_key::{MetricName, SeriesKey};

pub(crate) mod derived;
pub(crate) mod duration_text;

/// How much an alert matters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Somebody must act now.
    Page,
    /// Somebody must act in the next days.
    #[default]
    Ticket,
    /// Worth knowing.
    Info,
}

impl Severity {
    /// `page`, `ticket` or `info`: the value of the label `severity`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Page => "page",
            Self::Ticket => "ticket",
            Self::Info => "info",
        }
    }
}

/// What a known instance of a rule does when its series is gone, or too young to tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NoData {
    /// What was true last stays true for this long, then it counts as false. Default: 5 minutes, as in Prometheus.
    #[serde(with = "duration_text")]
    ResolveAfter(Duration),
    /// The state stays as it is until data comes back.
    Keep,
    /// It counts as true; if there has never been data, with the value 0.
    Fire,
    /// It counts as false at once.
    Resolve,
}

impl Default for NoData {
    fn default() -> Self {
        Self::ResolveAfter(Duration::from_secs(300))
    }
}

/// Where a rule is evaluated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// In each process, over its own metrics.
    #[default]
    Process,
    /// By the one leader, over the metrics of all processes.
    Fleet,
}

/// Which values of a label are meant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum LabelMatch {
    /// This one.
    Is(String),
    /// Any of these.
    OneOf(Vec<String>),
}

impl LabelMatch {
    /// Whether a value is meant; a label that is not there is the empty value.
    pub fn matches(&self, value: &str) -> bool {
        match self {
            Self::Is(wanted) => wanted == value,
            Self::OneOf(wanted) => wanted.iter().any(|wanted| wanted == value),
        }
    }
}

impl From<&str> for LabelMatch {
    fn from(value: &str) -> Self {
        Self::Is(value.to_owned())
    }
}

/// Some series of one metric.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Selector {
    /// The metric's name.
    pub metric: MetricName,
    /// Only series with these labels. Default: all.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub matches: BTreeMap<String, LabelMatch>,
    /// Series that agree in these labels are added up (an empty list: all of them); without a list each stands for
    /// itself. Default: each for itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<Vec<String>>,
}

impl Selector {
    /// All series of a metric, each for itself.
    pub fn of(metric: impl Into<MetricName>) -> Self {
        Self { metric: metric.into(), matches: BTreeMap::new(), by: None }
    }

    /// Only series with this value of a label.
    #[must_use]
    pub fn with_match(mut self, label: impl Into<String>, value: impl Into<LabelMatch>) -> Self {
        self.matches.insert(label.into(), value.into());
        self
    }

    /// Only series with one of these values of a label.
    #[must_use]
    pub fn with_any_of(mut self, label: impl Into<String>, values: &[&str]) -> Self {
        let values = values.iter().map(|value| (*value).to_owned()).collect();
        self.matches.insert(label.into(), LabelMatch::OneOf(values));
        self
    }

    /// Added up over all labels but these.
    #[must_use]
    pub fn summed_by(mut self, labels: &[&str]) -> Self {
        self.by = Some(labels.iter().map(|label| (*label).to_owned()).collect());
        self
    }

    /// Whether a series is meant.
    pub fn selects(&self, series: &SeriesKey) -> bool {
        *series.name() == self.metric
            && self.matches.iter().all(|(label, wanted)| wanted.matches(series.label(label).unwrap_or("")))
    }

    /// The labels under which a series counts.
    pub(crate) fn group(&self, series: &SeriesKey) -> Labels {
        let all = series.labels().filter(|(label, _)| match &self.by {
            Some(by) => by.iter().any(|wanted| wanted == label),
            None => true,
        });
        all.map(|(label, value)| (label.to_owned(), value.to_owned())).collect()
    }

    /// The labels that every selected series has: what an alert about their absence is labelled with.
    pub(crate) fn fixed_labels(&self) -> Labels {
        let fixed = self.matches.iter().filter_map(|(label, wanted)| match wanted {
            LabelMatch::Is(value) => Some((label.clone(), value.clone())),
            LabelMatch::OneOf(_) => None,
        });
        fixed.collect()
    }
}

/// Labels of an alert or a group of alerts.
pub type Labels = BTreeMap<String, String>;

/// Series of one metric over a window.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Range {
    /// Which series.
    #[serde(flatten)]
    pub series: Selector,
    /// How far back; at most three days, for distributions six hours.
    #[serde(with = "duration_text")]
    pub window: Duration,
}

impl Range {
    /// These series over this window.
    pub fn of(series: Selector, window: Duration) -> Self {
        Self { series, window }
    }
}

/// A number for each series, or group of series.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Query {
    /// The last value of gauges.
    Last(Selector),
    /// How much counters grew, or how many values distributions took.
    Increase(Range),
    /// The increase a second.
    Rate(Range),
    /// One increase divided by another of the same labels; nothing where the second is 0.
    Ratio(Range, Range),
    /// A quantile of distributions.
    Quantile {
        /// Which.
        q: Quantile,
        /// Of which series, over which window.
        of: Range,
    },
    /// Seconds since the Unix time that a gauge holds.
    Age(Selector),
}

/// Which of an objective's events are bad.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Bad {
    /// Those that a counter counts.
    Counted(Selector),
    /// Those of the distribution `total` that took longer than this, a bucket's bound (a power of two is one).
    Over(f64),
}

/// A service level objective over 30 days.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Slo {
    /// All events: counters or distributions.
    pub total: Selector,
    /// The bad ones among them.
    pub bad: Bad,
    /// The share that must be good, e.g. 0.999.
    pub objective: f64,
}

/// When a rule's instances are true.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Condition {
    /// The query is above the value.
    Above {
        /// What is looked at.
        query: Query,
        /// The threshold.
        value: f64,
    },
    /// The query is below the value.
    Below {
        /// What is looked at.
        query: Query,
        /// The threshold.
        value: f64,
    },
    /// No such series is there.
    Absent(Selector),
    /// The objective's budget burns too fast: 14.4 times over an hour or 6 times over six hours pages, once over three
    /// days is a ticket; each also over a twelfth of the window, and only from three bad events on (Google, *The Site
    /// Reliability Workbook*, chapter 5).
    Burn(Slo),
    /// All of these are true, of the same labels; a condition without labels stands for all of them.
    All(Vec<Condition>),
    /// Any of these is true.
    Any(Vec<Condition>),
}

/// One rule. Each label set for which its condition is true is an alert of its own.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AlertRule {
    /// Its name, the alert's label `alertname`.
    pub name: String,
    /// When it is true.
    pub when: Condition,
    /// How long it must be true before it fires. Default: at once.
    #[serde(rename = "for", default, with = "duration_text", skip_serializing_if = "Duration::is_zero")]
    pub hold: Duration,
    /// How long it goes on firing once it is false. Default: not at all.
    #[serde(default, with = "duration_text", skip_serializing_if = "Duration::is_zero")]
    pub keep_firing_for: Duration,
    /// The threshold that counts while it fires, on the safe side of `value`. Default: `value` itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clear: Option<f64>,
    /// What happens when the series is gone. Default: false after 5 minutes.
    #[serde(default)]
    pub no_data: NoData,
    /// How much it matters; the burn of an objective has its own. Default: a ticket.
    #[serde(default)]
    pub severity: Severity,
    /// Labels to add. Default: none.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: Labels,
    /// Texts for people; `{value}` and `{name of a label}` are filled in. Default: none.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// How many alerts it may have at once; further ones are refused. Default: no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
    /// Where it is evaluated. Default: in each process.
    #[serde(default)]
    pub scope: Scope,
}

impl AlertRule {
    /// A rule with every other field at its default.
    pub fn new(name: impl Into<String>, when: Condition) -> Self {
        Self {
            name: name.into(),
            when,
            hold: Duration::ZERO,
            keep_firing_for: Duration::ZERO,
            clear: None,
            no_data: NoData::default(),
            severity: Severity::default(),
            labels: BTreeMap::new(),
            annotations: BTreeMap::new(),
            limit: None,
            scope: Scope::default(),
        }
    }

    /// True for this long before it fires.
    #[must_use]
    pub fn with_for(mut self, hold: Duration) -> Self {
        self.hold = hold;
        self
    }

    /// Firing this long after it was true last.
    #[must_use]
    pub fn with_keep_firing_for(mut self, keep: Duration) -> Self {
        self.keep_firing_for = keep;
        self
    }

    /// Clearing only beyond this threshold.
    #[must_use]
    pub fn with_clear(mut self, clear: f64) -> Self {
        self.clear = Some(clear);
        self
    }

    /// Doing this when the series is gone.
    #[must_use]
    pub fn with_no_data(mut self, no_data: NoData) -> Self {
        self.no_data = no_data;
        self
    }

    /// Mattering this much.
    #[must_use]
    pub fn with_severity(mut self, severity: Severity) -> Self {
        self.severity = severity;
        self
    }

    /// With a label more.
    #[must_use]
    pub fn with_label(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.labels.insert(name.into(), value.into());
        self
    }

    /// With a text for people.
    #[must_use]
    pub fn with_annotation(mut self, name: impl Into<String>, text: impl Into<String>) -> Self {
        self.annotations.insert(name.into(), text.into());
        self
    }

    /// With at most this many alerts at once.
    #[must_use]
    pub fn with_limit(mut self, limit: usize) -> Self {
        self.limit = Some(limit);
        self
    }

    /// Evaluated there.
    #[must_use]
    pub fn with_scope(mut self, scope: Scope) -> Self {
        self.scope = scope;
        self
    }
}

/// Rules that have been checked: names differ, thresholds are numbers, windows can be answered.
///
/// ```
/// use wavequill_monitoring::RuleSet;
///
/// let rules: RuleSet = serde_json::from_str(r#"[{
///     "name": "Throttled",
///     "when": {"above": {
///         "query": {"ratio": [
///             {"metric": "attempts_total", "matches": {"outcome": "throttled"}, "by": [], "window": "10m"},
///             {"metric": "attempts_total", "by": [], "window": "10m"}
///         ]},
///         "value": 0.01
///     }},
///     "for": "5m", "clear": 0.002
/// }]"#)?;
/// assert_eq!(rules.rules()[0].clear, Some(0.002));
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Vec<AlertRule>", into = "Vec<AlertRule>")]
pub struct RuleSet(Vec<AlertRule>);

impl RuleSet {
    /// The longest window of a query over counters: three days.
    pub const MAX_WINDOW: Duration = Duration::from_secs(3 * 86_400);
    /// The longest window of a query over distributions: six hours.
    pub const MAX_DISTRIBUTION_WINDOW: Duration = Duration::from_secs(6 * 3_600);

    /// Checks the rules.
    ///
    /// # Errors
    /// [`MonitoringError::InvalidRule`] with the first rule and field at fault.
    pub fn new(rules: Vec<AlertRule>) -> Result<Self, MonitoringError> {
        crate::model::rule_check::check(&rules)?;
        Ok(Self(rules))
    }

    /// Rules that are known to pass the check.
    pub(crate) fn of_checked(rules: Vec<AlertRule>) -> Self {
        Self(rules)
    }

    /// The rules, in the order they were given.
    pub fn rules(&self) -> &[AlertRule] {
        &self.0
    }

    /// Checks that every metric that a rule names has been described, and is of the kind that the query needs.
    ///
    /// # Errors
    /// [`MonitoringError::InvalidRule`] with the first rule and metric at fault.
    pub fn check_metrics(
        &self,
        catalogue: &[crate::model::snapshot::MetricDescription],
    ) -> Result<(), MonitoringError> {
        crate::model::rule_check::check_metrics(&self.0, catalogue)
    }

    /// The counts of distributions that a history keeps as counters.
    pub(crate) fn derived(&self) -> Vec<derived::Derived> {
        self.0.iter().flat_map(|rule| derived::of(&rule.when)).collect()
    }
}

impl TryFrom<Vec<AlertRule>> for RuleSet {
    type Error = MonitoringError;

    fn try_from(rules: Vec<AlertRule>) -> Result<Self, MonitoringError> {
        Self::new(rules)
    }
}

impl From<RuleSet> for Vec<AlertRule> {
    fn from(rules: RuleSet) -> Self {
        rules.0
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Process => "process",
            Self::Fleet => "fleet",
        })
    }
}
