#![doc = include_str!("../README.md")]

mod adapters;
mod aggregator;
mod alert_evaluator;
mod config;
mod default_rules;
mod error;
mod metrics;
mod metrics_collector;
mod model;
mod monitor;
mod output;
mod ports;
mod rule_alert_evaluator;
mod run_recorder;
mod run_report_page;
mod sketch_aggregator;
mod sketch_metrics_collector;
#[cfg(feature = "testing")]
pub mod testing;

#[cfg(feature = "fred")]
pub use adapters::fred::{RedisExchangeConfig, RedisSnapshotExchange};
#[cfg(feature = "otlp")]
pub use adapters::otlp::OtlpExporter;
pub use adapters::{ChannelAlertSink, FileAlertStateStore, TracingAlertSink, WebhookAlertSink};
pub use aggregator::Aggregator;
pub use alert_evaluator::AlertEvaluator;
pub use config::{CollectorConfig, MonitorConfig};
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
pub use model::run_report::{ChunkBar, Cut, QuotaPoint, Run, RunReport, StageBar, StageTimes, Stretch};
pub use model::series_key::{MetricName, SeriesKey};
pub use model::sketch::Sketch;
pub use model::snapshot::{MetricDescription, MetricKind, MetricsSnapshot, ProcessEpoch, Tick};
pub use monitor::{Health, Monitor, MonitorBuilder, SinkHealth};
pub use output::{Format, HistogramStats, SeriesStats, Stats, prometheus_rules, render};
pub use ports::{
    AlertSink, AlertStateStore, Collected, Leadership, SavedState, SnapshotExchange, TelemetryRequest,
    TelemetryTransport, Wants,
};
pub use rule_alert_evaluator::RuleAlertEvaluator;
pub use run_recorder::RunRecorder;
pub use run_report_page::render_html;
pub use sketch_aggregator::SketchAggregator;
pub use sketch_metrics_collector::SketchMetricsCollector;
