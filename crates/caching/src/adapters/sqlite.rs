//! All ports on SQLite, over the pool of the database context. What is decided is in the files beside this one, as
//! functions of a connection; here calls become closures, and driver errors become this context's.

mod erasing;
mod log;
mod reading;
mod rows;
mod schema;
mod writing;

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use diesel::{QueryResult, SqliteConnection};
use parking_lot::Mutex;
use wavequill_database::adapters::diesel_async_0_9::SqlitePoolExt;
use wavequill_database::{DatabaseError, Durability, SqlitePool};
use wavequill_kernel::{Clock, SystemClock};

use crate::envelope::to_ms;
use crate::local_bus::LocalBus;
use crate::ports::{
    Backplane, CacheTier, ErasePage, ErasureIndex, HotKey, HotSetStore, InvalidationLog, LeaseAttempt,
    LeaseStore, LeaseToken, LogPage, LogScope, Notice, NoticeReceiver, Removal, SweepPage, TierPut, TierRead,
    TierVerdict,
};
use crate::{CacheError, CacheKey, CacheLevel, Count, EraseCursor, LogPosition, Selector, Subject};

/// L3 in an SQLite database that the processes of one machine may share: entries, log, leases, index, hot set.
///
/// A clone is the same store. Its bus reaches the caches of this process; other processes look at the log.
///
/// ```
/// use std::sync::Arc;
/// use wavequill_caching::{CacheConfig, MultiLevelCache, adapters::SqliteCacheStore, ports::CachePorts};
/// use wavequill_database::SqlitePool;
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let pool = SqlitePool::open_in_memory().await?;
/// let store = SqliteCacheStore::open(pool).await?;
/// let cache = MultiLevelCache::new(CacheConfig::default(), CachePorts::on(Arc::new(store)))?;
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct SqliteCacheStore {
    pool: SqlitePool,
    clock: Arc<dyn Clock>,
    bus: Arc<LocalBus>,
    durability: Durability,
    /// Where the next sweep looks for ended entries.
    sweep_from: Arc<Mutex<Vec<u8>>>,
}

impl SqliteCacheStore {
    /// Brings the store's tables to this version, and uses them. A write that was answered survives the process
    /// being killed; a power cut may take the last ones (see [`with_durability`](Self::with_durability)).
    ///
    /// # Errors
    /// [`CacheError::Unavailable`] if the database is newer than this program, or cannot be written.
    pub async fn open(pool: SqlitePool) -> Result<Self, CacheError> {
        pool.apply_schema("caching", schema::STEPS)
            .await
            .map_err(|error| unavailable("open its tables", error))?;
        Ok(Self {
            pool,
            clock: Arc::new(SystemClock),
            bus: Arc::new(LocalBus::new()),
            durability: Durability::Normal,
            sweep_from: Arc::default(),
        })
    }

    /// Sets how sure a write is when it is answered. Default: [`Durability::Normal`].
    #[must_use]
    pub fn with_durability(mut self, durability: Durability) -> Self {
        self.durability = durability;
        self
    }

