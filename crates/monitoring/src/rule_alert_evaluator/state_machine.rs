//! One rule one step further: pending, firing, resolved, as in Prometheus' `rules/alerting.go`.

use std::collections::BTreeMap;
use std::time::Duration;

use super::condition::{Instance, Instances};
use crate::model::alert::{Alert, AlertEvent, AlertState, AlertStates, Evaluation, Moment};
use crate::model::rule::{AlertRule, Labels, NoData, RuleSet, Severity};
use crate::model::snapshot::Tick;

/// How long a resolved alert is remembered, so that its end is sent again.
const RESOLVED_RETENTION: Duration = Duration::from_secs(15 * 60);
/// How long until an alert that fires is sent again.
const RESEND_DELAY: Duration = Duration::from_secs(60);

pub(super) type Alerts = BTreeMap<Labels, Alert>;

/// What a step gives.
pub(super) struct Step {
    pub(super) alerts: Alerts,
    /// New alerts over the rule's limit.
    pub(super) refused: usize,
}

impl Step {
    pub(super) fn unchanged(known: &Alerts) -> Self {
        Self { alerts: known.clone(), refused: 0 }
    }
}

/// All labels of an alert: the series', over them the rule's, over them its name.
pub(super) fn labelled(rule: &AlertRule, series: &Labels) -> Labels {
    let mut labels = series.clone();
    if !matches!(rule.when, crate::Condition::Burn(_)) {
        labels.insert("severity".to_owned(), rule.severity.as_str().to_owned());
    }
    labels.extend(rule.labels.clone());
    labels.insert("alertname".to_owned(), rule.name.clone());
    labels
}

/// Takes a rule's alerts one step further.
///
/// # Errors
/// A text if two label sets are equal once the rule's labels are set.
pub(super) fn step(rule: &AlertRule, known: &Alerts, seen: &Instances, now: Moment) -> Result<Step, String> {
    let mut said: BTreeMap<Labels, Instance> = BTreeMap::new();
    for (labels, instance) in seen {
        let labels = labelled(rule, labels);
        let shown = format!("{labels:?}");
        if said.insert(labels, *instance).is_some() {
            return Err(format!(
                "two series have the labels {shown} once the rule's are set: keep one label apart"
            ));
        }
    }
    let alone = rule.no_data == NoData::Fire && said.is_empty() && !known.values().any(Alert::is_active);
    if alone {
        said.insert(labelled(rule, &fixed_labels(rule)), Instance { is_true: true, value: 0.0 });
    }
    let mut out = Step { alerts: Alerts::new(), refused: 0 };
    for (labels, alert) in known {
        let next = match said.remove(labels) {
            Some(instance) => {
                let seen = Alert { last_seen: now, ..alert.clone() };
                advance(rule, seen, instance.is_true.then_some(instance.value), now)
            }
            None => without_data(rule, alert, now),
        };
        out.alerts.extend(next.map(|alert| (labels.clone(), alert)));
    }
    let mut room = rule.limit.map_or(usize::MAX, |limit| {
        limit.saturating_sub(out.alerts.values().filter(|alert| alert.is_active()).count())
    });
    for (labels, instance) in said.into_iter().filter(|(_, instance)| instance.is_true) {
        if room == 0 {
            out.refused += 1;
            continue;
        }
        room -= 1;
        let alert = pending(rule, labels.clone(), instance.value, now);
        out.alerts.insert(labels, ripen(rule, alert, now));
    }
    Ok(out)
}

/// The labels of an alert about data that has never been there.
fn fixed_labels(rule: &AlertRule) -> Labels {
    let selectors = crate::model::rule_check::selectors(&rule.when);
    selectors.first().map(|(series, _)| series.fixed_labels()).unwrap_or_default()
}

/// A label set that says nothing: what its rule wants then.
fn without_data(rule: &AlertRule, alert: &Alert, now: Moment) -> Option<Alert> {
    // Only what was true when data was last seen has no `keep_firing_since`.
    let was_true = alert.is_active() && alert.keep_firing_since.is_none();
    let same = was_true.then_some(alert.value);
    match rule.no_data {
        NoData::ResolveAfter(lookback) if alert.last_seen.age(now) <= lookback => {
            advance(rule, alert.clone(), same, now)
        }
        NoData::Keep if alert.is_active() => Some(alert.clone()),
        NoData::ResolveAfter(_) | NoData::Resolve | NoData::Keep => advance(rule, alert.clone(), None, now),
        NoData::Fire => advance(rule, alert.clone(), Some(alert.value), now),
    }
}

