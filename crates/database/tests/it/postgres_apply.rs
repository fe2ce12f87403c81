use std::pin::pin;
use std::time::Duration;

use wavequill_database::adapters::diesel_async_0_9::PostgresPoolExt;
use wavequill_database::adapters::diesel_async_0_9::diesel_async::{
    AsyncConnection, AsyncPgConnection, SimpleAsyncConnection,
};
use wavequill_database::{
    DieselConnectionPoolManager, Fingerprint, IndexBudget, IndexManager, ObservedQuery, PostgresConfig,
    PostgresIndexManager, PostgresPool, Workload,
};

use crate::server::{new_database, number, run};

const ROWS: &str = "
CREATE TABLE jobs (id bigint PRIMARY KEY, owner bigint NOT NULL, note text NOT NULL) WITH (autovacuum_enabled = false);
INSERT INTO jobs SELECT i, i, md5(i::text) FROM generate_series(1, 20000) i;";

const BUILDING: &str = "SELECT count(*) AS value FROM pg_stat_activity
    WHERE datname = current_database() AND state = 'active' AND query LIKE 'CREATE INDEX CONCURRENTLY%'";
const KILL: &str = "SELECT count(pg_terminate_backend(pid)) AS value FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid()
      AND (query LIKE 'CREATE INDEX CONCURRENTLY%' OR query LIKE 'DROP INDEX CONCURRENTLY%')";
const INVALID: &str = "SELECT count(*) AS value FROM pg_index WHERE NOT indisvalid";

fn pool(url: &str) -> PostgresPool {
    DieselConnectionPoolManager::open_postgres(PostgresConfig::new(url)).unwrap().pool()
}

/// Ends the build after it has been seen so often, unless it has ended before.
async fn kill_after(watcher: &mut AsyncPgConnection, looks: u32) {
    let mut seen = 0;
    while seen < looks {
        if number(watcher, BUILDING).await == 1 {
            seen += 1;
        } else if seen > 0 {
            return;
        }
    }
    number(watcher, KILL).await;
}

/// What keeps a build from going on, so that it is met there for certain.
async fn hold_up(holder: &mut AsyncPgConnection, point: u32) {
    let sql = match point % 3 {
        // It waits for those who write before it begins.
        0 => "BEGIN; UPDATE jobs SET note = note WHERE id = 20000",
        // It waits for those who may look for older rows before it ends.
        1 => "BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM jobs",
        _ => "BEGIN",
    };
    holder.batch_execute(sql).await.unwrap();
}

#[tokio::test]
async fn a_build_killed_at_twenty_points_under_write_load_leaves_nothing_invalid_and_delays_no_write() {
    let url = new_database().await;
    run(&pool(&url), ROWS).await;
    run(&pool(&url), "ANALYZE jobs").await;
    let text = "SELECT note FROM jobs WHERE owner = $1";
    let query = ObservedQuery::new(Fingerprint::new(1), text, 1_000, Duration::from_secs(10));
    let workload = Workload::of(vec![query]);
    let mut checker = AsyncPgConnection::establish(&url).await.unwrap();
    let mut killed = 0;
    for point in 0..20_u32 {
        let mut watcher = AsyncPgConnection::establish(&url).await.unwrap();
        let mut writer = AsyncPgConnection::establish(&url).await.unwrap();
        // A write that waits longer than others may have to fails, and with it the test.
        writer.batch_execute("SET lock_timeout = '2s'").await.unwrap();
        let manager = PostgresIndexManager::new(pool(&url));
        let plan = manager.propose(&workload, &IndexBudget::default()).await.unwrap();
        let approved = plan.approve(&[plan.changes[0].id]).unwrap();
        hold_up(&mut checker, point).await;
        let mut writing = pin!(async {
            for row in 0.. {
                let write = format!("UPDATE jobs SET owner = owner + 1 WHERE id = {}", 1 + row * 7 % 19_000);
                writer.batch_execute(&write).await.unwrap();
            }
        });
        let mut attack = pin!(kill_after(&mut watcher, 1 + point));
        let mut applying = pin!(manager.apply(&approved));
        let mut attacked = false;
        let report = loop {
            tokio::select! {
                report = &mut applying => break report,
                () = &mut attack, if !attacked => attacked = true,
                () = &mut writing => {}
            }
        };
        killed += u32::from(report.is_err() || report.is_ok_and(|report| report.failed.is_some()));
        checker.batch_execute("ROLLBACK").await.unwrap();
        let recovered = PostgresIndexManager::new(pool(&url)).recover().await.unwrap();
        assert_eq!(recovered.foreign, Vec::<String>::new(), "point {point}");
        assert_eq!(number(&mut checker, INVALID).await, 0, "point {point}");
        checker.batch_execute(&approved.changes()[0].undo).await.unwrap();
    }
    assert!(killed >= 14, "{killed} were killed, and 14 could not have ended");
}

#[tokio::test]
async fn two_programs_do_not_change_indexes_at_once() {
    let url = new_database().await;
    let (one, other) = (pool(&url), pool(&url));
    run(&one, ROWS).await;
    let manager = PostgresIndexManager::new(one);
    manager.recover().await.unwrap();
    let mut holder = other.connection().await.unwrap();
    holder
        .batch_execute("SELECT pg_advisory_lock(hashtextextended('wavequill_index_change', 0))")
        .await
        .unwrap();
    let refused = manager.recover().await.unwrap_err();
    assert!(refused.to_string().contains("another program is changing indexes"), "{refused}");
    holder.discard();
}
