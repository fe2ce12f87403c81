//! Makes approved changes, looks whether they helped, and cleans up after those that did not end.
//!
//! Each change is written to the table `wavequill_index_change` before it is begun, so that whoever comes after a
//! crash knows what is ours.

use serde_json::Value;

use super::PostgresIndexManagerConfig;
use crate::adapters::postgres::{ChangeSession, catalogue, literal};
use crate::engine::catalogue::quoted;
use crate::engine::pool_core::system_now;
use crate::{
    AppliedChange, ApplyReport, ApprovedPlan, ChangeKind, DatabaseError, IndexChange, PostgresPool,
    RecoveryReport, StatementFailure, Verdict, VerdictOutcome, Workload,
};

const LOG: &str = "
CREATE TABLE IF NOT EXISTS wavequill_index_change (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    index_name text NOT NULL,
    table_name text NOT NULL,
    sql text NOT NULL,
    undo text NOT NULL,
    state text NOT NULL CHECK (state IN ('begun', 'done', 'failed', 'rolled_back')),
    at timestamptz NOT NULL DEFAULT now()
)";

/// Of all programs that change indexes through this library, one at a time.
const LOCK: &str = "SELECT pg_try_advisory_lock(hashtextextended('wavequill_index_change', 0))::text AS json";

/// What would make a concurrent build wait for very long.
const OLD_TRANSACTIONS: &str = "
SELECT count(*)::text AS json FROM pg_stat_activity
WHERE xact_start < now() - interval '10 minutes' AND datname = current_database() AND pid <> pg_backend_pid()";

const INVALID: &str = "
SELECT to_json(n.nspname || '.' || i.relname)::text AS json
FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid JOIN pg_namespace n ON n.oid = i.relnamespace
WHERE NOT x.indisvalid AND n.nspname NOT IN ('pg_catalog', 'pg_toast') AND i.relkind = 'i' ORDER BY 1";

/// How often the lock on a table is tried for.
const ATTEMPTS: u32 = 5;

pub(super) async fn apply(
    pool: &PostgresPool,
    config: &PostgresIndexManagerConfig,
    plan: &ApprovedPlan,
) -> Result<ApplyReport, DatabaseError> {
    let mut look = pool.plan_session("indexes before a change").await?;
    let now = catalogue(&mut look).await?.fingerprint();
    look.end().await?;
    if now != plan.indexes() {
        return Err(DatabaseError::StalePlan);
    }
    let mut session = begin(pool).await?;
    if number(&session.json(OLD_TRANSACTIONS).await?) > 0 {
        return Err(not_safe(
            "a transaction is older than 10 minutes, and the build would wait for it; end it first",
        ));
    }
    let mut report = ApplyReport::default();
    for change in plan.changes() {
        if report.failed.is_some() {
            report.skipped.push(change.clone());
            continue;
        }
        let begun = system_now();
        match one(&mut session, config, change).await {
            Ok(()) => {
                let took = system_now().saturating_sub(begun);
                report.applied.push(AppliedChange { change: change.clone(), took });
            }
            Err(error) => report.failed = Some((change.clone(), error.to_string())),
        }
    }
    Ok(report)
}

/// A session that holds the lock of those who change indexes; the lock goes with it.
async fn begin(pool: &PostgresPool) -> Result<ChangeSession, DatabaseError> {
    let mut session = pool.change_session("index changes").await?;
    session.run(LOG).await?;
    match session.json(LOCK).await?.first() {
        Some(Value::Bool(true)) => Ok(session),
        _ => Err(not_safe("another program is changing indexes; try again when it has ended")),
    }
}

fn not_safe(reason: &str) -> DatabaseError {
    DatabaseError::NotSafe { reason: reason.to_owned() }
}

fn number(rows: &[Value]) -> u64 {
    rows.first().and_then(Value::as_u64).unwrap_or(0)
}

async fn one(
    session: &mut ChangeSession,
    config: &PostgresIndexManagerConfig,
    change: &IndexChange,
) -> Result<(), DatabaseError> {
    // To see early that the lock cannot be had: a build that fails for it leaves an invalid index behind.
    wait_for_lock(session, config, change).await?;
    let note = format!(
        "INSERT INTO wavequill_index_change (index_name, table_name, sql, undo, state)
         VALUES ({}, {}, {}, {}, 'begun')",
        literal(&change.index),
        literal(&change.table),
        literal(&change.sql),
        literal(&change.undo)
    );
    session.run(&note).await?;
    // The build itself blocks no read and no write; a time limit of the server's would leave it half done.
    session.run("SET lock_timeout = 0").await?;
    session.run("SET statement_timeout = 0").await?;
    let outcome = session.run_within(&change.sql, config.build_limit).await;
    if let Err(error) = outcome {
        clean_up(session, change).await;
        return Err(error);
    }
    mark(session, &change.index, "done").await
}

/// After a failed build. What cannot be cleaned up now, since the server has gone, `recover` cleans up later.
async fn clean_up(session: &mut ChangeSession, change: &IndexChange) {
    let undone = match change.kind {
        ChangeKind::Create => session.run(&change.undo).await,
        ChangeKind::Drop => Ok(()),
    };
    let noted = match undone {
        Ok(()) => mark(session, &change.index, "failed").await,
        Err(error) => Err(error),
    };
    if let Err(error) = noted {
        tracing::warn!(index = change.index, %error, "a failed change was not cleaned up: call recover");
    }
}

