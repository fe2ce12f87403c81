//! Sessions for looking at a database and for changing its indexes: text in, JSON out, so that no rule names a driver.

use std::future::Future;
use std::panic::Location;
use std::time::Duration;

use diesel::QueryableByName;
use diesel::sql_types::{Json, Text};
use diesel_async::{RunQueryDsl, SimpleAsyncConnection};
use serde_json::Value;

use super::{PgConnection, PostgresPool};
use crate::adapters::errors::statement_error;
use crate::engine::pool_core::{Asked, Dedicated, Lease};
use crate::{DatabaseError, StatementFailure};

#[derive(QueryableByName)]
struct Row {
    #[diesel(sql_type = Text)]
    json: String,
}

#[derive(QueryableByName)]
struct Explained {
    #[diesel(sql_type = Json, column_name = "QUERY PLAN")]
    plan: RawJson,
}

/// JSON as the server sends it.
#[derive(Debug, diesel::deserialize::FromSqlRow)]
struct RawJson(Vec<u8>);

impl diesel::deserialize::FromSql<Json, diesel::pg::Pg> for RawJson {
    fn from_sql(value: diesel::pg::PgValue<'_>) -> diesel::deserialize::Result<Self> {
        Ok(Self(value.as_bytes().to_vec()))
    }
}

/// A session that only reads and plans, in one transaction that is rolled back at the end.
pub(crate) struct PlanSession {
    lease: Lease<PgConnection>,
    /// Names of prepared statements, to be forgotten at the end.
    prepared: Vec<String>,
    clean: bool,
}

/// A statement that is looked at takes no longer than this.
const LIMIT: &str = "BEGIN READ ONLY; SET LOCAL statement_timeout = '5s'; SET LOCAL lock_timeout = '2s'; \
                     SET LOCAL plan_cache_mode = force_generic_plan";

impl PostgresPool {
    #[track_caller]
    pub(crate) fn plan_session(
        &self,
        purpose: &'static str,
    ) -> impl Future<Output = Result<PlanSession, DatabaseError>> + Send {
        let at = Location::caller();
        async move {
            let lease = self.acquire(Asked::new(at, purpose)).await?;
            let mut session = PlanSession { lease, prepared: Vec::new(), clean: false };
            session.run(LIMIT).await?;
            Ok(session)
        }
    }

    #[track_caller]
    pub(crate) fn change_session(
        &self,
        purpose: &'static str,
    ) -> impl Future<Output = Result<ChangeSession, DatabaseError>> + Send {
        let at = Location::caller();
        async move { Ok(ChangeSession { conn: self.dedicate(purpose, at).await? }) }
    }
}

impl PlanSession {
    async fn run(&mut self, sql: &str) -> Result<(), DatabaseError> {
        self.lease.batch_execute(sql).await.map_err(|error| statement_error(&error))
    }

    /// The rows of a query with one column, `json`, of text that is JSON.
    pub(crate) async fn json(&mut self, sql: &str) -> Result<Vec<Value>, DatabaseError> {
        json(&mut self.lease, sql).await
    }

    /// The one row of such a query, or `None` if it fails: the session goes on.
    pub(crate) async fn json_or_none(&mut self, sql: &str) -> Result<Option<Value>, DatabaseError> {
        self.run("SAVEPOINT wavequill_try").await?;
        let rows = self.json(sql).await;
        let end = if rows.is_ok() { "RELEASE" } else { "ROLLBACK TO" };
        self.run(&format!("{end} SAVEPOINT wavequill_try")).await?;
        Ok(rows.ok().and_then(|rows| rows.into_iter().next()))
    }

    /// The plan of a statement, which is not run. Placeholders stand for values that nobody knows yet.
    pub(crate) async fn explain(&mut self, text: &str) -> Result<Value, DatabaseError> {
        self.run("SAVEPOINT wavequill_explain").await?;
        let explained = self.explain_in_savepoint(text).await;
        self.run("ROLLBACK TO SAVEPOINT wavequill_explain").await?;
        explained.map_err(|error| match error {
            DatabaseError::Statement { failure, detail } if failure != StatementFailure::ConnectionLost => {
                DatabaseError::NotExplainable { reason: detail }
            }
            other => other,
        })
    }

