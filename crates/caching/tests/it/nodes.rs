//! Several caches on one store, as nodes of a fleet are: one load a key, and no stale value after an invalidation.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use wavequill_caching::ports::{Backplane, CachePorts, LogScope, Notice, NoticeReceiver};
use wavequill_caching::testing::cache::Strike;
use wavequill_caching::testing::{key, seconds};
use wavequill_caching::{
    Cache, CacheConfig, CacheExt, CacheHitResult, CacheInvalidator, CacheInvalidatorExt, CachePut, Claim,
    Label, MemoryStore, MultiLevelCache, Namespace, Owner, Selector, TagCacheInvalidator, Waited,
};
use wavequill_kernel::testing::ManualClock;

use crate::cache_by;

/// A bus that is cut: nothing arrives.
#[derive(Debug)]
struct CutBus;

#[derive(Debug)]
struct Silence;

#[async_trait]
impl Backplane for CutBus {
    async fn publish(&self, _notice: Notice) {}
    fn subscribe(&self) -> Box<dyn NoticeReceiver> {
        Box::new(Silence)
    }
}

#[async_trait]
impl NoticeReceiver for Silence {
    async fn next(&mut self) -> Option<Notice> {
        std::future::pending().await
    }
}

fn nodes(count: usize, cut: bool) -> (Vec<MultiLevelCache>, Arc<ManualClock>) {
    let clock = Arc::new(ManualClock::new());
    let store = Arc::new(MemoryStore::with_scope(LogScope::Fleet));
    let node = || {
        let ports = CachePorts::on(store.clone());
        let ports = if cut { ports.with_backplane(Arc::new(CutBus)) } else { ports };
        cache_by(CacheConfig::default(), ports, &clock)
    };
    ((0..count).map(|_| node()).collect(), clock)
}

fn put(number: u64) -> CachePut {
    CachePut::new(key(number), "value", seconds(86_400))
}

