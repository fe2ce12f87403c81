//! The benches of wavequill.

pub mod caching;
