//! The drivers, each behind a feature named by it.

#[cfg(feature = "hyper")]
pub(crate) mod hyper;
