#![doc = include_str!("../README.md")]

pub mod adapters;
mod config;
mod connection_pool_manager;
mod error;
mod index_manager;
mod model;
mod ports;
mod query_optimizer;
mod regression;
#[cfg(feature = "testing")]
pub mod testing;

#[cfg(any(feature = "postgres", feature = "sqlite"))]
mod diesel_connection_pool_manager;
#[cfg(any(feature = "postgres", feature = "sqlite"))]
mod engine;
#[cfg(any(feature = "postgres", feature = "sqlite"))]
mod metrics;
#[cfg(feature = "postgres")]
mod postgres_index_manager;
#[cfg(feature = "postgres")]
mod postgres_query_optimizer;
#[cfg(feature = "sqlite")]
mod sqlite_index_manager;
#[cfg(feature = "sqlite")]
mod sqlite_query_optimizer;

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
pub use index_manager::IndexManager;
pub use model::{
    AppliedChange, ApplyReport, ApprovedPlan, ChangeId, ChangeKind, CloseReport, Confidence,
    DatabaseErrorText, Durability, Finding, Fingerprint, HealthVerdict, Holder, IndexBudget, IndexChange,
    IndexFinding, IndexPlan, IndexProblem, Latencies, LeasePriority, ObservedQuery, PlanNode, PoolHealth,
    PoolLimits, PoolSize, PoolStats, QueryPlan, QueryReport, RecoveryReport, Regression, Rule, ScaleOutcome,
    ScaleReason, Severity, TableFacts, TableScope, TableStatistics, TableWrites, Utilization, Verdict,
    VerdictOutcome, Window, Workload, WorkloadSource,
};
pub use ports::CredentialSource;
#[cfg(feature = "postgres")]
pub use postgres_index_manager::{PostgresIndexManager, PostgresIndexManagerConfig};
#[cfg(feature = "postgres")]
pub use postgres_query_optimizer::PostgresQueryOptimizer;
pub use query_optimizer::QueryOptimizer;
#[cfg(feature = "sqlite")]
pub use sqlite_index_manager::SqliteIndexManager;
#[cfg(feature = "sqlite")]
pub use sqlite_query_optimizer::SqliteQueryOptimizer;
