//! What each level does when another fails, and what brings values nearer.

use std::sync::Arc;
use std::time::Duration;

use wavequill_caching::ports::{CachePorts, CacheTier, LogScope};
use wavequill_caching::testing::cache::Strike;
use wavequill_caching::testing::{FlakyTier, MemoryTier, key, seconds};
use wavequill_caching::{
    ByteSize, Cache, CacheConfig, CacheError, CacheExt, CacheLevel, CachePut, Claim, L1Verdict, Label,
    MemoryStore, Owner, StoreVerdict,
};
use wavequill_kernel::testing::ManualClock;
use wavequill_kernel::{ErrorClass, Retryable};

use crate::{cache, cache_by};

fn put(number: u64) -> CachePut {
    CachePut::new(key(number), "value", seconds(86_400))
}

/// A cache whose L2 and L3 can be told to fail.
struct Levels {
    ports: CachePorts,
    l2: Arc<FlakyTier>,
    l3: Arc<FlakyTier>,
    memory: Arc<MemoryTier>,
}

fn levels() -> Levels {
    let store = Arc::new(MemoryStore::with_scope(LogScope::Fleet));
    let memory = Arc::new(MemoryTier::new());
    let l2 = Arc::new(FlakyTier::new(CacheLevel::L2, memory.clone()));
    let l3 = Arc::new(FlakyTier::new(CacheLevel::L3, store.clone()));
    let mut ports = CachePorts::on(store).with_l2(l2.clone());
    ports.l3 = l3.clone();
    Levels { ports, l2, l3, memory }
}

/// Longer than L1 keeps anything.
const PAST_L1: Duration = Duration::from_secs(400);

#[tokio::test]
async fn a_value_is_found_in_the_nearest_level_that_has_it_and_brought_nearer() {
    let levels = levels();
    let (cache, clock) = cache(levels.ports);
    cache.put(put(1)).await.unwrap();
    assert_eq!(cache.get(&key(1)).await.unwrap().level(), Some(CacheLevel::L1));
    clock.advance(PAST_L1);
    assert_eq!(cache.get(&key(1)).await.unwrap().level(), Some(CacheLevel::L2));
    assert_eq!(cache.get(&key(1)).await.unwrap().level(), Some(CacheLevel::L1));
    levels.memory.restore(std::collections::HashMap::new());
    clock.advance(PAST_L1);
    assert_eq!(cache.get(&key(1)).await.unwrap().level(), Some(CacheLevel::L3));
    clock.advance(PAST_L1);
    assert_eq!(cache.get(&key(1)).await.unwrap().level(), Some(CacheLevel::L2), "L3's hit was given to L2");
}

#[tokio::test]
async fn a_failure_of_l3_is_unavailable_and_never_a_miss() {
    let levels = levels();
    let (cache, _clock) = cache(levels.ports);
    levels.l3.fail();
    let error = cache.get(&key(1)).await.unwrap_err();
    assert!(matches!(error, CacheError::Unavailable { level: CacheLevel::L3, .. }), "{error:?}");
    assert_eq!(error.class(), ErrorClass::Transient);
    let error = cache.get_or_load(&key(1), async |_| Ok::<_, Strike>(put(1))).await.unwrap_err();
    assert!(matches!(error, CacheError::Unavailable { .. }), "nobody may pay for a load: {error:?}");
    levels.l3.recover();
    assert!(!cache.get(&key(1)).await.unwrap().is_hit());
    assert_eq!(cache.stats().await.level(CacheLevel::L3).errors, 2);
}

#[tokio::test]
async fn what_is_near_is_served_while_l3_is_down() {
    let levels = levels();
    let (cache, clock) = cache(levels.ports);
    cache.put_many(vec![put(1), put(2)]).await.unwrap();
    levels.l3.fail();
    assert_eq!(cache.get(&key(1)).await.unwrap().level(), Some(CacheLevel::L1));
    clock.advance(PAST_L1);
    assert_eq!(cache.get(&key(2)).await.unwrap().level(), Some(CacheLevel::L2));
}

#[tokio::test]
async fn a_value_that_is_not_durable_is_an_error_and_kept_in_memory_for_now() {
    let levels = levels();
    let (cache, clock) = cache(levels.ports);
    cache.get(&key(1)).await.unwrap();
    levels.l3.fail();
    let error = cache.put(put(1)).await.unwrap_err();
    assert!(matches!(error, CacheError::NotDurable { level: CacheLevel::L3, .. }), "{error:?}");
    assert!(cache.get_local(&key(1)).is_some());
    assert!(levels.memory.contents().is_empty(), "L2 holds nothing that L3 has not");
    levels.l3.recover();
    clock.advance(PAST_L1);
    assert!(!cache.get(&key(1)).await.unwrap().is_hit());
}

