//! What the cache needs from outside: tiers of envelopes, the log, leases, the index for erasure, the hot set, and a
//! bus for hints. The log orders everything; the bus may lose, repeat and reorder what it carries.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use bytes::Bytes;

use crate::{
    CacheError, CacheKey, Count, EraseCursor, LogPosition, PutPolicy, Selector, StoreVerdict, Subject,
};

/// A level below L1: it keeps envelopes by key and does not look inside.
///
/// # Contract
/// 1. [`get`](Self::get) answers each key in the order given; an envelope is what was put, to the byte.
/// 2. A tier that has the log ([`TierRead::as_of`] is set) answers with living entries only: those whose subjects
///    were not bumped after the position they were stored under, and which still have an owner if they ever had one.
///    Entries, verdict and position come from one snapshot.
/// 3. Such a tier keeps a living entry under [`PutPolicy::KeepFirst`] and adds the put's owners to it, replaces it
///    under [`PutPolicy::Replace`] with a bump of its key, and refuses a put whose subjects or owners were bumped
///    after its [`TierPut::as_of`], or whose `as_of` is of another log.
/// 4. When its `put` is `Ok`, what it stored is durable. A tier without a log stores whatever it is given, for as
///    long as it likes.
/// 5. [`remove`](Self::remove) removes nothing that does not meet its condition; a tier without a log may.
/// 6. An error means that nothing is known about any key of the call.
#[async_trait]
pub trait CacheTier: Debug + Send + Sync + 'static {
    /// Reads the envelopes of these keys in one round trip.
    async fn get(&self, keys: &[CacheKey]) -> Result<TierRead, CacheError>;

    /// Writes these entries in one round trip, and says what became of each.
    async fn put(&self, puts: Vec<TierPut>) -> Result<Vec<TierVerdict>, CacheError>;

    /// Removes entries.
    async fn remove(&self, removals: Vec<Removal>) -> Result<(), CacheError>;

    /// How many entries there are, as well as that is known without a scan.
    async fn count(&self) -> Result<Count, CacheError>;
}

/// What a tier read.
#[derive(Clone, Debug)]
pub struct TierRead {
    /// One for each key, in the order given.
    pub envelopes: Vec<Option<Bytes>>,
    /// The log's head in the same snapshot, if the tier has the log.
    pub as_of: Option<LogPosition>,
}

/// One entry to be written.
#[derive(Clone, Debug)]
pub struct TierPut {
    /// Its key.
    pub key: CacheKey,
    /// What ends it: its key, namespace, everything, its labels.
    pub subjects: Box<[Subject]>,
    /// Whose it is.
    pub owners: Box<[Subject]>,
    /// The position that it is known to be alive at; `None`: it is current, whatever was bumped.
    pub as_of: Option<LogPosition>,
    /// What happens to a living entry.
    pub policy: PutPolicy,
    /// The writer's time.
    pub now: SystemTime,
    /// From when on it is not served.
    pub expires_at: SystemTime,
    /// From when on it may be removed.
    pub keep_until: SystemTime,
    /// The entry.
    pub envelope: Bytes,
}

/// What became of one put.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TierVerdict {
    /// What was done.
    pub verdict: StoreVerdict,
    /// The position that the entry is stored under, if the tier has the log and stored it.
    pub as_of: Option<LogPosition>,
}

/// One entry to be removed, if a condition holds.
#[derive(Clone, Debug)]
pub struct Removal {
    /// Its key.
    pub key: CacheKey,
    /// The condition.
    pub condition: RemoveIf,
}

/// When an entry may be removed.
#[derive(Clone, Debug)]
pub enum RemoveIf {
    /// If it was stored under a position before this one.
    Before(LogPosition),
    /// If its envelope is still this one, which was found damaged.
    Unchanged(Bytes),
}

/// How many processes one log orders.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogScope {
    /// This one only.
    Process,
    /// Those of this machine.
    Machine,
    /// All of the fleet: the only kind that a shared L2 can be used with.
    Fleet,
}

