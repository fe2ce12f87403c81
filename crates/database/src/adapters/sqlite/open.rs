//! Opens connections with the settings that the pool relies on, and says plainly why one cannot be opened.

use std::path::Path;
use std::sync::Arc;

use diesel::connection::{Connection, SimpleConnection};
use diesel::sql_types::Text;
use diesel::{QueryableByName, RunQueryDsl, SqliteConnection};
use wavequill_kernel::InvalidValue;

use crate::adapters::instrument::Watch;
use crate::config::{SqliteConfig, SqliteLocation};
use crate::engine::recorder::QueryRecorder;
use crate::{ConnectFailure, DatabaseError};

/// Knows how to open connections to one database.
#[derive(Clone)]
pub(crate) struct Opener {
    pool: Arc<str>,
    location: SqliteLocation,
    url: String,
    busy_timeout_ms: u128,
    journal_size_limit_bytes: u64,
    recorder: Arc<QueryRecorder>,
}

#[derive(QueryableByName)]
struct JournalMode {
    #[diesel(sql_type = Text)]
    journal_mode: String,
}

impl Opener {
    pub(crate) fn new(
        config: &SqliteConfig,
        pool: Arc<str>,
        recorder: Arc<QueryRecorder>,
    ) -> Result<Self, DatabaseError> {
        Ok(Self {
            pool,
            location: config.location.clone(),
            url: url_of(&config.location)?,
            busy_timeout_ms: config.busy_timeout.as_millis(),
            journal_size_limit_bytes: config.journal_size_limit_bytes,
            recorder,
        })
    }

    pub(crate) fn pool(&self) -> Arc<str> {
        Arc::clone(&self.pool)
    }

    /// The connection that writes; it makes the file and turns on its write-ahead log.
    pub(crate) fn open_writer(&self) -> Result<SqliteConnection, DatabaseError> {
        Ok(self.watched(self.set_up_writer()?))
    }

    fn watched(&self, mut conn: SqliteConnection) -> SqliteConnection {
        // The lane knows by itself whether a statement runs: here only what statements take is of interest.
        conn.set_instrumentation(Watch::new(Arc::default(), Arc::clone(&self.recorder), None));
        conn
    }

    fn set_up_writer(&self) -> Result<SqliteConnection, DatabaseError> {
        let mut conn = self.establish()?;
        if let SqliteLocation::File(_) = self.location {
            let mode = diesel::sql_query("PRAGMA journal_mode = WAL")
                .get_result::<JournalMode>(&mut conn)
                .map_err(|error| self.refused(&error))?
                .journal_mode;
            if mode != "wal" {
                return Err(self.failed(
                    ConnectFailure::Unsuitable,
                    format!(
                        "it has no write-ahead log (journal mode `{mode}`); put the file on a local disk"
                    ),
                ));
            }
            let limit = self.journal_size_limit_bytes;
            self.set(&mut conn, &format!("PRAGMA journal_size_limit = {limit}"))?;
        }
        Ok(conn)
    }

    /// A connection that only reads, to a database that [`open_writer`](Self::open_writer) has made.
    pub(crate) fn open_reader(&self) -> Result<SqliteConnection, DatabaseError> {
        let mut conn = self.establish()?;
        self.set(&mut conn, "PRAGMA query_only = ON")?;
        Ok(self.watched(conn))
    }

    fn establish(&self) -> Result<SqliteConnection, DatabaseError> {
        let mut conn = SqliteConnection::establish(&self.url).map_err(|error| {
            self.failed(ConnectFailure::CannotOpen, self.why_not_open(&error.to_string()))
        })?;
        let busy = self.busy_timeout_ms;
        self.set(&mut conn, &format!("PRAGMA busy_timeout = {busy}; PRAGMA foreign_keys = ON"))?;
        Ok(conn)
    }

    fn set(&self, conn: &mut SqliteConnection, pragmas: &str) -> Result<(), DatabaseError> {
        conn.batch_execute(pragmas).map_err(|error| self.refused(&error))
    }

    fn refused(&self, error: &diesel::result::Error) -> DatabaseError {
        let detail = error.to_string();
        let failure = if detail.contains("not a database") || detail.contains("malformed") {
            ConnectFailure::Corrupt
        } else if detail.contains("locked") {
            ConnectFailure::Unreachable
        } else {
            ConnectFailure::CannotOpen
        };
        self.failed(failure, format!("{}: {detail}", self.place()))
    }

    /// SQLite says only "unable to open database file".
    fn why_not_open(&self, said: &str) -> String {
        let place = self.place();
        match &self.location {
            SqliteLocation::File(path) if path.is_dir() => format!("{place} is a folder, not a file"),
            SqliteLocation::File(path) if folder_is_missing(path) => {
                format!("{place}: its folder does not exist; make it first")
            }
            _ => format!("{place}: {said}; check that this user may read and write it and its folder"),
        }
    }

    fn place(&self) -> String {
        match &self.location {
            SqliteLocation::File(path) => path.display().to_string(),
            SqliteLocation::Memory => "memory".to_owned(),
        }
    }

    fn failed(&self, failure: ConnectFailure, detail: String) -> DatabaseError {
        DatabaseError::Connect { pool: Arc::clone(&self.pool), failure, detail }
    }
}

fn folder_is_missing(path: &Path) -> bool {
    path.parent().is_some_and(|folder| !folder.as_os_str().is_empty() && !folder.exists())
}

/// SQLite takes a name that begins with `file:` for a URI, so a relative path says that it is one.
fn url_of(location: &SqliteLocation) -> Result<String, InvalidValue> {
    let SqliteLocation::File(path) = location else {
        return Ok(":memory:".to_owned());
    };
    let refuse = |expected: &'static str| InvalidValue::new("location", path.display(), expected);
    let text = path.to_str().ok_or_else(|| refuse("a path in UTF-8"))?;
    if text.is_empty() {
        return Err(refuse("a path, or `:memory:`"));
    }
    if text.contains('\0') {
        return Err(refuse("a path without a NUL character"));
    }
    Ok(if path.is_absolute() { text.to_owned() } else { format!("./{text}") })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_relative_path_is_never_taken_for_a_uri() {
        assert_eq!(url_of(&"file:x".into()).unwrap(), "./file:x");
        assert_eq!(url_of(&"/var/a.db".into()).unwrap(), "/var/a.db");
        assert_eq!(url_of(&":memory:".into()).unwrap(), ":memory:");
        assert!(url_of(&"".into()).is_err());
    }
}
