//! The stores and servers that the ports are implemented on, each behind a feature of its own.

#[cfg(feature = "sqlite")]
mod sqlite;

#[cfg(feature = "sqlite")]
pub use sqlite::SqliteCacheStore;
