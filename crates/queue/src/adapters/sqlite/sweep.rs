//! Sessions, and the upkeep.

use std::time::SystemTime;

use serde_json::json;
use wavequill_database::adapters::diesel_async_0_9::diesel;
use wavequill_database::adapters::diesel_async_0_9::diesel::prelude::*;
use wavequill_database::adapters::diesel_async_0_9::diesel::result::Error;
use wavequill_database::adapters::diesel_async_0_9::diesel::sql_types::{BigInt, Nullable, Text};
use wavequill_database::adapters::diesel_async_0_9::diesel::{SqliteConnection, sql_query};

use super::claim::promote;
use super::owner::Slot;
use super::rows::{Number, ids, load, load_one, store_one};
use super::settle::settle_held;
use super::{flows, limits};
use crate::adapters::rules;
use crate::model::order::to_micros;
use crate::{
    Beat, FlowId, JobId, JobState, Policies, Progress, SessionId, Settlement, StoreConfig, SweepReport,
    SweptJob, WorkerRegistration,
};

/// A session that is not fenced.
#[derive(Debug, QueryableByName)]
pub(super) struct SessionRow {
    #[diesel(sql_type = BigInt)]
    pub(super) id: i64,
    #[diesel(sql_type = BigInt)]
    pub(super) beats: i64,
    #[diesel(sql_type = Nullable<BigInt>)]
    pub(super) owner: Option<i64>,
}

pub(super) fn live_sessions(conn: &mut SqliteConnection) -> Result<Vec<SessionRow>, Error> {
    sql_query("SELECT id, beats, owner FROM queue_session WHERE fenced = 0 ORDER BY id").load(conn)
}

pub(super) fn open_session(
    conn: &mut SqliteConnection,
    worker: &WorkerRegistration,
    owner: Option<Slot>,
) -> Result<SessionId, Error> {
    let row: Number =
        sql_query("UPDATE queue_sequence SET session = session + 1 RETURNING session AS number")
            .get_result(conn)?;
    sql_query(
        "INSERT INTO queue_session (id, worker, types, capacity, beats, fenced, owner) \
         VALUES (?1, ?2, ?3, ?4, 0, 0, ?5)",
    )
    .bind::<BigInt, _>(row.number)
    .bind::<Text, _>(worker.worker().as_str())
    .bind::<Text, _>(json!(worker.types()).to_string())
    .bind::<BigInt, _>(i64::from(worker.capacity()))
    .bind::<Nullable<BigInt>, _>(owner.map(Slot::get))
    .execute(conn)?;
    Ok(SessionId::new(row.number))
}

pub(super) fn close_session(
    conn: &mut SqliteConnection,
    session: SessionId,
    now: SystemTime,
) -> Result<(), Error> {
    let held = held_by(conn, session)?;
    for job in load(conn, &held)? {
        settle_held(conn, job, Settlement::Returned, now)?;
    }
    sql_query("DELETE FROM queue_session WHERE id = ?1").bind::<BigInt, _>(session.get()).execute(conn)?;
    Ok(())
}

fn held_by(conn: &mut SqliteConnection, session: SessionId) -> Result<Vec<JobId>, Error> {
    let rows: Vec<Number> = sql_query(
        "SELECT id AS number FROM queue_job INDEXED BY queue_job_held \
         WHERE session IS NOT NULL AND session = ?1 ORDER BY id",
    )
    .bind::<BigInt, _>(session.get())
    .load(conn)?;
    Ok(ids(rows))
}

/// Whatever the owner of this slot left open is dead: its lock is ours.
pub(super) fn fence_owner(conn: &mut SqliteConnection, owner: Slot) -> Result<(), Error> {
    sql_query("UPDATE queue_session SET fenced = 1 WHERE owner = ?1 AND fenced = 0")
        .bind::<BigInt, _>(owner.get())
        .execute(conn)?;
    Ok(())
}

pub(super) fn beat(
    conn: &mut SqliteConnection,
    session: SessionId,
    progress: &[Progress],
) -> Result<Beat, Error> {
    let alive = sql_query("UPDATE queue_session SET beats = beats + 1 WHERE id = ?1 AND fenced = 0")
        .bind::<BigInt, _>(session.get())
        .execute(conn)?;
    if alive == 0 {
        return Ok(Beat::Fenced);
    }
    for report in progress {
        sql_query(
            "UPDATE queue_job SET progress = ?4 \
             WHERE id = ?1 AND session = ?2 AND claim_token = ?3 AND state IN (1, 5)",
        )
        .bind::<BigInt, _>(report.lease.job.get())
        .bind::<BigInt, _>(report.lease.session.get())
        .bind::<BigInt, _>(report.lease.token.get())
        .bind::<Text, _>(report.body.as_str())
        .execute(conn)?;
    }
    let cancel: Vec<Number> = sql_query(
        "SELECT id AS number FROM queue_job INDEXED BY queue_job_held \
         WHERE session IS NOT NULL AND session = ?1 AND cancel_at IS NOT NULL ORDER BY id",
    )
    .bind::<BigInt, _>(session.get())
    .load(conn)?;
    Ok(Beat::Alive { cancel: ids(cancel) })
}

/// A session that may be fenced, and the count of heartbeats it was judged by; `None` if its owner is known to be
/// gone.
#[derive(Clone, Copy, Debug)]
pub(super) struct Verdict {
    pub(super) session: SessionId,
    pub(super) beats: Option<i64>,
}

