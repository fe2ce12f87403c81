//! Jobs in PostgreSQL's table.

use std::sync::LazyLock;
use std::time::SystemTime;

use serde_json::Value;
use wavequill_database::adapters::diesel_async_0_9::diesel::result::Error;
use wavequill_database::adapters::diesel_async_0_9::diesel::sql_query;
use wavequill_database::adapters::diesel_async_0_9::diesel::sql_types::{Array, BigInt, Text};
use wavequill_database::adapters::diesel_async_0_9::diesel_async::{AsyncPgConnection, RunQueryDsl};

use crate::adapters::rows::{COLUMNS, to_values};
pub(super) use crate::adapters::rows::{JobRow, Number, ids, to_hex};
use crate::model::order::from_micros;
use crate::{Job, JobId};

/// A column of `queue_job` out of the array of [`to_values`].
fn typed(at: usize, column: &str) -> String {
    let kind = match column {
        "job_type" | "worker_type" | "tenant" | "limit_name" | "payload" | "errors" | "progress"
        | "unique_key" => {
            return format!("value ->> {at}");
        }
        "cost" => "double precision",
        _ => "bigint",
    };
    format!("(value ->> {at})::{kind}")
}

static UPSERT: LazyLock<String> = LazyLock::new(|| {
    let values: Vec<_> = COLUMNS.iter().enumerate().map(|(at, column)| typed(at, column)).collect();
    let updates: Vec<_> = COLUMNS.iter().map(|column| format!("{column} = excluded.{column}")).collect();
    format!(
        "INSERT INTO queue_job ({}) SELECT {} FROM json_array_elements($1::json) \
         ON CONFLICT (id) DO UPDATE SET {}",
        COLUMNS.join(", "),
        values.join(", "),
        updates.join(", "),
    )
});

/// The server's time, in whole microseconds.
pub(super) async fn now(conn: &mut AsyncPgConnection) -> Result<SystemTime, Error> {
    let query = "SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint AS number";
    let row: Number = sql_query(query).get_result(conn).await?;
    Ok(from_micros(row.number))
}

/// Writes jobs: those that are new, and those that have changed. Results are written apart.
pub(super) async fn store(conn: &mut AsyncPgConnection, jobs: &[Job]) -> Result<(), Error> {
    for batch in jobs.chunks(1_000) {
        let rows = batch.iter().map(to_values).collect::<Result<Vec<_>, _>>()?;
        sql_query(UPSERT.as_str()).bind::<Text, _>(Value::Array(rows).to_string()).execute(conn).await?;
    }
    Ok(())
}

pub(super) async fn store_one(conn: &mut AsyncPgConnection, job: &Job) -> Result<(), Error> {
    store(conn, std::slice::from_ref(job)).await
}

/// A job, locked until the transaction ends; without its result.
pub(super) async fn lock(conn: &mut AsyncPgConnection, id: JobId) -> Result<Option<Job>, Error> {
    Ok(lock_all(conn, &[id]).await?.pop())
}

/// Jobs, by id, locked until the transaction ends; without their results.
pub(super) async fn lock_all(conn: &mut AsyncPgConnection, ids: &[JobId]) -> Result<Vec<Job>, Error> {
    let rows: Vec<JobRow> =
        sql_query("SELECT *, NULL::text AS result FROM queue_job WHERE id = ANY($1) ORDER BY id FOR UPDATE")
            .bind::<Array<BigInt>, _>(numbers(ids))
            .load(conn)
            .await?;
    rows.into_iter().map(Job::try_from).collect()
}

pub(super) fn numbers(ids: &[JobId]) -> Vec<i64> {
    ids.iter().map(|id| id.get()).collect()
}
