//! Erasure: complete, counted, resumable, and only of what belongs to nobody else.

use std::sync::Arc;
use std::time::Duration;

use wavequill_caching::ports::{CachePorts, LogScope};
use wavequill_caching::testing::{FlakyTier, MemoryTier, key, seconds};
use wavequill_caching::{
    ByteSize, Cache, CacheError, CacheHitResult, CacheInvalidator, CacheInvalidatorExt, CacheLevel, CachePut,
    Claim, MemoryStore, Owner, Selector, StoreVerdict, SweepBudget, TagCacheInvalidator,
};

use crate::cache;

fn owner(name: &str) -> Owner {
    Owner::new(name).unwrap()
}

fn put(number: u64, owners: &[&str]) -> CachePut {
    let put = CachePut::new(key(number), "somebody's speech", seconds(86_400));
    owners.iter().fold(put, |put, name| put.with_owner(owner(name)))
}

#[tokio::test(start_paused = true)]
async fn a_user_s_data_is_gone_from_every_level_and_others_keep_theirs() {
    let memory = Arc::new(MemoryTier::new());
    let store = Arc::new(MemoryStore::with_scope(LogScope::Fleet));
    let (cache, _clock) = cache(CachePorts::on(store).with_l2(memory.clone()));
    let invalidator = TagCacheInvalidator::new(&cache);
    cache.put_many(vec![put(1, &["ada"]), put(2, &["ada", "bob"]), put(3, &["bob"])]).await.unwrap();
    let report = invalidator.invalidate_user_data("ada").await.unwrap();
    assert_eq!((report.erased_entries, report.kept_entries), (1, 1));
    assert!(!memory.contents().contains_key(&key(1)));
    let found = cache.get_many(&[1, 2, 3].map(key)).await.unwrap();
    assert_eq!(found.iter().map(CacheHitResult::is_hit).collect::<Vec<_>>(), [false, true, true]);
    let again = invalidator.invalidate_user_data("ada").await.unwrap();
    assert_eq!((again.erased_entries, again.kept_entries), (0, 0), "it is idempotent");
}

#[tokio::test(start_paused = true)]
async fn an_unreachable_l2_is_an_error_with_a_cursor_that_goes_on() {
    let memory = Arc::new(MemoryTier::new());
    let l2 = Arc::new(FlakyTier::new(CacheLevel::L2, memory.clone()));
    let store = Arc::new(MemoryStore::with_scope(LogScope::Fleet));
    let (cache, _clock) = cache(CachePorts::on(store).with_l2(l2.clone()));
    let invalidator = TagCacheInvalidator::new(&cache);
    cache.put_many((0..1_200).map(|number| put(number, &["ada"])).collect()).await.unwrap();
    l2.fail();
    let ada = Selector::Owner(owner("ada"));
    let error = invalidator.erase(&ada, None).await.unwrap_err();
    let CacheError::ErasureIncomplete { cursor: Some(cursor), .. } = error else { panic!("{error:?}") };
    assert!(!cache.get(&key(7)).await.unwrap().is_hit(), "it is over all the same");
    l2.recover();
    invalidator.erase(&ada, Some(cursor)).await.unwrap();
    assert!(
        cache.get_many(&(0..1_200).map(key).collect::<Vec<_>>()).await.unwrap().iter().all(|f| !f.is_hit())
    );
}

#[tokio::test(start_paused = true)]
async fn what_is_being_loaded_for_a_user_while_he_is_erased_is_not_kept() {
    let (cache, _clock) = cache(CachePorts::on(Arc::new(MemoryStore::new())));
    let invalidator = TagCacheInvalidator::new(&cache);
    let Some(Claim::Load(permit)) = cache.claim(&[key(1)]).await.unwrap().pop() else {
        panic!("nobody leads")
    };
    invalidator.invalidate_user_data("ada").await.unwrap();
    let outcome = cache.put(put(1, &["ada"]).under(permit)).await.unwrap();
    assert_eq!(outcome.verdict, StoreVerdict::Superseded);
    assert!(!cache.get(&key(1)).await.unwrap().is_hit());
}

#[tokio::test]
async fn a_sweep_stops_at_its_budget_and_goes_on_at_the_next() {
    let (cache, clock) = cache(CachePorts::on(Arc::new(MemoryStore::new())));
    let invalidator = TagCacheInvalidator::new(&cache);
    let puts = (0..1_500).map(|number| CachePut::new(key(number), "x", seconds(10)));
    cache.put_many(puts.chain([put(2_000, &[])]).collect()).await.unwrap();
    clock.advance(Duration::from_secs(11));
    let budget = SweepBudget { max_entries: 700, ..SweepBudget::default() };
    let first = invalidator.invalidate_expired(budget).await.unwrap();
    assert_eq!((first.removed_entries, first.finished), (700, false));
    let second = invalidator.invalidate_expired(SweepBudget::default()).await.unwrap();
    assert_eq!((second.removed_entries, second.finished), (800, true));
    assert!(cache.get(&key(2_000)).await.unwrap().is_hit());
}

#[tokio::test]
async fn under_memory_pressure_l1_shrinks_at_once_and_loses_nothing_durable() {
    let (cache, _clock) = cache(CachePorts::on(Arc::new(MemoryStore::new())));
    let invalidator = TagCacheInvalidator::new(&cache);
    cache.put_many((0..500).map(|number| put(number, &[])).collect()).await.unwrap();
    let before = cache.stats().await;
    let target = ByteSize::from_bytes(before.l1_memory_bytes / 4);
    let evicted = invalidator.invalidate_l1_on_memory_pressure(target);
    let after = cache.stats().await;
    assert!(after.l1_memory_bytes <= target.as_bytes());
    assert_eq!(evicted.bytes, before.l1_memory_bytes - after.l1_memory_bytes);
    assert_eq!(evicted.entries, before.l1_size - after.l1_size);
    assert!(
        cache
            .get_many(&(0..500).map(key).collect::<Vec<_>>())
            .await
            .unwrap()
            .iter()
            .all(CacheHitResult::is_hit)
    );
}