/// The durable log of bumps. A bump says: what this subject named is over, if it was stored before.
///
/// # Contract
/// 1. Positions become visible in order and without gaps; a head of *n* means that all bumps up to *n* are visible.
/// 2. A bump is durable when [`append`](Self::append) returns.
/// 3. A bump is kept for 400 days, the longest that an entry lives; of one subject only the last need be.
#[async_trait]
pub trait InvalidationLog: Debug + Send + Sync + 'static {
    /// How far the log reaches.
    fn scope(&self) -> LogScope;

    /// The last position.
    async fn head(&self) -> Result<LogPosition, CacheError>;

    /// Bumps these subjects, one position each, and returns the last.
    async fn append(&self, subjects: &[Subject]) -> Result<LogPosition, CacheError>;

    /// The last bump of each subject that was bumped after `seq`, at most `limit` of them, in order.
    async fn since(&self, seq: u64, limit: u32) -> Result<LogPage, CacheError>;
}

/// Part of the log.
#[derive(Clone, Debug)]
pub struct LogPage {
    /// The head in the same snapshot.
    pub head: LogPosition,
    /// The bumps, by rising position.
    pub bumps: Vec<Bump>,
}

/// One record of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bump {
    /// What is over.
    pub subject: Subject,
    /// Since when.
    pub seq: u64,
}

/// The holder of a lease: 16 random bytes, drawn for each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LeaseToken(pub [u8; 16]);

/// The answer to one attempt at a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeaseAttempt {
    /// It is the caller's.
    Acquired,
    /// Somebody else has it for this long, unless it is renewed or given back.
    Held {
        /// The time left.
        remaining: Duration,
    },
}

/// Leases by key. All times are the store's own.
///
/// # Contract
/// 1. A key has at most one holder at a time. A lease that is not renewed ends when its time is over, for a new
///    holder as for the old one.
/// 2. [`acquire`](Self::acquire) by the token that holds the lease succeeds and prolongs it.
/// 3. [`renew`](Self::renew) and [`release`](Self::release) touch no lease of another token.
#[async_trait]
pub trait LeaseStore: Debug + Send + Sync + 'static {
    /// Tries for each of these keys.
    async fn acquire(
        &self,
        keys: &[CacheKey],
        token: LeaseToken,
        ttl: Duration,
    ) -> Result<Vec<LeaseAttempt>, CacheError>;

    /// Prolongs, and says of each whether it was still held.
    async fn renew(
        &self,
        keys: &[CacheKey],
        token: LeaseToken,
        ttl: Duration,
    ) -> Result<Vec<bool>, CacheError>;

    /// Gives back.
    async fn release(&self, keys: &[CacheKey], token: LeaseToken) -> Result<(), CacheError>;
}

/// One page of an erasure.
#[derive(Clone, Debug)]
pub struct ErasePage {
    /// The keys whose entries were removed.
    pub erased: Vec<CacheKey>,
    /// How many entries stay, because others own them, too.
    pub kept: u64,
    /// Where the next page starts; `None`: this was the last.
    pub next: Option<EraseCursor>,
}

/// What a page of a sweep removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SweepPage {
    /// Entries.
    pub entries: u64,
    /// Leases.
    pub leases: u64,
    /// Bumps.
    pub bumps: u64,
    /// Whether there is more to do.
    pub more: bool,
}

/// Finds and removes entries by what they belong to.
///
/// # Contract
/// 1. [`erase_page`](Self::erase_page) removes from one page of the selected entries those that were stored before
///    the cursor's position; of an owner's, its references, and only the entries that nobody else owns. Each key
///    that it removes for an owner is bumped in the same transaction.
/// 2. Removed bytes are overwritten or released as far as the store can; [`scrub`](Self::scrub) does the rest.
/// 3. [`remaining`](Self::remaining) counts what `erase_page` would still remove or unlink.
/// 4. [`sweep_page`](Self::sweep_page) removes at most `limit` entries, and none that can still be served.
#[async_trait]
pub trait ErasureIndex: Debug + Send + Sync + 'static {
    /// Erases one page.
    async fn erase_page(
        &self,
        what: &Selector,
        cursor: &EraseCursor,
        limit: u32,
    ) -> Result<ErasePage, CacheError>;

    /// Counts what is left to erase.
    async fn remaining(&self, what: &Selector, position: LogPosition) -> Result<u64, CacheError>;

    /// Overwrites what was removed where it may still be found, such as in a write-ahead log.
    async fn scrub(&self) -> Result<(), CacheError>;

    /// Removes entries past their keep, or bumped; leases that ended; bumps that no entry needs.
    async fn sweep_page(&self, now: SystemTime, limit: u32) -> Result<SweepPage, CacheError>;
}

