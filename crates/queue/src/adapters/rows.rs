//! Jobs as rows, both ways: alike in all databases.

use std::time::Duration;

use serde_json::{Value, json};
use wavequill_database::adapters::diesel_async_0_9::diesel;
use wavequill_database::adapters::diesel_async_0_9::diesel::prelude::*;
use wavequill_database::adapters::diesel_async_0_9::diesel::result::Error;
use wavequill_database::adapters::diesel_async_0_9::diesel::sql_types::{BigInt, Double, Nullable, Text};

use crate::model::order::{from_micros, to_micros};
use crate::{
    AttemptError, Attempts, ClaimToken, Cost, FlowId, Job, JobId, JobState, JobType, Json, Lease, Limit,
    LimitKey, LimitState, Priority, Rate, SessionId, SortKey, Tenant, WorkerType,
};

/// The columns of `queue_job`, in the order of [`to_values`].
pub(super) const COLUMNS: [&str; 31] = [
    "id",
    "job_type",
    "worker_type",
    "lane",
    "state",
    "priority",
    "sort_key",
    "tenant",
    "limit_name",
    "limit_key",
    "cost",
    "payload",
    "run_at",
    "due_at",
    "created_at",
    "claimed_at",
    "deadline",
    "cancel_at",
    "finished_at",
    "failures",
    "crashes",
    "snoozes",
    "max_attempts",
    "timeout_us",
    "errors",
    "session",
    "claim_token",
    "progress",
    "unique_key",
    "flow",
    "waits_for",
];

/// A row of `queue_job`, with its result where the query joins one.
#[derive(Debug, QueryableByName)]
pub(super) struct JobRow {
    #[diesel(sql_type = BigInt)]
    pub(super) id: i64,
    #[diesel(sql_type = Text)]
    job_type: String,
    #[diesel(sql_type = Text)]
    worker_type: String,
    #[diesel(sql_type = BigInt)]
    pub(super) state: i64,
    #[diesel(sql_type = BigInt)]
    priority: i64,
    #[diesel(sql_type = BigInt)]
    sort_key: i64,
    #[diesel(sql_type = Nullable<Text>)]
    tenant: Option<String>,
    #[diesel(sql_type = Nullable<Text>)]
    limit_name: Option<String>,
    #[diesel(sql_type = Double)]
    cost: f64,
    #[diesel(sql_type = Text)]
    payload: String,
    #[diesel(sql_type = BigInt)]
    pub(super) run_at: i64,
    #[diesel(sql_type = BigInt)]
    due_at: i64,
    #[diesel(sql_type = BigInt)]
    created_at: i64,
    #[diesel(sql_type = Nullable<BigInt>)]
    claimed_at: Option<i64>,
    #[diesel(sql_type = Nullable<BigInt>)]
    deadline: Option<i64>,
    #[diesel(sql_type = Nullable<BigInt>)]
    cancel_at: Option<i64>,
    #[diesel(sql_type = Nullable<BigInt>)]
    finished_at: Option<i64>,
    #[diesel(sql_type = BigInt)]
    failures: i64,
    #[diesel(sql_type = BigInt)]
    crashes: i64,
    #[diesel(sql_type = BigInt)]
    snoozes: i64,
    #[diesel(sql_type = Nullable<BigInt>)]
    max_attempts: Option<i64>,
    #[diesel(sql_type = Nullable<BigInt>)]
    timeout_us: Option<i64>,
    #[diesel(sql_type = Nullable<Text>)]
    errors: Option<String>,
    #[diesel(sql_type = Nullable<BigInt>)]
    session: Option<i64>,
    #[diesel(sql_type = Nullable<BigInt>)]
    claim_token: Option<i64>,
    #[diesel(sql_type = Nullable<Text>)]
    progress: Option<String>,
    #[diesel(sql_type = Nullable<Text>)]
    unique_key: Option<String>,
    #[diesel(sql_type = Nullable<BigInt>)]
    flow: Option<i64>,
    #[diesel(sql_type = Nullable<BigInt>)]
    waits_for: Option<i64>,
    #[diesel(sql_type = Nullable<Text>)]
    result: Option<String>,
}

impl TryFrom<JobRow> for Job {
    type Error = Error;

