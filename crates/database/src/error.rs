//! What can go wrong in this context, and whether trying again can help.

use std::sync::Arc;
use std::time::Duration;

use wavequill_kernel::{ErrorClass, InvalidValue, Retryable};

use crate::ChangeId;

/// Why a call to this context failed. No variant holds a URL, a password or a bind value.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DatabaseError {
    /// A field of the configuration was refused; nothing was opened.
    #[error("the configuration is refused")]
    InvalidConfig {
        /// The field, its value, and what would do.
        #[from]
        source: InvalidValue,
    },
    /// The pool has been closed, or is closing.
    #[error("pool `{pool}` is closed: open another one")]
    Closed {
        /// The pool's name.
        pool: Arc<str>,
    },
    /// No connection was free in time. The call was not begun.
    #[error("pool `{pool}` had no connection free within {waited:?}: {cause}")]
    AcquireTimeout {
        /// The pool's name.
        pool: Arc<str>,
        /// How long the caller waited.
        waited: Duration,
        /// What the wait was for.
        cause: TimeoutCause,
    },
    /// All but one connection of the pool are dedicated already.
    #[error("pool `{pool}` may have {max} connections, and one must stay shared: raise its maximum")]
    TooManyDedicated {
        /// The pool's name.
        pool: Arc<str>,
        /// How many connections it may have.
        max: u32,
    },
    /// A connection could not be opened.
    #[error("pool `{pool}` cannot connect ({failure}): {detail}")]
    Connect {
        /// The pool's name.
        pool: Arc<str>,
        /// What kind of failure it was.
        failure: ConnectFailure,
        /// What the server, the operating system or the driver said, without credentials.
        detail: String,
    },
    /// A statement failed, or the closure that ran statements returned an error.
    #[error("the database refused ({failure}): {detail}")]
    Statement {
        /// What kind of failure it was.
        failure: StatementFailure,
        /// What the database said.
        detail: String,
    },
    /// The closure panicked. What it had written is rolled back; the connection lives on.
    #[error("the closure panicked, and what it wrote was rolled back: {message}")]
    Panicked {
        /// The message of the panic.
        message: String,
    },
    /// The write was right, but the transaction that it shared with other writes could not be committed.
    #[error("the transaction that this write shared with others was rolled back")]
    GroupRolledBack {
        /// Why it could not be committed.
        source: Arc<DatabaseError>,
    },
    /// A statement cannot be explained; it was not run.
    #[error("the statement cannot be explained: {reason}")]
    NotExplainable {
        /// Why.
        reason: String,
    },
    /// The indexes have changed since the plan was made; nothing was done.
    #[error("the indexes have changed since the plan was made, and nothing was done: make a new plan")]
    StalePlan,
    /// A change that is not in the plan was approved.
    #[error("the plan has no change {id}: approve changes of this plan")]
    UnknownChange {
        /// The change.
        id: ChangeId,
    },
    /// It is not safe to change indexes now; nothing was done.
    #[error("indexes are not changed now: {reason}")]
    NotSafe {
        /// What is in the way, and what to do.
        reason: String,
    },
    /// The tables of a context cannot be brought to the version that this program knows.
    #[error("the tables of context `{context}` are not usable: {problem}")]
    Schema {
        /// The context that owns the tables.
        context: &'static str,
        /// What is wrong with them, and what to do.
        problem: SchemaProblem,
    },
}

/// What a caller waited for when its time was up.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TimeoutCause {
    /// All connections are in use.
    #[error(
        "all {target} are in use and {waiting} callers wait; raise the limit, or hold connections for less time{}",
        held_by(holders)
    )]
    Saturated {
        /// How many connections the pool may have now.
        target: u32,
        /// How many callers wait, this one included.
        waiting: u32,
        /// Who has held a connection for longest, as text; at most three.
        holders: Vec<String>,
    },
    /// No connection can be opened.
    #[error("no connection can be opened since {since:.1?}: {error}")]
    Connecting {
        /// For how long none could be opened.
        since: Duration,
        /// The last failure, as text.
        error: String,
    },
    /// Connections are held for so long that they must have been forgotten.
    #[error("{} held for too long, probably forgotten: {}", count(holders.len()), holders.join(", "))]
    Leaked {
        /// Who holds them, longest first, as text; at most three.
        holders: Vec<String>,
    },
    /// The task that waits holds a connection already. Tasks that need two at once can wait for each other for ever.
    #[error(
        "the task that waits holds one already ({holder}); give it back first, or have at least \
         tasks × (connections each − 1) + 1 connections"
    )]
    Nested {
        /// What it holds, as text.
        holder: String,
    },
    /// The single writer of an SQLite database did not come to this write in time.
    #[error("{waiting} writes are in line for the one writer; write less, or in fewer and shorter closures")]
    WriterBusy {
        /// How many writes wait, this one included.
        waiting: u32,
    },
}

