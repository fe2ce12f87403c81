//! Limits of keys: kept exact by the one writer.

use std::collections::BTreeMap;
use std::time::SystemTime;

use serde_json::json;
use wavequill_database::adapters::diesel_async_0_9::diesel::prelude::*;
use wavequill_database::adapters::diesel_async_0_9::diesel::result::Error;
use wavequill_database::adapters::diesel_async_0_9::diesel::sql_types::{BigInt, Nullable, Text};
use wavequill_database::adapters::diesel_async_0_9::diesel::{SqliteConnection, sql_query};

use super::rows::Number;
use crate::adapters::rows::LimitRow;
use crate::{Admission, Job, JobState, Limit, LimitKey, LimitState};

/// The limits of these keys; those without one are left out.
pub(super) fn load(
    conn: &mut SqliteConnection,
    keys: impl IntoIterator<Item = i64>,
) -> Result<BTreeMap<i64, LimitState>, Error> {
    let mut keys: Vec<i64> = keys.into_iter().collect();
    keys.sort_unstable();
    keys.dedup();
    if keys.is_empty() {
        return Ok(BTreeMap::new());
    }
    let rows: Vec<LimitRow> =
        sql_query("SELECT * FROM queue_limit WHERE key IN (SELECT value FROM json_each(?1))")
            .bind::<Text, _>(json!(keys).to_string())
            .load(conn)?;
    Ok(rows.into_iter().map(|row| (row.key, row.state())).collect())
}

/// Keeps what a claim used of its limits.
pub(super) fn store_used(
    conn: &mut SqliteConnection,
    before: &BTreeMap<i64, LimitState>,
    after: &BTreeMap<i64, LimitState>,
) -> Result<(), Error> {
    for (key, state) in after.iter().filter(|(key, state)| before.get(key) != Some(state)) {
        sql_query("UPDATE queue_limit SET running = ?2, tat = ?3 WHERE key = ?1")
            .bind::<BigInt, _>(*key)
            .bind::<BigInt, _>(i64::from(state.running))
            .bind::<BigInt, _>(state.tat_micros)
            .execute(conn)?;
    }
    Ok(())
}

/// Sets or lifts a limit; what is held already counts.
pub(super) fn set(conn: &mut SqliteConnection, key: &LimitKey, limit: Option<Limit>) -> Result<(), Error> {
    let hash = key.hash();
    match limit {
        Some(limit) => {
            sql_query(
                "INSERT INTO queue_limit (key, name, max_running, step_us, burst, running, tat) VALUES \
                 (?1, ?2, ?3, ?4, ?5, (SELECT count(*) FROM queue_job INDEXED BY queue_job_held \
                   WHERE session IS NOT NULL AND limit_key = ?1), 0) \
                 ON CONFLICT (key) DO UPDATE SET max_running = excluded.max_running, \
                   step_us = excluded.step_us, burst = excluded.burst, running = excluded.running",
            )
            .bind::<BigInt, _>(hash)
            .bind::<Text, _>(key.as_str())
            .bind::<Nullable<BigInt>, _>(limit.max_running.map(i64::from))
            .bind::<Nullable<BigInt>, _>(limit.rate.map(|rate| rate.step().as_micros() as i64))
            .bind::<Nullable<BigInt>, _>(limit.rate.map(|rate| i64::from(rate.burst())))
            .execute(conn)?;
        }
        None => {
            sql_query("DELETE FROM queue_limit WHERE key = ?1").bind::<BigInt, _>(hash).execute(conn)?;
        }
    }
    unpark(conn, hash, i64::MAX)
}

/// Frees what a job held of its limit, if this change made it leave: a place, or a turn in line.
pub(super) fn left(conn: &mut SqliteConnection, before: &Job, after: &Job) -> Result<(), Error> {
    let Some(key) = after.limit_key.as_ref().map(LimitKey::hash) else { return Ok(()) };
    let gave_up_a_place = before.state.is_held() && !after.state.is_held();
    let gave_up_a_turn = before.state == JobState::Ready && after.state.is_ended();
    if gave_up_a_place {
        release(conn, key, 1)
    } else if gave_up_a_turn {
        unpark(conn, key, 1)
    } else {
        Ok(())
    }
}

/// So many jobs of a key are not held any more: as many parked ones are in line again.
pub(super) fn release(conn: &mut SqliteConnection, key: i64, count: i64) -> Result<(), Error> {
    sql_query("UPDATE queue_limit SET running = max(running - ?2, 0) WHERE key = ?1")
        .bind::<BigInt, _>(key)
        .bind::<BigInt, _>(count)
        .execute(conn)?;
    unpark(conn, key, count)
}

fn unpark(conn: &mut SqliteConnection, key: i64, count: i64) -> Result<(), Error> {
    sql_query(
        "UPDATE queue_job SET state = 0 WHERE id IN (SELECT id FROM queue_job INDEXED BY queue_job_parked \
         WHERE state = 4 AND limit_key = ?1 ORDER BY sort_key, id LIMIT ?2)",
    )
    .bind::<BigInt, _>(key)
    .bind::<BigInt, _>(count)
    .execute(conn)?;
    Ok(())
}

/// Readies what a limit with room still holds back, such as after the job that had the place was cancelled.
pub(super) fn unpark_all_with_room(conn: &mut SqliteConnection, now: SystemTime) -> Result<(), Error> {
    let keys: Vec<Number> = sql_query(
        "SELECT DISTINCT limit_key AS number FROM queue_job INDEXED BY queue_job_parked WHERE state = 4",
    )
    .load(conn)?;
    let limits = load(conn, keys.iter().map(|key| key.number))?;
    for key in keys {
        let state = limits.get(&key.number).copied().unwrap_or_default();
        if state.admits(now) == Admission::Now {
            let free = state.limit.max_running.map_or(u32::MAX, |max| max.saturating_sub(state.running));
            unpark(conn, key.number, i64::from(free))?;
        }
    }
    Ok(())
}
