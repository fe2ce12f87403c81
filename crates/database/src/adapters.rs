//! The drivers, each in a file of its own behind a feature of its own.

#[cfg(feature = "diesel-async-0-9")]
pub mod diesel_async_0_9;
#[cfg(feature = "sqlite")]
pub(crate) mod sqlite;
