//! Servers that go away and come back, behind a wire that the tests cut.

use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;
use wavequill_caching::adapters::{PostgresCacheStore, RedisCacheTier};
use wavequill_caching::ports::{CachePorts, LogScope};
use wavequill_caching::testing::cache::Strike;
use wavequill_caching::testing::{key_in, seconds};
use wavequill_caching::{
    Cache, CacheConfig, CacheError, CacheExt, CacheKey, CacheLevel, CachePut, MemoryStore, MultiLevelCache,
    Namespace,
};
use wavequill_database::{DieselConnectionPoolManager, PoolLimits, PostgresConfig};

use crate::servers::{new_database, redis_url};

fn key(number: u64) -> CacheKey {
    key_in(Namespace::new("outage").unwrap(), number)
}

/// A port that leads to a server, until it is cut: then it closes what is open and whatever is opened.
struct Wire {
    address: String,
    whole: watch::Sender<bool>,
    _tasks: JoinSet<()>,
}

impl Wire {
    async fn to(server: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (whole, state) = watch::channel(true);
        let mut tasks = JoinSet::new();
        let server = server.to_owned();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (mut client, _) = listener.accept().await.unwrap();
                let (server, mut state) = (server.clone(), state.clone());
                connections.spawn(async move {
                    if !*state.borrow() {
                        return;
                    }
                    let mut server = TcpStream::connect(server).await.unwrap();
                    tokio::select! {
                        biased;
                        _ = state.wait_for(|whole| !whole) => {}
                        _ = tokio::io::copy_bidirectional(&mut client, &mut server) => {}
                    }
                });
            }
        });
        Self { address, whole, _tasks: tasks }
    }

    fn set_whole(&self, whole: bool) {
        self.whole.send_replace(whole);
    }
}

/// The URL of a server, by way of a wire.
async fn wired(url: &str) -> (Wire, String) {
    let begin = url.find("://").unwrap() + 3;
    let begin = url[begin..].find('@').map_or(begin, |at| begin + at + 1);
    let end = url[begin..].find(['/', '?']).map_or(url.len(), |at| begin + at);
    let wire = Wire::to(&url[begin..end]).await;
    let by_wire = format!("{}{}{}", &url[..begin], wire.address, &url[end..]);
    (wire, by_wire)
}

#[tokio::test]
async fn without_postgres_nothing_is_a_miss_and_with_it_again_everything_is_found() {
    let (wire, url) = wired(&new_database().await).await;
    let config = PostgresConfig::new(url)
        .with_limits(PoolLimits::new(1, 4).unwrap())
        .with_acquire_timeout(Duration::from_millis(200));
    let pool = DieselConnectionPoolManager::open_postgres(config).unwrap().pool();
    let store = Arc::new(PostgresCacheStore::open(pool).await.unwrap());
    let node = || MultiLevelCache::new(CacheConfig::default(), CachePorts::on(store.clone())).unwrap();
    let cache = node();
    cache.put(CachePut::new(key(1), "durable", seconds(1_000))).await.unwrap();
    // Its memory holds nothing: it must ask the server.
    let other = node();
    wire.set_whole(false);
    for number in [1, 2] {
        let error = other.get(&key(number)).await.unwrap_err();
        assert!(matches!(error, CacheError::Unavailable { level: CacheLevel::L3, .. }), "{error:?}");
        let paid = async |_| Ok::<_, Strike>(CachePut::new(key(number), "paid", seconds(1_000)));
        let error = other.get_or_load(&key(number), paid).await.unwrap_err();
        assert!(matches!(error, CacheError::Unavailable { .. }), "nobody may pay now: {error:?}");
    }
    wire.set_whole(true);
    let mut tries = tokio::time::interval(Duration::from_millis(20));
    let found = loop {
        tries.tick().await;
        if let Ok(found) = other.get(&key(1)).await {
            break found;
        }
    };
    assert_eq!(found.level(), Some(CacheLevel::L3));
    let loaded = async |_| Ok::<_, Strike>(CachePut::new(key(2), "paid", seconds(1_000)));
    assert_eq!(other.get_or_load(&key(2), loaded).await.unwrap().body().as_ref(), b"paid");
}

#[tokio::test]
async fn without_redis_nothing_is_lost_and_with_it_again_it_is_used() {
    let (wire, url) = wired(&redis_url()).await;
    let redis = Arc::new(RedisCacheTier::connect(&url).await.unwrap());
    let store = Arc::new(MemoryStore::with_scope(LogScope::Fleet));
    let node = || {
        let ports = CachePorts::on(store.clone()).with_l2(redis.clone()).with_backplane(redis.clone());
        MultiLevelCache::new(CacheConfig::default(), ports).unwrap()
    };
    let cache = node();
    cache.put(CachePut::new(key(11), "before", seconds(1_000))).await.unwrap();
    wire.set_whole(false);
    for number in 12..20 {
        cache.put(CachePut::new(key(number), "meanwhile", seconds(1_000))).await.unwrap();
    }
    let other = node();
    for number in 11..20 {
        let found = other.get(&key(number)).await.unwrap();
        assert_eq!(found.level(), Some(CacheLevel::L3), "{number}");
    }
    wire.set_whole(true);
    let mut tries = tokio::time::interval(Duration::from_millis(20));
    tries.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // A new value each time, so that each is given to Redis if Redis is used.
    for number in 100.. {
        tries.tick().await;
        cache.put(CachePut::new(key(number), "after", seconds(1_000))).await.unwrap();
        if node().get(&key(number)).await.unwrap().level() == Some(CacheLevel::L2) {
            break;
        }
    }
}
