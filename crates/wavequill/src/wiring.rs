//! The bridges between contexts. Each turns one context's port into another's service; none decides anything.

pub(crate) mod admission;
pub(crate) mod body;
pub(crate) mod job;
pub(crate) mod recognizer;
pub(crate) mod transcript_store;
pub(crate) mod upkeep;
