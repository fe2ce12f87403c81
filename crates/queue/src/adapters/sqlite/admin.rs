//! What an operator asks for.

use std::time::SystemTime;

use wavequill_database::adapters::diesel_async_0_9::diesel::prelude::*;
use wavequill_database::adapters::diesel_async_0_9::diesel::result::Error;
use wavequill_database::adapters::diesel_async_0_9::diesel::sql_types::{BigInt, Double, Text};
use wavequill_database::adapters::diesel_async_0_9::diesel::{SqliteConnection, sql_query};

use super::enqueue::live_with;
use super::limits;
use super::rows::{load_one, to_hex};
use super::sweep::store_changed;
use crate::adapters::rules;
use crate::{Affected, Command, Job, JobId, JobState, LaneId, Policies, SkipReason, Skipped, WorkerType};

pub(super) fn administer(
    conn: &mut SqliteConnection,
    command: Command,
    policies: &Policies,
) -> Result<Affected, Error> {
    let now = policies.clock.now();
    match command {
        Command::Cancel { jobs } => {
            change(conn, &jobs, now, |_, job| only_if(job, !job.state.is_ended()), |job| job.cancel(now))
        }
        Command::Reprioritize { jobs, priority } => change(
            conn,
            &jobs,
            now,
            |_, job| only_if(job, job.state.is_waiting()),
            |job| {
                job.priority = priority;
                job.sort_key = rules::sort_key(job, policies);
            },
        ),
        Command::RunNow { jobs } => {
            let scheduled = |_: &mut _, job: &Job| only_if(job, job.state == JobState::Scheduled);
            change(conn, &jobs, now, scheduled, |job| job.hasten(now))
        }
        Command::Replay { jobs } => {
            change(conn, &jobs, now, replayable, |job| rules::replay(job, now, policies))
        }
        Command::Pause { worker_type } => set_paused(conn, &worker_type, 1),
        Command::Resume { worker_type } => set_paused(conn, &worker_type, 0),
        Command::SetLimit { key, limit } => {
            limits::set(conn, &key, limit)?;
            Ok(Affected::default())
        }
        Command::SetWeight { tenant, weight } => {
            let weight = if weight.is_nan() { 1.0 } else { weight.clamp(0.01, 100.0) };
            sql_query("INSERT OR REPLACE INTO queue_weight (lane, tenant, weight) VALUES (?1, ?2, ?3)")
                .bind::<BigInt, _>(LaneId::of(Some(&tenant)).get())
                .bind::<Text, _>(tenant.as_str())
                .bind::<Double, _>(f64::from(weight))
                .execute(conn)?;
            Ok(Affected::default())
        }
    }
}

type Verdict = Result<Result<(), SkipReason>, Error>;

#[expect(clippy::unnecessary_wraps, reason = "the shape of all checks: some ask the database")]
fn only_if(job: &Job, applies: bool) -> Verdict {
    Ok(if applies { Ok(()) } else { Err(SkipReason::State(job.state)) })
}

fn replayable(conn: &mut SqliteConnection, job: &Job) -> Verdict {
    if !job.state.is_ended() || job.state == JobState::Completed {
        return Ok(Err(SkipReason::State(job.state)));
    }
    let Some(key) = job.unique_key else { return Ok(Ok(())) };
    let live = live_with(conn, &to_hex(&key))?;
    Ok(live.map_or(Ok(()), |live| Err(SkipReason::AlreadyLive(live))))
}

fn change(
    conn: &mut SqliteConnection,
    jobs: &[JobId],
    now: SystemTime,
    applies: impl Fn(&mut SqliteConnection, &Job) -> Verdict,
    change: impl Fn(&mut Job),
) -> Result<Affected, Error> {
    let mut affected = Affected::default();
    for id in jobs {
        let Some(mut job) = load_one(conn, *id)? else {
            affected.skipped.push(Skipped { job: *id, reason: SkipReason::Unknown });
            continue;
        };
        if let Err(reason) = applies(conn, &job)? {
            affected.skipped.push(Skipped { job: *id, reason });
            continue;
        }
        let before = job.clone();
        change(&mut job);
        store_changed(conn, &before, &job, now)?;
        affected.jobs.push(*id);
    }
    Ok(affected)
}

fn set_paused(conn: &mut SqliteConnection, worker_type: &WorkerType, paused: i64) -> Result<Affected, Error> {
    sql_query(
        "INSERT INTO queue_route (worker_type, paused) VALUES (?1, ?2) \
         ON CONFLICT (worker_type) DO UPDATE SET paused = excluded.paused",
    )
    .bind::<Text, _>(worker_type.as_str())
    .bind::<BigInt, _>(paused)
    .execute(conn)?;
    Ok(Affected::default())
}
