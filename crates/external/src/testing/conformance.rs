//! The contracts of this crate's services, sentence by sentence, for whoever implements one.
//!
//! Each function panics with the sentence that was broken. They wait in tokio's time: run them in a runtime whose time is
//! paused (`#[tokio::test(start_paused = true)]`).
#![expect(
    clippy::expect_used,
    clippy::panic,
    reason = "a broken contract is to fail the test that asks for it"
)]

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::error::ExternalError;
use crate::model::capabilities::ModelId;
use crate::model::quota::{
    Cost, Lane, Observation, QuotaScope, RateLimit, SeenOutcome, StopCause, ThrottleCause,
};
use crate::ports::{Charged, LogPosition, LogSnapshot, LogTail, QuotaLedger, QuotaLog};
use crate::rate_limit_handler::{QuotaAnswer, QuotaPermit, RateLimitHandler};
use crate::{RateLimitConfig, SpeechApi, SpeechRequest};

fn scope() -> QuotaScope {
    named("conformance")
}

fn named(provider: &str) -> QuotaScope {
    let model = ModelId::new("whisper-1").expect("a plain name");
    QuotaScope::new(provider, None, model)
}

fn served() -> Observation {
    Observation::of(SeenOutcome::Served)
}

async fn acquired(handler: &impl RateLimitHandler, lane: Lane) -> QuotaPermit {
    let hour = Duration::from_secs(3600);
    let mut permit =
        handler.acquire(&scope(), &Cost::default(), lane, hour).await.expect("it is granted in an hour");
    permit.mark_sent();
    permit
}

/// Tests a rate limit handler; `make` gives a new one that has been told what the configuration says.
///
/// # Panics
/// If a sentence of [`RateLimitHandler`]'s contract is broken.
pub async fn rate_limit_handler<H: RateLimitHandler>(make: impl Fn(RateLimitConfig) -> H) {
    a_refused_dimension_leaves_the_others_uncharged(&make(audio_and_requests()));
    the_first_in_a_lane_is_served_first(Arc::new(make(one_at_a_time()))).await;
    acquire_returns_in_time(make(one_at_a_time())).await;
    an_unsent_permit_restores_its_cost(&make(audio_and_requests()));
    a_hard_stop_fails_all_waiters(Arc::new(make(one_at_a_time()))).await;
    one_retry_after_holds_all(make(RateLimitConfig::default())).await;
}

fn one_at_a_time() -> RateLimitConfig {
    RateLimitConfig::default().with_max_in_flight(1)
}

fn audio_and_requests() -> RateLimitConfig {
    let audio = RateLimit { amount: 100.0, period: Duration::from_secs(3600) };
    RateLimitConfig::default().with_requests_per_minute(60).with_audio(audio)
}

fn a_refused_dimension_leaves_the_others_uncharged(handler: &impl RateLimitHandler) {
    let long = Cost::request(Duration::from_secs(90), 1);
    let QuotaAnswer::Granted(_held) = handler.try_acquire(&scope(), &long) else {
        panic!("a first grant is free")
    };
    for _ in 0..100 {
        let refused = handler.try_acquire(&scope(), &long);
        assert!(!matches!(refused, QuotaAnswer::Granted(_)), "1: the audio is used up");
    }
    let short = handler.try_acquire(&scope(), &Cost::request(Duration::from_secs(1), 1));
    assert!(matches!(short, QuotaAnswer::Granted(_)), "1: refused requests have charged no dimension");
}

async fn the_first_in_a_lane_is_served_first(handler: Arc<impl RateLimitHandler>) {
    let held = acquired(&*handler, Lane::Normal).await;
    let order = Arc::new(parking_lot::Mutex::new(Vec::new()));
    let mut waiting = JoinSet::new();
    for number in 0..5 {
        let (handler, order) = (Arc::clone(&handler), Arc::clone(&order));
        waiting.spawn(async move {
            let permit = acquired(&*handler, Lane::Normal).await;
            order.lock().push(number);
            handler.observe(permit, &served());
        });
        tokio::task::yield_now().await;
    }
    handler.observe(held, &served());
    while waiting.join_next().await.is_some() {}
    assert_eq!(*order.lock(), [0, 1, 2, 3, 4], "2: first come, first served");
}

