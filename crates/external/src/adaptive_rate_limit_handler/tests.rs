//! Under paused time.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::Instant;

use super::*;
use crate::config::RateLimitConfig;
use crate::in_memory_quota_ledger::InMemoryQuotaLedger;
use crate::model::capabilities::ModelId;
use crate::model::quota::{RateLimit, SeenLimits};

fn handler(config: RateLimitConfig) -> Arc<AdaptiveRateLimitHandler> {
    Arc::new(AdaptiveRateLimitHandler::new(Arc::new(InMemoryQuotaLedger::new(config).unwrap())))
}

fn scope() -> QuotaScope {
    QuotaScope::new("api", None, ModelId::new("m").unwrap())
}

const LONG: Duration = Duration::from_secs(3600);

async fn grant(handler: &AdaptiveRateLimitHandler, within: Duration) -> Result<QuotaPermit, ExternalError> {
    let mut permit = handler.acquire(&scope(), &Cost::default(), Lane::Normal, within).await?;
    permit.mark_sent();
    Ok(permit)
}

fn throttled(cause: ThrottleCause, retry_after: Option<Duration>) -> Observation {
    Observation::of(SeenOutcome::Throttled { cause, retry_after })
}

#[tokio::test(start_paused = true)]
async fn a_told_limit_is_never_exceeded_and_fully_used() {
    let handler = handler(RateLimitConfig::default().with_requests_per_minute(60));
    let begun = Instant::now();
    let mut at = Vec::new();
    for _ in 0..180 {
        let permit = grant(&handler, LONG).await.unwrap();
        at.push(begun.elapsed().as_secs_f64());
        handler.observe(permit, &Observation::of(SeenOutcome::Served));
    }
    for (index, start) in at.iter().enumerate() {
        let inside = at[index..].iter().take_while(|time| **time < start + 59.999).count();
        assert!(inside <= 60, "{inside} in the minute from {start}");
    }
    assert!(at[179] < 180.0, "180 requests at 60 a minute took {} s", at[179]);
}

