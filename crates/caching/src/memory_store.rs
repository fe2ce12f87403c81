//! All ports in memory: for tests, and for services that need nothing to outlive them.

mod ports;

#[cfg(feature = "sqlite")]
pub(crate) use self::ports::worth;

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::time::SystemTime;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::local_bus::LocalBus;
use crate::multi_level_cache::random_bytes;
use crate::ports::{HotKey, LeaseToken, LogScope, TierPut, TierVerdict};
use crate::{CacheKey, LogId, LogPosition, PutPolicy, Selector, StoreVerdict, Subject};

/// A store in memory that implements every port. What it holds is gone with it, and it grows until it is swept
/// ([`invalidate_expired`](crate::CacheInvalidator::invalidate_expired)).
///
/// ```
/// use std::sync::Arc;
/// use wavequill_caching::{CacheConfig, MemoryStore, MultiLevelCache, ports::CachePorts};
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), wavequill_caching::CacheError> {
/// let cache = MultiLevelCache::new(CacheConfig::default(), CachePorts::on(Arc::new(MemoryStore::new())))?;
/// # Ok(()) }
/// ```
pub struct MemoryStore {
    state: Mutex<State>,
    bus: LocalBus,
    scope: LogScope,
}

#[derive(Debug)]
struct State {
    log: LogId,
    seq: u64,
    bumps: HashMap<Subject, u64>,
    by_seq: BTreeMap<u64, Subject>,
    entries: BTreeMap<[u8; 32], Stored>,
    leases: HashMap<[u8; 32], (LeaseToken, Instant)>,
    hot: Vec<HotKey>,
}

#[derive(Debug)]
struct Stored {
    key: CacheKey,
    subjects: Box<[Subject]>,
    /// Each owner, and the position of its claim. `None`: it belongs to nobody, and outlives all owners.
    owners: Option<BTreeMap<Subject, u64>>,
    as_of: u64,
    expires_at: SystemTime,
    keep_until: SystemTime,
    envelope: Bytes,
}

impl MemoryStore {
    /// An empty store for one cache.
    pub fn new() -> Self {
        Self::with_scope(LogScope::Process)
    }

    /// An empty store that several caches share, as nodes do: each follows the log by polling.
    pub fn with_scope(scope: LogScope) -> Self {
        let state = State {
            log: LogId::from_bytes(random_bytes()),
            seq: 0,
            bumps: HashMap::new(),
            by_seq: BTreeMap::new(),
            entries: BTreeMap::new(),
            leases: HashMap::new(),
            hot: Vec::new(),
        };
        Self { state: Mutex::new(state), bus: LocalBus::new(), scope }
    }
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state.lock();
        f.debug_struct("MemoryStore")
            .field("entries", &state.entries.len())
            .field("seq", &state.seq)
            .field("scope", &self.scope)
            .finish_non_exhaustive()
    }
}

impl State {
    fn head(&self) -> LogPosition {
        LogPosition { log: self.log, seq: self.seq }
    }

    fn bump(&mut self, subject: Subject) -> u64 {
        self.seq += 1;
        if let Some(before) = self.bumps.insert(subject, self.seq) {
            self.by_seq.remove(&before);
        }
        self.by_seq.insert(self.seq, subject);
        self.seq
    }

    fn is_bumped(&self, subject: &Subject, as_of: u64) -> bool {
        self.bumps.get(subject).is_some_and(|seq| *seq > as_of)
    }

    fn is_alive(&self, stored: &Stored) -> bool {
        let owned = stored
            .owners
            .as_ref()
            .is_none_or(|owners| owners.iter().any(|(owner, claimed)| !self.is_bumped(owner, *claimed)));
        owned && !stored.subjects.iter().any(|subject| self.is_bumped(subject, stored.as_of))
    }

    fn put(&mut self, put: TierPut) -> TierVerdict {
        let nothing = |verdict| TierVerdict { verdict, as_of: None };
        let as_of = match put.as_of {
            None => self.seq,
            Some(position) if position.log == self.log && position.seq <= self.seq => position.seq,
            Some(_) => return nothing(StoreVerdict::Superseded),
        };
        if put.subjects.iter().chain(&put.owners).any(|subject| self.is_bumped(subject, as_of)) {
            return nothing(StoreVerdict::Superseded);
        }
        let digest = *put.key.digest();
        let lives = self
            .entries
            .get(&digest)
            .is_some_and(|stored| put.now < stored.expires_at && self.is_alive(stored));
        if lives && put.policy == PutPolicy::KeepFirst {
            if let Some(stored) = self.entries.get_mut(&digest) {
                stored.share(&put.owners, as_of);
            }
            return nothing(StoreVerdict::KeptExisting);
        }
        let as_of = match put.policy {
            PutPolicy::Replace => self.bump(Subject::of_key(&put.key)),
            PutPolicy::KeepFirst => as_of,
        };
        let owners =
            (!put.owners.is_empty()).then(|| put.owners.iter().map(|owner| (*owner, as_of)).collect());
        let stored = Stored {
            key: put.key,
            subjects: put.subjects,
            owners,
            as_of,
            expires_at: put.expires_at,
            keep_until: put.keep_until,
            envelope: put.envelope,
        };
        self.entries.insert(digest, stored);
        TierVerdict { verdict: StoreVerdict::Stored, as_of: Some(LogPosition { log: self.log, seq: as_of }) }
    }

    /// Up to `limit` of the selected digests after `after`.
    fn page(&self, what: &Selector, after: Option<[u8; 32]>, limit: usize) -> Vec<[u8; 32]> {
        let subject = what.subject();
        let selected = |stored: &Stored| match what {
            Selector::All => true,
            Selector::Owner(_) => stored.owners.as_ref().is_some_and(|owners| owners.contains_key(&subject)),
            Selector::Key(_) | Selector::Label(_) | Selector::Namespace(_) => {
                stored.subjects.contains(&subject)
            }
        };
        self.entries
            .iter()
            .filter(|(digest, stored)| after.is_none_or(|after| **digest > after) && selected(stored))
            .map(|(digest, _)| *digest)
            .take(limit)
            .collect()
    }
}

impl Stored {
    /// Adds owners to an entry that lives. Who puts it without an owner wants it to outlive them all.
    fn share(&mut self, owners: &[Subject], as_of: u64) {
        if owners.is_empty() {
            self.owners = None;
        }
        if let Some(all) = &mut self.owners {
            for owner in owners {
                let claimed = all.entry(*owner).or_insert(as_of);
                *claimed = as_of.max(*claimed);
            }
        }
    }
}
