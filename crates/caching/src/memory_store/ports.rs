//! The ports of the store in memory. Each call is one step under one lock.

use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use tokio::time::Instant;

use super::MemoryStore;
use crate::ports::{
    Backplane, Bump, CacheTier, ErasePage, ErasureIndex, HotKey, HotSetStore, InvalidationLog, LeaseAttempt,
    LeaseStore, LeaseToken, LogPage, LogScope, Notice, NoticeReceiver, Removal, RemoveIf, SweepPage, TierPut,
    TierRead, TierVerdict,
};
use crate::{CacheError, CacheKey, Count, EraseCursor, LogPosition, Selector, Subject};

#[async_trait]
impl CacheTier for MemoryStore {
    async fn get(&self, keys: &[CacheKey]) -> Result<TierRead, CacheError> {
        let state = self.state.lock();
        let envelopes = keys
            .iter()
            .map(|key| {
                let stored = state.entries.get(key.digest()).filter(|stored| state.is_alive(stored));
                stored.map(|stored| stored.envelope.clone())
            })
            .collect();
        Ok(TierRead { envelopes, as_of: Some(state.head()) })
    }

    async fn put(&self, puts: Vec<TierPut>) -> Result<Vec<TierVerdict>, CacheError> {
        let mut state = self.state.lock();
        Ok(puts.into_iter().map(|put| state.put(put)).collect())
    }

    async fn remove(&self, removals: Vec<Removal>) -> Result<(), CacheError> {
        let mut state = self.state.lock();
        for removal in removals {
            let digest = removal.key.digest();
            let log = state.log;
            let goes = state.entries.get(digest).is_some_and(|stored| match &removal.condition {
                RemoveIf::Before(position) => position.log == log && stored.as_of < position.seq,
                RemoveIf::Unchanged(envelope) => stored.envelope == *envelope,
            });
            if goes {
                state.entries.remove(digest);
            }
        }
        Ok(())
    }

    async fn count(&self) -> Result<Count, CacheError> {
        Ok(Count::Exact(self.state.lock().entries.len() as u64))
    }
}

#[async_trait]
impl InvalidationLog for MemoryStore {
    fn scope(&self) -> LogScope {
        self.scope
    }

    async fn head(&self) -> Result<LogPosition, CacheError> {
        Ok(self.state.lock().head())
    }

    async fn append(&self, subjects: &[Subject]) -> Result<LogPosition, CacheError> {
        let mut state = self.state.lock();
        for subject in subjects {
            state.bump(*subject);
        }
        Ok(state.head())
    }

    async fn since(&self, seq: u64, limit: u32) -> Result<LogPage, CacheError> {
        let state = self.state.lock();
        let after = state.by_seq.range(seq.saturating_add(1)..);
        let bumps =
            after.take(limit as usize).map(|(seq, subject)| Bump { subject: *subject, seq: *seq }).collect();
        Ok(LogPage { head: state.head(), bumps })
    }
}

#[async_trait]
impl LeaseStore for MemoryStore {
    async fn acquire(
        &self,
        keys: &[CacheKey],
        token: LeaseToken,
        ttl: Duration,
    ) -> Result<Vec<LeaseAttempt>, CacheError> {
        let now = Instant::now();
        let mut state = self.state.lock();
        let attempt = |key: &CacheKey| match state.leases.get(key.digest()) {
            Some((holder, until)) if *holder != token && now < *until => {
                LeaseAttempt::Held { remaining: *until - now }
            }
            _ => {
                state.leases.insert(*key.digest(), (token, now + ttl));
                LeaseAttempt::Acquired
            }
        };
        Ok(keys.iter().map(attempt).collect())
    }

    async fn renew(
        &self,
        keys: &[CacheKey],
        token: LeaseToken,
        ttl: Duration,
    ) -> Result<Vec<bool>, CacheError> {
        let now = Instant::now();
        let mut state = self.state.lock();
        let renew = |key: &CacheKey| match state.leases.get_mut(key.digest()) {
            Some((holder, until)) if *holder == token && now < *until => {
                *until = now + ttl;
                true
            }
            _ => false,
        };
        Ok(keys.iter().map(renew).collect())
    }

