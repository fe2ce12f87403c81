//! The stores and servers that the ports are implemented on, each behind a feature of its own.

#[cfg(feature = "fred")]
mod fred;
#[cfg(feature = "sqlite")]
mod sqlite;

#[cfg(feature = "fred")]
pub use self::fred::RedisCacheTier;
#[cfg(feature = "sqlite")]
pub use sqlite::SqliteCacheStore;
