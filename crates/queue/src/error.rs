//! What can go wrong in the queue. How a *job* failed is not here: that is [`JobFailure`](crate::JobFailure).

use std::sync::Arc;

use wavequill_kernel::{ErrorClass, InvalidValue, Retryable};

use crate::{JobId, JobType, SessionId};

/// Why a call to the queue failed. `Ok` is never partial: what failed changed nothing.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum QueueError {
    /// A configuration holds a value that cannot work.
    #[error("invalid queue configuration")]
    InvalidConfig {
        /// Which field, what it was, what would do.
        #[source]
        reason: InvalidValue,
    },
    /// A job of a batch was refused; nothing of the batch was stored.
    #[error("job {index} of the batch was refused, and nothing of the batch was stored")]
    InvalidJob {
        /// Position in the batch, from 0.
        index: usize,
        /// Which field, what it was, what would do.
        #[source]
        reason: InvalidValue,
    },
    /// A flow was refused; nothing of it was stored.
    #[error("the flow was refused, and nothing of it was stored")]
    InvalidFlow {
        /// What it was, what would do.
        #[source]
        reason: InvalidValue,
    },
    /// The routing names no worker type for this type of job.
    #[error("no worker type takes jobs of type `{job_type}`: add it to the routing")]
    UnknownJobType {
        /// The type without a route.
        job_type: JobType,
    },
    /// No such job: it never was, or it was pruned after its retention.
    #[error("job {job} is unknown: it was never stored, or its history was pruned")]
    NoSuchJob {
        /// The job that was asked for.
        job: JobId,
    },
    /// The session was declared dead, closed, or never opened. Its jobs belong to others now: open a new one.
    #[error("session {session} has ended: open a new one")]
    Fenced {
        /// The session that may no longer claim or beat.
        session: SessionId,
    },
    /// A worker was started without a handler.
    #[error("no handler was registered: a worker needs at least one job type")]
    NoHandlers,
    /// The store did not answer, or could not write. Nothing was half done; the same call may succeed later.
    #[error("the job store could not {action}")]
    Unavailable {
        /// What was being done.
        action: &'static str,
        /// The store's own error.
        #[source]
        source: Arc<dyn std::error::Error + Send + Sync>,
    },
    /// The store refuses for a reason that waiting does not mend: no permission, a damaged or newer schema.
    #[error("the job store refused to {action}")]
    Refused {
        /// What was being done.
        action: &'static str,
        /// The store's own error.
        #[source]
        source: Arc<dyn std::error::Error + Send + Sync>,
    },
}

impl Retryable for QueueError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::InvalidConfig { .. }
            | Self::InvalidJob { .. }
            | Self::InvalidFlow { .. }
            | Self::UnknownJobType { .. }
            | Self::NoSuchJob { .. }
            | Self::Fenced { .. }
            | Self::NoHandlers
            | Self::Refused { .. } => ErrorClass::Permanent,
            Self::Unavailable { .. } => ErrorClass::Transient,
        }
    }
}

/// Wraps a refused configuration value.
pub(crate) fn invalid_config(reason: InvalidValue) -> QueueError {
    QueueError::InvalidConfig { reason }
}
