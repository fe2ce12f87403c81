//! A count-min sketch of four-bit counters: about how often a key was seen lately. It halves itself with age.

use super::shard::mix;

/// Four counters a key, one in each row; sixteen to a word.
#[derive(Debug)]
pub(super) struct Sketch {
    words: Vec<u64>,
    additions: usize,
}

const ROWS: u64 = 4;
const MAX: u64 = 15;
const ONES: u64 = 0x1111_1111_1111_1111;

impl Sketch {
    pub(super) fn new() -> Self {
        Self { words: vec![0; 256], additions: 0 }
    }

    /// Makes room for `entries` keys, and for as many again that are not there. What was counted is lost when it grows.
    pub(super) fn grow_to(&mut self, entries: usize) {
        if entries > self.words.len() {
            self.words = vec![0; entries.next_power_of_two()];
            self.additions = 0;
        }
    }

    /// Counts one sight of a key.
    pub(super) fn add(&mut self, key: u64) {
        let mask = self.words.len() - 1;
        let mut grew = false;
        for row in 0..ROWS {
            let (at, shift) = place(key, row, mask);
            if let Some(word) = self.words.get_mut(at)
                && (*word >> shift) & MAX < MAX
            {
                *word += 1 << shift;
                grew = true;
            }
        }
        self.additions += usize::from(grew);
        if self.additions >= self.words.len() * 10 {
            self.halve();
        }
    }

    /// About how often the key was seen: never less than it was since the last halving, up to 15.
    pub(super) fn count(&self, key: u64) -> u64 {
        let mask = self.words.len() - 1;
        let counter = |row| {
            let (at, shift) = place(key, row, mask);
            self.words.get(at).map_or(0, |word| (word >> shift) & MAX)
        };
        (0..ROWS).map(counter).min().unwrap_or(0)
    }

    fn halve(&mut self) {
        for word in &mut self.words {
            *word = (*word >> 1) & !(ONES << 3);
        }
        self.additions /= 2;
    }
}

/// Which word and which four bits of it.
fn place(key: u64, row: u64, mask: usize) -> (usize, u32) {
    let hash = mix(key ^ (row + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15));
    // Each row has four of a word's sixteen counters of its own, so that a key's counters are always four.
    (hash as usize & mask, (row as u32 * 4 + ((hash >> 56) as u32 & 3)) * 4)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_seen_more_often_counts_more() {
        let mut sketch = Sketch::new();
        for _ in 0..9 {
            sketch.add(1);
        }
        sketch.add(2);
        assert!(sketch.count(1) >= 9 && sketch.count(2) >= 1);
        assert!(sketch.count(1) > sketch.count(2));
    }

    #[test]
    fn old_sights_fade() {
        let mut sketch = Sketch::new();
        for _ in 0..15 {
            sketch.add(1);
        }
        for key in 100..100_000 {
            sketch.add(key);
        }
        sketch.halve();
        sketch.halve();
        sketch.halve();
        sketch.halve();
        assert_eq!(sketch.count(1), 0);
    }

    #[test]
    fn a_counter_that_is_full_does_not_run_into_its_neighbour() {
        let mut sketch = Sketch::new();
        for _ in 0..100 {
            sketch.add(7);
        }
        let total: u32 = sketch.words.iter().map(|word| word.count_ones()).sum();
        assert_eq!((sketch.count(7), total), (15, 16));
    }
}