    fn try_from(row: JobRow) -> Result<Self, Error> {
        let id = JobId::new(row.id);
        let lease = row.session.zip(row.claim_token).map(|(session, token)| Lease {
            job: id,
            session: SessionId::new(session),
            token: ClaimToken::new(token),
        });
        let state = i16::try_from(row.state).ok().and_then(JobState::from_code);
        let errors: Option<Vec<AttemptError>> =
            row.errors.map(|text| serde_json::from_str(&text)).transpose().map_err(damaged)?;
        Ok(Self {
            id,
            job_type: JobType::new(row.job_type).map_err(damaged)?,
            worker_type: WorkerType::new(row.worker_type).map_err(damaged)?,
            state: state.ok_or_else(|| damaged(format!("job {id} has the unknown state {}", row.state)))?,
            priority: Priority::new(small(row.priority)).map_err(damaged)?,
            sort_key: SortKey::from_micros(row.sort_key),
            tenant: row.tenant.map(Tenant::new).transpose().map_err(damaged)?,
            limit_key: row.limit_name.map(LimitKey::new).transpose().map_err(damaged)?,
            cost: Cost::new(row.cost as f32).map_err(damaged)?,
            payload: Json::trusted(row.payload),
            run_at: from_micros(row.run_at),
            due_at: from_micros(row.due_at),
            created_at: from_micros(row.created_at),
            claimed_at: row.claimed_at.map(from_micros),
            deadline: row.deadline.map(from_micros),
            cancel_at: row.cancel_at.map(from_micros),
            finished_at: row.finished_at.map(from_micros),
            attempts: Attempts {
                failures: small(row.failures),
                crashes: small(row.crashes),
                snoozes: small(row.snoozes),
                max_attempts: row.max_attempts.map(small),
            },
            timeout: row.timeout_us.map(|micros| Duration::from_micros(micros.unsigned_abs())),
            errors: errors.unwrap_or_default(),
            lease,
            progress: row.progress.map(Json::trusted),
            result: row.result.map(Json::trusted),
            flow: row.flow.map(FlowId::new),
            waits_for: row.waits_for.map(FlowId::new),
            unique_key: row.unique_key.as_deref().map(from_hex).transpose()?,
        })
    }
}

/// What a row holds that no version of this program wrote.
pub(super) fn damaged(what: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    Error::DeserializationError(what.into())
}

/// A count, clamped to what its type holds.
fn small<T: TryFrom<i64> + Default>(number: i64) -> T {
    T::try_from(number).unwrap_or_default()
}

pub(super) fn to_hex(key: &[u8; 32]) -> String {
    let nibble = |n: u8| char::from_digit(u32::from(n), 16).unwrap_or('0');
    key.iter().flat_map(|byte| [nibble(byte >> 4), nibble(byte & 15)]).collect()
}

fn from_hex(text: &str) -> Result<[u8; 32], Error> {
    let digits = |at: usize| u8::from_str_radix(text.get(2 * at..2 * at + 2)?, 16).ok();
    let mut key = [0; 32];
    for (at, byte) in key.iter_mut().enumerate() {
        *byte = digits(at).ok_or_else(|| damaged("a unique key is no 64 hex digits"))?;
    }
    Ok(key)
}

pub(super) fn to_values(job: &Job) -> Result<Value, Error> {
    let micros = |at: Option<_>| at.map(to_micros);
    let errors = if job.errors.is_empty() {
        None
    } else {
        Some(serde_json::to_string(&job.errors).map_err(|error| Error::SerializationError(error.into()))?)
    };
    Ok(json!([
        job.id.get(),
        job.job_type.as_str(),
        job.worker_type.as_str(),
        job.lane().get(),
        job.state.code(),
        job.priority.get(),
        job.sort_key.as_micros(),
        job.tenant.as_ref().map(Tenant::as_str),
        job.limit_key.as_ref().map(LimitKey::as_str),
        job.limit_key.as_ref().map(LimitKey::hash),
        f64::from(job.cost.get()),
        job.payload.as_str(),
        to_micros(job.run_at),
        to_micros(job.due_at),
        to_micros(job.created_at),
        micros(job.claimed_at),
        micros(job.deadline),
        micros(job.cancel_at),
        micros(job.finished_at),
        job.attempts.failures,
        job.attempts.crashes,
        job.attempts.snoozes,
        job.attempts.max_attempts,
        job.timeout.map(|timeout| i64::try_from(timeout.as_micros()).unwrap_or(i64::MAX)),
        errors,
        job.lease.map(|lease| lease.session.get()),
        job.lease.map(|lease| lease.token.get()),
        job.progress.as_ref().map(Json::as_str),
        job.unique_key.as_ref().map(to_hex),
        job.flow.map(FlowId::get),
        job.waits_for.map(FlowId::get),
    ]))
}

/// A single number.
#[derive(QueryableByName)]
pub(super) struct Number {
    #[diesel(sql_type = BigInt)]
    pub(super) number: i64,
}

/// The ids that a query names `number`.
pub(super) fn ids(rows: Vec<Number>) -> Vec<JobId> {
    rows.into_iter().map(|row| JobId::new(row.number)).collect()
}

/// A row of `queue_limit`.
#[derive(QueryableByName)]
pub(super) struct LimitRow {
    #[diesel(sql_type = BigInt)]
    pub(super) key: i64,
    #[diesel(sql_type = Nullable<BigInt>)]
    max_running: Option<i64>,
    #[diesel(sql_type = Nullable<BigInt>)]
    step_us: Option<i64>,
    #[diesel(sql_type = Nullable<BigInt>)]
    burst: Option<i64>,
    #[diesel(sql_type = BigInt)]
    running: i64,
    #[diesel(sql_type = BigInt)]
    tat: i64,
}

impl LimitRow {
    pub(super) fn state(&self) -> LimitState {
        let count = |number: i64| u32::try_from(number).unwrap_or(0);
        let rate = self.step_us.zip(self.burst).and_then(|(step, burst)| {
            Rate::new(1, Duration::from_micros(step.unsigned_abs()), count(burst)).ok()
        });
        let limit = Limit { max_running: self.max_running.map(count), rate };
        LimitState { limit, running: count(self.running), tat_micros: self.tat }
    }
}
