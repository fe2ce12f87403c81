//! The keys that are asked for most, in constant memory: Space-Saving (Metwally, Agrawal, El Abbadi, 2005).

use std::collections::HashMap;

use crate::{CacheKey, Subject};

/// A min-heap of counters, with the place of each key in it. All memory is taken at the start.
#[derive(Debug)]
pub(crate) struct SpaceSaving {
    heap: Vec<Counter>,
    places: HashMap<Subject, usize>,
    capacity: usize,
}

/// One key's counter: its hits, or at most as many more as its predecessor had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Counter {
    pub(crate) key: CacheKey,
    pub(crate) hits: u64,
    pub(crate) cost: u64,
    pub(crate) bytes: u64,
}

impl SpaceSaving {
    pub(crate) fn new(capacity: usize) -> Self {
        Self { heap: Vec::with_capacity(capacity), places: HashMap::with_capacity(capacity), capacity }
    }

    /// Counts hits of a key. A key that is not counted yet takes the place and the count of the least.
    pub(crate) fn add(&mut self, key: CacheKey, hits: u64, cost: u64, bytes: u64) {
        let subject = Subject::of_key(&key);
        let place = if let Some(place) = self.places.get(&subject) {
            *place
        } else if self.heap.len() < self.capacity {
            self.heap.push(Counter { key, hits: 0, cost, bytes });
            let place = self.rise(self.heap.len() - 1);
            self.places.insert(subject, place);
            place
        } else {
            let Some(least) = self.heap.first_mut() else { return };
            self.places.remove(&Subject::of_key(&least.key));
            least.key = key;
            self.places.insert(subject, 0);
            0
        };
        if let Some(counter) = self.heap.get_mut(place) {
            counter.hits += hits;
            counter.cost = cost;
            counter.bytes = bytes;
        }
        self.sink(place);
    }

    /// All counters, in no order.
    pub(crate) fn counters(&self) -> &[Counter] {
        &self.heap
    }

    fn hits(&self, place: usize) -> u64 {
        self.heap.get(place).map_or(u64::MAX, |counter| counter.hits)
    }

    fn swap(&mut self, one: usize, other: usize) {
        self.heap.swap(one, other);
        for place in [one, other] {
            if let Some(counter) = self.heap.get(place)
                && let Some(known) = self.places.get_mut(&Subject::of_key(&counter.key))
            {
                *known = place;
            }
        }
    }

    fn rise(&mut self, mut place: usize) -> usize {
        while place > 0 && self.hits(place) < self.hits((place - 1) / 2) {
            self.swap(place, (place - 1) / 2);
            place = (place - 1) / 2;
        }
        place
    }

    fn sink(&mut self, mut place: usize) {
        loop {
            let (left, right) = (2 * place + 1, 2 * place + 2);
            let child = if self.hits(right) < self.hits(left) { right } else { left };
            if self.hits(child) >= self.hits(place) {
                return;
            }
            self.swap(place, child);
            place = child;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Namespace;
    use proptest::prelude::*;
    use wavequill_kernel::ContentHash;

    fn key(number: u8) -> CacheKey {
        CacheKey::new(Namespace::CHUNK, [number; 32], ContentHash::new([0; 32], 0))
    }

    proptest! {
        #[test]
        fn a_key_that_had_more_than_its_share_is_counted_and_never_too_low(
            asked in proptest::collection::vec(0_u8..30, 1..500),
        ) {
            let mut top = SpaceSaving::new(8);
            let mut exact = HashMap::<u8, u64>::new();
            for number in &asked {
                top.add(key(*number), 1, 1, 1);
                *exact.entry(*number).or_default() += 1;
            }
            prop_assert!(top.counters().len() <= 8);
            for (number, hits) in exact {
                let counter = top.counters().iter().find(|counter| counter.key == key(number));
                if hits > asked.len() as u64 / 8 {
                    prop_assert!(counter.is_some(), "{number} had {hits}");
                }
                if let Some(counter) = counter {
                    prop_assert!(counter.hits >= hits);
                }
            }
            for (place, counter) in top.counters().iter().enumerate() {
                prop_assert_eq!(top.places.get(&Subject::of_key(&counter.key)), Some(&place));
                prop_assert!(place == 0 || top.hits((place - 1) / 2) <= counter.hits);
            }
        }
    }
}
