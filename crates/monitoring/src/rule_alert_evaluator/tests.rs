use std::time::{Duration, SystemTime};

use super::*;
use crate::{
    AlertRule, AlertState, Bad, Condition, MetricUnit, MetricsSnapshot, NoData, ProcessEpoch, Quantile,
    Query, Range, Selector, SeriesKey, Severity, Sketch, Slo, SnapshotHistory,
};

const ORIGIN: Tick = Tick { monotonic: Duration::ZERO, wall: SystemTime::UNIX_EPOCH };
const MINUTE: Duration = Duration::from_secs(60);

fn at(seconds: u64) -> Tick {
    ORIGIN.after(Duration::from_secs(seconds))
}

/// A gauge over time, a minute a step; `None` where its series is not there.
struct Run {
    rules: RuleSet,
    history: SnapshotHistory,
    states: AlertStates,
    events: Vec<(u64, Option<AlertState>)>,
    step: u64,
}

impl Run {
    fn of(rule: AlertRule) -> Self {
        Self {
            rules: RuleSet::new(vec![rule]).unwrap(),
            history: SnapshotHistory::default(),
            states: AlertStates::default(),
            events: Vec::new(),
            step: 0,
        }
    }

    fn step(&mut self, value: Option<f64>) -> Option<AlertState> {
        let now = at(60 * self.step);
        let mut snapshot = MetricsSnapshot::new(ProcessEpoch::from_bits(1), ORIGIN, now);
        if let Some(value) = value {
            snapshot = snapshot.with_gauge(SeriesKey::bare("g"), value);
        }
        self.history.push(snapshot);
        let seen = self.history.view(now).unwrap();
        let out = RuleAlertEvaluator.evaluate(&self.rules, &self.states, &seen, now);
        let again = RuleAlertEvaluator.evaluate(&self.rules, &self.states, &seen, now);
        assert_eq!(out, again, "the same arguments give the same result");
        assert!(out.errors.is_empty(), "{:?}", out.errors);
        // Saved and restored at every step, it goes on as if uninterrupted.
        self.states = serde_json::from_str(&serde_json::to_string(&out.states).unwrap()).unwrap();
        self.events.extend(out.events.iter().map(|event| (self.step, event.to)));
        self.step += 1;
        self.states.iter().next().map(|alert| alert.state)
    }

    fn steps(&mut self, values: &[Option<f64>]) -> String {
        values
            .iter()
            .map(|value| match self.step(*value) {
                None => '.',
                Some(AlertState::Pending) => 'P',
                Some(AlertState::Firing) => 'F',
                Some(AlertState::Resolved) => 'r',
            })
            .collect()
    }
}

fn above(value: f64) -> AlertRule {
    AlertRule::new("G", Condition::Above { query: Query::Last(Selector::of("g")), value })
}

fn on(times: usize) -> Vec<Option<f64>> {
    vec![Some(9.0); times]
}

fn off(times: usize) -> Vec<Option<f64>> {
    vec![Some(1.0); times]
}

fn gone(times: usize) -> Vec<Option<f64>> {
    vec![None; times]
}

#[test]
fn without_for_it_fires_at_once_and_resolves_at_once() {
    let mut run = Run::of(above(5.0));
    assert_eq!(run.steps(&[off(1), on(2), off(17), on(1)].concat()), ".FFrrrrrrrrrrrrrrrr.F".to_owned());
    let told: Vec<_> = run.events.iter().map(|(step, _)| *step).collect();
    assert_eq!(told, [1, 3, 20], "each change is one event, forgetting a resolved one is none");
}

#[test]
fn with_for_it_is_pending_until_it_is_old_enough_and_forgotten_if_it_ends_before() {
    let mut run = Run::of(above(5.0).with_for(3 * MINUTE));
    assert_eq!(run.steps(&[on(3), off(1), on(5), off(1)].concat()), "PPP.PPPFFr");
    assert_eq!(run.events[1], (3, None), "a pending one is forgotten");
}

#[test]
fn keep_firing_for_counts_from_the_first_step_that_is_false() {
    let mut run = Run::of(above(5.0).with_keep_firing_for(2 * MINUTE));
    assert_eq!(run.steps(&[on(1), off(2), on(1), off(4)].concat()), "FFFFFFrr");
}

#[test]
fn after_resolved_it_is_pending_anew() {
    let mut run = Run::of(above(5.0).with_for(MINUTE));
    assert_eq!(run.steps(&[on(2), off(1), on(2)].concat()), "PFrPF");
}

