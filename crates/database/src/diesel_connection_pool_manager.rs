//! The default pool manager: opens pools on diesel's connections, and closes them.

use crate::config::SqliteConfig;
use crate::{DatabaseError, SqlitePool};

/// Opens, reports and closes one pool of diesel's connections.
///
/// ```
/// use wavequill_database::{DieselConnectionPoolManager, SqliteConfig};
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let manager = DieselConnectionPoolManager::open_sqlite(SqliteConfig::new(":memory:")).await?;
/// let pool = manager.pool();
/// # let _ = pool;
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct DieselConnectionPoolManager<P> {
    pool: P,
}

impl DieselConnectionPoolManager<SqlitePool> {
    /// Opens an SQLite database, makes it if it is missing, and starts its writer and its readers.
    ///
    /// # Errors
    /// [`DatabaseError::InvalidConfig`] for a field that was refused; [`DatabaseError::Connect`] if the file cannot
    /// be opened, is no database, or cannot have a write-ahead log.
    pub async fn open_sqlite(config: SqliteConfig) -> Result<Self, DatabaseError> {
        Ok(Self { pool: SqlitePool::open(config).await? })
    }
}

impl<P: Clone> DieselConnectionPoolManager<P> {
    /// The pool, as a cheap clone: give it to caching and queue.
    pub fn pool(&self) -> P {
        self.pool.clone()
    }
}
