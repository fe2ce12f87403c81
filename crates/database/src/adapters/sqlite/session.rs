//! Looks at an SQLite database and tries indexes on a copy of its schema: text in, JSON and plans out, so that no rule
//! names a driver.

use std::future::Future;
use std::panic::Location;

use diesel::connection::{Connection, SimpleConnection};
use diesel::sql_types::{Integer, Text};
use diesel::{QueryableByName, RunQueryDsl, SqliteConnection};
use serde_json::Value;

use super::SqlitePool;
use crate::adapters::errors::statement_error;
use crate::engine::plan_reader::SqliteStep;
use crate::{DatabaseError, Durability, StatementFailure};

#[derive(QueryableByName)]
struct Row {
    #[diesel(sql_type = Text)]
    json: String,
}

#[derive(QueryableByName)]
struct Step {
    #[diesel(sql_type = Integer)]
    id: i32,
    #[diesel(sql_type = Integer)]
    parent: i32,
    #[diesel(sql_type = Text)]
    detail: String,
}

/// A schema without rows, with statistics as if it had them.
#[derive(Clone, Debug, Default)]
pub(crate) struct SchemaCopy {
    /// The statements that make tables and indexes, tables first.
    pub(crate) schema: Vec<String>,
    /// Rows of `sqlite_stat1`: table, index, statistic.
    pub(crate) statistics: Vec<(String, String, String)>,
}

impl SqlitePool {
    /// The rows of a query with one column, `json`, of text that is JSON.
    #[track_caller]
    pub(crate) fn json(&self, sql: String) -> impl Future<Output = Result<Vec<Value>, DatabaseError>> + Send {
        self.run_read(Location::caller(), move |conn| {
            let rows = diesel::sql_query(sql).load::<Row>(conn).map_err(|error| statement_error(&error))?;
            rows.iter().map(|row| parse(&row.json)).collect()
        })
    }

    /// The plan of a statement, which is not run. Placeholders stand for NULL.
    #[track_caller]
    pub(crate) fn explain(
        &self,
        text: &str,
    ) -> impl Future<Output = Result<Vec<SqliteStep>, DatabaseError>> + Send {
        let sql = format!("EXPLAIN QUERY PLAN {text}");
        self.run_read(Location::caller(), move |conn| steps(conn, sql))
    }

    /// The plans of statements on a copy; `None` for one that the copy cannot plan.
    #[track_caller]
    pub(crate) fn explain_on_copy(
        &self,
        copy: SchemaCopy,
        texts: Vec<String>,
    ) -> impl Future<Output = Result<Vec<Option<Vec<SqliteStep>>>, DatabaseError>> + Send {
        self.run_read(Location::caller(), move |_| {
            let mut conn = copy.open().map_err(|error| statement_error(&error))?;
            let plan = |text: &String| steps(&mut conn, format!("EXPLAIN QUERY PLAN {text}")).ok();
            Ok(texts.iter().map(plan).collect())
        })
    }

    /// Runs one statement that changes the schema, in the writer's turn.
    pub(crate) async fn change(&self, sql: String) -> Result<(), DatabaseError> {
        self.run_write(Durability::Full, move |conn| {
            conn.batch_execute(&sql).map_err(|error| statement_error(&error))
        })
        .await
    }
}

impl SchemaCopy {
    fn open(&self) -> Result<SqliteConnection, diesel::result::Error> {
        let mut conn = SqliteConnection::establish(":memory:")
            .map_err(|error| diesel::result::Error::QueryBuilderError(Box::new(error)))?;
        for statement in &self.schema {
            // A virtual table whose module is not here, or a view of one: statements that need it are not planned.
            drop(conn.batch_execute(statement));
        }
        conn.batch_execute("ANALYZE")?;
        conn.batch_execute("DELETE FROM sqlite_stat1")?;
        for (table, index, statistic) in &self.statistics {
            let insert = match index.as_str() {
                "" => "INSERT INTO sqlite_stat1 VALUES (?, NULL, ?)",
                _ => "INSERT INTO sqlite_stat1 VALUES (?, ?, ?)",
            };
            let insert = diesel::sql_query(insert).into_boxed().bind::<Text, _>(table);
            let insert = if index.is_empty() { insert } else { insert.bind::<Text, _>(index) };
            insert.bind::<Text, _>(statistic).execute(&mut conn)?;
        }
        conn.batch_execute("ANALYZE sqlite_schema")?;
        Ok(conn)
    }
}

fn steps(conn: &mut SqliteConnection, sql: String) -> Result<Vec<SqliteStep>, DatabaseError> {
    let rows = diesel::sql_query(sql).load::<Step>(conn).map_err(|error| match statement_error(&error) {
        DatabaseError::Statement { failure: StatementFailure::Other, detail } => {
            DatabaseError::NotExplainable { reason: detail }
        }
        other => other,
    })?;
    Ok(rows
        .into_iter()
        .map(|row| SqliteStep { id: row.id, parent: row.parent, detail: row.detail })
        .collect())
}

fn parse(text: &str) -> Result<Value, DatabaseError> {
    serde_json::from_str(text).map_err(|error| DatabaseError::Statement {
        failure: StatementFailure::Other,
        detail: format!("a row is no JSON: {error}"),
    })
}
