use std::time::Duration;

use wavequill_database::adapters::diesel_async_0_9::PostgresPoolExt;
use wavequill_database::adapters::diesel_async_0_9::diesel_async::SimpleAsyncConnection;
use wavequill_database::{
    Confidence, Fingerprint, IndexBudget, IndexManager, IndexProblem, ObservedQuery, PostgresIndexManager,
    PostgresIndexManagerConfig, PostgresPool, PostgresQueryOptimizer, QueryOptimizer, Rule, TableScope,
    VerdictOutcome, Window, Workload, WorkloadSource, testing,
};

use crate::server::{new_pool, number, run};

/// 20,000 jobs, 1 % of them ready.
const JOBS: &str = "
CREATE TABLE jobs (id bigint PRIMARY KEY, state text NOT NULL, kind text NOT NULL, priority int NOT NULL);
INSERT INTO jobs SELECT i, CASE WHEN i % 100 = 0 THEN 'ready' ELSE 'done' END, 'k' || i % 7, i % 10
FROM generate_series(1, 20000) i;";

const SELECT_READY: &str = "SELECT id FROM jobs WHERE state = 'ready' ORDER BY priority DESC, id LIMIT 1";
const SELECT_KIND: &str = "SELECT count(*) FROM jobs WHERE id = $1 AND kind = $2";

async fn jobs() -> PostgresPool {
    let pool = new_pool(|config| config).await.pool();
    run(&pool, JOBS).await;
    // The server counts rows written when a session has been idle for a while, or at once if it is asked to: before
    // the statistics are made, or they would look out of date.
    run(&pool, "SELECT pg_stat_force_next_flush()").await;
    run(&pool, "VACUUM ANALYZE jobs").await;
    pool
}

fn observed(hash: u64, text: &str) -> ObservedQuery {
    ObservedQuery::new(Fingerprint::new(hash), text, 1_000, Duration::from_secs(10))
}

async fn count(pool: &PostgresPool, from: &str) -> i64 {
    let sql = format!("SELECT count(*) AS value FROM {from}");
    number(&mut pool.connection().await.unwrap(), &sql).await
}

/// Whether HypoPG can be had on this server.
pub(crate) async fn with_hypopg(pool: &PostgresPool) -> bool {
    let there = count(pool, "pg_available_extensions WHERE name = 'hypopg'").await == 1;
    if there {
        run(pool, "CREATE EXTENSION hypopg").await;
    }
    there
}

#[tokio::test]
async fn the_optimizer_keeps_its_contract_and_runs_nothing() {
    let pool = jobs().await;
    let optimizer = PostgresQueryOptimizer::new(pool.clone());
    testing::query_optimizer(optimizer, SELECT_READY, "DELETE FROM jobs WHERE id > $1").await;
    assert_eq!(count(&pool, "jobs").await, 20_000);
}

#[tokio::test]
async fn a_scan_for_few_rows_is_found_and_a_search_by_key_is_not() {
    let pool = jobs().await;
    let optimizer = PostgresQueryOptimizer::new(pool.clone());
    let plan = optimizer.explain(&observed(1, SELECT_READY)).await.unwrap();
    let found = optimizer.diagnose(&plan, &optimizer.statistics(&plan).await.unwrap());
    assert_eq!(found.iter().map(|it| it.rule).collect::<Vec<_>>(), [Rule::FilteringScan]);
    assert!(found[0].evidence.contains("reads all 20000 rows of public.jobs"), "{}", found[0].evidence);
    let plan = optimizer.explain(&observed(2, SELECT_KIND)).await.unwrap();
    assert!(optimizer.diagnose(&plan, &optimizer.statistics(&plan).await.unwrap()).is_empty());
}

#[tokio::test]
async fn stale_statistics_are_found() {
    let pool = jobs().await;
    run(&pool, "ALTER TABLE jobs SET (autovacuum_enabled = false)").await;
    run(&pool, "UPDATE jobs SET priority = priority + 1").await;
    run(&pool, "SELECT pg_stat_force_next_flush()").await;
    let optimizer = PostgresQueryOptimizer::new(pool.clone());
    let plan = optimizer.explain(&observed(2, SELECT_KIND)).await.unwrap();
    let found = optimizer.diagnose(&plan, &optimizer.statistics(&plan).await.unwrap());
    assert_eq!(found.iter().map(|it| it.rule).collect::<Vec<_>>(), [Rule::StaleStatistics]);
    assert_eq!(found[0].action, "ANALYZE public.jobs");
}

