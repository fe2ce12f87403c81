//! The values of the context.

pub(crate) mod sample;
