//! Who is told now: groups, waits, repetition, inhibition, silences and flapping, as in Prometheus' Alertmanager.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::model::alert::{Alert, AlertState, AlertStates, Moment};
use crate::model::routes::{
    Flapping, GroupKey, GroupState, Notification, Route, RouteStates, Routed, Routes, Turns, meets,
};
use crate::model::rule::Labels;
use crate::model::snapshot::Tick;

/// So many turns within [`FLAPPING_WINDOW`] are flapping.
const FLAPPING_TURNS: usize = 4;
const FLAPPING_WINDOW: Duration = Duration::from_secs(3_600);
/// So long without a turn ends it.
const QUIET: Duration = Duration::from_secs(30 * 60);

pub(super) fn route(routes: &Routes, before: &RouteStates, alerts: &AlertStates, now: Tick) -> Routed {
    let at = Moment::of(now);
    let mut states = before.clone();
    turn(&mut states.turns, alerts, at);
    gather(&mut states.groups, routes, alerts, at);
    let mut notifications = Vec::new();
    for group in states.groups.iter_mut().filter(|group| group.next_flush <= at) {
        let due = flush(group, routes, alerts, &mut states.turns, now);
        notifications.extend(due);
    }
    states.groups.retain(|group| {
        let members = alerts.in_state(AlertState::Firing).any(|alert| key(routes, alert) == group.key);
        members || !group.firing.is_empty() || !group.pending_resolved.is_empty()
    });
    Routed { states, notifications }
}

fn key(routes: &Routes, alert: &Alert) -> GroupKey {
    let route = routes.route(&alert.labels);
    let labels = route
        .group_by
        .iter()
        .filter_map(|label| alert.labels.get(label).map(|value| (label.clone(), value.clone())));
    GroupKey { receiver: route.receiver.clone(), labels: labels.collect() }
}

/// Counts the turns between firing and resolved, and says who flaps.
fn turn(turns: &mut Vec<Turns>, alerts: &AlertStates, now: Moment) {
    for alert in alerts.iter().filter(|alert| alert.state != AlertState::Pending) {
        match turns.iter_mut().find(|turns| turns.labels == alert.labels) {
            Some(known) if known.state != alert.state => {
                known.state = alert.state;
                known.at.push(now);
            }
            Some(_) => {}
            None => turns.push(Turns {
                labels: alert.labels.clone(),
                state: alert.state,
                at: vec![now],
                flapping: Flapping::No,
            }),
        }
    }
    for known in turns.iter_mut() {
        let quiet = known.at.last().is_none_or(|last| last.age(now) >= QUIET);
        known.at.retain(|turn| turn.age(now) < FLAPPING_WINDOW);
        known.flapping = match known.flapping {
            Flapping::No if known.at.len() >= FLAPPING_TURNS && !quiet => Flapping::ToTell,
            Flapping::ToTell | Flapping::Told if quiet => {
                known.at.clear();
                Flapping::No
            }
            same => same,
        };
    }
    turns.retain(|known| !known.at.is_empty() || alerts.iter().any(|alert| alert.labels == known.labels));
}

/// Puts firing alerts into groups, and remembers those that were resolved until they are told of.
fn gather(groups: &mut Vec<GroupState>, routes: &Routes, alerts: &AlertStates, now: Moment) {
    for alert in alerts.in_state(AlertState::Firing) {
        let key = key(routes, alert);
        match groups.iter_mut().find(|group| group.key == key) {
            Some(group) => group.pending_resolved.retain(|known| known.labels != alert.labels),
            None => groups.push(GroupState {
                next_flush: now.after(routes.route(&alert.labels).group_wait),
                key,
                told_at: None,
                firing: BTreeSet::new(),
                resolved: BTreeSet::new(),
                pending_resolved: Vec::new(),
            }),
        }
    }
    for alert in alerts.in_state(AlertState::Resolved) {
        let key = key(routes, alert);
        let Some(group) = groups.iter_mut().find(|group| group.key == key) else { continue };
        let waits = group.pending_resolved.iter().any(|known| known.labels == alert.labels);
        if group.firing.contains(&alert.labels) && !waits {
            group.pending_resolved.push(alert.clone());
        }
    }
}

