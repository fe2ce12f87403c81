//! What is handed in: a job before it has an id.

use std::time::{Duration, SystemTime};

use serde::Serialize;
use sha2::{Digest, Sha256};
use wavequill_kernel::{InvalidValue, Ttl};

use super::{Cost, JobId, JobType, Json, LimitKey, Priority, Tenant};

/// A job to be done. What is not said has a default.
///
/// ```
/// use wavequill_queue::{Cost, JobType, NewJob, Priority, Uniqueness};
///
/// let job = NewJob::new(JobType::TRANSCRIPTION, &serde_json::json!({ "file": "talk.flac" }))?
///     .with_priority(Priority::HIGH)
///     .with_cost(Cost::new(2_700.0)?)
///     .with_unique(Uniqueness::while_live());
/// # Ok::<(), wavequill_kernel::InvalidValue>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct NewJob {
    /// Decides the handler, and through the routing the worker.
    pub job_type: JobType,
    /// What the handler is given: at most [`NewJob::MAX_PAYLOAD_BYTES`].
    pub payload: Json,
    /// How urgent. Default: [`Priority::NORMAL`].
    pub priority: Priority,
    /// Not before this instant. Default: at once.
    pub run_at: Option<SystemTime>,
    /// When it should have started: from then on it goes before what is due later. A late job still runs.
    /// Default: none.
    pub deadline: Option<SystemTime>,
    /// Whose job it is. Default: nobody's.
    pub tenant: Option<Tenant>,
    /// Whose limit it counts against. Default: none.
    pub limit_key: Option<LimitKey>,
    /// How much work it is. Default: [`Cost::ONE`].
    pub cost: Cost,
    /// Whether a second one like it is refused. Default: no.
    pub unique: Option<Uniqueness>,
    /// How many failed attempts end it, at least 1. Default: the retry handler's.
    pub max_attempts: Option<u16>,
    /// How long one attempt may take, at least 1 ms. Default: the worker's.
    pub timeout: Option<Duration>,
}

impl NewJob {
    /// The most bytes of JSON a payload may have: 64 KiB. Larger things belong in a store of files, and their
    /// address in the payload.
    pub const MAX_PAYLOAD_BYTES: usize = 64 * 1024;

    /// A job of this type, with its payload written as JSON.
    ///
    /// # Errors
    /// [`InvalidValue`] if the payload cannot be JSON.
    pub fn new<T: Serialize + ?Sized>(job_type: JobType, payload: &T) -> Result<Self, InvalidValue> {
        Ok(Self::with_json(job_type, Json::of(payload)?))
    }

    /// A job of this type with a payload that is JSON already.
    pub fn with_json(job_type: JobType, payload: Json) -> Self {
        Self {
            job_type,
            payload,
            priority: Priority::default(),
            run_at: None,
            deadline: None,
            tenant: None,
            limit_key: None,
            cost: Cost::default(),
            unique: None,
            max_attempts: None,
            timeout: None,
        }
    }

    /// Sets how urgent it is.
    #[must_use]
    pub fn with_priority(mut self, priority: Priority) -> Self {
        self.priority = priority;
        self
    }

    /// Not before this instant.
    #[must_use]
    pub fn with_run_at(mut self, instant: SystemTime) -> Self {
        self.run_at = Some(instant);
        self
    }

    /// Sets when it should have started.
    #[must_use]
    pub fn with_deadline(mut self, instant: SystemTime) -> Self {
        self.deadline = Some(instant);
        self
    }

    /// Sets whose job it is.
    #[must_use]
    pub fn with_tenant(mut self, tenant: Tenant) -> Self {
        self.tenant = Some(tenant);
        self
    }

    /// Sets whose limit it counts against.
    #[must_use]
    pub fn with_limit_key(mut self, key: LimitKey) -> Self {
        self.limit_key = Some(key);
        self
    }

    /// Sets how much work it is.
    #[must_use]
    pub fn with_cost(mut self, cost: Cost) -> Self {
        self.cost = cost;
        self
    }

    /// Refuses a second one like it.
    #[must_use]
    pub fn with_unique(mut self, unique: Uniqueness) -> Self {
        self.unique = Some(unique);
        self
    }

    /// Sets how many failed attempts end it.
    #[must_use]
    pub fn with_max_attempts(mut self, attempts: u16) -> Self {
        self.max_attempts = Some(attempts);
        self
    }

    /// Sets how long one attempt may take.
    #[must_use]
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// When it falls due, if it is accepted `now`.
    pub fn due(&self, now: SystemTime) -> SystemTime {
        self.run_at.map_or(now, |at| at.max(now))
    }

    /// What makes it the same job as another: SHA-256 of its type and of its scope (the payload, if none is named).
    pub fn unique_key(&self) -> Option<[u8; 32]> {
        let unique = self.unique.as_ref()?;
        let scope = unique.scope.as_deref().unwrap_or(self.payload.as_str().as_bytes());
        let kind: &[u8] = if unique.scope.is_some() { b"scope" } else { b"payload" };
        let name = self.job_type.as_str();
        let hash = Sha256::new().chain_update(name).chain_update([0]).chain_update(kind).chain_update([0]);
        Some(hash.chain_update(scope).finalize().into())
    }

