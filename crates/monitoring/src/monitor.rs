//! The service that owns the tick: it takes snapshots, keeps their history, evaluates rules and tells sinks.
//!
//! It opens no port: an embedder serves what [`Monitor::render`] gives.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use tokio::sync::{broadcast, mpsc, oneshot};
use tokio::task::JoinSet;
use wavequill_kernel::{Clock, SystemClock};

use crate::alert_evaluator::AlertEvaluator;
use crate::config::MonitorConfig;
use crate::error::MonitoringError;
use crate::metrics::MonitorMetrics;
use crate::metrics_collector::MetricsCollector;
use crate::model::alert::{Alert, AlertEvent, AlertStates};
use crate::model::history::{Reading, SnapshotHistory};
use crate::model::routes::Routes;
use crate::model::rule::RuleSet;
use crate::model::snapshot::{MetricDescription, MetricsSnapshot, Tick};
use crate::output::{self, Format};
use crate::ports::{AlertSink, AlertStateStore, SnapshotExchange};
use crate::rule_alert_evaluator::RuleAlertEvaluator;

mod fleet;
mod health;
mod sink_queue;
mod worker;

pub use health::{Health, SinkHealth};

use health::Troubles;
use sink_queue::SinkQueue;
use worker::Worker;

/// How many events a slow subscriber may lag behind before it misses some.
const EVENTS: usize = 1_024;

/// Watches one process: every tick a snapshot, an evaluation of all rules, and what follows from it.
///
/// Its tasks end when it is dropped; [`shutdown`](Monitor::shutdown) also saves and tells what is still to be told.
///
/// ```
/// use std::sync::Arc;
/// use wavequill_monitoring::{Monitor, RuleSet, SketchMetricsCollector};
///
/// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
/// let collector = SketchMetricsCollector::default();
/// let monitor = Monitor::builder(Arc::new(collector)).with_rules(RuleSet::for_wavequill()).start().await?;
/// monitor.tick().await?;
/// assert!(monitor.alerts().is_empty());
/// assert!(monitor.health().is_healthy());
/// # Ok::<(), wavequill_monitoring::MonitoringError>(())
/// # }).unwrap();
/// ```
pub struct Monitor {
    shared: Arc<Shared>,
    requests: mpsc::Sender<Request>,
    tasks: Mutex<JoinSet<()>>,
}

/// What a task of the monitor and its owner both see.
struct Shared {
    collector: Arc<dyn MetricsCollector>,
    clock: Arc<dyn Clock>,
    config: MonitorConfig,
    metrics: MonitorMetrics,
    seen: RwLock<Seen>,
    sinks: Vec<Arc<SinkQueue>>,
    troubles: Mutex<Troubles>,
    events: broadcast::Sender<AlertEvent>,
}

/// What there is to ask for.
struct Seen {
    history: SnapshotHistory,
    alerts: AlertStates,
    last_tick: Option<Tick>,
}

/// What an owner asks of the task.
enum Request {
    Tick(oneshot::Sender<()>),
    Rules(RuleSet, oneshot::Sender<()>),
    Routes(Routes, oneshot::Sender<()>),
    /// One last tick, saved.
    Finish(oneshot::Sender<()>),
}

/// How a [`Monitor`] is put together.
pub struct MonitorBuilder {
    collector: Arc<dyn MetricsCollector>,
    evaluator: Arc<dyn AlertEvaluator>,
    clock: Arc<dyn Clock>,
    config: MonitorConfig,
    rules: RuleSet,
    routes: Routes,
    sinks: Vec<Arc<dyn AlertSink>>,
    store: Option<Arc<dyn AlertStateStore>>,
    exchange: Option<Arc<dyn SnapshotExchange>>,
}

impl Monitor {
    /// A monitor of what this collector collects: without rules and sinks until it is given some.
    pub fn builder(collector: Arc<dyn MetricsCollector>) -> MonitorBuilder {
        MonitorBuilder {
            collector,
            evaluator: Arc::new(RuleAlertEvaluator),
            clock: Arc::new(SystemClock),
            config: MonitorConfig::default(),
            rules: RuleSet::default(),
            routes: Routes::default(),
            sinks: Vec::new(),
            store: None,
            exchange: None,
        }
    }

