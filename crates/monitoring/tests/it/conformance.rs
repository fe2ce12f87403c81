//! Every implementation against its contract, and the adapters against files and doubles.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use wavequill_kernel::{ErrorClass, Retryable, SystemClock};
use wavequill_monitoring::testing::{
    MemoryAlertStateStore, MemorySnapshotExchange, RecordingTransport, aggregator_conforms, alert,
    alert_evaluator_conforms, alert_sink_conforms, alert_state_store_conforms, metrics_collector_conforms,
    snapshot_exchange_conforms,
};
use wavequill_monitoring::{
    AlertSink, AlertState, AlertStateStore, ChannelAlertSink, CollectorConfig, FileAlertStateStore,
    MonitoringError, Notification, RuleAlertEvaluator, SketchAggregator, SketchMetricsCollector, Tick,
    TracingAlertSink, WebhookAlertSink,
};

#[test]
fn the_collector_keeps_its_contract_alone_and_with_a_downstream() {
    metrics_collector_conforms(&SketchMetricsCollector::default());
    let config = CollectorConfig::default().with_stripes(4);
    let downstream = SketchMetricsCollector::default();
    let both = SketchMetricsCollector::with_downstream(config, Arc::new(SystemClock), downstream).unwrap();
    metrics_collector_conforms(&both);
}

#[test]
fn the_aggregator_and_the_evaluator_keep_their_contracts() {
    aggregator_conforms(&SketchAggregator);
    alert_evaluator_conforms(&RuleAlertEvaluator);
}

#[tokio::test]
async fn every_sink_keeps_its_contract() {
    alert_sink_conforms(&TracingAlertSink::default()).await;
    let (sink, _receiver) = ChannelAlertSink::new("channel", 8);
    alert_sink_conforms(&sink).await;
    let transport = Arc::new(RecordingTransport::default());
    alert_sink_conforms(&WebhookAlertSink::new("hook", "http://localhost/hook", transport.clone())).await;
    alert_sink_conforms(&WebhookAlertSink::alertmanager("am", "http://localhost:9093/", transport)).await;
}

#[tokio::test]
async fn every_state_store_keeps_its_contract() {
    alert_state_store_conforms(&MemoryAlertStateStore::default()).await;
    let folder = tempfile::tempdir().unwrap();
    alert_state_store_conforms(&FileAlertStateStore::new(folder.path().join("alerts.json"))).await;
}

#[tokio::test]
async fn the_memory_exchange_keeps_its_contract() {
    snapshot_exchange_conforms(&MemorySnapshotExchange::default()).await;
}

#[tokio::test]
async fn a_state_of_a_newer_version_is_set_aside_once() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("alerts.json");
    std::fs::write(&file, r#"{"version":9,"state":{}}"#).unwrap();
    let store = FileAlertStateStore::new(&file);
    let refused = store.load().await.unwrap_err();
    assert_eq!(refused, MonitoringError::DamagedState { reason: "version 9".to_owned() });
    assert_eq!(store.load().await, Ok(None));
    assert!(folder.path().join("alerts.json.damaged").exists());
}

#[tokio::test]
async fn a_folder_that_is_missing_is_an_error_that_names_it() {
    let store = FileAlertStateStore::new("/nowhere/at/all/alerts.json");
    let state = wavequill_monitoring::SavedState {
        saved: Tick { monotonic: Duration::ZERO, wall: SystemTime::UNIX_EPOCH },
        alerts: wavequill_monitoring::AlertStates::default(),
        routes: wavequill_monitoring::RouteStates::default(),
        history: wavequill_monitoring::CounterHistory::default(),
    };
    let error = store.save(&state).await.unwrap_err();
    assert!(error.to_string().contains("/nowhere/at/all/alerts.json"), "{error}");
    assert_eq!(error.class(), ErrorClass::Transient);
}

#[tokio::test]
async fn a_webhook_is_alertmanagers_and_its_failures_keep_their_class() {
    let transport = Arc::new(RecordingTransport::default());
    let sink = WebhookAlertSink::new("hook", "http://localhost/secret", transport.clone())
        .with_header("authorization", "x");
    let now =
        Tick { monotonic: Duration::from_secs(100), wall: SystemTime::UNIX_EPOCH + Duration::from_secs(100) };
    let notification = Notification {
        receiver: "hook".to_owned(),
        group: [("alertname".to_owned(), "Down".to_owned())].into(),
        at: now,
        alerts: vec![alert("Down", AlertState::Firing, now)],
        flapping: Vec::new(),
    };
    sink.deliver(&notification).await.unwrap();
    let posted: serde_json::Value = serde_json::from_slice(&transport.requests()[0].body).unwrap();
    assert_eq!(posted["version"], "4");
    assert_eq!(posted["status"], "firing");
    assert_eq!(posted["commonLabels"]["alertname"], "Down");
    assert_eq!(posted["alerts"][0]["startsAt"], "1970-01-01T00:01:40.000Z");
    assert_eq!(posted["alerts"][0]["endsAt"], "1970-01-01T00:05:40.000Z");
    assert!(!format!("{sink:?}").contains("secret"));

    transport.fail_with(Some(ErrorClass::Permanent));
    let error = sink.deliver(&notification).await.unwrap_err();
    assert_eq!(error.class(), ErrorClass::Permanent);
}

#[test]
fn a_second_recorder_for_the_process_is_refused_with_what_to_do() {
    let first = SketchMetricsCollector::default();
    // Another test of this process may have been first.
    let _ = first.install();
    let error = SketchMetricsCollector::default().install().unwrap_err();
    assert!(error.to_string().contains("with_downstream"), "{error}");
}
