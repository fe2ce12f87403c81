#![doc = include_str!("../README.md")]

pub mod adapters;
mod aging_priority_manager;
mod backoff_retry_handler;
mod config;
mod error;
mod job_dispatcher;
mod least_loaded_job_dispatcher;
mod model;
mod ports;
mod priority_manager;
mod retry_handler;
mod wake_ups;

pub use aging_priority_manager::{AgingConfig, AgingPriorityManager};
pub use backoff_retry_handler::{BackoffRetryHandler, RetryConfig};
pub use config::{Policies, Selection, StoreConfig, WorkerConfig};
pub use error::QueueError;
pub use job_dispatcher::{Dispatch, JobDispatcher, PlacedJob, Unplaced, UnplacedJob};
pub use least_loaded_job_dispatcher::LeastLoadedJobDispatcher;
pub use model::{
    Admission, Affected, AttemptError, Attempts, Beat, ClaimRequest, ClaimToken, Claimed, Command, Cost,
    DeadCause, Ended, Enqueued, FailureCause, FreeSlots, Job, JobEnd, JobId, JobPage, JobQuery, JobState,
    JobType, Json, KindStats, LaneId, Lease, LeasedJob, Limit, LimitKey, LimitState, MaxPerWorker, NewJob,
    OnDuplicate, Placement, Priority, Progress, QueueStats, Rate, Routing, SessionId, Settled, Settlement,
    SkipReason, Skipped, SortKey, Spent, SweepBudget, SweepReport, SweptJob, Tenant, UniqueFor, Uniqueness,
    WorkerId, WorkerRegistration, WorkerSession, WorkerType, WorkerView,
};
pub use ports::{JobStore, StoreTiming};
pub use priority_manager::{ClaimChoice, ClaimRound, Deferral, JobTurn, Lane, LaneJob, PriorityManager};
pub use retry_handler::{Failure, RetryBudget, RetryDecision, RetryHandler};
pub use wake_ups::WakeUps;
