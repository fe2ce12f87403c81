//! The role of a pool manager.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use crate::{CloseReport, DatabaseError, Holder, PoolHealth, PoolSize, PoolStats, ScaleOutcome, Utilization};

/// Keeps a pool of connections right: reports, resizes, checks and closes it. How connections are had from it is the
/// pool's own matter.
///
/// # Contract
/// 1. Nothing is granted or opened while as many connections are in use or being opened as the target says; what is
///    open, being opened and dedicated is never more than the maximum.
/// 2. A smaller target closes idle connections at once and the others as they come back; a later growth does not
///    forget that debt.
/// 3. Grants of one priority are in order of arrival.
/// 4. `scale_to` stays within the limits, and says so; a change is in force when it returns.
/// 5. `ensure_min_connections` ends when the minimum is open, or says why it is not.
/// 6. From `close_all` on all who wait and all who come get [`DatabaseError::Closed`]. It returns when everything is
///    back, or when the grace is over; then the report names who still holds a connection.
/// 7. No URL and no password is in any `Debug`, error, log or metric.
#[async_trait]
pub trait ConnectionPoolManager: Debug + Send + Sync + 'static {
    /// What the pool has now.
    fn stats(&self) -> PoolStats;

    /// Who holds connections, longest first.
    fn holders(&self) -> Vec<Holder>;

    /// Opens what is missing to the minimum, and keeps the minimum open from then on.
    ///
    /// # Errors
    /// [`DatabaseError::Connect`] if a connection cannot be opened.
    async fn ensure_min_connections(&self) -> Result<PoolStats, DatabaseError>;

    /// Sets how many connections the pool may have, within its limits.
    ///
    /// # Errors
    /// [`DatabaseError::Closed`].
    async fn scale_to(&self, target: PoolSize) -> Result<ScaleOutcome, DatabaseError>;

    /// Sets the size at which the demand of the last second uses this share of the connections.
    ///
    /// # Errors
    /// [`DatabaseError::Closed`].
    async fn scale_by_utilization(&self, target: Utilization) -> Result<ScaleOutcome, DatabaseError>;

    /// Takes a connection and asks the database something.
    async fn check_health(&self) -> PoolHealth;

    /// Closes the pool; waits at most `grace` for what is out, then cancels it.
    async fn close_all(&self, grace: Duration) -> CloseReport;
}

macro_rules! forward {
    ($pointer:ident) => {
        #[async_trait]
        impl<T: ConnectionPoolManager + ?Sized> ConnectionPoolManager for $pointer<T> {
            fn stats(&self) -> PoolStats {
                (**self).stats()
            }

            fn holders(&self) -> Vec<Holder> {
                (**self).holders()
            }

            async fn ensure_min_connections(&self) -> Result<PoolStats, DatabaseError> {
                (**self).ensure_min_connections().await
            }

            async fn scale_to(&self, target: PoolSize) -> Result<ScaleOutcome, DatabaseError> {
                (**self).scale_to(target).await
            }

            async fn scale_by_utilization(&self, target: Utilization) -> Result<ScaleOutcome, DatabaseError> {
                (**self).scale_by_utilization(target).await
            }

            async fn check_health(&self) -> PoolHealth {
                (**self).check_health().await
            }

            async fn close_all(&self, grace: Duration) -> CloseReport {
                (**self).close_all(grace).await
            }
        }
    };
}

forward!(Arc);
forward!(Box);
