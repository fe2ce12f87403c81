//! Reading answers: what headers and error bodies of all APIs mean. Pure functions, no I/O, no clock.

pub(crate) mod classify;
pub(crate) mod duration;
pub(crate) mod error_body;
pub(crate) mod event_stream;
pub(crate) mod limits;
pub(crate) mod redact;
pub(crate) mod retry_after;
