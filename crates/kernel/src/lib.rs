#![doc = include_str!("../README.md")]

mod backoff;
mod clock;
mod content_hash;
mod error;
#[cfg(feature = "testing")]
pub mod testing;
mod ttl;

pub use backoff::Backoff;
pub use clock::{Clock, SystemClock};
pub use content_hash::ContentHash;
pub use error::{ErrorClass, InvalidValue, Retryable};
pub use ttl::Ttl;
