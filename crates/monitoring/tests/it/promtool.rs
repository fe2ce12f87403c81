//! The state machine against Prometheus' own: random series and rules through `promtool test rules`.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime};

use wavequill_monitoring::{
    AlertEvaluator, AlertRule, AlertState, AlertStates, Condition, Format, MetricsCollector, MetricsSnapshot,
    Monitor, ProcessEpoch, Query, RuleAlertEvaluator, RuleSet, Selector, SeriesKey, SketchMetricsCollector,
    SnapshotHistory, Tick, prometheus_rules,
};

const ORIGIN: Tick = Tick { monotonic: Duration::ZERO, wall: SystemTime::UNIX_EPOCH };
/// Never a divisor of the five minutes of lookback, whose end was once within it and is no longer.
const STEP: u64 = 40;
const STEPS: usize = 200;
const SERIES: usize = 5;
const RUNS: usize = 10;

/// Runs `promtool`, feeding it `input`; its output if it is content.
fn promtool(arguments: &[&str], folder: &Path, input: &str) -> Result<String, String> {
    let mut child = Command::new("promtool")
        .args(arguments)
        .current_dir(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| {
            panic!("promtool does not start ({error}): install Debian's package `prometheus`, or run cargo xtask test")
        });
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let out = child.wait_with_output().unwrap();
    let text = [out.stdout, out.stderr].concat();
    let text = String::from_utf8_lossy(&text).into_owned();
    if out.status.success() { Ok(text) } else { Err(text) }
}

/// Numbers that look random and are the same each time.
struct Draw(u64);

impl Draw {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }
}

fn rules() -> RuleSet {
    let query = || Query::Last(Selector::of("g"));
    let above = |name: &str| AlertRule::new(name, Condition::Above { query: query(), value: 5.0 });
    let below = |name: &str| AlertRule::new(name, Condition::Below { query: query(), value: 3.0 });
    let steps = |n: u32| Duration::from_secs(STEP) * n;
    let both = Condition::All(vec![
        Condition::Above { query: query(), value: 2.0 },
        Condition::Below { query: query(), value: 7.0 },
    ]);
    let either = Condition::Any(vec![
        Condition::Above { query: query(), value: 8.0 },
        Condition::Below { query: query(), value: 1.0 },
    ]);
    let sum = Query::Last(Selector::of("g").summed_by(&[]));
    RuleSet::new(vec![
        above("AtOnce"),
        above("For").with_for(steps(2)),
        above("ForLong").with_for(steps(6)),
        above("Kept").with_keep_firing_for(steps(3)),
        above("ForAndKept").with_for(steps(1)).with_keep_firing_for(steps(4)),
        above("Clears").with_clear(2.0),
        above("ForClears").with_for(steps(2)).with_clear(3.0).with_label("team", "a"),
        below("Below").with_for(steps(1)),
        below("BelowClears").with_clear(6.0).with_keep_firing_for(steps(2)),
        AlertRule::new("All", both).with_for(steps(1)),
        AlertRule::new("Any", either),
        AlertRule::new("Sum", Condition::Above { query: sum, value: 22.0 }).with_for(steps(1)),
        AlertRule::new("Absent", Condition::Absent(Selector::of("h"))).with_for(steps(3)),
    ])
    .unwrap()
}

/// A series that flaps, with gaps short and long.
fn series(draw: &mut Draw) -> Vec<Option<u64>> {
    let mut out = Vec::new();
    while out.len() < STEPS {
        let (len, kind) = (1 + draw.below(8), draw.below(5));
        let level = draw.below(10);
        for _ in 0..len {
            out.push(match kind {
                0 => None,
                1 | 2 => Some(level),
                _ => Some(draw.below(10)),
            });
        }
        if kind == 0 && draw.below(4) == 0 {
            out.extend([None; 9]);
        }
    }
    out.truncate(STEPS);
    out
}

/// What our evaluator says at each step, as the samples of `ALERTS`.
fn ours(rules: &RuleSet, all: &[Vec<Option<u64>>]) -> Vec<Vec<String>> {
    let mut history = SnapshotHistory::default();
    let mut states = AlertStates::default();
    (0..STEPS)
        .map(|step| {
            let now = ORIGIN.after(Duration::from_secs(STEP * step as u64));
            let mut snapshot = MetricsSnapshot::new(ProcessEpoch::from_bits(1), ORIGIN, now);
            for (index, values) in all.iter().enumerate() {
                if let Some(value) = values[step] {
                    let key = SeriesKey::new("g", [("i", index.to_string())]);
                    snapshot = snapshot.with_gauge(key, value as f64);
                }
            }
            history.push(snapshot);
            let out = RuleAlertEvaluator.evaluate(rules, &states, &history.view(now).unwrap(), now);
            assert_eq!(out.errors, []);
            states = out.states;
            let active = states.iter().filter(|alert| alert.is_active());
            let mut samples: Vec<String> = active
                .map(|alert| {
                    let state = if alert.state == AlertState::Firing { "firing" } else { "pending" };
                    let mut labels = alert.labels.clone();
                    labels.insert("alertstate".to_owned(), state.to_owned());
                    let labels: Vec<String> =
                        labels.iter().map(|(name, value)| format!("{name}={value:?}")).collect();
                    format!("ALERTS{{{}}}", labels.join(","))
                })
                .collect();
            samples.sort();
            samples
        })
        .collect()
}

