//! L2 and the bus on a real Redis server.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use wavequill_caching::adapters::RedisCacheTier;
use wavequill_caching::ports::{
    Backplane, CachePorts, CacheTier, LogScope, Notice, Removal, RemoveIf, TierPut,
};
use wavequill_caching::testing::{key_in, seconds};
use wavequill_caching::{
    Cache, CacheConfig, CacheKey, CacheLevel, CachePut, Claim, LogId, LogPosition, MemoryStore,
    MultiLevelCache, Namespace, PutPolicy, Subject, Waited,
};

use crate::servers::redis_url;

async fn tier() -> RedisCacheTier {
    RedisCacheTier::connect(&redis_url()).await.unwrap()
}

/// Each test has a namespace of its own on the server that all share.
fn key(test: &str, number: u64) -> CacheKey {
    key_in(Namespace::new(test).unwrap(), number ^ u64::from(test.len() as u32) << 40)
}

fn put(key: CacheKey, envelope: Vec<u8>, keep: Duration) -> TierPut {
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_767_225_600);
    TierPut {
        key,
        subjects: Box::default(),
        owners: Box::default(),
        as_of: None,
        policy: PutPolicy::Replace,
        now,
        expires_at: now + keep,
        keep_until: now + keep,
        envelope: envelope.into(),
    }
}

const HOUR: Duration = Duration::from_secs(3_600);

#[tokio::test]
async fn what_is_put_is_got_to_the_byte_in_the_order_asked() {
    let tier = tier().await;
    let key = |number| key("order", number);
    let large: Vec<u8> = (0..4_000_000_u32).map(|n| n as u8).collect();
    tier.put(vec![put(key(1), large.clone(), HOUR), put(key(2), vec![0, 255, 13, 10], HOUR)]).await.unwrap();
    let read = CacheTier::get(&tier, &[key(2), key(3), key(1), key(2)]).await.unwrap();
    let found: Vec<_> = read.envelopes.iter().map(|envelope| envelope.as_deref()).collect();
    assert_eq!(found, [Some([0, 255, 13, 10].as_slice()), None, Some(&large), Some(&[0, 255, 13, 10])]);
    assert_eq!(read.as_of, None);
    assert!(CacheTier::get(&tier, &[]).await.unwrap().envelopes.is_empty());
}

#[tokio::test]
async fn what_is_removed_is_gone_and_the_rest_stays() {
    let tier = tier().await;
    let key = |number| key("removal", number);
    tier.put(vec![put(key(1), vec![1], HOUR), put(key(2), vec![2], HOUR)]).await.unwrap();
    let condition = RemoveIf::Before(LogPosition { log: LogId::from_bytes([0; 16]), seq: 0 });
    tier.remove(vec![Removal { key: key(1), condition }]).await.unwrap();
    let read = CacheTier::get(&tier, &[key(1), key(2)]).await.unwrap();
    assert_eq!(read.envelopes.iter().map(Option::is_some).collect::<Vec<_>>(), [false, true]);
}

/// Speaks to the server beside the client.
async fn raw(command: &str) -> String {
    let url = redis_url();
    let address = url.trim_start_matches("redis://").split('/').next().unwrap().to_owned();
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(format!("{command}\r\n").as_bytes()).await.unwrap();
    let mut answer = vec![0; 4_096];
    let len = stream.read(&mut answer).await.unwrap();
    String::from_utf8_lossy(&answer[..len]).into_owned()
}

#[tokio::test]
async fn the_server_itself_ends_an_entry_after_its_keep() {
    let tier = tier().await;
    let key = Namespace::new("keep").map(|namespace| key_in(namespace, 0x3132_3334_3536_3738)).unwrap();
    tier.put(vec![put(key, vec![1], HOUR)]).await.unwrap();
    // The digest is eight digits and twenty-four `Z`.
    let left = raw(&format!("PTTL wq1:keep:12345678{}", "Z".repeat(24))).await;
    let left: u64 = left.trim_start_matches(':').trim().parse().unwrap();
    assert!(left > 3_590_000 && left <= 3_600_000, "{left}");
    tier.put(vec![put(key, vec![2], Duration::ZERO)]).await.unwrap();
    let read = CacheTier::get(&tier, &[key]).await.unwrap();
    assert_eq!(read.envelopes[0].as_deref(), Some([1].as_slice()), "what is past its keep is not stored");
}

#[tokio::test]
async fn a_notice_reaches_every_other_node() {
    let (one, other) = (tier().await, tier().await);
    let mut notices = other.subscribe();
    let mine = LogPosition { log: LogId::from_bytes(*b"notices reach us"), seq: 17 };
    one.publish(Notice::Bumped(mine)).await;
    loop {
        if notices.next().await.unwrap() == Notice::Bumped(mine) {
            break;
        }
    }
    let subjects = vec![Subject::everything(); 500];
    one.publish(Notice::Ended(subjects)).await;
    let mut heard = 0;
    while heard < 500 {
        if let Some(Notice::Ended(subjects)) = notices.next().await {
            heard += subjects.iter().filter(|subject| **subject == Subject::everything()).count();
        }
    }
}

fn node(store: &Arc<MemoryStore>, redis: RedisCacheTier) -> MultiLevelCache {
    let redis = Arc::new(redis);
    let ports = CachePorts::on(store.clone()).with_l2(redis.clone()).with_backplane(redis);
    MultiLevelCache::new(CacheConfig::default(), ports).unwrap()
}

#[tokio::test]
async fn a_second_node_finds_in_redis_what_the_first_has_stored() {
    let store = Arc::new(MemoryStore::with_scope(LogScope::Fleet));
    let (one, other) = (node(&store, tier().await), node(&store, tier().await));
    let key = key("second", 1);
    one.put(CachePut::new(key, "shared", seconds(100))).await.unwrap();
    let found = other.get(&key).await.unwrap();
    assert_eq!(
        (found.level(), found.value().unwrap().body().as_ref()),
        (Some(CacheLevel::L2), b"shared".as_slice())
    );
}

#[tokio::test]
async fn a_waiting_node_is_woken_through_redis() {
    let store = Arc::new(MemoryStore::with_scope(LogScope::Fleet));
    let (one, other) = (node(&store, tier().await), node(&store, tier().await));
    let key = key("woken", 1);
    let Some(Claim::Load(permit)) = one.claim(&[key]).await.unwrap().pop() else { panic!("nobody leads") };
    let Some(Claim::Wait(wait)) = other.claim(&[key]).await.unwrap().pop() else { panic!("no lease") };
    let fill = async { one.put(CachePut::new(key, "once", seconds(100)).under(permit)).await.unwrap() };
    let (waited, _) = futures_util::future::join(wait.wait(), fill).await;
    assert!(matches!(waited, Ok(Waited::Filled { .. })), "{waited:?}");
}

#[tokio::test]
async fn a_server_that_is_not_there_is_unavailable_at_once() {
    // Bound and closed again: nobody listens there.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let error = RedisCacheTier::connect(&format!("redis://{address}")).await.unwrap_err();
    assert!(error.to_string().starts_with("L2 cannot connect now"), "{error}");
}
