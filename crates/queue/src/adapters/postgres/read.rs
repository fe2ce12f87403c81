//! Reads.

use std::collections::BTreeMap;

use wavequill_database::adapters::diesel_async_0_9::diesel::pg::Pg;
use wavequill_database::adapters::diesel_async_0_9::diesel::result::Error;
use wavequill_database::adapters::diesel_async_0_9::diesel::sql_types::{Array, BigInt, Nullable, Text};
use wavequill_database::adapters::diesel_async_0_9::diesel::{self, QueryableByName, sql_query};
use wavequill_database::adapters::diesel_async_0_9::diesel_async::{AsyncPgConnection, RunQueryDsl};

use super::rows::{JobRow, job_columns, now, numbers};
use crate::adapters::rows::damaged;
use crate::model::order::from_micros;
use crate::{
    Job, JobId, JobPage, JobQuery, JobState, JobType, KindStats, QueueStats, SessionId, Tenant, WorkerId,
    WorkerRegistration, WorkerType, WorkerView,
};

pub(super) async fn read(conn: &mut AsyncPgConnection, query: &JobQuery) -> Result<JobPage, Error> {
    let select = if query.results {
        concat!("SELECT ", job_columns!(), ", result FROM queue_every j")
    } else {
        concat!("SELECT ", job_columns!(), ", NULL::text AS result FROM queue_every j")
    };
    let mut sql = format!("{select} WHERE j.id > $1");
    let mut number = 1;
    let mut narrow = |wanted: bool, condition: &str| {
        if wanted {
            number += 1;
            sql.push_str(&condition.replace('?', &format!("${number}")));
        }
    };
    narrow(query.jobs.is_some(), " AND j.id = ANY(?)");
    narrow(query.states.is_some(), " AND j.state = ANY(?)");
    narrow(query.job_type.is_some(), " AND j.job_type = ?");
    narrow(query.tenant.is_some(), " AND j.tenant = ?");
    narrow(query.flow.is_some(), " AND j.flow = ?");
    narrow(true, " ORDER BY j.id LIMIT ?");
    let after = query.after.map_or(i64::MIN, JobId::get);
    let mut statement = sql_query(sql).into_boxed::<Pg>().bind::<BigInt, _>(after);
    if let Some(jobs) = &query.jobs {
        statement = statement.bind::<Array<BigInt>, _>(numbers(jobs));
    }
    if let Some(states) = &query.states {
        let codes: Vec<i64> = states.iter().map(|state| i64::from(state.code())).collect();
        statement = statement.bind::<Array<BigInt>, _>(codes);
    }
    let texts =
        [query.job_type.as_ref().map(JobType::to_string), query.tenant.as_ref().map(Tenant::to_string)];
    for text in texts.into_iter().flatten() {
        statement = statement.bind::<Text, _>(text);
    }
    if let Some(flow) = query.flow {
        statement = statement.bind::<BigInt, _>(flow.get());
    }
    let size = query.page_size();
    let rows: Vec<JobRow> = statement.bind::<BigInt, _>(size as i64 + 1).load(conn).await?;
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

/// One branch an index, so that finished jobs cost nothing.
const COUNTS: &str = "\
    SELECT job_type, 0::bigint AS state, count(*) AS count, min(run_at) AS oldest \
    FROM queue_job WHERE state = 0 GROUP BY job_type UNION ALL \
    SELECT job_type, 2, count(*), NULL FROM queue_job WHERE state = 2 GROUP BY job_type UNION ALL \
    SELECT job_type, 3, count(*), NULL FROM queue_job WHERE state = 3 GROUP BY job_type UNION ALL \
    SELECT job_type, 4, count(*), NULL FROM queue_job WHERE state = 4 GROUP BY job_type UNION ALL \
    SELECT job_type, 1, count(*), NULL FROM queue_job WHERE session IS NOT NULL GROUP BY job_type UNION ALL \
    SELECT job_type, 8, count(*), NULL FROM queue_history WHERE state IN (8, 9) GROUP BY job_type";

pub(super) async fn stats(conn: &mut AsyncPgConnection) -> Result<QueueStats, Error> {
    let now = now(conn).await?;
    let rows: Vec<CountRow> = sql_query(COUNTS).load(conn).await?;
    let mut kinds: BTreeMap<JobType, KindStats> = BTreeMap::new();
    for row in rows {
        let job_type = JobType::new(row.job_type).map_err(damaged)?;
        let kind = kinds.entry(job_type.clone()).or_insert_with(|| KindStats::new(job_type));
        if let Some(state) = i16::try_from(row.state).ok().and_then(JobState::from_code) {
            kind.add(state, row.count.unsigned_abs());
        }
        let waited = |oldest| now.duration_since(from_micros(oldest)).unwrap_or_default();
        kind.oldest_ready = kind.oldest_ready.max(row.oldest.map(waited));
    }
    Ok(QueueStats { kinds: kinds.into_values().collect() })
}

#[derive(QueryableByName)]
struct WorkerRow {
    #[diesel(sql_type = BigInt)]
    id: i64,
    #[diesel(sql_type = Text)]
    worker: String,
    #[diesel(sql_type = Array<Text>)]
    types: Vec<String>,
    #[diesel(sql_type = BigInt)]
    capacity: i64,
    #[diesel(sql_type = BigInt)]
    held: i64,
}

pub(super) async fn workers(conn: &mut AsyncPgConnection) -> Result<Vec<WorkerView>, Error> {
    let rows: Vec<WorkerRow> = sql_query(
        "SELECT s.id, s.worker, s.types, s.capacity, \
           (SELECT count(*) FROM queue_job j WHERE j.session = s.id) AS held \
         FROM queue_session s WHERE NOT s.fenced ORDER BY s.id",
    )
    .load(conn)
    .await?;
    let view = |row: WorkerRow| {
        let types =
            row.types.into_iter().map(WorkerType::new).collect::<Result<Vec<_>, _>>().map_err(damaged)?;
        let worker = WorkerId::new(row.worker).map_err(damaged)?;
        let capacity = u32::try_from(row.capacity).unwrap_or(0);
        Ok(WorkerView {
            session: SessionId::new(row.id),
            registration: WorkerRegistration::new(worker, types, capacity).map_err(damaged)?,
            held: u32::try_from(row.held).unwrap_or(u32::MAX),
        })
    };
    rows.into_iter().map(view).collect()
}