    /// Sets the clock that leases end by. Default: the operating system's.
    #[must_use]
    pub fn with_clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    async fn read<T, F>(&self, operation: &'static str, f: F) -> Result<T, CacheError>
    where
        T: Send + 'static,
        F: FnOnce(&mut SqliteConnection) -> QueryResult<T> + Send + 'static,
    {
        self.pool.read(f).await.map_err(|error| unavailable(operation, error))
    }

    async fn write<T, F>(&self, operation: &'static str, f: F) -> Result<T, CacheError>
    where
        T: Send + 'static,
        F: FnOnce(&mut SqliteConnection) -> QueryResult<T> + Send + 'static,
    {
        self.pool.write(self.durability, f).await.map_err(|error| unavailable(operation, error))
    }
}

fn unavailable(operation: &'static str, error: DatabaseError) -> CacheError {
    CacheError::unavailable(CacheLevel::L3, operation, error)
}

impl fmt::Debug for SqliteCacheStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqliteCacheStore")
            .field("pool", &self.pool.name())
            .field("durability", &self.durability)
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl CacheTier for SqliteCacheStore {
    async fn get(&self, keys: &[CacheKey]) -> Result<TierRead, CacheError> {
        let keys = keys.to_vec();
        let (living, as_of, keys) = self
            .read("read entries", move |conn| {
                let (living, as_of) = reading::living(conn, &keys)?;
                Ok((living, as_of, keys))
            })
            .await?;
        let envelopes = keys.iter().map(|key| living.get(key.digest().as_slice()).cloned()).collect();
        Ok(TierRead { envelopes, as_of: Some(as_of) })
    }

    async fn put(&self, puts: Vec<TierPut>) -> Result<Vec<TierVerdict>, CacheError> {
        let clock = self.clock.clone();
        self.write("store entries", move |conn| writing::put(conn, &puts, to_ms(clock.now()))).await
    }

    async fn remove(&self, removals: Vec<Removal>) -> Result<(), CacheError> {
        self.write("remove entries", move |conn| erasing::remove(conn, &removals)).await
    }

    async fn count(&self) -> Result<Count, CacheError> {
        let count = self.read("count entries", reading::count).await?;
        Ok(Count::Exact(count))
    }
}

#[async_trait]
impl InvalidationLog for SqliteCacheStore {
    fn scope(&self) -> LogScope {
        LogScope::Machine
    }

    async fn head(&self) -> Result<LogPosition, CacheError> {
        self.read("read the log's head", log::head).await
    }

    async fn append(&self, subjects: &[Subject]) -> Result<LogPosition, CacheError> {
        let (subjects, clock) = (subjects.to_vec(), self.clock.clone());
        self.write("append to the log", move |conn| log::append(conn, &subjects, to_ms(clock.now()))).await
    }

    async fn since(&self, seq: u64, limit: u32) -> Result<LogPage, CacheError> {
        self.read("read the log", move |conn| log::since(conn, seq, limit)).await
    }
}

#[async_trait]
impl LeaseStore for SqliteCacheStore {
    async fn acquire(
        &self,
        keys: &[CacheKey],
        token: LeaseToken,
        ttl: Duration,
    ) -> Result<Vec<LeaseAttempt>, CacheError> {
        let (keys, clock) = (keys.to_vec(), self.clock.clone());
        self.write("lease keys", move |conn| log::acquire(conn, &keys, token, to_ms(clock.now()), ttl)).await
    }

    async fn renew(
        &self,
        keys: &[CacheKey],
        token: LeaseToken,
        ttl: Duration,
    ) -> Result<Vec<bool>, CacheError> {
        let (keys, clock) = (keys.to_vec(), self.clock.clone());
        self.write("renew leases", move |conn| log::renew(conn, &keys, token, to_ms(clock.now()), ttl)).await
    }

    async fn release(&self, keys: &[CacheKey], token: LeaseToken) -> Result<(), CacheError> {
        let keys = keys.to_vec();
        self.write("give leases back", move |conn| log::release(conn, &keys, token)).await
    }
}

#[async_trait]
impl ErasureIndex for SqliteCacheStore {
    async fn erase_page(
        &self,
        what: &Selector,
        cursor: &EraseCursor,
        limit: u32,
    ) -> Result<ErasePage, CacheError> {
        let (what, cursor, clock) = (*what, *cursor, self.clock.clone());
        self.write("erase entries", move |conn| {
            erasing::erase_page(conn, &what, &cursor, limit, to_ms(clock.now()))
        })
        .await
    }

    async fn remaining(&self, what: &Selector, position: LogPosition) -> Result<u64, CacheError> {
        let what = *what;
        self.read("look for what is left to erase", move |conn| erasing::remaining(conn, &what, position.seq))
            .await
    }

    async fn scrub(&self) -> Result<(), CacheError> {
        let busy = self.read("truncate the write-ahead log", erasing::truncate_log).await?;
        if busy {
            return Err(CacheError::unavailable(
                CacheLevel::L3,
                "truncate the write-ahead log",
                "another process is reading or writing the file",
            ));
        }
        Ok(())
    }

    async fn sweep_page(&self, now: SystemTime, limit: u32) -> Result<SweepPage, CacheError> {
        let from = self.sweep_from.lock().clone();
        let (page, next) =
            self.write("sweep", move |conn| erasing::sweep_page(conn, to_ms(now), limit, from)).await?;
        *self.sweep_from.lock() = next;
        Ok(page)
    }
}

#[async_trait]
impl HotSetStore for SqliteCacheStore {
    async fn save(&self, keys: Vec<HotKey>) -> Result<(), CacheError> {
        self.write("remember the hot set", move |conn| writing::save_hot(conn, &keys)).await
    }

    async fn load(&self, limit: u32) -> Result<Vec<HotKey>, CacheError> {
        self.read("recall the hot set", move |conn| reading::hot(conn, limit)).await
    }
}

#[async_trait]
impl Backplane for SqliteCacheStore {
    async fn publish(&self, notice: Notice) {
        self.bus.publish(notice);
    }

    fn subscribe(&self) -> Box<dyn NoticeReceiver> {
        self.bus.subscribe()
    }
}
