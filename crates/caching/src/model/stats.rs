//! How the levels do.

use super::{CacheLevel, Savings};

/// A number of bytes.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
#[serde(transparent)]
pub struct ByteSize(u64);

impl ByteSize {
    /// So many bytes.
    pub const fn from_bytes(bytes: u64) -> Self {
        Self(bytes)
    }

    /// So many times 1024 bytes.
    pub const fn from_kib(kib: u64) -> Self {
        Self(kib * 1024)
    }

    /// So many times 1,048,576 bytes.
    pub const fn from_mib(mib: u64) -> Self {
        Self(mib * 1024 * 1024)
    }

    /// The number of bytes.
    pub const fn as_bytes(self) -> u64 {
        self.0
    }
}

/// How many there are, and how well that is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Count {
    /// Counted.
    Exact(u64),
    /// Estimated, where counting would cost a scan.
    Estimate(u64),
    /// Not known.
    Unknown,
}

/// One level since this cache was built.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LevelStats {
    /// Keys found here.
    pub hits: u64,
    /// Keys asked for and not found here.
    pub misses: u64,
    /// Keys asked for in a call that failed.
    pub errors: u64,
    /// Values that the level did not take.
    pub rejections: u64,
    /// Entries that were found damaged, and removed.
    pub corrupt: u64,
    /// What the hits saved.
    pub saved: Savings,
}

/// All levels since this cache was built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CacheStats {
    /// Entries in this process's memory.
    pub l1_size: u64,
    /// Bytes in this process's memory, with the table's own.
    pub l1_memory_bytes: u64,
    /// Entries in L2.
    pub l2_size: Count,
    /// Entries in L3.
    pub l3_count: Count,
    /// The levels, nearest first.
    pub levels: [LevelStats; 3],
}

impl CacheStats {
    /// One level.
    pub const fn level(&self, level: CacheLevel) -> &LevelStats {
        let [l1, l2, l3] = &self.levels;
        match level {
            CacheLevel::L1 => l1,
            CacheLevel::L2 => l2,
            CacheLevel::L3 => l3,
        }
    }

    /// What all levels saved together.
    pub fn saved(&self) -> Savings {
        self.levels.iter().fold(Savings::default(), |mut sum, level| {
            sum.load_time += level.saved.load_time;
            sum.audio += level.saved.audio;
            sum.micro_dollars += level.saved.micro_dollars;
            sum
        })
    }
}
