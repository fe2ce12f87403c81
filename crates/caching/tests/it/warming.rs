//! Warm starts.

use std::sync::Arc;
use std::time::Duration;

use wavequill_caching::ports::CachePorts;
use wavequill_caching::testing::{key, seconds};
use wavequill_caching::{
    ByteSize, Cache, CacheConfig, CachePut, CacheWarmer, FrequencyCacheWarmer, MemoryStore, MissCost,
    WarmLimits,
};
use wavequill_kernel::testing::ManualClock;

use crate::{cache, cache_by};

fn put(number: u64, bytes: usize) -> CachePut {
    let cost = MissCost::ZERO.with_load_time(Duration::from_secs(1));
    CachePut::new(key(number), vec![b'x'; bytes], seconds(86_400)).with_cost(cost)
}

#[tokio::test(start_paused = true)]
async fn what_was_hit_is_in_memory_after_a_restart() {
    let store = Arc::new(MemoryStore::new());
    let (before, _clock) = cache(CachePorts::on(store.clone()));
    before.put_many((0..200).map(|number| put(number, 100)).collect()).await.unwrap();
    for number in 0..20 {
        for _ in 0..64 {
            before.get(&key(number)).await.unwrap();
        }
    }
    assert!(FrequencyCacheWarmer::new(&before).snapshot().await.unwrap().keys > 0);
    drop(before);
    let (after, _clock) = cache(CachePorts::on(store));
    let report = FrequencyCacheWarmer::new(&after).warm(&WarmLimits::default()).await.unwrap();
    let warm = (0..20).filter(|number| after.get_local(&key(*number)).is_some()).count() as u64;
    assert_eq!(report.warmed_entries, warm);
    assert!(warm >= 15, "{warm} of the 20 that were hit");
    assert_eq!((100..200).filter(|number| after.get_local(&key(*number)).is_some()).count(), 0);
}

#[tokio::test(start_paused = true)]
async fn warming_stops_at_its_share_of_memory_and_displaces_nothing() {
    let store = Arc::new(MemoryStore::new());
    let (before, _clock) = cache(CachePorts::on(store.clone()));
    let keys: Vec<_> = (0..100).map(key).collect();
    before.put_many((0..100).map(|number| put(number, 2_000)).collect()).await.unwrap();
    for _ in 0..16 {
        before.get_many(&keys).await.unwrap();
    }
    FrequencyCacheWarmer::new(&before).snapshot().await.unwrap();
    let clock = Arc::new(ManualClock::new());
    let small = CacheConfig::default().with_l1_bytes(ByteSize::from_kib(64));
    let after = cache_by(small, CachePorts::on(store), &clock);
    after.put(put(1_000, 4_000)).await.unwrap();
    let limits = WarmLimits { max_fill: 0.5, ..WarmLimits::default() };
    let report = FrequencyCacheWarmer::new(&after).warm(&limits).await.unwrap();
    assert!(after.stats().await.l1_memory_bytes <= 32 * 1024);
    assert!(report.warmed_entries > 0 && report.left_entries > 0, "{report:?}");
    assert!(after.get_local(&key(1_000)).is_some());
}

#[tokio::test(start_paused = true)]
async fn warming_keeps_to_its_pace_and_counts_what_is_gone() {
    let store = Arc::new(MemoryStore::new());
    let (before, clock) = cache(CachePorts::on(store.clone()));
    let keys: Vec<_> = (0..100).map(key).collect();
    before.put_many((0..100).map(|number| put(number, 10)).collect()).await.unwrap();
    // Found below L1, each key counts at once.
    clock.advance(Duration::from_secs(400));
    before.get_many(&keys).await.unwrap();
    FrequencyCacheWarmer::new(&before).snapshot().await.unwrap();
    for number in 0..10 {
        before.delete(&key(number)).await.unwrap();
    }
    let (after, _clock) = cache(CachePorts::on(store));
    let limits = WarmLimits { keys_per_second: 50, ..WarmLimits::default() };
    let begun = tokio::time::Instant::now();
    let report = FrequencyCacheWarmer::new(&after).warm(&limits).await.unwrap();
    assert_eq!((report.warmed_entries, report.gone_entries), (90, 10));
    assert!(begun.elapsed() >= Duration::from_millis(1_900), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn a_process_that_saw_no_hit_does_not_forget_what_is_remembered() {
    let store = Arc::new(MemoryStore::new());
    let (before, clock) = cache(CachePorts::on(store.clone()));
    before.put(put(1, 10)).await.unwrap();
    clock.advance(Duration::from_secs(400));
    before.get(&key(1)).await.unwrap();
    FrequencyCacheWarmer::new(&before).snapshot().await.unwrap();
    let (idle, _clock) = cache(CachePorts::on(store.clone()));
    assert_eq!(FrequencyCacheWarmer::new(&idle).snapshot().await.unwrap().keys, 0);
    let (after, _clock) = cache(CachePorts::on(store));
    let report = FrequencyCacheWarmer::new(&after).warm(&WarmLimits::default()).await.unwrap();
    assert_eq!(report.warmed_entries, 1);
}
