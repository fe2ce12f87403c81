//! One shard: a window, a main part, a sketch. It decides what goes; its caller counts bytes and locks.

use std::hash::{BuildHasher, Hash, Hasher};
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

use lru::LruCache;

use super::sketch::Sketch;
use super::{Judge, Residence, first_word};
use crate::{CacheKey, CacheValue};

/// How many entries the CLOCK may pass over for one eviction: it bounds the time under the lock.
const MAX_SWEEP: u32 = 64;
/// The two bits of a use counter.
const MAX_USES: u8 = 3;

#[derive(Debug)]
pub(super) struct Shard {
    window: Part,
    main: Part,
    sketch: Sketch,
}

#[derive(Debug)]
struct Part {
    table: LruCache<Place, Entry, Seeded>,
    bytes: u64,
}

/// A value in memory.
#[derive(Debug)]
pub(super) struct Entry {
    value: CacheValue,
    pub(super) weight: u64,
    deadline: u64,
    checked: AtomicU64,
    generation: u32,
    uses: AtomicU8,
}

/// What an eviction took out.
#[derive(Debug)]
pub(super) struct Evicted {
    pub(super) entry: Entry,
    pub(super) expired: bool,
}

/// Whether the table had bytes left for an entry, or had to evict for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Room {
    Left,
    None,
}

impl Entry {
    pub(super) fn new(value: CacheValue, residence: Residence, weight: u64) -> Self {
        let Residence { deadline, checked, generation } = residence;
        Self { value, weight, deadline, checked: AtomicU64::new(checked), generation, uses: AtomicU8::new(0) }
    }

    pub(super) fn value(&self) -> &CacheValue {
        &self.value
    }

    pub(super) fn deadline(&self) -> u64 {
        self.deadline
    }

    /// Counts a use, up to three; two that race may count one.
    pub(super) fn touch(&self) {
        let uses = self.uses.load(Ordering::Relaxed);
        if uses < MAX_USES {
            self.uses.store(uses + 1, Ordering::Relaxed);
        }
    }

    /// Whether nothing ended it since it was last looked at; remembers that it was.
    pub(super) fn is_alive(&self, judge: &impl Judge) -> bool {
        if self.generation != judge.generation() {
            return false;
        }
        let (checked, position) = (self.checked.load(Ordering::Acquire), judge.position());
        // At or past the node's position: nothing that the node knows can have ended it.
        if checked >= position {
            return true;
        }
        let alive = judge.is_alive(&self.value, checked);
        if alive {
            self.checked.fetch_max(position, Ordering::Release);
        }
        alive
    }

    /// What it is worth to keep: cost by byte, in 1/1024.
    fn density(&self) -> u64 {
        self.value.cost().weight().saturating_mul(1024) / self.weight.max(1)
    }
}

impl Shard {
    pub(super) fn new(seed: u64) -> Self {
        Self { window: Part::new(seed), main: Part::new(seed), sketch: Sketch::new() }
    }

    pub(super) fn peek(&self, key: &CacheKey) -> Option<&Entry> {
        let place = Place::of(key);
        self.main.table.peek(&place).or_else(|| self.window.table.peek(&place))
    }

    pub(super) fn bytes(&self) -> u64 {
        self.window.bytes + self.main.bytes
    }

    pub(super) fn len(&self) -> usize {
        self.window.table.len() + self.main.table.len()
    }

    /// Puts an entry into the window, and returns the one of the same key that was there. While the table has room,
    /// what is over the window's share moves to main without a contest.
    pub(super) fn insert(&mut self, key: &CacheKey, entry: Entry, share: u32, room: Room) -> Option<Entry> {
        let replaced = self.remove(key);
        let place = Place::of(key);
        self.sketch.grow_to(self.len() + 1);
        self.sketch.add(place.word());
        self.window.put(place, entry);
        if room == Room::Left {
            while self.is_over(share) && self.window.table.len() > 1 {
                self.move_oldest_to_main();
            }
        }
        replaced
    }

    /// Whether the window holds more than its share of this shard, in parts of 65,536.
    fn is_over(&self, share: u32) -> bool {
        u128::from(self.window.bytes) << 16 > u128::from(self.bytes()) * u128::from(share)
    }

    pub(super) fn remove(&mut self, key: &CacheKey) -> Option<Entry> {
        let place = Place::of(key);
        self.main.pop(&place).or_else(|| self.window.pop(&place))
    }

    pub(super) fn take_all(&mut self) -> Vec<Entry> {
        let mut all = Vec::with_capacity(self.len());
        for part in [&mut self.window, &mut self.main] {
            while let Some((_, entry)) = part.pop_oldest() {
                all.push(entry);
            }
        }
        all
    }

