use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use ::metrics::{Key, Level, Metadata};
use async_trait::async_trait;
use wavequill_kernel::ErrorClass;

use super::*;
use crate::adapters::channel_alert_sink::ChannelAlertSink;
use crate::adapters::file_alert_state_store::FileAlertStateStore;
use crate::testing::TokioClock;
use crate::{
    AlertRule, AlertState, Condition, Notification, Query, Route, Scope, Selector, SeriesKey,
    SketchMetricsCollector,
};

const METADATA: Metadata<'static> = Metadata::new("test", Level::INFO, None);

fn rules(scope: Scope) -> RuleSet {
    let query = Query::Last(Selector::of("g"));
    RuleSet::new(vec![AlertRule::new("G", Condition::Above { query, value: 1.0 }).with_scope(scope)]).unwrap()
}

struct Setup {
    collector: SketchMetricsCollector,
    gauge: ::metrics::Gauge,
    clock: Arc<TokioClock>,
}

fn setup() -> Setup {
    let clock = Arc::new(TokioClock::new());
    let collector = SketchMetricsCollector::new(crate::CollectorConfig::default(), clock.clone()).unwrap();
    let gauge = collector.recorder_gauge("g");
    Setup { collector, gauge, clock }
}

impl SketchMetricsCollector {
    fn recorder_gauge(&self, name: &'static str) -> ::metrics::Gauge {
        ::metrics::Recorder::register_gauge(self, &Key::from_static_name(name), &METADATA)
    }
}

impl Setup {
    fn builder(&self) -> MonitorBuilder {
        Monitor::builder(Arc::new(self.collector.clone()))
            .with_clock(self.clock.clone())
            .with_rules(rules(Scope::Process))
    }
}

#[tokio::test(start_paused = true)]
async fn an_alert_is_seen_told_and_resolved_in_time() {
    let setup = setup();
    let (sink, mut told) = ChannelAlertSink::new("channel", 8);
    let monitor =
        setup.builder().with_sink(sink).with_routes(Routes::all_to("channel")).start().await.unwrap();
    let mut events = monitor.subscribe();
    tokio::time::sleep(Duration::from_secs(5)).await;
    setup.gauge.set(2.0);
    let first = told.recv().await.unwrap();
    assert_eq!(
        setup.clock.monotonic(),
        Duration::from_secs(40),
        "the next tick, and thirty seconds for the group"
    );
    assert!(first.is_firing());
    assert_eq!(events.recv().await.unwrap().to, Some(AlertState::Firing));
    assert_eq!(monitor.alerts().len(), 1);
    setup.gauge.set(0.0);
    let second = told.recv().await.unwrap();
    assert_eq!(setup.clock.monotonic(), Duration::from_secs(340));
    assert_eq!(second.alerts[0].state, AlertState::Resolved);
    assert!(monitor.health().is_healthy(), "{:?}", monitor.health());
    let page = String::from_utf8(monitor.render(Format::Text).unwrap()).unwrap();
    assert!(page.contains("wavequill_monitoring_notifications_total{outcome=\"ok\"} 2"), "{page}");
    assert!(page.contains("wavequill_monitoring_alerts{state=\"firing\"} 0"), "{page}");
}

#[tokio::test(start_paused = true)]
async fn a_window_tells_what_was_recorded_within_it() {
    let setup = setup();
    let counter =
        ::metrics::Recorder::register_counter(&setup.collector, &Key::from_static_name("a_total"), &METADATA);
    let monitor = setup.builder().start().await.unwrap();
    for _ in 0..30 {
        counter.increment(2);
        tokio::time::sleep(Duration::from_secs(10)).await;
    }
    let Reading::Value(minute) = monitor.window(Duration::from_secs(60)) else { panic!("no data") };
    assert_eq!(minute.counter(&SeriesKey::bare("a_total")), Some(12));
}

/// Fails a number of times, then takes everything.
#[derive(Debug)]
struct FlakySink {
    failures: AtomicU32,
    class: ErrorClass,
    inner: ChannelAlertSink,
}

#[async_trait]
impl AlertSink for FlakySink {
    fn name(&self) -> &str {
        self.inner.name()
    }

    async fn deliver(&self, notification: &Notification) -> Result<(), MonitoringError> {
        if self.failures.load(Relaxed) > 0 {
            self.failures.fetch_sub(1, Relaxed);
            let (sink, reason) = (self.name().to_owned(), "503".to_owned());
            return Err(MonitoringError::Sink { sink, reason, class: self.class });
        }
        self.inner.deliver(notification).await
    }
}