#[tokio::test(start_paused = true)]
async fn one_retry_after_holds_all_and_costs_nobody_a_refusal_more() {
    let handler = handler(RateLimitConfig::default());
    let first = grant(&handler, LONG).await.unwrap();
    let begun = Instant::now();
    handler.observe(first, &throttled(ThrottleCause::Rate, Some(Duration::from_secs(7))));
    let mut waiting = JoinSet::new();
    for _ in 0..20 {
        let handler = Arc::clone(&handler);
        waiting.spawn(async move {
            let permit = grant(&handler, LONG).await.unwrap();
            let waited = begun.elapsed();
            handler.observe(permit, &Observation::of(SeenOutcome::Served));
            waited
        });
    }
    while let Some(waited) = waiting.join_next().await {
        let waited = waited.unwrap();
        assert!(waited >= Duration::from_secs(7) && waited < Duration::from_secs(8), "{waited:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_hard_stop_fails_all_waiters_at_once_and_one_request_a_minute_probes() {
    let config = RateLimitConfig::default().with_max_in_flight(1);
    let handler = handler(config);
    let first = grant(&handler, LONG).await.unwrap();
    let mut waiting = JoinSet::new();
    for _ in 0..1000 {
        let handler = Arc::clone(&handler);
        waiting.spawn(async move { grant(&handler, LONG).await.map(drop) });
    }
    tokio::task::yield_now().await;
    let begun = Instant::now();
    handler.observe(first, &Observation::of(SeenOutcome::Stopped(StopCause::Billing)));
    while let Some(ended) = waiting.join_next().await {
        let error = ended.unwrap().unwrap_err();
        assert!(matches!(error, ExternalError::Stopped { cause: StopCause::Billing, .. }), "{error:?}");
    }
    assert!(begun.elapsed() < Duration::from_millis(10), "{:?}", begun.elapsed());
    assert_eq!(handler.view(&scope()).stop, Some(StopCause::Billing));
    tokio::time::advance(Duration::from_secs(61)).await;
    let probe = grant(&handler, LONG).await.unwrap();
    assert!(matches!(grant(&handler, LONG).await, Err(ExternalError::Stopped { .. })), "one probe a minute");
    handler.observe(probe, &Observation::of(SeenOutcome::Served));
    drop(grant(&handler, LONG).await.unwrap());
}

#[tokio::test(start_paused = true)]
async fn a_permit_that_was_not_sent_gives_back_what_it_cost() {
    let told = RateLimit { amount: 100.0, period: Duration::from_secs(60) };
    let handler = handler(RateLimitConfig::default().with_audio(told));
    let cost = Cost::request(Duration::from_secs(80), 1000);
    let QuotaAnswer::Granted(permit) = handler.try_acquire(&scope(), &cost) else { panic!("free") };
    assert!(matches!(handler.try_acquire(&scope(), &cost), QuotaAnswer::Wait(_)));
    drop(permit);
    let QuotaAnswer::Granted(mut permit) = handler.try_acquire(&scope(), &cost) else { panic!("restored") };
    permit.mark_sent();
    drop(permit);
    let QuotaAnswer::Wait(wait) = handler.try_acquire(&scope(), &cost) else { panic!("spent") };
    assert!(wait > Duration::from_secs(59), "what was sent is spent: {wait:?}");
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_longer_than_was_asked() {
    let handler = handler(RateLimitConfig::default().with_max_in_flight(1));
    let held = grant(&handler, LONG).await.unwrap();
    let begun = Instant::now();
    let error = grant(&handler, Duration::from_secs(3)).await.unwrap_err();
    assert!(matches!(error, ExternalError::Throttled { .. }), "{error:?}");
    assert_eq!(begun.elapsed(), Duration::from_secs(3));
    drop(held);
    drop(grant(&handler, Duration::from_secs(3)).await.unwrap());
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_granted_in_time_is_said_at_once() {
    let handler = handler(RateLimitConfig::default());
    let permit = grant(&handler, LONG).await.unwrap();
    handler.observe(permit, &throttled(ThrottleCause::Rate, Some(Duration::from_secs(100))));
    let begun = Instant::now();
    let error = grant(&handler, Duration::from_secs(30)).await.unwrap_err();
    let ExternalError::Throttled { retry_after: Some(wait), .. } = error else { panic!("{error:?}") };
    assert!(wait > Duration::from_secs(99) && begun.elapsed() < Duration::from_millis(1), "{wait:?}");
}

#[tokio::test(start_paused = true)]
async fn a_waiter_that_leaves_does_not_block_the_others() {
    let handler = handler(RateLimitConfig::default().with_max_in_flight(1));
    let held = grant(&handler, LONG).await.unwrap();
    let gone = tokio::time::timeout(Duration::from_secs(1), grant(&handler, LONG)).await;
    assert!(gone.is_err());
    let next = grant(&handler, LONG);
    tokio::pin!(next);
    assert!(tokio::time::timeout(Duration::from_secs(1), &mut next).await.is_err());
    drop(held);
    drop(next.await.unwrap());
}

#[tokio::test(start_paused = true)]
async fn too_many_at_once_lowers_the_bound_without_a_backoff() {
    let handler = handler(RateLimitConfig::default());
    let first = grant(&handler, LONG).await.unwrap();
    handler.observe(first, &Observation::of(SeenOutcome::Served));
    let mut held = Vec::new();
    for _ in 0..6 {
        held.push(grant(&handler, LONG).await.unwrap());
    }
    handler.observe(held.pop().unwrap(), &throttled(ThrottleCause::Concurrency, None));
    assert_eq!(handler.view(&scope()).max_in_flight, Some(5));
    let full = handler.try_acquire(&scope(), &Cost::default());
    assert!(matches!(full, QuotaAnswer::Wait(_)), "five are in flight: {full:?}");
    held.pop();
    assert!(matches!(handler.try_acquire(&scope(), &Cost::default()), QuotaAnswer::Granted(_)));
}

#[tokio::test(start_paused = true)]
async fn until_the_first_answer_only_a_few_go() {
    let handler = handler(RateLimitConfig::default());
    let mut held = Vec::new();
    for _ in 0..4 {
        held.push(grant(&handler, LONG).await.unwrap());
    }
    assert!(matches!(handler.try_acquire(&scope(), &Cost::default()), QuotaAnswer::Wait(_)));
    handler.observe(
        held.pop().unwrap(),
        &Observation { outcome: SeenOutcome::Served, limits: SeenLimits::default() },
    );
    for _ in 0..20 {
        held.push(grant(&handler, LONG).await.unwrap());
    }
}

#[tokio::test(start_paused = true)]
async fn refusals_without_any_hint_lower_the_rate() {
    let handler = handler(RateLimitConfig::default());
    for _ in 0..100 {
        let permit = grant(&handler, LONG).await.unwrap();
        handler.observe(permit, &Observation::of(SeenOutcome::Served));
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let permit = grant(&handler, LONG).await.unwrap();
    handler.observe(permit, &throttled(ThrottleCause::Unknown, None));
    let begun = Instant::now();
    for _ in 0..70 {
        let permit = grant(&handler, LONG).await.unwrap();
        handler.observe(permit, &Observation::of(SeenOutcome::Served));
    }
    let took = begun.elapsed().as_secs_f64();
    assert!((9.0..11.0).contains(&took), "70 requests at about 7 a second took {took} s");
}
