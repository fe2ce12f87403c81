//! Remembers which keys are hit most, and reads them back into memory after a restart, the most worth first: hits ×
//! what a miss costs ÷ bytes. It reads what the levels below hold; what they do not hold stays missing.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::{Instant, sleep_until};
use wavequill_kernel::InvalidValue;

use crate::multi_level_cache::{Core, Promotion, Shared};
use crate::ports::HotKey;
use crate::{CacheError, CacheWarmer, L1Verdict, MultiLevelCache, WarmLimits, WarmReport, WarmSnapshot};

/// How many keys are remembered.
const REMEMBERED: u32 = 4_096;
/// How many keys one read asks for at most.
const BATCH: usize = 64;

/// Warms a [`MultiLevelCache`] with what its hits say is hot.
///
/// Today it does not watch the latency of other reads: its limits alone keep it out of their way.
///
/// ```
/// use std::sync::Arc;
/// use wavequill_caching::{
///     CacheConfig, CacheWarmer, FrequencyCacheWarmer, MemoryStore, MultiLevelCache, WarmLimits, ports::CachePorts,
/// };
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), wavequill_caching::CacheError> {
/// let cache = MultiLevelCache::new(CacheConfig::default(), CachePorts::on(Arc::new(MemoryStore::new())))?;
/// let warmer = FrequencyCacheWarmer::new(&cache);
/// let report = warmer.warm(&WarmLimits::default()).await?; // at the start
/// assert_eq!(report.warmed_entries, 0);
/// warmer.snapshot().await?; // now and then, and at the end
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct FrequencyCacheWarmer {
    shared: Arc<Shared>,
}

impl FrequencyCacheWarmer {
    /// A warmer of this cache.
    pub fn new(cache: &MultiLevelCache) -> Self {
        Self { shared: cache.shared().clone() }
    }

    fn core(&self) -> &Core {
        &self.shared.core
    }

    /// Reads one batch, and puts into L1 what fits without displacing anything. Returns the bytes read.
    async fn warm_batch(
        &self,
        batch: &[HotKey],
        fill: u64,
        report: &mut WarmReport,
    ) -> Result<u64, CacheError> {
        let core = self.core();
        let now = core.tick();
        let wanted: Vec<_> =
            batch.iter().map(|hot| hot.key).filter(|key| !core.l1.contains(key, now, &core.view)).collect();
        let mut bytes = 0;
        for (key, looked) in wanted.iter().zip(core.search(&wanted, Promotion::Stay).await?) {
            let Some((_, value)) = looked.found else {
                report.gone_entries += 1;
                continue;
            };
            let size = value.body().len() as u64;
            bytes += size;
            let residence = looked.as_of.and_then(|as_of| core.residence(&value, as_of));
            let verdict = residence.map(|residence| core.l1.insert_if_room(key, value, residence, fill));
            if verdict == Some(L1Verdict::Admitted) {
                report.warmed_entries += 1;
                report.warmed_bytes += size;
                core.metrics.warmed_entries.increment(1);
            } else {
                report.left_entries += 1;
            }
        }
        Ok(bytes)
    }
}

#[async_trait]
impl CacheWarmer for FrequencyCacheWarmer {
    async fn snapshot(&self) -> Result<WarmSnapshot, CacheError> {
        let hot: Vec<_> = {
            let counters = self.core().hot.lock();
            let hot = |counter: &crate::space_saving::Counter| HotKey {
                key: counter.key,
                hits: counter.hits,
                cost: counter.cost,
                bytes: counter.bytes,
            };
            counters.counters().iter().map(hot).collect()
        };
        let keys = hot.len() as u64;
        // A process that has seen no hit knows nothing better than what is remembered.
        if keys > 0 {
            self.core().ports.hot_set.save(hot).await?;
        }
        Ok(WarmSnapshot { keys })
    }

    async fn warm(&self, limits: &WarmLimits) -> Result<WarmReport, CacheError> {
        check(limits)?;
        let core = self.core();
        core.catch_up(None).await?;
        let hot = core.ports.hot_set.load(REMEMBERED).await?;
        let fill = (core.config.l1_bytes.as_bytes() as f64 * limits.max_fill) as u64;
        let batch_len = (limits.keys_per_second as usize / 10).clamp(1, BATCH);
        let (begun, mut keys, mut bytes) = (Instant::now(), 0_u64, 0_u64);
        let mut report = WarmReport::default();
        for batch in hot.chunks(batch_len) {
            if core.l1.bytes() >= fill {
                report.left_entries = hot.len() as u64 - keys;
                break;
            }
            bytes += self.warm_batch(batch, fill, &mut report).await?;
            keys += batch.len() as u64;
            sleep_until(begun + pace(limits, keys, bytes)).await;
        }
        Ok(report)
    }
}

/// How long so many keys and bytes must have taken.
fn pace(limits: &WarmLimits, keys: u64, bytes: u64) -> Duration {
    let by_keys = keys as f64 / f64::from(limits.keys_per_second);
    let by_bytes = bytes as f64 / limits.bytes_per_second.as_bytes() as f64;
    Duration::from_secs_f64(by_keys.max(by_bytes))
}

fn check(limits: &WarmLimits) -> Result<(), CacheError> {
    let refused = |name, given: String, expected: &'static str| {
        Err(CacheError::InvalidConfig { source: InvalidValue::new(name, given, expected) })
    };
    if limits.keys_per_second == 0 {
        return refused("keys_per_second", "0".into(), "at least 1");
    }
    if limits.bytes_per_second.as_bytes() == 0 {
        return refused("bytes_per_second", "0".into(), "at least 1");
    }
    if !(0.0..=1.0).contains(&limits.max_fill) {
        return refused("max_fill", limits.max_fill.to_string(), "0 to 1");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ByteSize;

    #[test]
    fn the_slower_of_the_two_limits_sets_the_pace() {
        let limits = WarmLimits {
            keys_per_second: 100,
            bytes_per_second: ByteSize::from_bytes(1_000),
            ..WarmLimits::default()
        };
        assert_eq!(pace(&limits, 50, 100), Duration::from_millis(500));
        assert_eq!(pace(&limits, 50, 2_000), Duration::from_secs(2));
    }

    #[test]
    fn limits_that_would_never_end_are_refused() {
        for limits in [
            WarmLimits { keys_per_second: 0, ..WarmLimits::default() },
            WarmLimits { bytes_per_second: ByteSize::from_bytes(0), ..WarmLimits::default() },
            WarmLimits { max_fill: f64::NAN, ..WarmLimits::default() },
        ] {
            assert!(check(&limits).is_err(), "{limits:?}");
        }
    }
}
