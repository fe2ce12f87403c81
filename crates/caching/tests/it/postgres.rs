//! PostgreSQL shared by several nodes: who is first, who is told, and what is left.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures_util::future::join_all;
use wavequill_caching::adapters::PostgresCacheStore;
use wavequill_caching::ports::{
    Backplane, CachePorts, CacheTier, ErasureIndex, InvalidationLog, LeaseAttempt, LeaseStore, LeaseToken,
    Notice, TierPut,
};
use wavequill_caching::testing::{key, seconds};
use wavequill_caching::{
    Cache, CacheConfig, CacheInvalidatorExt, CacheKey, CacheLevel, CachePut, Claim, MultiLevelCache, Owner,
    PutPolicy, Selector, StoreVerdict, Subject, TagCacheInvalidator, Waited,
};
use wavequill_database::adapters::diesel_async_0_9::PostgresPoolExt;
use wavequill_database::adapters::diesel_async_0_9::diesel_async::SimpleAsyncConnection;

use crate::servers::{new_database, pool, postgres, postgres_at};

fn put(key: CacheKey, node: usize, policy: PutPolicy) -> TierPut {
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_767_225_600);
    let until = now + Duration::from_secs(3_600);
    TierPut {
        key,
        subjects: Box::new([Subject::of_key(&key), Subject::everything()]),
        owners: Box::new([Owner::new(&format!("user {node}")).unwrap().subject()]),
        as_of: None,
        policy,
        now,
        expires_at: until,
        keep_until: until,
        envelope: format!("by node {node}").into_bytes().into(),
    }
}

async fn nodes(count: usize) -> Vec<PostgresCacheStore> {
    let url = new_database().await;
    join_all((0..count).map(|_| postgres_at(&url))).await
}

#[tokio::test]
async fn of_nodes_that_store_the_same_new_keys_at_once_one_is_first_and_the_others_keep_its_entry() {
    let nodes = nodes(6).await;
    let stores = nodes.iter().enumerate().map(|(node, store)| {
        // Each in another order.
        let mut keys: Vec<_> = (0..40).map(key).collect();
        keys.rotate_left(node * 7);
        async move {
            let puts = keys.iter().map(|key| put(*key, node, PutPolicy::KeepFirst)).collect();
            keys.into_iter().zip(store.put(puts).await.unwrap()).collect::<Vec<_>>()
        }
    });
    let verdicts: Vec<_> = join_all(stores).await;
    for number in 0..40 {
        let of_key = verdicts
            .iter()
            .map(|node| node.iter().find(|(stored, _)| *stored == key(number)).unwrap().1.verdict);
        let of_key: Vec<_> = of_key.collect();
        let first = of_key.iter().position(|verdict| *verdict == StoreVerdict::Stored).unwrap();
        let kept = of_key.iter().filter(|verdict| **verdict == StoreVerdict::KeptExisting).count();
        assert_eq!(kept, 5, "{of_key:?}");
        let found = CacheTier::get(&nodes[0], &[key(number)]).await.unwrap().envelopes.remove(0).unwrap();
        assert_eq!(found, format!("by node {first}"));
    }
    // Each of them is an owner now: an entry ends with the last.
    let owners = |nodes: std::ops::Range<usize>| -> Vec<_> {
        nodes.map(|node| Owner::new(&format!("user {node}")).unwrap().subject()).collect()
    };
    nodes[1].append(&owners(0..5)).await.unwrap();
    assert!(CacheTier::get(&nodes[0], &[key(1)]).await.unwrap().envelopes[0].is_some());
    nodes[1].append(&owners(5..6)).await.unwrap();
    assert_eq!(CacheTier::get(&nodes[0], &[key(1)]).await.unwrap().envelopes[0], None);
}

