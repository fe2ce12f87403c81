//! What SQLite and diesel say, as this context's errors.

use std::any::Any;

use diesel::result::{DatabaseErrorKind, Error};

use crate::{DatabaseError, StatementFailure};

/// A statement's failure in our terms. SQLite's messages are fixed English text, never translated.
pub(crate) fn statement_error(error: &Error) -> DatabaseError {
    let failure = match error {
        Error::NotFound => StatementFailure::NotFound,
        Error::RollbackTransaction => StatementFailure::RollbackRequested,
        Error::DatabaseError(kind, information) => kind_of(*kind, information.message()),
        _ => StatementFailure::Other,
    };
    DatabaseError::Statement { failure, detail: error.to_string() }
}

fn kind_of(kind: DatabaseErrorKind, message: &str) -> StatementFailure {
    match kind {
        DatabaseErrorKind::UniqueViolation => StatementFailure::UniqueViolation,
        DatabaseErrorKind::ForeignKeyViolation => StatementFailure::ForeignKeyViolation,
        DatabaseErrorKind::NotNullViolation => StatementFailure::NotNullViolation,
        DatabaseErrorKind::CheckViolation => StatementFailure::CheckViolation,
        DatabaseErrorKind::ReadOnlyTransaction => StatementFailure::ReadOnly,
        DatabaseErrorKind::SerializationFailure => StatementFailure::Serialization,
        _ if message.contains("is locked") => StatementFailure::Busy,
        _ if message.contains("is full") => StatementFailure::StorageFull,
        _ if message.contains("readonly database") => StatementFailure::ReadOnly,
        _ if message.contains("malformed")
            || message.contains("disk I/O error")
            || message.contains("not a database") =>
        {
            StatementFailure::Corrupt
        }
        _ => StatementFailure::Other,
    }
}

/// What a panic said.
pub(crate) fn panic_error(payload: &(dyn Any + Send)) -> DatabaseError {
    let message = payload
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| payload.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "it said nothing".to_owned());
    DatabaseError::Panicked { message }
}
