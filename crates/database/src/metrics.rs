//! The handles of this context's metrics. Register after the recorder is installed: a handle made before stays deaf.

use std::sync::Arc;
use std::time::Duration;

use metrics::{Counter, Gauge, Histogram, Unit, describe_counter, describe_gauge, describe_histogram};

use crate::PoolStats;
use crate::engine::pool_core::CloseCause;

/// What one pool reports.
pub(crate) struct PoolMetrics {
    in_use: Gauge,
    idle: Gauge,
    connecting: Gauge,
    limit: Gauge,
    waiters: Gauge,
    acquire_ok: Histogram,
    acquire_timeout: Histogram,
    acquire_cancelled: Histogram,
    hold: Histogram,
    connect_ok: Histogram,
    connect_failed: Histogram,
    closed: [Counter; 4],
    leaks: Counter,
    resizes_up: Counter,
    resizes_down: Counter,
}

/// What the statements of one pool report.
pub(crate) struct QueryMetrics {
    read: Histogram,
    write: Histogram,
    slow: Counter,
}

#[expect(clippy::disallowed_macros, reason = "the one place where this context registers its metrics")]
impl PoolMetrics {
    pub(crate) fn register(pool: &Arc<str>) -> Self {
        describe_pool();
        let name = || Arc::clone(pool);
        let connections = |state: &'static str| metrics::gauge!("wavequill_database_connections", "pool" => name(), "state" => state);
        let acquire = |outcome: &'static str| metrics::histogram!("wavequill_database_acquire_seconds", "pool" => name(), "outcome" => outcome);
        let connect = |outcome: &'static str| metrics::histogram!("wavequill_database_connect_seconds", "pool" => name(), "outcome" => outcome);
        let closed = |cause: &'static str| metrics::counter!("wavequill_database_connections_closed_total", "pool" => name(), "cause" => cause);
        let resizes = |direction: &'static str| metrics::counter!("wavequill_database_resizes_total", "pool" => name(), "direction" => direction);
        Self {
            in_use: connections("in_use"),
            idle: connections("idle"),
            connecting: connections("connecting"),
            limit: metrics::gauge!("wavequill_database_connections_limit", "pool" => name()),
            waiters: metrics::gauge!("wavequill_database_waiters", "pool" => name()),
            acquire_ok: acquire("ok"),
            acquire_timeout: acquire("timeout"),
            acquire_cancelled: acquire("cancelled"),
            hold: metrics::histogram!("wavequill_database_hold_seconds", "pool" => name()),
            connect_ok: connect("ok"),
            connect_failed: connect("failed"),
            closed: ["idle", "age", "broken", "scale_down"].map(closed),
            leaks: metrics::counter!("wavequill_database_leaks_total", "pool" => name()),
            resizes_up: resizes("up"),
            resizes_down: resizes("down"),
        }
    }
}

#[expect(clippy::disallowed_macros, reason = "the one place where this context registers its metrics")]
impl QueryMetrics {
    pub(crate) fn register(pool: &Arc<str>) -> Self {
        describe_queries();
        let query = |access: &'static str| metrics::histogram!("wavequill_database_query_seconds", "pool" => Arc::clone(pool), "access" => access);
        Self {
            read: query("read"),
            write: query("write"),
            slow: metrics::counter!("wavequill_database_slow_queries_total", "pool" => Arc::clone(pool)),
        }
    }
}

fn describe_pool() {
    let seconds = Unit::Seconds;
    describe_gauge!("wavequill_database_connections", Unit::Count, "Connections of a pool, by state");
    describe_gauge!(
        "wavequill_database_connections_limit",
        Unit::Count,
        "Connections that a pool may have now"
    );
    describe_gauge!("wavequill_database_waiters", Unit::Count, "Callers that wait for a connection");
    describe_histogram!(
        "wavequill_database_acquire_seconds",
        seconds,
        "Time waited for a connection, by outcome"
    );
    describe_histogram!("wavequill_database_hold_seconds", seconds, "Time that a connection was held");
    describe_histogram!("wavequill_database_connect_seconds", seconds, "Time that opening a connection took");
    describe_counter!(
        "wavequill_database_connections_closed_total",
        Unit::Count,
        "Connections closed, by cause"
    );
    describe_counter!(
        "wavequill_database_leaks_total",
        Unit::Count,
        "Connections that were held far too long"
    );
    describe_counter!(
        "wavequill_database_resizes_total",
        Unit::Count,
        "Changes of a pool's size, by direction"
    );
}

fn describe_queries() {
    describe_histogram!("wavequill_database_query_seconds", Unit::Seconds, "Time of a statement, by access");
    describe_counter!("wavequill_database_slow_queries_total", Unit::Count, "Statements over the slow limit");
}

impl QueryMetrics {
    pub(crate) fn read(&self, took: Duration) {
        self.read.record(took.as_secs_f64());
    }

    pub(crate) fn write(&self, took: Duration) {
        self.write.record(took.as_secs_f64());
    }

    pub(crate) fn slow(&self) {
        self.slow.increment(1);
    }
}

impl PoolMetrics {
    pub(crate) fn sampled(&self, stats: &PoolStats) {
        self.in_use.set(f64::from(stats.checked_out + stats.dedicated));
        self.idle.set(f64::from(stats.checked_in));
        self.connecting.set(f64::from(stats.connecting));
        self.waiters.set(f64::from(stats.waiting));
    }

    pub(crate) fn limit(&self, target: u32) {
        self.limit.set(f64::from(target));
    }

    pub(crate) fn acquired(&self, waited: Duration) {
        self.acquire_ok.record(waited.as_secs_f64());
    }

    pub(crate) fn timed_out(&self, waited: Duration) {
        self.acquire_timeout.record(waited.as_secs_f64());
    }

    pub(crate) fn cancelled(&self, waited: Duration) {
        self.acquire_cancelled.record(waited.as_secs_f64());
    }

    pub(crate) fn held(&self, time: Duration) {
        self.hold.record(time.as_secs_f64());
    }

    pub(crate) fn connected(&self, time: Duration, opened: bool) {
        let histogram = if opened { &self.connect_ok } else { &self.connect_failed };
        histogram.record(time.as_secs_f64());
    }

    pub(crate) fn closed(&self, cause: CloseCause) {
        let [idle, age, broken, scale_down] = &self.closed;
        match cause {
            CloseCause::Idle => idle.increment(1),
            CloseCause::Age => age.increment(1),
            CloseCause::Broken => broken.increment(1),
            CloseCause::ScaleDown => scale_down.increment(1),
            // The end of the pool is no event of its connections.
            CloseCause::PoolClosed => {}
        }
    }

    pub(crate) fn leaked(&self) {
        self.leaks.increment(1);
    }

    pub(crate) fn resized(&self, from: u32, to: u32) {
        self.limit(to);
        match to.cmp(&from) {
            std::cmp::Ordering::Greater => self.resizes_up.increment(1),
            std::cmp::Ordering::Less => self.resizes_down.increment(1),
            std::cmp::Ordering::Equal => {}
        }
    }
}