#[tokio::test]
async fn the_workload_comes_from_the_server_or_from_the_pools_own_recording() {
    let pool = jobs().await;
    let optimizer = PostgresQueryOptimizer::new(pool.clone());
    run(&pool, SELECT_READY).await;
    let own = optimizer.workload(&Window::All).await.unwrap();
    assert_eq!(own.source, WorkloadSource::OwnRecording);
    let ready = own.queries.iter().find(|query| query.text == SELECT_READY).unwrap();
    assert_eq!((ready.calls, ready.errors), (1, 0));
    assert!(own.notes.iter().any(|note| note.contains("CREATE EXTENSION pg_stat_statements")));
    assert_eq!(own.writes["public.jobs"].inserts, 20_000);

    let preloaded =
        "pg_settings WHERE name = 'shared_preload_libraries' AND setting LIKE '%pg_stat_statements%'";
    if count(&pool, preloaded).await == 1 {
        run(&pool, "CREATE EXTENSION pg_stat_statements").await;
        let before = optimizer.workload(&Window::All).await.unwrap();
        run(&pool, SELECT_READY).await;
        run(&pool, SELECT_READY).await;
        let since = optimizer.workload(&Window::Since(Box::new(before))).await.unwrap();
        assert_eq!(since.source, WorkloadSource::PgStatStatements);
        let ready = since.queries.iter().find(|query| query.text.contains("ORDER BY priority DESC")).unwrap();
        assert_eq!(ready.calls, 2);
        assert!(!ready.text.contains("'ready'"), "a constant was kept: {}", ready.text);
        assert!(optimizer.explain(ready).await.is_ok());
    }
}

#[tokio::test]
async fn every_planted_fault_is_found_and_none_is_invented() {
    let pool = jobs().await;
    let config = PostgresIndexManagerConfig::default().with_unused_after(Duration::ZERO);
    let manager = PostgresIndexManager::with_config(pool.clone(), config).unwrap();
    run(&pool, "CREATE TABLE runs (job_id bigint REFERENCES jobs, at timestamptz)").await;
    // Needed by the foreign key, though nobody has used it yet.
    run(&pool, "CREATE INDEX runs_job ON runs (job_id)").await;
    assert_eq!(manager.audit(&TableScope::All).await.unwrap(), []);

    run(&pool, "CREATE INDEX jobs_a ON jobs (kind, priority)").await;
    run(&pool, "CREATE INDEX jobs_b ON jobs (kind, priority)").await;
    run(&pool, "CREATE INDEX jobs_c ON jobs (kind)").await;
    run(&pool, "CREATE INDEX jobs_desc ON jobs (kind, priority DESC)").await;
    let broken = pool
        .connection()
        .await
        .unwrap()
        .batch_execute("CREATE UNIQUE INDEX CONCURRENTLY jobs_x ON jobs (kind)")
        .await;
    assert!(broken.is_err());
    let found = manager.audit(&TableScope::All).await.unwrap();
    let problems: Vec<_> = found.iter().map(|it| (it.index.as_str(), it.problem.clone())).collect();
    let of = "public.jobs_a".to_owned();
    assert_eq!(
        problems,
        [
            ("public.jobs_a", IndexProblem::Unused),
            ("public.jobs_b", IndexProblem::Duplicate { of: of.clone() }),
            ("public.jobs_c", IndexProblem::RedundantPrefix { of }),
            ("public.jobs_desc", IndexProblem::Unused),
            ("public.jobs_x", IndexProblem::Invalid),
        ]
    );
    assert_eq!(found[1].action, "DROP INDEX CONCURRENTLY public.jobs_b");
    let elsewhere = manager.audit(&TableScope::Only(vec!["public.runs".to_owned()])).await.unwrap();
    assert!(elsewhere.is_empty());
}

#[tokio::test]
async fn the_index_manager_keeps_its_contract_with_and_without_hypopg() {
    let workload = Workload::of(vec![observed(1, SELECT_READY), observed(2, SELECT_KIND)]);
    let pool = jobs().await;
    testing::index_manager(PostgresIndexManager::new(pool), &workload).await;
    let pool = jobs().await;
    with_hypopg(&pool).await;
    testing::index_manager(PostgresIndexManager::new(pool), &workload).await;
}

