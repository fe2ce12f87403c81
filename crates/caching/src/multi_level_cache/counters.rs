//! Counts what the levels below L1 do, for `stats`. L1 counts in its own shards.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::{LevelStats, MissCost, Savings};

/// One level's counters.
#[derive(Debug, Default)]
pub(crate) struct LevelCounters {
    pub(crate) hits: AtomicU64,
    pub(crate) misses: AtomicU64,
    pub(crate) errors: AtomicU64,
    pub(crate) rejections: AtomicU64,
    pub(crate) corrupt: AtomicU64,
    load_ms: AtomicU64,
    audio_ms: AtomicU64,
    micro_dollars: AtomicU64,
}

impl LevelCounters {
    pub(crate) fn add(counter: &AtomicU64, count: u64) {
        counter.fetch_add(count, Ordering::Relaxed);
    }

    pub(crate) fn save(&self, cost: MissCost) {
        Self::add(&self.load_ms, cost.load_time.as_millis() as u64);
        Self::add(&self.audio_ms, cost.audio.as_millis() as u64);
        Self::add(&self.micro_dollars, cost.micro_dollars);
    }

    pub(crate) fn stats(&self) -> LevelStats {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        LevelStats {
            hits: read(&self.hits),
            misses: read(&self.misses),
            errors: read(&self.errors),
            rejections: read(&self.rejections),
            corrupt: read(&self.corrupt),
            saved: Savings {
                load_time: Duration::from_millis(read(&self.load_ms)),
                audio: Duration::from_millis(read(&self.audio_ms)),
                micro_dollars: read(&self.micro_dollars),
            },
        }
    }
}
