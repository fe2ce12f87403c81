//! The two pools, as the pool manager sees them.

use std::panic::Location;
use std::time::Duration;

use async_trait::async_trait;

use crate::diesel_connection_pool_manager::{ManagedPool, sealed::Sealed};
use crate::{CloseReport, DatabaseError, Holder, PoolSize, PoolStats, ScaleOutcome, Utilization};

macro_rules! managed {
    ($pool:ty) => {
        impl Sealed for $pool {}

        #[async_trait]
        impl ManagedPool for $pool {
            fn managed_name(&self) -> &str {
                self.name()
            }

            fn managed_stats(&self) -> PoolStats {
                self.stats()
            }

            fn managed_holders(&self) -> Vec<Holder> {
                self.core().holders()
            }

            fn managed_trouble(&self) -> Option<DatabaseError> {
                self.core().trouble()
            }

            fn managed_leak_after(&self) -> Duration {
                self.leak_after()
            }

            fn managed_scale_to(&self, target: PoolSize) -> Result<ScaleOutcome, DatabaseError> {
                self.core().scale_to(target)
            }

            fn managed_scale_by(&self, target: Utilization) -> Result<ScaleOutcome, DatabaseError> {
                self.core().scale_by_utilization(target)
            }

            async fn managed_ensure_min(&self) -> Result<PoolStats, DatabaseError> {
                self.core().ensure_min().await
            }

            async fn managed_probe(&self) -> Result<(), DatabaseError> {
                self.probe(Location::caller()).await
            }

            async fn managed_close(&self, grace: Duration) -> CloseReport {
                self.close(grace).await
            }
        }
    };
}

#[cfg(feature = "postgres")]
managed!(crate::PostgresPool);
#[cfg(feature = "sqlite")]
managed!(crate::SqlitePool);