    /// Takes out one entry: the loser of the contest if the window is over its share, else what the CLOCK finds.
    pub(super) fn evict_one(&mut self, share: u32, now: u64) -> Option<Evicted> {
        if !self.is_over(share) && !self.main.table.is_empty() {
            let victim = self.sweep(now)?;
            return self.main.pop(&victim).map(|entry| Evicted::new(entry, now));
        }
        let (candidate, entry) = self.window.table.peek_lru().map(|(place, entry)| (*place, entry))?;
        let (expired, density) = (now >= entry.deadline, entry.density());
        for _ in 0..entry.uses.load(Ordering::Relaxed) {
            self.sketch.add(candidate.word());
        }
        let victim = if expired { None } else { self.sweep(now) };
        let Some(victim) = victim else {
            return self.window.pop(&candidate).map(|entry| Evicted::new(entry, now));
        };
        if self.keeps(&victim, &candidate, density, now) {
            return self.window.pop(&candidate).map(|entry| Evicted::new(entry, now));
        }
        let evicted = self.main.pop(&victim).map(|entry| Evicted::new(entry, now));
        self.move_oldest_to_main();
        evicted
    }

    /// Whether main's victim is worth more than the window's candidate.
    fn keeps(&self, victim: &Place, candidate: &Place, candidate_density: u64, now: u64) -> bool {
        let Some(entry) = self.main.table.peek(victim) else { return false };
        if now >= entry.deadline {
            return false;
        }
        let (victim, candidate) = (self.sketch.count(victim.word()), self.sketch.count(candidate.word()));
        victim > candidate || (victim == candidate && entry.density() >= candidate_density)
    }

    /// The hand of the CLOCK: passes over what was used, and takes a use from it.
    fn sweep(&mut self, now: u64) -> Option<Place> {
        for _ in 0..MAX_SWEEP {
            let (place, entry) = self.main.table.peek_lru()?;
            let (place, uses) = (*place, entry.uses.load(Ordering::Relaxed));
            if uses == 0 || now >= entry.deadline {
                return Some(place);
            }
            entry.uses.store(uses - 1, Ordering::Relaxed);
            self.sketch.add(place.word());
            self.main.table.promote(&place);
        }
        self.main.table.peek_lru().map(|(place, _)| *place)
    }

    fn move_oldest_to_main(&mut self) {
        if let Some((place, entry)) = self.window.pop_oldest() {
            self.main.put(place, entry);
        }
    }
}

impl Part {
    fn new(seed: u64) -> Self {
        Self { table: LruCache::unbounded_with_hasher(Seeded(seed)), bytes: 0 }
    }

    fn put(&mut self, place: Place, entry: Entry) {
        self.bytes += entry.weight;
        if let Some(replaced) = self.table.put(place, entry) {
            self.bytes -= replaced.weight;
        }
    }

    fn pop(&mut self, place: &Place) -> Option<Entry> {
        let entry = self.table.pop(place)?;
        self.bytes -= entry.weight;
        Some(entry)
    }

    fn pop_oldest(&mut self) -> Option<(Place, Entry)> {
        let (place, entry) = self.table.pop_lru()?;
        self.bytes -= entry.weight;
        Some((place, entry))
    }
}

impl Evicted {
    fn new(entry: Entry, now: u64) -> Self {
        let expired = now >= entry.deadline;
        Self { entry, expired }
    }
}

/// A digest as the table's key. Its first word is spread by a seed: whoever uploads content can choose digest bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place([u8; 32]);

impl Place {
    fn of(key: &CacheKey) -> Self {
        Self(*key.digest())
    }

    fn word(&self) -> u64 {
        first_word(&self.0)
    }
}

impl Hash for Place {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.word());
    }
}

#[derive(Clone, Copy, Debug)]
struct Seeded(u64);

#[derive(Debug)]
struct SeededHasher {
    seed: u64,
    hash: u64,
}

impl BuildHasher for Seeded {
    type Hasher = SeededHasher;

    fn build_hasher(&self) -> SeededHasher {
        SeededHasher { seed: self.0, hash: 0 }
    }
}

impl Hasher for SeededHasher {
    fn finish(&self) -> u64 {
        self.hash
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }

    fn write_u64(&mut self, word: u64) {
        self.hash = mix(self.hash.rotate_left(5) ^ word ^ self.seed);
    }
}

/// The finaliser of `SplitMix64` (Steele, Lea, Flood 2014).
pub(super) const fn mix(word: u64) -> u64 {
    let mut z = word.wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

#[cfg(test)]
mod size {
    use super::*;

    #[test]
    fn the_overhead_that_is_charged_covers_what_an_entry_takes() {
        // Key, value and two links in a box; in the table a key pointer, a node pointer and a tag, at 7/8 load and
        // after doubling at most twice that; 8 bytes of sketch.
        let boxed = (size_of::<Place>() + size_of::<Entry>() + 16).next_multiple_of(16);
        let table = 2 * (16 + 1) * 8 / 7;
        assert!(super::super::ENTRY_OVERHEAD >= (boxed + table + 8) as u64, "{boxed} + {table}");
    }
}
