//! Monitoring against what others run: Prometheus' own tools, real files.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of tests fail by panicking"
)]

mod chromium;
mod conformance;
mod promtool;
#[cfg(feature = "fred")]
mod redis;
