//! The metrics of this context: names, help, and the handles that its services hold.

use metrics::{Counter, Gauge, Histogram, Unit};

use crate::{CacheLevel, SelectorKind, StoreVerdict};

/// What evicts from L1.
#[derive(Clone)]
pub(crate) struct Evictions {
    pub(crate) capacity: Counter,
    pub(crate) expired: Counter,
    pub(crate) pressure: Counter,
    pub(crate) invalidated: Counter,
}

impl std::fmt::Debug for Evictions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Evictions")
    }
}

#[cfg(test)]
impl Evictions {
    pub(crate) fn noop() -> Self {
        let noop = Counter::noop;
        Self { capacity: noop(), expired: noop(), pressure: noop(), invalidated: noop() }
    }
}

/// One level's look-ups and puts.
pub(crate) struct LevelMetrics {
    pub(crate) hit: Counter,
    pub(crate) stale: Counter,
    pub(crate) miss: Counter,
    pub(crate) skipped: Counter,
    pub(crate) error: Counter,
    pub(crate) stored: Counter,
    pub(crate) kept: Counter,
    pub(crate) superseded: Counter,
    pub(crate) rejected: Counter,
    pub(crate) put_error: Counter,
    pub(crate) lookup_seconds: Option<Histogram>,
    pub(crate) entries: Gauge,
    pub(crate) entry_bytes: Gauge,
    pub(crate) corrupt: Counter,
    pub(crate) saved_audio: Histogram,
    pub(crate) saved_micro_dollars: Counter,
}

/// All handles of one cache.
pub(crate) struct CacheMetrics {
    levels: [LevelMetrics; 3],
    pub(crate) breaker_open: Gauge,
    pub(crate) evictions: Evictions,
    pub(crate) loads_ok: Counter,
    pub(crate) loads_failed: Counter,
    pub(crate) loads_cancelled: Counter,
    pub(crate) load_seconds: Histogram,
    pub(crate) leases_lost: Counter,
    pub(crate) leaders: Counter,
    pub(crate) waiters: Counter,
    pub(crate) takeovers: Counter,
    pub(crate) flight_wait_seconds: Histogram,
    invalidations: [Counter; 5],
    pub(crate) erased_entries: Counter,
    pub(crate) warmed_entries: Counter,
    pub(crate) log_staleness_seconds: Gauge,
    pub(crate) log_resets: Counter,
}

impl std::fmt::Debug for CacheMetrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("CacheMetrics")
    }
}

impl LevelMetrics {
    pub(crate) fn put(&self, verdict: StoreVerdict) -> &Counter {
        match verdict {
            StoreVerdict::Stored => &self.stored,
            StoreVerdict::KeptExisting => &self.kept,
            StoreVerdict::Superseded => &self.superseded,
        }
    }
}

impl CacheMetrics {
    pub(crate) fn level(&self, level: CacheLevel) -> &LevelMetrics {
        let [l1, l2, l3] = &self.levels;
        match level {
            CacheLevel::L1 => l1,
            CacheLevel::L2 => l2,
            CacheLevel::L3 => l3,
        }
    }

    pub(crate) fn invalidations(&self, kind: SelectorKind) -> &Counter {
        let [key, label, owner, namespace, all] = &self.invalidations;
        match kind {
            SelectorKind::Key => key,
            SelectorKind::Label => label,
            SelectorKind::Owner => owner,
            SelectorKind::Namespace => namespace,
            SelectorKind::All => all,
        }
    }
}

/// Describes all metrics to the current recorder, and makes the handles: every series exists from the start.
#[expect(clippy::disallowed_macros, reason = "the one place where this context's handles are made")]
pub(crate) fn register() -> CacheMetrics {
    describe();
    let evicted =
        |cause: &'static str| metrics::counter!("wavequill_caching_evictions_total", "cause" => cause);
    let loads =
        |outcome: &'static str| metrics::counter!("wavequill_caching_loads_total", "outcome" => outcome);
    let flights = |role: &'static str| metrics::counter!("wavequill_caching_flights_total", "role" => role);
    CacheMetrics {
        levels: levels(),
        breaker_open: metrics::gauge!("wavequill_caching_breaker_open"),
        evictions: Evictions {
            capacity: evicted("capacity"),
            expired: evicted("expired"),
            pressure: evicted("pressure"),
            invalidated: evicted("invalidated"),
        },
        loads_ok: loads("ok"),
        loads_failed: loads("failed"),
        loads_cancelled: loads("cancelled"),
        load_seconds: metrics::histogram!("wavequill_caching_load_seconds"),
        leases_lost: metrics::counter!("wavequill_caching_leases_lost_total"),
        leaders: flights("leader"),
        waiters: flights("waiter"),
        takeovers: flights("takeover"),
        flight_wait_seconds: metrics::histogram!("wavequill_caching_flight_wait_seconds"),
        invalidations: ["key", "label", "owner", "namespace", "all"].map(
            |selector| metrics::counter!("wavequill_caching_invalidations_total", "selector" => selector),
        ),
        erased_entries: metrics::counter!("wavequill_caching_erased_entries_total"),
        warmed_entries: metrics::counter!("wavequill_caching_warmed_entries_total"),
        log_staleness_seconds: metrics::gauge!("wavequill_caching_log_staleness_seconds"),
        log_resets: metrics::counter!("wavequill_caching_log_resets_total"),
    }
}

