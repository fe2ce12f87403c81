//! Ends leases: completions together, the rest by the pure transitions of a job.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::SystemTime;

use serde_json::json;
use wavequill_database::adapters::diesel_async_0_9::diesel;
use wavequill_database::adapters::diesel_async_0_9::diesel::prelude::*;
use wavequill_database::adapters::diesel_async_0_9::diesel::result::Error;
use wavequill_database::adapters::diesel_async_0_9::diesel::sql_types::{BigInt, Nullable, Text};
use wavequill_database::adapters::diesel_async_0_9::diesel::{SqliteConnection, sql_query};

use super::rows::{load_one, store_one};
use super::{flows, limits};
use crate::model::order::to_micros;
use crate::{Ended, FlowId, Job, JobState, Json, Lease, Settled, Settlement};

#[derive(QueryableByName)]
struct DoneRow {
    #[diesel(sql_type = BigInt)]
    id: i64,
    #[diesel(sql_type = Nullable<BigInt>)]
    claim_token: Option<i64>,
    #[diesel(sql_type = Nullable<BigInt>)]
    limit_key: Option<i64>,
    #[diesel(sql_type = Nullable<BigInt>)]
    flow: Option<i64>,
}

pub(super) fn settle(
    conn: &mut SqliteConnection,
    ended: Vec<Ended>,
    now: SystemTime,
) -> Result<Vec<Settled>, Error> {
    let mut answers = vec![Settled::Stale; ended.len()];
    let mut done: Vec<Completion> = Vec::new();
    let mut seen: HashSet<Lease> = HashSet::with_capacity(ended.len());
    for (at, ended) in ended.into_iter().enumerate() {
        if !seen.insert(ended.lease) {
            // Of a lease that is listed twice the first end counts.
            continue;
        }
        match ended.settlement {
            Settlement::Completed { result } => done.push(Completion { at, lease: ended.lease, result }),
            settlement => {
                if let (Some(job), Some(answer)) =
                    (settle_one(conn, ended.lease, settlement, now)?, answers.get_mut(at))
                {
                    *answer = Settled::Applied(job.state);
                }
            }
        }
    }
    for at in complete(conn, done, now)? {
        if let Some(answer) = answers.get_mut(at) {
            *answer = Settled::Applied(JobState::Completed);
        }
    }
    Ok(answers)
}

struct Completion {
    at: usize,
    lease: Lease,
    result: Option<Json>,
}

/// Completes all whose lease is the present one; answers their positions.
fn complete(
    conn: &mut SqliteConnection,
    done: Vec<Completion>,
    now: SystemTime,
) -> Result<Vec<usize>, Error> {
    if done.is_empty() {
        return Ok(Vec::new());
    }
    let leases: Vec<_> = done
        .iter()
        .map(|done| [done.lease.job.get(), done.lease.session.get(), done.lease.token.get()])
        .collect();
    let rows: Vec<DoneRow> = sql_query(
        "UPDATE queue_job SET state = 6, finished_at = ?2, session = NULL, claimed_at = NULL \
         FROM json_each(?1) AS ended WHERE queue_job.id = ended.value ->> 0 AND queue_job.state IN (1, 5) \
         AND queue_job.session = ended.value ->> 1 AND queue_job.claim_token = ended.value ->> 2 \
         RETURNING id, claim_token, limit_key, flow",
    )
    .bind::<Text, _>(json!(leases).to_string())
    .bind::<BigInt, _>(to_micros(now))
    .load(conn)?;
    let mut freed: BTreeMap<i64, i64> = BTreeMap::new();
    let mut counted: BTreeMap<FlowId, i64> = BTreeMap::new();
    let mut applied: HashMap<i64, Option<i64>> = HashMap::with_capacity(rows.len());
    for row in rows {
        applied.insert(row.id, row.claim_token);
        if let Some(key) = row.limit_key {
            *freed.entry(key).or_default() += 1;
        }
        if let Some(flow) = row.flow.map(FlowId::new) {
            *counted.entry(flow).or_default() += 1;
        }
    }
    let mut positions = Vec::with_capacity(applied.len());
    let mut results = Vec::new();
    for completion in done {
        // Two leases of one job: only one of them was the present one.
        if applied.get(&completion.lease.job.get()) == Some(&Some(completion.lease.token.get())) {
            positions.push(completion.at);
            if let Some(result) = completion.result {
                results.push((completion.lease.job, result));
            }
        }
    }
    for (job, result) in results {
        sql_query("INSERT OR REPLACE INTO queue_result (job, body) VALUES (?1, ?2)")
            .bind::<BigInt, _>(job.get())
            .bind::<Text, _>(result.as_str())
            .execute(conn)?;
    }
    for (key, count) in freed {
        limits::release(conn, key, count)?;
    }
    for (flow, count) in counted {
        flows::ended(conn, flow, JobState::Completed, count, now)?;
    }
    Ok(positions)
}

/// Ends one lease, if it is the present one of its job.
fn settle_one(
    conn: &mut SqliteConnection,
    lease: Lease,
    settlement: Settlement,
    now: SystemTime,
) -> Result<Option<Job>, Error> {
    let found = load_one(conn, lease.job)?;
    match found.filter(|job| job.state.is_held() && job.lease == Some(lease)) {
        Some(job) => settle_held(conn, job, settlement, now).map(Some),
        None => Ok(None),
    }
}

/// Ends the present lease of a job.
pub(super) fn settle_held(
    conn: &mut SqliteConnection,
    mut job: Job,
    settlement: Settlement,
    now: SystemTime,
) -> Result<Job, Error> {
    let before = job.clone();
    job.settle(settlement, now);
    store_one(conn, &job)?;
    limits::left(conn, &before, &job)?;
    flows::left(conn, &before, &job, now)?;
    Ok(job)
}
