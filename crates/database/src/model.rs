//! The values of this context: each is checked once, where it enters.

mod index;
mod latencies;
mod plan;
mod pool;
mod query;

pub use index::{
    AppliedChange, ApplyReport, ApprovedPlan, ChangeId, ChangeKind, DatabaseErrorText, IndexBudget,
    IndexChange, IndexFinding, IndexPlan, IndexProblem, RecoveryReport, TableScope, Verdict, VerdictOutcome,
};
pub use latencies::Latencies;
pub use plan::{
    Confidence, Finding, PlanNode, QueryPlan, QueryReport, Regression, Rule, Severity, TableFacts,
    TableStatistics,
};
pub use pool::{
    CloseReport, Durability, HealthVerdict, Holder, LeasePriority, PoolHealth, PoolLimits, PoolSize,
    PoolStats, ScaleOutcome, ScaleReason, Utilization,
};
pub use query::{Fingerprint, ObservedQuery, TableWrites, Window, Workload, WorkloadSource};
