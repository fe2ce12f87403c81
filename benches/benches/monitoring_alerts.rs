//! What evaluating rules costs, and when burn-rate rules find incidents in a month.
//!
//! `cargo bench -p wavequill-benches --bench monitoring_alerts`
#![expect(clippy::expect_used, clippy::print_stdout, reason = "a bench speaks to its terminal")]
#![expect(clippy::disallowed_methods, reason = "this measures")]

use std::time::{Duration, Instant, SystemTime};

use wavequill_monitoring::{
    AlertEvaluator, AlertRule, AlertState, AlertStates, Bad, Condition, MetricUnit, MetricsSnapshot,
    ProcessEpoch, Quantile, Query, Range, RuleAlertEvaluator, RuleSet, Selector, SeriesKey, Sketch, Slo,
    SnapshotHistory, Tick,
};

const ORIGIN: Tick = Tick { monotonic: Duration::ZERO, wall: SystemTime::UNIX_EPOCH };
const TICK: u64 = 10;

fn empty(now: Tick) -> MetricsSnapshot {
    MetricsSnapshot::new(ProcessEpoch::from_bits(1), ORIGIN, now)
}

/// 1,000 rules over as many series: half look at a gauge, a quarter at a ratio of counters, a quarter at a percentile.
fn thousand_rules() -> RuleSet {
    let minutes = |n: u64| Duration::from_secs(60 * n);
    let rule = |at: usize| {
        let (a, b, h) = (format!("a{at}_total"), format!("b{at}_total"), format!("h{at}_seconds"));
        let query = match at % 4 {
            0 | 1 => Query::Last(Selector::of(format!("g{at}").as_str())),
            2 => Query::Ratio(
                Range::of(Selector::of(a.as_str()), minutes(10)),
                Range::of(Selector::of(b.as_str()), minutes(10)),
            ),
            _ => Query::Quantile { q: Quantile::P99, of: Range::of(Selector::of(h.as_str()), minutes(10)) },
        };
        AlertRule::new(format!("Rule{at}"), Condition::Above { query, value: 0.5 }).with_for(minutes(5))
    };
    RuleSet::new((0..1_000).map(rule).collect()).expect("they are valid")
}

fn evaluating() {
    let rules = thousand_rules();
    let mut history = SnapshotHistory::default();
    let mut sketch = Sketch::new(MetricUnit::Seconds).to_buckets();
    let mut states = AlertStates::default();
    let mut best = Duration::MAX;
    for tick in 0..120_u64 {
        let now = ORIGIN.after(Duration::from_secs(TICK * tick));
        (0..50).for_each(|at| sketch.record(0.01 * f64::from(at)).expect("a value of at least 0"));
        let mut snapshot = empty(now);
        for at in 0..1_000_usize {
            let key = |kind: &str| SeriesKey::bare(format!("{kind}{at}").as_str());
            snapshot = match at % 4 {
                0 | 1 => snapshot.with_gauge(key("g"), (at % 7) as f64 / 10.0),
                2 => snapshot
                    .with_counter(SeriesKey::bare(format!("a{at}_total").as_str()), tick * (at as u64 % 5))
                    .with_counter(SeriesKey::bare(format!("b{at}_total").as_str()), tick * 6),
                _ => snapshot.with_sketch(SeriesKey::bare(format!("h{at}_seconds").as_str()), sketch.clone()),
            };
        }
        history.push(snapshot);
        let seen = history.view(now).expect("there is a snapshot");
        let begin = Instant::now();
        let out = RuleAlertEvaluator.evaluate(&rules, &states, &seen, now);
        let spent = begin.elapsed();
        assert!(out.errors.is_empty(), "{:?}", out.errors);
        states = out.states;
        // Once the window is full.
        if tick > 60 {
            best = best.min(spent);
        }
    }
    let firing = states.in_state(AlertState::Firing).count();
    println!("1,000 rules, of which {firing} fire: {:.3} ms an evaluation", best.as_secs_f64() * 1e3);
}

