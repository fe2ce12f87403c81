//! Workers, their sessions, and what they hold.

use std::time::Duration;

use wavequill_kernel::InvalidValue;

use super::{ClaimToken, Job, JobId, Json, SessionId, WorkerId, WorkerType};

/// What a worker says about itself when it starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkerRegistration {
    worker: WorkerId,
    types: Vec<WorkerType>,
    capacity: u32,
}

impl WorkerRegistration {
    /// A worker of these types that runs at most `capacity` jobs at once.
    ///
    /// # Errors
    /// [`InvalidValue`] if there is no type, or `capacity` is 0 or above 100,000.
    pub fn new(
        worker: WorkerId,
        types: impl IntoIterator<Item = WorkerType>,
        capacity: u32,
    ) -> Result<Self, InvalidValue> {
        let mut types: Vec<_> = types.into_iter().collect();
        types.sort();
        types.dedup();
        if types.is_empty() {
            return Err(InvalidValue::new("types", "empty", "at least one worker type"));
        }
        if !(1..=100_000).contains(&capacity) {
            return Err(InvalidValue::new("capacity", capacity, "1 to 100000"));
        }
        Ok(Self { worker, types, capacity })
    }

    /// Its label.
    pub fn worker(&self) -> &WorkerId {
        &self.worker
    }

    /// What it can do: sorted, no doubles.
    pub fn types(&self) -> &[WorkerType] {
        &self.types
    }

    /// How many jobs it runs at once.
    pub fn capacity(&self) -> u32 {
        self.capacity
    }
}

/// A worker that is registered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkerSession {
    /// This life of it.
    pub session: SessionId,
    /// What it said about itself.
    pub registration: WorkerRegistration,
}

/// A live worker as others see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkerView {
    /// This life of it.
    pub session: SessionId,
    /// What it said about itself.
    pub registration: WorkerRegistration,
    /// How many jobs it holds, running or placed.
    pub held: u32,
}

/// How many more jobs a worker can start now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FreeSlots(pub u32);

/// The right to end a job: held by one worker at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Lease {
    /// The job.
    pub job: JobId,
    /// Whose it is.
    pub session: SessionId,
    /// The claim it came from.
    pub token: ClaimToken,
}

/// A claimed job.
#[derive(Clone, Debug, PartialEq)]
pub struct LeasedJob {
    /// The job, as it was when claimed.
    pub job: Job,
    /// The right to end it.
    pub lease: Lease,
}

/// Who asks for how many jobs of which types.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimRequest {
    /// Who.
    pub session: SessionId,
    /// At most so many.
    pub free: FreeSlots,
    /// Only these jobs; `None`: any of the session's types.
    pub only: Option<Vec<JobId>>,
}

/// What a claim brought.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Claimed {
    /// The jobs, in their order.
    pub jobs: Vec<LeasedJob>,
    /// How long until the next scheduled job of these types falls due, if the claim found too few.
    pub next_due: Option<Duration>,
}

/// A job that is to be given to a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placement {
    /// The job.
    pub job: JobId,
    /// To whom.
    pub session: SessionId,
}

/// What a handler reports while it runs: the latest is kept with the job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Of which lease; of a stale one nothing is kept.
    pub lease: Lease,
    /// What: at most [`Progress::MAX_BYTES`].
    pub body: Json,
}

impl Progress {
    /// The most bytes of JSON a report may have: 4 KiB.
    pub const MAX_BYTES: usize = 4096;
}

/// The answer to a heartbeat.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Beat {
    /// The session lives.
    Alive {
        /// Jobs of it that somebody asked to cancel.
        cancel: Vec<JobId>,
    },
    /// The session was declared dead: everything it holds belongs to others.
    Fenced,
}
