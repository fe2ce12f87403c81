//! Watches each statement of a connection through diesel's instrumentation: whether one is under way, whether the
//! connection broke, and what each took.

use std::fmt::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, Ordering};
use std::time::Duration;

use diesel::connection::{Instrumentation, InstrumentationEvent};
use wavequill_kernel::{Clock, SystemClock};
use xxhash_rust::xxh3::Xxh3;

use super::errors::failure_of;
use crate::engine::recorder::QueryRecorder;
use crate::{Fingerprint, StatementFailure};

/// What is known of a connection from its statements.
#[derive(Debug, Default)]
pub(crate) struct Probe {
    /// Statements begun, less statements ended: above zero when a future was dropped in the middle of one.
    under_way: AtomicI64,
    broken: AtomicBool,
    /// Counts who has held the connection.
    holder: AtomicU32,
}

impl Probe {
    /// From now on somebody else holds the connection.
    pub(crate) fn next_holder(&self) {
        self.holder.fetch_add(1, Ordering::Relaxed);
    }
}

#[cfg(feature = "postgres")]
impl Probe {
    pub(crate) fn is_clean(&self) -> bool {
        self.under_way.load(Ordering::Acquire) == 0 && !self.broken.load(Ordering::Acquire)
    }

    pub(crate) fn mark_broken(&self) {
        self.broken.store(true, Ordering::Release);
    }
}

/// Called when the server has gone, or only reads now.
pub(crate) type OnLost = Arc<dyn Fn() + Send + Sync>;

/// The instrumentation of our connections. It hands each event on to the one that the program has set for all.
pub(crate) struct Watch {
    probe: Arc<Probe>,
    recorder: Arc<QueryRecorder>,
    on_lost: Option<OnLost>,
    next: Option<Box<dyn Instrumentation>>,
    begun: Option<Duration>,
    run: Run,
}

/// How often one holder of the connection has called each of its statements, without a long pause.
#[derive(Debug, Default)]
struct Run {
    holder: u32,
    statements: Vec<(Fingerprint, u32, Duration)>,
}

/// Of more statements by one holder the first ones are followed.
const FOLLOWED: usize = 8;
/// After such a pause it is no longer the same run: whoever looks again each second does not ask row by row.
const PAUSE: Duration = Duration::from_secs(1);

impl Run {
    fn count(&mut self, holder: u32, fingerprint: Fingerprint, now: Duration) -> u32 {
        if self.holder != holder {
            self.holder = holder;
            self.statements.clear();
        }
        if let Some((_, count, last)) = self.statements.iter_mut().find(|(it, _, _)| *it == fingerprint) {
            *count = if now.saturating_sub(*last) < PAUSE { count.saturating_add(1) } else { 1 };
            *last = now;
            return *count;
        }
        if self.statements.len() < FOLLOWED {
            self.statements.push((fingerprint, 1, now));
        }
        1
    }
}

impl Watch {
    pub(crate) fn new(probe: Arc<Probe>, recorder: Arc<QueryRecorder>, on_lost: Option<OnLost>) -> Self {
        Self {
            probe,
            recorder,
            on_lost,
            next: diesel::connection::get_default_instrumentation(),
            begun: None,
            run: Run::default(),
        }
    }

    /// From now on somebody else holds the connection.
    #[cfg(feature = "sqlite")]
    pub(crate) fn next_holder(&self) {
        self.probe.next_holder();
    }

    fn finished(&mut self, query: &dyn fmt::Display, error: Option<&diesel::result::Error>) {
        let before = self.probe.under_way.fetch_sub(1, Ordering::AcqRel);
        let failure = error.map(failure_of);
        if failure == Some(StatementFailure::ConnectionLost) {
            self.probe.broken.store(true, Ordering::Release);
        }
        if matches!(failure, Some(StatementFailure::ConnectionLost | StatementFailure::ReadOnly))
            && let Some(on_lost) = &self.on_lost
        {
            on_lost();
        }
        // Of statements that overlap only the last start is known: they are counted, not timed.
        let begun = self.begun.take();
        if before == 1
            && let Some(begun) = begun
        {
            let now = SystemClock.monotonic();
            let fingerprint = fingerprint(query);
            let repeats = self.run.count(self.probe.holder.load(Ordering::Relaxed), fingerprint, now);
            let took = now.saturating_sub(begun);
            self.recorder.record(fingerprint, took, error.is_some(), repeats, || statement_text(query));
        }
    }
}

impl Instrumentation for Watch {
    fn on_connection_event(&mut self, event: InstrumentationEvent<'_>) {
        match &event {
            InstrumentationEvent::StartQuery { .. } => {
                self.probe.under_way.fetch_add(1, Ordering::AcqRel);
                self.begun = Some(SystemClock.monotonic());
            }
            InstrumentationEvent::FinishQuery { query, error, .. } => self.finished(query, *error),
            _ => {}
        }
        if let Some(next) = &mut self.next {
            next.on_connection_event(event);
        }
    }
}

/// Where diesel begins to show the values that were bound: they are never kept, nor hashed.
const BINDS: &str = " -- binds: ";

/// Passes on the statement's text and ends the formatting where the bound values begin: to format a large one takes
/// longer than many statements do.
struct UpToBinds<F>(F);

impl<F: FnMut(&str)> Write for UpToBinds<F> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        match text.split_once(BINDS) {
            None => {
                (self.0)(text);
                Ok(())
            }
            Some((sql, _)) => {
                (self.0)(sql);
                Err(fmt::Error)
            }
        }
    }
}

fn up_to_binds(query: &dyn fmt::Display, take: impl FnMut(&str)) {
    // The only error is our own, which ends the formatting early.
    write!(UpToBinds(take), "{query}").unwrap_or_default();
}

fn fingerprint(query: &dyn fmt::Display) -> Fingerprint {
    let mut hash = Xxh3::new();
    up_to_binds(query, |sql| hash.update(sql.as_bytes()));
    Fingerprint::new(hash.digest())
}

fn statement_text(query: &dyn fmt::Display) -> String {
    let mut text = String::new();
    up_to_binds(query, |sql| text.push_str(sql));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_ends_with_its_holder_or_a_pause() {
        let mut run = Run::default();
        let (one, other) = (Fingerprint::new(1), Fingerprint::new(2));
        let at = |ms| Duration::from_millis(ms);
        assert_eq!(
            [run.count(0, one, at(0)), run.count(0, other, at(5)), run.count(0, one, at(10))],
            [1, 1, 2]
        );
        assert_eq!(run.count(0, one, at(1_010)), 1, "a second later");
        assert_eq!(run.count(1, one, at(1_020)), 1, "somebody else");
        assert_eq!(run.count(1, one, at(1_030)), 2);
    }

    #[test]
    fn bound_values_are_neither_kept_nor_part_of_the_fingerprint() {
        let one = "SELECT * FROM users WHERE name = ? -- binds: [\"alice\"]";
        let other = "SELECT * FROM users WHERE name = ? -- binds: [\"bob\"]";
        assert_eq!(fingerprint(&one), fingerprint(&other));
        assert_ne!(fingerprint(&one), fingerprint(&"SELECT 1"));
        assert_eq!(statement_text(&one), "SELECT * FROM users WHERE name = ?");
    }
}
