//! Brings the tables of one context to the version that the program knows, once, whoever comes first.

use diesel::sql_types::{BigInt, Text};
use diesel::{OptionalExtension, QueryableByName};
use diesel_async::{AsyncConnection, AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection};

use crate::DatabaseError;
use crate::adapters::errors::statement_error;
use crate::engine::schema::{Applied, checksum, missing_steps};

const TABLE: &str = "CREATE TABLE IF NOT EXISTS wavequill_schema (
    context text PRIMARY KEY,
    version bigint NOT NULL,
    checksum text NOT NULL
)";

/// Of all programs that use this library on the same database, one at a time.
const LOCK: &str = "SELECT pg_advisory_xact_lock(hashtextextended('wavequill_schema', 0))";

#[derive(QueryableByName)]
struct Row {
    #[diesel(sql_type = BigInt)]
    version: i64,
    #[diesel(sql_type = Text)]
    checksum: String,
}

/// What ends the transaction: a failed statement, or tables that do not fit.
enum Stop {
    Statement(diesel::result::Error),
    Misfit(DatabaseError),
}

impl From<diesel::result::Error> for Stop {
    fn from(error: diesel::result::Error) -> Self {
        Self::Statement(error)
    }
}

/// All steps or none.
pub(crate) async fn apply(
    conn: &mut AsyncPgConnection,
    context: &'static str,
    steps: &'static [&'static str],
) -> Result<(), DatabaseError> {
    let outcome = conn
        .transaction(async |conn| {
            conn.batch_execute(LOCK).await?;
            let applied = current(conn, context).await?;
            let missing = missing_steps(context, steps, applied.as_ref()).map_err(Stop::Misfit)?;
            if missing.is_empty() {
                return Ok(());
            }
            for step in missing {
                conn.batch_execute(step).await?;
            }
            diesel::sql_query(
                "INSERT INTO wavequill_schema (context, version, checksum) VALUES ($1, $2, $3)
                 ON CONFLICT (context) DO UPDATE SET version = excluded.version, checksum = excluded.checksum",
            )
            .bind::<Text, _>(context)
            .bind::<BigInt, _>(steps.len() as i64)
            .bind::<Text, _>(checksum(steps))
            .execute(conn)
            .await?;
            Ok(())
        })
        .await;
    outcome.map_err(|stop| match stop {
        Stop::Statement(error) => statement_error(&error),
        Stop::Misfit(error) => error,
    })
}

async fn current(conn: &mut AsyncPgConnection, context: &str) -> Result<Option<Applied>, Stop> {
    conn.batch_execute(TABLE).await?;
    let row = diesel::sql_query("SELECT version, checksum FROM wavequill_schema WHERE context = $1")
        .bind::<Text, _>(context)
        .get_result::<Row>(conn)
        .await
        .optional()?;
    Ok(row.map(|row| Applied { version: row.version.max(0) as u32, checksum: row.checksum }))
}
