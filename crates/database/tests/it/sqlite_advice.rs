use std::time::Duration;

use wavequill_database::adapters::diesel_async_0_9::SqlitePoolExt;
use wavequill_database::adapters::diesel_async_0_9::diesel::connection::SimpleConnection;
use wavequill_database::adapters::diesel_async_0_9::diesel::{self, prelude::*};
use wavequill_database::{
    Confidence, Durability, Fingerprint, IndexBudget, IndexManager, IndexProblem, ObservedQuery,
    QueryOptimizer, Rule, SqliteIndexManager, SqlitePool, SqliteQueryOptimizer, TableScope, VerdictOutcome,
    Window, Workload, testing,
};

/// 20,000 jobs, 1 % of them ready.
const JOBS: &str = "
CREATE TABLE jobs (id INTEGER PRIMARY KEY, state TEXT NOT NULL, kind TEXT NOT NULL, priority INTEGER NOT NULL);
WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20000)
INSERT INTO jobs SELECT i, CASE WHEN i % 100 = 0 THEN 'ready' ELSE 'done' END, 'k' || i % 7, i % 10 FROM n;";

const DEQUEUE: &str = "SELECT id FROM jobs WHERE state = ? ORDER BY priority DESC LIMIT 1";
const BY_ID: &str = "SELECT kind FROM jobs WHERE id = ?";

async fn jobs() -> SqlitePool {
    let pool = SqlitePool::open_in_memory().await.unwrap();
    run(&pool, JOBS).await;
    pool
}

async fn run(pool: &SqlitePool, sql: &'static str) {
    pool.write(Durability::Normal, move |conn| conn.batch_execute(sql)).await.unwrap();
}

fn observed(hash: u64, text: &str) -> ObservedQuery {
    ObservedQuery::new(Fingerprint::new(hash), text, 1_000, Duration::from_secs(10))
}

#[derive(QueryableByName)]
struct Count {
    #[diesel(sql_type = diesel::sql_types::BigInt)]
    value: i64,
}

async fn count(pool: &SqlitePool, from: &str) -> i64 {
    let sql = format!("SELECT count(*) AS value FROM {from}");
    pool.read(move |conn| Ok(diesel::sql_query(sql).get_result::<Count>(conn)?.value)).await.unwrap()
}

#[tokio::test]
async fn the_optimizer_keeps_its_contract_and_runs_nothing() {
    let pool = jobs().await;
    testing::query_optimizer(
        SqliteQueryOptimizer::new(pool.clone()),
        DEQUEUE,
        "DELETE FROM jobs WHERE id > ?",
    )
    .await;
    assert_eq!(count(&pool, "jobs").await, 20_000);
}

#[tokio::test]
async fn a_scan_and_a_sort_are_found_and_a_search_by_key_is_not() {
    let pool = jobs().await;
    run(&pool, "ANALYZE").await;
    let optimizer = SqliteQueryOptimizer::new(pool);
    let rules = async |text| {
        let plan = optimizer.explain(&observed(1, text)).await.unwrap();
        let found = optimizer.diagnose(&plan, &optimizer.statistics(&plan).await.unwrap());
        found.iter().map(|it| it.rule).collect::<Vec<_>>()
    };
    assert_eq!(rules(DEQUEUE).await, [Rule::FilteringScan, Rule::UnindexedSort]);
    assert!(rules(BY_ID).await.is_empty());
}

#[tokio::test]
async fn statements_are_recorded_without_the_values_bound_to_them() {
    let pool = jobs().await;
    for secret in ["alice", "bob"] {
        pool.read(move |conn| {
            diesel::sql_query("SELECT count(*) AS value FROM jobs WHERE kind = ?")
                .bind::<diesel::sql_types::Text, _>(secret)
                .get_result::<Count>(conn)
        })
        .await
        .unwrap();
    }
    let workload = SqliteQueryOptimizer::new(pool).workload(&Window::All).await.unwrap();
    let query = workload.queries.iter().find(|query| query.text.contains("kind = ?")).unwrap();
    assert_eq!(query.calls, 2);
    assert_eq!(query.latencies.as_ref().unwrap().count(), 2);
    let all = format!("{workload:?}");
    assert!(!all.contains("alice") && !all.contains("bob"), "{all}");
}

#[tokio::test]
async fn the_index_manager_keeps_its_contract() {
    let workload = Workload::of(vec![observed(1, DEQUEUE), observed(2, BY_ID)]);
    testing::index_manager(SqliteIndexManager::new(jobs().await), &workload).await;
}