#[test]
fn a_longer_for_makes_a_young_firing_alert_pending() {
    let mut run = Run::of(above(5.0).with_for(MINUTE));
    assert_eq!(run.steps(&on(3)), "PFF");
    run.rules = RuleSet::new(vec![above(5.0).with_for(4 * MINUTE)]).unwrap();
    assert_eq!(run.steps(&on(3)), "PFF");
}

#[test]
fn missing_data_follows_the_policy() {
    let steps = |no_data| {
        let mut run = Run::of(above(5.0).with_no_data(no_data));
        run.steps(&[off(1), on(1), gone(7)].concat())
    };
    assert_eq!(steps(NoData::default()), ".FFFFFFrr", "true for five minutes more");
    assert_eq!(steps(NoData::Keep), ".FFFFFFFF");
    assert_eq!(steps(NoData::Resolve), ".Frrrrrrr");
    assert_eq!(steps(NoData::Fire), ".FFFFFFFF");
}

#[test]
fn what_never_had_data_fires_only_if_it_is_told_to() {
    assert_eq!(Run::of(above(5.0)).steps(&gone(2)), "..");
    assert_eq!(Run::of(above(5.0).with_no_data(NoData::Fire)).steps(&gone(2)), "FF");
}

#[test]
fn a_pending_alert_ripens_while_its_last_value_still_counts() {
    let mut run = Run::of(above(5.0).with_for(3 * MINUTE));
    assert_eq!(run.steps(&[on(1), gone(3)].concat()), "PPPF");
}

#[test]
fn clear_counts_only_while_it_fires() {
    let mut run = Run::of(above(5.0).with_clear(2.0));
    assert_eq!(run.steps(&[Some(3.0), Some(6.0), Some(3.0), Some(2.0), Some(3.0)]), ".FFrr");
}

#[test]
fn a_rule_that_is_removed_resolves_its_alerts() {
    let mut run = Run::of(above(5.0));
    run.steps(&on(1));
    run.rules = RuleSet::default();
    assert_eq!(run.steps(&on(1)), "r");
}

#[test]
fn absence_is_true_while_no_series_is_there() {
    let mut run = Run::of(AlertRule::new("Gone", Condition::Absent(Selector::of("g"))));
    assert_eq!(run.steps(&[on(1), gone(2), on(1)].concat()), ".FFr");
}

/// One snapshot of several gauges, evaluated once.
fn once(rule: AlertRule, gauges: &[(&str, &str, f64)]) -> Evaluation {
    let mut snapshot = MetricsSnapshot::new(ProcessEpoch::from_bits(1), ORIGIN, at(60));
    for (name, pool, value) in gauges {
        snapshot = snapshot.with_gauge(SeriesKey::new(*name, [("pool", *pool)]), *value);
    }
    let mut history = SnapshotHistory::default();
    history.push(snapshot);
    let rules = RuleSet::new(vec![rule]).unwrap();
    RuleAlertEvaluator.evaluate(&rules, &AlertStates::default(), &history.view(at(60)).unwrap(), at(60))
}

#[test]
fn each_label_set_is_an_alert_of_its_own_and_texts_are_filled_in() {
    let rule = above(5.0).with_annotation("summary", "{pool} is at {value}").with_severity(Severity::Page);
    let out = once(rule, &[("g", "a", 6.0), ("g", "b", 7.5), ("g", "c", 1.0)]);
    let texts: Vec<_> = out.states.iter().map(|alert| alert.annotations["summary"].as_str()).collect();
    assert_eq!(texts, ["a is at 6", "b is at 7.5"]);
    assert!(out.states.iter().all(|alert| alert.labels["severity"] == "page"));
}

#[test]
fn two_series_of_equal_labels_fail_the_rule_and_change_nothing() {
    let out = once(above(5.0).with_label("pool", "one"), &[("g", "a", 6.0), ("g", "b", 7.5)]);
    assert!(out.states.is_empty());
    assert!(out.errors[0].reason.contains("keep one label apart"), "{:?}", out.errors);
}

#[test]
fn over_the_limit_new_alerts_are_refused_and_old_ones_stay() {
    let out = once(above(5.0).with_limit(2), &[("g", "a", 6.0), ("g", "b", 7.0), ("g", "c", 8.0)]);
    assert_eq!(out.states.iter().count(), 2);
    assert_eq!(out.errors[0].reason, "1 new alerts are over its limit of 2");
}

