//! Level 1: this process's memory, on the `lru` crate. It knows entries, bytes and time, but neither stores nor logs.
//!
//! Sixteen shards, each a *window* that takes what is new, in order of arrival, and a *main* part swept as a CLOCK.
//! When the window is over its share, its oldest entry competes with the one that the CLOCK would evict, by how
//! often each was seen (TinyLFU: Einziger, Friedman, Manes, 2017). How large the window is, is found by hill
//! climbing on the hit ratio. A hit takes a read lock, peeks, and bumps a two-bit counter: nothing moves.

mod climber;
mod shard;
mod sketch;

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use crossbeam_utils::CachePadded;
use parking_lot::{Mutex, RwLock};

use self::climber::WindowClimber;
use self::shard::{Entry, Evicted, Room, Shard, mix};
use crate::metrics::Evictions;
use crate::{CacheKey, CacheValue, L1Eviction, L1Verdict, MissCost, Savings};

const SHARDS: usize = 16;

/// What one entry costs beyond its body and subjects: the entry, its key, its links, its place in the table, its
/// share of the sketch. The sizes of the types on 64 bits, with the allocator's rounding.
pub(crate) const ENTRY_OVERHEAD: u64 = 208;

/// A bounded table of values.
#[derive(Debug)]
pub(crate) struct L1Table {
    shards: [CachePadded<Slot>; SHARDS],
    seed: u64,
    /// Bytes of all entries, and of those about to be inserted: never above `budget`.
    used: AtomicU64,
    budget: AtomicU64,
    entry_limit: AtomicU64,
    /// The window's share in parts of 65,536.
    window_share: AtomicU32,
    climber: Mutex<WindowClimber>,
    evictions: Evictions,
}

#[derive(Debug)]
struct Slot {
    shard: RwLock<Shard>,
    hits: AtomicU64,
    misses: AtomicU64,
    saved_load_ms: AtomicU64,
    saved_audio_ms: AtomicU64,
    saved_micro_dollars: AtomicU64,
}

/// What is put into the table beside the value.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Residence {
    /// Monotonic nanoseconds at which it is over.
    pub(crate) deadline: u64,
    /// The position that it is known to be alive at.
    pub(crate) checked: u64,
    /// Which life of the log that position is of.
    pub(crate) generation: u32,
}

/// Decides whether an entry still lives.
pub(crate) trait Judge {
    /// Which life of the log is current.
    fn generation(&self) -> u32;
    /// The position that a living entry is now known to be alive at.
    fn position(&self) -> u64;
    /// Whether nothing ended the value after `checked`.
    fn is_alive(&self, value: &CacheValue, checked: u64) -> bool;
}

/// What the table's counters say.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct L1Counts {
    pub(crate) entries: u64,
    pub(crate) hits: u64,
    pub(crate) misses: u64,
    pub(crate) saved: Savings,
}

impl L1Table {
    pub(crate) fn new(budget: u64, entry_limit: u64, evictions: Evictions) -> Self {
        let seed = RandomState::new().hash_one(0x4c31_u64);
        Self {
            shards: std::array::from_fn(|_| {
                CachePadded::new(Slot {
                    shard: RwLock::new(Shard::new(seed)),
                    hits: AtomicU64::new(0),
                    misses: AtomicU64::new(0),
                    saved_load_ms: AtomicU64::new(0),
                    saved_audio_ms: AtomicU64::new(0),
                    saved_micro_dollars: AtomicU64::new(0),
                })
            }),
            seed,
            used: AtomicU64::new(0),
            budget: AtomicU64::new(budget),
            entry_limit: AtomicU64::new(entry_limit),
            window_share: AtomicU32::new(WindowClimber::START),
            climber: Mutex::new(WindowClimber::new()),
            evictions,
        }
    }

    fn slot_index(&self, key: &CacheKey) -> usize {
        // Other bits than those that the table inside the shard uses for places and tags.
        (mix(first_word(key.digest()) ^ self.seed) >> 40) as usize % SHARDS
    }

    #[expect(clippy::indexing_slicing, reason = "`slot_index` is a remainder by the number of shards")]
    fn slot(&self, key: &CacheKey) -> &Slot {
        &self.shards[self.slot_index(key)]
    }

