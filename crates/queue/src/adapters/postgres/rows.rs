//! Jobs in PostgreSQL's table.

use std::sync::LazyLock;
use std::time::SystemTime;

use serde_json::Value;
use wavequill_database::adapters::diesel_async_0_9::diesel::result::{Error, OptionalExtension};
use wavequill_database::adapters::diesel_async_0_9::diesel::sql_query;
use wavequill_database::adapters::diesel_async_0_9::diesel::sql_types::{Array, BigInt, Text};
use wavequill_database::adapters::diesel_async_0_9::diesel_async::{AsyncPgConnection, RunQueryDsl};

use super::statement::prepared;
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
        "state" | "priority" => "smallint",
        "failures" | "crashes" | "snoozes" | "max_attempts" => "integer",
        _ => "bigint",
    };
    format!("(value ->> {at})::{kind}")
}

static UPSERT: LazyLock<String> = LazyLock::new(|| upsert("queue_job"));
static ARCHIVE: LazyLock<String> = LazyLock::new(|| upsert("queue_history"));

fn upsert(table: &str) -> String {
    let values: Vec<_> = COLUMNS.iter().enumerate().map(|(at, column)| typed(at, column)).collect();
    let updates: Vec<_> = COLUMNS.iter().map(|column| format!("{column} = excluded.{column}")).collect();
    format!(
        "INSERT INTO {table} ({}) SELECT {} FROM json_array_elements($1::json) \
         ON CONFLICT (id) DO UPDATE SET {}",
        COLUMNS.join(", "),
        values.join(", "),
        updates.join(", "),
    )
}

/// The columns of a [`JobRow`], but for its result.
macro_rules! job_columns {
    () => {
        "id, job_type, worker_type, state::bigint AS state, priority::bigint AS priority, sort_key, tenant, limit_name, \
         cost, payload, run_at, due_at, created_at, claimed_at, deadline, cancel_at, finished_at, \
         failures::bigint AS failures, crashes::bigint AS crashes, snoozes::bigint AS snoozes, \
         max_attempts::bigint AS max_attempts, timeout_us, errors, session, claim_token, progress, unique_key, flow, \
         waits_for"
    };
}
pub(super) use job_columns;

/// Reads [`JobRow`]s of live jobs.
pub(super) const SELECT_LIVE: &str =
    concat!("SELECT ", job_columns!(), ", NULL::text AS result FROM queue_job");

/// The server's time, in whole microseconds.
pub(super) async fn now(conn: &mut AsyncPgConnection) -> Result<SystemTime, Error> {
    let query = "SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint AS number";
    let row: Number = prepared(query).get_result(conn).await?;
    Ok(from_micros(row.number))
}

/// Writes jobs that have changed: those that have ended go to the history.
pub(super) async fn store(conn: &mut AsyncPgConnection, jobs: &[Job]) -> Result<(), Error> {
    let (ended, live): (Vec<&Job>, Vec<&Job>) = jobs.iter().partition(|job| job.state.is_ended());
    for batch in live.chunks(1_000) {
        let rows = batch.iter().map(|job| to_values(job)).collect::<Result<Vec<_>, _>>()?;
        sql_query(UPSERT.as_str()).bind::<Text, _>(Value::Array(rows).to_string()).execute(conn).await?;
    }
    for batch in ended.chunks(1_000) {
        let rows = batch.iter().map(|job| to_values(job)).collect::<Result<Vec<_>, _>>()?;
        sql_query(ARCHIVE.as_str()).bind::<Text, _>(Value::Array(rows).to_string()).execute(conn).await?;
        let gone: Vec<i64> = batch.iter().map(|job| job.id.get()).collect();
        let delete = sql_query("DELETE FROM queue_job WHERE id = ANY($1)");
        delete.bind::<Array<BigInt>, _>(gone).execute(conn).await?;
    }
    Ok(())
}

/// Writes an ended job that lives again.
pub(super) async fn revive(conn: &mut AsyncPgConnection, job: &Job) -> Result<(), Error> {
    let delete = sql_query("DELETE FROM queue_history WHERE id = $1");
    delete.bind::<BigInt, _>(job.id.get()).execute(conn).await?;
    store_one(conn, job).await
}

pub(super) async fn store_one(conn: &mut AsyncPgConnection, job: &Job) -> Result<(), Error> {
    store(conn, std::slice::from_ref(job)).await
}

/// A live job, locked until the transaction ends.
pub(super) async fn lock(conn: &mut AsyncPgConnection, id: JobId) -> Result<Option<Job>, Error> {
    Ok(lock_all(conn, &[id]).await?.pop())
}

/// Live jobs, by id, locked until the transaction ends.
pub(super) async fn lock_all(conn: &mut AsyncPgConnection, ids: &[JobId]) -> Result<Vec<Job>, Error> {
    let rows: Vec<JobRow> = sql_query(format!("{SELECT_LIVE} WHERE id = ANY($1) ORDER BY id FOR UPDATE"))
        .bind::<Array<BigInt>, _>(numbers(ids))
        .load(conn)
        .await?;
    rows.into_iter().map(Job::try_from).collect()
}

/// An ended job, locked until the transaction ends; without its result.
pub(super) async fn lock_ended(conn: &mut AsyncPgConnection, id: JobId) -> Result<Option<Job>, Error> {
    const SELECT: &str = concat!(
        "SELECT ",
        job_columns!(),
        ", NULL::text AS result FROM queue_history WHERE id = $1 FOR UPDATE"
    );
    let row: Option<JobRow> =
        sql_query(SELECT).bind::<BigInt, _>(id.get()).get_result(conn).await.optional()?;
    row.map(Job::try_from).transpose()
}

pub(super) fn numbers(ids: &[JobId]) -> Vec<i64> {
    ids.iter().map(|id| id.get()).collect()
}
