#![doc = include_str!("../README.md")]

pub mod adapters;
mod config;
mod connection_pool_manager;
#[cfg(any(feature = "postgres", feature = "sqlite"))]
mod diesel_connection_pool_manager;
mod error;
#[cfg(any(feature = "postgres", feature = "sqlite"))]
mod metrics;
mod model;
#[cfg(any(feature = "postgres", feature = "sqlite"))]
mod pool_core;
mod ports;
#[cfg(any(feature = "postgres", feature = "sqlite"))]
mod recorder;
#[cfg(any(feature = "postgres", feature = "sqlite"))]
mod scaling;
#[cfg(any(feature = "postgres", feature = "sqlite"))]
mod schema;
#[cfg(feature = "testing")]
pub mod testing;

#[cfg(feature = "postgres")]
pub use adapters::postgres::PostgresPool;
#[cfg(feature = "sqlite")]
pub use adapters::sqlite::SqlitePool;
#[cfg(feature = "postgres")]
pub use config::{PostgresConfig, ScalingMode, SessionProfile};
#[cfg(feature = "sqlite")]
pub use config::{SqliteConfig, SqliteLocation};
pub use connection_pool_manager::ConnectionPoolManager;
#[cfg(any(feature = "postgres", feature = "sqlite"))]
pub use diesel_connection_pool_manager::{DieselConnectionPoolManager, ManagedPool};
pub use error::{ConnectFailure, DatabaseError, SchemaProblem, StatementFailure, TimeoutCause};
pub use model::{
    CloseReport, Durability, Fingerprint, HealthVerdict, Holder, Latencies, LeasePriority, ObservedQuery,
    PoolHealth, PoolLimits, PoolSize, PoolStats, ScaleOutcome, ScaleReason, TableWrites, Utilization, Window,
    Workload, WorkloadSource,
};
pub use ports::CredentialSource;
