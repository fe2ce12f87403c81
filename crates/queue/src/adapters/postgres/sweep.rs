//! Sessions, and the upkeep.

use std::time::SystemTime;

use wavequill_database::adapters::diesel_async_0_9::diesel::result::Error;
use wavequill_database::adapters::diesel_async_0_9::diesel::sql_types::{Array, BigInt, Integer, Text};
use wavequill_database::adapters::diesel_async_0_9::diesel::{self, QueryableByName, sql_query};
use wavequill_database::adapters::diesel_async_0_9::diesel_async::{AsyncPgConnection, RunQueryDsl};

use super::claim::promote;
use super::flows;
use super::limits;
use super::rows::{JobRow, Number, SELECT_LIVE, ids, lock_all, now};
use super::settle::settle_held;
use crate::adapters::rules;
use crate::model::order::to_micros;
use crate::{
    Beat, Job, Policies, Progress, SessionId, Settlement, StoreConfig, SweepReport, SweptJob,
    WorkerRegistration,
};

/// An instant so much later than another, in microseconds.
fn later(now: SystemTime, by: std::time::Duration) -> i64 {
    to_micros(now).saturating_add(i64::try_from(by.as_micros()).unwrap_or(i64::MAX))
}

/// An instant so much earlier than another, in microseconds.
fn earlier(now: SystemTime, by: std::time::Duration) -> i64 {
    to_micros(now).saturating_sub(i64::try_from(by.as_micros()).unwrap_or(i64::MAX))
}

pub(super) async fn open_session(
    conn: &mut AsyncPgConnection,
    worker: &WorkerRegistration,
    config: &StoreConfig,
) -> Result<SessionId, Error> {
    let now = now(conn).await?;
    let row: Number = sql_query(
        "INSERT INTO queue_session (id, worker, types, capacity, expires_at) \
         VALUES (nextval('queue_session_id'), $1, $2, $3, $4) RETURNING id AS number",
    )
    .bind::<Text, _>(worker.worker().as_str())
    .bind::<Array<Text>, _>(worker.types().iter().map(ToString::to_string).collect::<Vec<_>>())
    .bind::<BigInt, _>(i64::from(worker.capacity()))
    .bind::<BigInt, _>(later(now, config.session_ttl))
    .get_result(conn)
    .await?;
    Ok(SessionId::new(row.number))
}

pub(super) async fn close_session(conn: &mut AsyncPgConnection, session: SessionId) -> Result<(), Error> {
    let now = now(conn).await?;
    // A claim of this session that is under way ends first: what it took is returned too.
    sql_query("DELETE FROM queue_session WHERE id = $1")
        .bind::<BigInt, _>(session.get())
        .execute(conn)
        .await?;
    let held: Vec<Number> = sql_query("SELECT id AS number FROM queue_job WHERE session = $1 ORDER BY id")
        .bind::<BigInt, _>(session.get())
        .load(conn)
        .await?;
    for job in lock_all(conn, &ids(held)).await? {
        if job.lease.is_some_and(|lease| lease.session == session) {
            settle_held(conn, job, Settlement::Returned, now).await?;
        }
    }
    Ok(())
}

pub(super) async fn beat(
    conn: &mut AsyncPgConnection,
    session: SessionId,
    progress: &[Progress],
    config: &StoreConfig,
) -> Result<Beat, Error> {
    let now = now(conn).await?;
    let alive = sql_query("UPDATE queue_session SET expires_at = $2 WHERE id = $1 AND NOT fenced")
        .bind::<BigInt, _>(session.get())
        .bind::<BigInt, _>(later(now, config.session_ttl))
        .execute(conn)
        .await?;
    if alive == 0 {
        return Ok(Beat::Fenced);
    }
    for report in progress {
        sql_query(
            "UPDATE queue_job SET progress = $4 \
             WHERE id = $1 AND session = $2 AND claim_token = $3 AND state IN (1, 5)",
        )
        .bind::<BigInt, _>(report.lease.job.get())
        .bind::<BigInt, _>(report.lease.session.get())
        .bind::<BigInt, _>(report.lease.token.get())
        .bind::<Text, _>(report.body.as_str())
        .execute(conn)
        .await?;
    }
    let cancel: Vec<Number> = sql_query(
        "SELECT id AS number FROM queue_job WHERE session = $1 AND cancel_at IS NOT NULL ORDER BY id",
    )
    .bind::<BigInt, _>(session.get())
    .load(conn)
    .await?;
    Ok(Beat::Alive { cancel: ids(cancel) })
}

