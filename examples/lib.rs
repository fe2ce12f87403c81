//! The examples of wavequill.