#[expect(clippy::disallowed_macros, reason = "the one place where this context's handles are made")]
fn levels() -> [LevelMetrics; 3] {
    ["l1", "l2", "l3"].map(|level| {
        let lookups = |outcome: &'static str| {
            metrics::counter!("wavequill_caching_lookups_total", "level" => level, "outcome" => outcome)
        };
        let puts = |outcome: &'static str| {
            metrics::counter!("wavequill_caching_puts_total", "level" => level, "outcome" => outcome)
        };
        LevelMetrics {
            hit: lookups("hit"),
            stale: lookups("stale"),
            miss: lookups("miss"),
            skipped: lookups("skipped"),
            error: lookups("error"),
            stored: puts("stored"),
            kept: puts("kept"),
            superseded: puts("superseded"),
            rejected: puts("rejected"),
            put_error: puts("error"),
            lookup_seconds: (level != "l1")
                .then(|| metrics::histogram!("wavequill_caching_lookup_seconds", "level" => level)),
            entries: metrics::gauge!("wavequill_caching_entries", "level" => level),
            entry_bytes: metrics::gauge!("wavequill_caching_entry_bytes", "level" => level),
            corrupt: metrics::counter!("wavequill_caching_corrupt_total", "level" => level),
            saved_audio: metrics::histogram!("wavequill_caching_saved_audio_seconds", "level" => level),
            saved_micro_dollars: metrics::counter!("wavequill_caching_saved_microdollars_total", "level" => level),
        }
    })
}

fn describe() {
    let counters = [
        ("wavequill_caching_lookups_total", "Keys looked up, by level and outcome"),
        ("wavequill_caching_puts_total", "Values put, by level and outcome"),
        ("wavequill_caching_corrupt_total", "Entries found damaged and removed, by level"),
        ("wavequill_caching_evictions_total", "Entries that left L1, by cause"),
        ("wavequill_caching_loads_total", "Loads of missing values, by outcome"),
        ("wavequill_caching_leases_lost_total", "Leases that ended while their load was running"),
        ("wavequill_caching_flights_total", "Claims on missing keys, by role"),
        ("wavequill_caching_saved_microdollars_total", "Money that hits saved, in millionths of a dollar"),
        ("wavequill_caching_invalidations_total", "Invalidations, by selector"),
        ("wavequill_caching_erased_entries_total", "Entries physically erased"),
        ("wavequill_caching_warmed_entries_total", "Entries brought into L1 by warming"),
        ("wavequill_caching_log_resets_total", "Times that the log turned out to be another one"),
    ];
    for (name, help) in counters {
        metrics::describe_counter!(name, help);
    }
    let seconds = [
        ("wavequill_caching_lookup_seconds", "Time of one batch of look-ups, by level"),
        ("wavequill_caching_load_seconds", "Time from a permit to its value"),
        ("wavequill_caching_flight_wait_seconds", "Time waited for somebody else's load"),
        ("wavequill_caching_saved_audio_seconds", "Audio that a hit saved from being sent, by level"),
    ];
    for (name, help) in seconds {
        metrics::describe_histogram!(name, Unit::Seconds, help);
    }
    metrics::describe_gauge!("wavequill_caching_entries", "Entries, by level");
    metrics::describe_gauge!("wavequill_caching_entry_bytes", Unit::Bytes, "Bytes of entries, by level");
    metrics::describe_gauge!(
        "wavequill_caching_breaker_open",
        "Whether L2 is left alone after failures (1) or not (0)"
    );
    metrics::describe_gauge!(
        "wavequill_caching_log_staleness_seconds",
        Unit::Seconds,
        "Time since the log was last known to be caught up with"
    );
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::Mutex;

    use metrics::{Key, KeyName, Metadata, Recorder, SharedString};

    use super::*;

    /// Remembers what was described and registered.
    #[derive(Debug, Default)]
    struct Names {
        described: Mutex<BTreeSet<String>>,
        registered: Mutex<BTreeSet<String>>,
        series: Mutex<BTreeSet<String>>,
    }

    impl Names {
        fn describe(&self, name: &KeyName, help: &SharedString) {
            assert!(help.chars().next().is_some_and(char::is_uppercase), "{help}");
            self.described.lock().unwrap().insert(name.as_str().to_owned());
        }

        fn register(&self, key: &Key) {
            self.registered.lock().unwrap().insert(key.name().to_owned());
            assert!(self.series.lock().unwrap().insert(key.to_string()), "{key} is registered twice");
        }
    }

    impl Recorder for Names {
        fn describe_counter(&self, name: KeyName, _unit: Option<Unit>, help: SharedString) {
            self.describe(&name, &help);
        }
        fn describe_gauge(&self, name: KeyName, _unit: Option<Unit>, help: SharedString) {
            self.describe(&name, &help);
        }
        fn describe_histogram(&self, name: KeyName, _unit: Option<Unit>, help: SharedString) {
            self.describe(&name, &help);
        }
        fn register_counter(&self, key: &Key, _metadata: &Metadata<'_>) -> Counter {
            self.register(key);
            Counter::noop()
        }
        fn register_gauge(&self, key: &Key, _metadata: &Metadata<'_>) -> Gauge {
            self.register(key);
            Gauge::noop()
        }
        fn register_histogram(&self, key: &Key, _metadata: &Metadata<'_>) -> Histogram {
            self.register(key);
            Histogram::noop()
        }
    }

    #[test]
    fn every_metric_is_described_and_registered_once_for_each_of_its_labels() {
        let names = Names::default();
        metrics::with_local_recorder(&names, register);
        let registered = names.registered.lock().unwrap();
        assert_eq!(*names.described.lock().unwrap(), *registered);
        assert!(registered.iter().all(|name| name.starts_with("wavequill_caching_")));
        // lookups 15, puts 15, corrupt 3, evictions 4, loads 3, leases 1, flights 3, saved money 3 and audio 3,
        // invalidations 5, erased 1, warmed 1, resets 1, seconds 2 + 1 + 1, entries 3, bytes 3, breaker 1, staleness 1
        assert_eq!((registered.len(), names.series.lock().unwrap().len()), (20, 70));
    }
}
