use std::time::SystemTime;

use super::*;
use crate::{Inhibition, Severity, Silence};

const ORIGIN: Tick = Tick { monotonic: Duration::ZERO, wall: SystemTime::UNIX_EPOCH };

/// Steps of ten seconds; each is given which alerts fire, as `name` or `name/instance`.
struct Run {
    routes: Routes,
    states: RouteStates,
    alerts: AlertStates,
    step: u64,
}

impl Run {
    fn of(routes: Routes) -> Self {
        Self { routes, states: RouteStates::default(), alerts: AlertStates::default(), step: 0 }
    }

    fn step(&mut self, firing: &[&str]) -> Vec<Notification> {
        let now = ORIGIN.after(Duration::from_secs(10 * self.step));
        for alert in self.alerts.alerts.values_mut().flat_map(|alerts| alerts.values_mut()) {
            alert.state = AlertState::Resolved;
            alert.resolved_at.get_or_insert(Moment::of(now));
        }
        for name in firing {
            let (rule, instance) = name.split_once('/').unwrap_or((name, ""));
            let labels: Labels = [("alertname", rule), ("instance", instance)]
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into();
            let alert = Alert {
                rule: rule.to_owned(),
                labels: labels.clone(),
                annotations: Labels::new(),
                severity: Severity::Page,
                state: AlertState::Firing,
                value: 1.0,
                active_at: Moment::of(now),
                fired_at: Some(Moment::of(now)),
                keep_firing_since: None,
                resolved_at: None,
                last_sent_at: None,
                last_seen: Moment::of(now),
            };
            self.alerts.alerts.entry(rule.to_owned()).or_default().insert(labels, alert);
        }
        let routed = route(&self.routes, &self.states, &self.alerts, now);
        let json = serde_json::to_string(&routed.states).unwrap();
        self.states = serde_json::from_str(&json).unwrap();
        self.step += 1;
        routed.notifications
    }

    /// At which step what was told: firing alerts in capitals order, `-` before resolved ones.
    fn steps(&mut self, count: u64, firing: &[&str]) -> Vec<(u64, String)> {
        let mut told = Vec::new();
        for _ in 0..count {
            let step = self.step;
            for notification in self.step(firing) {
                let shown = notification.alerts.iter().map(|alert| {
                    let instance = &alert.labels["instance"];
                    let name = if instance.is_empty() { &alert.rule } else { instance };
                    if alert.state == AlertState::Firing { name.clone() } else { format!("-{name}") }
                });
                told.push((step, shown.collect::<Vec<_>>().join(" ")));
            }
        }
        told
    }
}

fn told(all: &[(u64, &str)]) -> Vec<(u64, String)> {
    all.iter().map(|(step, text)| (*step, (*text).to_owned())).collect()
}

#[test]
fn a_group_waits_thirty_seconds_and_is_told_together_then_every_five_minutes() {
    let mut run = Run::of(Routes::default());
    assert_eq!(run.steps(1, &["Down/a"]), []);
    assert_eq!(run.steps(4, &["Down/a", "Down/b"]), told(&[(3, "a b")]));
    assert_eq!(run.steps(30, &["Down/a", "Down/b", "Down/c"]), told(&[(33, "a b c")]));
    assert_eq!(run.steps(60, &["Down/a", "Down/b", "Down/c"]), [], "nothing new");
    assert_eq!(run.steps(31, &["Down/a"]), told(&[(123, "a -b -c")]));
    assert_eq!(run.steps(31, &[]), told(&[(153, "-a")]));
    assert_eq!(run.steps(60, &[]), []);
    assert_eq!(run.states, RouteStates { groups: Vec::new(), turns: run.states.turns.clone() });
}

#[test]
fn what_still_fires_is_told_again_after_four_hours() {
    let mut run = Run::of(Routes::default());
    let told = run.steps(6 * 60 * 8 + 70, &["Down"]);
    let steps: Vec<u64> = told.iter().map(|(step, _)| *step).collect();
    assert_eq!(steps, [3, 1_473, 2_943], "at the first flush after each four hours");
}

#[test]
fn an_alert_that_ends_before_it_was_told_is_never_told() {
    let mut run = Run::of(Routes::default());
    assert_eq!(run.steps(2, &["Blip"]), []);
    assert_eq!(run.steps(60, &[]), []);
}

#[test]
fn a_silence_holds_back_until_its_end() {
    let until = SystemTime::UNIX_EPOCH + Duration::from_secs(600);
    let matches = [("alertname".to_owned(), "Down".into())].into();
    let silence = Silence { matches, until, comment: "moving house".to_owned() };
    let mut run = Run::of(Routes { silences: vec![silence], ..Routes::default() });
    assert_eq!(run.steps(100, &["Down", "Up"]), told(&[(3, "Up"), (63, "Down")]));
}

#[test]
fn a_source_that_fires_holds_back_its_targets_where_labels_are_equal() {
    let matches = |name: &str| [("alertname".to_owned(), name.into())].into();
    let rule =
        Inhibition { source: matches("Off"), target: matches("Slow"), equal: vec!["instance".to_owned()] };
    let mut run = Run::of(Routes { inhibitions: vec![rule], ..Routes::default() });
    assert_eq!(run.steps(10, &["Off/a", "Slow/a", "Slow/b"]), told(&[(3, "a"), (3, "b")]));
    let both = Inhibition { source: matches("Off"), target: matches("Off"), equal: Vec::new() };
    let mut run = Run::of(Routes { inhibitions: vec![both], ..Routes::default() });
    assert_eq!(run.steps(10, &["Off/a", "Off/b"]), told(&[(3, "a b")]), "none holds back itself or its like");
}

#[test]
fn the_first_route_that_matches_tells() {
    let page = Route::to("pager").with_match("alertname", "Down");
    let mut run = Run::of(Routes { routes: vec![page], ..Routes::all_to("mail") });
    run.steps(3, &["Down", "Slow"]);
    let receivers: Vec<_> =
        run.step(&["Down", "Slow"]).into_iter().map(|told| (told.receiver, told.group)).collect();
    assert_eq!(receivers[0].0, "pager");
    assert_eq!(receivers[1].0, "mail");
    assert_eq!(receivers[1].1["alertname"], "Slow");
}

#[test]
fn flapping_is_told_once_and_the_next_after_thirty_quiet_minutes() {
    let mut run = Run::of(Routes::default());
    let mut all = Vec::new();
    // Six minutes on, six off, for four hours: told each time until it counts as flapping.
    for _ in 0..20 {
        all.extend(run.steps(36, &["Flap"]));
        all.extend(run.steps(36, &[]));
    }
    assert!(all.len() <= 5, "{all:?}");
    let before = all.len();
    all.extend(run.steps(6 * 60, &["Flap"]));
    assert!(all.len() > before, "quiet and firing for an hour: told again");
    let flaps = run.states.turns.iter().any(|turns| turns.flapping != Flapping::No);
    assert!(!flaps);
}
