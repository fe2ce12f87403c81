//! What monitoring tells of itself.
//!
//! The collector counts its own series and samples in place; everything else goes through held handles, as in every
//! context.

use metrics::{Counter, Gauge, Histogram, Unit};

use crate::output::Format;

/// Series that are kept.
pub(crate) const SERIES: &str = "wavequill_monitoring_series";
/// Their memory.
pub(crate) const MEMORY_BYTES: &str = "wavequill_monitoring_memory_bytes";
/// Handles over the limit of series.
pub(crate) const SERIES_OVERFLOW: &str = "wavequill_monitoring_series_overflow_total";
/// Samples that were refused.
pub(crate) const REJECTED_SAMPLES: &str = "wavequill_monitoring_rejected_samples_total";

const RENDER_SECONDS: &str = "wavequill_monitoring_render_seconds";
const TICK_AGE_SECONDS: &str = "wavequill_monitoring_tick_age_seconds";
const MISSED_TICKS: &str = "wavequill_monitoring_missed_ticks_total";
const RULE_ERRORS: &str = "wavequill_monitoring_rule_errors_total";
const EVALUATION_SECONDS: &str = "wavequill_monitoring_evaluation_seconds";
const ALERTS: &str = "wavequill_monitoring_alerts";
const NOTIFICATIONS: &str = "wavequill_monitoring_notifications_total";
const EXCHANGE_ERRORS: &str = "wavequill_monitoring_exchange_errors_total";
const STATE_ERRORS: &str = "wavequill_monitoring_state_errors_total";

/// The monitor's handles.
#[derive(Clone, Debug)]
pub(crate) struct MonitorMetrics {
    render: Vec<(Format, Histogram)>,
    pub(crate) tick_age: Gauge,
    pub(crate) missed_ticks: Counter,
    pub(crate) rule_errors: Counter,
    pub(crate) evaluation: Histogram,
    pub(crate) pending: Gauge,
    pub(crate) firing: Gauge,
    pub(crate) notified: Counter,
    pub(crate) notify_failed: Counter,
    pub(crate) notify_dropped: Counter,
    pub(crate) exchange_errors: Counter,
    pub(crate) state_errors: Counter,
}

#[expect(clippy::disallowed_macros, reason = "the one place where this context registers its handles")]
impl MonitorMetrics {
    /// Describes and registers with the recorder that is there.
    pub(crate) fn register() -> Self {
        Self::describe();
        let notifications = |outcome| metrics::counter!(NOTIFICATIONS, "outcome" => outcome);
        Self {
            render: Format::ALL
                .iter()
                .map(|format| (*format, metrics::histogram!(RENDER_SECONDS, "format" => format.as_str())))
                .collect(),
            tick_age: metrics::gauge!(TICK_AGE_SECONDS),
            missed_ticks: metrics::counter!(MISSED_TICKS),
            rule_errors: metrics::counter!(RULE_ERRORS),
            evaluation: metrics::histogram!(EVALUATION_SECONDS),
            pending: metrics::gauge!(ALERTS, "state" => "pending"),
            firing: metrics::gauge!(ALERTS, "state" => "firing"),
            notified: notifications("ok"),
            notify_failed: notifications("failed"),
            notify_dropped: notifications("dropped"),
            exchange_errors: metrics::counter!(EXCHANGE_ERRORS),
            state_errors: metrics::counter!(STATE_ERRORS),
        }
    }

    fn describe() {
        use metrics::{describe_counter, describe_gauge, describe_histogram};
        describe_histogram!(RENDER_SECONDS, Unit::Seconds, "How long it took to render the metrics.");
        describe_gauge!(TICK_AGE_SECONDS, Unit::Seconds, "How long before this tick the last one was.");
        describe_counter!(
            MISSED_TICKS,
            Unit::Count,
            "Ticks that were skipped, since the process was starved or asleep."
        );
        describe_counter!(RULE_ERRORS, Unit::Count, "Evaluations of alert rules that failed.");
        describe_histogram!(
            EVALUATION_SECONDS,
            Unit::Seconds,
            "How long it took to evaluate all alert rules once."
        );
        describe_gauge!(ALERTS, Unit::Count, "Alerts by their state.");
        describe_counter!(NOTIFICATIONS, Unit::Count, "Notifications by what became of them.");
        describe_counter!(
            EXCHANGE_ERRORS,
            Unit::Count,
            "Failed exchanges of snapshots between processes, and parts that did not read."
        );
        describe_counter!(STATE_ERRORS, Unit::Count, "Failures to save or to read the state of alerts.");
    }

    pub(crate) fn render(&self, format: Format) -> Option<&Histogram> {
        self.render.iter().find(|(known, _)| *known == format).map(|(_, histogram)| histogram)
    }
}
