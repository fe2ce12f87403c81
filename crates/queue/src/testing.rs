//! For tests: the suite that every store must pass, and a runner without tasks or time.

mod conformance;
mod inline;

pub use conformance::{StoreHarness, cases};
pub use inline::{InlineReport, run_inline};
