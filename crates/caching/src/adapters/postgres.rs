//! All ports on PostgreSQL, over the pool of the database context. What is decided is in `entries`, what is said to
//! the server in the files beside this one; here calls become transactions, and driver errors this context's.

mod bus;
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
use diesel::result::{DatabaseErrorKind, Error};
use parking_lot::Mutex;
use wavequill_database::adapters::diesel_async_0_9::PostgresPoolExt;
use wavequill_database::adapters::diesel_async_0_9::diesel_async::{
    AsyncPgConnection, SimpleAsyncConnection,
};
use wavequill_database::{DatabaseError, PostgresPool};

use self::bus::PostgresBus;
use crate::envelope::to_ms;
use crate::ports::{
    Backplane, CacheTier, ErasePage, ErasureIndex, HotKey, HotSetStore, InvalidationLog, LeaseAttempt,
    LeaseStore, LeaseToken, LogPage, LogScope, Notice, NoticeReceiver, Removal, SweepPage, TierPut, TierRead,
    TierVerdict,
};
use crate::{CacheError, CacheKey, CacheLevel, Count, EraseCursor, LogPosition, Selector, Subject};

/// L3 in a PostgreSQL database that a fleet shares: entries, log, leases, index, hot set, and a bus by `NOTIFY`.
///
/// A clone is the same store. Once a cache listens to its bus, one connection of the pool hears the notices of other
/// nodes; if the pool has none to spare, the caches look at the log instead.
///
/// What was erased is gone from the tables, and [`scrub`](ErasureIndex::scrub) has them vacuumed; what the server
/// keeps elsewhere, such as its write-ahead log, replicas and backups, follows their own rules.
///
/// ```no_run
/// use std::sync::Arc;
/// use wavequill_caching::{CacheConfig, MultiLevelCache, adapters::PostgresCacheStore, ports::CachePorts};
/// use wavequill_database::{DieselConnectionPoolManager, PostgresConfig};
///
/// # async fn open() -> Result<(), Box<dyn std::error::Error>> {
/// let manager = DieselConnectionPoolManager::open_postgres(PostgresConfig::new("postgres://localhost/wavequill"))?;
/// let store = PostgresCacheStore::open(manager.pool()).await?;
/// let cache = MultiLevelCache::new(CacheConfig::default(), CachePorts::on(Arc::new(store)))?;
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct PostgresCacheStore {
    pool: PostgresPool,
    bus: Arc<PostgresBus>,
    /// Where the next sweep looks for ended entries.
    sweep_from: Arc<Mutex<Vec<u8>>>,
}

/// How often a transaction is run that others got into the way of.
const TRIES: u32 = 8;

/// Of all that write to the log or to entries, the first sort waits for the second, so that no entry is stored
/// under a position once a later one has been answered. A writer that hangs is ended by the server.
const APPENDING: &str = "SET LOCAL idle_in_transaction_session_timeout = '10s'; SET LOCAL lock_timeout = '20s'; \
     SELECT pg_advisory_xact_lock(8391458223014097761)";
const STORING: &str = "SET LOCAL idle_in_transaction_session_timeout = '10s'; SET LOCAL lock_timeout = '20s'; \
     SELECT pg_advisory_xact_lock_shared(8391458223014097761)";
/// What neither stores nor appends.
const REMOVING: &str =
    "SET LOCAL idle_in_transaction_session_timeout = '10s'; SET LOCAL lock_timeout = '20s'";

/// What ends a transaction.
enum Stop {
    Statement(Error),
    Pool(DatabaseError),
    /// Somebody else stored the same key a moment before: everything is to be decided again.
    Raced,
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Statement(error)
    }
}

impl Stop {
    /// Whether the same transaction may succeed at once: raced, 40001, and 40P01 by its message (diesel has no kind
    /// for it).
    fn is_conflict(&self) -> bool {
        match self {
            Self::Raced
            | Self::Statement(Error::DatabaseError(DatabaseErrorKind::SerializationFailure, _)) => true,
            Self::Statement(Error::DatabaseError(_, information)) => {
                information.message().contains("deadlock detected")
            }
            Self::Statement(_) | Self::Pool(_) => false,
        }
    }

    fn into_error(self, operation: &'static str) -> CacheError {
        match self {
            Self::Statement(error) => CacheError::unavailable(CacheLevel::L3, operation, error),
            Self::Pool(error) => CacheError::unavailable(CacheLevel::L3, operation, error),
            Self::Raced => {
                CacheError::unavailable(CacheLevel::L3, operation, "others store the same keys all the time")
            }
        }
    }
}

/// Runs one statement on a connection of the pool.
macro_rules! statement {
    ($store:expr, $operation:literal, |$conn:ident| $body:expr) => {
        match $store.pool.connection().await {
            Ok(mut pooled) => {
                let $conn: &mut AsyncPgConnection = &mut pooled;
                $body.await.map_err(|error| Stop::Statement(error).into_error($operation))
            }
            Err(error) => Err(Stop::Pool(error).into_error($operation)),
        }
    };
}

/// Runs statements in a transaction, again if others got into its way.
macro_rules! transaction {
    ($store:expr, $operation:literal, $begin:expr, |$conn:ident| $body:expr) => {{
        let mut tries = 0;
        loop {
            tries += 1;
            let outcome = match $store.pool.connection().await {
                Ok(mut pooled) => {
                    let conn: &mut AsyncPgConnection = &mut pooled;
                    conn.build_transaction()
                        .read_committed()
                        .run(async |$conn: &mut AsyncPgConnection| -> Result<_, Stop> {
                            $conn.batch_execute($begin).await?;
                            let answer = $body.await?;
                            Ok(answer)
                        })
                        .await
                }
                Err(error) => Err(Stop::Pool(error)),
            };
            match outcome {
                Ok(answer) => break Ok(answer),
                Err(stop) if stop.is_conflict() && tries < TRIES => {}
                Err(stop) => break Err(stop.into_error($operation)),
            }
        }
    }};
}