async fn acquire_returns_in_time(handler: impl RateLimitHandler) {
    let _held = acquired(&handler, Lane::Normal).await;
    let (begun, within) = (Instant::now(), Duration::from_secs(2));
    let late = handler.acquire(&scope(), &Cost::default(), Lane::Urgent, within).await;
    assert!(matches!(late, Err(ExternalError::Throttled { .. })), "3: nothing came free: {late:?}");
    assert!(begun.elapsed() <= within + Duration::from_millis(10), "3: it took {:?}", begun.elapsed());
}

fn an_unsent_permit_restores_its_cost(handler: &impl RateLimitHandler) {
    let long = Cost::request(Duration::from_secs(90), 1);
    for _ in 0..3 {
        let free = handler.try_acquire(&scope(), &long);
        let QuotaAnswer::Granted(permit) = free else {
            panic!("4: what was dropped unsent is there again: {free:?}")
        };
        drop(permit);
    }
}

async fn a_hard_stop_fails_all_waiters(handler: Arc<impl RateLimitHandler>) {
    let held = acquired(&*handler, Lane::Normal).await;
    let mut waiting = JoinSet::new();
    for _ in 0..50 {
        let handler = Arc::clone(&handler);
        let hour = Duration::from_secs(3600);
        waiting.spawn(async move {
            handler.acquire(&scope(), &Cost::default(), Lane::Normal, hour).await.map(drop)
        });
    }
    tokio::task::yield_now().await;
    let begun = Instant::now();
    handler.observe(held, &Observation::of(SeenOutcome::Stopped(StopCause::Credential)));
    while let Some(ended) = waiting.join_next().await {
        let ended = ended.expect("a waiter does not panic");
        assert!(matches!(ended, Err(ExternalError::Stopped { .. })), "5: all waiters fail: {ended:?}");
    }
    assert!(begun.elapsed() < Duration::from_millis(10), "5: at once");
    assert_eq!(handler.view(&scope()).stop, Some(StopCause::Credential), "5: the view says so");
}

async fn one_retry_after_holds_all(handler: impl RateLimitHandler) {
    let permit = acquired(&handler, Lane::Normal).await;
    let (cause, wait) = (ThrottleCause::Rate, Duration::from_secs(5));
    let refused = Observation::of(SeenOutcome::Throttled { cause, retry_after: Some(wait) });
    handler.observe(permit, &refused);
    let begun = Instant::now();
    drop(acquired(&handler, Lane::Urgent).await);
    assert!(begun.elapsed() >= wait, "6: what was observed acts on the next grant");
}

/// Tests a ledger that has been told a limit of two requests in flight, how long it is between two probes, and nothing
/// else.
///
/// # Panics
/// If a sentence of [`QuotaLedger`]'s contract is broken.
pub async fn quota_ledger(ledger: impl QuotaLedger, probe_interval: Duration) {
    // A name of its own each time: a ledger on a server may remember those of other runs.
    let (scope, cost) = (named(&crate::multipart::random_hex()), Cost::default());
    let mut charges = Vec::new();
    for _ in 0..2 {
        match ledger.charge(&scope, &cost).await.expect("the ledger can be reached") {
            Charged::Granted(charge) => charges.push(charge),
            other => panic!("2: two may be in flight: {other:?}"),
        }
    }
    let third = ledger.charge(&scope, &cost).await.expect("the ledger can be reached");
    assert!(matches!(third, Charged::Wait(_)), "1: a third is not charged: {third:?}");
    let (mut first, second) = (charges.remove(0), charges.remove(0));
    ledger.restore(&scope, &cost, second);
    ledger.sent(&scope, &mut first);
    ledger.settle(&scope, &cost, first, &Observation::of(SeenOutcome::Stopped(StopCause::Billing)));
    let begun = Instant::now();
    let stopped = ledger.charge(&scope, &cost).await.expect("the ledger can be reached");
    assert_eq!(stopped, Charged::Stopped(StopCause::Billing), "4: a stop refuses");
    assert_eq!(ledger.view(&scope).in_flight, 0, "3: both have ended");
    let mut probe = loop {
        match ledger.charge(&scope, &cost).await.expect("the ledger can be reached") {
            Charged::Granted(probe) => break probe,
            Charged::Stopped(StopCause::Billing) => tokio::time::sleep(probe_interval / 20).await,
            other => panic!("4: a stop refuses until it is probed: {other:?}"),
        }
    };
    // The ledger's clock may be another machine's, and its times whole microseconds.
    let waited = begun.elapsed() + Duration::from_millis(5);
    assert!(waited >= probe_interval, "4: no probe before its time: {waited:?}");
    let again = ledger.charge(&scope, &cost).await.expect("the ledger can be reached");
    assert_eq!(again, Charged::Stopped(StopCause::Billing), "4: not more than one");
    ledger.sent(&scope, &mut probe);
    ledger.settle(&scope, &cost, probe, &served());
    let next = ledger.charge(&scope, &cost).await.expect("the ledger can be reached");
    assert!(matches!(next, Charged::Granted(_)), "4: a request that was served ends the stop: {next:?}");
}