#[tokio::test]
async fn a_load_that_cannot_be_made_durable_still_gives_its_value_to_all_that_wait() {
    let levels = levels();
    let (cache, _clock) = cache(levels.ports);
    let Some(Claim::Load(permit)) = cache.claim(&[key(1)]).await.unwrap().pop() else {
        panic!("nobody leads")
    };
    let Some(Claim::Wait(wait)) = cache.claim(&[key(1)]).await.unwrap().pop() else {
        panic!("somebody leads")
    };
    levels.l3.fail();
    cache.put(put(1).under(permit)).await.unwrap_err();
    assert!(matches!(wait.wait().await, Ok(wavequill_caching::Waited::Filled { .. })));
    levels.l3.recover();
    let (l3, second) = (levels.l3.clone(), key(2));
    let value = cache.get_or_load(&second, async |_| {
        l3.fail();
        Ok::<_, Strike>(put(2))
    });
    assert_eq!(value.await.unwrap().body().as_ref(), b"value");
}

#[tokio::test(start_paused = true)]
async fn a_failure_of_l2_is_only_slower_and_after_five_it_is_left_alone() {
    let levels = levels();
    let (cache, clock) = cache(levels.ports);
    cache.put(put(1)).await.unwrap();
    levels.l2.stall();
    for _ in 0..5 {
        clock.advance(PAST_L1);
        let begun = tokio::time::Instant::now();
        assert_eq!(cache.get(&key(1)).await.unwrap().level(), Some(CacheLevel::L3));
        // One time-out to read, one to give L3's hit to it.
        assert!(begun.elapsed() <= Duration::from_millis(310), "{:?}", begun.elapsed());
    }
    let calls = levels.l2.calls();
    cache.get(&key(2)).await.unwrap();
    assert_eq!(levels.l2.calls(), calls, "it is left alone");
    levels.l2.recover();
    clock.advance(Duration::from_secs(60));
    cache.get(&key(3)).await.unwrap();
    assert!(levels.l2.calls() > calls, "it is tried again");
}

#[tokio::test]
async fn a_damaged_entry_is_a_miss_counted_and_removed() {
    let levels = levels();
    let (cache, clock) = cache(levels.ports);
    cache.put(put(1)).await.unwrap();
    clock.advance(PAST_L1);
    levels.l2.damage();
    assert_eq!(cache.get(&key(1)).await.unwrap().level(), Some(CacheLevel::L3));
    clock.advance(PAST_L1);
    levels.l2.fail();
    levels.l3.damage();
    assert!(!cache.get(&key(1)).await.unwrap().is_hit());
    let stats = cache.stats().await;
    assert_eq!((stats.level(CacheLevel::L2).corrupt, stats.level(CacheLevel::L3).corrupt), (1, 1));
}

#[tokio::test]
async fn a_revived_state_of_l2_serves_nothing_that_was_deleted() {
    let levels = levels();
    let (cache, clock) = cache(levels.ports);
    cache.put_many(vec![put(1), put(2)]).await.unwrap();
    let old = levels.memory.contents();
    cache.delete(&key(1)).await.unwrap();
    levels.memory.restore(old);
    clock.advance(PAST_L1);
    assert!(!cache.get(&key(1)).await.unwrap().is_hit());
    assert_eq!(cache.get(&key(2)).await.unwrap().level(), Some(CacheLevel::L2));
}

#[tokio::test]
async fn a_shared_memory_beside_a_log_of_one_machine_is_refused() {
    let ports = CachePorts::on(Arc::new(MemoryStore::new())).with_l2(Arc::new(MemoryTier::new()));
    let error = wavequill_caching::MultiLevelCache::new(CacheConfig::default(), ports).unwrap_err();
    let reason = std::error::Error::source(&error).unwrap().to_string();
    assert!(reason.contains("a database that all nodes share"), "{reason}");
}

#[test]
fn a_cache_outside_a_runtime_is_refused() {
    let ports = CachePorts::on(Arc::new(MemoryStore::new()));
    let error = wavequill_caching::MultiLevelCache::new(CacheConfig::default(), ports).unwrap_err();
    assert!(std::error::Error::source(&error).unwrap().to_string().contains("tokio runtime"));
}

#[tokio::test]
async fn an_entry_too_heavy_for_memory_is_served_by_the_levels_below() {
    let clock = Arc::new(ManualClock::new());
    let config = CacheConfig::default().with_l1_bytes(ByteSize::from_kib(64));
    let cache = cache_by(config, CachePorts::on(Arc::new(MemoryStore::new())), &clock);
    let heavy = CachePut::new(key(1), vec![b'x'; 20_000], seconds(100));
    let outcome = cache.put(heavy).await.unwrap();
    assert_eq!((outcome.verdict, outcome.l1), (StoreVerdict::Stored, L1Verdict::TooLarge));
    assert_eq!(cache.get(&key(1)).await.unwrap().level(), Some(CacheLevel::L3));
    assert_eq!(cache.stats().await.level(CacheLevel::L1).rejections, 2);
}

