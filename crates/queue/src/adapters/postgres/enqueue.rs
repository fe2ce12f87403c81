//! Hands jobs in.

use std::collections::BTreeSet;

use wavequill_database::adapters::diesel_async_0_9::diesel::result::{Error, OptionalExtension};
use wavequill_database::adapters::diesel_async_0_9::diesel::sql_query;
use wavequill_database::adapters::diesel_async_0_9::diesel::sql_types::{Array, BigInt, Text};
use wavequill_database::adapters::diesel_async_0_9::diesel_async::{AsyncPgConnection, RunQueryDsl};

use super::insert::insert;
use super::rows::{Number, lock, now, store_one, to_hex};
use super::statement::prepared;
use super::{flows, limits};
use crate::adapters::flows::CheckedFlow;
use crate::adapters::rules::{self, Checked};
use crate::model::order::to_micros;
use crate::{Enqueued, EnqueuedFlow, FlowId, JobId, Policies, UniqueFor};

pub(super) async fn enqueue(
    conn: &mut AsyncPgConnection,
    jobs: &[Checked],
    policies: &Policies,
) -> Result<Vec<Enqueued>, Error> {
    let now = now(conn).await?;
    lock_keys(conn, jobs).await?;
    let mut ids = draw_ids(conn, jobs.len()).await?.into_iter();
    let mut plain = Vec::new();
    let mut answers = Vec::with_capacity(jobs.len());
    for checked in jobs {
        // As many numbers were drawn as there are jobs.
        let Some(id) = ids.next() else { break };
        if let Some(key) = checked.job.unique_key() {
            answers.push(unique(conn, checked, id, &to_hex(&key), now, policies).await?);
        } else {
            plain.push(checked.clone().accept(id, now, policies));
            answers.push(Enqueued::Created(id));
        }
    }
    insert(conn, &plain).await?;
    share_routes(conn, jobs.iter()).await?;
    Ok(answers)
}

/// Whether a batch is stored by one statement, and needs no transaction around it.
pub(super) fn is_plain(jobs: &[Checked]) -> bool {
    jobs.len() <= 5_000 && jobs.iter().all(|checked| !checked.is_shared() && checked.job.unique.is_none())
}

/// Hands in a batch that is plain.
pub(super) async fn enqueue_plain(
    conn: &mut AsyncPgConnection,
    jobs: &[Checked],
    policies: &Policies,
) -> Result<Vec<Enqueued>, Error> {
    let now = now(conn).await?;
    let ids = draw_ids(conn, jobs.len()).await?;
    let jobs: Vec<_> =
        jobs.iter().zip(ids).map(|(checked, id)| checked.clone().accept(id, now, policies)).collect();
    insert(conn, &jobs).await?;
    Ok(jobs.iter().map(|job| Enqueued::Created(job.id)).collect())
}

/// Hands in a flow.
pub(super) async fn enqueue_flow(
    conn: &mut AsyncPgConnection,
    flow: CheckedFlow,
    policies: &Policies,
) -> Result<EnqueuedFlow, Error> {
    const FLOWS: &str = "SELECT nextval('queue_flow_id') AS number FROM generate_series(1, ?)";
    let now = now(conn).await?;
    let ids = draw_ids(conn, flow.jobs().count()).await?;
    let joints = draw(conn, FLOWS, flow.joints()).await?.into_iter().map(FlowId::new).collect();
    let on_failure = flow.on_failure;
    share_routes(conn, flow.jobs()).await?;
    let accepted = flow.accept(ids.into_iter(), joints, now, policies);
    flows::insert(conn, &accepted.flows, on_failure).await?;
    insert(conn, &accepted.jobs).await?;
    Ok(accepted.answer)
}

/// New ids, rising.
async fn draw_ids(conn: &mut AsyncPgConnection, count: usize) -> Result<Vec<JobId>, Error> {
    const IDS: &str = "SELECT nextval('queue_job_id') AS number FROM generate_series(1, ?)";
    Ok(draw(conn, IDS, count).await?.into_iter().map(JobId::new).collect())
}

