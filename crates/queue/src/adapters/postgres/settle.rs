//! Ends leases: completions together, the rest by the pure transitions of a job.

use std::collections::{BTreeMap, HashMap, HashSet};

use wavequill_database::adapters::diesel_async_0_9::diesel::result::Error;
use wavequill_database::adapters::diesel_async_0_9::diesel::sql_types::{Array, BigInt, Nullable, Text};
use wavequill_database::adapters::diesel_async_0_9::diesel::{self, QueryableByName, sql_query};
use wavequill_database::adapters::diesel_async_0_9::diesel_async::{AsyncPgConnection, RunQueryDsl};

use super::limits;
use super::rows::{lock, now, store_one};
use crate::model::order::to_micros;
use crate::{ClaimToken, Ended, Job, JobId, JobState, Json, Lease, SessionId, Settled, Settlement};

#[derive(QueryableByName)]
struct DoneRow {
    #[diesel(sql_type = BigInt)]
    id: i64,
    #[diesel(sql_type = Nullable<BigInt>)]
    limit_key: Option<i64>,
}

pub(super) async fn settle(conn: &mut AsyncPgConnection, ended: &[Ended]) -> Result<Vec<Settled>, Error> {
    let now = now(conn).await?;
    let mut answers = vec![Settled::Stale; ended.len()];
    let mut done: Vec<Completion> = Vec::new();
    let mut seen: HashSet<Lease> = HashSet::with_capacity(ended.len());
    for (at, ended) in ended.iter().enumerate() {
        if !seen.insert(ended.lease) {
            // Of a lease that is listed twice the first end counts.
            continue;
        }
        if let Settlement::Completed { result } = &ended.settlement {
            done.push(Completion { at, lease: ended.lease, result: result.clone() });
            continue;
        }
        let found = lock(conn, ended.lease.job).await?;
        let held = found.filter(|job| job.state.is_held() && job.lease == Some(ended.lease));
        if let (Some(job), Some(answer)) = (held, answers.get_mut(at)) {
            let job = settle_held(conn, job, ended.settlement.clone(), now).await?;
            *answer = Settled::Applied(job.state);
        }
    }
    for at in complete(conn, done, to_micros(now)).await? {
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

/// Where the completions of one claim stand, and their results.
type Claim = HashMap<JobId, (usize, Option<Json>)>;

/// Completes all whose lease is the present one, by one statement a claim; answers their positions.
async fn complete(
    conn: &mut AsyncPgConnection,
    done: Vec<Completion>,
    now_micros: i64,
) -> Result<Vec<usize>, Error> {
    let mut claims: BTreeMap<(SessionId, ClaimToken), Claim> = BTreeMap::new();
    for completion in done {
        let lease = completion.lease;
        let claim = claims.entry((lease.session, lease.token)).or_default();
        claim.insert(lease.job, (completion.at, completion.result));
    }
    let mut positions = Vec::new();
    let mut freed: BTreeMap<i64, i64> = BTreeMap::new();
    let (mut result_jobs, mut bodies) = (Vec::new(), Vec::new());
    for ((session, token), mut jobs) in claims {
        let rows: Vec<DoneRow> = sql_query(
            "UPDATE queue_job SET state = 6, finished_at = $4, session = NULL, claimed_at = NULL \
             WHERE id = ANY($1) AND state IN (1, 5) AND session = $2 AND claim_token = $3 \
             RETURNING id, limit_key",
        )
        .bind::<Array<BigInt>, _>(jobs.keys().map(|job| job.get()).collect::<Vec<_>>())
        .bind::<BigInt, _>(session.get())
        .bind::<BigInt, _>(token.get())
        .bind::<BigInt, _>(now_micros)
        .load(conn)
        .await?;
        for row in rows {
            if let Some(key) = row.limit_key {
                *freed.entry(key).or_default() += 1;
            }
            if let Some((at, result)) = jobs.remove(&JobId::new(row.id)) {
                positions.push(at);
                if let Some(result) = result {
                    result_jobs.push(row.id);
                    bodies.push(result.as_str().to_owned());
                }
            }
        }
    }
    if !result_jobs.is_empty() {
        sql_query(
            "INSERT INTO queue_result (job, body) SELECT * FROM unnest($1, $2) \
             ON CONFLICT (job) DO UPDATE SET body = excluded.body",
        )
        .bind::<Array<BigInt>, _>(result_jobs)
        .bind::<Array<Text>, _>(bodies)
        .execute(conn)
        .await?;
    }
    for (key, count) in freed {
        limits::release(conn, key, count).await?;
    }
    Ok(positions)
}

/// Ends the present lease of a job that this transaction has locked.
pub(super) async fn settle_held(
    conn: &mut AsyncPgConnection,
    mut job: Job,
    settlement: Settlement,
    now: std::time::SystemTime,
) -> Result<Job, Error> {
    let before = job.clone();
    job.settle(settlement, now);
    store_one(conn, &job).await?;
    limits::left(conn, &before, &job).await?;
    Ok(job)
}