fn count(connections: usize) -> String {
    if connections == 1 { "a connection is".to_owned() } else { format!("{connections} connections are") }
}

fn held_by(holders: &[String]) -> String {
    if holders.is_empty() { String::new() } else { format!("; held longest by {}", holders.join(", ")) }
}

/// Why a connection could not be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectFailure {
    /// The server or the file cannot be reached now.
    #[error("it cannot be reached")]
    Unreachable,
    /// The file cannot be opened: the folder is missing, or rights are.
    #[error("the file cannot be opened")]
    CannotOpen,
    /// The file is no SQLite database, or is damaged.
    #[error("the file is no database, or is damaged")]
    Corrupt,
    /// The server refused the user or the password.
    #[error("access refused")]
    AccessRefused,
    /// The server has no database of that name.
    #[error("no such database")]
    NoSuchDatabase,
    /// The server has no connection left to give.
    #[error("the server has no connection left")]
    TooManyConnections,
    /// The server or the URL wants TLS, and the pool was opened without a connector that speaks it.
    #[error("TLS is wanted, and the pool has no connector for it")]
    TlsRequired,
    /// The database works, but lacks what the pool needs.
    #[error("it cannot do what the pool needs")]
    Unsuitable,
}

/// What kind of failure a statement met.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum StatementFailure {
    /// A row with that key is there already.
    #[error("unique violation")]
    UniqueViolation,
    /// The row that this one refers to is missing, or is still referred to.
    #[error("foreign key violation")]
    ForeignKeyViolation,
    /// A column that must have a value has none.
    #[error("not-null violation")]
    NotNullViolation,
    /// A check or an exclusion constraint refused the row.
    #[error("check violation")]
    CheckViolation,
    /// Another transaction got in between: run the transaction again.
    #[error("serialization failure")]
    Serialization,
    /// No row, where one was asked for.
    #[error("not found")]
    NotFound,
    /// The closure asked for its own rollback.
    #[error("rolled back on request")]
    RollbackRequested,
    /// Another process holds the lock of the SQLite database.
    #[error("busy")]
    Busy,
    /// The disk is full.
    #[error("storage full")]
    StorageFull,
    /// Reading or writing the disk failed, or the file is damaged.
    #[error("storage damaged")]
    Corrupt,
    /// A write on a connection, a file or a server that only reads.
    #[error("read-only")]
    ReadOnly,
    /// A time limit, or someone, stopped the statement.
    #[error("cancelled")]
    Cancelled,
    /// The connection was lost while the statement ran: whether it took effect is unknown.
    #[error("connection lost")]
    ConnectionLost,
    /// Anything else that the database or the driver refused.
    #[error("error")]
    Other,
}

/// What is wrong with a context's tables.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SchemaProblem {
    /// The database was written by a later version of the program.
    #[error("they are at version {found}, this program knows up to {known}; use the newer program")]
    Newer {
        /// The version in the database.
        found: u32,
        /// The latest version that this program knows.
        known: u32,
    },
    /// The steps that made the tables are not the ones that this program has.
    #[error("version {version} was made by other steps than this program has; use another database")]
    Changed {
        /// The version in the database.
        version: u32,
    },
}

impl Retryable for DatabaseError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::InvalidConfig { source } => source.class(),
            Self::Closed { .. }
            | Self::TooManyDedicated { .. }
            | Self::NotExplainable { .. }
            | Self::StalePlan
            | Self::UnknownChange { .. }
            | Self::Panicked { .. }
            | Self::Schema { .. } => ErrorClass::Permanent,
            Self::AcquireTimeout { .. } | Self::NotSafe { .. } => ErrorClass::Transient,
            Self::Connect { failure, .. } => failure.class(),
            Self::Statement { failure, .. } => failure.class(),
            Self::GroupRolledBack { source } => source.class(),
        }
    }
}

impl Retryable for ConnectFailure {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Unreachable | Self::TooManyConnections => ErrorClass::Transient,
            Self::CannotOpen
            | Self::Corrupt
            | Self::AccessRefused
            | Self::NoSuchDatabase
            | Self::TlsRequired
            | Self::Unsuitable => ErrorClass::Permanent,
        }
    }
}

impl Retryable for StatementFailure {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Serialization | Self::Busy | Self::StorageFull | Self::Cancelled | Self::ConnectionLost => {
                ErrorClass::Transient
            }
            Self::UniqueViolation
            | Self::ForeignKeyViolation
            | Self::NotNullViolation
            | Self::CheckViolation
            | Self::NotFound
            | Self::RollbackRequested
            | Self::Corrupt
            | Self::ReadOnly
            | Self::Other => ErrorClass::Permanent,
        }
    }
}
