use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::join_all;
use wavequill_database::adapters::diesel_async_0_9::diesel::{self, result::Error};
use wavequill_database::adapters::diesel_async_0_9::diesel_async::{
    AsyncConnection, AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection,
};
use wavequill_database::adapters::diesel_async_0_9::{
    PostgresPoolExt, open_postgres_with_connector, tokio_postgres,
};
use wavequill_database::{
    ConnectFailure, ConnectionPoolManager, DatabaseError, DieselConnectionPoolManager, HealthVerdict,
    PoolLimits, PostgresConfig, PostgresPool, SessionProfile, TimeoutCause, testing,
};
use wavequill_kernel::{ErrorClass, Retryable};

use crate::server::{new_database, new_pool, number, run, url, with_database};

fn limits(min: u32, max: u32) -> impl FnOnce(PostgresConfig) -> PostgresConfig {
    move |config| config.with_limits(PoolLimits::new(min, max).unwrap())
}

async fn backend(pool: &PostgresPool) -> i64 {
    let mut conn = pool.connection().await.unwrap();
    number(&mut conn, "SELECT pg_backend_pid()::bigint AS value").await
}

#[tokio::test]
async fn the_manager_keeps_its_contract() {
    let manager = new_pool(limits(1, 4)).await;
    let pool = manager.pool();
    testing::connection_pool_manager(manager, || pool.connection()).await;
}

#[tokio::test]
async fn a_connection_that_comes_back_is_used_again() {
    let pool = new_pool(limits(1, 4)).await.pool();
    let first = backend(&pool).await;
    assert_eq!(backend(&pool).await, first);
    assert!(pool.try_connection().is_some());
}

#[tokio::test]
async fn killed_backends_are_replaced_unseen() {
    let manager = new_pool(|config| limits(4, 4)(config).with_fresh_for(Duration::ZERO)).await;
    let pool = manager.pool();
    manager.ensure_min_connections().await.unwrap();
    let kill = "SELECT count(pg_terminate_backend(pid)) AS value FROM pg_stat_activity
                WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'";
    let killed = number(&mut pool.connection().await.unwrap(), kill).await;
    assert!(killed >= 3, "{killed}");
    for _ in 0..1_000 {
        let mut conn = pool.connection().await.unwrap();
        conn.batch_execute("SELECT 1").await.unwrap();
    }
}

#[tokio::test]
async fn a_statement_that_was_given_up_is_stopped_and_its_connection_not_handed_on() {
    let manager = new_pool(limits(1, 2)).await;
    let pool = manager.pool();
    let mut watcher = pool.connection().await.unwrap();
    let running = "SELECT count(*) AS value FROM pg_stat_activity
                   WHERE datname = current_database() AND query = 'SELECT pg_sleep(300)' AND state = 'active'";
    let mut conn = pool.connection().await.unwrap();
    let pid = number(&mut conn, "SELECT pg_backend_pid()::bigint AS value").await;
    {
        let mut sleep = Box::pin(conn.batch_execute("SELECT pg_sleep(300)"));
        loop {
            assert!(futures_util::poll!(&mut sleep).is_pending());
            if number(&mut watcher, running).await == 1 {
                break;
            }
        }
    }
    drop(conn);
    // Only two may be open: this one waits until the server has stopped the statement.
    let mut next = pool.connection().await.unwrap();
    assert_ne!(number(&mut next, "SELECT pg_backend_pid()::bigint AS value").await, pid);
    assert_eq!(number(&mut watcher, running).await, 0);
}

#[tokio::test]
async fn a_connection_left_in_a_transaction_is_not_handed_on() {
    let pool = new_pool(limits(1, 1)).await.pool();
    let mut conn = pool.connection().await.unwrap();
    let pid = number(&mut conn, "SELECT pg_backend_pid()::bigint AS value").await;
    {
        let mut transaction = Box::pin(conn.transaction(async |conn| {
            conn.batch_execute("CREATE TABLE half (id int)").await?;
            std::future::pending::<()>().await;
            Ok::<_, Error>(())
        }));
        let mut watcher = new_watcher(&pool).await;
        let idle = format!(
            "SELECT count(*) AS value FROM pg_stat_activity WHERE pid = {pid} AND state = 'idle in transaction'
             AND query LIKE 'CREATE%'"
        );
        loop {
            assert!(futures_util::poll!(&mut transaction).is_pending());
            if number(&mut watcher, &idle).await == 1 {
                break;
            }
        }
    }
    drop(conn);
    assert_ne!(backend(&pool).await, pid);
    run(&pool, "CREATE TABLE half (id int)").await;
}