    /// What was recorded within a window before the latest tick.
    pub fn window(&self, window: Duration) -> Reading<MetricsSnapshot> {
        let now = Tick::of(&self.shared.clock);
        let seen = self.shared.seen.read();
        match seen.history.view(now) {
            Some(view) => view.since(window),
            None => Reading::NoData,
        }
    }

    /// The alerts as of the latest tick, also those resolved within a quarter of an hour.
    pub fn alerts(&self) -> Vec<Alert> {
        self.shared.seen.read().alerts.iter().cloned().collect()
    }

    /// Every change of an alert's state from now on. Who lags more than a thousand events behind is told so.
    pub fn subscribe(&self) -> broadcast::Receiver<AlertEvent> {
        self.shared.events.subscribe()
    }

    /// Whether monitoring itself works.
    pub fn health(&self) -> Health {
        let now = Tick::of(&self.shared.clock);
        let last = self.shared.seen.read().last_tick;
        let sinks = self.shared.sinks.iter().map(|sink| sink.health()).collect();
        Health::of(last, now, self.shared.config.tick, sinks, &self.shared.troubles.lock())
    }

    /// All metrics as they are now, for a scraper.
    ///
    /// # Errors
    /// [`MonitoringError::OutputTooLarge`], [`MonitoringError::NameClash`].
    pub fn render(&self, format: Format) -> Result<Vec<u8>, MonitoringError> {
        let began = self.shared.clock.monotonic();
        let snapshot = self.shared.collector.snapshot();
        let catalogue = self.shared.collector.catalogue();
        let out = output::render(&snapshot, &catalogue, format, self.shared.config.output_limit_bytes);
        if let Some(histogram) = self.shared.metrics.render(format) {
            histogram.record(self.shared.clock.monotonic().saturating_sub(began));
        }
        out
    }

    /// Everything that has been described: names, kinds, units and texts.
    pub fn catalogue(&self) -> Vec<MetricDescription> {
        self.shared.collector.catalogue()
    }

    /// Takes a tick now, and waits until its rules are evaluated.
    ///
    /// # Errors
    /// [`MonitoringError::ShutDown`].
    pub async fn tick(&self) -> Result<(), MonitoringError> {
        self.ask(Request::Tick).await
    }

    /// Puts other rules in force from the next tick on.
    ///
    /// # Errors
    /// [`MonitoringError::ShutDown`]. A set is checked when it is made: see [`RuleSet::new`].
    pub async fn set_rules(&self, rules: RuleSet) -> Result<(), MonitoringError> {
        self.ask(|reply| Request::Rules(rules, reply)).await
    }

    /// Puts other routes, inhibitions and silences in force from the next tick on.
    ///
    /// # Errors
    /// [`MonitoringError::ShutDown`]; [`MonitoringError::InvalidConfig`] if a receiver has no sink.
    pub async fn set_routes(&self, routes: Routes) -> Result<(), MonitoringError> {
        check_receivers(&routes, &self.shared.sinks)?;
        self.ask(|reply| Request::Routes(routes, reply)).await
    }

    /// A last tick, a last save; then waits up to `grace` until the sinks have told everything, and stops.
    ///
    /// # Cancellation
    /// Dropped early, it stops where it was; the state of the last tick is saved within a minute of it.
    pub async fn shutdown(&self, grace: Duration) {
        let work = async {
            // The task is gone already: there is nothing to finish.
            let _ = self.ask(Request::Finish).await;
            for sink in &self.shared.sinks {
                sink.drained().await;
            }
        };
        // What is not told within the grace is lost with the process; health said so.
        let _ = tokio::time::timeout(grace, work).await;
        let mut tasks = std::mem::take(&mut *self.tasks.lock());
        tasks.shutdown().await;
    }

    async fn ask(&self, request: impl FnOnce(oneshot::Sender<()>) -> Request) -> Result<(), MonitoringError> {
        let (reply, answer) = oneshot::channel();
        self.requests.send(request(reply)).await.map_err(|_| MonitoringError::ShutDown)?;
        answer.await.map_err(|_| MonitoringError::ShutDown)
    }
}

impl fmt::Debug for Monitor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Monitor").field("config", &self.shared.config).finish_non_exhaustive()
    }
}

