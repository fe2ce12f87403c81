use std::sync::Arc;

use wavequill_caching::adapters::SqliteCacheStore;
use wavequill_caching::ports::{CachePorts, LogScope};
use wavequill_caching::testing::{self, seconds};
use wavequill_caching::{MemoryStore, cache_conformance, store_conformance};
use wavequill_database::SqlitePool;
use wavequill_kernel::testing::ManualClock;

use crate::cache;
use crate::servers::postgres;

async fn sqlite() -> SqliteCacheStore {
    SqliteCacheStore::open(SqlitePool::open_in_memory().await.unwrap()).await.unwrap()
}

store_conformance!(memory_store, MemoryStore::new());
store_conformance!(sqlite_store, sqlite().await);
store_conformance!(postgres_store, postgres().await);

cache_conformance!(cache_on_memory, cache(CachePorts::on(Arc::new(MemoryStore::new()))));
cache_conformance!(cache_on_sqlite, cache(CachePorts::on(Arc::new(sqlite().await))));
cache_conformance!(cache_on_postgres, cache(CachePorts::on(Arc::new(postgres().await))));
cache_conformance!(
    cache_on_a_shared_store_with_l2,
    cache(
        CachePorts::on(Arc::new(MemoryStore::with_scope(LogScope::Fleet)))
            .with_l2(Arc::new(testing::MemoryTier::new()))
    )
);

#[tokio::test]
async fn a_lease_in_sqlite_that_is_not_renewed_ends() {
    let clock = Arc::new(ManualClock::new());
    let store = sqlite().await.with_clock(clock.clone());
    testing::store::a_lease_that_is_not_renewed_ends(&store, &clock).await;
}

#[test]
fn a_ttl_of_the_test_kit_is_the_one_asked_for() {
    assert_eq!(seconds(7).as_duration().as_secs(), 7);
}