#[tokio::test]
async fn positions_of_nodes_that_append_and_replace_at_once_have_no_gap() {
    let nodes = nodes(4).await;
    let before = nodes[0].head().await.unwrap().seq;
    let appends = nodes.iter().enumerate().map(|(node, store)| async move {
        for round in 0..5 {
            store.append(&[Subject::of_key(&key(round)), Subject::of_key(&key(round + 1))]).await.unwrap();
            let replace = vec![put(key(100), node, PutPolicy::Replace)];
            assert_eq!(store.put(replace).await.unwrap()[0].verdict, StoreVerdict::Stored);
        }
    });
    join_all(appends).await;
    assert_eq!(nodes[1].head().await.unwrap().seq, before + 4 * 5 * 3);
    let bumps = nodes[1].since(before, 1_000).await.unwrap().bumps;
    assert_eq!(bumps.len(), 7, "of each subject the last");
}

#[tokio::test]
async fn of_nodes_that_want_the_same_leases_at_once_one_gets_each() {
    let nodes = nodes(4).await;
    let keys: Vec<_> = (0..50).map(key).collect();
    let attempts = nodes.iter().zip(1_u8..).map(|(store, node)| {
        let mut keys = keys.clone();
        keys.rotate_left(usize::from(node) * 11);
        async move {
            let token = LeaseToken([node; 16]);
            let attempts = store.acquire(&keys, token, Duration::from_secs(60)).await.unwrap();
            attempts.into_iter().filter(|attempt| *attempt == LeaseAttempt::Acquired).count()
        }
    });
    assert_eq!(join_all(attempts).await.into_iter().sum::<usize>(), 50);
}

#[tokio::test]
async fn a_notice_reaches_every_node_in_as_many_messages_as_it_takes() {
    let nodes = nodes(2).await;
    let mut notices = nodes[1].subscribe();
    // The first one says that the session listens from now on.
    assert_eq!(notices.next().await, Some(Notice::Lagged));
    let subjects: Vec<_> = (0..600).map(|number| Subject::of_key(&key(number))).collect();
    nodes[0].publish(Notice::Ended(subjects.clone())).await;
    let mut heard = Vec::new();
    while heard.len() < 600 {
        if let Some(Notice::Ended(some)) = notices.next().await {
            heard.extend(some);
        }
    }
    assert_eq!(heard, subjects);
}

#[tokio::test]
async fn a_waiting_node_is_woken_through_postgres_also_after_its_session_was_cut() {
    let url = new_database().await;
    let node = async || {
        let store = Arc::new(postgres_at(&url).await);
        (store.clone(), MultiLevelCache::new(CacheConfig::default(), CachePorts::on(store)).unwrap())
    };
    let ((_, one), (store, other)) = (node().await, node().await);
    let mut notices = store.subscribe();
    pool(&url)
        .connection()
        .await
        .unwrap()
        .batch_execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
             WHERE query LIKE 'LISTEN%' AND datname = current_database()",
        )
        .await
        .unwrap();
    assert_eq!(notices.next().await, Some(Notice::Lagged), "told once a session listens");
    let Some(Claim::Load(permit)) = one.claim(&[key(1)]).await.unwrap().pop() else { panic!("nobody leads") };
    let Some(Claim::Wait(wait)) = other.claim(&[key(1)]).await.unwrap().pop() else { panic!("no lease") };
    let fill = async { one.put(CachePut::new(key(1), "once", seconds(100)).under(permit)).await.unwrap() };
    let (waited, _) = futures_util::future::join(wait.wait(), fill).await;
    assert!(matches!(waited, Ok(Waited::Filled { level: CacheLevel::L3, .. })), "{waited:?}");
}

#[tokio::test]
async fn an_erased_owner_has_no_row_left_in_any_table() {
    let store = postgres().await;
    let cache = MultiLevelCache::new(
        CacheConfig::default().with_max_staleness(Duration::from_millis(40)),
        CachePorts::on(Arc::new(store.clone())),
    )
    .unwrap();
    let ada = Owner::new("ada").unwrap();
    let puts = (0..20).map(|number| CachePut::new(key(number), "speech", seconds(100)).with_owner(ada));
    cache.put_many(puts.collect()).await.unwrap();
    let report = TagCacheInvalidator::new(&cache).invalidate_user_data("ada").await.unwrap();
    assert_eq!(report.erased_entries, 20);
    let position = store.head().await.unwrap();
    assert_eq!(store.remaining(&Selector::All, position).await.unwrap(), 0);
    assert_eq!(store.remaining(&Selector::Owner(ada), position).await.unwrap(), 0);
}