pub(super) fn maintain(
    conn: &mut SqliteConnection,
    verdicts: &[Verdict],
    budget: u32,
    config: &StoreConfig,
    policies: &Policies,
) -> Result<SweepReport, Error> {
    let now = policies.clock.now();
    let mut report = SweepReport { promoted: promote(conn, now, budget)?, ..SweepReport::default() };
    for verdict in verdicts {
        // It may have beaten since it was judged.
        report.fenced += sql_query(
            "UPDATE queue_session SET fenced = 1 WHERE id = ?1 AND fenced = 0 AND (?2 IS NULL OR beats = ?2)",
        )
        .bind::<BigInt, _>(verdict.session.get())
        .bind::<Nullable<BigInt>, _>(verdict.beats)
        .execute(conn)? as u32;
    }
    rescue(conn, budget, now, policies, &mut report)?;
    report.returned = return_placed(conn, now, config, budget)?;
    limits::unpark_all_with_room(conn, now)?;
    report.pruned = prune(conn, now, config, budget)?;
    Ok(report)
}

fn rescue(
    conn: &mut SqliteConnection,
    budget: u32,
    now: SystemTime,
    policies: &Policies,
    report: &mut SweepReport,
) -> Result<(), Error> {
    let fenced: Vec<Number> =
        sql_query("SELECT id AS number FROM queue_session WHERE fenced <> 0 ORDER BY id").load(conn)?;
    let mut left = budget as usize;
    for session in fenced.into_iter().map(|row| SessionId::new(row.number)) {
        let orphans = held_by(conn, session)?;
        let all = orphans.len() <= left;
        for id in orphans.into_iter().take(left) {
            let Some(job) = load_one(conn, id)? else { continue };
            let settlement = rules::rescue(&job, now, policies);
            let job = settle_held(conn, job, settlement, now)?;
            left -= 1;
            if job.state.is_ended() {
                report.ended.push(SweptJob { job: id, job_type: job.job_type, state: job.state });
            } else {
                report.rescued += 1;
            }
        }
        if all {
            sql_query("DELETE FROM queue_session WHERE id = ?1")
                .bind::<BigInt, _>(session.get())
                .execute(conn)?;
        }
    }
    Ok(())
}

fn return_placed(
    conn: &mut SqliteConnection,
    now: SystemTime,
    config: &StoreConfig,
    budget: u32,
) -> Result<u32, Error> {
    let late: Vec<Number> = sql_query(
        "SELECT id AS number FROM queue_job INDEXED BY queue_job_held \
         WHERE session IS NOT NULL AND state = 5 AND claimed_at <= ?1 ORDER BY session, id LIMIT ?2",
    )
    .bind::<BigInt, _>(to_micros(now).saturating_sub(config.placement_timeout.as_micros() as i64))
    .bind::<BigInt, _>(i64::from(budget))
    .load(conn)?;
    let late = ids(late);
    for job in load(conn, &late)? {
        settle_held(conn, job, Settlement::Returned, now)?;
    }
    Ok(late.len() as u32)
}

fn prune(
    conn: &mut SqliteConnection,
    now: SystemTime,
    config: &StoreConfig,
    budget: u32,
) -> Result<u32, Error> {
    let mut old: Vec<Number> = Vec::new();
    for (query, retention) in [
        (
            "SELECT id AS number FROM queue_job INDEXED BY queue_job_finished \
             WHERE state IN (6, 7) AND finished_at <= ?1 ORDER BY finished_at LIMIT ?2",
            config.keep_finished,
        ),
        (
            "SELECT id AS number FROM queue_job INDEXED BY queue_job_dead \
             WHERE state IN (8, 9) AND finished_at <= ?1 ORDER BY finished_at LIMIT ?2",
            config.keep_dead,
        ),
    ] {
        let room = i64::from(budget).saturating_sub(old.len() as i64);
        let until = to_micros(now).saturating_sub(i64::try_from(retention.as_micros()).unwrap_or(i64::MAX));
        let rows: Vec<Number> =
            sql_query(query).bind::<BigInt, _>(until).bind::<BigInt, _>(room).load(conn)?;
        old.extend(rows);
    }
    if !old.is_empty() {
        let list = json!(old.iter().map(|row| row.number).collect::<Vec<_>>()).to_string();
        let flows: Vec<Number> = sql_query(
            "SELECT DISTINCT flow AS number FROM queue_job \
             WHERE id IN (SELECT value FROM json_each(?1)) AND flow IS NOT NULL AND state <> 6",
        )
        .bind::<Text, _>(&list)
        .load(conn)?;
        for flow in flows {
            flows::pruned(conn, FlowId::new(flow.number), now)?;
        }
        for query in [
            "DELETE FROM queue_result WHERE job IN (SELECT value FROM json_each(?1))",
            "DELETE FROM queue_job WHERE id IN (SELECT value FROM json_each(?1))",
        ] {
            sql_query(query).bind::<Text, _>(&list).execute(conn)?;
        }
    }
    sql_query("DELETE FROM queue_unique WHERE until <= ?1")
        .bind::<BigInt, _>(to_micros(now))
        .execute(conn)?;
    Ok(old.len() as u32)
}

/// Writes one job after a change an operator asked for.
pub(super) fn store_changed(
    conn: &mut SqliteConnection,
    before: &crate::Job,
    after: &crate::Job,
    now: SystemTime,
) -> Result<(), Error> {
    store_one(conn, after)?;
    if before.state == JobState::Completed && !after.state.is_ended() {
        sql_query("DELETE FROM queue_result WHERE job = ?1")
            .bind::<BigInt, _>(after.id.get())
            .execute(conn)?;
    }
    limits::left(conn, before, after)?;
    if before.state.is_ended() && !after.state.is_ended() {
        return flows::revived(conn, after);
    }
    flows::left(conn, before, after, now)
}