    /// The value, if it is there, in time and alive, and how many hits its shard had before. Costs a read lock, and
    /// allocates nothing.
    pub(crate) fn get(&self, key: &CacheKey, now: u64, judge: &impl Judge) -> Option<(CacheValue, u64)> {
        let slot = self.slot(key);
        let mut dead = None;
        {
            let shard = slot.shard.read();
            if let Some(entry) = shard.peek(key) {
                if now >= entry.deadline() {
                    dead = Some(&self.evictions.expired);
                } else if entry.is_alive(judge) {
                    entry.touch();
                    let nth = slot.hits.fetch_add(1, Ordering::Relaxed);
                    slot.save(entry.value().cost());
                    return Some((entry.value().clone(), nth));
                } else {
                    dead = Some(&self.evictions.invalidated);
                }
            }
        }
        if let Some(cause) = dead {
            self.remove_dead(key, now, judge, cause);
        }
        slot.misses.fetch_add(1, Ordering::Relaxed);
        None
    }

    /// Whether a value is there that may be served, without counting it as asked for.
    pub(crate) fn contains(&self, key: &CacheKey, now: u64, judge: &impl Judge) -> bool {
        let shard = self.slot(key).shard.read();
        shard.peek(key).is_some_and(|entry| now < entry.deadline() && entry.is_alive(judge))
    }

    fn remove_dead(&self, key: &CacheKey, now: u64, judge: &impl Judge, cause: &metrics::Counter) {
        let removed = {
            let mut shard = self.slot(key).shard.write();
            let dead = shard.peek(key).is_some_and(|entry| now >= entry.deadline() || !entry.is_alive(judge));
            if dead { shard.remove(key) } else { None }
        };
        if let Some(entry) = removed {
            self.used.fetch_sub(entry.weight, Ordering::Relaxed);
            cause.increment(1);
        }
    }

    /// Puts a value in, evicting what is colder.
    pub(crate) fn insert(
        &self,
        key: &CacheKey,
        value: CacheValue,
        residence: Residence,
        now: u64,
    ) -> L1Verdict {
        let weight = weight_of(&value);
        if weight > self.entry_limit.load(Ordering::Relaxed) {
            return L1Verdict::TooLarge;
        }
        let share = self.window_share.load(Ordering::Relaxed);
        let mut room = Room::Left;
        while !self.reserve(weight) {
            room = Room::None;
            // Own shard first: its entry would be this one's neighbour. Then the fullest, one lock at a time.
            let evicted = self.slot(key).shard.write().evict_one(share, now);
            if !self.settle(evicted) && !self.evict_from_fullest(share, now) {
                return L1Verdict::Colder;
            }
        }
        self.place(key, value, residence, weight, room);
        self.climb();
        L1Verdict::Admitted
    }

    /// Puts a value in if there is room for it, below `fill` bytes in all.
    pub(crate) fn insert_if_room(
        &self,
        key: &CacheKey,
        value: CacheValue,
        residence: Residence,
        fill: u64,
    ) -> L1Verdict {
        let weight = weight_of(&value);
        if weight > self.entry_limit.load(Ordering::Relaxed) {
            return L1Verdict::TooLarge;
        }
        if self.used.load(Ordering::Relaxed) + weight > fill || !self.reserve(weight) {
            return L1Verdict::Colder;
        }
        self.place(key, value, residence, weight, Room::Left);
        L1Verdict::Admitted
    }