/// A connection beside the pool.
async fn new_watcher(_beside: &PostgresPool) -> AsyncPgConnection {
    AsyncPgConnection::establish(&url()).await.unwrap()
}

#[tokio::test]
async fn a_discarded_connection_is_closed() {
    let pool = new_pool(limits(1, 1)).await.pool();
    let first = backend(&pool).await;
    pool.connection().await.unwrap().discard();
    assert_ne!(backend(&pool).await, first);
}

#[tokio::test]
async fn a_time_out_says_who_holds_the_connections() {
    let short = Duration::from_millis(20);
    let pool = new_pool(|config| limits(1, 1)(config).with_acquire_timeout(short)).await.pool();
    let held = loop {
        // Opening the first connection may take longer than the short time allowed here.
        if let Ok(conn) = pool.connection().await {
            break conn;
        }
    };
    let error = pool.connection().await.unwrap_err();
    assert_eq!(error.class(), ErrorClass::Transient);
    let message = error.to_string();
    assert!(message.contains("all 1 are in use"), "{message}");
    assert!(message.contains("tests/it/postgres_pool.rs"), "{message}");
    drop(held);
    pool.connection().await.unwrap();
}

#[tokio::test]
async fn what_cannot_be_reached_or_is_refused_says_why() {
    let try_url = |url: String| async move {
        let manager = DieselConnectionPoolManager::open_postgres(PostgresConfig::new(url)).unwrap();
        manager.ensure_min_connections().await.unwrap_err()
    };
    let failure = |error: &DatabaseError| match error {
        DatabaseError::Connect { failure, .. } => Some(*failure),
        _ => None,
    };
    let missing = try_url(with_database(&url(), "no_such_database")).await;
    assert_eq!(failure(&missing), Some(ConnectFailure::NoSuchDatabase), "{missing}");
    assert_eq!(missing.class(), ErrorClass::Permanent);
    let (scheme, rest) = (url().split_once("://").unwrap().0.to_owned(), url());
    let host = rest.rsplit_once('@').map_or_else(|| rest.split_once("://").unwrap().1, |(_, host)| host);
    let stranger = try_url(format!("{scheme}://stranger:hunter2@{host}")).await;
    assert_eq!(failure(&stranger), Some(ConnectFailure::AccessRefused), "{stranger}");
    assert!(!stranger.to_string().contains("hunter2"));
    let nobody = try_url("postgres://me:hunter2@127.0.0.1:1/db".to_owned()).await;
    assert_eq!(failure(&nobody), Some(ConnectFailure::Unreachable), "{nobody}");
    assert_eq!(nobody.class(), ErrorClass::Transient);
    let encrypted = try_url(format!("{}?sslmode=require", url())).await;
    assert_eq!(failure(&encrypted), Some(ConnectFailure::TlsRequired), "{encrypted}");
    let nonsense = try_url("postgres://h/d?port=eleven".to_owned()).await;
    assert_eq!(nonsense.class(), ErrorClass::Permanent, "{nonsense}");
}

#[tokio::test]
async fn a_time_out_without_a_server_names_the_last_failure() {
    let config =
        PostgresConfig::new("postgres://127.0.0.1:1/db").with_acquire_timeout(Duration::from_millis(50));
    let manager = DieselConnectionPoolManager::open_postgres(config).unwrap();
    let error = manager.pool().connection().await.unwrap_err();
    assert!(
        matches!(&error, DatabaseError::AcquireTimeout { cause: TimeoutCause::Connecting { .. }, .. }),
        "{error}"
    );
    let health = manager.check_health().await;
    assert_eq!(health.verdict, HealthVerdict::Down);
    assert!(!health.problems.is_empty());
}

