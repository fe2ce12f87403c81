//! Where jobs are kept. Each driver is behind a feature of its name; memory needs none.

pub(crate) mod fair;
pub(crate) mod liveness;
mod memory;
pub(crate) mod rules;

#[cfg(feature = "sqlite")]
mod sqlite;

pub use memory::MemoryJobStore;
#[cfg(feature = "sqlite")]
pub use sqlite::SqliteJobStore;
