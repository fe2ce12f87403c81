//! How much of a quota is used, and how many requests are refused, against models of how APIs keep it: ten minutes with
//! two hundred workers, under paused time.
#![expect(clippy::panic, reason = "helpers of tests: what goes wrong there is to fail the test")]

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::{Request, Response};
use tokio::task::LocalSet;
use tokio::time::{Instant, sleep};
use wavequill_external::testing::{
    Action, HeardAudio, InMemoryQuotaLog, Latency, Measure, Quota, QuotaHeaders, SpeechApiSimulator, Upload,
};
use wavequill_external::{
    AdaptiveRateLimitHandler, Answer, Cost, ExternalError, InMemoryQuotaLedger, Lane, ModelCapabilities,
    ModelId, Observation, OpenAiDialect, QuotaScope, RateLimitConfig, RateLimitHandler, SeenOutcome,
    SharedQuotaConfig, SharedQuotaLedger, SpeechDialect,
};

const WORKERS: usize = 200;
const RUN: Duration = Duration::from_secs(600);

#[derive(Clone, Copy, Debug, Default)]
struct Count {
    granted: f64,
    refused: f64,
}

impl Count {
    fn assert(self, name: &str, possible: f64, most_refused_per_thousand: f64) {
        let used = self.granted / possible;
        let refused = 1000.0 * self.refused / (self.granted + self.refused);
        let found = format!("{name}: {:.2} % used, {refused:.2} refused per 1000 ({self:?})", 100.0 * used);
        assert!(used >= 0.995, "{found}");
        assert!(refused <= most_refused_per_thousand, "{found}");
    }
}

/// What the network and the server do, from draws that are the same in each run.
struct World {
    api: SpeechApiSimulator,
    begun: Instant,
    draws: u64,
    count: Count,
}

impl World {
    /// A one-way trip of 10 to 50 ms.
    fn trip(&mut self) -> Duration {
        self.draws =
            self.draws.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        Duration::from_micros(10_000 + (self.draws >> 33) % 40_000)
    }

    fn answer(&mut self) -> (Duration, Response<Bytes>) {
        let head = Request::post("/v1/audio/transcriptions").body(()).unwrap();
        let upload = Upload::verbose("whisper-1", HeardAudio::silent(Duration::from_secs(10)));
        let now = self.begun.elapsed();
        let mut waited = Duration::ZERO;
        for action in self.api.answer(now, &head, &upload) {
            match action {
                Action::Wait(time) => waited += time,
                Action::Respond(response) => return (waited, response),
                other => panic!("{other:?}"),
            }
        }
        panic!("no answer")
    }
}

async fn worker(world: Rc<RefCell<World>>, handler: Arc<AdaptiveRateLimitHandler>, scope: QuotaScope) {
    let dialect = OpenAiDialect::default();
    let model = ModelCapabilities::like_whisper(ModelId::new("whisper-1").unwrap());
    let cost = Cost::request(Duration::from_secs(10), 40_000);
    let begun = world.borrow().begun;
    while begun.elapsed() < RUN {
        let left = RUN.saturating_sub(begun.elapsed());
        let Ok(mut permit) = handler.acquire(&scope, &cost, Lane::Normal, left).await else { return };
        permit.mark_sent();
        let (up, down) = {
            let mut world = world.borrow_mut();
            (world.trip(), world.trip())
        };
        sleep(up).await;
        let (served_in, response) = world.borrow_mut().answer();
        sleep(served_in + down).await;
        let answer = Answer {
            status: response.status(),
            headers: response.headers(),
            body: response.body(),
            model: &model,
            audio: Duration::from_secs(10),
            sent_bytes: 40_000,
            now: SystemTime::UNIX_EPOCH,
        };
        let outcome = if response.status().is_success() {
            world.borrow_mut().count.granted += 1.0;
            SeenOutcome::Served
        } else {
            world.borrow_mut().count.refused += 1.0;
            match dialect.classify(answer) {
                ExternalError::Throttled { cause, retry_after, .. } => {
                    SeenOutcome::Throttled { cause, retry_after }
                }
                other => panic!("{other:?}"),
            }
        };
        let limits = dialect.read_limits(response.headers(), SystemTime::UNIX_EPOCH);
        handler.observe(permit, &Observation { outcome, limits });
    }
}

