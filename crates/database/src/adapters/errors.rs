//! What diesel reports, as this context's errors.

#[cfg(feature = "sqlite")]
use std::any::Any;

use diesel::result::{DatabaseErrorKind, Error};

use crate::{DatabaseError, StatementFailure};

/// A statement's failure in our terms.
pub(crate) fn statement_error(error: &Error) -> DatabaseError {
    DatabaseError::Statement { failure: failure_of(error), detail: error.to_string() }
}

pub(crate) fn failure_of(error: &Error) -> StatementFailure {
    match error {
        Error::NotFound => StatementFailure::NotFound,
        Error::RollbackTransaction => StatementFailure::RollbackRequested,
        Error::BrokenTransactionManager => StatementFailure::ConnectionLost,
        Error::DatabaseError(kind, information) => failure_of_kind(*kind, information.message()),
        _ => StatementFailure::Other,
    }
}

fn failure_of_kind(kind: DatabaseErrorKind, message: &str) -> StatementFailure {
    match kind {
        DatabaseErrorKind::UniqueViolation => StatementFailure::UniqueViolation,
        DatabaseErrorKind::ForeignKeyViolation | DatabaseErrorKind::RestrictViolation => {
            StatementFailure::ForeignKeyViolation
        }
        DatabaseErrorKind::NotNullViolation => StatementFailure::NotNullViolation,
        DatabaseErrorKind::CheckViolation | DatabaseErrorKind::ExclusionViolation => {
            StatementFailure::CheckViolation
        }
        DatabaseErrorKind::ReadOnlyTransaction => StatementFailure::ReadOnly,
        DatabaseErrorKind::SerializationFailure => StatementFailure::Serialization,
        DatabaseErrorKind::ClosedConnection | DatabaseErrorKind::UnableToSendCommand => {
            StatementFailure::ConnectionLost
        }
        _ => MESSAGES
            .iter()
            .find(|(part, _)| message.contains(part))
            .map_or(StatementFailure::Other, |it| it.1),
    }
}

/// diesel gives no code for these. SQLite's messages are fixed English text; PostgreSQL's follow `lc_messages`, and
/// what they miss in another language is only told apart less finely.
const MESSAGES: &[(&str, StatementFailure)] = &[
    ("database is locked", StatementFailure::Busy),
    ("table is locked", StatementFailure::Busy),
    ("database or disk is full", StatementFailure::StorageFull),
    ("No space left on device", StatementFailure::StorageFull),
    ("attempt to write a readonly database", StatementFailure::ReadOnly),
    ("database disk image is malformed", StatementFailure::Corrupt),
    ("disk I/O error", StatementFailure::Corrupt),
    ("file is not a database", StatementFailure::Corrupt),
    ("deadlock detected", StatementFailure::Serialization),
    ("canceling statement due to", StatementFailure::Cancelled),
    ("terminating connection", StatementFailure::ConnectionLost),
];

/// What a panic said.
#[cfg(feature = "sqlite")]
pub(crate) fn panic_error(payload: &(dyn Any + Send)) -> DatabaseError {
    let message = payload
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| payload.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "it said nothing".to_owned());
    DatabaseError::Panicked { message }
}