#[test]
fn alerts_are_prometheus_own_over_random_series_with_gaps_and_flapping() {
    let rules = rules();
    // The sum differs on gaps, as is documented: what is gone is not added up, while Prometheus remembers it.
    let compared =
        RuleSet::new(rules.rules().iter().filter(|rule| rule.name != "Sum").cloned().collect()).unwrap();
    let mut draw = Draw(20_261_124);
    let mut tests = format!("rule_files: [rules.yml]\nevaluation_interval: {STEP}s\ntests:\n");
    let mut samples = 0;
    for _ in 0..RUNS {
        let all: Vec<_> = (0..SERIES).map(|_| series(&mut draw)).collect();
        let _ = write!(tests, "  - interval: {STEP}s\n    input_series:\n");
        for (index, values) in all.iter().enumerate() {
            let values: Vec<String> =
                values.iter().map(|value| value.map_or("_".to_owned(), |value| value.to_string())).collect();
            let _ =
                write!(tests, "      - series: g{{i=\"{index}\"}}\n        values: {}\n", values.join(" "));
        }
        tests.push_str("    promql_expr_test:\n");
        for (step, expected) in ours(&compared, &all).iter().enumerate() {
            samples += expected.len();
            let _ = write!(
                tests,
                "      - expr: ALERTS\n        eval_time: {}s\n        exp_samples:\n",
                STEP * step as u64
            );
            for sample in expected {
                let _ = write!(tests, "          - labels: {sample:?}\n            value: 1\n");
            }
        }
    }
    assert!(samples > 10_000, "{samples} alerts are too few to tell anything");
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("rules.yml"), prometheus_rules(&compared, &[], "test")).unwrap();
    std::fs::write(folder.path().join("tests.yml"), &tests).unwrap();
    if let Err(difference) = promtool(&["test", "rules", "tests.yml"], folder.path(), "") {
        let head: String =
            difference.lines().filter(|line| !line.trim().is_empty()).take(20).collect::<Vec<_>>().join("\n");
        panic!("Prometheus says otherwise:\n{head}");
    }
}

#[test]
fn promtool_accepts_the_default_rules_and_every_kind_of_condition() {
    let folder = tempfile::tempdir().unwrap();
    for (name, rules) in [("default.yml", RuleSet::for_wavequill()), ("all.yml", rules())] {
        std::fs::write(folder.path().join(name), prometheus_rules(&rules, &[], "wavequill")).unwrap();
        let said = promtool(&["check", "rules", name], folder.path(), "").unwrap();
        assert!(said.contains(&format!("{} rules found", count(&rules))), "{said}");
    }
}

/// A burn is a page and a ticket.
fn count(rules: &RuleSet) -> usize {
    rules.rules().iter().map(|rule| if matches!(rule.when, Condition::Burn(_)) { 2 } else { 1 }).sum()
}

#[tokio::test]
async fn promtool_has_nothing_to_say_against_our_own_metrics() {
    let monitor =
        Monitor::builder(std::sync::Arc::new(SketchMetricsCollector::default())).start().await.unwrap();
    monitor.tick().await.unwrap();
    let page = String::from_utf8(monitor.render(Format::Text).unwrap()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(promtool(&["check", "metrics"], folder.path(), &page), Ok(String::new()), "{page}");
}

#[tokio::test]
async fn every_metric_of_monitoring_is_described() {
    let collector = SketchMetricsCollector::default();
    let monitor = Monitor::builder(std::sync::Arc::new(collector.clone())).start().await.unwrap();
    monitor.tick().await.unwrap();
    let described: Vec<String> = collector.catalogue().iter().map(|metric| metric.name.to_string()).collect();
    let snapshot = collector.snapshot();
    let keys = snapshot.counters().map(|(key, _)| key);
    let keys =
        keys.chain(snapshot.gauges().map(|(key, _)| key)).chain(snapshot.sketches().map(|(key, _)| key));
    for key in keys {
        assert!(described.iter().any(|name| name == key.name().as_str()), "{key} is not described");
    }
}