/// Runs the workers; `change` is called each tenth of a second with the time.
async fn run(
    api: SpeechApiSimulator,
    told: RateLimitConfig,
    change: impl FnMut(&mut SpeechApiSimulator, Duration),
) -> Count {
    let ledger = Arc::new(InMemoryQuotaLedger::new(told).unwrap());
    run_processes(api, vec![Arc::new(AdaptiveRateLimitHandler::new(ledger))], change).await
}

/// The same with the workers spread over several processes, each with its handler.
async fn run_processes(
    api: SpeechApiSimulator,
    handlers: Vec<Arc<AdaptiveRateLimitHandler>>,
    mut change: impl FnMut(&mut SpeechApiSimulator, Duration),
) -> Count {
    let latency = Latency::new(Duration::from_millis(800), Duration::from_millis(20));
    let world =
        World { api: api.with_latency(latency), begun: Instant::now(), draws: 7, count: Count::default() };
    let world = Rc::new(RefCell::new(world));
    let scope = QuotaScope::new("simulated", None, ModelId::new("whisper-1").unwrap());
    let local = LocalSet::new();
    for handler in handlers.iter().cycle().take(WORKERS) {
        local.spawn_local(worker(Rc::clone(&world), Arc::clone(handler), scope.clone()));
    }
    let changing = async {
        while world.borrow().begun.elapsed() < RUN {
            sleep(Duration::from_millis(100)).await;
            let mut world = world.borrow_mut();
            let now = world.begun.elapsed();
            change(&mut world.api, now);
        }
    };
    local.run_until(changing).await;
    local.await;
    world.borrow().count
}

fn quota(quota: Quota) -> SpeechApiSimulator {
    SpeechApiSimulator::new().with_quota(quota)
}

/// Processes that share a quota through one log, a millisecond away.
fn processes(
    count: usize,
    log: &InMemoryQuotaLog,
    told: &RateLimitConfig,
) -> Vec<Arc<AdaptiveRateLimitHandler>> {
    let config = SharedQuotaConfig::default().with_told(told.clone());
    let ledger = || Arc::new(SharedQuotaLedger::new(config.clone(), Arc::new(log.clone())).unwrap());
    (0..count).map(|_| Arc::new(AdaptiveRateLimitHandler::new(ledger()))).collect()
}

fn near_log() -> InMemoryQuotaLog {
    InMemoryQuotaLog::new().with_round_trip(Duration::from_millis(1))
}

fn nothing(_: &mut SpeechApiSimulator, _: Duration) {}

#[tokio::test(start_paused = true)]
async fn a_bucket_of_500_a_minute_is_used_up_without_a_refusal() {
    let count = run(quota(Quota::requests_per_minute(500)), RateLimitConfig::default(), nothing).await;
    count.assert("bucket", 500.0 + 5000.0, 1.0);
}

#[tokio::test(start_paused = true)]
async fn a_bucket_with_a_small_burst_is_used_up_without_a_refusal() {
    let bucket = Quota::requests_per_minute(500).with_burst(8);
    let count = run(quota(bucket), RateLimitConfig::default(), nothing).await;
    count.assert("burst 8", 8.0 + 5000.0, 1.0);
}

#[tokio::test(start_paused = true)]
async fn a_window_that_the_ietf_headers_describe_is_used_up_without_a_refusal() {
    let window = Quota::fixed_window(Measure::Requests, 500, Duration::from_secs(60));
    let api = quota(window).with_quota_headers(QuotaHeaders::Ietf);
    let count = run(api, RateLimitConfig::default(), nothing).await;
    count.assert("window", 5000.0, 1.0);
}

#[tokio::test(start_paused = true)]
async fn a_told_limit_of_a_sliding_log_without_headers_is_used_up_without_a_refusal() {
    let log = Quota::sliding_log(Measure::Requests, 500, Duration::from_secs(60)).hidden();
    let told = RateLimitConfig::default().with_requests_per_minute(500);
    let count = run(quota(log), told, nothing).await;
    count.assert("sliding log", 5000.0, 1.0);
}

#[tokio::test(start_paused = true)]
async fn a_rival_that_takes_two_fifths_unseen_is_left_unharmed() {
    let mut taken = 0_u64;
    let count = run(quota(Quota::requests_per_minute(500)), RateLimitConfig::default(), |api, now| {
        let due = (now.as_secs_f64() * 500.0 / 60.0 * 0.4) as u64;
        api.use_elsewhere(now, due - taken);
        taken = due;
    })
    .await;
    count.assert("rival", 500.0 + 5000.0 * 0.6, 2.0);
}

