#![doc = include_str!("../README.md")]

mod aggregator;
mod alert_evaluator;
mod config;
mod error;
mod metrics;
mod metrics_collector;
mod model;
mod ports;
mod rule_alert_evaluator;
mod sketch_aggregator;
mod sketch_metrics_collector;

pub use aggregator::Aggregator;
pub use alert_evaluator::AlertEvaluator;
pub use config::CollectorConfig;
pub use error::MonitoringError;
pub use metrics_collector::MetricsCollector;
pub use model::alert::{Alert, AlertEvent, AlertState, AlertStates, Evaluation, Moment, RuleError};
pub use model::history::{CounterHistory, Reading, SnapshotHistory, WindowView};
pub use model::layout::MetricUnit;
pub use model::quantile::{Percentiles, Quantile};
pub use model::routes::{Inhibition, Matches, Notification, Route, RouteStates, Routed, Routes, Silence};
pub use model::rule::{
    AlertRule, Bad, Condition, LabelMatch, Labels, NoData, Query, Range, RuleSet, Scope, Selector, Severity,
    Slo,
};
pub use model::series_key::{MetricName, SeriesKey};
pub use model::sketch::Sketch;
pub use model::snapshot::{MetricDescription, MetricKind, MetricsSnapshot, ProcessEpoch, Tick};
pub use ports::{
    AlertSink, AlertStateStore, Collected, Leadership, SavedState, SnapshotExchange, TelemetryRequest,
    TelemetryTransport,
};
pub use rule_alert_evaluator::RuleAlertEvaluator;
pub use sketch_aggregator::SketchAggregator;
pub use sketch_metrics_collector::SketchMetricsCollector;
