//! Brings the tables of one context to the version that the program knows, once, whoever comes first.

use diesel::connection::SimpleConnection;
use diesel::sql_types::{BigInt, Text};
use diesel::{OptionalExtension, QueryableByName, RunQueryDsl, SqliteConnection};

use crate::DatabaseError;
use crate::adapters::errors::statement_error;
use crate::engine::schema::{Applied, checksum, missing_steps};

const TABLE: &str = "CREATE TABLE IF NOT EXISTS wavequill_schema (
    context TEXT PRIMARY KEY NOT NULL,
    version INTEGER NOT NULL,
    checksum TEXT NOT NULL
) WITHOUT ROWID, STRICT";

#[derive(QueryableByName)]
struct Row {
    #[diesel(sql_type = BigInt)]
    version: i64,
    #[diesel(sql_type = Text)]
    checksum: String,
}

/// Runs inside a write: all steps or none.
pub(crate) fn apply(
    conn: &mut SqliteConnection,
    context: &'static str,
    steps: &'static [&'static str],
) -> Result<(), DatabaseError> {
    let applied = current(conn, context).map_err(|error| statement_error(&error))?;
    let missing = missing_steps(context, steps, applied.as_ref())?;
    if missing.is_empty() {
        return Ok(());
    }
    for step in missing {
        conn.batch_execute(step).map_err(|error| statement_error(&error))?;
    }
    diesel::sql_query(
        "INSERT INTO wavequill_schema (context, version, checksum) VALUES (?, ?, ?)
         ON CONFLICT (context) DO UPDATE SET version = excluded.version, checksum = excluded.checksum",
    )
    .bind::<Text, _>(context)
    .bind::<BigInt, _>(steps.len() as i64)
    .bind::<Text, _>(checksum(steps))
    .execute(conn)
    .map_err(|error| statement_error(&error))?;
    Ok(())
}

fn current(conn: &mut SqliteConnection, context: &str) -> Result<Option<Applied>, diesel::result::Error> {
    conn.batch_execute(TABLE)?;
    let row = diesel::sql_query("SELECT version, checksum FROM wavequill_schema WHERE context = ?")
        .bind::<Text, _>(context)
        .get_result::<Row>(conn)
        .optional()?;
    Ok(row.map(|row| Applied { version: row.version.max(0) as u32, checksum: row.checksum }))
}
