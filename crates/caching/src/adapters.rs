//! The stores and servers that the ports are implemented on, each behind a feature of its own.

#[cfg(any(feature = "postgres", feature = "sqlite"))]
mod entries;
#[cfg(feature = "fred")]
mod fred;
#[cfg(any(feature = "fred", feature = "postgres"))]
mod notices;
#[cfg(feature = "postgres")]
mod postgres;
#[cfg(feature = "sqlite")]
mod sqlite;

#[cfg(feature = "fred")]
pub use self::fred::RedisCacheTier;
#[cfg(feature = "postgres")]
pub use postgres::PostgresCacheStore;
#[cfg(feature = "sqlite")]
pub use sqlite::SqliteCacheStore;
