use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc;
use std::time::Duration;

use futures_util::future::join_all;
use tempfile::TempDir;
use wavequill_database::adapters::diesel_async_0_9::SqlitePoolExt;
use wavequill_database::adapters::diesel_async_0_9::diesel::connection::SimpleConnection;
use wavequill_database::adapters::diesel_async_0_9::diesel::{self, prelude::*, result::Error};
use wavequill_database::{
    ConnectFailure, ConnectionPoolManager, DatabaseError, DieselConnectionPoolManager, Durability,
    SchemaProblem, SqliteConfig, SqlitePool, StatementFailure, TimeoutCause, testing,
};
use wavequill_kernel::{ErrorClass, Retryable};

diesel::table! { words (id) { id -> Integer, word -> Text } }

const WORDS: &str = "CREATE TABLE words (id INTEGER PRIMARY KEY, word TEXT NOT NULL UNIQUE)";
const STEPS: &[&str] = &[WORDS];

/// A pool on a file of its own; the file goes with the folder.
async fn on_file(adapt: impl FnOnce(SqliteConfig) -> SqliteConfig) -> (TempDir, SqlitePool) {
    let folder = tempfile::tempdir().unwrap();
    let config = adapt(SqliteConfig::new(folder.path().join("words.db")));
    let pool = DieselConnectionPoolManager::open_sqlite(config).await.unwrap().pool();
    pool.apply_schema("words", STEPS).await.unwrap();
    (folder, pool)
}

async fn in_memory() -> SqlitePool {
    let pool = SqlitePool::open_in_memory().await.unwrap();
    pool.apply_schema("words", STEPS).await.unwrap();
    pool
}

fn insert(conn: &mut SqliteConnection, word: &str) -> Result<usize, Error> {
    diesel::insert_into(words::table).values(words::word.eq(word)).execute(conn)
}

async fn all(pool: &SqlitePool) -> Vec<String> {
    pool.read(|conn| words::table.select(words::word).order(words::word).load(conn)).await.unwrap()
}

fn failure(error: &DatabaseError) -> StatementFailure {
    match error {
        DatabaseError::Statement { failure, .. } => *failure,
        _ => StatementFailure::Other,
    }
}

#[tokio::test]
async fn the_manager_keeps_its_contract() {
    let folder = tempfile::tempdir().unwrap();
    let config = SqliteConfig::new(folder.path().join("words.db"));
    let manager = DieselConnectionPoolManager::open_sqlite(config).await.unwrap();
    let pool = manager.pool();
    // Whoever holds the sender holds a reader.
    let hold = || async {
        let (release, released) = mpsc::channel::<()>();
        let (begun, has_begun) = tokio::sync::oneshot::channel();
        let reading = pool.clone();
        let read = async move {
            reading
                .read(move |_| {
                    begun.send(()).unwrap_or_default();
                    released.recv().unwrap_or_default();
                    Ok(())
                })
                .await
        };
        let mut read = Box::pin(read);
        tokio::select! {
            result = &mut read => result.map(|()| None),
            _ = has_begun => Ok(Some(release)),
        }
    };
    testing::connection_pool_manager(manager, hold).await;
}

#[tokio::test]
async fn closing_makes_the_writes_in_line_and_then_refuses() {
    let folder = tempfile::tempdir().unwrap();
    let config = SqliteConfig::new(folder.path().join("words.db"));
    let manager = DieselConnectionPoolManager::open_sqlite(config.clone()).await.unwrap();
    let pool = manager.pool();
    pool.apply_schema("words", STEPS).await.unwrap();
    let mut write = Box::pin(pool.write(Durability::Full, |conn| insert(conn, "last")));
    assert!(futures_util::poll!(&mut write).is_pending());
    let report = manager.close_all(Duration::from_secs(60)).await;
    assert!(report.still_out.is_empty());
    write.await.unwrap();
    let refused = pool.write(Durability::Full, |conn| insert(conn, "too late")).await.unwrap_err();
    assert!(matches!(refused, DatabaseError::Closed { .. }));
    let again = DieselConnectionPoolManager::open_sqlite(config).await.unwrap().pool();
    assert_eq!(all(&again).await, ["last"]);
}

#[tokio::test]
async fn an_acknowledged_write_is_read_by_every_reader() {
    for (pool, _folder) in [(in_memory().await, None), {
        let (folder, pool) = on_file(|config| config).await;
        (pool, Some(folder))
    }] {
        pool.write(Durability::Normal, |conn| insert(conn, "alpha")).await.unwrap();
        let seen = join_all((0..8).map(|_| all(&pool))).await;
        assert!(seen.iter().all(|words| words == &["alpha"]), "{seen:?}");
    }
}