/// Tells a group's receiver, if there is something that it does not know.
fn flush(
    group: &mut GroupState,
    routes: &Routes,
    alerts: &AlertStates,
    turns: &mut [Turns],
    now: Tick,
) -> Option<Notification> {
    let at = Moment::of(now);
    let route = route_of(group, routes);
    group.next_flush = at.after(route.group_interval);
    let of_group = |alert: &&Alert| key(routes, alert) == group.key;
    let may_tell = |alert: &&Alert| !is_silenced(routes, alert, now) && !is_inhibited(routes, alert, alerts);
    let held = |labels: &Labels| {
        turns.iter().any(|turns| turns.labels == *labels && turns.flapping == Flapping::Told)
    };
    let (held_firing, firing): (Vec<Alert>, Vec<Alert>) = alerts
        .in_state(AlertState::Firing)
        .filter(of_group)
        .filter(may_tell)
        .cloned()
        .partition(|alert| held(&alert.labels));
    let (held_resolved, resolved): (Vec<Alert>, Vec<Alert>) =
        std::mem::take(&mut group.pending_resolved).into_iter().partition(|alert| held(&alert.labels));
    let resolved: Vec<Alert> =
        resolved.into_iter().filter(|alert| !is_silenced(routes, alert, now)).collect();
    group.pending_resolved = held_resolved;

    let labels = |alerts: &[Alert]| alerts.iter().map(|alert| alert.labels.clone()).collect::<BTreeSet<_>>();
    let mut firing_now = labels(&firing);
    // What flaps stays as it was told: neither news nor forgotten.
    firing_now.extend(group.firing.iter().filter(|labels| held(labels)).cloned());
    let resolved_now = labels(&resolved);
    if !needs_telling(group, &firing_now, &resolved_now, route, at) {
        return None;
    }
    let told: Vec<Alert> = firing
        .into_iter()
        .chain(held_firing.into_iter().filter(|alert| group.firing.contains(&alert.labels)))
        .chain(resolved)
        .collect();
    if told.is_empty() {
        return None;
    }
    group.told_at = Some(at);
    group.firing = firing_now;
    group.resolved = resolved_now;
    let mut flapping = Vec::new();
    for turns in turns.iter_mut().filter(|turns| turns.flapping == Flapping::ToTell) {
        if told.iter().any(|alert| alert.labels == turns.labels) {
            turns.flapping = Flapping::Told;
            flapping.push(turns.labels.clone());
        }
    }
    let GroupKey { receiver, labels } = group.key.clone();
    Some(Notification { receiver, group: labels, at: now, alerts: told, flapping })
}

/// The route of a group: of those to its receiver the first that groups by its labels.
fn route_of<'a>(group: &GroupState, routes: &'a Routes) -> &'a Route {
    let all = routes.routes.iter().chain([&routes.fallback]);
    let fits = |route: &&Route| {
        route.receiver == group.key.receiver
            && group.key.labels.keys().all(|label| route.group_by.contains(label))
            && group
                .key
                .labels
                .iter()
                .all(|(label, value)| route.matches.get(label).is_none_or(|wanted| wanted.matches(value)))
    };
    all.into_iter().find(fits).unwrap_or(&routes.fallback)
}

/// As `needsUpdate` of Alertmanager's `notify/notify.go`.
fn needs_telling(
    group: &GroupState,
    firing: &BTreeSet<Labels>,
    resolved: &BTreeSet<Labels>,
    route: &Route,
    now: Moment,
) -> bool {
    let Some(told_at) = group.told_at else { return !firing.is_empty() };
    if !firing.is_subset(&group.firing) {
        return true;
    }
    if firing.is_empty() {
        return !group.firing.is_empty();
    }
    !resolved.is_subset(&group.resolved) || told_at.after(route.repeat_interval) < now
}

fn is_silenced(routes: &Routes, alert: &Alert, now: Tick) -> bool {
    routes.silences.iter().any(|silence| now.wall < silence.until && meets(&alert.labels, &silence.matches))
}

/// Whether a firing source holds the alert back. An alert that is source and target of one inhibition is not held back
/// by another that is both, nor by itself.
fn is_inhibited(routes: &Routes, alert: &Alert, alerts: &AlertStates) -> bool {
    routes.inhibitions.iter().filter(|rule| meets(&alert.labels, &rule.target)).any(|rule| {
        let is_source_too = meets(&alert.labels, &rule.source);
        alerts.in_state(AlertState::Firing).any(|source| {
            source.labels != alert.labels
                && meets(&source.labels, &rule.source)
                && !(is_source_too && meets(&source.labels, &rule.target))
                && rule.equal.iter().all(|label| source.labels.get(label) == alert.labels.get(label))
        })
    })
}

#[cfg(test)]
#[path = "routing_tests.rs"]
mod tests;
