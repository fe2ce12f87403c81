//! Closures on the connections of an SQLite pool.

use std::future::Future;
use std::panic::Location;

use diesel::SqliteConnection;
use diesel::result::Error;

use crate::adapters::{errors::statement_error, sqlite::schema};
use crate::{DatabaseError, Durability, SqlitePool};

/// Runs closures on the connections of a [`SqlitePool`], each on the connection's own thread.
///
/// # Cancellation
/// A future dropped before its closure has begun leaves no trace. Once begun, the closure runs to its end, and a
/// write commits: to the database it is as if the answer had been lost on its way.
///
/// # Contract
/// 1. A closure runs at most once, never on a thread of the runtime; every runtime will do.
/// 2. Reads run beside each other and beside the writes, each sees one state of the database a statement, or a
///    transaction if it opens one, and cannot write.
/// 3. Writes run one at a time, in order of arrival, inside a transaction that those which wait share. Each has a
///    savepoint of its own: an error or a panic rolls back that write alone.
/// 4. A write is acknowledged after the commit, made at its own [`Durability`] or a higher one. If the commit
///    fails, all that shared it are told.
/// 5. A call waits at most the configured time to begin; the time-out names its cause, and the closure never runs.
pub trait SqlitePoolExt {
    /// Runs a closure that reads.
    ///
    /// # Errors
    /// [`DatabaseError::Statement`] for what diesel returned, [`Panicked`](DatabaseError::Panicked),
    /// [`AcquireTimeout`](DatabaseError::AcquireTimeout), [`Closed`](DatabaseError::Closed).
    #[track_caller]
    fn read<T, F>(&self, f: F) -> impl Future<Output = Result<T, DatabaseError>> + Send
    where
        T: Send + 'static,
        F: FnOnce(&mut SqliteConnection) -> Result<T, Error> + Send + 'static;

    /// Runs a closure that writes. It is inside a transaction: `conn.transaction(…)` nests, `BEGIN`, `COMMIT` and
    /// `immediate_transaction` are errors.
    ///
    /// # Errors
    /// As [`read`](Self::read); [`GroupRolledBack`](DatabaseError::GroupRolledBack) if the commit failed.
    fn write<T, F>(
        &self,
        durability: Durability,
        f: F,
    ) -> impl Future<Output = Result<T, DatabaseError>> + Send
    where
        T: Send + 'static,
        F: FnOnce(&mut SqliteConnection) -> Result<T, Error> + Send + 'static;

    /// Brings the tables of one context to the last of its steps: those not yet run are run, all or none. What has
    /// been done is kept in the table `wavequill_schema`. To call it again, or from several processes, does no harm.
    ///
    /// # Errors
    /// [`DatabaseError::Schema`] if the database is newer, or was made by other steps; else as
    /// [`write`](Self::write).
    fn apply_schema(
        &self,
        context: &'static str,
        steps: &'static [&'static str],
    ) -> impl Future<Output = Result<(), DatabaseError>> + Send;
}

impl SqlitePoolExt for SqlitePool {
    #[track_caller]
    fn read<T, F>(&self, f: F) -> impl Future<Output = Result<T, DatabaseError>> + Send
    where
        T: Send + 'static,
        F: FnOnce(&mut SqliteConnection) -> Result<T, Error> + Send + 'static,
    {
        self.run_read(Location::caller(), |conn| f(conn).map_err(|error| statement_error(&error)))
    }

    fn write<T, F>(
        &self,
        durability: Durability,
        f: F,
    ) -> impl Future<Output = Result<T, DatabaseError>> + Send
    where
        T: Send + 'static,
        F: FnOnce(&mut SqliteConnection) -> Result<T, Error> + Send + 'static,
    {
        self.run_write(durability, |conn| f(conn).map_err(|error| statement_error(&error)))
    }

    fn apply_schema(
        &self,
        context: &'static str,
        steps: &'static [&'static str],
    ) -> impl Future<Output = Result<(), DatabaseError>> + Send {
        self.run_write(Durability::Full, move |conn| schema::apply(conn, context, steps))
    }
}