#[tokio::test]
async fn several_processes_bring_the_schema_up_at_once() {
    const STEPS: &[&str] = &["CREATE TABLE words (id bigint PRIMARY KEY)", "CREATE INDEX ON words (id)"];
    let url = new_database().await;
    let pools: Vec<_> = (0..4)
        .map(|_| DieselConnectionPoolManager::open_postgres(PostgresConfig::new(url.clone())).unwrap().pool())
        .collect();
    for result in join_all(pools.iter().map(|pool| pool.apply_schema("words", STEPS))).await {
        result.unwrap();
    }
    let newer = pools[0].apply_schema("words", &STEPS[..1]).await.unwrap_err();
    assert!(matches!(newer, DatabaseError::Schema { .. }), "{newer}");
    let half: &[&str] = &["CREATE TABLE half (id int)", "CREATE NONSENSE"];
    let half: &'static [&'static str] = Box::leak(half.to_vec().into_boxed_slice());
    pools[0].apply_schema("half", half).await.unwrap_err();
    run(&pools[0], "CREATE TABLE half (id int)").await;
}

#[tokio::test]
async fn a_dedicated_connection_hears_notifications_and_leaves_one_to_share() {
    let pool = new_pool(limits(1, 2)).await.pool();
    let mut ear = pool.dedicated("notifications").await.unwrap();
    ear.batch_execute("LISTEN news").await.unwrap();
    let refused = pool.dedicated("another").await.unwrap_err();
    assert!(matches!(refused, DatabaseError::TooManyDedicated { max: 2, .. }));
    run(&pool, "NOTIFY news, 'hello'").await;
    let mut heard = Box::pin(ear.notifications_stream());
    assert_eq!(heard.next().await.unwrap().unwrap().payload, "hello");
    drop(heard);
    drop(ear);
    pool.dedicated("another").await.unwrap();
}

#[tokio::test]
async fn the_profile_is_set_in_each_session_and_a_bad_one_is_refused() {
    let profile = SessionProfile::default().with("work_mem", "7MB").with("search_path", "a'b, public");
    let pool = new_pool(|config| config.with_session(profile)).await.pool();
    let mut conn = pool.connection().await.unwrap();
    let set = "SELECT count(*) AS value FROM pg_settings WHERE (name, setting) IN
               (('work_mem', '7168'), ('search_path', 'a''b, public'), ('client_connection_check_interval', '2000'))";
    assert_eq!(number(&mut conn, set).await, 3);
    let bad = SessionProfile::default().with("work_mem", "plenty");
    let manager = new_pool(|config| config.with_session(bad)).await;
    let refused = manager.ensure_min_connections().await.unwrap_err();
    assert!(refused.to_string().contains("a setting of the session was refused"), "{refused}");
}

#[tokio::test]
async fn closing_cancels_what_still_runs_when_the_grace_is_over() {
    let manager = new_pool(limits(1, 2)).await;
    let pool = manager.pool();
    let mut conn = pool.connection().await.unwrap();
    let sleeping = async { conn.batch_execute("SELECT pg_sleep(300)").await };
    let closing = async {
        // The statement is on its way before the pool is closed: both are polled in this order.
        manager.close_all(Duration::from_millis(50)).await
    };
    let (slept, report) = tokio::join!(sleeping, closing);
    assert!(slept.is_err());
    assert_eq!(report.still_out.len(), 1);
}

#[tokio::test]
async fn connections_can_be_opened_by_other_means() {
    let config = PostgresConfig::new(new_database().await);
    let manager = open_postgres_with_connector(config, |config| async move {
        let tls = tokio_postgres::NoTls;
        let (client, connection) = config.connect(tls).await?;
        Ok(AsyncPgConnection::try_from_client_and_connection(client, connection).await?)
    })
    .unwrap();
    let mut conn = manager.pool().connection().await.unwrap();
    diesel::sql_query("SELECT 1").execute(&mut conn).await.unwrap();
}
