//! The benches of wavequill.