    async fn explain_in_savepoint(&mut self, text: &str) -> Result<Value, DatabaseError> {
        let parameters = placeholders(text);
        let statement = if parameters == 0 {
            text.to_owned()
        } else {
            let name = format!("wavequill_explain_{}", self.prepared.len());
            // By the extended protocol, which takes one statement only: what follows a semicolon is refused.
            diesel::sql_query(format!("PREPARE {name} AS {text}"))
                .execute(&mut **self.lease)
                .await
                .map_err(|error| statement_error(&error))?;
            self.prepared.push(name.clone());
            format!("EXECUTE {name}({})", vec!["NULL"; parameters].join(", "))
        };
        let explained = diesel::sql_query(format!("EXPLAIN (FORMAT JSON, VERBOSE) {statement}"))
            .get_result::<Explained>(&mut **self.lease)
            .await
            .map_err(|error| statement_error(&error))?;
        serde_json::from_slice(&explained.plan.0).map_err(|error| DatabaseError::NotExplainable {
            reason: format!("the plan is no JSON: {error}"),
        })
    }

    /// Gives the connection back as it was.
    pub(crate) async fn end(mut self) -> Result<(), DatabaseError> {
        self.run("ROLLBACK").await?;
        let forget: Vec<_> = self.prepared.iter().map(|name| format!("DEALLOCATE {name}")).collect();
        if !forget.is_empty() {
            self.run(&forget.join("; ")).await?;
        }
        self.clean = true;
        Ok(())
    }
}

impl Drop for PlanSession {
    fn drop(&mut self) {
        if !self.clean {
            self.lease.mark_broken();
        }
    }
}

/// A session that changes indexes: a connection for itself, since building one takes long.
pub(crate) struct ChangeSession {
    conn: Dedicated<PgConnection>,
}

impl ChangeSession {
    /// Runs one statement, or several that may share a transaction.
    pub(crate) async fn run(&mut self, sql: &str) -> Result<(), DatabaseError> {
        self.conn.batch_execute(sql).await.map_err(|error| statement_error(&error))
    }

    /// As [`PlanSession::json`].
    pub(crate) async fn json(&mut self, sql: &str) -> Result<Vec<Value>, DatabaseError> {
        json(&mut self.conn, sql).await
    }

    /// Runs a statement that is stopped when the time is up.
    pub(crate) async fn run_within(&mut self, sql: &str, limit: Duration) -> Result<(), DatabaseError> {
        let token = self.conn.cancel_token();
        let mut running = std::pin::pin!(self.conn.batch_execute(sql));
        let in_time = tokio::time::timeout(limit, &mut running).await;
        let ended = if let Ok(ended) = in_time {
            ended
        } else {
            // The server ends the statement, and says so; if the request is lost, it runs to its end.
            drop(token.cancel_query(tokio_postgres::NoTls).await);
            running.await
        };
        ended.map_err(|error| statement_error(&error))
    }
}

async fn json(conn: &mut PgConnection, sql: &str) -> Result<Vec<Value>, DatabaseError> {
    let rows =
        diesel::sql_query(sql).load::<Row>(&mut **conn).await.map_err(|error| statement_error(&error))?;
    rows.iter().map(|row| parse(&row.json)).collect()
}

fn parse(text: &str) -> Result<Value, DatabaseError> {
    serde_json::from_str(text).map_err(|error| DatabaseError::Statement {
        failure: StatementFailure::Other,
        detail: format!("a row is no JSON: {error}"),
    })
}

/// The number of the highest placeholder, `$1` and so on, outside of texts, names and comments.
fn placeholders(text: &str) -> usize {
    let mut highest = 0;
    let mut rest = text;
    while let Some(at) = rest.find(['\'', '"', '-', '/', '$']) {
        let (_, from) = rest.split_at(at);
        rest = match from.as_bytes() {
            [quote @ (b'\'' | b'"'), ..] => {
                let after = from.get(1..).unwrap_or_default();
                after.split_once(char::from(*quote)).map_or("", |(_, rest)| rest)
            }
            [b'-', b'-', ..] => from.split_once('\n').map_or("", |(_, rest)| rest),
            [b'/', b'*', ..] => from.split_once("*/").map_or("", |(_, rest)| rest),
            [b'$', ..] => {
                let after = from.get(1..).unwrap_or_default();
                let digits = after.find(|c: char| !c.is_ascii_digit()).unwrap_or(after.len());
                let (number, rest) = after.split_at(digits);
                highest = highest.max(number.parse().unwrap_or(0));
                rest
            }
            _ => from.get(1..).unwrap_or_default(),
        };
    }
    highest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_are_counted_outside_of_texts_and_comments() {
        assert_eq!(placeholders("SELECT $1, $12 FROM t"), 12);
        assert_eq!(placeholders("SELECT '$3', \"$4\" -- $5\n, /* $6 */ 1 - 2 / $2"), 2);
        assert_eq!(placeholders("SELECT 'unended $3"), 0);
        assert_eq!(placeholders("SELECT 1"), 0);
    }
}