async fn mark(session: &mut ChangeSession, index: &str, state: &str) -> Result<(), DatabaseError> {
    let last = format!("SELECT max(id) FROM wavequill_index_change WHERE index_name = {}", literal(index));
    session
        .run(&format!("UPDATE wavequill_index_change SET state = '{state}', at = now() WHERE id = ({last})"))
        .await
}

async fn wait_for_lock(
    session: &mut ChangeSession,
    config: &PostgresIndexManagerConfig,
    change: &IndexChange,
) -> Result<(), DatabaseError> {
    let limit = config.lock_timeout.as_millis();
    let table = quoted(&change.table);
    let attempt = format!(
        "BEGIN; SET LOCAL lock_timeout = {limit}; LOCK TABLE {table} IN SHARE UPDATE EXCLUSIVE MODE; COMMIT"
    );
    for left in (0..ATTEMPTS).rev() {
        match session.run(&attempt).await {
            Ok(()) => return Ok(()),
            Err(DatabaseError::Statement { failure: StatementFailure::ConnectionLost, detail }) => {
                return Err(DatabaseError::Statement { failure: StatementFailure::ConnectionLost, detail });
            }
            Err(_) if left > 0 => session.run("ROLLBACK").await?,
            Err(error) => {
                session.run("ROLLBACK").await?;
                return Err(DatabaseError::NotSafe { reason: format!("{table} cannot be locked: {error}") });
            }
        }
    }
    Ok(())
}

pub(super) async fn verify(
    pool: &PostgresPool,
    config: &PostgresIndexManagerConfig,
    applied: &ApplyReport,
    since: &Workload,
) -> Result<Vec<Verdict>, DatabaseError> {
    let mut verdicts = Vec::new();
    for AppliedChange { change, .. } in &applied.applied {
        let mut verdict = judge(config, change, since);
        if verdict.outcome == VerdictOutcome::RolledBack {
            let mut session = begin(pool).await?;
            wait_for_lock(&mut session, config, change).await?;
            session.run(&change.undo).await?;
            mark(&mut session, &change.index, "rolled_back").await?;
            verdict.evidence.push_str("; it was taken back");
        }
        verdicts.push(verdict);
    }
    Ok(verdicts)
}

/// By the mean time of the statements that the change is for, each weighed by its calls.
fn judge(config: &PostgresIndexManagerConfig, change: &IndexChange, since: &Workload) -> Verdict {
    let (mut before, mut after, mut calls) = (0.0, 0.0, 0);
    for (fingerprint, mean) in &change.queries {
        if let Some(query) = since.queries.iter().find(|query| query.fingerprint == *fingerprint) {
            before += mean.as_secs_f64() * query.calls as f64;
            after += query.total.as_secs_f64();
            calls += query.calls;
        }
    }
    let verdict = |outcome, evidence| Verdict { index: change.index.clone(), outcome, evidence };
    if change.kind == ChangeKind::Drop || calls < config.calls_to_verify {
        let evidence =
            format!("its statements were called {calls} times, {} are needed", config.calls_to_verify);
        return verdict(VerdictOutcome::TooEarly, evidence);
    }
    // Half of what was predicted for these statements: an index is only proposed if it saves at least a tenth there.
    let saved = 1.0 - after / before.max(f64::MIN_POSITIVE);
    let evidence = format!("{calls} calls took {after:.3} s, and would have taken {before:.3} s");
    let needed = (change.saving / 2.0).min(0.5);
    let outcome = if saved >= needed { VerdictOutcome::Kept } else { VerdictOutcome::RolledBack };
    verdict(outcome, evidence)
}

pub(super) async fn recover(
    pool: &PostgresPool,
    config: &PostgresIndexManagerConfig,
) -> Result<RecoveryReport, DatabaseError> {
    let mut session = begin(pool).await?;
    let begun = session
        .json("SELECT DISTINCT to_json(index_name)::text AS json FROM wavequill_index_change WHERE state = 'begun'")
        .await?;
    let ours: Vec<String> = begun.iter().filter_map(Value::as_str).map(str::to_owned).collect();
    let invalid = session.json(INVALID).await?;
    let invalid: Vec<String> = invalid.iter().filter_map(Value::as_str).map(str::to_owned).collect();
    let mut report = RecoveryReport::default();
    for index in &invalid {
        if ours.contains(index) {
            let drop = format!("DROP INDEX CONCURRENTLY IF EXISTS {}", quoted(index));
            session.run_within(&drop, config.build_limit).await?;
            mark(&mut session, index, "failed").await?;
            report.dropped.push(index.clone());
        } else {
            report.foreign.push(index.clone());
        }
    }
    for index in ours.iter().filter(|index| !invalid.contains(index)) {
        let there =
            format!("SELECT to_json(to_regclass({}) IS NOT NULL)::text AS json", literal(&quoted(index)));
        let there = session.json(&there).await?.first() == Some(&Value::Bool(true));
        mark(&mut session, index, if there { "done" } else { "failed" }).await?;
        if there {
            report.completed.push(index.clone());
        }
    }
    Ok(report)
}
