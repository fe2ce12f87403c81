//! The values that queries and their plans are spoken of in.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use super::latencies::Latencies;

/// Names a statement whatever values are bound to it: a hash of its text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct Fingerprint(u64);

impl Fingerprint {
    /// From the hash.
    pub const fn new(hash: u64) -> Self {
        Self(hash)
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// A statement and what it has cost, over all its calls. It holds no bound value.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct ObservedQuery {
    /// Names the statement.
    pub fingerprint: Fingerprint,
    /// Its text, with placeholders.
    pub text: String,
    /// How often it was called.
    pub calls: u64,
    /// How many of the calls failed; unknown to `pg_stat_statements`, which leaves failed calls out.
    pub errors: u64,
    /// The time of all calls together.
    pub total: Duration,
    /// The longest call; zero if it is not known.
    pub max: Duration,
    /// The calls by duration, where the source knows them.
    pub latencies: Option<Latencies>,
    /// Rows returned or changed by all calls together, where the source counts them.
    pub rows: Option<u64>,
    /// How often it was called at most by one holder of a connection without a pause of a second, where the pool
    /// recorded it.
    pub repeats: Option<u32>,
}

impl ObservedQuery {
    /// A statement that was called so often, and took so long in all.
    pub fn new(fingerprint: Fingerprint, text: impl Into<String>, calls: u64, total: Duration) -> Self {
        Self {
            fingerprint,
            text: text.into(),
            calls,
            errors: 0,
            total,
            max: Duration::ZERO,
            latencies: None,
            rows: None,
            repeats: None,
        }
    }

    /// The mean time of a call.
    pub fn mean(&self) -> Duration {
        self.total.checked_div(u32::try_from(self.calls).unwrap_or(u32::MAX).max(1)).unwrap_or_default()
    }

    /// What came after `earlier` was taken; `None` if nothing did. Counters that fell were reset in between: then
    /// all of them are later.
    pub(crate) fn since(&self, earlier: &Self) -> Option<Self> {
        if self.calls < earlier.calls || self.total < earlier.total {
            return Some(self.clone());
        }
        let calls = self.calls - earlier.calls;
        let latencies = self.latencies.as_ref().map(|now| match &earlier.latencies {
            Some(before) => now.since(before),
            None => now.clone(),
        });
        (calls > 0).then(|| Self {
            fingerprint: self.fingerprint,
            text: self.text.clone(),
            calls,
            errors: self.errors.saturating_sub(earlier.errors),
            total: self.total.saturating_sub(earlier.total),
            max: self.max,
            latencies,
            rows: self.rows.map(|rows| rows.saturating_sub(earlier.rows.unwrap_or(0))),
            repeats: self.repeats,
        })
    }
}

/// From where a workload is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum WorkloadSource {
    /// The server's extension `pg_stat_statements`: all clients of the database.
    PgStatStatements,
    /// The pool's own recording: this process alone.
    OwnRecording,
    /// Put together by the program.
    Given,
}

/// Rows written to a table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct TableWrites {
    /// Rows inserted.
    pub inserts: u64,
    /// Rows updated.
    pub updates: u64,
    /// Rows deleted.
    pub deletes: u64,
}

impl TableWrites {
    /// From counts of rows.
    pub const fn new(inserts: u64, updates: u64, deletes: u64) -> Self {
        Self { inserts, updates, deletes }
    }

    /// All rows that were written.
    pub const fn total(&self) -> u64 {
        self.inserts + self.updates + self.deletes
    }
}

/// What a database was asked to do: statements with their cost, and writes by table.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Workload {
    /// From where it is known.
    pub source: WorkloadSource,
    /// The statements, most total time first.
    pub queries: Vec<ObservedQuery>,
    /// Rows written, by table as `schema.table` (SQLite: `table`), where the database counts them.
    pub writes: BTreeMap<String, TableWrites>,
    /// What is missing, and how to have it.
    pub notes: Vec<String>,
    /// Whether statements and writes were counted over the same time.
    pub(crate) one_span: bool,
}

impl Workload {
    /// A workload that the program puts together.
    pub fn of(queries: Vec<ObservedQuery>) -> Self {
        Self::new(WorkloadSource::Given, queries)
    }

    pub(crate) fn new(source: WorkloadSource, mut queries: Vec<ObservedQuery>) -> Self {
        queries.sort_by(|a, b| b.total.cmp(&a.total).then(a.fingerprint.cmp(&b.fingerprint)));
        // A server counts both since its last reset; a pool knows statements only since it was opened.
        let one_span = source != WorkloadSource::OwnRecording;
        Self { source, queries, writes: BTreeMap::new(), notes: Vec::new(), one_span }
    }

    /// What came after `earlier` was taken from the same source.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let before: BTreeMap<_, _> = earlier.queries.iter().map(|query| (query.fingerprint, query)).collect();
        let later = |query: &ObservedQuery| match before.get(&query.fingerprint) {
            Some(then) => query.since(then),
            None => Some(query.clone()),
        };
        let writes = self.writes.iter().map(|(table, now)| {
            let then = earlier.writes.get(table).copied().unwrap_or_default();
            let reset = now.total() < then.total();
            let then = if reset { TableWrites::default() } else { then };
            let less = |now: u64, then: u64| now.saturating_sub(then);
            let writes = TableWrites::new(
                less(now.inserts, then.inserts),
                less(now.updates, then.updates),
                less(now.deletes, then.deletes),
            );
            (table.clone(), writes)
        });
        Self {
            writes: writes.collect(),
            notes: self.notes.clone(),
            one_span: true,
            ..Self::new(self.source, self.queries.iter().filter_map(later).collect())
        }
    }
}

/// Which part of the past a workload is to cover.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub enum Window {
    /// As far back as the source knows.
    #[default]
    All,
    /// What came after this workload was taken.
    Since(Box<Workload>),
}

impl Window {
    /// The part of the workload that the window covers.
    pub fn cut(&self, workload: Workload) -> Workload {
        match self {
            Self::All => workload,
            Self::Since(earlier) => workload.since(earlier),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(hash: u64, calls: u64, ms: u64) -> ObservedQuery {
        ObservedQuery::new(Fingerprint::new(hash), "SELECT 1", calls, Duration::from_millis(ms))
    }

    #[test]
    fn a_window_holds_only_what_came_later_and_notices_a_reset() {
        let earlier = Workload::of(vec![query(1, 10, 100), query(2, 50, 500), query(3, 1, 1)]);
        let now = Workload::of(vec![query(1, 15, 400), query(2, 5, 50), query(3, 1, 1), query(4, 2, 20)]);
        let later = Window::Since(Box::new(earlier)).cut(now);
        let calls: Vec<_> = later.queries.iter().map(|query| (query.fingerprint, query.calls)).collect();
        assert_eq!(
            calls,
            [(Fingerprint::new(1), 5), (Fingerprint::new(2), 5), (Fingerprint::new(4), 2)],
            "most time first; 2 was reset, 3 was not called"
        );
    }
}
