//! The servers that the runner of the tests has started.

use std::sync::atomic::{AtomicU32, Ordering};

use wavequill_caching::adapters::PostgresCacheStore;
use wavequill_database::adapters::diesel_async_0_9::PostgresPoolExt;
use wavequill_database::adapters::diesel_async_0_9::diesel_async::SimpleAsyncConnection;
use wavequill_database::{DieselConnectionPoolManager, PoolLimits, PostgresConfig, PostgresPool};

static NUMBER: AtomicU32 = AtomicU32::new(0);

#[expect(clippy::disallowed_methods, reason = "tests are told where the servers are by the environment")]
fn url_in(name: &str) -> String {
    let url = std::env::var(name);
    assert!(url.is_ok(), "{name} is not set: run cargo xtask test, which starts servers for the tests");
    url.unwrap()
}

/// Where Redis is.
pub(crate) fn redis_url() -> String {
    url_in("WAVEQUILL_TEST_REDIS_URL")
}

/// The URL of a new, empty database.
pub(crate) async fn new_database() -> String {
    let url = url_in("WAVEQUILL_TEST_DATABASE_URL");
    let name = format!("caching_{}_{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
    let pool = pool(&url);
    let mut conn = pool.connection().await.unwrap();
    conn.batch_execute(&format!("DROP DATABASE IF EXISTS {name}")).await.unwrap();
    conn.batch_execute(&format!("CREATE DATABASE {name}")).await.unwrap();
    let (server, query) =
        url.split_once('?').map_or((url.as_str(), None), |(server, query)| (server, Some(query)));
    let scheme = server.find("://").unwrap() + 3;
    let end = server[scheme..].find('/').map_or(server.len(), |slash| scheme + slash);
    let query = query.map(|query| format!("?{query}")).unwrap_or_default();
    format!("{}/{name}{query}", &server[..end])
}

/// A few connections to this database.
pub(crate) fn pool(url: &str) -> PostgresPool {
    let config = PostgresConfig::new(url).with_limits(PoolLimits::new(1, 4).unwrap());
    DieselConnectionPoolManager::open_postgres(config).unwrap().pool()
}

/// A store in this database.
pub(crate) async fn postgres_at(url: &str) -> PostgresCacheStore {
    PostgresCacheStore::open(pool(url)).await.unwrap()
}

/// A store in a database of its own.
pub(crate) async fn postgres() -> PostgresCacheStore {
    postgres_at(&new_database().await).await
}
