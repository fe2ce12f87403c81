//! The tables, and the functions that do in one call what is done most. A step is never changed once it was released:
//! changes are new steps.
//!
//! The functions pin the planner's settings: a plan that was made when the tables were empty, and kept, would otherwise
//! read them whole for as long as the connection lives.

/// The steps, oldest first. Instants are microseconds since 1970, on the server's clock.
pub(super) const STEPS: &[&str] = &[
    include_str!("schema/tables.sql"),
    include_str!("schema/claim.sql"),
    include_str!("schema/complete.sql"),
    include_str!("schema/enqueue.sql"),
];
