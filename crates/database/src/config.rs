//! What a pool is told when it is opened. Checked once, by the pool that takes it.

#[cfg(feature = "sqlite")]
mod sqlite;

#[cfg(feature = "sqlite")]
pub use sqlite::{SqliteConfig, SqliteLocation};
