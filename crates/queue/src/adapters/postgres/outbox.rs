//! Jobs that are handed in inside a transaction of the embedder's, by whatever driver that uses.

use std::time::SystemTime;

use serde_json::{Value, json};
use wavequill_kernel::InvalidValue;

use crate::adapters::rows::to_hex;
use crate::adapters::rules::{self, Checked};
use crate::model::order::to_micros;
use crate::{LimitKey, NewJob, OnDuplicate, Policies, QueueError, Tenant, UniqueFor, Uniqueness};

/// A statement with one parameter, of type text. Run it on any connection to the queue's database, inside a
/// transaction of your own: the jobs are there when that commits, and never were if it rolls back. Workers of all
/// processes are told at the commit.
///
/// It answers a row a job, in order: `job bigint`, and `created boolean`, false if one like it was there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EnqueueStatement {
    json: String,
}

impl EnqueueStatement {
    /// The SQL, with the parameter as `$1`.
    pub const fn text(&self) -> &'static str {
        "SELECT job, created FROM queue_enqueue($1::text::json)"
    }

    /// The parameter.
    pub fn json(&self) -> &str {
        &self.json
    }

    pub(super) fn new(jobs: Vec<NewJob>, policies: &Policies) -> Result<Self, QueueError> {
        let now = policies.clock.now();
        let checked = rules::check_batch(jobs, policies, now)?;
        for (index, checked) in checked.iter().enumerate() {
            checked
                .job
                .unique
                .as_ref()
                .map_or(Ok(()), may_stand)
                .map_err(|reason| QueueError::InvalidJob { index, reason })?;
        }
        let rows: Vec<Value> = checked.iter().map(|checked| row(checked, now, policies)).collect();
        Ok(Self { json: Value::Array(rows).to_string() })
    }
}

/// What an index can decide alone.
fn may_stand(unique: &Uniqueness) -> Result<(), InvalidValue> {
    if unique.duplicate() == OnDuplicate::Keep && unique.lives() == UniqueFor::WhileLive {
        return Ok(());
    }
    let allowed = "`while_live` that keeps the first: the rest needs a transaction of the queue's own";
    Err(InvalidValue::new("unique", format!("{unique:?}"), allowed))
}

fn row(checked: &Checked, now: SystemTime, policies: &Policies) -> Value {
    let job = &checked.job;
    json!({
        "job_type": job.job_type.as_str(),
        "worker_type": checked.worker_type.as_str(),
        "lane": crate::LaneId::of(job.tenant.as_ref()).get(),
        "priority": job.priority.get(),
        "sort_key": checked.sort_key(now, policies).as_micros(),
        "sorted_at": to_micros(now),
        "tenant": job.tenant.as_ref().map(Tenant::as_str),
        "limit_name": job.limit_key.as_ref().map(LimitKey::as_str),
        "limit_key": job.limit_key.as_ref().map(LimitKey::hash),
        "cost": job.cost.get(),
        "payload": job.payload.as_str(),
        "run_at": job.run_at.map(to_micros),
        "deadline": job.deadline.map(to_micros),
        "max_attempts": job.max_attempts,
        "timeout_us": job.timeout.map(|timeout| i64::try_from(timeout.as_micros()).unwrap_or(i64::MAX)),
        "unique_key": job.unique_key().as_ref().map(to_hex),
    })
}
