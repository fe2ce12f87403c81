//! The default pool manager: opens pools of diesel's connections, reports on them, resizes and closes them.

use std::fmt::Debug;
#[cfg(feature = "postgres")]
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

#[cfg(feature = "sqlite")]
use crate::SqlitePool;
#[cfg(feature = "postgres")]
use crate::config::PostgresConfig;
#[cfg(feature = "sqlite")]
use crate::config::SqliteConfig;
use crate::engine::pool_core::system_now;
use crate::{
    CloseReport, ConnectionPoolManager, DatabaseError, HealthVerdict, Holder, PoolHealth, PoolSize,
    PoolStats, ScaleOutcome, Utilization,
};
#[cfg(feature = "postgres")]
use crate::{CredentialSource, PostgresPool};

/// Opens, reports, resizes and closes one pool of diesel's connections.
///
/// ```
/// # #[cfg(feature = "sqlite")] {
/// use wavequill_database::{ConnectionPoolManager, DieselConnectionPoolManager, SqliteConfig};
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let manager = DieselConnectionPoolManager::open_sqlite(SqliteConfig::new(":memory:")).await?;
/// let pool = manager.pool();
/// assert_eq!((pool.name(), manager.stats().size), ("sqlite", 1));
/// # Ok(()) }
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct DieselConnectionPoolManager<P> {
    pool: P,
}

/// What the manager asks of a pool. The pools of this crate have it; no other can.
#[async_trait]
pub trait ManagedPool: sealed::Sealed + Clone + Debug + Send + Sync + 'static {
    #[doc(hidden)]
    fn managed_name(&self) -> &str;
    #[doc(hidden)]
    fn managed_stats(&self) -> PoolStats;
    #[doc(hidden)]
    fn managed_holders(&self) -> Vec<Holder>;
    #[doc(hidden)]
    fn managed_trouble(&self) -> Option<DatabaseError>;
    #[doc(hidden)]
    fn managed_leak_after(&self) -> Duration;
    #[doc(hidden)]
    fn managed_scale_to(&self, target: PoolSize) -> Result<ScaleOutcome, DatabaseError>;
    #[doc(hidden)]
    fn managed_scale_by(&self, target: Utilization) -> Result<ScaleOutcome, DatabaseError>;
    #[doc(hidden)]
    async fn managed_ensure_min(&self) -> Result<PoolStats, DatabaseError>;
    #[doc(hidden)]
    async fn managed_probe(&self) -> Result<(), DatabaseError>;
    #[doc(hidden)]
    async fn managed_close(&self, grace: Duration) -> CloseReport;
}

pub(crate) mod sealed {
    /// Keeps the pools that can be managed to those of this crate.
    pub trait Sealed {}
}

#[cfg(feature = "sqlite")]
impl DieselConnectionPoolManager<SqlitePool> {
    /// Opens an SQLite database, makes it if it is missing, and starts its writer and two readers.
    ///
    /// # Errors
    /// [`DatabaseError::InvalidConfig`] for a field that was refused; [`DatabaseError::Connect`] if the file cannot
    /// be opened, is no database, or cannot have a write-ahead log.
    pub async fn open_sqlite(config: SqliteConfig) -> Result<Self, DatabaseError> {
        Ok(Self { pool: SqlitePool::open(config).await? })
    }
}

#[cfg(feature = "postgres")]
impl DieselConnectionPoolManager<PostgresPool> {
    /// Makes a pool for a PostgreSQL server, on the tokio runtime of the caller. It connects when a connection is
    /// asked for: [`ensure_min_connections`](ConnectionPoolManager::ensure_min_connections) tells early whether it can.
    ///
    /// Connections are not encrypted: for TLS see
    /// [`open_postgres_with_connector`](crate::adapters::diesel_async_0_9::open_postgres_with_connector).
    ///
    /// # Errors
    /// [`DatabaseError::InvalidConfig`] for a field that was refused, or without a runtime.
    pub fn open_postgres(config: PostgresConfig) -> Result<Self, DatabaseError> {
        Ok(Self { pool: PostgresPool::open(config, None, None)? })
    }

    /// As [`open_postgres`](Self::open_postgres), with a URL that is asked for at each connect.
    ///
    /// # Errors
    /// As [`open_postgres`](Self::open_postgres).
    pub fn open_postgres_with_credentials(
        config: PostgresConfig,
        credentials: Arc<dyn CredentialSource>,
    ) -> Result<Self, DatabaseError> {
        Ok(Self { pool: PostgresPool::open(config, Some(credentials), None)? })
    }
}

impl<P: ManagedPool> DieselConnectionPoolManager<P> {
    /// Manages a pool that is open already.
    pub fn new(pool: P) -> Self {
        Self { pool }
    }

    /// The pool, as a cheap clone: give it to caching and queue.
    pub fn pool(&self) -> P {
        self.pool.clone()
    }
}

#[async_trait]
impl<P: ManagedPool> ConnectionPoolManager for DieselConnectionPoolManager<P> {
    fn stats(&self) -> PoolStats {
        self.pool.managed_stats()
    }

    fn holders(&self) -> Vec<Holder> {
        self.pool.managed_holders()
    }

    async fn ensure_min_connections(&self) -> Result<PoolStats, DatabaseError> {
        self.pool.managed_ensure_min().await
    }

    async fn scale_to(&self, target: PoolSize) -> Result<ScaleOutcome, DatabaseError> {
        self.pool.managed_scale_to(target)
    }

    async fn scale_by_utilization(&self, target: Utilization) -> Result<ScaleOutcome, DatabaseError> {
        self.pool.managed_scale_by(target)
    }

    async fn check_health(&self) -> PoolHealth {
        let begun = system_now();
        let answer = self.pool.managed_probe().await;
        let latency = system_now().saturating_sub(begun);
        let mut problems: Vec<String> = Vec::new();
        let leak_after = self.pool.managed_leak_after();
        let forgotten = self.holders().into_iter().filter(|holder| holder.age >= leak_after);
        problems.extend(forgotten.map(|holder| format!("held for very long: {holder}")));
        if let Some(trouble) = self.pool.managed_trouble() {
            problems.push(trouble.to_string());
        }
        let stats = self.stats();
        if stats.waiting > 0 {
            problems.push(format!("{} callers wait, one for {:.1?}", stats.waiting, stats.oldest_wait));
        }
        let verdict = match &answer {
            Err(error) => {
                problems.push(error.to_string());
                HealthVerdict::Down
            }
            Ok(()) if problems.is_empty() => HealthVerdict::Healthy,
            Ok(()) => HealthVerdict::Degraded,
        };
        problems.dedup();
        PoolHealth { verdict, latency, stats, problems }
    }

    async fn close_all(&self, grace: Duration) -> CloseReport {
        let report = self.pool.managed_close(grace).await;
        tracing::info!(
            pool = self.pool.managed_name(),
            still_out = report.still_out.len(),
            "the pool is closed"
        );
        report
    }
}
