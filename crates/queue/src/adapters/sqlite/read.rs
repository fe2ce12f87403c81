//! Reads, beside the writer.

use std::collections::BTreeMap;
use std::time::SystemTime;

use serde_json::json;
use wavequill_database::adapters::diesel_async_0_9::diesel;
use wavequill_database::adapters::diesel_async_0_9::diesel::prelude::*;
use wavequill_database::adapters::diesel_async_0_9::diesel::result::Error;
use wavequill_database::adapters::diesel_async_0_9::diesel::sql_types::{BigInt, Nullable, Text};
use wavequill_database::adapters::diesel_async_0_9::diesel::sqlite::Sqlite;
use wavequill_database::adapters::diesel_async_0_9::diesel::{SqliteConnection, sql_query};

use super::rows::{JobRow, id_list};
use crate::model::order::from_micros;
use crate::{
    Job, JobId, JobPage, JobQuery, JobState, JobType, KindStats, QueueStats, SessionId, Tenant, WorkerId,
    WorkerRegistration, WorkerView,
};

pub(super) fn read(conn: &mut SqliteConnection, query: &JobQuery) -> Result<JobPage, Error> {
    let mut sql = String::from(if query.results {
        "SELECT j.*, r.body AS result FROM queue_job j LEFT JOIN queue_result r ON r.job = j.id WHERE j.id > ?"
    } else {
        "SELECT j.*, NULL AS result FROM queue_job j WHERE j.id > ?"
    });
    let states: Option<Vec<i16>> =
        query.states.as_ref().map(|states| states.iter().map(|state| state.code()).collect());
    let mut texts: Vec<String> = Vec::new();
    let mut narrow = |condition: &str, text: Option<String>| {
        if let Some(text) = text {
            sql.push_str(condition);
            texts.push(text);
        }
    };
    narrow(" AND j.id IN (SELECT value FROM json_each(?))", query.jobs.as_deref().map(id_list));
    narrow(
        " AND j.state IN (SELECT value FROM json_each(?))",
        states.map(|states| json!(states).to_string()),
    );
    narrow(" AND j.job_type = ?", query.job_type.as_ref().map(JobType::to_string));
    narrow(" AND j.flow = CAST(? AS INTEGER)", query.flow.map(|flow| flow.to_string()));
    narrow(" AND j.tenant = ?", query.tenant.as_ref().map(Tenant::to_string));
    sql.push_str(" ORDER BY j.id LIMIT ?");
    let after = query.after.map_or(i64::MIN, JobId::get);
    let mut statement = sql_query(sql).into_boxed::<Sqlite>().bind::<BigInt, _>(after);
    for text in texts {
        statement = statement.bind::<Text, _>(text);
    }
    let size = query.page_size();
    let rows: Vec<JobRow> = statement.bind::<BigInt, _>(size as i64 + 1).load(conn)?;
    let mut jobs = rows.into_iter().map(Job::try_from).collect::<Result<Vec<_>, _>>()?;
    let more = jobs.len() > size;
    jobs.truncate(size);
    Ok(JobPage { next: jobs.last().filter(|_| more).map(|job| job.id), jobs })
}

#[derive(QueryableByName)]
struct CountRow {
    #[diesel(sql_type = Text)]
    job_type: String,
    #[diesel(sql_type = BigInt)]
    state: i64,
    #[diesel(sql_type = BigInt)]
    count: i64,
    #[diesel(sql_type = Nullable<BigInt>)]
    oldest: Option<i64>,
}

/// One query an index, so that finished jobs cost nothing.
const COUNTS: [&str; 6] = [
    "SELECT job_type, 0 AS state, count(*) AS count, min(run_at) AS oldest \
     FROM queue_job INDEXED BY queue_job_ready WHERE state = 0 GROUP BY job_type",
    "SELECT job_type, 2 AS state, count(*) AS count, NULL AS oldest \
     FROM queue_job INDEXED BY queue_job_due WHERE state = 2 GROUP BY job_type",
    "SELECT job_type, 3 AS state, count(*) AS count, NULL AS oldest \
     FROM queue_job INDEXED BY queue_job_waiting WHERE state = 3 GROUP BY job_type",
    "SELECT job_type, 4 AS state, count(*) AS count, NULL AS oldest \
     FROM queue_job INDEXED BY queue_job_parked WHERE state = 4 GROUP BY job_type",
    "SELECT job_type, 1 AS state, count(*) AS count, NULL AS oldest \
     FROM queue_job INDEXED BY queue_job_held WHERE session IS NOT NULL GROUP BY job_type",
    "SELECT job_type, 8 AS state, count(*) AS count, NULL AS oldest \
     FROM queue_job INDEXED BY queue_job_dead WHERE state IN (8, 9) GROUP BY job_type",
];

pub(super) fn stats(conn: &mut SqliteConnection, now: SystemTime) -> Result<QueueStats, Error> {
    let mut kinds: BTreeMap<String, KindStats> = BTreeMap::new();
    for query in COUNTS {
        let rows: Vec<CountRow> = sql_query(query).load(conn)?;
        for row in rows {
            let job_type = JobType::new(row.job_type.clone())
                .map_err(|error| Error::DeserializationError(error.into()))?;
            let kind = kinds.entry(row.job_type).or_insert_with(|| KindStats::new(job_type));
            let state = i16::try_from(row.state).ok().and_then(JobState::from_code);
            if let Some(state) = state {
                kind.add(state, row.count.unsigned_abs());
            }
            let waited = |oldest| now.duration_since(from_micros(oldest)).unwrap_or_default();
            kind.oldest_ready = kind.oldest_ready.max(row.oldest.map(waited));
        }
    }
    Ok(QueueStats { kinds: kinds.into_values().collect() })
}

#[derive(QueryableByName)]
struct WorkerRow {
    #[diesel(sql_type = BigInt)]
    id: i64,
    #[diesel(sql_type = Text)]
    worker: String,
    #[diesel(sql_type = Text)]
    types: String,
    #[diesel(sql_type = BigInt)]
    capacity: i64,
    #[diesel(sql_type = BigInt)]
    held: i64,
}

pub(super) fn workers(conn: &mut SqliteConnection) -> Result<Vec<WorkerView>, Error> {
    let rows: Vec<WorkerRow> = sql_query(
        "SELECT s.id, s.worker, s.types, s.capacity, (SELECT count(*) FROM queue_job j INDEXED BY queue_job_held \
           WHERE j.session IS NOT NULL AND j.session = s.id) AS held \
         FROM queue_session s WHERE s.fenced = 0 ORDER BY s.id",
    )
    .load(conn)?;
    let view = |row: WorkerRow| {
        let damaged = |error: Box<dyn std::error::Error + Send + Sync>| Error::DeserializationError(error);
        let types: Vec<_> = serde_json::from_str(&row.types).map_err(|error| damaged(error.into()))?;
        let worker = WorkerId::new(row.worker).map_err(|error| damaged(error.into()))?;
        let capacity = u32::try_from(row.capacity).unwrap_or(0);
        let registration =
            WorkerRegistration::new(worker, types, capacity).map_err(|error| damaged(error.into()))?;
        Ok(WorkerView {
            session: SessionId::new(row.id),
            registration,
            held: u32::try_from(row.held).unwrap_or(u32::MAX),
        })
    };
    rows.into_iter().map(view).collect()
}