impl MonitorBuilder {
    /// With these rules; those about metrics that nobody describes simply have no data.
    #[must_use]
    pub fn with_rules(mut self, rules: RuleSet) -> Self {
        self.rules = rules;
        self
    }

    /// With these routes.
    #[must_use]
    pub fn with_routes(mut self, routes: Routes) -> Self {
        self.routes = routes;
        self
    }

    /// With a sink more. Without any, alerts go to the log.
    #[must_use]
    pub fn with_sink(mut self, sink: impl AlertSink) -> Self {
        self.sinks.push(Arc::new(sink));
        self
    }

    /// Keeping the state of alerts over a restart here.
    #[must_use]
    pub fn with_state_store(mut self, store: impl AlertStateStore) -> Self {
        self.store = Some(Arc::new(store));
        self
    }

    /// Exchanging snapshots with other processes here, for rules of the whole fleet.
    #[must_use]
    pub fn with_exchange(mut self, exchange: impl SnapshotExchange) -> Self {
        self.exchange = Some(Arc::new(exchange));
        self
    }

    /// With another evaluator.
    #[must_use]
    pub fn with_evaluator(mut self, evaluator: impl AlertEvaluator) -> Self {
        self.evaluator = Arc::new(evaluator);
        self
    }

    /// With another clock.
    #[must_use]
    pub fn with_clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// With another configuration.
    #[must_use]
    pub fn with_config(mut self, config: MonitorConfig) -> Self {
        self.config = config;
        self
    }

    /// Reads the saved state and starts the tasks on the current runtime. The first tick is at once.
    ///
    /// A state that does not read is set aside and counted: monitoring starts without it.
    ///
    /// # Errors
    /// [`MonitoringError::InvalidConfig`] if a field is out of its range or a route's receiver has no sink.
    pub async fn start(mut self) -> Result<Monitor, MonitoringError> {
        self.config.check()?;
        if self.sinks.is_empty() {
            self.sinks.push(Arc::new(crate::adapters::tracing_alert_sink::TracingAlertSink::default()));
        }
        let metrics = metrics::with_local_recorder(self.collector.recorder(), MonitorMetrics::register);
        let sinks: Vec<Arc<SinkQueue>> = self
            .sinks
            .into_iter()
            .map(|sink| Arc::new(SinkQueue::new(sink, self.config.sink_queue, metrics.clone())))
            .collect();
        check_receivers(&self.routes, &sinks)?;

        let mut history = SnapshotHistory::new(self.config.history_limit_bytes);
        history.watch(&self.rules);
        let shared = Arc::new(Shared {
            seen: RwLock::new(Seen { history, alerts: AlertStates::default(), last_tick: None }),
            collector: self.collector,
            clock: self.clock,
            config: self.config,
            metrics,
            sinks,
            troubles: Mutex::default(),
            events: broadcast::channel(EVENTS).0,
        });
        let (requests, receive) = mpsc::channel(16);
        let mut tasks = JoinSet::new();
        for sink in &shared.sinks {
            tasks.spawn(Arc::clone(sink).run());
        }
        let mut worker = Worker::new(
            Arc::clone(&shared),
            self.evaluator,
            &self.rules,
            self.routes,
            self.store,
            self.exchange,
        );
        worker.restore().await;
        tasks.spawn(worker.run(receive));
        Ok(Monitor { shared, requests, tasks: Mutex::new(tasks) })
    }
}

impl fmt::Debug for MonitorBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MonitorBuilder").field("config", &self.config).finish_non_exhaustive()
    }
}

/// Every receiver is the name of a sink.
fn check_receivers(routes: &Routes, sinks: &[Arc<SinkQueue>]) -> Result<(), MonitoringError> {
    let names: Vec<&str> = sinks.iter().map(|sink| sink.name()).collect();
    let wanted = routes.routes.iter().chain([&routes.fallback]).map(|route| route.receiver.as_str());
    match wanted.into_iter().find(|wanted| !names.contains(wanted)) {
        None => Ok(()),
        Some(unknown) => {
            let expected = format!("the name of a sink: {}", names.join(", "));
            Err(wavequill_kernel::InvalidValue::new("receiver", format!("{unknown:?}"), expected).into())
        }
    }
}

#[cfg(test)]
#[path = "monitor/tests.rs"]
mod tests;
