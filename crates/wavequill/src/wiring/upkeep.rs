//! What a cache needs now and then, called by a clock: it forgets what has ended, and remembers what is often asked for.

use std::time::Duration;

use wavequill_caching::{
    CacheError, CacheInvalidator, CacheWarmer, FrequencyCacheWarmer, MultiLevelCache, SweepBudget,
    TagCacheInvalidator, WarmLimits,
};

use crate::JobScope;

/// After the start: who runs for a moment only has better things to do.
const FIRST_SWEEP: Duration = Duration::from_secs(10);
const EVERY: Duration = Duration::from_secs(600);

/// Keeps a cache up until it is dropped. A service that runs on also begins with what was often asked for before.
pub(crate) async fn keep_up(cache: MultiLevelCache, jobs: JobScope) {
    let (invalidator, warmer) = (TagCacheInvalidator::new(&cache), FrequencyCacheWarmer::new(&cache));
    if jobs == JobScope::All {
        told("warmed", warmer.warm(&WarmLimits::default()).await);
    }
    tokio::time::sleep(FIRST_SWEEP).await;
    loop {
        while let Some(swept) = told("swept", invalidator.invalidate_expired(SweepBudget::default()).await)
            && !swept.finished
        {}
        if jobs == JobScope::All {
            told("remembered", warmer.snapshot().await);
        }
        tokio::time::sleep(EVERY).await;
    }
}

/// A cache that is not kept up now is kept up the next time.
fn told<T: std::fmt::Debug>(what: &str, done: Result<T, CacheError>) -> Option<T> {
    match &done {
        Ok(report) => tracing::debug!(target: "wavequill", ?report, "the cache was {what}"),
        Err(error) => tracing::warn!(target: "wavequill", %error, "the cache could not be {what}"),
    }
    done.ok()
}