#[tokio::test]
async fn a_failed_write_rolls_back_alone() {
    let (_folder, pool) = on_file(|config| config).await;
    let results = join_all(["a", "b", "a", "c"].map(|word| {
        let pool = pool.clone();
        async move {
            pool.write(Durability::Full, move |conn| {
                insert(conn, &format!("{word}-before"))?;
                insert(conn, word)
            })
            .await
        }
    }))
    .await;
    let failed: Vec<_> = results.iter().filter_map(|result| result.as_ref().err()).collect();
    assert_eq!(failed.len(), 1);
    assert_eq!(failure(failed[0]), StatementFailure::UniqueViolation);
    assert_eq!(all(&pool).await, ["a", "a-before", "b", "b-before", "c", "c-before"]);
}

#[tokio::test]
async fn a_panicking_write_rolls_back_alone_and_comes_back_as_an_error() {
    for pool in [in_memory().await] {
        let panicking = pool.write(Durability::Full, |conn| -> Result<(), Error> {
            insert(conn, "lost")?;
            conn.transaction(|conn| -> Result<(), Error> {
                insert(conn, "lost too")?;
                panic!("the closure is broken")
            })
        });
        let (kept, panicked) =
            tokio::join!(pool.write(Durability::Full, |conn| insert(conn, "kept")), panicking);
        kept.unwrap();
        let error = panicked.unwrap_err();
        assert!(matches!(&error, DatabaseError::Panicked { message } if message == "the closure is broken"));
        assert_eq!(error.class(), ErrorClass::Permanent);
        pool.write(Durability::Full, |conn| insert(conn, "later")).await.unwrap();
        assert_eq!(all(&pool).await, ["kept", "later"]);
    }
}

#[tokio::test]
async fn a_panicking_read_leaves_its_reader_usable() {
    let (_folder, pool) = on_file(|config| config.with_readers(1)).await;
    let error = pool
        .read(|conn| conn.transaction(|_| -> Result<(), Error> { panic!("the reader is broken") }))
        .await
        .unwrap_err();
    assert!(matches!(error, DatabaseError::Panicked { .. }));
    pool.write(Durability::Normal, |conn| insert(conn, "alpha")).await.unwrap();
    // A reader still inside its transaction would see the state before.
    assert_eq!(all(&pool).await, ["alpha"]);
}

#[tokio::test]
async fn a_closure_that_commits_by_itself_is_told_and_the_writer_lives_on() {
    let pool = in_memory().await;
    let error = pool
        .write(Durability::Normal, |conn| {
            insert(conn, "early")?;
            conn.batch_execute("COMMIT")
        })
        .await
        .unwrap_err();
    assert!(matches!(error, DatabaseError::GroupRolledBack { .. }), "{error}");
    pool.write(Durability::Normal, |conn| insert(conn, "later")).await.unwrap();
    assert!(all(&pool).await.contains(&"later".to_owned()));
}

#[tokio::test]
async fn a_reader_cannot_write() {
    for pool in [in_memory().await, on_file(|config| config).await.1] {
        let error = pool.read(|conn| insert(conn, "smuggled")).await.unwrap_err();
        assert_eq!(failure(&error), StatementFailure::ReadOnly);
        pool.write(Durability::Normal, |conn| insert(conn, "allowed")).await.unwrap();
        assert_eq!(all(&pool).await, ["allowed"]);
    }
}

#[tokio::test]
async fn a_write_whose_caller_has_gone_before_its_turn_is_not_begun() {
    let (_folder, pool) = on_file(|config| config).await;
    let (release, released) = mpsc::channel::<()>();
    let (begun, has_begun) = tokio::sync::oneshot::channel();
    let blocking = pool.write(Durability::Normal, move |conn| {
        begun.send(()).unwrap();
        released.recv().unwrap();
        insert(conn, "first")
    });
    let given_up = async {
        has_begun.await.unwrap();
        let mut second = Box::pin(pool.write(Durability::Normal, |conn| insert(conn, "second")));
        assert!(futures_util::poll!(&mut second).is_pending());
        drop(second);
        release.send(()).unwrap();
    };
    let (first, ()) = tokio::join!(blocking, given_up);
    first.unwrap();
    pool.write(Durability::Normal, |conn| insert(conn, "third")).await.unwrap();
    assert_eq!(all(&pool).await, ["first", "third"]);
}

#[tokio::test]
async fn a_write_dropped_after_it_began_commits_whole() {
    let (_folder, pool) = on_file(|config| config).await;
    let (release, released) = mpsc::channel::<()>();
    let (begun, has_begun) = tokio::sync::oneshot::channel();
    let mut write = Box::pin(pool.write(Durability::Normal, move |conn| {
        begun.send(()).unwrap();
        insert(conn, "one")?;
        released.recv().unwrap();
        insert(conn, "two")
    }));
    assert!(futures_util::poll!(&mut write).is_pending());
    has_begun.await.unwrap();
    drop(write);
    release.send(()).unwrap();
    pool.write(Durability::Normal, |conn| insert(conn, "three")).await.unwrap();
    assert_eq!(all(&pool).await, ["one", "three", "two"]);
}

