//! The advisor as its users meet it, on real databases.

use std::path::Path;

use wavequill_database::adapters::diesel_async_0_9::diesel::connection::SimpleConnection;
use wavequill_database::adapters::diesel_async_0_9::diesel_async::SimpleAsyncConnection;
use wavequill_database::adapters::diesel_async_0_9::{PostgresPoolExt, SqlitePoolExt};
use wavequill_database::{
    DieselConnectionPoolManager, Durability, IndexManager, PostgresConfig, PostgresIndexManager,
    SqliteConfig, SqliteIndexManager, TableScope,
};
use wavequill_examples::{Cli, Ran};

const STATEMENTS: &str = "SELECT id FROM jobs WHERE owner = 7;\nSELECT owner FROM jobs WHERE id = 1;\n";

fn advisor(database: &str, more: &[&str]) -> Ran {
    let mut args = vec![database];
    args.extend(more);
    Cli::find_named("advisor").unwrap().run(args).unwrap()
}

fn statements(folder: &Path) -> String {
    let file = folder.join("statements.sql");
    std::fs::write(&file, STATEMENTS).unwrap();
    file.to_str().unwrap().to_owned()
}

#[tokio::test]
async fn an_sqlite_database_is_advised_and_changed_only_when_it_is_said_twice() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("app.db");
    let pool =
        DieselConnectionPoolManager::open_sqlite(SqliteConfig::new(path.as_path())).await.unwrap().pool();
    let schema = "CREATE TABLE jobs (id INTEGER PRIMARY KEY, owner INTEGER);
        WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20000)
        INSERT INTO jobs SELECT i, i FROM n;
        CREATE INDEX one ON jobs (id, owner); CREATE INDEX two ON jobs (id, owner); ANALYZE;";
    pool.write(Durability::Normal, move |conn| conn.batch_execute(schema)).await.unwrap();
    let (database, statements) = (path.to_str().unwrap(), statements(folder.path()));
    let indexes = SqliteIndexManager::new(pool);

    let shown = advisor(database, &["--statements", &statements, "--apply", "all"]);
    assert!(shown.status.success(), "{}", shown.stderr);
    for part in
        ["Connection: healthy", "reads all 20000 rows of jobs", "two is a duplicate of one", "add --yes"]
    {
        assert!(shown.stdout.contains(part), "no `{part}` in {}", shown.stdout);
    }
    let problems = indexes.audit(&TableScope::All).await.unwrap().len();
    assert!(!shown.stdout.contains("  built "), "{}", shown.stdout);

    let done = advisor(database, &["--statements", &statements, "--apply", "all", "--yes"]);
    assert!(done.stdout.contains("  built wq_jobs_owner_"), "{}{}", done.stdout, done.stderr);
    let again = advisor(database, &["--statements", &statements]);
    assert!(again.stdout.contains("Indexes that would help\n  none"), "{}", again.stdout);
    assert_eq!(indexes.audit(&TableScope::All).await.unwrap().len(), problems);
}

#[tokio::test]
#[expect(clippy::disallowed_methods, reason = "the runner of the tests says where its servers are")]
async fn a_postgresql_database_is_advised_and_changed_only_when_it_is_said_twice() {
    let server = std::env::var("WAVEQUILL_TEST_DATABASE_URL").expect("run cargo xtask test");
    let name = format!("advisor_{}", std::process::id());
    let open =
        |url: &str| DieselConnectionPoolManager::open_postgres(PostgresConfig::new(url)).unwrap().pool();
    let admin = open(&server);
    for sql in [format!("DROP DATABASE IF EXISTS {name}"), format!("CREATE DATABASE {name}")] {
        admin.connection().await.unwrap().batch_execute(&sql).await.unwrap();
    }
    let database = server.rsplit_once('/').map(|(server, _)| format!("{server}/{name}")).unwrap();
    let pool = open(&database);
    let schema = "CREATE TABLE jobs (id bigint PRIMARY KEY, owner bigint);
        INSERT INTO jobs SELECT i, i FROM generate_series(1, 20000) i;
        CREATE INDEX again ON jobs (id); ANALYZE jobs";
    pool.connection().await.unwrap().batch_execute(schema).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let statements = statements(folder.path());
    let indexes = PostgresIndexManager::new(pool);

    let shown = advisor(&database, &["--statements", &statements, "--apply", "1"]);
    assert!(shown.status.success(), "{}", shown.stderr);
    for part in [
        "Connection: healthy",
        "reads all 20000 rows of public.jobs",
        "CREATE INDEX CONCURRENTLY wq_jobs_owner_",
        "public.again is a duplicate of public.jobs_pkey",
        "DROP INDEX CONCURRENTLY public.again",
        "add --yes",
    ] {
        assert!(shown.stdout.contains(part), "no `{part}` in {}", shown.stdout);
    }
    let before = indexes.audit(&TableScope::All).await.unwrap();

    let done = advisor(&database, &["--statements", &statements, "--apply", "1", "--yes"]);
    assert!(done.stdout.contains("  built public.wq_jobs_owner_"), "{}{}", done.stdout, done.stderr);
    let again = advisor(&database, &["--statements", &statements]);
    assert!(again.stdout.contains("Indexes that would help\n  none"), "{}", again.stdout);
    assert_eq!(indexes.audit(&TableScope::All).await.unwrap(), before);
}

#[test]
fn what_cannot_be_looked_at_is_refused_with_a_reason() {
    for (args, reason) in [
        (&["no-such.db"][..], "no-such.db is no file"),
        (&["postgres://nobody:hunter2@127.0.0.1:1/db"], "the database cannot be looked at"),
        (&["x.db", "--yes"], "--apply"),
    ] {
        let ran = Cli::find_named("advisor").unwrap().run(args).unwrap();
        assert!(!ran.status.success());
        assert!(ran.stderr.contains(reason) && !ran.stderr.contains("hunter2"), "{}", ran.stderr);
    }
}
