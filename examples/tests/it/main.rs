//! The command line as its users meet it, against a simulated speech API on loopback.
#![expect(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "tests: a failure is a panic that says where"
)]

mod advisor;
mod bad_input;
mod failures;
mod killed;
mod main_job;
mod service;
mod support;
