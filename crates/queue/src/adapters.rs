//! Where jobs are kept. Each driver is behind a feature of its name; memory needs none.

pub(crate) mod fair;
pub(crate) mod liveness;
mod memory;
pub(crate) mod rules;

pub use memory::MemoryJobStore;
