//! The pools, the optimizers and the index managers against the real databases.
#![expect(clippy::unwrap_used, reason = "tests")]

mod postgres_advice;
mod postgres_apply;
mod postgres_faults;
mod postgres_pool;
mod postgres_pooler;
mod server;
mod sqlite_advice;
mod sqlite_pool;
