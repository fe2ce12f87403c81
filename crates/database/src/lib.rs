#![doc = include_str!("../README.md")]

pub mod adapters;
mod config;
#[cfg(feature = "sqlite")]
mod diesel_connection_pool_manager;
mod error;
mod model;
#[cfg(any(feature = "postgres", feature = "sqlite"))]
mod schema;

#[cfg(feature = "sqlite")]
pub use adapters::sqlite::SqlitePool;
#[cfg(feature = "sqlite")]
pub use config::{SqliteConfig, SqliteLocation};
#[cfg(feature = "sqlite")]
pub use diesel_connection_pool_manager::DieselConnectionPoolManager;
pub use error::{ConnectFailure, DatabaseError, SchemaProblem, StatementFailure, TimeoutCause};
pub use model::{Durability, PoolLimits, PoolSize};