/// One step of one alert; `value` is what the query gave if it is true. `None` if it is forgotten.
fn advance(rule: &AlertRule, mut alert: Alert, value: Option<f64>, now: Moment) -> Option<Alert> {
    if let Some(value) = value {
        if !alert.is_active() {
            return Some(ripen(rule, pending(rule, alert.labels, value, now), now));
        }
        alert.value = value;
        alert.annotations = annotations(rule, &alert.labels, value);
        alert.keep_firing_since = None;
        return Some(ripen(rule, alert, now));
    }
    match alert.state {
        AlertState::Pending => None,
        AlertState::Resolved => {
            let old = alert.resolved_at.is_some_and(|at| at.age(now) > RESOLVED_RETENTION);
            (!old).then_some(alert)
        }
        AlertState::Firing => {
            let since = *alert.keep_firing_since.get_or_insert(now);
            if since.age(now) < rule.keep_firing_for {
                return Some(ripen(rule, alert, now));
            }
            alert.state = AlertState::Resolved;
            alert.resolved_at = Some(now);
            Some(alert)
        }
    }
}

/// What is active is pending until it is old enough, then it fires.
fn ripen(rule: &AlertRule, mut alert: Alert, now: Moment) -> Alert {
    let old_enough = alert.active_at.age(now) >= rule.hold;
    match alert.state {
        AlertState::Pending if old_enough => {
            alert.state = AlertState::Firing;
            alert.fired_at = Some(now);
        }
        AlertState::Firing if !old_enough => {
            alert.state = AlertState::Pending;
            alert.fired_at = None;
        }
        AlertState::Pending | AlertState::Firing | AlertState::Resolved => {}
    }
    alert
}

fn pending(rule: &AlertRule, labels: Labels, value: f64, now: Moment) -> Alert {
    let severity = match labels.get("severity").map(String::as_str) {
        Some("page") => Severity::Page,
        Some("info") => Severity::Info,
        _ => Severity::Ticket,
    };
    Alert {
        rule: rule.name.clone(),
        annotations: annotations(rule, &labels, value),
        labels,
        severity,
        state: AlertState::Pending,
        value,
        active_at: now,
        fired_at: None,
        keep_firing_since: None,
        resolved_at: None,
        last_sent_at: None,
        last_seen: now,
    }
}

fn annotations(rule: &AlertRule, labels: &Labels, value: f64) -> BTreeMap<String, String> {
    let fill = |text: &String| {
        let mut filled = text.replace("{value}", &format!("{value}"));
        for (name, value) in labels {
            filled = filled.replace(&format!("{{{name}}}"), value);
        }
        filled
    };
    rule.annotations.iter().map(|(name, text)| (name.clone(), fill(text))).collect()
}

/// Whether an alert is to be sent to a receiver of raw alerts: a resolved one at once, a firing one every minute.
pub(super) fn needs_sending(alert: &Alert, now: Moment) -> bool {
    match alert.state {
        AlertState::Pending => false,
        _ if alert.resolved_at > alert.last_sent_at => true,
        _ => alert.last_sent_at.is_none_or(|sent| sent.after(RESEND_DELAY) < now),
    }
}

/// One event for each alert whose state is another.
pub(super) fn changes(rule: &str, before: &Alerts, after: &Alerts, now: Tick) -> Vec<AlertEvent> {
    let event = |alert: &Alert, from: Option<AlertState>, to| {
        let (rule, labels) = (rule.to_owned(), alert.labels.clone());
        (from != to).then_some(AlertEvent { at: now, rule, labels, from, to, value: alert.value })
    };
    let gone = before.iter().filter(|(labels, _)| !after.contains_key(*labels)).filter_map(|(_, alert)| {
        // A resolved alert that is no longer remembered has not changed.
        alert.is_active().then(|| event(alert, Some(alert.state), None)).flatten()
    });
    let there = after.values().filter_map(|alert| {
        let from = before.get(&alert.labels).map(|before| before.state);
        event(alert, from, Some(alert.state))
    });
    gone.chain(there).collect()
}

/// Alerts of rules that are no longer in the set: what fired is resolved, the rest forgotten.
pub(super) fn resolve_removed(rules: &RuleSet, before: &AlertStates, now: Tick, out: &mut Evaluation) {
    let removed =
        before.alerts.iter().filter(|(name, _)| !rules.rules().iter().any(|rule| rule.name == **name));
    let at = Moment::of(now);
    for (name, known) in removed {
        let gone = AlertRule::new(name.clone(), crate::Condition::Any(Vec::new()));
        let mut after: Alerts = known
            .values()
            .filter_map(|alert| advance(&gone, alert.clone(), None, at))
            .map(|alert| (alert.labels.clone(), alert))
            .collect();
        out.events.extend(changes(name, known, &after, now));
        for alert in after.values_mut().filter(|alert| needs_sending(alert, at)) {
            alert.last_sent_at = Some(at);
            out.to_send.push(alert.clone());
        }
        if !after.is_empty() {
            out.states.alerts.insert(name.clone(), after);
        }
    }
}
