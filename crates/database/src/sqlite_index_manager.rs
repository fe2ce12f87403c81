//! The index manager for SQLite.
//!
//! A proposal is tried on a copy of the schema in memory, with statistics from a sample of the real rows: SQLite's own
//! planner says whether it would use the index. Since it tells no costs, what an index saves is estimated from the rows
//! that the plans read. Then the statement is run on a private copy of the data, with the index and without: what does
//! not keep half of its promise is not proposed. A database beyond 128 MiB is not copied; the proposal says so.
//!
//! An index is built in a turn of the writer: writes wait meanwhile, so tables beyond a size are refused.

mod search;

use async_trait::async_trait;
use serde_json::Value;

use crate::adapters::sqlite::catalogue;
use crate::engine::index_audit::{Counted, Words, audit};
use crate::engine::pool_core::system_now;
use crate::{
    AppliedChange, ApplyReport, ApprovedPlan, ChangeKind, DatabaseError, IndexBudget, IndexFinding,
    IndexManager, IndexPlan, RecoveryReport, SqlitePool, TableScope, Verdict, VerdictOutcome, Workload,
};

/// Looks after the indexes of an SQLite database.
///
/// ```
/// use wavequill_database::{IndexManager, SqliteIndexManager, SqlitePool, TableScope};
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let manager = SqliteIndexManager::new(SqlitePool::open_in_memory().await?);
/// assert!(manager.audit(&TableScope::All).await?.is_empty());
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct SqliteIndexManager {
    pool: SqlitePool,
}

const WORDS: Words = Words { drop: "DROP INDEX", rebuild: "REINDEX" };
/// Building an index of more rows keeps the writer for too long.
const MOST_ROWS: f64 = 5_000_000.0;
const CALLS_TO_VERIFY: u64 = 100;

const LOG: &str = "CREATE TABLE IF NOT EXISTS wavequill_index_change (
    index_name TEXT PRIMARY KEY NOT NULL,
    state TEXT NOT NULL
) WITHOUT ROWID, STRICT";

impl SqliteIndexManager {
    /// Looks after the database of the pool.
    pub fn new(pool: SqlitePool) -> Self {
        Self { pool }
    }

    /// The change and its note are one transaction: after a crash both are there, or neither.
    async fn run(&self, sql: &str, index: &str, state: &str) -> Result<(), DatabaseError> {
        let index = index.replace('\'', "''");
        self.pool
            .change(format!(
                "{LOG}; {sql}; INSERT INTO wavequill_index_change VALUES ('{index}', '{state}')
                 ON CONFLICT (index_name) DO UPDATE SET state = excluded.state"
            ))
            .await
    }

    fn judge(change: &crate::IndexChange, since: &Workload) -> Verdict {
        let (mut before, mut after, mut calls) = (0.0, 0.0, 0);
        for (fingerprint, mean) in &change.queries {
            if let Some(query) = since.queries.iter().find(|query| query.fingerprint == *fingerprint) {
                before += mean.as_secs_f64() * query.calls as f64;
                after += query.total.as_secs_f64();
                calls += query.calls;
            }
        }
        let saved = 1.0 - after / before.max(f64::MIN_POSITIVE);
        let (outcome, evidence) = if change.kind == ChangeKind::Drop || calls < CALLS_TO_VERIFY {
            let evidence = format!("its statements were called {calls} times, {CALLS_TO_VERIFY} are needed");
            (VerdictOutcome::TooEarly, evidence)
        } else {
            let kept = saved >= (change.saving / 2.0).min(0.5);
            let outcome = if kept { VerdictOutcome::Kept } else { VerdictOutcome::RolledBack };
            (outcome, format!("{calls} calls took {after:.3} s, and would have taken {before:.3} s"))
        };
        Verdict { index: change.index.clone(), outcome, evidence }
    }
}

#[async_trait]
impl IndexManager for SqliteIndexManager {
    async fn audit(&self, scope: &TableScope) -> Result<Vec<IndexFinding>, DatabaseError> {
        // SQLite does not count how often an index is used.
        Ok(audit(&catalogue(&self.pool).await?, scope, &Counted::TooShort, &WORDS))
    }

    async fn propose(&self, workload: &Workload, budget: &IndexBudget) -> Result<IndexPlan, DatabaseError> {
        search::propose(&self.pool, workload, budget).await
    }

    async fn apply(&self, plan: &ApprovedPlan) -> Result<ApplyReport, DatabaseError> {
        let now = catalogue(&self.pool).await?;
        if now.fingerprint() != plan.indexes() {
            return Err(DatabaseError::StalePlan);
        }
        for change in plan.changes() {
            let rows = now.tables.get(&change.table).map_or(0.0, |table| table.rows);
            if rows > MOST_ROWS {
                let reason =
                    format!("{} has {rows:.0} rows, and writes would wait for the build", change.table);
                return Err(DatabaseError::NotSafe { reason });
            }
        }
        let mut report = ApplyReport::default();
        for change in plan.changes() {
            if report.failed.is_some() {
                report.skipped.push(change.clone());
                continue;
            }
            let begun = system_now();
            match self.run(&change.sql, &change.index, "done").await {
                Ok(()) => {
                    let took = system_now().saturating_sub(begun);
                    report.applied.push(AppliedChange { change: change.clone(), took });
                }
                Err(error) => report.failed = Some((change.clone(), error.to_string())),
            }
        }
        Ok(report)
    }

    async fn verify(&self, applied: &ApplyReport, since: &Workload) -> Result<Vec<Verdict>, DatabaseError> {
        let mut verdicts = Vec::new();
        for AppliedChange { change, .. } in &applied.applied {
            let mut verdict = Self::judge(change, since);
            if verdict.outcome == VerdictOutcome::RolledBack {
                self.run(&change.undo, &change.index, "rolled_back").await?;
                verdict.evidence.push_str("; it was taken back");
            }
            verdicts.push(verdict);
        }
        Ok(verdicts)
    }

    async fn recover(&self) -> Result<RecoveryReport, DatabaseError> {
        // A build is a transaction: SQLite itself leaves nothing half done.
        Ok(RecoveryReport::default())
    }
}

/// Whether a table is there.
async fn has_table(pool: &SqlitePool, name: &str) -> Result<bool, DatabaseError> {
    let count =
        format!("SELECT count(*) AS json FROM sqlite_schema WHERE type = 'table' AND name = '{name}'");
    Ok(pool.json(count).await?.first().and_then(Value::as_u64) == Some(1))
}
