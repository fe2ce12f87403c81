//! Jobs in SQLite's table.

use std::sync::LazyLock;

use serde_json::{Value, json};
use wavequill_database::adapters::diesel_async_0_9::diesel::prelude::*;
use wavequill_database::adapters::diesel_async_0_9::diesel::result::Error;
use wavequill_database::adapters::diesel_async_0_9::diesel::sql_types::Text;
use wavequill_database::adapters::diesel_async_0_9::diesel::{SqliteConnection, sql_query};

use crate::adapters::rows::{COLUMNS, to_values};
pub(super) use crate::adapters::rows::{JobRow, Number, ids, to_hex};
use crate::{Job, JobId};

static UPSERT: LazyLock<String> = LazyLock::new(|| {
    let values: Vec<_> = (0..COLUMNS.len()).map(|at| format!("value ->> {at}")).collect();
    let updates: Vec<_> = COLUMNS.iter().map(|column| format!("{column} = excluded.{column}")).collect();
    format!(
        "INSERT INTO queue_job ({}) SELECT {} FROM json_each(?1) WHERE true \
         ON CONFLICT (id) DO UPDATE SET {}",
        COLUMNS.join(", "),
        values.join(", "),
        updates.join(", "),
    )
});

/// Writes jobs: those that are new, and those that have changed. Results are written apart.
pub(super) fn store(conn: &mut SqliteConnection, jobs: &[Job]) -> Result<(), Error> {
    // A batch is one parameter: kept well below SQLite's bound of a text.
    for batch in jobs.chunks(500) {
        let rows = batch.iter().map(to_values).collect::<Result<Vec<_>, _>>()?;
        sql_query(UPSERT.as_str()).bind::<Text, _>(Value::Array(rows).to_string()).execute(conn)?;
    }
    Ok(())
}

pub(super) fn store_one(conn: &mut SqliteConnection, job: &Job) -> Result<(), Error> {
    store(conn, std::slice::from_ref(job))
}

/// Jobs of these ids, by id; without results.
pub(super) fn load(conn: &mut SqliteConnection, ids: &[JobId]) -> Result<Vec<Job>, Error> {
    let rows: Vec<JobRow> = sql_query(
        "SELECT *, NULL AS result FROM queue_job WHERE id IN (SELECT value FROM json_each(?1)) ORDER BY id",
    )
    .bind::<Text, _>(id_list(ids))
    .load(conn)?;
    rows.into_iter().map(Job::try_from).collect()
}

pub(super) fn load_one(conn: &mut SqliteConnection, id: JobId) -> Result<Option<Job>, Error> {
    Ok(load(conn, &[id])?.pop())
}

/// Ids as a JSON array.
pub(super) fn id_list(ids: &[JobId]) -> String {
    json!(ids).to_string()
}