    /// Checks what single fields cannot: sizes, and instants against each other.
    ///
    /// # Errors
    /// [`InvalidValue`] naming the field.
    pub fn check(&self, now: SystemTime) -> Result<(), InvalidValue> {
        if self.payload.len() > Self::MAX_PAYLOAD_BYTES {
            let given = format!("{} bytes of JSON", self.payload.len());
            return Err(InvalidValue::new(
                "payload",
                given,
                "at most 65536 bytes: store it elsewhere, pass its address",
            ));
        }
        if self.deadline.is_some_and(|deadline| deadline < self.run_at.unwrap_or(now)) {
            return Err(InvalidValue::new(
                "deadline",
                "in the past or before `run_at`",
                "at or after `run_at`",
            ));
        }
        if self.max_attempts == Some(0) {
            return Err(InvalidValue::new("max_attempts", 0, "at least 1"));
        }
        if self.timeout.is_some_and(|timeout| timeout < Duration::from_millis(1)) {
            return Err(InvalidValue::new("timeout", "below 1 ms", "at least 1 ms"));
        }
        Ok(())
    }
}

/// When two jobs are the same job, and what happens to the second.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Uniqueness {
    scope: Option<Vec<u8>>,
    lives: UniqueFor,
    on_duplicate: OnDuplicate,
}

impl Uniqueness {
    /// No second one of the same type and payload until the first has ended.
    pub fn while_live() -> Self {
        Self { scope: None, lives: UniqueFor::WhileLive, on_duplicate: OnDuplicate::Keep }
    }

    /// No second one of the same type and payload for this long, also if the first has ended.
    pub fn within(window: Ttl) -> Self {
        Self { lives: UniqueFor::Window(window), ..Self::while_live() }
    }

    /// Compares this instead of the payload.
    #[must_use]
    pub fn by(mut self, scope: impl Into<Vec<u8>>) -> Self {
        self.scope = Some(scope.into());
        self
    }

    /// Sets what happens when there is one already.
    #[must_use]
    pub fn on_duplicate(mut self, on_duplicate: OnDuplicate) -> Self {
        self.on_duplicate = on_duplicate;
        self
    }

    /// How long the key is held.
    pub fn lives(&self) -> UniqueFor {
        self.lives
    }

    /// What happens when there is one already.
    pub fn duplicate(&self) -> OnDuplicate {
        self.on_duplicate
    }
}

/// How long a unique key is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UniqueFor {
    /// Until the job has ended, however it ends.
    WhileLive,
    /// This long after it was accepted, and until it has ended.
    Window(Ttl),
}

/// What happens to a live job when one like it is handed in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnDuplicate {
    /// It stays as it is.
    #[default]
    Keep,
    /// It stays, and whoever asked again vouches for it: its counts of failures, crashes and snoozes start anew,
    /// and if it waits for its next attempt, it is due at once. For work that a person restarts after a crash.
    Renew,
    /// If it waits (ready, scheduled or parked), it takes the new payload, priority, instants and limits and keeps
    /// its id; if it runs, it stays as it is.
    Replace,
}

/// What became of a job that was handed in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Enqueued {
    /// It is new.
    Created(JobId),
    /// One like it was there.
    Existing(JobId),
}

impl Enqueued {
    /// The job that will do the work.
    pub fn id(self) -> JobId {
        match self {
            Self::Created(id) | Self::Existing(id) => id,
        }
    }

    /// Whether it was not there before.
    pub fn is_new(self) -> bool {
        matches!(self, Self::Created(_))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job() -> NewJob {
        NewJob::new(JobType::INDEXING, "x").unwrap()
    }

    #[test]
    fn bad_fields_are_named() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000);
        let early = SystemTime::UNIX_EPOCH;
        let long = "x".repeat(NewJob::MAX_PAYLOAD_BYTES);
        let cases = [
            (NewJob::new(JobType::INDEXING, &long).unwrap(), "payload"),
            (job().with_deadline(early), "deadline"),
            (job().with_max_attempts(0), "max_attempts"),
            (job().with_timeout(Duration::ZERO), "timeout"),
        ];
        for (bad, field) in cases {
            assert_eq!(bad.check(now).unwrap_err().name(), field);
        }
        job().with_run_at(early).check(now).unwrap();
    }

    #[test]
    fn the_same_work_has_the_same_key_and_other_work_another() {
        let plain = job().with_unique(Uniqueness::while_live());
        assert_eq!(plain.unique_key(), job().with_unique(Uniqueness::while_live()).unique_key());
        let scoped = job().with_unique(Uniqueness::while_live().by(*b"\"x\""));
        assert_ne!(plain.unique_key(), scoped.unique_key());
        assert_eq!(job().unique_key(), None);
    }
}
