//! What can be configured, and how it is checked.

pub(crate) mod run;