#[tokio::test]
async fn a_write_that_waits_too_long_says_that_the_writer_is_busy_and_never_runs() {
    let (_folder, pool) = on_file(|config| config.with_acquire_timeout(Duration::from_millis(30))).await;
    let (release, released) = mpsc::channel::<()>();
    let mut blocking = Box::pin(pool.write(Durability::Normal, move |_| {
        released.recv().unwrap();
        Ok(())
    }));
    assert!(futures_util::poll!(&mut blocking).is_pending());
    let error = pool.write(Durability::Normal, |conn| insert(conn, "late")).await.unwrap_err();
    assert!(
        matches!(error, DatabaseError::AcquireTimeout { cause: TimeoutCause::WriterBusy { .. }, .. }),
        "{error}"
    );
    assert_eq!(error.class(), ErrorClass::Transient);
    release.send(()).unwrap();
    blocking.await.unwrap();
    assert!(all(&pool).await.is_empty());
}

const MORE: &[&str] = &[WORDS, "ALTER TABLE words ADD COLUMN language TEXT"];

#[tokio::test]
async fn schema_steps_run_once_and_a_changed_step_is_refused() {
    let (_folder, pool) = on_file(|config| config).await;
    pool.apply_schema("words", STEPS).await.unwrap();
    pool.apply_schema("words", MORE).await.unwrap();
    pool.apply_schema("words", MORE).await.unwrap();
    let newer = pool.apply_schema("words", STEPS).await.unwrap_err();
    assert!(matches!(
        newer,
        DatabaseError::Schema { problem: SchemaProblem::Newer { found: 2, known: 1 }, .. }
    ));
    let changed = pool.apply_schema("words", &["CREATE TABLE words (id)", "SELECT 1"]).await.unwrap_err();
    assert!(matches!(changed, DatabaseError::Schema { problem: SchemaProblem::Changed { version: 2 }, .. }));
    let half = pool.apply_schema("half", &["CREATE TABLE half (id)", "CREATE NONSENSE"]).await.unwrap_err();
    assert_eq!(failure(&half), StatementFailure::Other);
    pool.apply_schema("half", &["CREATE TABLE half (id)"]).await.unwrap();
}

#[tokio::test]
async fn two_processes_bring_the_schema_up_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let open = || async {
        let config = SqliteConfig::new(folder.path().join("shared.db"));
        let pool = DieselConnectionPoolManager::open_sqlite(config).await.unwrap().pool();
        pool.apply_schema("words", STEPS).await.unwrap();
        pool
    };
    let pools = join_all((0..6).map(|_| open())).await;
    for (number, pool) in pools.iter().enumerate() {
        pool.write(Durability::Normal, move |conn| insert(conn, &number.to_string())).await.unwrap();
    }
    assert_eq!(all(&pools[0]).await.len(), 6);
}

#[tokio::test]
async fn what_cannot_be_opened_says_why() {
    let folder = tempfile::tempdir().unwrap();
    let open = |path: PathBuf| DieselConnectionPoolManager::open_sqlite(SqliteConfig::new(path));
    let missing = open(folder.path().join("no/such/folder.db")).await.unwrap_err();
    assert!(missing.to_string().contains("its folder does not exist"), "{missing}");
    let a_folder = open(folder.path().to_owned()).await.unwrap_err();
    assert!(a_folder.to_string().contains("is a folder, not a file"), "{a_folder}");
    let text = folder.path().join("notes.txt");
    std::fs::write(&text, "x".repeat(8_192)).unwrap();
    let no_database = open(text).await.unwrap_err();
    assert!(
        matches!(no_database, DatabaseError::Connect { failure: ConnectFailure::Corrupt, .. }),
        "{no_database}"
    );
    let refused = DieselConnectionPoolManager::open_sqlite(SqliteConfig::new(":memory:").with_readers(0))
        .await
        .unwrap_err();
    assert!(matches!(refused, DatabaseError::InvalidConfig { .. }));
}

#[tokio::test(start_paused = true)]
async fn a_runtime_whose_clock_is_paused_sees_no_false_time_out() {
    let (_folder, pool) = on_file(|config| config.with_readers(1)).await;
    let writes = (0..20).map(|number| {
        let pool = &pool;
        async move {
            pool.write(Durability::Normal, move |conn| insert(conn, &format!("{number:02}"))).await.unwrap();
            pool.read(|conn| words::table.count().get_result::<i64>(conn)).await.unwrap()
        }
    });
    join_all(writes).await;
    assert_eq!(all(&pool).await.len(), 20);
}

#[test]
fn it_works_on_runtimes_without_timers_and_outlives_each() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
    let pool = runtime.block_on(in_memory());
    let pool = Arc::new(pool);
    let write = |word: &'static str| {
        let pool = Arc::clone(&pool);
        async move { pool.write(Durability::Full, move |conn| insert(conn, word)).await.unwrap() }
    };
    runtime.block_on(write("one"));
    drop(runtime);
    let other = tokio::runtime::Builder::new_current_thread().build().unwrap();
    other.block_on(write("two"));
    assert_eq!(other.block_on(all(&pool)), ["one", "two"]);
}
