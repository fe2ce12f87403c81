//! Hands jobs in.

use std::time::SystemTime;

use wavequill_database::adapters::diesel_async_0_9::diesel::prelude::*;
use wavequill_database::adapters::diesel_async_0_9::diesel::result::Error;
use wavequill_database::adapters::diesel_async_0_9::diesel::sql_types::{BigInt, Text};
use wavequill_database::adapters::diesel_async_0_9::diesel::{SqliteConnection, sql_query};

use super::limits;
use super::rows::{Number, load_one, store, store_one, to_hex};
use crate::adapters::rules::{self, Checked};
use crate::model::order::to_micros;
use crate::{Enqueued, Job, JobId, Policies, UniqueFor, WorkerType};

pub(super) fn enqueue(
    conn: &mut SqliteConnection,
    jobs: Vec<Checked>,
    now: SystemTime,
    policies: &Policies,
) -> Result<Vec<Enqueued>, Error> {
    let first = next_job(conn, 0)?;
    let mut batch = Batch { last: first, plain: Vec::new(), now, policies };
    let mut answers = Vec::with_capacity(jobs.len());
    let mut fair: Vec<WorkerType> = Vec::new();
    for checked in jobs {
        let shared = checked.job.tenant.is_some() || checked.job.limit_key.is_some();
        if shared && !fair.contains(&checked.worker_type) {
            fair.push(checked.worker_type.clone());
        }
        answers.push(match checked.job.unique_key() {
            Some(key) => batch.unique(conn, checked, &to_hex(&key))?,
            None => batch.plain(checked),
        });
    }
    store(conn, &batch.plain)?;
    if batch.last > first {
        next_job(conn, batch.last - first)?;
    }
    for worker_type in fair {
        sql_query(
            "INSERT INTO queue_route (worker_type, fair) VALUES (?1, 1) \
             ON CONFLICT (worker_type) DO UPDATE SET fair = 1 WHERE fair = 0",
        )
        .bind::<Text, _>(worker_type.as_str())
        .execute(conn)?;
    }
    Ok(answers)
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
