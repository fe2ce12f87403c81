//! The index manager for PostgreSQL.
//!
//! Proposals are tried with HypoPG where the extension is: the planner itself says what an index would save. Where it
//! is not, they follow rules, with low confidence. Indexes are built and dropped `CONCURRENTLY`.
//!
//! What writes lose to an index is estimated from the rows that were written, at a fixed time for each. Today bloat is
//! not looked at, and partitioned tables get no proposals of their own.

mod changes;
mod choice;
mod search;
mod writes;

use std::time::Duration;

use async_trait::async_trait;
use serde_json::Value;
use wavequill_kernel::InvalidValue;

use crate::adapters::postgres::catalogue;
use crate::engine::index_audit::{Counted, Words, audit};
use crate::{
    ApplyReport, ApprovedPlan, DatabaseError, IndexBudget, IndexFinding, IndexManager, IndexPlan,
    PostgresPool, RecoveryReport, TableScope, Verdict, Workload,
};

/// What a [`PostgresIndexManager`] goes by.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PostgresIndexManagerConfig {
    /// For how long an index must not have been used to be called unused. Default: 30 days.
    pub unused_after: Duration,
    /// How long a change waits for a lock, and others for it, before it tries again. Default: 2 s.
    pub lock_timeout: Duration,
    /// How long building one index may take. Default: 1 h.
    pub build_limit: Duration,
    /// How many calls after a change are needed to judge it. Default: 100.
    pub calls_to_verify: u64,
    /// What a row that is written costs for each index that it is in. Default: 5 µs.
    pub write_cost: Duration,
}

impl Default for PostgresIndexManagerConfig {
    fn default() -> Self {
        Self {
            unused_after: Duration::from_secs(30 * 86_400),
            lock_timeout: Duration::from_secs(2),
            build_limit: Duration::from_secs(3_600),
            calls_to_verify: 100,
            write_cost: Duration::from_micros(5),
        }
    }
}

impl PostgresIndexManagerConfig {
    /// Sets for how long an index must not have been used to be called unused.
    #[must_use]
    pub fn with_unused_after(mut self, time: Duration) -> Self {
        self.unused_after = time;
        self
    }

    /// Sets how long a change waits for a lock.
    #[must_use]
    pub fn with_lock_timeout(mut self, time: Duration) -> Self {
        self.lock_timeout = time;
        self
    }

    /// Sets what a row that is written costs for each index that it is in.
    #[must_use]
    pub fn with_write_cost(mut self, time: Duration) -> Self {
        self.write_cost = time;
        self
    }

    /// Sets how many calls after a change are needed to judge it.
    #[must_use]
    pub fn with_calls_to_verify(mut self, calls: u64) -> Self {
        self.calls_to_verify = calls;
        self
    }
}

/// Looks after the indexes of a PostgreSQL database.
///
/// ```no_run
/// use wavequill_database::{IndexBudget, IndexManager, PostgresIndexManager, PostgresPool, PostgresQueryOptimizer};
/// use wavequill_database::{QueryOptimizer, Window};
///
/// # async fn advise(pool: PostgresPool) -> Result<(), Box<dyn std::error::Error>> {
/// let workload = PostgresQueryOptimizer::new(pool.clone()).workload(&Window::All).await?;
/// let plan = PostgresIndexManager::new(pool).propose(&workload, &IndexBudget::default()).await?;
/// eprintln!("{}", plan.to_sql()); // Nothing has been done: `apply` takes what `plan.approve(…)` returns.
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct PostgresIndexManager {
    pool: PostgresPool,
    config: PostgresIndexManagerConfig,
}

/// Since when scans are counted, at the latest: the last reset, or the start of the server.
const COUNTED_DAYS: &str = "
SELECT (extract(epoch FROM now() - greatest(stats_reset, pg_postmaster_start_time())) / 86400)::text AS json
FROM pg_stat_database WHERE datname = current_database()";

const WORDS: Words = Words { drop: "DROP INDEX CONCURRENTLY", rebuild: "REINDEX INDEX CONCURRENTLY" };

impl PostgresIndexManager {
    /// Looks after the database that the pool is connected to, with the defaults.
    pub fn new(pool: PostgresPool) -> Self {
        Self { pool, config: PostgresIndexManagerConfig::default() }
    }

    /// As [`new`](Self::new), by this configuration.
    ///
    /// # Errors
    /// [`DatabaseError::InvalidConfig`] if a time-out is zero.
    pub fn with_config(
        pool: PostgresPool,
        config: PostgresIndexManagerConfig,
    ) -> Result<Self, DatabaseError> {
        for (name, time) in [("lock_timeout", config.lock_timeout), ("build_limit", config.build_limit)] {
            if time < Duration::from_millis(1) {
                return Err(InvalidValue::new(name, format!("{time:?}"), "at least 1 ms").into());
            }
        }
        Ok(Self { pool, config })
    }
}

#[async_trait]
impl IndexManager for PostgresIndexManager {
    async fn audit(&self, scope: &TableScope) -> Result<Vec<IndexFinding>, DatabaseError> {
        let mut session = self.pool.plan_session("index audit").await?;
        let catalogue = catalogue(&mut session).await?;
        let days = session.json(COUNTED_DAYS).await?.first().and_then(Value::as_f64).unwrap_or(0.0);
        session.end().await?;
        let long_enough = days * 86_400.0 >= self.config.unused_after.as_secs_f64();
        let counted = if long_enough { Counted::Days(days) } else { Counted::TooShort };
        Ok(audit(&catalogue, scope, &counted, &WORDS))
    }

    async fn propose(&self, workload: &Workload, budget: &IndexBudget) -> Result<IndexPlan, DatabaseError> {
        search::propose(&self.pool, &self.config, workload, budget).await
    }

    async fn apply(&self, plan: &ApprovedPlan) -> Result<ApplyReport, DatabaseError> {
        changes::apply(&self.pool, &self.config, plan).await
    }

    async fn verify(&self, applied: &ApplyReport, since: &Workload) -> Result<Vec<Verdict>, DatabaseError> {
        changes::verify(&self.pool, &self.config, applied, since).await
    }

    async fn recover(&self) -> Result<RecoveryReport, DatabaseError> {
        changes::recover(&self.pool, &self.config).await
    }
}
