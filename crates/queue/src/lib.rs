#![doc = include_str!("../README.md")]

pub mod adapters;
mod aging_priority_manager;
mod backoff_retry_handler;
mod config;
mod error;
mod handler;
mod job_dispatcher;
mod job_queue;
mod least_loaded_job_dispatcher;
mod metrics;
mod model;
mod ports;
mod priority_manager;
mod retry_handler;
#[cfg(feature = "testing")]
pub mod testing;
mod wake_ups;
mod worker;

pub use aging_priority_manager::{AgingConfig, AgingPriorityManager};
pub use backoff_retry_handler::{BackoffRetryHandler, RetryConfig};
pub use config::{Policies, Selection, StoreConfig, WorkerConfig};
pub use error::QueueError;
pub use handler::{Handlers, JobContext, JobFailure, JobHandler, StopReason};
pub use job_dispatcher::{Dispatch, JobDispatcher, PlacedJob, Unplaced, UnplacedJob};
pub use job_queue::JobQueue;
pub use least_loaded_job_dispatcher::LeastLoadedJobDispatcher;
pub use model::{
    Admission, Affected, AttemptError, Attempts, Beat, ClaimRequest, ClaimToken, Claimed, Command, Cost,
    DeadCause, Ended, Enqueued, EnqueuedFlow, FailureCause, FlowId, FreeSlots, Job, JobEnd, JobId, JobPage,
    JobQuery, JobState, JobType, Json, KindStats, LaneId, Lease, LeasedJob, Limit, LimitKey, LimitState,
    MaxPerWorker, NewFlow, NewJob, OnDuplicate, OnFailure, Placement, Priority, Progress, QueueStats, Rate,
    Routing, SessionId, Settled, Settlement, SkipReason, Skipped, SortKey, Spent, SweepBudget, SweepReport,
    SweptJob, Tenant, UniqueFor, Uniqueness, WorkerId, WorkerRegistration, WorkerSession, WorkerType,
    WorkerView,
};
pub use ports::{JobStore, StoreTiming};
pub use priority_manager::{ClaimChoice, ClaimRound, Deferral, JobTurn, Lane, LaneJob, PriorityManager};
pub use retry_handler::{Failure, RetryBudget, RetryDecision, RetryHandler};
pub use wake_ups::WakeUps;
pub use worker::{ShutdownReport, Worker};
