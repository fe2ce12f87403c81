//! The drivers, each in a file of its own behind a feature of its own.

#[cfg(feature = "diesel-async-0-9")]
pub mod diesel_async_0_9;
#[cfg(any(feature = "postgres", feature = "sqlite"))]
mod errors;
#[cfg(any(feature = "postgres", feature = "sqlite"))]
mod instrument;
#[cfg(any(feature = "postgres", feature = "sqlite"))]
mod managed;
#[cfg(feature = "postgres")]
pub(crate) mod postgres;
#[cfg(feature = "sqlite")]
pub(crate) mod sqlite;
