//! Tells a pooler that hands out its server's sessions by the transaction from a server.
//!
//! Nothing in the protocol says so. What gives it away: two connections of ours, both open, that have the same session
//! of the server; and prepared statements that are there, or gone, when they should not be.

use std::collections::HashMap;
use std::sync::Arc;

use diesel::QueryableByName;
use diesel::sql_types::{Bool, Text};
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use parking_lot::Mutex;

/// What to do about it.
pub(super) const ADVICE: &str = "between this program and the server is a pooler in transaction mode (such as \
     PgBouncer), which breaks prepared statements; use its session mode, PgBouncer 1.21 or later with \
     `max_prepared_statements`, or the server's own address";

/// The session of the server behind a connection. A backend's number alone may come again after its end.
const SESSION: &str = "
SELECT pid::text || ' ' || backend_start::text AS backend,
       EXISTS (SELECT 1 FROM pg_prepared_statements WHERE name LIKE 'PGBOUNCER\\_%') AS carries_statements
FROM pg_stat_get_activity(pg_backend_pid())";

#[derive(QueryableByName)]
struct Session {
    #[diesel(sql_type = Text)]
    backend: String,
    /// Whether the pooler keeps prepared statements apart, whatever session they end up in.
    #[diesel(sql_type = Bool)]
    carries_statements: bool,
}

/// The sessions behind the open connections of a pool.
#[derive(Debug, Default)]
pub(super) struct Sessions {
    open: Mutex<HashMap<String, u32>>,
}

/// A connection's entry among the sessions, while it is open.
#[derive(Debug)]
pub(super) struct SessionEntry {
    sessions: Arc<Sessions>,
    backend: String,
}

/// A pooler was found.
#[derive(Debug)]
pub(super) struct FoundPooler;

impl Sessions {
    /// Notes the session of a new connection.
    pub(super) async fn enter(
        self: &Arc<Self>,
        conn: &mut AsyncPgConnection,
    ) -> Result<Result<SessionEntry, FoundPooler>, diesel::result::Error> {
        let session = diesel::sql_query(SESSION).get_result::<Session>(conn).await?;
        Ok(self.note(session.backend, session.carries_statements))
    }

    fn note(
        self: &Arc<Self>,
        backend: String,
        carries_statements: bool,
    ) -> Result<SessionEntry, FoundPooler> {
        let mut open = self.open.lock();
        let connections = open.entry(backend.clone()).or_insert(0);
        if *connections > 0 && !carries_statements {
            return Err(FoundPooler);
        }
        *connections += 1;
        Ok(SessionEntry { sessions: Arc::clone(self), backend })
    }
}

impl Drop for SessionEntry {
    fn drop(&mut self) {
        let mut open = self.sessions.open.lock();
        if let Some(connections) = open.get_mut(&self.backend) {
            *connections -= 1;
            if *connections == 0 {
                open.remove(&self.backend);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_open_connections_with_one_session_are_a_pooler() {
        let sessions = Arc::new(Sessions::default());
        let first = sessions.note("7 monday".to_owned(), false).unwrap();
        assert!(sessions.note("8 monday".to_owned(), false).is_ok());
        assert!(sessions.note("7 monday".to_owned(), false).is_err());
        let carried = sessions.note("7 monday".to_owned(), true).unwrap();
        drop(first);
        assert!(sessions.note("7 monday".to_owned(), false).is_err(), "one is open still");
        drop(carried);
        assert!(sessions.note("7 monday".to_owned(), false).is_ok());
    }
}