/// From which hour, for how many minutes, how many of a thousand jobs fail.
const INCIDENTS: [(u64, u64, u64); 12] = [
    (30, 10, 1_000),
    (60, 5, 1_000),
    (100, 30, 500),
    (150, 60, 100),
    (200, 90, 50),
    (250, 45, 200),
    (310, 120, 30),
    (370, 300, 20),
    (440, 400, 10),
    (520, 15, 300),
    (590, 20, 150),
    (660, 480, 8),
];
const HOURS: u64 = 720;
/// Jobs a tick.
const TRAFFIC: u64 = 1_000;
/// Of a million jobs, how many fail on a good day: a fifth of the budget.
const BACKGROUND: u64 = 200;

/// Seconds until the first page at the latest: long · factor · budget ÷ share of either window, and what windows are too long
/// by at most, and a tick.
fn promised(share: f64) -> f64 {
    let of = |long: f64, step: f64, factor: f64| {
        let needed = factor * 0.001 / share;
        if needed < 1.0 { (long + step) * needed } else { f64::INFINITY }
    };
    of(3_600.0, 60.0, 14.4).min(of(6.0 * 3_600.0, 300.0, 6.0)) + TICK as f64
}

fn month() {
    let slo = Slo {
        total: Selector::of("jobs_total").summed_by(&[]),
        bad: Bad::Counted(Selector::of("dead_total").summed_by(&[])),
        objective: 0.999,
    };
    let rules = RuleSet::new(vec![AlertRule::new("Jobs", Condition::Burn(slo))]).expect("it is valid");
    let mut history = SnapshotHistory::default();
    let (mut states, mut total, mut bad, mut owed) = (AlertStates::default(), 0, 0, 0);
    let mut pages: Vec<u64> = Vec::new();
    let begin = Instant::now();
    for tick in 0..HOURS * 3_600 / TICK {
        let seconds = tick * TICK;
        let now = ORIGIN.after(Duration::from_secs(seconds));
        let share = INCIDENTS
            .iter()
            .find(|(hour, minutes, _)| (hour * 3_600..hour * 3_600 + minutes * 60).contains(&seconds));
        total += TRAFFIC;
        owed += share.map_or(BACKGROUND, |(_, _, thousandths)| thousandths * 1_000) * TRAFFIC;
        bad += owed / 1_000_000;
        owed %= 1_000_000;
        history.push(
            empty(now)
                .with_counter(SeriesKey::bare("jobs_total"), total)
                .with_counter(SeriesKey::bare("dead_total"), bad),
        );
        let out = RuleAlertEvaluator.evaluate(&rules, &states, &history.view(now).expect("pushed"), now);
        states = out.states;
        let page = |event: &&wavequill_monitoring::AlertEvent| {
            event.to == Some(AlertState::Firing)
                && event.labels.get("severity").is_some_and(|is| is == "page")
        };
        pages.extend(out.events.iter().filter(page).map(|_| seconds));
    }
    let spent = begin.elapsed();

    println!("\n| of 1,000 jobs fail | for | found after | at the latest |\n|---|---|---|---|");
    let mut planted = 0;
    for (hour, minutes, thousandths) in INCIDENTS {
        let (from, to) = (hour * 3_600, hour * 3_600 + minutes * 60);
        let latest = promised(thousandths as f64 / 1e3);
        let within: Vec<u64> =
            pages.iter().copied().filter(|page| (from..to + 3_600).contains(page)).collect();
        planted += within.len();
        let found = within.first().map_or("never".to_owned(), |page| format!("{} s", page - from + TICK));
        println!("| {thousandths} | {minutes} min | {found} | {latest:.0} s |");
    }
    println!("\nFalse pages: {}. A month of ticks took {:.1} s.", pages.len() - planted, spent.as_secs_f64());
}

fn main() {
    evaluating();
    month();
}