#[test]
fn all_joins_by_labels_and_what_has_none_stands_for_all() {
    let part = |name: &str, by: Option<&[&str]>| {
        let mut series = Selector::of(name);
        if let Some(by) = by {
            series = series.summed_by(by);
        }
        Condition::Above { query: Query::Last(series), value: 5.0 }
    };
    let gauges = [("g", "a", 6.0), ("g", "b", 6.0), ("h", "a", 1.0), ("h", "b", 9.0)];
    let pools =
        |out: &Evaluation| out.states.iter().map(|alert| alert.labels["pool"].clone()).collect::<Vec<_>>();
    let same = once(AlertRule::new("R", Condition::All(vec![part("g", None), part("h", None)])), &gauges);
    assert_eq!(pools(&same), ["b"]);
    let summed =
        once(AlertRule::new("R", Condition::All(vec![part("h", Some(&[])), part("g", None)])), &gauges);
    assert_eq!(pools(&summed), ["a", "b"]);
    let any = once(AlertRule::new("R", Condition::Any(vec![part("g", None), part("h", None)])), &gauges);
    assert_eq!(pools(&any), ["a", "b"]);
}

/// Counters `total` and `bad` that grow by so much a minute, and the minutes at which the alert of a severity fired.
fn burn(minutes: u64, bad_in: impl Fn(u64) -> u64, traffic: u64) -> Vec<(u64, String)> {
    let slo = Slo {
        total: Selector::of("jobs_total").summed_by(&[]),
        bad: Bad::Counted(Selector::of("dead_total").summed_by(&[])),
        objective: 0.999,
    };
    let rules = RuleSet::new(vec![AlertRule::new("Jobs", Condition::Burn(slo))]).unwrap();
    let mut history = SnapshotHistory::default();
    let (mut states, mut total, mut bad) = (AlertStates::default(), 0, 0);
    let mut fired = Vec::new();
    for minute in 0..minutes {
        let now = at(60 * minute);
        total += traffic;
        bad += bad_in(minute);
        history.push(
            MetricsSnapshot::new(ProcessEpoch::from_bits(1), ORIGIN, now)
                .with_counter(SeriesKey::bare("jobs_total"), total)
                .with_counter(SeriesKey::bare("dead_total"), bad),
        );
        let out = RuleAlertEvaluator.evaluate(&rules, &states, &history.view(now).unwrap(), now);
        states = out.states;
        let firing = out.events.iter().filter(|event| event.to == Some(AlertState::Firing));
        fired.extend(firing.map(|event| (minute, event.labels["severity"].clone())));
    }
    fired
}

#[test]
fn an_outage_pages_within_the_workbooks_time() {
    // All fail from the second day on: 60 min · 14.4 · 0.001 is 52 s, and a tick.
    let fired = burn(2 * 1_440, |minute| if minute >= 1_440 { 100 } else { 0 }, 100);
    assert_eq!(fired[0], (1_440, "page".to_owned()), "{fired:?}");
    // One in a hundred: 60 min · 14.4 · 0.001 ÷ 0.01 is 86 minutes over an hour, so the six-hour window tells first.
    let fired = burn(3 * 1_440, |minute| u64::from(minute >= 1_440), 100);
    let (page, _) = fired.iter().find(|(_, severity)| severity == "page").unwrap();
    let expected = 360.0 * 6.0 * 0.001 / 0.01;
    assert!((*page as f64 - 1_440.0 - expected).abs() <= 6.0, "{page}: {fired:?}");
}

#[test]
fn a_budget_that_is_kept_never_pages_and_two_bad_events_are_none() {
    assert_eq!(burn(3 * 1_440, |minute| u64::from(minute % 20 == 0), 100), [], "half of the budget");
    assert_eq!(burn(600, |minute| u64::from(minute == 300 || minute == 301), 1), [], "low traffic");
}

