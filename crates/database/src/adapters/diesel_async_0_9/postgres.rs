//! The connections of a PostgreSQL pool.

use std::fmt;
use std::future::Future;
use std::ops::{Deref, DerefMut};
use std::panic::Location;
use std::sync::Arc;

use diesel_async::AsyncPgConnection;
pub use tokio_postgres;

use crate::adapters::postgres::{OpenError, PgConnection, apply_schema};
use crate::engine::pool_core::{Asked, Dedicated, Lease};
use crate::{DatabaseError, DieselConnectionPoolManager, LeasePriority, PostgresConfig, PostgresPool};

/// Gives connections of a [`PostgresPool`].
///
/// # Cancellation
/// A future dropped while it waits gives up its turn and loses no connection. A guard dropped while a statement runs
/// does not hand the connection on: the server is asked to stop the statement, and the connection is closed.
///
/// # Contract
/// 1. What is handed out was used less than half a second ago, or has just answered; a dead one is replaced within
///    the caller's time.
/// 2. What is broken, in a transaction, or has a statement under way is never handed on.
/// 3. A call ends in time, with an error that names the cause.
pub trait PostgresPoolExt {
    /// A connection that is idle and known to be alive, if nobody waits for one. It waits for nothing.
    #[track_caller]
    fn try_connection(&self) -> Option<PostgresConnection>;

    /// A connection, in turn.
    ///
    /// # Errors
    /// [`DatabaseError::AcquireTimeout`], [`DatabaseError::Connect`], [`DatabaseError::Closed`].
    #[track_caller]
    fn connection(&self) -> impl Future<Output = Result<PostgresConnection, DatabaseError>> + Send;

    /// A connection, in the turn of this priority.
    ///
    /// # Errors
    /// As [`connection`](Self::connection).
    #[track_caller]
    fn connection_with(
        &self,
        priority: LeasePriority,
        purpose: &'static str,
    ) -> impl Future<Output = Result<PostgresConnection, DatabaseError>> + Send;

    /// A connection for good, with a session of its own: for `LISTEN`, session locks, HypoPG. It goes past a
    /// transaction pooler if the configuration has a `direct_url`. Its place in the pool is free when it is dropped.
    ///
    /// # Errors
    /// [`DatabaseError::TooManyDedicated`] if none would be left to share; else as [`connection`](Self::connection).
    #[track_caller]
    fn dedicated(
        &self,
        purpose: &'static str,
    ) -> impl Future<Output = Result<DedicatedPostgresConnection, DatabaseError>> + Send;

    /// Brings the tables of one context to the last of its steps: those not yet run are run, all or none, in one
    /// transaction. What has been done is kept in the table `wavequill_schema`. To call it again, or from several
    /// processes, does no harm.
    ///
    /// # Errors
    /// [`DatabaseError::Schema`] if the database is newer, or was made by other steps; [`DatabaseError::Statement`];
    /// else as [`connection`](Self::connection).
    #[track_caller]
    fn apply_schema(
        &self,
        context: &'static str,
        steps: &'static [&'static str],
    ) -> impl Future<Output = Result<(), DatabaseError>> + Send;
}

impl PostgresPoolExt for PostgresPool {
    #[track_caller]
    fn try_connection(&self) -> Option<PostgresConnection> {
        self.try_acquire(Location::caller()).map(|lease| PostgresConnection { lease })
    }

    #[track_caller]
    fn connection(&self) -> impl Future<Output = Result<PostgresConnection, DatabaseError>> + Send {
        self.connection_with(LeasePriority::Foreground, "connection")
    }

    #[track_caller]
    fn connection_with(
        &self,
        priority: LeasePriority,
        purpose: &'static str,
    ) -> impl Future<Output = Result<PostgresConnection, DatabaseError>> + Send {
        let at = Location::caller();
        async move {
            let asked = Asked { priority, ..Asked::new(at, purpose) };
            let lease = self.acquire(asked).await?;
            Ok(PostgresConnection { lease })
        }
    }

    #[track_caller]
    fn dedicated(
        &self,
        purpose: &'static str,
    ) -> impl Future<Output = Result<DedicatedPostgresConnection, DatabaseError>> + Send {
        let at = Location::caller();
        async move { Ok(DedicatedPostgresConnection { conn: self.dedicate(purpose, at).await? }) }
    }

    #[track_caller]
    fn apply_schema(
        &self,
        context: &'static str,
        steps: &'static [&'static str],
    ) -> impl Future<Output = Result<(), DatabaseError>> + Send {
        let at = Location::caller();
        async move {
            let mut lease = self.acquire(Asked::new(at, "schema")).await?;
            apply_schema(&mut lease, context, steps).await
        }
    }
}

/// A pool whose connections are opened by the given function: for TLS, a proxy, a tunnel. It gets the parsed URL, and
/// usually ends with [`AsyncPgConnection::try_from_client_and_connection`]. Requests to cancel a statement go over a
/// plain connection; where the server refuses that, the connection is closed, and the server stops by itself after
/// `client_connection_check_interval` (2 s).
///
/// # Errors
/// As [`DieselConnectionPoolManager::open_postgres`].
pub fn open_postgres_with_connector<F, R>(
    config: PostgresConfig,
    open: F,
) -> Result<DieselConnectionPoolManager<PostgresPool>, DatabaseError>
where
    F: Fn(tokio_postgres::Config) -> R + Send + Sync + 'static,
    R: Future<Output = Result<AsyncPgConnection, OpenError>> + Send + 'static,
{
    let pool = PostgresPool::open(config, None, Some(Arc::new(move |config| Box::pin(open(config)))))?;
    Ok(DieselConnectionPoolManager::new(pool))
}

/// A connection of the pool, which goes back when this is dropped.
pub struct PostgresConnection {
    lease: Lease<PgConnection>,
}

impl Deref for PostgresConnection {
    type Target = AsyncPgConnection;

    fn deref(&self) -> &AsyncPgConnection {
        &self.lease
    }
}

impl DerefMut for PostgresConnection {
    fn deref_mut(&mut self) -> &mut AsyncPgConnection {
        &mut self.lease
    }
}

impl PostgresConnection {
    /// Closes the connection instead of giving it back: after a stream that was not read to its end, or a setting that
    /// the next holder must not inherit.
    pub fn discard(self) {
        self.lease.mark_broken();
    }
}

impl fmt::Debug for PostgresConnection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresConnection").finish_non_exhaustive()
    }
}

/// A connection that left the pool for good.
pub struct DedicatedPostgresConnection {
    conn: Dedicated<PgConnection>,
}

impl Deref for DedicatedPostgresConnection {
    type Target = AsyncPgConnection;

    fn deref(&self) -> &AsyncPgConnection {
        &self.conn
    }
}

impl DerefMut for DedicatedPostgresConnection {
    fn deref_mut(&mut self) -> &mut AsyncPgConnection {
        &mut self.conn
    }
}

impl fmt::Debug for DedicatedPostgresConnection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DedicatedPostgresConnection").finish_non_exhaustive()
    }
}