#[tokio::test]
async fn a_partial_index_is_proposed_for_a_constant_and_the_planner_uses_it() {
    let pool = jobs().await;
    let tried = with_hypopg(&pool).await;
    let manager = PostgresIndexManager::new(pool.clone());
    let workload = Workload::of(vec![observed(1, SELECT_READY)]);
    let plan = manager.propose(&workload, &IndexBudget::default()).await.unwrap();
    let change = &plan.changes[0];
    assert_eq!(change.confidence, if tried { Confidence::Medium } else { Confidence::Low });
    assert!(
        change.sql.contains("ON public.jobs (priority DESC, id) WHERE state = 'ready'"),
        "{}",
        change.sql
    );
    assert_eq!(plan.changes.len(), 1, "one is enough: {}", plan.to_sql());
    let approved = plan.approve(&[change.id]).unwrap();
    assert!(manager.apply(&approved).await.unwrap().failed.is_none());
    let plan = PostgresQueryOptimizer::new(pool).explain(&observed(1, SELECT_READY)).await.unwrap();
    let used: Vec<_> = plan.nodes().iter().filter_map(|node| node.index.clone()).collect();
    assert_eq!(used.len(), 1, "{plan:?}");
    assert!(change.index.ends_with(&used[0]), "{used:?}");
}

#[tokio::test]
async fn what_does_not_help_is_taken_back_and_not_proposed_again() {
    let pool = jobs().await;
    with_hypopg(&pool).await;
    let manager = PostgresIndexManager::new(pool.clone());
    let workload = Workload::of(vec![observed(1, SELECT_READY)]);
    let plan = manager.propose(&workload, &IndexBudget::default()).await.unwrap();
    let index = plan.changes[0].index.clone();
    let report = manager.apply(&plan.approve(&[plan.changes[0].id]).unwrap()).await.unwrap();
    // As slow as before.
    let verdicts = manager.verify(&report, &workload).await.unwrap();
    assert_eq!(verdicts[0].outcome, VerdictOutcome::RolledBack, "{}", verdicts[0].evidence);
    let name = index.trim_start_matches("public.");
    assert_eq!(count(&pool, &format!("pg_class WHERE relname = '{name}'")).await, 0);
    let again = manager.propose(&workload, &IndexBudget::default()).await.unwrap();
    assert!(again.changes.iter().all(|change| change.index != index), "{}", again.to_sql());

    let fast = ObservedQuery::new(Fingerprint::new(1), SELECT_READY, 1_000, Duration::from_millis(10));
    let next = &again.changes[0];
    let report = manager.apply(&again.approve(&[next.id]).unwrap()).await.unwrap();
    let verdicts = manager.verify(&report, &Workload::of(vec![fast])).await.unwrap();
    assert_eq!(verdicts[0].outcome, VerdictOutcome::Kept, "{}", verdicts[0].evidence);
}

#[tokio::test]
async fn after_a_crash_our_invalid_index_goes_and_another_ones_stays() {
    let pool = jobs().await;
    let manager = PostgresIndexManager::new(pool.clone());
    manager.recover().await.unwrap();
    for name in ["ours", "theirs"] {
        let build = format!("CREATE UNIQUE INDEX CONCURRENTLY {name} ON jobs (kind)");
        assert!(pool.connection().await.unwrap().batch_execute(&build).await.is_err());
    }
    run(&pool, "CREATE INDEX finished ON jobs (kind)").await;
    run(
        &pool,
        "INSERT INTO wavequill_index_change (index_name, table_name, sql, undo, state) VALUES
         ('public.ours', 'public.jobs', '', '', 'begun'), ('public.finished', 'public.jobs', '', '', 'begun'),
         ('public.never', 'public.jobs', '', '', 'begun')",
    )
    .await;
    let report = manager.recover().await.unwrap();
    assert_eq!(report.dropped, ["public.ours"]);
    assert_eq!(report.completed, ["public.finished"]);
    assert_eq!(report.foreign, ["public.theirs"]);
    assert_eq!(count(&pool, "pg_index WHERE NOT indisvalid").await, 1);
    assert_eq!(manager.recover().await.unwrap().dropped, Vec::<String>::new());
}

#[tokio::test]
async fn a_table_that_cannot_be_locked_is_left_alone() {
    let pool = jobs().await;
    let config = PostgresIndexManagerConfig::default().with_lock_timeout(Duration::from_millis(5));
    let manager = PostgresIndexManager::with_config(pool.clone(), config).unwrap();
    let workload = Workload::of(vec![observed(1, SELECT_READY)]);
    let plan = manager.propose(&workload, &IndexBudget::default()).await.unwrap();
    let approved = plan.approve(&[plan.changes[0].id]).unwrap();
    let mut holder = pool.connection().await.unwrap();
    holder.batch_execute("BEGIN; LOCK TABLE jobs IN SHARE UPDATE EXCLUSIVE MODE").await.unwrap();
    let report = manager.apply(&approved).await.unwrap();
    let (_, reason) = report.failed.unwrap();
    assert!(reason.contains("cannot be locked"), "{reason}");
    holder.batch_execute("ROLLBACK").await.unwrap();
    assert_eq!(count(&pool, "pg_index WHERE NOT indisvalid").await, 0);
}
