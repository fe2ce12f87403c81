use std::time::SystemTime;

use super::*;
use crate::model::layout::MetricUnit;
use crate::model::snapshot::ProcessEpoch;

const ORIGIN: Tick = Tick { monotonic: Duration::ZERO, wall: SystemTime::UNIX_EPOCH };

fn at(seconds: u64) -> Tick {
    ORIGIN.after(Duration::from_secs(seconds))
}

fn series() -> SeriesKey {
    SeriesKey::bare("files_total")
}

fn snapshot(seconds: u64, count: u64) -> MetricsSnapshot {
    MetricsSnapshot::new(ProcessEpoch::from_bits(1), ORIGIN, at(seconds)).with_counter(series(), count)
}

fn minutes(n: u64) -> Duration {
    Duration::from_secs(60 * n)
}

/// Ten-second ticks on which the counter grows by one.
fn days_of_ticks(until_seconds: u64) -> SnapshotHistory {
    let mut history = SnapshotHistory::default();
    for tick in 0..=until_seconds / 10 {
        history.push(snapshot(10 * tick, tick));
    }
    history
}

#[test]
fn a_window_is_the_latest_less_the_newest_that_is_old_enough() {
    let history = days_of_ticks(3_600);
    let view = history.view(at(3_600)).unwrap();
    assert_eq!(view.increase(&series(), minutes(5)), Reading::Value(30));
    assert_eq!(view.span(minutes(5)), Reading::Value(minutes(5)));
    assert_eq!(view.increase(&series(), Duration::from_secs(55)), Reading::Value(6));
    assert_eq!(view.span(Duration::from_secs(55)), Reading::Value(Duration::from_secs(60)));
}

#[test]
fn a_younger_process_tells_all_since_it_began() {
    let mut history = SnapshotHistory::default();
    history.push(snapshot(10, 5));
    assert_eq!(history.view(at(10)).unwrap().increase(&series(), minutes(60)), Reading::NoData);
    history.push(snapshot(20, 9));
    let view = history.view(at(20)).unwrap();
    assert_eq!(
        view.increase(&series(), minutes(60)),
        Reading::Value(9),
        "also what came before the first tick"
    );
    assert_eq!(view.increase(&SeriesKey::bare("other"), minutes(60)), Reading::NoData);
}

#[test]
fn days_of_ticks_are_few_and_every_window_is_off_by_one_step_at_most() {
    let history = days_of_ticks(4 * 86_400);
    assert!(history.ticks() < 96 + 60 + 62 + 270 + 10, "{} ticks", history.ticks());
    let view = history.view(at(4 * 86_400)).unwrap();
    for (window, step) in [(minutes(15), 10), (minutes(60), 60), (minutes(360), 300), (minutes(72 * 60), 900)]
    {
        let wanted = window.as_secs() / 10;
        let Reading::Value(seen) = view.increase(&series(), window) else {
            panic!("no data over {window:?}")
        };
        assert!((wanted..=wanted + step / 10).contains(&seen), "{window:?}: {seen} for {wanted}");
        let Reading::Value(span) = view.span(window) else { panic!("no span over {window:?}") };
        assert_eq!(span.as_secs() / 10, seen, "a rate is exact whatever the step");
    }
}

#[test]
fn a_series_that_was_evicted_and_came_back_goes_on_from_where_it_was() {
    let mut history = SnapshotHistory::default();
    history.push(snapshot(0, 100));
    history.push(snapshot(10, 107));
    let mut reborn = snapshot(20, 3);
    reborn.counters.values_mut().for_each(|kept| kept.life = 1);
    history.push(reborn);
    let view = history.view(at(20)).unwrap();
    assert_eq!(view.increase(&series(), Duration::from_secs(20)), Reading::Value(10));
}

#[test]
fn a_restart_continues_the_counters_over_the_downtime() {
    let before = days_of_ticks(7_200);
    let saved = before.save();
    let mut after = SnapshotHistory::default();
    let restarted = Tick { monotonic: Duration::ZERO, ..at(7_200 + 600) };
    after.restore(&saved, at(7_200), restarted);
    after.push(MetricsSnapshot {
        epoch: ProcessEpoch::from_bits(2),
        started: restarted,
        tick: restarted.after(Duration::from_secs(10)),
        ..snapshot(0, 4)
    });
    let view = after.view(restarted.after(Duration::from_secs(10))).unwrap();
    assert_eq!(view.increase(&series(), Duration::from_secs(610)), Reading::Value(4));
    assert_eq!(view.increase(&series(), Duration::from_secs(1_210)), Reading::Value(64));
    assert!(!view.covers_distributions(minutes(60)));
    assert!(view.covers_distributions(Duration::from_secs(5)));
}

#[test]
fn a_history_over_its_limit_becomes_coarser_and_still_answers() {
    let mut history = SnapshotHistory::new(100_000);
    let mut sketch = Sketch::new(MetricUnit::Seconds);
    for tick in 0..2_000_u64 {
        sketch.record(1e-3 * (1 + tick) as f64).unwrap();
        history.push(snapshot(10 * tick, tick).with_sketch(SeriesKey::bare("wait_seconds"), sketch.clone()));
    }
    assert!(history.bytes() < 130_000, "{} bytes", history.bytes());
    let view = history.view(at(20_000)).unwrap();
    let Reading::Value(seen) = view.sketch(&SeriesKey::bare("wait_seconds"), minutes(60)) else {
        panic!("no data")
    };
    assert!((360..=600).contains(&seen.count()), "{}", seen.count());
}
