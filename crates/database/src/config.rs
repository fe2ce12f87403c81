//! What a pool is told when it is opened. Checked once, by the pool that takes it.

#[cfg(feature = "postgres")]
mod postgres;
#[cfg(feature = "sqlite")]
mod sqlite;

#[cfg(any(feature = "postgres", feature = "sqlite"))]
use std::time::Duration;

#[cfg(any(feature = "postgres", feature = "sqlite"))]
use wavequill_kernel::InvalidValue;

#[cfg(feature = "postgres")]
pub use postgres::{PostgresConfig, ScalingMode, SessionProfile};
#[cfg(feature = "sqlite")]
pub use sqlite::{SqliteConfig, SqliteLocation};

#[cfg(any(feature = "postgres", feature = "sqlite"))]
fn named(name: &str) -> Result<(), InvalidValue> {
    if name.is_empty() {
        Err(InvalidValue::new("name", "empty", "a name for errors and metrics"))
    } else {
        Ok(())
    }
}

#[cfg(any(feature = "postgres", feature = "sqlite"))]
fn above_zero(name: &'static str, given: Duration) -> Result<(), InvalidValue> {
    if given.is_zero() { Err(InvalidValue::new(name, "0 s", "above zero")) } else { Ok(()) }
}
