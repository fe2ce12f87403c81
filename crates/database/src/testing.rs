//! The contracts of this context as suites that any implementation can be put through.
//!
//! Each panics at the first sentence of the contract that does not hold, and names it.

#![expect(clippy::panic, reason = "a suite fails by panicking")]

mod connection_pool_manager;

pub use connection_pool_manager::connection_pool_manager;
