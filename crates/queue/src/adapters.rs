//! Where jobs are kept. Each driver is behind a feature of its name; memory needs none.

pub(crate) mod fair;
pub(crate) mod flows;
pub(crate) mod liveness;
mod memory;
#[cfg(feature = "postgres")]
mod postgres;
#[cfg(any(feature = "postgres", feature = "sqlite"))]
mod rows;
pub(crate) mod rules;

#[cfg(feature = "sqlite")]
mod sqlite;

pub use memory::MemoryJobStore;
#[cfg(feature = "postgres")]
pub use postgres::{EnqueueStatement, PostgresJobStore};
#[cfg(feature = "sqlite")]
pub use sqlite::SqliteJobStore;