#[tokio::test(start_paused = true)]
async fn a_sink_that_is_down_is_tried_again_and_health_says_so() {
    let setup = setup();
    let (inner, mut told) = ChannelAlertSink::new("flaky", 8);
    let flaky = FlakySink { failures: AtomicU32::new(3), class: ErrorClass::Transient, inner };
    let monitor =
        setup.builder().with_sink(flaky).with_routes(Routes::all_to("flaky")).start().await.unwrap();
    setup.gauge.set(2.0);
    tokio::time::sleep(Duration::from_secs(30)).await;
    while monitor.health().sinks[0].last_error.is_none() {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(!monitor.health().is_healthy());
    assert!(told.recv().await.unwrap().is_firing());
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert!(monitor.health().is_healthy());
}

#[tokio::test(start_paused = true)]
async fn a_full_queue_drops_the_oldest_that_does_not_fire() {
    let setup = setup();
    let metrics = ::metrics::with_local_recorder(&setup.collector, MonitorMetrics::register);
    let (sink, _kept) = ChannelAlertSink::new("c", 1);
    let queue = SinkQueue::new(Arc::new(sink), 2, metrics);
    let told = |name: &str, state| {
        let mut alerts = Vec::new();
        let mut run = setup.collector.snapshot();
        run.gauges.clear();
        let now = run.tick();
        let labels = [("alertname".to_owned(), name.to_owned())].into();
        alerts.push(crate::testing::alert(name, state, now));
        sink_queue::Item::Notify(Notification {
            receiver: "c".into(),
            group: labels,
            at: now,
            alerts,
            flapping: vec![],
        })
    };
    queue.push(told("a", AlertState::Firing));
    queue.push(told("b", AlertState::Resolved));
    queue.push(told("c", AlertState::Firing));
    assert_eq!(queue.health().dropped, 1);
    assert_eq!(queue.health().queued, 2);
}

#[tokio::test(start_paused = true)]
async fn what_fires_before_a_restart_fires_after_it_unannounced() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("alerts.json");
    let first = setup();
    first.gauge.set(2.0);
    let monitor = first.builder().with_state_store(FileAlertStateStore::new(&file)).start().await.unwrap();
    monitor.tick().await.unwrap();
    monitor.shutdown(Duration::from_secs(1)).await;
    assert_eq!(monitor.tick().await, Err(MonitoringError::ShutDown));

    let second = setup();
    second.gauge.set(2.0);
    let monitor = second.builder().with_state_store(FileAlertStateStore::new(&file)).start().await.unwrap();
    let mut events = monitor.subscribe();
    monitor.tick().await.unwrap();
    assert_eq!(monitor.alerts()[0].state, AlertState::Firing);
    assert!(events.try_recv().is_err(), "nothing changed");
}

#[tokio::test(start_paused = true)]
async fn a_damaged_state_is_set_aside_and_monitoring_starts_without_it() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("alerts.json");
    std::fs::write(&file, "{\"version\":1,\"state\":").unwrap();
    let setup = setup();
    let monitor = setup.builder().with_state_store(FileAlertStateStore::new(&file)).start().await.unwrap();
    assert!(monitor.health().state_error.unwrap().contains("set aside"));
    monitor.tick().await.unwrap();
    assert!(monitor.health().state_error.is_none(), "the next save works");
    assert!(folder.path().join("alerts.json.damaged").exists());
}

#[tokio::test(start_paused = true)]
async fn one_of_a_fleet_evaluates_the_rules_of_all() {
    let exchange = crate::testing::MemorySnapshotExchange::default();
    let (one, two) = (setup(), setup());
    let mut monitors = Vec::new();
    for setup in [&one, &two] {
        let rules = {
            let query = Query::Last(Selector::of("g").summed_by(&[]));
            RuleSet::new(vec![
                AlertRule::new("Sum", Condition::Above { query, value: 3.0 }).with_scope(Scope::Fleet),
            ])
            .unwrap()
        };
        monitors
            .push(setup.builder().with_rules(rules).with_exchange(exchange.clone()).start().await.unwrap());
    }
    one.gauge.set(2.0);
    two.gauge.set(2.0);
    for _ in 0..3 {
        for monitor in &monitors {
            monitor.tick().await.unwrap();
        }
    }
    let firing: Vec<usize> = monitors.iter().map(|monitor| monitor.alerts().len()).collect();
    assert_eq!(firing.iter().sum::<usize>(), 1, "{firing:?}");
}

#[tokio::test(start_paused = true)]
async fn a_route_to_nobody_and_a_tick_out_of_range_are_refused() {
    let setup = setup();
    let routes = Routes { routes: vec![Route::to("pager")], ..Routes::default() };
    let refused = setup.builder().with_routes(routes).start().await.unwrap_err();
    let source = std::error::Error::source(&refused).unwrap().to_string();
    assert_eq!(source, "`receiver` is \"pager\", but must be the name of a sink: log");
    let config = MonitorConfig::default().with_tick(Duration::ZERO);
    assert!(setup.builder().with_config(config).start().await.is_err());
}
