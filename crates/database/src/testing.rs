//! The contracts of this context as suites that any implementation can be put through.
//!
//! Each panics at the first sentence of the contract that does not hold, and names it.

#![expect(clippy::panic, reason = "a suite fails by panicking")]

mod connection_pool_manager;
mod index_manager;
mod query_optimizer;

pub use connection_pool_manager::connection_pool_manager;
pub use index_manager::index_manager;
pub use query_optimizer::query_optimizer;
