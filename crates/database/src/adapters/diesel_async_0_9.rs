//! The hatch to the drivers: the one module whose signatures show diesel's types, named by the version it shows.
//!
//! For caching, queue, and programs that run statements of their own on the same pool. Use the two crates from
//! here, so that their versions always fit:
//!
//! ```
//! use wavequill_database::adapters::diesel_async_0_9::{SqlitePoolExt, diesel::prelude::*, diesel};
//! use wavequill_database::{Durability, SqlitePool};
//!
//! diesel::table! { jobs (id) { id -> Integer, file -> Text } }
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let pool = SqlitePool::open_in_memory().await?;
//! pool.apply_schema("demo", &["CREATE TABLE jobs (id INTEGER PRIMARY KEY, file TEXT NOT NULL)"]).await?;
//! pool.write(Durability::Full, |conn| {
//!     diesel::insert_into(jobs::table).values(jobs::file.eq("a.wav")).execute(conn)
//! })
//! .await?;
//! let files: Vec<String> = pool.read(|conn| jobs::table.select(jobs::file).load(conn)).await?;
//! assert_eq!(files, ["a.wav"]);
//! # Ok(()) }
//! ```

pub use diesel;
pub use diesel_async;

#[cfg(feature = "sqlite")]
use async_trait::async_trait;
#[cfg(feature = "sqlite")]
use diesel::SqliteConnection;
#[cfg(feature = "sqlite")]
use diesel::result::Error;

#[cfg(feature = "sqlite")]
use super::sqlite::{errors::statement_error, schema};
#[cfg(feature = "sqlite")]
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
#[cfg(feature = "sqlite")]
#[async_trait]
pub trait SqlitePoolExt {
    /// Runs a closure that reads.
    ///
    /// # Errors
    /// [`DatabaseError::Statement`] for what diesel returned, [`Panicked`](DatabaseError::Panicked),
    /// [`AcquireTimeout`](DatabaseError::AcquireTimeout), [`Closed`](DatabaseError::Closed).
    async fn read<T, F>(&self, f: F) -> Result<T, DatabaseError>
    where
        T: Send + 'static,
        F: FnOnce(&mut SqliteConnection) -> Result<T, Error> + Send + 'static;

    /// Runs a closure that writes. It is inside a transaction: `conn.transaction(…)` nests, `BEGIN`, `COMMIT` and
    /// `immediate_transaction` are errors.
    ///
    /// # Errors
    /// As [`read`](Self::read); [`GroupRolledBack`](DatabaseError::GroupRolledBack) if the commit failed.
    async fn write<T, F>(&self, durability: Durability, f: F) -> Result<T, DatabaseError>
    where
        T: Send + 'static,
        F: FnOnce(&mut SqliteConnection) -> Result<T, Error> + Send + 'static;

    /// Brings the tables of one context to the last of its steps: those not yet run are run, all or none. What has
    /// been done is kept in the table `wavequill_schema`. To call it again, or from several processes, does no harm.
    ///
    /// # Errors
    /// [`DatabaseError::Schema`] if the database is newer, or was made by other steps; else as
    /// [`write`](Self::write).
    async fn apply_schema(
        &self,
        context: &'static str,
        steps: &'static [&'static str],
    ) -> Result<(), DatabaseError>;
}

#[cfg(feature = "sqlite")]
#[async_trait]
impl SqlitePoolExt for SqlitePool {
    async fn read<T, F>(&self, f: F) -> Result<T, DatabaseError>
    where
        T: Send + 'static,
        F: FnOnce(&mut SqliteConnection) -> Result<T, Error> + Send + 'static,
    {
        self.run_read(f).await
    }

    async fn write<T, F>(&self, durability: Durability, f: F) -> Result<T, DatabaseError>
    where
        T: Send + 'static,
        F: FnOnce(&mut SqliteConnection) -> Result<T, Error> + Send + 'static,
    {
        self.run_write(durability, |conn| f(conn).map_err(|error| statement_error(&error))).await
    }

    async fn apply_schema(
        &self,
        context: &'static str,
        steps: &'static [&'static str],
    ) -> Result<(), DatabaseError> {
        self.run_write(Durability::Full, move |conn| schema::apply(conn, context, steps)).await
    }
}
