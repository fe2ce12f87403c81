//! Stores under test.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use wavequill_database::SqlitePool;
use wavequill_kernel::Clock;
use wavequill_kernel::testing::ManualClock;
use wavequill_queue::adapters::{MemoryJobStore, SqliteJobStore};
use wavequill_queue::testing::StoreHarness;
use wavequill_queue::{JobStore, Policies, StoreConfig};

#[derive(Debug)]
pub(crate) struct Timed<S> {
    pub(crate) store: Arc<S>,
    pub(crate) clock: Arc<ManualClock>,
}

pub(crate) type Memory = Timed<MemoryJobStore>;
pub(crate) type Sqlite = Timed<SqliteJobStore>;

impl Timed<MemoryJobStore> {
    pub(crate) fn new() -> Self {
        let clock = Arc::new(ManualClock::new());
        let policies = Policies::default().with_clock(Arc::clone(&clock));
        Self { store: Arc::new(MemoryJobStore::new(StoreConfig::default(), policies).unwrap()), clock }
    }
}

impl Timed<SqliteJobStore> {
    pub(crate) async fn new() -> Self {
        let clock = Arc::new(ManualClock::new());
        let policies = Policies::default().with_clock(Arc::clone(&clock));
        let pool = SqlitePool::open_in_memory().await.unwrap();
        let store = SqliteJobStore::open(pool, StoreConfig::default(), policies).await.unwrap();
        Self { store: Arc::new(store), clock }
    }
}

#[async_trait::async_trait]
impl<S: JobStore> StoreHarness for Timed<S> {
    fn store(&self) -> Arc<dyn JobStore> {
        Arc::<S>::clone(&self.store)
    }

    async fn now(&self) -> SystemTime {
        self.clock.now()
    }

    async fn advance(&self, by: Duration) {
        self.clock.advance(by);
    }
}
