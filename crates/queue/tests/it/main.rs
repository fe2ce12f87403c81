//! The stores against their suite and against each other, and workers on them.

#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of tests")]

mod harness;
mod metrics;
mod model;
mod postgres;
mod takeover;
mod worker;

mod memory {
    wavequill_queue::job_store_conformance!(crate::harness::Memory::new());
}

mod sqlite {
    wavequill_queue::job_store_conformance!(crate::harness::Sqlite::new().await);
}
