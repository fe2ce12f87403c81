//! The contracts of the ports.

use std::time::{Duration, SystemTime};

use crate::model::alert::{AlertState, AlertStates};
use crate::model::history::SnapshotHistory;
use crate::model::routes::{Notification, RouteStates};
use crate::model::series_key::SeriesKey;
use crate::model::snapshot::{MetricsSnapshot, ProcessEpoch, Tick};
use crate::ports::{AlertSink, AlertStateStore, Leadership, SavedState, SnapshotExchange};

const ORIGIN: Tick = Tick { monotonic: Duration::ZERO, wall: SystemTime::UNIX_EPOCH };

/// Tests an [`AlertSink`] that can deliver.
///
/// # Panics
/// If a sentence of the contract does not hold.
pub async fn alert_sink_conforms(sink: &dyn AlertSink) {
    let alerts = vec![
        super::alert("Conformance", AlertState::Firing, ORIGIN),
        super::alert("Conformed", AlertState::Resolved, ORIGIN),
    ];
    let notification = Notification {
        receiver: sink.name().to_owned(),
        group: [("alertname".to_owned(), "Conformance".to_owned())].into(),
        at: ORIGIN,
        flapping: Vec::new(),
        alerts,
    };
    drop(sink.deliver(&notification));
    for time in ["once", "again"] {
        let told = sink.deliver(&notification).await;
        assert!(told.is_ok(), "2 and 3: delivered {time}, after a delivery that was dropped: {told:?}");
    }
    let forwarded = sink.forward(&notification.alerts, ORIGIN).await;
    assert!(forwarded.is_ok(), "1: alerts as they are: {forwarded:?}");
}

/// Tests an [`AlertStateStore`] that holds nothing yet.
///
/// # Panics
/// If a sentence of the contract does not hold.
pub async fn alert_state_store_conforms(store: &dyn AlertStateStore) {
    assert_eq!(store.load().await, Ok(None), "2: nothing saved is nothing");
    let state = |seconds: u64| {
        let now = ORIGIN.after(Duration::from_secs(seconds));
        let mut history = SnapshotHistory::default();
        history.push(
            MetricsSnapshot::new(ProcessEpoch::from_bits(1), ORIGIN, now)
                .with_counter(SeriesKey::new("conformance_total", [("quote", "\"\n")]), seconds),
        );
        let mut alerts = AlertStates::default();
        let alert = super::alert("Conformance", AlertState::Firing, now);
        alerts.alerts.entry(alert.rule.clone()).or_default().insert(alert.labels.clone(), alert);
        SavedState { saved: now, alerts, routes: RouteStates::default(), history: history.save() }
    };
    for seconds in [1, 2] {
        store.save(&state(seconds)).await.unwrap();
        assert_eq!(store.load().await, Ok(Some(state(seconds))), "1: what was saved last is loaded");
    }
    drop(store.save(&state(3)));
    let loaded = store.load().await.unwrap();
    assert!(loaded == Some(state(2)) || loaded == Some(state(3)), "1: never a mixture");
}

/// Tests a [`SnapshotExchange`] that holds nothing yet.
///
/// # Panics
/// If a sentence of the contract does not hold.
pub async fn snapshot_exchange_conforms(exchange: &dyn SnapshotExchange) {
    let series = SeriesKey::bare("conformance_total");
    let part = |process: u128, count: u64| {
        MetricsSnapshot::new(ProcessEpoch::from_bits(process), ORIGIN, ORIGIN)
            .with_counter(series.clone(), count)
    };
    assert!(exchange.collect().await.unwrap().parts.is_empty(), "1: nobody has published");
    for (process, count) in [(1, 5), (2, 7), (1, 6)] {
        exchange.publish(&part(process, count)).await.unwrap();
    }
    let collected = exchange.collect().await.unwrap();
    assert_eq!(collected.damaged, 0);
    let mut counts: Vec<_> =
        collected.parts.iter().map(|part| (part.epoch().to_bits(), part.counter(&series))).collect();
    counts.sort_unstable();
    assert_eq!(counts, [(1, Some(6)), (2, Some(7))], "1: the last snapshot of each process");
    let one = ProcessEpoch::from_bits(1);
    let two = ProcessEpoch::from_bits(2);
    assert_eq!(exchange.lead(one).await.unwrap(), Leadership::Leader, "3: the first that asks leads");
    assert_eq!(exchange.lead(two).await.unwrap(), Leadership::Follower, "3: at most one");
    assert_eq!(exchange.lead(one).await.unwrap(), Leadership::Leader, "3: and keeps the lead");
}