#[tokio::test(start_paused = true)]
async fn one_node_loads_and_the_others_are_woken_by_the_bus() {
    let (nodes, _clock) = nodes(4, false);
    let loads = AtomicUsize::new(0);
    let key = key(1);
    let begun = tokio::time::Instant::now();
    let callers = nodes.iter().flat_map(|node| std::iter::repeat_n(node, 25)).map(|node| {
        node.get_or_load(&key, async |key| {
            loads.fetch_add(1, Ordering::SeqCst);
            tokio::time::sleep(Duration::from_secs(40)).await;
            Ok::<_, Strike>(CachePut::new(key, "once", seconds(100)))
        })
    });
    for value in futures_util::future::join_all(callers).await {
        assert_eq!(value.unwrap().body().as_ref(), b"once");
    }
    assert_eq!(loads.load(Ordering::SeqCst), 1, "the lease was renewed while the load took longer than it");
    assert!(begun.elapsed() < Duration::from_millis(40_005), "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn with_the_bus_cut_the_others_look_within_a_second() {
    let (nodes, _clock) = nodes(2, true);
    let [one, other] = &nodes[..] else { panic!("two nodes") };
    let Some(Claim::Load(permit)) = one.claim(&[key(1)]).await.unwrap().pop() else { panic!("nobody leads") };
    let Some(Claim::Wait(wait)) = other.claim(&[key(1)]).await.unwrap().pop() else { panic!("no lease") };
    let begun = tokio::time::Instant::now();
    let fill = async {
        tokio::time::sleep(Duration::from_secs(10)).await;
        one.put(put(1).under(permit)).await.unwrap();
    };
    let (waited, ()) = futures_util::future::join(wait.wait(), fill).await;
    assert!(matches!(waited, Ok(Waited::Filled { .. })));
    assert!(begun.elapsed() <= Duration::from_secs(11), "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_node_that_is_gone_is_taken_over_from_when_its_lease_ends() {
    let (mut nodes, _clock) = nodes(2, true);
    let gone = nodes.pop().unwrap();
    let Some(Claim::Load(permit)) = gone.claim(&[key(1)]).await.unwrap().pop() else {
        panic!("nobody leads")
    };
    let Some(Claim::Wait(wait)) = nodes[0].claim(&[key(1)]).await.unwrap().pop() else { panic!("no lease") };
    // Killed: nothing is renewed or given back.
    drop(gone);
    std::mem::forget(permit);
    let begun = tokio::time::Instant::now();
    assert!(matches!(wait.wait().await.unwrap(), Waited::TakeOver(_)));
    assert!(begun.elapsed() <= Duration::from_millis(30_200), "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_failed_load_of_one_node_is_the_next_node_s_turn() {
    let (nodes, _clock) = nodes(2, false);
    let [one, other] = &nodes[..] else { panic!("two nodes") };
    let Some(Claim::Load(permit)) = one.claim(&[key(1)]).await.unwrap().pop() else { panic!("nobody leads") };
    let Some(Claim::Wait(wait)) = other.claim(&[key(1)]).await.unwrap().pop() else { panic!("no lease") };
    let begun = tokio::time::Instant::now();
    permit.fail(wavequill_caching::CacheError::load_failed(Strike));
    assert!(matches!(wait.wait().await.unwrap(), Waited::TakeOver(_)));
    assert!(begun.elapsed() < Duration::from_millis(5), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn an_invalidation_reaches_other_nodes_within_max_staleness_even_with_the_bus_cut() {
    let (nodes, clock) = nodes(3, true);
    let invalidator = TagCacheInvalidator::new(&nodes[0]);
    let label = Label::new("radio").unwrap();
    nodes[0].put_many(vec![put(1).with_label(label), put(2)]).await.unwrap();
    for node in &nodes {
        node.get_many(&[key(1), key(2)]).await.unwrap();
        assert!(node.get_local(&key(1)).is_some());
    }
    invalidator.invalidate(&Selector::Label(label)).await.unwrap();
    assert!(nodes[0].get_local(&key(1)).is_none(), "at once on the node that did it");
    assert!(nodes[0].get_local(&key(2)).is_some());
    clock.advance(Duration::from_millis(5_001));
    for node in &nodes {
        assert!(node.get_local(&key(1)).is_none(), "nothing is served by a node that does not know");
        assert!(!node.get(&key(1)).await.unwrap().is_hit());
        assert!(node.get_local(&key(2)).is_some(), "and once it knows, what lives is served again");
    }
}

#[tokio::test]
async fn each_selector_ends_its_own_set_and_no_more() {
    let (nodes, clock) = nodes(2, true);
    let invalidator = TagCacheInvalidator::new(&nodes[0]);
    let ada = Owner::new("ada").unwrap();
    let selectors = [
        (Selector::Key(key(1)), [false, true, true, true]),
        (Selector::Label(Label::of_transcript("t-1").unwrap()), [true, false, true, true]),
        (Selector::Owner(ada), [true, true, false, true]),
        (Selector::Namespace(Namespace::TRANSCRIPT), [true, true, true, true]),
        (Selector::Namespace(Namespace::CHUNK), [false; 4]),
        (Selector::All, [false; 4]),
    ];
    for (selector, expected) in selectors {
        let puts = vec![
            put(1),
            put(2).with_label(Label::of_transcript("t-1").unwrap()),
            put(3).with_owner(ada),
            put(4).with_owner(ada).with_owner(Owner::new("bob").unwrap()),
        ];
        nodes[1].put_many(puts).await.unwrap();
        let keys = [1, 2, 3, 4].map(key);
        nodes[0].get_many(&keys).await.unwrap();
        invalidator.invalidate(&selector).await.unwrap();
        clock.advance(Duration::from_secs(6));
        for node in &nodes {
            let found = node.get_many(&keys).await.unwrap();
            assert_eq!(
                found.iter().map(CacheHitResult::is_hit).collect::<Vec<_>>(),
                expected,
                "{selector:?}"
            );
        }
        invalidator.invalidate(&Selector::All).await.unwrap();
        clock.advance(Duration::from_secs(6));
    }
}

#[tokio::test]
async fn named_invalidations_end_what_they_name() {
    let (nodes, _clock) = nodes(1, true);
    let invalidator = TagCacheInvalidator::new(&nodes[0]);
    let puts = vec![put(1), put(2).with_label(Label::of_transcript("t-1").unwrap()), put(3)];
    nodes[0].put_many(puts).await.unwrap();
    invalidator.invalidate_key(&key(1)).await.unwrap();
    invalidator.invalidate_transcript("t-1").await.unwrap();
    let found = nodes[0].get_many(&[1, 2, 3].map(key)).await.unwrap();
    assert_eq!(found.iter().map(CacheHitResult::is_hit).collect::<Vec<_>>(), [false, false, true]);
    invalidator.invalidate_pattern(&"chunk:*".parse().unwrap()).await.unwrap();
    assert!(!nodes[0].get(&key(3)).await.unwrap().is_hit());
    assert!(invalidator.invalidate_user_data("").await.is_err());
}

#[tokio::test]
async fn a_replacement_wins_on_every_node() {
    let (nodes, clock) = nodes(2, true);
    nodes[0].put(put(1)).await.unwrap();
    nodes[1].get(&key(1)).await.unwrap();
    nodes[0].put(CachePut::new(key(1), "newer", seconds(86_400)).replacing()).await.unwrap();
    assert_eq!(nodes[0].get(&key(1)).await.unwrap().value().unwrap().body().as_ref(), b"newer");
    clock.advance(Duration::from_secs(6));
    assert_eq!(nodes[1].get(&key(1)).await.unwrap().value().unwrap().body().as_ref(), b"newer");
}