    async fn release(&self, keys: &[CacheKey], token: LeaseToken) -> Result<(), CacheError> {
        let mut state = self.state.lock();
        for key in keys {
            if state.leases.get(key.digest()).is_some_and(|(holder, _)| *holder == token) {
                state.leases.remove(key.digest());
            }
        }
        Ok(())
    }
}

#[async_trait]
impl ErasureIndex for MemoryStore {
    async fn erase_page(
        &self,
        what: &Selector,
        cursor: &EraseCursor,
        limit: u32,
    ) -> Result<ErasePage, CacheError> {
        let mut state = self.state.lock();
        let position = cursor.position.seq;
        let page = state.page(what, cursor.after, limit as usize);
        let next = (page.len() == limit as usize)
            .then(|| EraseCursor { position: cursor.position, after: page.last().copied() });
        let (mut erased, mut kept) = (Vec::new(), 0);
        for digest in page {
            let Some(stored) = state.entries.get_mut(&digest) else { continue };
            let goes = match (what, &mut stored.owners) {
                (Selector::Owner(owner), Some(owners)) => {
                    let owner = owner.subject();
                    if owners.get(&owner).is_some_and(|claimed| *claimed < position) {
                        owners.remove(&owner);
                    }
                    owners.is_empty()
                }
                _ => stored.as_of < position,
            };
            if !goes {
                kept += u64::from(matches!(what, Selector::Owner(_)));
                continue;
            }
            let key = stored.key;
            state.entries.remove(&digest);
            if matches!(what, Selector::Owner(_)) {
                state.bump(Subject::of_key(&key));
            }
            erased.push(key);
        }
        Ok(ErasePage { erased, kept, next })
    }

    async fn remaining(&self, what: &Selector, position: LogPosition) -> Result<u64, CacheError> {
        let state = self.state.lock();
        let left = state.page(what, None, usize::MAX).into_iter().filter(|digest| {
            state.entries.get(digest).is_some_and(|stored| match (what, &stored.owners) {
                (Selector::Owner(owner), Some(owners)) => {
                    owners.get(&owner.subject()).is_some_and(|claimed| *claimed < position.seq)
                }
                _ => stored.as_of < position.seq,
            })
        });
        Ok(left.count() as u64)
    }

    async fn scrub(&self) -> Result<(), CacheError> {
        Ok(())
    }

    async fn sweep_page(&self, now: SystemTime, limit: u32) -> Result<SweepPage, CacheError> {
        let mut state = self.state.lock();
        let over: Vec<_> = state
            .entries
            .iter()
            .filter(|(_, stored)| now >= stored.keep_until || !state.is_alive(stored))
            .map(|(digest, _)| *digest)
            .take(limit as usize)
            .collect();
        for digest in &over {
            state.entries.remove(digest);
        }
        let (leases, tick) = (state.leases.len(), Instant::now());
        state.leases.retain(|_, (_, until)| tick < *until);
        Ok(SweepPage {
            entries: over.len() as u64,
            leases: (leases - state.leases.len()) as u64,
            // Of each subject there is one bump, and any entry may need it.
            bumps: 0,
            more: over.len() == limit as usize,
        })
    }
}

#[async_trait]
impl HotSetStore for MemoryStore {
    async fn save(&self, mut keys: Vec<HotKey>) -> Result<(), CacheError> {
        keys.sort_by_key(|hot| std::cmp::Reverse(worth(hot)));
        self.state.lock().hot = keys;
        Ok(())
    }

    async fn load(&self, limit: u32) -> Result<Vec<HotKey>, CacheError> {
        Ok(self.state.lock().hot.iter().take(limit as usize).copied().collect())
    }
}

/// What warming a key is worth: hits × cost ÷ bytes, in 1/1024.
pub(crate) fn worth(hot: &HotKey) -> u128 {
    u128::from(hot.hits) * u128::from(hot.cost) * 1024 / u128::from(hot.bytes.max(1))
}

#[async_trait]
impl Backplane for MemoryStore {
    async fn publish(&self, notice: Notice) {
        self.bus.publish(notice);
    }

    fn subscribe(&self) -> Box<dyn NoticeReceiver> {
        self.bus.subscribe()
    }
}