#[tokio::test]
async fn the_dequeue_gets_the_index_that_needs_no_sort() {
    let pool = jobs().await;
    let manager = SqliteIndexManager::new(pool.clone());
    let plan =
        manager.propose(&Workload::of(vec![observed(1, DEQUEUE)]), &IndexBudget::default()).await.unwrap();
    let change = &plan.changes[0];
    assert!(change.sql.ends_with("ON jobs (state, priority DESC)"), "{}", change.sql);
    assert_eq!(change.confidence, Confidence::High, "{}", change.evidence);
    manager.apply(&plan.approve(&[change.id]).unwrap()).await.unwrap();
    let after = SqliteQueryOptimizer::new(pool).explain(&observed(1, DEQUEUE)).await.unwrap();
    assert_eq!(after.root.children.len(), 1, "{after:?}");
    assert_eq!(after.root.children[0].index.as_ref(), Some(&change.index));
}

#[tokio::test]
async fn an_index_that_would_not_help_is_not_proposed() {
    let pool = jobs().await;
    let manager = SqliteIndexManager::new(pool);
    let most_rows = observed(1, "SELECT sum(priority) FROM jobs WHERE priority >= ?");
    let workload = Workload::of(vec![most_rows, observed(2, BY_ID)]);
    let plan = manager.propose(&workload, &IndexBudget::default()).await.unwrap();
    assert!(
        plan.changes.iter().all(|change| change.queries.iter().all(|(it, _)| *it != Fingerprint::new(2)))
    );
}

#[tokio::test]
async fn an_index_that_the_planner_would_choose_but_that_helps_nobody_is_not_proposed() {
    let pool = SqlitePool::open_in_memory().await.unwrap();
    // Most rows are of one kind, and nearly all of the first ones are not: a sample of these misleads the planner.
    run(
        &pool,
        "CREATE TABLE events (id INTEGER PRIMARY KEY, kind TEXT NOT NULL, body TEXT NOT NULL);
         WITH RECURSIVE n (i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 59999)
         INSERT INTO events SELECT i, CASE WHEN i BETWEEN 1 AND 20000 AND i <> 997 THEN 'k' || i ELSE 'all' END,
                                   printf('%.100c', 'x') FROM n;",
    )
    .await;
    let misled = observed(1, "SELECT sum(length(body)) FROM events WHERE kind = ?");
    let manager = SqliteIndexManager::new(pool);
    let plan = manager.propose(&Workload::of(vec![misled]), &IndexBudget::default()).await.unwrap();
    assert_eq!(plan.changes, []);
    assert!(plan.notes.iter().any(|note| note.contains("on a copy of the data none")), "{:?}", plan.notes);
}

#[tokio::test]
async fn what_does_not_help_is_taken_back_and_not_proposed_again() {
    let pool = jobs().await;
    let manager = SqliteIndexManager::new(pool.clone());
    let workload = Workload::of(vec![observed(1, DEQUEUE)]);
    let plan = manager.propose(&workload, &IndexBudget::default()).await.unwrap();
    let report = manager.apply(&plan.approve(&[plan.changes[0].id]).unwrap()).await.unwrap();
    let verdicts = manager.verify(&report, &workload).await.unwrap();
    assert_eq!(verdicts[0].outcome, VerdictOutcome::RolledBack, "{}", verdicts[0].evidence);
    assert_eq!(count(&pool, "sqlite_schema WHERE type = 'index' AND tbl_name = 'jobs'").await, 0);
    let again = manager.propose(&workload, &IndexBudget::default()).await.unwrap();
    assert!(again.changes.iter().all(|change| change.index != plan.changes[0].index), "{}", again.to_sql());
}

#[tokio::test]
async fn duplicates_and_prefixes_are_found_and_none_is_invented() {
    let pool = jobs().await;
    let manager = SqliteIndexManager::new(pool.clone());
    run(
        &pool,
        "CREATE TABLE runs (job_id INTEGER REFERENCES jobs (id), at TEXT UNIQUE);
         CREATE INDEX runs_job ON runs (job_id);
         CREATE INDEX jobs_a ON jobs (kind, priority);
         CREATE INDEX jobs_nocase ON jobs (kind COLLATE NOCASE, priority);
         CREATE INDEX jobs_part ON jobs (kind, priority) WHERE state = 'ready';
         CREATE INDEX jobs_desc ON jobs (kind, priority DESC);",
    )
    .await;
    assert_eq!(manager.audit(&TableScope::All).await.unwrap(), []);
    run(&pool, "CREATE INDEX jobs_b ON jobs (kind, priority); CREATE INDEX jobs_c ON jobs (kind);").await;
    let found = manager.audit(&TableScope::All).await.unwrap();
    let problems: Vec<_> = found.iter().map(|it| (it.index.as_str(), it.problem.clone())).collect();
    let of = "jobs_a".to_owned();
    assert_eq!(
        problems,
        [
            ("jobs_b", IndexProblem::Duplicate { of: of.clone() }),
            ("jobs_c", IndexProblem::RedundantPrefix { of }),
        ]
    );
}
