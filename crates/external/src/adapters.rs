//! The drivers, each behind a feature named by it.

#[cfg(feature = "fred")]
pub(crate) mod fred;
#[cfg(feature = "hyper")]
pub(crate) mod hyper;
