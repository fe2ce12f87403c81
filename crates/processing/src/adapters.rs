//! The ports' implementations, a file and a feature for each driver.

#[cfg(feature = "earshot")]
pub(crate) mod earshot;
#[cfg(feature = "ropus")]
pub(crate) mod ropus;
#[cfg(feature = "symphonia")]
pub(crate) mod symphonia;
