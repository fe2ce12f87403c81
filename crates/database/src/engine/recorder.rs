//! Remembers what each statement has cost: the workload of a database that keeps no such record itself.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use crate::metrics::QueryMetrics;
use crate::{Fingerprint, Latencies, ObservedQuery, Workload, WorkloadSource};

/// At most so many statements: beyond, the one with the least total time makes room.
const CAPACITY: usize = 4_096;
/// Of a longer statement only the beginning is kept.
const LONGEST_TEXT: usize = 16 * 1024;

/// See the module.
pub(crate) struct QueryRecorder {
    pool: Arc<str>,
    slow: Duration,
    metrics: QueryMetrics,
    entries: Mutex<HashMap<Fingerprint, Entry>>,
}

struct Entry {
    text: Arc<str>,
    reads: bool,
    errors: u64,
    calls: u64,
    repeats: u32,
    total: Duration,
    max: Duration,
    latencies: Latencies,
}

impl QueryRecorder {
    pub(crate) fn new(pool: Arc<str>, slow: Duration) -> Arc<Self> {
        let metrics = QueryMetrics::register(&pool);
        Arc::new(Self { pool, slow, metrics, entries: Mutex::new(HashMap::new()) })
    }

    /// Counts a call, the so manieth in a row of one holder. The text is asked for only when the statement is new.
    pub(crate) fn record(
        &self,
        fingerprint: Fingerprint,
        took: Duration,
        failed: bool,
        repeats: u32,
        text: impl FnOnce() -> String,
    ) {
        let mut entries = self.entries.lock();
        if entries.len() >= CAPACITY && !entries.contains_key(&fingerprint) {
            make_room(&mut entries);
        }
        let entry = entries.entry(fingerprint).or_insert_with(|| Entry::new(&text()));
        entry.calls += 1;
        entry.repeats = entry.repeats.max(repeats);
        entry.errors += u64::from(failed);
        entry.total += took;
        entry.max = entry.max.max(took);
        entry.latencies.record(took);
        let reads = entry.reads;
        let slow = (took >= self.slow).then(|| Arc::clone(&entry.text));
        drop(entries);
        if reads {
            self.metrics.read(took);
        } else {
            self.metrics.write(took);
        }
        if let Some(text) = slow {
            self.metrics.slow();
            tracing::info!(pool = %self.pool, %fingerprint, ?took, "a slow statement: {text}");
        }
    }

    /// All that has been recorded.
    pub(crate) fn workload(&self) -> Workload {
        let entries = self.entries.lock();
        let queries = entries.iter().map(|(&fingerprint, entry)| ObservedQuery {
            errors: entry.errors,
            max: entry.max,
            latencies: Some(entry.latencies.clone()),
            repeats: Some(entry.repeats),
            ..ObservedQuery::new(fingerprint, &*entry.text, entry.calls, entry.total)
        });
        Workload::new(WorkloadSource::OwnRecording, queries.collect())
    }
}

impl Entry {
    fn new(text: &str) -> Self {
        let end = (0..=LONGEST_TEXT.min(text.len())).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0);
        let text = text.get(..end).unwrap_or(text);
        Self {
            text: Arc::from(text),
            reads: reads(text),
            errors: 0,
            calls: 0,
            repeats: 0,
            total: Duration::ZERO,
            max: Duration::ZERO,
            latencies: Latencies::default(),
        }
    }
}

fn make_room(entries: &mut HashMap<Fingerprint, Entry>) {
    let least =
        entries.iter().min_by_key(|(fingerprint, entry)| (entry.total, **fingerprint)).map(|it| *it.0);
    if let Some(least) = least {
        entries.remove(&least);
    }
}

/// By its first word: good enough for a label.
fn reads(text: &str) -> bool {
    let word = text.split_whitespace().next().unwrap_or("");
    ["SELECT", "WITH", "VALUES", "TABLE", "SHOW", "EXPLAIN", "PRAGMA"]
        .iter()
        .any(|it| it.eq_ignore_ascii_case(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_costliest_statements_stay_when_there_are_too_many() {
        let recorder = QueryRecorder::new("test".into(), Duration::from_secs(1));
        recorder.record(Fingerprint::new(u64::MAX), Duration::from_secs(2), false, 1, || {
            "SELECT slow".to_owned()
        });
        for hash in 0..5_000 {
            recorder.record(Fingerprint::new(hash), Duration::from_micros(1), true, 1, || {
                format!("SELECT {hash}")
            });
        }
        let workload = recorder.workload();
        assert_eq!(workload.queries.len(), CAPACITY);
        let first = workload.queries.first().unwrap();
        assert_eq!((first.text.as_str(), first.calls, first.errors), ("SELECT slow", 1, 0));
    }

    #[test]
    fn a_very_long_statement_is_cut_at_a_character() {
        let entry = Entry::new(&"ü".repeat(LONGEST_TEXT));
        assert_eq!(entry.text.len(), LONGEST_TEXT);
        assert_eq!(Entry::new(&format!("x{}", "ü".repeat(LONGEST_TEXT))).text.len(), LONGEST_TEXT - 1);
    }
}
