//! The hatch to the drivers: the one module whose signatures show diesel's types, named by the version it shows.
//!
//! For caching, queue, and programs that run statements of their own on the same pool. Use the two crates from
//! here, so that their versions always fit:
//!
//! ```
//! use wavequill_database::adapters::diesel_async_0_9::{SqlitePoolExt, diesel::prelude::*, diesel};
//! use wavequill_database::{Durability, SqlitePool};
//!
//! diesel::table! { jobs (id) { id -> Integer, file -> Text } }
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let pool = SqlitePool::open_in_memory().await?;
//! pool.apply_schema("demo", &["CREATE TABLE jobs (id INTEGER PRIMARY KEY, file TEXT NOT NULL)"]).await?;
//! pool.write(Durability::Full, |conn| {
//!     diesel::insert_into(jobs::table).values(jobs::file.eq("a.wav")).execute(conn)
//! })
//! .await?;
//! let files: Vec<String> = pool.read(|conn| jobs::table.select(jobs::file).load(conn)).await?;
//! assert_eq!(files, ["a.wav"]);
//! # Ok(()) }
//! ```

pub use diesel;
pub use diesel_async;

#[cfg(feature = "postgres")]
mod postgres;
#[cfg(feature = "sqlite")]
mod sqlite;

#[cfg(feature = "postgres")]
pub use postgres::{
    DedicatedPostgresConnection, PostgresConnection, PostgresPoolExt, open_postgres_with_connector,
    tokio_postgres,
};
#[cfg(feature = "sqlite")]
pub use sqlite::SqlitePoolExt;
