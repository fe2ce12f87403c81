//! The contract of `Cache`, a function a sentence, for a cache on a store of its own with a clock that tests move.

#![expect(clippy::unwrap_used, clippy::missing_panics_doc, reason = "a conformance suite fails by panicking")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::future::{join, join_all};
use wavequill_kernel::testing::ManualClock;
use wavequill_kernel::{ErrorClass, Retryable};

use super::{key, seconds};
use crate::{
    Cache, CacheError, CacheExt, CacheHitResult, CachePut, Claim, MissCost, NegativeCause, Outcome,
    StoreVerdict, Waited,
};

/// Makes one test of each sentence. The expression makes a cache, and the clock that it was made with.
#[macro_export]
macro_rules! cache_conformance {
    ($name:ident, $make:expr) => {
        mod $name {
            use super::*;

            $crate::cache_conformance!(@each $make;
                no_level_serves_at_or_after_the_end,
                what_was_put_is_found_with_all_that_was_said_about_it,
                a_batch_is_answered_in_the_order_asked,
                a_live_entry_is_kept_and_replaced_only_on_demand,
                a_deleted_key_is_a_miss,
                one_of_many_callers_loads,
                a_dropped_permit_passes_to_a_waiter,
                a_failed_load_gives_every_waiter_the_same_error_and_the_next_caller_loads_anew,
                a_put_that_was_overtaken_by_a_deletion_is_superseded,
                a_batch_loads_only_what_is_missing,
                batches_in_opposite_order_do_not_wait_for_each_other_for_ever,
                a_stale_value_stands_in_for_a_failed_load_and_for_nothing_else,
                the_lack_of_a_result_is_believed_for_a_short_time,
                savings_are_what_the_hits_would_have_cost,
            );
        }
    };
    (@each $make:expr; $($sentence:ident),* $(,)?) => {$(
        #[tokio::test]
        async fn $sentence() {
            let (cache, clock) = $make;
            $crate::testing::cache::$sentence(&cache, &clock).await;
        }
    )*};
}

/// What loaders in these tests fail with.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the provider is on strike")]
pub struct Strike;

impl Retryable for Strike {
    fn class(&self) -> ErrorClass {
        ErrorClass::Transient
    }
}

fn body(found: &CacheHitResult) -> Option<&[u8]> {
    found.value().map(|value| value.body().as_ref())
}

/// Contract, 1.
pub async fn no_level_serves_at_or_after_the_end(cache: &impl Cache, clock: &Arc<ManualClock>) {
    cache.put(CachePut::new(key(1), "short", seconds(10))).await.unwrap();
    cache.put(CachePut::new(key(2), "long", seconds(10_000))).await.unwrap();
    clock.advance(Duration::from_millis(9_999));
    assert_eq!(body(&cache.get(&key(1)).await.unwrap()), Some(b"short".as_slice()));
    clock.advance(Duration::from_millis(1));
    assert!(!cache.get(&key(1)).await.unwrap().is_hit());
    assert!(cache.get_local(&key(1)).is_none());
    // Longer than L1 keeps it, and found below again.
    clock.advance(Duration::from_secs(9_989));
    assert_eq!(body(&cache.get(&key(2)).await.unwrap()), Some(b"long".as_slice()));
    clock.advance(Duration::from_secs(1));
    assert!(!cache.get(&key(2)).await.unwrap().is_hit(), "what was brought nearer ends when it did before");
}

/// Contract, 11.
pub async fn what_was_put_is_found_with_all_that_was_said_about_it(
    cache: &impl Cache,
    clock: &Arc<ManualClock>,
) {
    let cost = MissCost::ZERO.with_audio(Duration::from_secs(41)).with_micro_dollars(4_100);
    let put = CachePut::postcard(key(1), &("words", 17_u32), 3, seconds(86_400)).unwrap().with_cost(cost);
    cache.put(put).await.unwrap();
    for _ in 0..2 {
        let value = cache.get(&key(1)).await.unwrap().into_value().unwrap();
        assert_eq!(*value.decode::<(String, u32)>().unwrap(), ("words".to_owned(), 17));
        assert_eq!((value.schema(), value.cost()), (3, cost));
        // Longer than L1 keeps it: the second round reads what is stored.
        clock.advance(Duration::from_secs(3_600));
    }
}

/// Contract, 10.
pub async fn a_batch_is_answered_in_the_order_asked(cache: &impl Cache, _clock: &Arc<ManualClock>) {
    let puts = (0..2_500).filter(|number| number % 3 != 0);
    let puts = puts.map(|number| CachePut::new(key(number), format!("{number}"), seconds(100))).collect();
    cache.put_many(puts).await.unwrap();
    let keys: Vec<_> = (0..2_500).rev().map(key).collect();
    let found = cache.get_many(&keys).await.unwrap();
    assert_eq!(found.len(), keys.len());
    for (number, found) in (0..2_500_u64).rev().zip(&found) {
        let expected = (number % 3 != 0).then(|| format!("{number}"));
        assert_eq!(body(found), expected.as_deref().map(str::as_bytes), "{number}");
    }
}