    /// Takes `weight` bytes of the budget, if they are free.
    fn reserve(&self, weight: u64) -> bool {
        let budget = self.budget.load(Ordering::Relaxed);
        self.used
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| {
                used.checked_add(weight).filter(|sum| *sum <= budget)
            })
            .is_ok()
    }

    fn place(&self, key: &CacheKey, value: CacheValue, residence: Residence, weight: u64, room: Room) {
        let share = self.window_share.load(Ordering::Relaxed);
        let entry = Entry::new(value, residence, weight);
        let replaced = self.slot(key).shard.write().insert(key, entry, share, room);
        if let Some(entry) = replaced {
            self.used.fetch_sub(entry.weight, Ordering::Relaxed);
        }
    }

    /// Gives the evicted entry's bytes back, and drops it where no lock is held.
    fn settle(&self, evicted: Option<Evicted>) -> bool {
        let Some(evicted) = evicted else { return false };
        self.used.fetch_sub(evicted.entry.weight, Ordering::Relaxed);
        let cause = if evicted.expired { &self.evictions.expired } else { &self.evictions.capacity };
        cause.increment(1);
        true
    }

    fn evict_from_fullest(&self, share: u32, now: u64) -> bool {
        let fullest = self.shards.iter().max_by_key(|slot| slot.shard.read().bytes());
        let evicted = fullest.and_then(|slot| slot.shard.write().evict_one(share, now));
        self.settle(evicted)
    }

    /// Removes one key.
    pub(crate) fn remove(&self, key: &CacheKey) -> bool {
        let removed = self.slot(key).shard.write().remove(key);
        let Some(entry) = removed else { return false };
        self.used.fetch_sub(entry.weight, Ordering::Relaxed);
        self.evictions.invalidated.increment(1);
        true
    }

    /// Removes everything, shard by shard.
    pub(crate) fn clear(&self) {
        for slot in &self.shards {
            let emptied = slot.shard.write().take_all();
            let bytes: u64 = emptied.iter().map(|entry| entry.weight).sum();
            self.used.fetch_sub(bytes, Ordering::Relaxed);
            self.evictions.invalidated.increment(emptied.len() as u64);
        }
    }

    /// Evicts the coldest until at most `target` bytes are used; a lock is held for one entry at a time.
    pub(crate) fn shrink_to(&self, target: u64, now: u64) -> L1Eviction {
        let mut evicted = L1Eviction::default();
        while self.used.load(Ordering::Relaxed) > target {
            let fullest = self.shards.iter().max_by_key(|slot| slot.shard.read().bytes());
            let Some(out) = fullest.and_then(|slot| slot.shard.write().evict_one(0, now)) else { break };
            self.used.fetch_sub(out.entry.weight, Ordering::Relaxed);
            self.evictions.pressure.increment(1);
            evicted.entries += 1;
            evicted.bytes += out.entry.weight;
        }
        evicted
    }

    /// Bytes in use.
    pub(crate) fn bytes(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    pub(crate) fn counts(&self) -> L1Counts {
        let mut counts = L1Counts::default();
        for slot in &self.shards {
            counts.entries += slot.shard.read().len() as u64;
            counts.hits += slot.hits.load(Ordering::Relaxed);
            counts.misses += slot.misses.load(Ordering::Relaxed);
            counts.saved.load_time += ms(&slot.saved_load_ms);
            counts.saved.audio += ms(&slot.saved_audio_ms);
            counts.saved.micro_dollars += slot.saved_micro_dollars.load(Ordering::Relaxed);
        }
        counts
    }

    /// Moves the window's size now and then. Whoever finds the lock taken leaves it to the other.
    fn climb(&self) {
        let Some(mut climber) = self.climber.try_lock() else { return };
        if !climber.tick() {
            return;
        }
        let counts = self.counts();
        let share = climber.observe(counts.hits, counts.hits + counts.misses, counts.entries);
        self.window_share.store(share, Ordering::Relaxed);
    }
}

impl Slot {
    fn save(&self, cost: MissCost) {
        if cost == MissCost::ZERO {
            return;
        }
        self.saved_load_ms.fetch_add(cost.load_time.as_millis() as u64, Ordering::Relaxed);
        self.saved_audio_ms.fetch_add(cost.audio.as_millis() as u64, Ordering::Relaxed);
        self.saved_micro_dollars.fetch_add(cost.micro_dollars, Ordering::Relaxed);
    }
}

fn ms(counter: &AtomicU64) -> std::time::Duration {
    std::time::Duration::from_millis(counter.load(Ordering::Relaxed))
}

/// What a value weighs in the table.
pub(crate) fn weight_of(value: &CacheValue) -> u64 {
    value.heap_bytes() as u64 + ENTRY_OVERHEAD
}

/// The first eight bytes of a digest.
fn first_word(digest: &[u8; 32]) -> u64 {
    digest.first_chunk().map_or(0, |first| u64::from_le_bytes(*first))
}

#[cfg(test)]
#[path = "l1/tests.rs"]
mod tests;
