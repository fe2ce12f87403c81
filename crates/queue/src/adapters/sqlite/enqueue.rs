//! Hands jobs in.

use std::collections::BTreeSet;
use std::time::SystemTime;

use wavequill_database::adapters::diesel_async_0_9::diesel::prelude::*;
use wavequill_database::adapters::diesel_async_0_9::diesel::result::Error;
use wavequill_database::adapters::diesel_async_0_9::diesel::sql_types::{BigInt, Text};
use wavequill_database::adapters::diesel_async_0_9::diesel::{SqliteConnection, sql_query};

use super::rows::{Number, load_one, store, store_one, to_hex};
use super::{flows, limits};
use crate::adapters::flows::CheckedFlow;
use crate::adapters::rules::{self, Checked};
use crate::model::order::to_micros;
use crate::{Enqueued, EnqueuedFlow, FlowId, Job, JobId, Policies, UniqueFor, WorkerType};

pub(super) fn enqueue(
    conn: &mut SqliteConnection,
    jobs: Vec<Checked>,
    now: SystemTime,
    policies: &Policies,
) -> Result<Vec<Enqueued>, Error> {
    let first = next_job(conn, 0)?;
    let mut batch = Batch { last: first, plain: Vec::new(), now, policies };
    let mut answers = Vec::with_capacity(jobs.len());
    share_routes(conn, jobs.iter())?;
    for checked in jobs {
        answers.push(match checked.job.unique_key() {
            Some(key) => batch.unique(conn, checked, &to_hex(&key))?,
            None => batch.plain(checked),
        });
    }
    store(conn, &batch.plain)?;
    if batch.last > first {
        next_job(conn, batch.last - first)?;
    }
    Ok(answers)
}

/// Hands in a flow.
pub(super) fn enqueue_flow(
    conn: &mut SqliteConnection,
    flow: CheckedFlow,
    now: SystemTime,
    policies: &Policies,
) -> Result<EnqueuedFlow, Error> {
    share_routes(conn, flow.jobs())?;
    let (jobs, joints, on_failure) = (flow.jobs().count() as i64, flow.joints() as i64, flow.on_failure);
    let last_job = next_job(conn, jobs)?;
    let drawn = sql_query("UPDATE queue_sequence SET flow = flow + ?1 RETURNING flow AS number");
    let last_flow: Number = drawn.bind::<BigInt, _>(joints).get_result(conn)?;
    let flows = (last_flow.number - joints + 1..=last_flow.number).map(FlowId::new).collect();
    let ids = (last_job - jobs + 1..=last_job).map(JobId::new);
    let accepted = flow.accept(ids, flows, now, policies);
    flows::insert(conn, &accepted.flows, on_failure)?;
    store(conn, &accepted.jobs)?;
    Ok(accepted.answer)
}

/// The routes of jobs that tenants or limits share are shared from now on.
fn share_routes<'a>(
    conn: &mut SqliteConnection,
    jobs: impl Iterator<Item = &'a Checked>,
) -> Result<(), Error> {
    let shared = jobs.filter(|checked| checked.is_shared());
    let fair: BTreeSet<&WorkerType> = shared.map(|checked| &checked.worker_type).collect();
    for worker_type in fair {
        sql_query(
            "INSERT INTO queue_route (worker_type, fair) VALUES (?1, 1) \
             ON CONFLICT (worker_type) DO UPDATE SET fair = 1 WHERE fair = 0",
        )
        .bind::<Text, _>(worker_type.as_str())
        .execute(conn)?;
    }
    Ok(())
}

/// Moves the sequence of ids on by so many, and answers the last one given out.
fn next_job(conn: &mut SqliteConnection, count: i64) -> Result<i64, Error> {
    if count == 0 {
        let row: Number = sql_query("SELECT job AS number FROM queue_sequence").get_result(conn)?;
        return Ok(row.number);
    }
    let query = sql_query("UPDATE queue_sequence SET job = job + ?1 RETURNING job AS number");
    let row: Number = query.bind::<BigInt, _>(count).get_result(conn)?;
    Ok(row.number)
}

struct Batch<'a> {
    last: i64,
    plain: Vec<Job>,
    now: SystemTime,
    policies: &'a Policies,
}

impl Batch<'_> {
    fn accept(&mut self, checked: Checked) -> Job {
        self.last += 1;
        checked.accept(JobId::new(self.last), self.now, self.policies)
    }

    fn plain(&mut self, checked: Checked) -> Enqueued {
        let job = self.accept(checked);
        let id = job.id;
        self.plain.push(job);
        Enqueued::Created(id)
    }

    fn unique(
        &mut self,
        conn: &mut SqliteConnection,
        checked: Checked,
        key: &str,
    ) -> Result<Enqueued, Error> {
        if let Some(live) = live_with(conn, key)? {
            if let Some(mut job) = load_one(conn, live)? {
                let before = job.clone();
                if rules::merge(&mut job, checked, self.now, self.policies) {
                    store_one(conn, &job)?;
                    limits::left(conn, &before, &job)?;
                }
            }
            return Ok(Enqueued::Existing(live));
        }
        let held: Option<Number> =
            sql_query("SELECT job AS number FROM queue_unique WHERE key = ?1 AND until > ?2")
                .bind::<Text, _>(key)
                .bind::<BigInt, _>(to_micros(self.now))
                .get_result(conn)
                .optional()?;
        if let Some(held) = held {
            return Ok(Enqueued::Existing(JobId::new(held.number)));
        }
        let window = match checked.job.unique.as_ref().map(crate::Uniqueness::lives) {
            Some(UniqueFor::Window(ttl)) => Some(ttl.expires_at(self.now)),
            Some(UniqueFor::WhileLive) | None => None,
        };
        let job = self.accept(checked);
        store_one(conn, &job)?;
        if let Some(until) = window {
            sql_query("INSERT OR REPLACE INTO queue_unique (key, until, job) VALUES (?1, ?2, ?3)")
                .bind::<Text, _>(key)
                .bind::<BigInt, _>(to_micros(until))
                .bind::<BigInt, _>(job.id.get())
                .execute(conn)?;
        }
        Ok(Enqueued::Created(job.id))
    }
}

/// The live job of a unique key.
pub(super) fn live_with(conn: &mut SqliteConnection, key: &str) -> Result<Option<JobId>, Error> {
    let row: Option<Number> = sql_query(
        "SELECT id AS number FROM queue_job INDEXED BY queue_job_unique \
         WHERE unique_key = ?1 AND unique_key IS NOT NULL AND finished_at IS NULL",
    )
    .bind::<Text, _>(key)
    .get_result(conn)
    .optional()?;
    Ok(row.map(|row| JobId::new(row.number)))
}
