//! Flows: what waits for others, and what follows when one of those ends.

use std::time::SystemTime;

use wavequill_database::adapters::diesel_async_0_9::diesel::prelude::*;
use wavequill_database::adapters::diesel_async_0_9::diesel::result::Error;
use wavequill_database::adapters::diesel_async_0_9::diesel::sql_types::BigInt;
use wavequill_database::adapters::diesel_async_0_9::diesel::{SqliteConnection, sql_query};

use super::limits;
use super::rows::{Number, ids, load, store};
use crate::adapters::flows::{FlowStep, ended_in, member_ended};
use crate::adapters::rows::damaged;
use crate::{FlowId, Job, JobState, OnFailure};

pub(super) fn insert(
    conn: &mut SqliteConnection,
    flows: &[(FlowId, usize)],
    on_failure: OnFailure,
) -> Result<(), Error> {
    for (flow, members) in flows {
        sql_query("INSERT INTO queue_flow (id, pending, on_failure) VALUES (?1, ?2, ?3)")
            .bind::<BigInt, _>(flow.get())
            .bind::<BigInt, _>(*members as i64)
            .bind::<BigInt, _>(on_failure.code())
            .execute(conn)?;
    }
    Ok(())
}

/// What follows for those who wait for this job, if this change ended it.
pub(super) fn left(
    conn: &mut SqliteConnection,
    before: &Job,
    after: &Job,
    now: SystemTime,
) -> Result<(), Error> {
    ended_in(before, after).map_or(Ok(()), |flow| ended(conn, flow, after.state, 1, now))
}

/// So many members of a flow have ended in this way.
pub(super) fn ended(
    conn: &mut SqliteConnection,
    flow: FlowId,
    state: JobState,
    members: i64,
    now: SystemTime,
) -> Result<(), Error> {
    let mut open = vec![(flow, state, members)];
    while let Some((flow, state, members)) = open.pop() {
        let Some(on_failure) = policy(conn, flow)? else { continue };
        let step = member_ended(state, on_failure);
        if step == FlowStep::Hold || step == FlowStep::Count && count(conn, flow, members)? > 0 {
            continue;
        }
        sql_query("DELETE FROM queue_flow WHERE id = ?1").bind::<BigInt, _>(flow.get()).execute(conn)?;
        for job in release(conn, flow, step, now)? {
            if job.state.is_ended() {
                open.extend(job.flow.map(|next| (next, job.state, 1)));
            }
        }
    }
    Ok(())
}

/// Who could still be replayed is forgotten: those who wait for it wait in vain.
pub(super) fn pruned(conn: &mut SqliteConnection, flow: FlowId, now: SystemTime) -> Result<(), Error> {
    match policy(conn, flow)? {
        Some(OnFailure::Hold) => ended(conn, flow, JobState::Cancelled, 1, now),
        _ => Ok(()),
    }
}

/// A member that had ended lives again: where its end was counted, it is waited for anew.
pub(super) fn revived(conn: &mut SqliteConnection, job: &Job) -> Result<(), Error> {
    let Some(flow) = job.flow else { return Ok(()) };
    sql_query("UPDATE queue_flow SET pending = pending + 1 WHERE id = ?1 AND on_failure = ?2")
        .bind::<BigInt, _>(flow.get())
        .bind::<BigInt, _>(OnFailure::RunNext.code())
        .execute(conn)?;
    Ok(())
}

/// What becomes of those who wait for it, if somebody still does.
fn policy(conn: &mut SqliteConnection, flow: FlowId) -> Result<Option<OnFailure>, Error> {
    let row: Option<Number> = sql_query("SELECT on_failure AS number FROM queue_flow WHERE id = ?1")
        .bind::<BigInt, _>(flow.get())
        .get_result(conn)
        .optional()?;
    let known = |row: Number| {
        let unknown = || damaged(format!("flow {flow} has the unknown policy {}", row.number));
        OnFailure::from_code(row.number).ok_or_else(unknown)
    };
    row.map(known).transpose()
}

/// Counts members that have ended, and answers how many have not.
fn count(conn: &mut SqliteConnection, flow: FlowId, members: i64) -> Result<i64, Error> {
    let row: Number =
        sql_query("UPDATE queue_flow SET pending = pending - ?2 WHERE id = ?1 RETURNING pending AS number")
            .bind::<BigInt, _>(flow.get())
            .bind::<BigInt, _>(members)
            .get_result(conn)?;
    Ok(row.number)
}

/// Lets go, or cancels, what waits.
fn release(
    conn: &mut SqliteConnection,
    flow: FlowId,
    step: FlowStep,
    now: SystemTime,
) -> Result<Vec<Job>, Error> {
    let waiting: Vec<Number> = sql_query(
        "SELECT id AS number FROM queue_job INDEXED BY queue_job_waiting \
         WHERE state = 3 AND waits_for = ?1 ORDER BY id",
    )
    .bind::<BigInt, _>(flow.get())
    .load(conn)?;
    let mut jobs = load(conn, &ids(waiting))?;
    for job in &mut jobs {
        let before = job.clone();
        if step == FlowStep::Count {
            job.join(now);
        } else {
            job.cancel(now);
        }
        limits::left(conn, &before, job)?;
    }
    store(conn, &jobs)?;
    Ok(jobs)
}