/// Contract, 6.
pub async fn a_live_entry_is_kept_and_replaced_only_on_demand(cache: &impl Cache, _clock: &Arc<ManualClock>) {
    cache.put(CachePut::new(key(1), "first", seconds(100))).await.unwrap();
    let second = cache.put(CachePut::new(key(1), "second", seconds(100))).await.unwrap();
    assert_eq!(second.verdict, StoreVerdict::KeptExisting);
    assert_eq!(body(&cache.get(&key(1)).await.unwrap()), Some(b"first".as_slice()));
    cache.put(CachePut::new(key(1), "third", seconds(100)).replacing()).await.unwrap();
    assert_eq!(body(&cache.get(&key(1)).await.unwrap()), Some(b"third".as_slice()));
}

/// `CacheInvalidator`, 1, for one key.
pub async fn a_deleted_key_is_a_miss(cache: &impl Cache, _clock: &Arc<ManualClock>) {
    cache.put_many([1, 2].map(|number| CachePut::new(key(number), "x", seconds(100))).into()).await.unwrap();
    cache.delete(&key(1)).await.unwrap();
    assert!(cache.get_local(&key(1)).is_none());
    assert!(!cache.get(&key(1)).await.unwrap().is_hit());
    assert!(cache.get(&key(2)).await.unwrap().is_hit());
    cache.put(CachePut::new(key(1), "y", seconds(100))).await.unwrap();
    assert_eq!(body(&cache.get(&key(1)).await.unwrap()), Some(b"y".as_slice()));
}

/// Contract, 7.
pub async fn one_of_many_callers_loads(cache: &impl Cache, _clock: &Arc<ManualClock>) {
    let (loads, key) = (AtomicUsize::new(0), key(1));
    let callers = (0..100).map(|_| {
        cache.get_or_load(&key, async |key| {
            loads.fetch_add(1, Ordering::SeqCst);
            tokio::task::yield_now().await;
            Ok::<_, Strike>(CachePut::new(key, "once", seconds(100)))
        })
    });
    for value in join_all(callers).await {
        assert_eq!(value.unwrap().body().as_ref(), b"once");
    }
    assert_eq!(loads.load(Ordering::SeqCst), 1);
}

async fn claim(cache: &impl Cache, number: u64) -> Claim {
    cache.claim(&[key(number)]).await.unwrap().into_iter().next().unwrap()
}

/// Contract, 7.
pub async fn a_dropped_permit_passes_to_a_waiter(cache: &impl Cache, _clock: &Arc<ManualClock>) {
    let Claim::Load(permit) = claim(cache, 1).await else { wrong("the first caller loads") };
    let Claim::Wait(wait) = claim(cache, 1).await else { wrong("the second waits") };
    let take_over = async {
        let Waited::TakeOver(permit) = wait.wait().await.unwrap() else { wrong("it is its turn") };
        cache.put(CachePut::new(key(1), "second try", seconds(100)).under(permit)).await.unwrap();
    };
    join(take_over, async { drop(permit) }).await;
    assert_eq!(body(&cache.get(&key(1)).await.unwrap()), Some(b"second try".as_slice()));
}

#[expect(clippy::panic, reason = "a conformance suite fails by panicking")]
fn wrong(expected: &str) -> ! {
    panic!("it is not so that {expected}")
}

/// Contract, 8.
pub async fn a_failed_load_gives_every_waiter_the_same_error_and_the_next_caller_loads_anew(
    cache: &impl Cache,
    _clock: &Arc<ManualClock>,
) {
    let Claim::Load(permit) = claim(cache, 1).await else { wrong("the first caller loads") };
    let mut waits = Vec::new();
    for _ in 0..10 {
        let Claim::Wait(wait) = claim(cache, 1).await else { wrong("the others wait") };
        waits.push(wait.wait());
    }
    permit.fail(CacheError::load_failed(Strike));
    for failed in join_all(waits).await {
        let Err(CacheError::LoadFailed { source, class }) = failed else {
            wrong("each gets the loader's error")
        };
        assert_eq!(source.as_error().downcast_ref::<Strike>(), Some(&Strike));
        assert_eq!(class, ErrorClass::Transient);
    }
    let key = key(1);
    let failed = cache.get_or_load(&key, async |_| Err::<CachePut, _>(Strike)).await;
    assert!(matches!(failed, Err(CacheError::LoadFailed { .. })));
    let value = cache
        .get_or_load(&key, async |key| Ok::<_, Strike>(CachePut::new(key, "now", seconds(100))))
        .await
        .unwrap();
    assert_eq!(value.body().as_ref(), b"now");
}