#[test]
fn a_latency_objective_counts_what_is_over_its_bound() {
    let slo = Slo { total: Selector::of("run_seconds"), bad: Bad::Over(4.0), objective: 0.9 };
    let rules = RuleSet::new(vec![AlertRule::new("Slow", Condition::Burn(slo))]).unwrap();
    let mut history = SnapshotHistory::default();
    history.watch(&rules);
    let mut sketch = Sketch::new(MetricUnit::Seconds);
    for minute in 0..90_u64 {
        let value = if minute < 60 { 1.0 } else { 8.0 };
        (0..10).for_each(|_| sketch.record(value).unwrap());
        let series = SeriesKey::bare("run_seconds");
        history.push(
            MetricsSnapshot::new(ProcessEpoch::from_bits(1), ORIGIN, at(60 * minute))
                .with_sketch(series, sketch.to_buckets()),
        );
    }
    let now = at(60 * 89);
    let out = RuleAlertEvaluator.evaluate(&rules, &AlertStates::default(), &history.view(now).unwrap(), now);
    // 10 % may be slow; a third was, which is 3.3 times the budget: a ticket, no page.
    let severities: Vec<_> = out.states.iter().map(|alert| alert.labels["severity"].as_str()).collect();
    assert_eq!(severities, ["ticket"]);
}

#[test]
fn a_quantile_rule_keeps_its_states_after_a_restart_until_its_window_is_known() {
    let of = Range::of(Selector::of("wait_seconds"), 10 * MINUTE);
    let query = Query::Quantile { q: Quantile::P99, of };
    let rules = RuleSet::new(vec![AlertRule::new("Slow", Condition::Above { query, value: 1.0 })]).unwrap();
    let mut sketch = Sketch::new(MetricUnit::Seconds);
    sketch.record(5.0).unwrap();
    let snapshot = |tick, sketch: &Sketch| {
        MetricsSnapshot::new(ProcessEpoch::from_bits(1), ORIGIN, tick)
            .with_sketch(SeriesKey::bare("wait_seconds"), sketch.clone())
    };
    let mut before = SnapshotHistory::default();
    before.push(snapshot(at(0), &Sketch::new(MetricUnit::Seconds)));
    before.push(snapshot(at(60), &sketch));
    let firing =
        RuleAlertEvaluator.evaluate(&rules, &AlertStates::default(), &before.view(at(60)).unwrap(), at(60));
    assert_eq!(firing.states.in_state(AlertState::Firing).count(), 1);

    let mut after = SnapshotHistory::default();
    after.restore(&before.save(), at(60), at(120));
    let mut states = firing.states;
    states.rebase(at(60), at(120));
    let empty = Sketch::new(MetricUnit::Seconds);
    for (seconds, state) in
        [(180, AlertState::Firing), (600, AlertState::Firing), (720, AlertState::Resolved)]
    {
        after.push(snapshot(at(seconds), &empty));
        let seen = after.view(at(seconds)).unwrap();
        states = RuleAlertEvaluator.evaluate(&rules, &states, &seen, at(seconds)).states;
        assert_eq!(states.iter().next().map(|alert| alert.state), Some(state), "at {seconds} s");
    }
}

#[test]
fn a_restart_leaves_what_fires_firing_and_what_is_pending_as_old_as_it_was() {
    let mut run = Run::of(above(5.0).with_for(5 * MINUTE));
    run.steps(&on(3));
    let (saved, restarted) = (at(120), Tick { monotonic: Duration::from_secs(1), ..at(120 + 3_600) });
    let mut states = run.states.clone();
    states.rebase(saved, restarted);
    let age = states.iter().next().unwrap().active_at.age(Moment::of(restarted));
    assert_eq!(age, 2 * MINUTE, "the downtime does not count");
    run.steps(&on(4));
    let mut states = run.states.clone();
    states.rebase(at(360), Tick { monotonic: Duration::from_secs(1), ..at(360 + 3_600) });
    let alert = states.iter().next().unwrap();
    assert_eq!(alert.state, AlertState::Firing);
    assert_eq!(
        alert.active_at.age(Moment::of(Tick { monotonic: Duration::from_secs(1), ..ORIGIN })),
        66 * MINUTE
    );
}

#[test]
fn what_fires_is_sent_every_minute_and_a_resolved_one_at_once() {
    let rules = RuleSet::new(vec![above(5.0)]).unwrap();
    let mut history = SnapshotHistory::default();
    let mut states = AlertStates::default();
    let mut sent = Vec::new();
    for tick in 0..20_u64 {
        let now = at(10 * tick);
        let value = if tick < 15 { 9.0 } else { 1.0 };
        history.push(
            MetricsSnapshot::new(ProcessEpoch::from_bits(1), ORIGIN, now)
                .with_gauge(SeriesKey::bare("g"), value),
        );
        let out = RuleAlertEvaluator.evaluate(&rules, &states, &history.view(now).unwrap(), now);
        states = out.states;
        sent.extend(out.to_send.iter().map(|alert| (tick, alert.state)));
    }
    assert_eq!(
        sent,
        [
            (0, AlertState::Firing),
            (7, AlertState::Firing),
            (14, AlertState::Firing),
            (15, AlertState::Resolved)
        ]
    );
}

