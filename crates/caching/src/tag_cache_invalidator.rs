//! Invalidation by name, in one step of the log; erasure by index, complete and verified. It decides nothing about
//! what a name means: that is the log's and the index's, the same for every level.

use std::sync::Arc;

use async_trait::async_trait;
use tokio::time::{Instant, sleep, timeout};

use crate::error::Cause;
use crate::multi_level_cache::{Core, Shared};
use crate::ports::{ErasePage, LogScope, Notice, Removal, RemoveIf};
use crate::{
    ByteSize, CacheError, CacheInvalidator, CacheKey, CacheLevel, EraseCursor, ErasureReport, L1Eviction,
    LogPosition, MultiLevelCache, Selector, SweepBudget, SweepReport,
};

/// How many entries one transaction erases or sweeps.
const PAGE: u32 = 500;
/// How many keys of L2 are removed before the other nodes' last copies are waited for.
const ROUND: usize = 10_000;

/// Ends entries of a [`MultiLevelCache`] by key, label, owner or namespace.
///
/// ```
/// use std::{sync::Arc, time::Duration};
/// use wavequill_caching::{
///     Cache, CacheConfig, CacheInvalidatorExt, CachePut, ContentAddresser, MemoryStore, Metadata, MultiLevelCache,
///     Namespace, Owner, Sha256ContentAddresser, TagCacheInvalidator, ports::CachePorts,
/// };
/// use wavequill_kernel::Ttl;
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let cache = MultiLevelCache::new(CacheConfig::default(), CachePorts::on(Arc::new(MemoryStore::new())))?;
/// let invalidator = TagCacheInvalidator::new(&cache);
///
/// let key = Sha256ContentAddresser::new().generate_key(b"a voice", Namespace::new("voices")?, &Metadata::new());
/// let put = CachePut::new(key, "Ada's", Ttl::new(Duration::from_secs(60))?).with_owner(Owner::new("ada")?);
/// cache.put(put).await?;
/// let report = invalidator.invalidate_user_data("ada").await?;
/// assert_eq!(report.erased_entries, 1);
/// assert!(!cache.get(&key).await?.is_hit());
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct TagCacheInvalidator {
    shared: Arc<Shared>,
}

impl TagCacheInvalidator {
    /// An invalidator of this cache, and by its log of all that share its store.
    pub fn new(cache: &MultiLevelCache) -> Self {
        Self { shared: cache.shared().clone() }
    }

    fn core(&self) -> &Core {
        &self.shared.core
    }

    /// Erases page by page; the keys that L2 may get back from a node that does not know yet are removed twice.
    async fn erase_pages(
        &self,
        what: &Selector,
        cursor: &mut EraseCursor,
        report: &mut ErasureReport,
    ) -> Result<(), CacheError> {
        let core = self.core();
        let mut round: Vec<CacheKey> = Vec::new();
        loop {
            let ErasePage { erased, kept, next } = core.ports.index.erase_page(what, cursor, PAGE).await?;
            report.erased_entries += erased.len() as u64;
            report.kept_entries += kept;
            core.metrics.erased_entries.increment(erased.len() as u64);
            for key in &erased {
                core.l1.remove(key);
            }
            self.remove_from_l2(&erased, cursor.position).await?;
            if core.ports.l2.is_some() {
                round.extend(erased);
            }
            if round.len() >= ROUND || next.is_none() {
                self.outwait(cursor.position).await?;
                self.remove_from_l2(&round, cursor.position).await?;
                round.clear();
            }
            match next {
                Some(next) => *cursor = next,
                None => return Ok(()),
            }
        }
    }

    async fn remove_from_l2(&self, keys: &[CacheKey], position: LogPosition) -> Result<(), CacheError> {
        let core = self.core();
        let Some(tier) = &core.ports.l2 else { return Ok(()) };
        for batch in keys.chunks(PAGE as usize) {
            let removals = batch
                .iter()
                .map(|key| Removal { key: *key, condition: RemoveIf::Before(position) })
                .collect();
            timeout(core.config.l2_put_timeout, tier.remove(removals))
                .await
                .map_err(|late| CacheError::unavailable(CacheLevel::L2, "remove entries", late))??;
        }
        Ok(())
    }

    /// Tells the other nodes, and waits until none of them can still serve what it knew before.
    async fn outwait(&self, position: LogPosition) -> Result<(), CacheError> {
        let core = self.core();
        core.catch_up(None).await?;
        let head = core.view.head().unwrap_or(position);
        core.ports.backplane.publish(Notice::Bumped(head)).await;
        if core.ports.log.scope() != LogScope::Process {
            sleep(core.config.max_staleness).await;
        }
        Ok(())
    }

    async fn start(&self, what: &Selector, from: Option<EraseCursor>) -> Result<EraseCursor, CacheError> {
        match from {
            // A cursor of another log names nothing in this one: begin anew.
            Some(cursor) if self.core().ports.log.head().await?.log == cursor.position.log => Ok(cursor),
            _ => Ok(EraseCursor { position: self.core().invalidate(what).await?, after: None }),
        }
    }
}

#[async_trait]
impl CacheInvalidator for TagCacheInvalidator {
    async fn invalidate(&self, what: &Selector) -> Result<LogPosition, CacheError> {
        self.core().invalidate(what).await
    }

    async fn erase(&self, what: &Selector, from: Option<EraseCursor>) -> Result<ErasureReport, CacheError> {
        let incomplete =
            |cursor, error: CacheError| CacheError::ErasureIncomplete { cursor, source: Cause::new(error) };
        let mut cursor = self.start(what, from).await.map_err(|error| incomplete(from, error))?;
        let position = cursor.position;
        let mut report = ErasureReport { position, erased_entries: 0, kept_entries: 0 };
        self.erase_pages(what, &mut cursor, &mut report)
            .await
            .map_err(|error| incomplete(Some(cursor), error))?;
        let index = &self.core().ports.index;
        let begin = Some(EraseCursor { position, after: None });
        index.scrub().await.map_err(|error| incomplete(begin, error))?;
        match index.remaining(what, position).await {
            Ok(0) => Ok(report),
            Ok(left) => Err(CacheError::ErasureIncomplete {
                cursor: begin,
                source: Cause::new(format!("{left} entries are still there")),
            }),
            Err(error) => Err(incomplete(begin, error)),
        }
    }

    async fn invalidate_expired(&self, budget: SweepBudget) -> Result<SweepReport, CacheError> {
        let begun = Instant::now();
        let mut report = SweepReport::default();
        loop {
            let left = budget.max_entries.saturating_sub(report.removed_entries);
            let limit = u64::from(PAGE).min(left) as u32;
            if limit == 0 || begun.elapsed() >= budget.max_duration {
                return Ok(report);
            }
            let page = self.core().ports.index.sweep_page(self.core().now(), limit).await?;
            report.removed_entries += page.entries;
            report.removed_leases += page.leases;
            report.removed_bumps += page.bumps;
            if !page.more {
                report.finished = true;
                return Ok(report);
            }
        }
    }

    fn invalidate_l1_on_memory_pressure(&self, target: ByteSize) -> L1Eviction {
        self.core().l1.shrink_to(target.as_bytes(), self.core().tick())
    }
}