/// A key that is often asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HotKey {
    /// The key.
    pub key: CacheKey,
    /// About how many hits it had.
    pub hits: u64,
    /// What a miss of it costs, in milliseconds of load and hundredths of a cent.
    pub cost: u64,
    /// The bytes that it takes.
    pub bytes: u64,
}

/// Remembers the hot set over restarts.
///
/// # Contract
/// 1. [`load`](Self::load) gives what the last [`save`](Self::save) of any process gave, the most worth first.
#[async_trait]
pub trait HotSetStore: Debug + Send + Sync + 'static {
    /// Replaces the remembered set.
    async fn save(&self, keys: Vec<HotKey>) -> Result<(), CacheError>;

    /// The remembered set, at most `limit` keys, by falling hits × cost ÷ bytes.
    async fn load(&self, limit: u32) -> Result<Vec<HotKey>, CacheError>;
}

/// A hint to the other nodes. Losing one costs time, never correctness.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// The log's head is at least here.
    Bumped(LogPosition),
    /// Keys with these subjects were filled, or given up: who waits should look.
    Ended(Vec<Subject>),
    /// Notices were lost: look everywhere.
    Lagged,
}

/// Carries notices between nodes, as well as it can.
///
/// # Contract
/// 1. [`publish`](Self::publish) does not wait for receivers and does not fail: what cannot be sent is lost.
/// 2. A receiver that falls behind gets [`Notice::Lagged`], and memory does not grow.
#[async_trait]
pub trait Backplane: Debug + Send + Sync + 'static {
    /// Sends a notice to all that listen now.
    async fn publish(&self, notice: Notice);

    /// Starts to listen.
    fn subscribe(&self) -> Box<dyn NoticeReceiver>;
}

/// One listener.
#[async_trait]
pub trait NoticeReceiver: Debug + Send + 'static {
    /// The next notice; `None` once the bus is closed.
    ///
    /// # Cancellation
    /// No notice is lost if the future is dropped.
    async fn next(&mut self) -> Option<Notice>;
}

/// All that a cache stands on.
#[derive(Clone, Debug)]
pub struct CachePorts {
    /// The fleet's shared memory, if there is one.
    pub l2: Option<Arc<dyn CacheTier>>,
    /// The durable tier; it has the log.
    pub l3: Arc<dyn CacheTier>,
    /// The log.
    pub log: Arc<dyn InvalidationLog>,
    /// Leases.
    pub leases: Arc<dyn LeaseStore>,
    /// The index for erasure.
    pub index: Arc<dyn ErasureIndex>,
    /// The remembered hot set.
    pub hot_set: Arc<dyn HotSetStore>,
    /// The bus.
    pub backplane: Arc<dyn Backplane>,
}

impl CachePorts {
    /// Takes everything but L2 from one store, as the adapters of databases offer it.
    pub fn on<S>(store: Arc<S>) -> Self
    where
        S: CacheTier + InvalidationLog + LeaseStore + ErasureIndex + HotSetStore + Backplane,
    {
        Self {
            l2: None,
            l3: store.clone(),
            log: store.clone(),
            leases: store.clone(),
            index: store.clone(),
            hot_set: store.clone(),
            backplane: store,
        }
    }

    /// Puts a shared memory between L1 and L3.
    #[must_use]
    pub fn with_l2(mut self, tier: Arc<dyn CacheTier>) -> Self {
        self.l2 = Some(tier);
        self
    }

    /// Sends hints over another bus than the store's own.
    #[must_use]
    pub fn with_backplane(mut self, backplane: Arc<dyn Backplane>) -> Self {
        self.backplane = backplane;
        self
    }
}