async fn draw(conn: &mut AsyncPgConnection, sql: &'static str, count: usize) -> Result<Vec<i64>, Error> {
    let rows: Vec<Number> = prepared(sql).bind::<BigInt, _>(count as i64).load(conn).await?;
    let mut numbers: Vec<i64> = rows.into_iter().map(|row| row.number).collect();
    numbers.sort_unstable();
    Ok(numbers)
}

/// The routes of jobs that tenants or limits share are shared from now on.
async fn share_routes(
    conn: &mut AsyncPgConnection,
    jobs: impl Iterator<Item = &Checked>,
) -> Result<(), Error> {
    let shared = jobs.filter(|checked| checked.is_shared());
    let fair: BTreeSet<&str> = shared.map(|checked| checked.worker_type.as_str()).collect();
    if !fair.is_empty() {
        sql_query(
            "INSERT INTO queue_route (worker_type, fair) SELECT unnest($1), true \
             ON CONFLICT (worker_type) DO UPDATE SET fair = true WHERE NOT queue_route.fair",
        )
        .bind::<Array<Text>, _>(fair.into_iter().collect::<Vec<_>>())
        .execute(conn)
        .await?;
    }
    Ok(())
}

/// Of all that hand in a unique key, one at a time: locked in one order, so that batches do not lock each other out.
async fn lock_keys(conn: &mut AsyncPgConnection, jobs: &[Checked]) -> Result<(), Error> {
    let mut keys: Vec<i64> = jobs
        .iter()
        .filter_map(|checked| checked.job.unique_key())
        .map(|key| key.iter().take(8).fold(0_i64, |hash, byte| (hash << 8) | i64::from(*byte)))
        .collect();
    keys.sort_unstable();
    keys.dedup();
    for key in keys {
        sql_query("SELECT pg_advisory_xact_lock($1)").bind::<BigInt, _>(key).execute(conn).await?;
    }
    Ok(())
}

async fn unique(
    conn: &mut AsyncPgConnection,
    checked: &Checked,
    id: JobId,
    key: &str,
    now: std::time::SystemTime,
    policies: &Policies,
) -> Result<Enqueued, Error> {
    if let Some(live) = live_with(conn, key).await?
        && let Some(mut job) = lock(conn, live).await?
    {
        let before = job.clone();
        if rules::merge(&mut job, checked.clone(), now, policies) {
            store_one(conn, &job).await?;
            limits::left(conn, &before, &job).await?;
        }
        return Ok(Enqueued::Existing(live));
    }
    let held: Option<Number> =
        sql_query("SELECT job AS number FROM queue_unique WHERE key = $1 AND until > $2")
            .bind::<Text, _>(key)
            .bind::<BigInt, _>(to_micros(now))
            .get_result(conn)
            .await
            .optional()?;
    if let Some(held) = held {
        return Ok(Enqueued::Existing(JobId::new(held.number)));
    }
    insert(conn, &[checked.clone().accept(id, now, policies)]).await?;
    if let Some(UniqueFor::Window(ttl)) = checked.job.unique.as_ref().map(crate::Uniqueness::lives) {
        sql_query(
            "INSERT INTO queue_unique (key, until, job) VALUES ($1, $2, $3) \
             ON CONFLICT (key) DO UPDATE SET until = excluded.until, job = excluded.job",
        )
        .bind::<Text, _>(key)
        .bind::<BigInt, _>(to_micros(ttl.expires_at(now)))
        .bind::<BigInt, _>(id.get())
        .execute(conn)
        .await?;
    }
    Ok(Enqueued::Created(id))
}

/// The live job of a unique key.
pub(super) async fn live_with(conn: &mut AsyncPgConnection, key: &str) -> Result<Option<JobId>, Error> {
    let row: Option<Number> = sql_query(
        "SELECT id AS number FROM queue_job \
         WHERE unique_key = $1 AND unique_key IS NOT NULL",
    )
    .bind::<Text, _>(key)
    .get_result(conn)
    .await
    .optional()?;
    Ok(row.map(|row| JobId::new(row.number)))
}
