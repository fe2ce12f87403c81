//! The values of this context: each is checked once, where it enters.

mod pool;

pub use pool::{Durability, PoolLimits, PoolSize};
