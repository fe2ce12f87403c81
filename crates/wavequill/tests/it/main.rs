//! The facade as an embedder meets it: every context together, against a simulated speech API.
#![expect(clippy::unwrap_used, reason = "tests: a failure is a panic that says where")]

mod fleet;
mod jobs;
mod metrics;
mod monitoring;
mod paid_once;
mod transcribing;
