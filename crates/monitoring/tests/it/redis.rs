//! The exchange of snapshots through a real Redis.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use wavequill_monitoring::testing::snapshot_exchange_conforms;
use wavequill_monitoring::{
    Leadership, MetricsSnapshot, ProcessEpoch, RedisExchangeConfig, RedisSnapshotExchange, SeriesKey,
    SnapshotExchange, Tick,
};

#[expect(
    clippy::disallowed_methods,
    clippy::expect_used,
    reason = "where the private server is, only the environment knows; without it there is nothing to test"
)]
fn config() -> RedisExchangeConfig {
    let url = std::env::var("WAVEQUILL_TEST_REDIS_URL")
        .expect("WAVEQUILL_TEST_REDIS_URL is not set: run cargo xtask test, which starts a private Redis");
    // A fleet of its own for each test, so that they do not meet.
    RedisExchangeConfig::new(url).with_fleet(ProcessEpoch::random().to_string())
}

fn part(process: u128, count: u64) -> MetricsSnapshot {
    let tick = Tick { monotonic: Duration::ZERO, wall: SystemTime::UNIX_EPOCH };
    MetricsSnapshot::new(ProcessEpoch::from_bits(process), tick, tick)
        .with_counter(SeriesKey::bare("files_total"), count)
}

#[tokio::test]
async fn the_redis_exchange_keeps_its_contract() {
    let exchange = RedisSnapshotExchange::connect(config()).await.unwrap();
    snapshot_exchange_conforms(&exchange).await;
    exchange.close().await.unwrap();
}

#[tokio::test]
async fn of_fifty_that_ask_at_once_one_leads() {
    let exchange = Arc::new(RedisSnapshotExchange::connect(config()).await.unwrap());
    let mut asking = tokio::task::JoinSet::new();
    for process in 1..=50 {
        let exchange = Arc::clone(&exchange);
        asking.spawn(async move { exchange.lead(ProcessEpoch::from_bits(process)).await.unwrap() });
    }
    let leaders = asking.join_all().await.into_iter().filter(|lead| *lead == Leadership::Leader).count();
    assert_eq!(leaders, 1);
}

#[tokio::test]
async fn who_stops_publishing_is_gone_and_who_stops_leading_is_followed() {
    let short = Duration::from_millis(150);
    let config = config().with_alive_for(short).with_lead_for(short);
    let exchange = RedisSnapshotExchange::connect(config).await.unwrap();
    exchange.publish(&part(1, 5)).await.unwrap();
    assert_eq!(exchange.lead(ProcessEpoch::from_bits(1)).await.unwrap(), Leadership::Leader);
    let until = tokio::time::Instant::now() + Duration::from_secs(10);
    while exchange.lead(ProcessEpoch::from_bits(2)).await.unwrap() == Leadership::Follower {
        assert!(tokio::time::Instant::now() < until, "the lease never ends");
        tokio::task::yield_now().await;
    }
    while !exchange.collect().await.unwrap().parts.is_empty() {
        assert!(tokio::time::Instant::now() < until, "the part never ends");
        tokio::task::yield_now().await;
    }
    exchange.publish(&part(1, 6)).await.unwrap();
    assert_eq!(exchange.collect().await.unwrap().parts, [part(1, 6)], "who publishes again is there again");
}

#[tokio::test]
async fn a_server_that_is_not_there_is_one_clear_error() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let config = RedisExchangeConfig::new(format!("redis://:secret@{address}"));
    assert!(!format!("{config:?}").contains("secret"));
    let error = RedisSnapshotExchange::connect(config).await.unwrap_err();
    assert!(error.to_string().starts_with("the snapshot exchange failed: "), "{error}");
    assert!(!error.to_string().contains("secret"), "{error}");
}
