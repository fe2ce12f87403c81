//! Flows: what waits for others, and what follows when one of those ends.

use std::time::SystemTime;

use wavequill_database::adapters::diesel_async_0_9::diesel::result::{Error, OptionalExtension};
use wavequill_database::adapters::diesel_async_0_9::diesel::sql_query;
use wavequill_database::adapters::diesel_async_0_9::diesel::sql_types::{Array, BigInt};
use wavequill_database::adapters::diesel_async_0_9::diesel_async::{AsyncPgConnection, RunQueryDsl};

use super::limits;
use super::rows::{JobRow, Number, SELECT_LIVE, store};
use crate::adapters::flows::{FlowStep, ended_in, member_ended};
use crate::adapters::rows::damaged;
use crate::{FlowId, Job, JobState, OnFailure};

pub(super) async fn insert(
    conn: &mut AsyncPgConnection,
    flows: &[(FlowId, usize)],
    on_failure: OnFailure,
) -> Result<(), Error> {
    sql_query("INSERT INTO queue_flow (id, pending, on_failure) SELECT *, $3 FROM unnest($1, $2)")
        .bind::<Array<BigInt>, _>(flows.iter().map(|(flow, _)| flow.get()).collect::<Vec<_>>())
        .bind::<Array<BigInt>, _>(flows.iter().map(|(_, members)| *members as i64).collect::<Vec<_>>())
        .bind::<BigInt, _>(on_failure.code())
        .execute(conn)
        .await?;
    Ok(())
}

/// What follows for those who wait for this job, if this change ended it.
pub(super) async fn left(
    conn: &mut AsyncPgConnection,
    before: &Job,
    after: &Job,
    now: SystemTime,
) -> Result<(), Error> {
    match ended_in(before, after) {
        Some(flow) => ended(conn, flow, after.state, now).await,
        None => Ok(()),
    }
}

async fn ended(
    conn: &mut AsyncPgConnection,
    flow: FlowId,
    state: JobState,
    now: SystemTime,
) -> Result<(), Error> {
    let mut open = vec![(flow, state)];
    while let Some((flow, state)) = open.pop() {
        let Some(on_failure) = lock(conn, flow).await? else { continue };
        match member_ended(state, on_failure) {
            FlowStep::Count => {
                sql_query("SELECT queue_count(ARRAY[$1])")
                    .bind::<BigInt, _>(flow.get())
                    .execute(conn)
                    .await?;
            }
            FlowStep::Hold => {}
            FlowStep::Cancel => {
                let cancelled = cancel(conn, flow, now).await?;
                open.extend(
                    cancelled.into_iter().filter_map(|job| job.flow).map(|flow| (flow, JobState::Cancelled)),
                );
            }
        }
    }
    Ok(())
}

/// Who could still be replayed is forgotten: those who wait for it wait in vain.
pub(super) async fn pruned(
    conn: &mut AsyncPgConnection,
    flows: Vec<i64>,
    now: SystemTime,
) -> Result<(), Error> {
    for flow in flows.into_iter().map(FlowId::new) {
        if lock(conn, flow).await? == Some(OnFailure::Hold) {
            ended(conn, flow, JobState::Cancelled, now).await?;
        }
    }
    Ok(())
}

/// A member that had ended lives again: where its end was counted, it is waited for anew.
pub(super) async fn revived(conn: &mut AsyncPgConnection, job: &Job) -> Result<(), Error> {
    let Some(flow) = job.flow else { return Ok(()) };
    sql_query("UPDATE queue_flow SET pending = pending + 1 WHERE id = $1 AND on_failure = $2")
        .bind::<BigInt, _>(flow.get())
        .bind::<BigInt, _>(OnFailure::RunNext.code())
        .execute(conn)
        .await?;
    Ok(())
}

/// What becomes of those who wait for it, if somebody still does.
async fn lock(conn: &mut AsyncPgConnection, flow: FlowId) -> Result<Option<OnFailure>, Error> {
    let row: Option<Number> =
        sql_query("SELECT on_failure AS number FROM queue_flow WHERE id = $1 FOR UPDATE")
            .bind::<BigInt, _>(flow.get())
            .get_result(conn)
            .await
            .optional()?;
    let known = |row: Number| {
        OnFailure::from_code(row.number)
            .ok_or_else(|| damaged(format!("flow {flow} has the unknown policy {}", row.number)))
    };
    row.map(known).transpose()
}

/// Cancels what waits, and answers it.
async fn cancel(conn: &mut AsyncPgConnection, flow: FlowId, now: SystemTime) -> Result<Vec<Job>, Error> {
    sql_query("DELETE FROM queue_flow WHERE id = $1").bind::<BigInt, _>(flow.get()).execute(conn).await?;
    let rows: Vec<JobRow> =
        sql_query(format!("{SELECT_LIVE} WHERE waits_for = $1 AND state = 3 ORDER BY id FOR UPDATE"))
            .bind::<BigInt, _>(flow.get())
            .load(conn)
            .await?;
    let mut jobs = rows.into_iter().map(Job::try_from).collect::<Result<Vec<_>, _>>()?;
    for job in &mut jobs {
        let before = job.clone();
        job.cancel(now);
        limits::left(conn, &before, job).await?;
    }
    store(conn, &jobs).await?;
    Ok(jobs)
}