#[tokio::test(start_paused = true)]
async fn a_limit_that_changes_twice_is_followed() {
    let (mut halved, mut doubled) = (false, false);
    let count = run(quota(Quota::requests_per_minute(500)), RateLimitConfig::default(), |api, now| {
        if now >= Duration::from_secs(200) && !halved {
            halved = true;
            api.set_quotas(now, vec![Quota::requests_per_minute(250)]);
        }
        if now >= Duration::from_secs(400) && !doubled {
            doubled = true;
            api.set_quotas(now, vec![Quota::requests_per_minute(1000)]);
        }
    })
    .await;
    // What is given back all along, and a full bucket of the last size at the end.
    let possible = 200.0 * (500.0 + 250.0 + 1000.0) / 60.0 + 1000.0;
    count.assert("500, 250, 1000", possible, 2.0);
}

#[tokio::test(start_paused = true)]
async fn seconds_of_audio_that_no_header_tells_of_are_counted_here() {
    // 10 s a request: 100 requests a minute.
    let audio = Quota::token_bucket(Measure::AudioSeconds, 1_000, Duration::from_secs(60)).hidden();
    let api = quota(Quota::requests_per_minute(500)).with_quota(audio);
    let told = RateLimitConfig::default().with_audio(wavequill_external::RateLimit::per_minute(1_000.0));
    let count = run(api, told, nothing).await;
    count.assert("audio seconds", 1000.0, 1.0);
}

#[tokio::test(start_paused = true)]
async fn two_processes_use_a_bucket_up_together_without_a_refusal() {
    let log = near_log();
    let both = processes(2, &log, &RateLimitConfig::default());
    let count = run_processes(quota(Quota::requests_per_minute(500)), both, nothing).await;
    count.assert("two processes", 500.0 + 5000.0, 1.0);
    assert!((log.round_trips() as f64) < 4.0 * count.granted, "{} round trips", log.round_trips());
}

#[tokio::test(start_paused = true)]
async fn three_processes_share_a_told_limit_without_headers() {
    let log = Quota::sliding_log(Measure::Requests, 500, Duration::from_secs(60)).hidden();
    let told = RateLimitConfig::default().with_requests_per_minute(500);
    let count = run_processes(quota(log), processes(3, &near_log(), &told), nothing).await;
    count.assert("three processes", 4950.0, 1.0);
}

#[tokio::test(start_paused = true)]
async fn two_processes_that_are_cut_off_from_each_other_stay_within_the_quota() {
    let log = near_log();
    let both = processes(2, &log, &RateLimitConfig::default());
    let count = run_processes(quota(Quota::requests_per_minute(500)), both, |_, now| match now.as_secs() {
        200 => log.cut(),
        400 => log.mend(),
        _ => {}
    })
    .await;
    let refused = count.refused / (count.granted + count.refused);
    assert!(refused <= 0.05 && count.granted >= 0.9 * 5500.0, "{count:?}");
}

#[tokio::test(start_paused = true)]
async fn a_log_that_loses_everything_is_told_again_what_was_known() {
    let log = near_log();
    let both = processes(2, &log, &RateLimitConfig::default());
    let mut lost = false;
    let count = run_processes(quota(Quota::requests_per_minute(500)), both, |_, now| {
        if now >= Duration::from_secs(300) && !std::mem::replace(&mut lost, true) {
            log.lose();
        }
    })
    .await;
    count.assert("after a loss", 0.99 * 5500.0, 5.0);
}

#[tokio::test(start_paused = true)]
async fn a_window_behind_the_headers_of_a_bucket_is_found_out() {
    let window = Quota::fixed_window(Measure::Requests, 83, Duration::from_secs(10));
    let count = run(quota(window), RateLimitConfig::default(), nothing).await;
    count.assert("windows of 10 s", 60.0 * 83.0, 2.0);
}

#[tokio::test(start_paused = true)]
async fn two_processes_keep_to_a_small_burst_and_to_windows() {
    let bucket = quota(Quota::requests_per_minute(500).with_burst(8));
    let count = run_processes(bucket, processes(2, &near_log(), &RateLimitConfig::default()), nothing).await;
    count.assert("burst 8", 8.0 + 5000.0, 1.0);
    let window = Quota::fixed_window(Measure::Requests, 500, Duration::from_secs(60));
    let api = quota(window).with_quota_headers(QuotaHeaders::Ietf);
    let count = run_processes(api, processes(2, &near_log(), &RateLimitConfig::default()), nothing).await;
    count.assert("window", 5000.0, 1.0);
}
