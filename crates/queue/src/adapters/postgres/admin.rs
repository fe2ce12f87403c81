//! What an operator asks for.

use std::time::SystemTime;

use wavequill_database::adapters::diesel_async_0_9::diesel::result::Error;
use wavequill_database::adapters::diesel_async_0_9::diesel::sql_query;
use wavequill_database::adapters::diesel_async_0_9::diesel::sql_types::{BigInt, Bool, Double, Text};
use wavequill_database::adapters::diesel_async_0_9::diesel_async::{AsyncPgConnection, RunQueryDsl};

use super::enqueue::live_with;
use super::rows::{lock, lock_ended, now, revive, store_one, to_hex};
use super::{flows, limits};
use crate::adapters::rules;
use crate::{Affected, Command, Job, JobId, JobState, LaneId, Policies, SkipReason, Skipped, WorkerType};

pub(super) async fn administer(
    conn: &mut AsyncPgConnection,
    command: &Command,
    policies: &Policies,
) -> Result<Affected, Error> {
    let now = now(conn).await?;
    match command {
        Command::Cancel { jobs } => {
            change(conn, jobs, now, |job| !job.state.is_ended(), |job| job.cancel(now)).await
        }
        Command::Reprioritize { jobs, priority } => {
            change(
                conn,
                jobs,
                now,
                |job| job.state.is_waiting(),
                |job| {
                    job.priority = *priority;
                    job.sort_key = rules::sort_key(job, policies);
                },
            )
            .await
        }
        Command::RunNow { jobs } => {
            change(conn, jobs, now, |job| job.state == JobState::Scheduled, |job| job.hasten(now)).await
        }
        Command::Replay { jobs } => replay(conn, jobs, now, policies).await,
        Command::Pause { worker_type } => set_paused(conn, worker_type, true).await,
        Command::Resume { worker_type } => set_paused(conn, worker_type, false).await,
        Command::SetLimit { key, limit } => {
            limits::set(conn, key, *limit).await?;
            Ok(Affected::default())
        }
        Command::SetWeight { tenant, weight } => {
            let weight = if weight.is_nan() { 1.0 } else { weight.clamp(0.01, 100.0) };
            sql_query(
                "INSERT INTO queue_weight (lane, tenant, weight) VALUES ($1, $2, $3) \
                 ON CONFLICT (lane) DO UPDATE SET weight = excluded.weight",
            )
            .bind::<BigInt, _>(LaneId::of(Some(tenant)).get())
            .bind::<Text, _>(tenant.as_str())
            .bind::<Double, _>(f64::from(weight))
            .execute(conn)
            .await?;
            Ok(Affected::default())
        }
    }
}

async fn change(
    conn: &mut AsyncPgConnection,
    jobs: &[JobId],
    now: SystemTime,
    applies: impl Fn(&Job) -> bool,
    change: impl Fn(&mut Job),
) -> Result<Affected, Error> {
    let mut affected = Affected::default();
    for id in jobs {
        let reason = match lock(conn, *id).await? {
            None => match lock_ended(conn, *id).await? {
                Some(ended) => SkipReason::State(ended.state),
                None => SkipReason::Unknown,
            },
            Some(job) if !applies(&job) => SkipReason::State(job.state),
            Some(mut job) => {
                let before = job.clone();
                change(&mut job);
                store_one(conn, &job).await?;
                limits::left(conn, &before, &job).await?;
                flows::left(conn, &before, &job, now).await?;
                affected.jobs.push(*id);
                continue;
            }
        };
        affected.skipped.push(Skipped { job: *id, reason });
    }
    Ok(affected)
}

async fn replay(
    conn: &mut AsyncPgConnection,
    jobs: &[JobId],
    now: SystemTime,
    policies: &Policies,
) -> Result<Affected, Error> {
    let mut affected = Affected::default();
    for id in jobs {
        let reason = match lock_ended(conn, *id).await? {
            None => match lock(conn, *id).await? {
                Some(live) => SkipReason::State(live.state),
                None => SkipReason::Unknown,
            },
            Some(job) if job.state == JobState::Completed => SkipReason::State(job.state),
            Some(mut job) => {
                let live = match &job.unique_key {
                    Some(key) => live_with(conn, &to_hex(key)).await?,
                    None => None,
                };
                if let Some(live) = live {
                    SkipReason::AlreadyLive(live)
                } else {
                    rules::replay(&mut job, now, policies);
                    revive(conn, &job).await?;
                    flows::revived(conn, &job).await?;
                    affected.jobs.push(*id);
                    continue;
                }
            }
        };
        affected.skipped.push(Skipped { job: *id, reason });
    }
    Ok(affected)
}

async fn set_paused(
    conn: &mut AsyncPgConnection,
    worker_type: &WorkerType,
    paused: bool,
) -> Result<Affected, Error> {
    sql_query(
        "INSERT INTO queue_route (worker_type, paused) VALUES ($1, $2) \
         ON CONFLICT (worker_type) DO UPDATE SET paused = excluded.paused",
    )
    .bind::<Text, _>(worker_type.as_str())
    .bind::<Bool, _>(paused)
    .execute(conn)
    .await?;
    Ok(Affected::default())
}
