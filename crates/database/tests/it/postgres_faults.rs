use std::collections::BTreeSet;
use std::time::Duration;

use wavequill_database::adapters::diesel_async_0_9::diesel::{self, sql_types::BigInt};
use wavequill_database::adapters::diesel_async_0_9::diesel_async::{RunQueryDsl, SimpleAsyncConnection};
use wavequill_database::adapters::diesel_async_0_9::{PostgresConnection, PostgresPoolExt};
use wavequill_database::{
    Confidence, DieselConnectionPoolManager, IndexBudget, IndexManager, IndexProblem, PostgresConfig,
    PostgresIndexManager, PostgresIndexManagerConfig, PostgresPool, PostgresQueryOptimizer, QueryOptimizer,
    Rule, TableScope, Window,
};

use crate::postgres_advice::with_hypopg;
use crate::server::{new_database, run};

const SCHEMA: &str = "
CREATE TABLE jobs (id bigint PRIMARY KEY, owner bigint NOT NULL) WITH (autovacuum_enabled = false);
CREATE TABLE attempts (job_id bigint REFERENCES jobs, number int, PRIMARY KEY (job_id, number))
    WITH (autovacuum_enabled = false);
INSERT INTO jobs SELECT i, i FROM generate_series(1, 20000) i;
INSERT INTO attempts SELECT i, n FROM generate_series(1, 20000) i, generate_series(1, 2) n;";

const BY_KEY: &str = "SELECT owner FROM jobs WHERE id = $1";
const BY_OWNER: &str = "SELECT id FROM jobs WHERE owner = $1";
const ATTEMPTS: &str = "SELECT number FROM attempts WHERE job_id = $1";

fn pool(url: &str) -> PostgresPool {
    DieselConnectionPoolManager::open_postgres(PostgresConfig::new(url)).unwrap().pool()
}

async fn ask(conn: &mut PostgresConnection, sql: &str, value: i64) {
    diesel::sql_query(sql).bind::<BigInt, _>(value).execute(&mut **conn).await.unwrap();
}

#[tokio::test]
async fn a_healthy_schema_gets_no_finding_and_each_of_six_planted_faults_gets_its_own() {
    let url = new_database().await;
    // What the application asks is told from what the test does by its pool.
    let (app, setup) = (pool(&url), pool(&url));
    let optimizer = PostgresQueryOptimizer::new(app.clone());
    let config = PostgresIndexManagerConfig::default().with_unused_after(Duration::ZERO);
    let indexes = PostgresIndexManager::with_config(app.clone(), config).unwrap();
    with_hypopg(&setup).await;
    run(&setup, SCHEMA).await;
    run(&setup, "SELECT pg_stat_force_next_flush()").await;
    for table in ["jobs", "attempts"] {
        run(&setup, &format!("VACUUM ANALYZE {table}")).await;
    }
    for id in 1..=30 {
        ask(&mut app.connection().await.unwrap(), BY_KEY, id).await;
        ask(&mut app.connection().await.unwrap(), ATTEMPTS, id).await;
    }
    let report = optimizer.report(&Window::All, 20).await.unwrap();
    assert_eq!(report.findings, [], "on a healthy schema");
    assert_eq!(indexes.audit(&TableScope::All).await.unwrap(), []);
    let workload = optimizer.workload(&Window::All).await.unwrap();
    let plan = indexes.propose(&workload, &IndexBudget::default()).await.unwrap();
    assert_eq!(plan.changes, [], "{}", plan.to_sql());

    run(&setup, "CREATE INDEX jobs_again ON jobs (id)").await;
    run(&setup, "CREATE INDEX jobs_unused ON jobs (owner DESC) WHERE owner < 0").await;
    let build = "CREATE UNIQUE INDEX CONCURRENTLY jobs_broken ON jobs ((owner % 7))";
    assert!(setup.connection().await.unwrap().batch_execute(build).await.is_err());
    run(&setup, "UPDATE attempts SET number = number + 2").await;
    run(&setup, "SELECT pg_stat_force_next_flush()").await;
    ask(&mut app.connection().await.unwrap(), BY_OWNER, 7).await;
    let mut one_after_the_other = app.connection().await.unwrap();
    for id in 1..=50 {
        ask(&mut one_after_the_other, ATTEMPTS, id).await;
    }
    drop(one_after_the_other);

    let report = optimizer.report(&Window::All, 20).await.unwrap();
    let text_of = |it: &wavequill_database::Finding| {
        let query = report.slow.iter().find(|query| query.fingerprint == it.fingerprint);
        query.map_or("", |query| query.text.as_str()).to_owned()
    };
    let found: BTreeSet<_> = report.findings.iter().map(|it| (it.rule, text_of(it))).collect();
    let expected = [
        (Rule::FilteringScan, BY_OWNER.to_owned()),
        (Rule::StaleStatistics, ATTEMPTS.to_owned()),
        (Rule::RowByRow, ATTEMPTS.to_owned()),
    ];
    assert_eq!(found, BTreeSet::from(expected), "{:#?}", report.findings);
    let repeated = report.findings.iter().find(|it| it.rule == Rule::RowByRow).unwrap();
    assert_eq!(repeated.confidence, Confidence::High);
    assert_eq!(repeated.evidence, "one holder of a connection called it 50 times in a row");
    let audit = indexes.audit(&TableScope::All).await.unwrap();
    let problems: Vec<_> = audit.iter().map(|it| (it.index.as_str(), it.problem.clone())).collect();
    assert_eq!(
        problems,
        [
            ("public.jobs_again", IndexProblem::Duplicate { of: "public.jobs_pkey".to_owned() }),
            ("public.jobs_broken", IndexProblem::Invalid),
            ("public.jobs_unused", IndexProblem::Unused),
        ]
    );
    let workload = optimizer.workload(&Window::All).await.unwrap();
    let plan = indexes.propose(&workload, &IndexBudget::default()).await.unwrap();
    assert_eq!(plan.changes.len(), 1, "{}", plan.to_sql());
    assert!(plan.changes[0].sql.contains(" ON public.jobs (owner)"), "{}", plan.to_sql());
}
