//! Ends leases: completions together, the rest by the pure transitions of a job.

use std::collections::{HashMap, HashSet};

use wavequill_database::adapters::diesel_async_0_9::diesel::result::Error;
use wavequill_database::adapters::diesel_async_0_9::diesel::sql_types::{
    Array, BigInt, Integer, Nullable, Text,
};
use wavequill_database::adapters::diesel_async_0_9::diesel::{self, QueryableByName};
use wavequill_database::adapters::diesel_async_0_9::diesel_async::{AsyncPgConnection, RunQueryDsl};

use super::rows::{lock, now, store_one};
use super::statement::prepared;
use super::{flows, limits};
use crate::{Ended, Job, JobState, Json, Lease, Settled, Settlement};

#[derive(QueryableByName)]
struct DoneRow {
    #[diesel(sql_type = BigInt)]
    id: i64,
    #[diesel(sql_type = BigInt)]
    claim_token: i64,
}

/// Whether other jobs may stand in line that did not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Readied {
    Yes,
    No,
}

pub(super) async fn settle(
    conn: &mut AsyncPgConnection,
    ended: &[Ended],
) -> Result<(Vec<Settled>, Readied), Error> {
    let now = now(conn).await?;
    let mut answers = vec![Settled::Stale; ended.len()];
    let (done, others) = split(ended);
    for (at, ended) in others {
        let found = lock(conn, ended.lease.job).await?;
        let held = found.filter(|job| job.state.is_held() && job.lease == Some(ended.lease));
        if let (Some(job), Some(answer)) = (held, answers.get_mut(at)) {
            let job = settle_held(conn, job, ended.settlement.clone(), now).await?;
            *answer = Settled::Applied(job.state);
        }
    }
    mark(&mut answers, complete(conn, done).await?.positions);
    Ok((answers, Readied::Yes))
}

#[derive(Debug)]
struct Completion {
    at: usize,
    lease: Lease,
    result: Option<Json>,
}

/// Completes all, if there is nothing else: one statement, which needs no transaction around it.
pub(super) async fn settle_completed(
    conn: &mut AsyncPgConnection,
    ended: &[Ended],
) -> Result<(Vec<Settled>, Readied), Error> {
    let mut answers = vec![Settled::Stale; ended.len()];
    let (done, _) = split(ended);
    let completed = complete(conn, done).await?;
    mark(&mut answers, completed.positions);
    Ok((answers, completed.readied))
}

pub(super) fn all_completed(ended: &[Ended]) -> bool {
    ended.iter().all(|ended| matches!(ended.settlement, Settlement::Completed { .. }))
}

/// The completions, and the other ends by position. Of a lease that is listed twice the first end counts.
fn split(ended: &[Ended]) -> (Vec<Completion>, Vec<(usize, &Ended)>) {
    let mut seen: HashSet<Lease> = HashSet::with_capacity(ended.len());
    let (mut done, mut others) = (Vec::new(), Vec::new());
    for (at, ended) in ended.iter().enumerate().filter(|(_, ended)| seen.insert(ended.lease)) {
        match &ended.settlement {
            Settlement::Completed { result } => {
                done.push(Completion { at, lease: ended.lease, result: result.clone() });
            }
            _ => others.push((at, ended)),
        }
    }
    (done, others)
}

fn mark(answers: &mut [Settled], positions: Vec<usize>) {
    for at in positions {
        if let Some(answer) = answers.get_mut(at) {
            *answer = Settled::Applied(JobState::Completed);
        }
    }
}

struct Completed {
    positions: Vec<usize>,
    readied: Readied,
}

/// Completes all whose lease is the present one.
async fn complete(conn: &mut AsyncPgConnection, mut done: Vec<Completion>) -> Result<Completed, Error> {
    let mut completed = Completed { positions: Vec::with_capacity(done.len()), readied: Readied::No };
    if done.is_empty() {
        return Ok(completed);
    }
    done.sort_unstable_by_key(|completion| {
        let lease = completion.lease;
        (lease.session, lease.token, lease.job)
    });
    let (mut sessions, mut tokens, mut counts) = (Vec::new(), Vec::new(), Vec::new());
    let same_claim =
        |a: &Completion, b: &Completion| (a.lease.session, a.lease.token) == (b.lease.session, b.lease.token);
    for claim in done.chunk_by(same_claim) {
        let lease = claim.first().map(|completion| completion.lease);
        sessions.extend(lease.map(|lease| lease.session.get()));
        tokens.extend(lease.map(|lease| lease.token.get()));
        counts.push(i32::try_from(claim.len()).unwrap_or(i32::MAX));
    }
    let rows: Vec<DoneRow> = prepared("SELECT id, claim_token FROM queue_complete(?, ?, ?, ?, ?)")
        .bind::<Array<BigInt>, _>(sessions)
        .bind::<Array<BigInt>, _>(tokens)
        .bind::<Array<Integer>, _>(counts)
        .bind::<Array<BigInt>, _>(
            done.iter().map(|completion| completion.lease.job.get()).collect::<Vec<_>>(),
        )
        .bind::<Array<Nullable<Text>>, _>(
            done.iter().map(|completion| completion.result.as_ref().map(Json::as_str)).collect::<Vec<_>>(),
        )
        .load(conn)
        .await?;
    let ended: HashMap<i64, i64> = rows.into_iter().map(|row| (row.id, row.claim_token)).collect();
    if ended.get(&0).is_some_and(|readied| *readied > 0) {
        completed.readied = Readied::Yes;
    }
    for completion in done {
        if ended.get(&completion.lease.job.get()) == Some(&completion.lease.token.get()) {
            completed.positions.push(completion.at);
        }
    }
    Ok(completed)
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
    flows::left(conn, &before, &job, now).await?;
    Ok(job)
}