#[tokio::test]
async fn a_replaced_value_that_is_too_heavy_for_memory_does_not_leave_the_old_one_there() {
    let clock = Arc::new(ManualClock::new());
    let config = CacheConfig::default().with_l1_bytes(ByteSize::from_kib(64));
    let cache = cache_by(config, CachePorts::on(Arc::new(MemoryStore::new())), &clock);
    cache.put(put(1)).await.unwrap();
    cache.put(CachePut::new(key(1), vec![b'x'; 20_000], seconds(100)).replacing()).await.unwrap();
    assert!(cache.get_local(&key(1)).is_none());
    assert_eq!(cache.get(&key(1)).await.unwrap().value().unwrap().body().len(), 20_000);
}

#[tokio::test]
async fn what_breaks_a_limit_is_refused_with_the_limit_and_nothing_is_stored() {
    let clock = Arc::new(ManualClock::new());
    let config = CacheConfig { max_ttl: Duration::from_secs(10), ..CacheConfig::default() }
        .with_max_value_bytes(ByteSize::from_bytes(10));
    let cache = cache_by(config, CachePorts::on(Arc::new(MemoryStore::new())), &clock);
    let right = || CachePut::new(key(1), "x", seconds(10));
    let label = Label::new("x").unwrap();
    let owner = Owner::new("x").unwrap();
    let wrong = [
        CachePut::new(key(2), "eleven byte", seconds(10)),
        CachePut::new(key(2), "x", seconds(11)),
        (0..9).fold(right(), |put, _| put.with_label(label)),
        (0..9).fold(right(), |put, _| put.with_owner(owner)),
    ];
    let expected = ["`max_value_bytes` (10)", "`max_ttl` (10s)", "at most 8", "at most 8"];
    for (wrong, expected) in wrong.into_iter().zip(expected) {
        let error = cache.put_many(vec![right(), wrong]).await.unwrap_err();
        let source = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
        assert!(format!("{error} {source}").contains(expected), "{error} {source}");
        assert_eq!(error.class(), ErrorClass::Permanent);
        assert!(!cache.get(&key(1)).await.unwrap().is_hit());
    }
}

#[tokio::test]
async fn a_put_that_is_refused_fails_its_permit_so_that_nobody_pays_again() {
    let clock = Arc::new(ManualClock::new());
    let config = CacheConfig::default().with_max_value_bytes(ByteSize::from_bytes(10));
    let cache = cache_by(config, CachePorts::on(Arc::new(MemoryStore::new())), &clock);
    let Some(Claim::Load(permit)) = cache.claim(&[key(1)]).await.unwrap().pop() else {
        panic!("nobody leads")
    };
    let Some(Claim::Wait(wait)) = cache.claim(&[key(1)]).await.unwrap().pop() else {
        panic!("somebody leads")
    };
    cache.put(CachePut::new(key(1), "eleven byte", seconds(10)).under(permit)).await.unwrap_err();
    assert!(matches!(wait.wait().await.unwrap_err(), CacheError::ValueTooLarge { bytes: 11, limit: 10 }));
}

#[tokio::test]
async fn a_batch_of_a_thousand_is_one_call_to_each_level() {
    let levels = levels();
    let (cache, clock) = cache(levels.ports);
    cache.put_many((0..700).map(put).collect()).await.unwrap();
    clock.advance(PAST_L1);
    let (l2, l3) = (levels.l2.calls(), levels.l3.calls());
    let found = cache.get_many(&(0..1_000).map(key).collect::<Vec<_>>()).await.unwrap();
    assert_eq!(found.iter().filter(|found| found.is_hit()).count(), 700);
    assert_eq!((levels.l2.calls() - l2, levels.l3.calls() - l3), (1, 1));
}

#[tokio::test]
async fn a_large_body_goes_through_all_levels_unchanged() {
    let levels = levels();
    let (cache, clock) = cache(levels.ports);
    let body: Vec<u8> = (0..3_000_000_u32).map(|n| (n % 251) as u8).collect();
    cache.put(CachePut::new(key(1), body.clone(), seconds(86_400))).await.unwrap();
    for level in [CacheLevel::L1, CacheLevel::L2] {
        let found = cache.get(&key(1)).await.unwrap();
        assert_eq!((found.level(), found.value().unwrap().body().as_ref()), (Some(level), body.as_slice()));
        clock.advance(PAST_L1);
    }
    let stored = levels.memory.contents().into_values().next().unwrap();
    assert!(stored.len() < body.len() / 10, "it is stored compressed, in {} bytes", stored.len());
    assert!(levels.l3.count().await.is_ok());
}
