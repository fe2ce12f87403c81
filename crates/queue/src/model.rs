//! The values of the queue: parsed once at the border, then trusted.

mod admin;
mod claim;
mod flow;
mod ids;
mod job;
mod json;
mod limit;
mod names;
mod new_job;
pub(crate) mod order;
mod settlement;

pub use admin::{
    Affected, Command, JobPage, JobQuery, KindStats, QueueStats, SkipReason, Skipped, SweepBudget,
    SweepReport, SweptJob,
};
pub use claim::{
    Beat, ClaimRequest, Claimed, FreeSlots, Lease, LeasedJob, Placement, Progress, WorkerRegistration,
    WorkerSession, WorkerView,
};
pub use flow::{EnqueuedFlow, NewFlow, OnFailure};
pub use ids::{ClaimToken, FlowId, JobId, SessionId};
pub use job::{Attempts, Job, JobState};
pub use json::Json;
pub use limit::{Admission, Limit, LimitState, Rate};
pub use names::{JobType, LaneId, LimitKey, Routing, Tenant, WorkerId, WorkerType};
pub use new_job::{Enqueued, NewJob, OnDuplicate, UniqueFor, Uniqueness};
pub use order::{Cost, MaxPerWorker, Priority, SortKey};
pub use settlement::{AttemptError, DeadCause, Ended, FailureCause, JobEnd, Settled, Settlement, Spent};