#[test]
fn in_a_month_every_planted_incident_is_found_in_time_and_nothing_else_pages() {
    // Minute of the month, minutes, how many of 1,000 jobs fail.
    let incidents =
        [(1_800, 10, 1_000), (6_000, 30, 500), (9_000, 60, 100), (18_600, 120, 30), (26_400, 400, 10)];
    let bad_in = |minute: u64| {
        let at = incidents.iter().find(|(from, long, _)| (*from..from + long).contains(&minute));
        // A fifth of the budget is always spent.
        at.map_or(u64::from(minute.is_multiple_of(5)), |(_, _, bad)| *bad)
    };
    let pages: Vec<u64> = burn(30 * 1_440, bad_in, 1_000)
        .into_iter()
        .filter_map(|(minute, severity)| (severity == "page").then_some(minute))
        .collect();
    assert_eq!(pages.len(), incidents.len(), "no false page: {pages:?}");
    for ((from, _, bad), page) in incidents.into_iter().zip(pages) {
        let share = bad as f64 / 1e3;
        let within = |long: f64, step: f64, factor: f64| {
            let needed = factor * 0.001 / share;
            if needed < 1.0 { (long + step) * needed } else { f64::INFINITY }
        };
        let latest = within(60.0, 1.0, 14.4).min(within(360.0, 5.0, 6.0)) + 1.0;
        let took = (page - from + 1) as f64;
        assert!(
            took <= latest.ceil(),
            "{bad} of 1,000 from minute {from}: {took} min, at the latest {latest}"
        );
    }
}

#[test]
fn saved_and_restored_at_every_step_it_goes_on_as_if_it_had_not_been() {
    let slo = Slo {
        total: Selector::of("jobs_total").summed_by(&[]),
        bad: Bad::Counted(Selector::of("dead_total").summed_by(&[])),
        objective: 0.999,
    };
    let held = above(5.0).with_for(3 * MINUTE).with_keep_firing_for(2 * MINUTE).with_clear(2.0);
    let rules = RuleSet::new(vec![AlertRule::new("Jobs", Condition::Burn(slo)), held]).unwrap();
    let (mut whole, mut broken) = (SnapshotHistory::default(), SnapshotHistory::default());
    let (mut states, mut restored) = (AlertStates::default(), AlertStates::default());
    let (mut total, mut bad, mut seen) = (0, 0, 0);
    let told = |states: &AlertStates| {
        states.iter().map(|alert| (alert.labels.clone(), alert.state)).collect::<Vec<_>>()
    };
    for minute in 0..400_u64 {
        let now = at(60 * minute);
        let (jobs, dead) = (100, if (120..180).contains(&minute) { 20 } else { 0 });
        (total, bad) = (total + jobs, bad + dead);
        let snapshot = |jobs, dead| {
            MetricsSnapshot::new(ProcessEpoch::from_bits(1), ORIGIN, now)
                .with_counter(SeriesKey::bare("jobs_total"), jobs)
                .with_counter(SeriesKey::bare("dead_total"), dead)
                .with_gauge(
                    SeriesKey::bare("g"),
                    [1.0, 7.0, 6.0, 8.0, 9.0, 3.0, 7.0, 1.0][minute as usize / 2 % 8],
                )
        };
        whole.push(snapshot(total, bad));
        if minute > 0 {
            let before = at(60 * (minute - 1));
            let saved: crate::CounterHistory =
                serde_json::from_str(&serde_json::to_string(&broken.save()).unwrap()).unwrap();
            broken = SnapshotHistory::default();
            broken.watch(&rules);
            broken.restore(&saved, before, before);
            restored = serde_json::from_str(&serde_json::to_string(&restored).unwrap()).unwrap();
            restored.rebase(before, before);
        }
        // What starts anew counts from 0.
        broken.push(snapshot(jobs, dead));
        let one = RuleAlertEvaluator.evaluate(&rules, &states, &whole.view(now).unwrap(), now);
        let other = RuleAlertEvaluator.evaluate(&rules, &restored, &broken.view(now).unwrap(), now);
        (states, restored) = (one.states, other.states);
        assert_eq!(told(&states), told(&restored), "at minute {minute}");
        seen += one.events.len();
    }
    assert!(seen > 20, "{seen} changes are too few to tell anything");
}
