//! The PostgreSQL server of the tests: each test has a database of its own on it.

use std::sync::atomic::{AtomicU32, Ordering};

use wavequill_database::adapters::diesel_async_0_9::diesel_async::{
    AsyncConnection, AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection,
};
use wavequill_database::adapters::diesel_async_0_9::{PostgresPoolExt, diesel};
use wavequill_database::{DieselConnectionPoolManager, PostgresConfig, PostgresPool};

static NUMBER: AtomicU32 = AtomicU32::new(0);

/// The server's URL, without a database.
#[expect(clippy::disallowed_methods, reason = "the runner of the tests says where its servers are")]
pub(crate) fn url() -> String {
    let url = std::env::var("WAVEQUILL_TEST_DATABASE_URL");
    assert!(url.is_ok(), "WAVEQUILL_TEST_DATABASE_URL is not set: run cargo xtask test");
    url.unwrap()
}

/// The URL of a new, empty database.
pub(crate) async fn new_database() -> String {
    let url = url();
    let name = format!("it_{}_{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
    let mut conn = AsyncPgConnection::establish(&url).await.unwrap();
    conn.batch_execute(&format!("DROP DATABASE IF EXISTS {name}")).await.unwrap();
    conn.batch_execute(&format!("CREATE DATABASE {name}")).await.unwrap();
    with_database(&url, &name)
}

/// The same server, another database.
pub(crate) fn with_database(url: &str, name: &str) -> String {
    let (server, query) = url.split_once('?').map_or((url, None), |(server, query)| (server, Some(query)));
    let scheme = server.find("://").unwrap() + 3;
    let end = server[scheme..].find('/').map_or(server.len(), |slash| scheme + slash);
    let query = query.map(|query| format!("?{query}")).unwrap_or_default();
    format!("{}/{name}{query}", &server[..end])
}

/// A pool on a new, empty database.
pub(crate) async fn new_pool(
    adapt: impl FnOnce(PostgresConfig) -> PostgresConfig,
) -> DieselConnectionPoolManager<PostgresPool> {
    let config = adapt(PostgresConfig::new(new_database().await));
    DieselConnectionPoolManager::open_postgres(config).unwrap()
}

#[derive(diesel::QueryableByName)]
struct Number {
    #[diesel(sql_type = diesel::sql_types::BigInt)]
    value: i64,
}

/// One number from one statement that names it `value`.
pub(crate) async fn number(conn: &mut AsyncPgConnection, sql: &str) -> i64 {
    diesel::sql_query(sql).get_result::<Number>(conn).await.unwrap().value
}

/// Runs statements that return nothing.
pub(crate) async fn run(pool: &PostgresPool, sql: &str) {
    pool.connection().await.unwrap().batch_execute(sql).await.unwrap();
}
