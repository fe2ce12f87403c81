//! Hands jobs in.

use wavequill_database::adapters::diesel_async_0_9::diesel::result::{Error, OptionalExtension};
use wavequill_database::adapters::diesel_async_0_9::diesel::sql_query;
use wavequill_database::adapters::diesel_async_0_9::diesel::sql_types::{Array, BigInt, Text};
use wavequill_database::adapters::diesel_async_0_9::diesel_async::{AsyncPgConnection, RunQueryDsl};

use super::limits;
use super::rows::{Number, lock, now, store, store_one, to_hex};
use crate::adapters::rules::{self, Checked};
use crate::model::order::to_micros;
use crate::{Enqueued, JobId, Policies, UniqueFor};

pub(super) async fn enqueue(
    conn: &mut AsyncPgConnection,
    jobs: &[Checked],
    policies: &Policies,
) -> Result<Vec<Enqueued>, Error> {
    let now = now(conn).await?;
    lock_keys(conn, jobs).await?;
    let mut numbers: Vec<Number> =
        sql_query("SELECT nextval('queue_job_id') AS number FROM generate_series(1, $1) ORDER BY 1 DESC")
            .bind::<BigInt, _>(jobs.len() as i64)
            .load(conn)
            .await?;
    let mut plain = Vec::new();
    let mut answers = Vec::with_capacity(jobs.len());
    let mut fair: Vec<String> = Vec::new();
    for checked in jobs {
        let shared = checked.job.tenant.is_some() || checked.job.limit_key.is_some();
        let worker_type = checked.worker_type.as_str();
        if shared && !fair.iter().any(|known| known == worker_type) {
            fair.push(worker_type.to_owned());
        }
        // As many numbers were drawn as there are jobs.
        let Some(id) = numbers.pop().map(|row| JobId::new(row.number)) else { break };
        if let Some(key) = checked.job.unique_key() {
            answers.push(unique(conn, checked, id, &to_hex(&key), now, policies).await?);
        } else {
            plain.push(checked.clone().accept(id, now, policies));
            answers.push(Enqueued::Created(id));
        }
    }
    store(conn, &plain).await?;
    if !fair.is_empty() {
        sql_query(
            "INSERT INTO queue_route (worker_type, fair) SELECT unnest($1), true \
             ON CONFLICT (worker_type) DO UPDATE SET fair = true WHERE NOT queue_route.fair",
        )
        .bind::<Array<Text>, _>(fair)
        .execute(conn)
        .await?;
    }
    Ok(answers)
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
        && let Some(mut job) = lock(conn, live).await?.filter(|job| !job.state.is_ended())
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
    store_one(conn, &checked.clone().accept(id, now, policies)).await?;
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
         WHERE unique_key = $1 AND unique_key IS NOT NULL AND finished_at IS NULL",
    )
    .bind::<Text, _>(key)
    .get_result(conn)
    .await
    .optional()?;
    Ok(row.map(|row| JobId::new(row.number)))
}
