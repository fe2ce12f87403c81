//! The cache on its stores: the conformance suites, and what only shows when parts work together.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod conformance;
mod erasure;
mod levels;
mod model_of_the_log;
mod nodes;
mod outages;
mod postgres;
mod processes;
mod redis;
mod servers;
mod sqlite;
mod warming;

use std::sync::Arc;

use wavequill_caching::ports::CachePorts;
use wavequill_caching::{CacheConfig, MultiLevelCache};
use wavequill_kernel::testing::ManualClock;

/// A cache with the defaults on these ports, and its clock.
fn cache(ports: CachePorts) -> (MultiLevelCache, Arc<ManualClock>) {
    let clock = Arc::new(ManualClock::new());
    (cache_by(CacheConfig::default(), ports, &clock), clock)
}

fn cache_by(config: CacheConfig, ports: CachePorts, clock: &Arc<ManualClock>) -> MultiLevelCache {
    MultiLevelCache::with_clock(config, ports, clock.clone()).unwrap()
}
