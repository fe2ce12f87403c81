//! The shared ledger on a real Redis server.

use std::sync::Arc;
use std::time::Duration;

use wavequill_external::testing::conformance;
use wavequill_external::{
    Charged, Cost, ModelId, QuotaLedger, QuotaScope, RateLimitConfig, RedisQuotaLedger, RedisQuotaLog,
    SharedQuotaConfig, SharedQuotaLedger,
};

#[expect(clippy::disallowed_methods, reason = "tests are told where the servers are by the environment")]
fn url() -> String {
    std::env::var("WAVEQUILL_TEST_REDIS_URL")
        .expect("WAVEQUILL_TEST_REDIS_URL is not set: run cargo xtask test, which starts a Redis server for the tests")
}

/// A loaded machine must not make a ledger go on alone.
const PATIENT: Duration = Duration::from_secs(60);

#[tokio::test]
async fn the_log_on_redis_keeps_its_contract() {
    conformance::quota_log(RedisQuotaLog::connect(&url()).await.unwrap()).await;
}

#[tokio::test]
async fn the_ledger_on_redis_keeps_its_contract() {
    let probe_interval = Duration::from_millis(200);
    let mut told = RateLimitConfig::default().with_max_in_flight(2);
    told.probe_interval = probe_interval;
    let config = SharedQuotaConfig::default().with_told(told).with_within(PATIENT);
    let ledger = RedisQuotaLedger::connect(&url(), config).await.unwrap();
    conformance::quota_ledger(ledger, probe_interval).await;
}

#[tokio::test]
async fn two_processes_get_no_more_than_the_quota_together_in_any_order_of_asking() {
    let log = Arc::new(RedisQuotaLog::connect(&url()).await.unwrap());
    let told = RateLimitConfig::default().with_requests_per_minute(20);
    let config = SharedQuotaConfig::default().with_told(told).with_within(PATIENT);
    let ledgers =
        [(); 2].map(|()| SharedQuotaLedger::new(config.clone(), Arc::<RedisQuotaLog>::clone(&log)).unwrap());
    let model = ModelId::new("whisper-1").unwrap();
    let scope = QuotaScope::new(format!("two-{}", std::process::id()), None, model);
    let mut granted = 0;
    for turn in 0..80 {
        if let Charged::Granted(_) = ledgers[turn % 2].charge(&scope, &Cost::default()).await.unwrap() {
            granted += 1;
        }
    }
    // 8 may go at once; the next would be due 3 s later.
    assert!((8..=20).contains(&granted), "{granted} of 20 a minute");
}
