//! Jobs that wait for other jobs: stages, each of which begins when the one before it is done.

use wavequill_kernel::InvalidValue;

use super::{FlowId, JobId, NewJob};

/// Stages of jobs. Every job of a stage waits until all of the stage before it have completed, and reads their results by
/// [`Job::waits_for`](crate::Job::waits_for): a long file fans out to chunks, is joined, and is then summarised.
///
/// ```
/// use wavequill_queue::{JobType, NewFlow, NewJob};
///
/// let chunks = (0..40).map(|chunk| NewJob::new(JobType::TRANSCRIPTION, &chunk)).collect::<Result<_, _>>()?;
/// let flow = NewFlow::of(chunks)
///     .then(vec![NewJob::new(JobType::new("join")?, "talk.flac")?])
///     .then(vec![NewJob::new(JobType::SUMMARIZATION, "talk.flac")?]);
/// # Ok::<(), wavequill_kernel::InvalidValue>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct NewFlow {
    pub(crate) stages: Vec<Vec<NewJob>>,
    pub(crate) on_failure: OnFailure,
}

impl NewFlow {
    /// The first stage: these wait for nothing.
    pub fn of(jobs: Vec<NewJob>) -> Self {
        Self { stages: vec![jobs], on_failure: OnFailure::default() }
    }

    /// The next stage: these wait for all of the stage before.
    #[must_use]
    pub fn then(mut self, jobs: Vec<NewJob>) -> Self {
        self.stages.push(jobs);
        self
    }

    /// Sets what becomes of the next stage if a job of this flow is given up.
    #[must_use]
    pub fn on_failure(mut self, on_failure: OnFailure) -> Self {
        self.on_failure = on_failure;
        self
    }

    /// Checks what its jobs cannot: their own fields are checked with the batch.
    ///
    /// # Errors
    /// [`InvalidValue`] if a stage is empty, or a job is to be unique: a job that is there already waits for nothing.
    pub fn check(&self) -> Result<(), InvalidValue> {
        if let Some(stage) = self.stages.iter().position(Vec::is_empty) {
            return Err(InvalidValue::new("stages", format!("empty at {stage}"), "at least one job a stage"));
        }
        if self.stages.iter().flatten().any(|job| job.unique.is_some()) {
            return Err(InvalidValue::new(
                "unique",
                "set in a flow",
                "none: make what hands in the flow unique",
            ));
        }
        Ok(())
    }
}

/// What becomes of those who wait for a job that is given up (dead or quarantined).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum OnFailure {
    /// They wait on: replayed and completed, the job lets them run. They are cancelled if it is cancelled, or pruned
    /// after its retention.
    #[default]
    Hold,
    /// They are cancelled, and those who wait for them. Jobs of the same stage go on.
    CancelNext,
    /// They run once all have ended, however that was, also if it was by cancelling.
    RunNext,
}

impl OnFailure {
    /// The number that stores keep.
    pub const fn code(self) -> i64 {
        match self {
            Self::Hold => 0,
            Self::CancelNext => 1,
            Self::RunNext => 2,
        }
    }

    /// The meaning of a [`code`](Self::code).
    pub const fn from_code(code: i64) -> Option<Self> {
        match code {
            0 => Some(Self::Hold),
            1 => Some(Self::CancelNext),
            2 => Some(Self::RunNext),
            _ => None,
        }
    }
}

/// A flow that was handed in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EnqueuedFlow {
    /// Its jobs, stage by stage, in the order in which they were given.
    pub stages: Vec<Vec<JobId>>,
    /// What the jobs of the second stage and of each later one wait for.
    pub flows: Vec<FlowId>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{JobType, Uniqueness};

    #[test]
    fn an_empty_stage_and_a_unique_job_are_refused() {
        let job = || NewJob::new(JobType::INDEXING, "x").unwrap();
        assert!(NewFlow::of(vec![job()]).then(vec![job()]).check().is_ok());
        assert_eq!(NewFlow::of(vec![job()]).then(vec![]).check().unwrap_err().name(), "stages");
        let unique = job().with_unique(Uniqueness::while_live());
        assert_eq!(NewFlow::of(vec![unique]).check().unwrap_err().name(), "unique");
    }

    #[test]
    fn codes_read_back() {
        for on_failure in [OnFailure::Hold, OnFailure::CancelNext, OnFailure::RunNext] {
            assert_eq!(OnFailure::from_code(on_failure.code()), Some(on_failure));
        }
        assert_eq!(OnFailure::from_code(3), None);
    }
}