impl PostgresCacheStore {
    /// Brings the store's tables to this version, and uses them.
    ///
    /// # Errors
    /// [`CacheError::Unavailable`] if the database is newer than this program, cannot be reached, or cannot be
    /// written.
    pub async fn open(pool: PostgresPool) -> Result<Self, CacheError> {
        let applied = pool.apply_schema("caching", schema::STEPS).await;
        applied.map_err(|error| Stop::Pool(error).into_error("open its tables"))?;
        Ok(Self { pool, bus: Arc::new(PostgresBus::new()), sweep_from: Arc::default() })
    }
}

impl fmt::Debug for PostgresCacheStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresCacheStore").field("pool", &self.pool.name()).finish_non_exhaustive()
    }
}

#[async_trait]
impl CacheTier for PostgresCacheStore {
    async fn get(&self, keys: &[CacheKey]) -> Result<TierRead, CacheError> {
        statement!(self, "read entries", |conn| reading::living(conn, keys))
    }

    async fn put(&self, puts: Vec<TierPut>) -> Result<Vec<TierVerdict>, CacheError> {
        let appends = puts.iter().any(|put| put.policy == crate::PutPolicy::Replace);
        let begin = if appends { APPENDING } else { STORING };
        transaction!(self, "store entries", begin, |conn| writing::put(conn, &puts))
    }

    async fn remove(&self, removals: Vec<Removal>) -> Result<(), CacheError> {
        transaction!(self, "remove entries", REMOVING, |conn| erasing::remove(conn, &removals))
    }

    async fn count(&self) -> Result<Count, CacheError> {
        statement!(self, "count entries", |conn| reading::count(conn))
    }
}

#[async_trait]
impl InvalidationLog for PostgresCacheStore {
    fn scope(&self) -> LogScope {
        LogScope::Fleet
    }

    async fn head(&self) -> Result<LogPosition, CacheError> {
        statement!(self, "read the log's head", |conn| log::head(conn))
    }

    async fn append(&self, subjects: &[Subject]) -> Result<LogPosition, CacheError> {
        transaction!(self, "append to the log", APPENDING, |conn| log::append(conn, subjects))
    }

    async fn since(&self, seq: u64, limit: u32) -> Result<LogPage, CacheError> {
        statement!(self, "read the log", |conn| log::since(conn, seq, limit))
    }
}

#[async_trait]
impl LeaseStore for PostgresCacheStore {
    async fn acquire(
        &self,
        keys: &[CacheKey],
        token: LeaseToken,
        ttl: Duration,
    ) -> Result<Vec<LeaseAttempt>, CacheError> {
        statement!(self, "lease keys", |conn| log::acquire(conn, keys, token, ttl))
    }

    async fn renew(
        &self,
        keys: &[CacheKey],
        token: LeaseToken,
        ttl: Duration,
    ) -> Result<Vec<bool>, CacheError> {
        statement!(self, "renew leases", |conn| log::renew(conn, keys, token, ttl))
    }

    async fn release(&self, keys: &[CacheKey], token: LeaseToken) -> Result<(), CacheError> {
        statement!(self, "give leases back", |conn| log::release(conn, keys, token))
    }
}

#[async_trait]
impl ErasureIndex for PostgresCacheStore {
    async fn erase_page(
        &self,
        what: &Selector,
        cursor: &EraseCursor,
        limit: u32,
    ) -> Result<ErasePage, CacheError> {
        transaction!(self, "erase entries", APPENDING, |conn| erasing::erase_page(conn, what, cursor, limit))
    }

    async fn remaining(&self, what: &Selector, position: LogPosition) -> Result<u64, CacheError> {
        statement!(self, "look for what is left to erase", |conn| erasing::remaining(
            conn,
            what,
            position.seq
        ))
    }

    async fn scrub(&self) -> Result<(), CacheError> {
        statement!(self, "vacuum its tables", |conn| conn
            .batch_execute("VACUUM cache_entry, cache_owner, cache_subject"))
    }

    async fn sweep_page(&self, now: SystemTime, limit: u32) -> Result<SweepPage, CacheError> {
        let from = self.sweep_from.lock().clone();
        let (page, next) = transaction!(self, "sweep", REMOVING, |conn| {
            erasing::sweep_page(conn, to_ms(now), limit, from.clone())
        })?;
        *self.sweep_from.lock() = next;
        Ok(page)
    }
}

#[async_trait]
impl HotSetStore for PostgresCacheStore {
    async fn save(&self, keys: Vec<HotKey>) -> Result<(), CacheError> {
        transaction!(self, "remember the hot set", REMOVING, |conn| writing::save_hot(conn, &keys))
    }

    async fn load(&self, limit: u32) -> Result<Vec<HotKey>, CacheError> {
        statement!(self, "recall the hot set", |conn| reading::hot(conn, limit))
    }
}

#[async_trait]
impl Backplane for PostgresCacheStore {
    async fn publish(&self, notice: Notice) {
        let sent = statement!(self, "send a notice", |conn| bus::notify(conn, &notice));
        if let Err(error) = sent {
            tracing::debug!(target: "wavequill::caching", %error, "a notice is lost: nodes look at the log");
        }
    }

    fn subscribe(&self) -> Box<dyn NoticeReceiver> {
        self.bus.subscribe(&self.pool)
    }
}
