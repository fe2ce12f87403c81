//! What this context needs from outside: traits that it owns, with the plain implementations that need no driver.

pub(crate) mod admission;
pub(crate) mod audio;
pub(crate) mod keeping;
pub(crate) mod recognition;