pub(super) async fn maintain(
    conn: &mut AsyncPgConnection,
    abandoned: &[i64],
    budget: u32,
    config: &StoreConfig,
    policies: &Policies,
) -> Result<SweepReport, Error> {
    let now = now(conn).await?;
    let mut report = SweepReport { promoted: promote(conn, now, budget).await?, ..SweepReport::default() };
    // A claim under way keeps its session: it is skipped, and looked at the next time.
    report.fenced = sql_query(
        "UPDATE queue_session SET fenced = true WHERE id = ANY(ARRAY(SELECT id FROM queue_session \
         WHERE NOT fenced AND (expires_at <= $1 OR id = ANY($2)) ORDER BY id LIMIT 16 FOR UPDATE SKIP LOCKED))",
    )
    .bind::<BigInt, _>(to_micros(now))
    .bind::<Array<BigInt>, _>(abandoned.to_vec())
    .execute(conn)
    .await? as u32;
    rescue(conn, budget, now, policies, &mut report).await?;
    report.returned = return_placed(conn, now, config, budget).await?;
    limits::unpark_all_with_room(conn, now).await?;
    report.pruned = prune(conn, now, config, budget).await?;
    Ok(report)
}

async fn rescue(
    conn: &mut AsyncPgConnection,
    budget: u32,
    now: SystemTime,
    policies: &Policies,
    report: &mut SweepReport,
) -> Result<(), Error> {
    let rows: Vec<JobRow> = sql_query(format!(
        "{SELECT_LIVE} WHERE session = ANY(ARRAY(SELECT id FROM queue_session WHERE fenced)) \
         ORDER BY session, id LIMIT $1 FOR UPDATE SKIP LOCKED",
    ))
    .bind::<BigInt, _>(i64::from(budget))
    .load(conn)
    .await?;
    for row in rows {
        let job = Job::try_from(row)?;
        let settlement = rules::rescue(&job, now, policies);
        let job = settle_held(conn, job, settlement, now).await?;
        if job.state.is_ended() {
            report.ended.push(SweptJob { job: job.id, job_type: job.job_type, state: job.state });
        } else {
            report.rescued += 1;
        }
    }
    sql_query(
        "DELETE FROM queue_session s WHERE s.fenced \
         AND NOT EXISTS (SELECT 1 FROM queue_job j WHERE j.session = s.id)",
    )
    .execute(conn)
    .await?;
    Ok(())
}

async fn return_placed(
    conn: &mut AsyncPgConnection,
    now: SystemTime,
    config: &StoreConfig,
    budget: u32,
) -> Result<u32, Error> {
    let rows: Vec<JobRow> = sql_query(format!(
        "{SELECT_LIVE} WHERE state = 5 AND claimed_at <= $1 ORDER BY session, sort_key, id LIMIT $2 \
         FOR UPDATE SKIP LOCKED",
    ))
    .bind::<BigInt, _>(earlier(now, config.placement_timeout))
    .bind::<BigInt, _>(i64::from(budget))
    .load(conn)
    .await?;
    let count = rows.len() as u32;
    for row in rows {
        settle_held(conn, Job::try_from(row)?, Settlement::Returned, now).await?;
    }
    Ok(count)
}

#[derive(QueryableByName)]
struct PrunedRow {
    #[diesel(sql_type = BigInt)]
    forgotten: i64,
    #[diesel(sql_type = Array<BigInt>)]
    flows: Vec<i64>,
}

async fn prune(
    conn: &mut AsyncPgConnection,
    now: SystemTime,
    config: &StoreConfig,
    budget: u32,
) -> Result<u32, Error> {
    let old: PrunedRow = sql_query("SELECT forgotten, flows FROM queue_prune($1, $2, $3)")
        .bind::<BigInt, _>(earlier(now, config.keep_finished))
        .bind::<BigInt, _>(earlier(now, config.keep_dead))
        .bind::<Integer, _>(i32::try_from(budget).unwrap_or(i32::MAX))
        .get_result(conn)
        .await?;
    flows::pruned(conn, old.flows, now).await?;
    sql_query("DELETE FROM queue_unique WHERE until <= $1")
        .bind::<BigInt, _>(to_micros(now))
        .execute(conn)
        .await?;
    Ok(u32::try_from(old.forgotten).unwrap_or(u32::MAX))
}