/// Contract, 9.
pub async fn a_put_that_was_overtaken_by_a_deletion_is_superseded(
    cache: &impl Cache,
    _clock: &Arc<ManualClock>,
) {
    let Claim::Load(permit) = claim(cache, 1).await else { wrong("the first caller loads") };
    cache.delete(&key(1)).await.unwrap();
    let outcome = cache.put(CachePut::new(key(1), "late", seconds(100)).under(permit)).await.unwrap();
    assert_eq!(outcome.verdict, StoreVerdict::Superseded);
    assert!(cache.get_local(&key(1)).is_none());
    assert!(!cache.get(&key(1)).await.unwrap().is_hit());
}

/// Contract, 10.
pub async fn a_batch_loads_only_what_is_missing(cache: &impl Cache, _clock: &Arc<ManualClock>) {
    cache.put(CachePut::new(key(2), "there", seconds(100))).await.unwrap();
    let keys = [key(1), key(2), key(3), key(1)];
    let mut asked = Vec::new();
    let values = cache
        .get_or_load_many(&keys, |missing| {
            asked.push(missing.clone());
            async move {
                let puts = missing.into_iter().map(|key| CachePut::new(key, "loaded", seconds(100)));
                Ok::<_, Strike>(puts.collect())
            }
        })
        .await
        .unwrap();
    assert_eq!(asked, [[key(1), key(3)]]);
    let bodies: Vec<_> = values.iter().map(|value| value.body().as_ref()).collect();
    assert_eq!(bodies, [b"loaded".as_slice(), b"there", b"loaded", b"loaded"]);
}

/// Contract of `claim`: fill first, then wait.
pub async fn batches_in_opposite_order_do_not_wait_for_each_other_for_ever(
    cache: &impl Cache,
    _clock: &Arc<ManualClock>,
) {
    let loads = AtomicUsize::new(0);
    let load = |missing: Vec<crate::CacheKey>| {
        loads.fetch_add(missing.len(), Ordering::SeqCst);
        async move {
            tokio::task::yield_now().await;
            let puts = missing.into_iter().map(|key| CachePut::new(key, "loaded", seconds(100)));
            Ok::<_, Strike>(puts.collect())
        }
    };
    let (up, down): (Vec<_>, Vec<_>) = ((0..20).map(key).collect(), (0..20).rev().map(key).collect());
    let halves = [up.get(..12).unwrap_or_default(), down.get(..12).unwrap_or_default()];
    let batches = [up.as_slice(), down.as_slice()].into_iter().chain(halves);
    for values in join_all(batches.map(|keys| cache.get_or_load_many(keys, load))).await {
        assert!(values.unwrap().iter().all(|value| value.body().as_ref() == b"loaded"));
    }
    assert_eq!(loads.load(Ordering::SeqCst), 20);
}

/// Contract, 1.
pub async fn a_stale_value_stands_in_for_a_failed_load_and_for_nothing_else(
    cache: &impl Cache,
    clock: &Arc<ManualClock>,
) {
    let put = CachePut::new(key(1), "old", seconds(10)).with_stale_for(Duration::from_secs(10));
    cache.put(put).await.unwrap();
    clock.advance(Duration::from_secs(11));
    assert!(!cache.get(&key(1)).await.unwrap().is_hit());
    let value = cache.get_or_load(&key(1), async |_| Err::<CachePut, _>(Strike)).await.unwrap();
    assert_eq!(value.body().as_ref(), b"old");
    clock.advance(Duration::from_secs(9));
    assert!(cache.get_or_load(&key(1), async |_| Err::<CachePut, _>(Strike)).await.is_err());
}

/// `negative_ttl`.
pub async fn the_lack_of_a_result_is_believed_for_a_short_time(cache: &impl Cache, clock: &Arc<ManualClock>) {
    let outcome = Outcome::Negative(NegativeCause::Unreadable);
    cache.put(CachePut::new(key(1), "no audio", seconds(86_400)).with_outcome(outcome)).await.unwrap();
    let value = cache.get(&key(1)).await.unwrap().into_value().unwrap();
    assert_eq!(value.outcome(), outcome);
    clock.advance(Duration::from_secs(601));
    assert!(!cache.get(&key(1)).await.unwrap().is_hit());
}

/// `stats`.
pub async fn savings_are_what_the_hits_would_have_cost(cache: &impl Cache, clock: &Arc<ManualClock>) {
    let cost = MissCost::ZERO.with_audio(Duration::from_secs(60)).with_micro_dollars(6_000);
    cache.put(CachePut::new(key(1), "x", seconds(86_400)).with_cost(cost)).await.unwrap();
    for _ in 0..3 {
        cache.get(&key(1)).await.unwrap();
    }
    // Longer than L1 keeps it: the next hit is one of a level below.
    clock.advance(Duration::from_secs(3_600));
    cache.get(&key(1)).await.unwrap();
    let stats = cache.stats().await;
    assert_eq!(stats.saved().audio, Duration::from_secs(240));
    assert_eq!(stats.saved().micro_dollars, 24_000);
    assert_eq!(stats.levels.iter().map(|level| level.hits).sum::<u64>(), 4);
}
