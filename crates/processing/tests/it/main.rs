//! Tests of the context as its users see it.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "tests: a failure is a panic that says where"
)]

mod bad_input;
mod contracts;
mod cuts;
mod ending;
mod fixtures;
mod plans;
mod resuming;
mod retrying;
mod running;
mod seams;
mod support;
mod tracing;
mod whole;
