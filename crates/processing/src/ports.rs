//! What this context needs from outside: traits that it owns, with the plain implementations that need no driver.

pub(crate) mod audio;