/// Tests a log that holds nothing of `scope` yet.
///
/// # Panics
/// If a sentence of [`QuotaLog`]'s contract is broken.
pub async fn quota_log(log: impl QuotaLog) {
    let scope = named(&crate::multipart::random_hex());
    let events = |names: &[&str]| names.iter().map(ToString::to_string).collect::<Vec<_>>();
    let heard = |tail: &LogTail| tail.events.iter().map(|event| event.event.clone()).collect::<Vec<_>>();
    let nowhere = LogPosition::default();
    let first = log.append(&scope, &nowhere, &events(&["a", "b c"]), None).await.expect("it can be reached");
    assert_eq!((first.first, heard(&first)), (0, events(&["a", "b c"])), "1: together, in their order");
    let seen = LogPosition { epoch: first.epoch.clone(), next: 2 };
    let second = log.append(&scope, &seen, &events(&["d"]), None).await.expect("it can be reached");
    assert_eq!((second.first, heard(&second)), (2, events(&["d"])), "3: every event from its position on");
    assert_eq!(second.epoch, first.epoch, "5: nothing is lost");
    let times: Vec<_> = first.events.iter().chain(&second.events).map(|event| event.at_s).collect();
    assert!(times.is_sorted() && times.last() <= Some(&second.now_s), "2: times do not fall: {times:?}");
    let state = Some(LogSnapshot { next: 2, state: "ab".into() });
    let third = log.append(&scope, &seen, &events(&["e"]), state.clone()).await.expect("it can be reached");
    assert_eq!((third.first, heard(&third)), (2, events(&["d", "e"])), "3: also after a snapshot");
    let new = log.append(&scope, &nowhere, &[], None).await.expect("it can be reached");
    assert_eq!((new.snapshot, new.first), (state, 2), "4: who is new begins at the snapshot");
    let stale = Some(LogSnapshot { next: 1, state: "a".into() });
    let after = log.append(&scope, &nowhere, &[], stale).await.expect("it can be reached");
    assert_eq!((after.first, after.events), (2, new.events), "4: an older snapshot changes nothing");
}

/// Tests what every speech API owes its callers, whatever it speaks to. `request` gives a request that it serves.
///
/// # Panics
/// If a sentence of [`SpeechApi`]'s contract is broken.
pub async fn speech_api(api: impl SpeechApi, request: impl Fn() -> SpeechRequest) {
    let asked = request();
    let row = api.capabilities(&asked.model).expect("the API knows the model that it serves");
    assert_eq!(row.model, asked.model, "the row is that of the model");
    let marker = "conformance-marker";
    let shown = format!("{:?}", request().with_prompt(marker));
    assert!(!shown.contains(marker), "7: no prompt in a Debug form");
    let answer = api.transcribe(asked).await.expect("the API serves this request");
    let mut last = Duration::ZERO;
    for word in answer.timing.words() {
        assert!(word.start >= last && word.end >= word.start, "5: times do not fall: {word:?}");
        last = word.start;
    }
    let shown = format!("{answer:?}");
    assert!(answer.text.is_empty() || !shown.contains(&answer.text), "7: no text in a Debug form");
}
