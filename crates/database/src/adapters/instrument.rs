//! Watches each statement of a connection through diesel's instrumentation: whether one is under way, whether the
//! connection broke, and what each took.

use std::fmt::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
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
}

impl Watch {
    pub(crate) fn new(probe: Arc<Probe>, recorder: Arc<QueryRecorder>, on_lost: Option<OnLost>) -> Self {
        Self {
            probe,
            recorder,
            on_lost,
            next: diesel::connection::get_default_instrumentation(),
            begun: None,
        }
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
        let elapsed = self.begun.take().map(|begun| SystemClock.monotonic().saturating_sub(begun));
        if before == 1
            && let Some(elapsed) = elapsed
        {
            self.recorder.record(fingerprint(query), elapsed, error.is_some(), || statement_text(query));
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
    fn bound_values_are_neither_kept_nor_part_of_the_fingerprint() {
        let one = "SELECT * FROM users WHERE name = ? -- binds: [\"alice\"]";
        let other = "SELECT * FROM users WHERE name = ? -- binds: [\"bob\"]";
        assert_eq!(fingerprint(&one), fingerprint(&other));
        assert_ne!(fingerprint(&one), fingerprint(&"SELECT 1"));
        assert_eq!(statement_text(&one), "SELECT * FROM users WHERE name = ?");
    }
}
