//! How much of a quota is used, and how many requests are refused: ten minutes, 200 workers, under paused time, against
//! the simulator. The rivals' policies are re-implemented from their documentation, but for governor, which is itself.
//!
//! `cargo bench -p wavequill-benches --bench external_quota`
#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a bench prints its figures and may end where it cannot go on"
)]

use std::cell::RefCell;
use std::num::NonZeroU32;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use governor::clock::{Clock as _, FakeRelativeClock};
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota as GovernorQuota, RateLimiter};
use http::{Request, Response};
use tokio::task::LocalSet;
use tokio::time::{Instant, sleep, sleep_until};
use wavequill_external::testing::{
    Action, HeardAudio, InMemoryQuotaLog, Latency, Measure, Quota, QuotaHeaders, SpeechApiSimulator, Upload,
};
use wavequill_external::{
    AdaptiveRateLimitHandler, Answer, Cost, ExternalError, InMemoryQuotaLedger, Lane, ModelCapabilities,
    ModelId, Observation, OpenAiDialect, QuotaPermit, QuotaScope, RateLimitConfig, RateLimitHandler,
    SeenOutcome, SharedQuotaConfig, SharedQuotaLedger, SpeechDialect,
};

const WORKERS: usize = 200;
const RUN: Duration = Duration::from_secs(600);
const MINUTE: Duration = Duration::from_secs(60);

/// What happens outside: the network and the API, from draws that are the same in each run.
struct World {
    api: SpeechApiSimulator,
    begun: Instant,
    draws: u64,
    granted: f64,
    refused: f64,
}

impl World {
    fn draw(&mut self) -> f64 {
        self.draws =
            self.draws.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.draws >> 33) as f64 / f64::from(1_u32 << 31)
    }

    /// A one-way trip of 10 to 50 ms.
    fn trip(&mut self) -> Duration {
        Duration::from_secs_f64(0.010 + 0.040 * self.draw())
    }

    fn answer(&mut self) -> (Duration, Response<bytes::Bytes>) {
        let head = Request::post("/v1/audio/transcriptions").body(()).unwrap();
        let upload = Upload::verbose("whisper-1", HeardAudio::silent(Duration::from_secs(10)));
        let mut waited = Duration::ZERO;
        for action in self.api.answer(self.begun.elapsed(), &head, &upload) {
            match action {
                Action::Wait(time) => waited += time,
                Action::Respond(response) => return (waited, response),
                _ => break,
            }
        }
        (waited, Response::new(bytes::Bytes::new()))
    }
}

type Shared = Rc<RefCell<World>>;

/// Sends one request; gives the answer's patience if it was refused.
async fn send(world: &Shared) -> (Response<bytes::Bytes>, Option<Option<Duration>>) {
    let (up, down) = {
        let mut world = world.borrow_mut();
        (world.trip(), world.trip())
    };
    sleep(up).await;
    let (served_in, response) = world.borrow_mut().answer();
    sleep(served_in + down).await;
    let refused = !response.status().is_success();
    let mut world = world.borrow_mut();
    *(if refused { &mut world.refused } else { &mut world.granted }) += 1.0;
    let patience =
        response.headers().get("retry-after").and_then(|value| value.to_str().ok()?.parse::<f64>().ok());
    (response, refused.then_some(patience.map(Duration::from_secs_f64)))
}

/// Policies other than ours.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Rival {
    /// Two retries; `Retry-After` up to a minute, else 0.5 s · 2ⁿ up to 8 s, less up to a quarter.
    OpenAiPython,
    /// Retries for 15 minutes: 0.5 s · 1.5ⁿ up to 60 s, give or take half; no `Retry-After`.
    AsyncOpenAi,
    /// Three retries: between 0 and 1 s · 2ⁿ; no `Retry-After`.
    ReqwestRetry,
    /// Half of the limit, evenly; 15 s of silence after a refusal; five attempts.
    Cookbook,
    /// Counts by the calendar minute; a refusal cools the deployment for 5 s; two retries.
    LiteLlm,
    /// A GCRA of the limit, told in advance; refused requests wait for `Retry-After` and try again.
    Governor,
}

struct RivalState {
    next: Instant,
    pause_until: Instant,
    minute: u64,
    in_minute: u32,
    clock: FakeRelativeClock,
    clock_at: Duration,
    governor: RateLimiter<NotKeyed, InMemoryState, FakeRelativeClock, NoOpMiddleware<Nanos>>,
}

async fn admitted(rival: Rival, state: &Rc<RefCell<RivalState>>, begun: Instant) {
    loop {
        let wake = {
            let mut state = state.borrow_mut();
            let now = Instant::now();
            let elapsed = begun.elapsed();
            match rival {
                Rival::OpenAiPython | Rival::AsyncOpenAi | Rival::ReqwestRetry => return,
                Rival::Cookbook => {
                    let next = state.next.max(state.pause_until);
                    if next <= now {
                        state.next = now + MINUTE / 250;
                        return;
                    }
                    next
                }
                Rival::LiteLlm => {
                    let minute = elapsed.as_secs() / 60;
                    if state.minute != minute {
                        (state.minute, state.in_minute) = (minute, 0);
                    }
                    if state.pause_until > now {
                        state.pause_until
                    } else if state.in_minute < 500 {
                        state.in_minute += 1;
                        return;
                    } else {
                        begun + MINUTE * u32::try_from(minute + 1).unwrap()
                    }
                }
                Rival::Governor => {
                    let ahead = elapsed.saturating_sub(state.clock_at);
                    state.clock.advance(ahead);
                    state.clock_at = elapsed;
                    match state.governor.check() {
                        Ok(()) => return,
                        Err(not_until) => {
                            now + not_until.wait_time_from(state.clock.now()) + Duration::from_nanos(1)
                        }
                    }
                }
            }
        };
        sleep_until(wake).await;
    }
}

/// How long to wait before trying again; `None` to give the request up.
fn again(rival: Rival, attempt: u32, patience: Option<Duration>, draw: f64) -> Option<Duration> {
    let seconds = |base: f64, factor: f64, most: f64| (base * factor.powi(attempt as i32)).min(most);
    match rival {
        Rival::OpenAiPython => (attempt < 2).then(|| {
            patience
                .filter(|wait| !wait.is_zero() && *wait <= MINUTE)
                .unwrap_or_else(|| Duration::from_secs_f64(seconds(0.5, 2.0, 8.0) * (1.0 - 0.25 * draw)))
        }),
        Rival::AsyncOpenAi => Some(Duration::from_secs_f64(seconds(0.5, 1.5, 60.0) * (0.5 + draw))),
        Rival::ReqwestRetry => {
            (attempt < 3).then(|| Duration::from_secs_f64(seconds(1.0, 2.0, 1800.0) * draw))
        }
        Rival::Cookbook => (attempt < 5).then_some(Duration::ZERO),
        Rival::LiteLlm => (attempt < 2).then(|| patience.unwrap_or(Duration::from_secs(5))),
        Rival::Governor => Some(patience.unwrap_or(Duration::from_secs(1))),
    }
}

async fn rival_worker(rival: Rival, world: Shared, state: Rc<RefCell<RivalState>>) {
    let begun = world.borrow().begun;
    while begun.elapsed() < RUN {
        for attempt in 0.. {
            admitted(rival, &state, begun).await;
            if begun.elapsed() >= RUN {
                return;
            }
            let (_, Some(patience)) = send(&world).await else { break };
            let silence = match rival {
                Rival::Cookbook => Duration::from_secs(15),
                Rival::LiteLlm => Duration::from_secs(5),
                _ => Duration::ZERO,
            };
            state.borrow_mut().pause_until = Instant::now() + silence;
            let draw = world.borrow_mut().draw();
            let Some(wait) = again(rival, attempt, patience, draw) else { break };
            sleep(wait).await;
        }
    }
}

async fn our_worker(world: Shared, handler: Arc<AdaptiveRateLimitHandler>) {
    let scope = QuotaScope::new("simulated", None, ModelId::new("whisper-1").unwrap());
    let cost = Cost::request(Duration::from_secs(10), 40_000);
    let begun = world.borrow().begun;
    while begun.elapsed() < RUN {
        let left = RUN.saturating_sub(begun.elapsed());
        let Ok(mut permit) = handler.acquire(&scope, &cost, Lane::Normal, left).await else { return };
        permit.mark_sent();
        let (response, _) = send(&world).await;
        observe(&handler, permit, &response);
    }
}

fn observe(handler: &AdaptiveRateLimitHandler, permit: QuotaPermit, response: &Response<bytes::Bytes>) {
    let dialect = OpenAiDialect::default();
    let model = ModelCapabilities::like_whisper(ModelId::new("whisper-1").unwrap());
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
        SeenOutcome::Served
    } else {
        match dialect.classify(answer) {
            ExternalError::Throttled { cause, retry_after, .. } => {
                SeenOutcome::Throttled { cause, retry_after }
            }
            _ => SeenOutcome::Failed,
        }
    };
    let limits = dialect.read_limits(response.headers(), SystemTime::UNIX_EPOCH);
    handler.observe(permit, &Observation { outcome, limits });
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Client {
    Ours,
    /// Processes that share one log a millisecond away, with the workers spread over them.
    Shared(usize),
    Rival(Rival),
}

type Change = Box<dyn FnMut(&mut SpeechApiSimulator, Duration)>;

struct Scenario {
    name: &'static str,
    api: SpeechApiSimulator,
    told: RateLimitConfig,
    possible: f64,
    change: Change,
}

fn scenarios() -> Vec<Scenario> {
    let rpm = || Quota::requests_per_minute(500);
    let quota = |quota| SpeechApiSimulator::new().with_quota(quota);
    let nothing = || -> Change { Box::new(|_, _| {}) };
    let scenario = |name, api, possible| Scenario {
        name,
        api,
        told: RateLimitConfig::default(),
        possible,
        change: nothing(),
    };
    let window = Quota::fixed_window(Measure::Requests, 500, MINUTE);
    let log = Quota::sliding_log(Measure::Requests, 500, MINUTE).hidden();
    let azure = Quota::fixed_window(Measure::Requests, 83, Duration::from_secs(10));
    let (mut taken, mut step) = (0, 0);
    vec![
        scenario("bucket of 500/min", quota(rpm()), 5500.0),
        scenario("bucket of 8, 500/min", quota(rpm().with_burst(8)), 5008.0),
        scenario("window of a minute (IETF)", quota(window).with_quota_headers(QuotaHeaders::Ietf), 5000.0),
        Scenario {
            told: RateLimitConfig::default().with_requests_per_minute(500),
            ..scenario("sliding log, no headers", quota(log), 5000.0)
        },
        scenario("windows of 10 s, as Azure's", quota(azure), 60.0 * 83.0),
        Scenario {
            change: Box::new(move |api, now| {
                let due = (now.as_secs_f64() * 500.0 / 60.0 * 0.4) as u64;
                api.use_elsewhere(now, due - taken);
                taken = due;
            }),
            ..scenario("a rival takes 40 % unseen", quota(rpm()), 3500.0)
        },
        Scenario {
            change: Box::new(move |api, now| {
                let due = now.as_secs() / 200;
                if due != step {
                    step = due;
                    let limit = if due == 1 { 250 } else { 1000 };
                    api.set_quotas(now, vec![Quota::requests_per_minute(limit)]);
                }
            }),
            ..scenario("500, 250, 1000/min", quota(rpm()), 200.0 * 1750.0 / 60.0 + 1000.0)
        },
    ]
}

async fn run(client: Client, scenario: Scenario) -> (f64, f64, f64) {
    let Scenario { api, told, possible, mut change, .. } = scenario;
    let api = api.with_latency(Latency::new(Duration::from_millis(800), Duration::from_millis(20)));
    let begun = Instant::now();
    let world = Rc::new(RefCell::new(World { api, begun, draws: 7, granted: 0.0, refused: 0.0 }));
    let local = LocalSet::new();
    match client {
        Client::Rival(rival) => {
            let clock = FakeRelativeClock::default();
            let quota = GovernorQuota::per_minute(NonZeroU32::new(500).unwrap());
            let state = Rc::new(RefCell::new(RivalState {
                next: begun,
                pause_until: begun,
                minute: 0,
                in_minute: 0,
                governor: RateLimiter::direct_with_clock(quota, clock.clone()),
                clock,
                clock_at: Duration::ZERO,
            }));
            for _ in 0..WORKERS {
                local.spawn_local(rival_worker(rival, Rc::clone(&world), Rc::clone(&state)));
            }
        }
        Client::Ours | Client::Shared(_) => {
            let handlers: Vec<_> = if let Client::Shared(count) = client {
                let log = InMemoryQuotaLog::new().with_round_trip(Duration::from_millis(1));
                let config = SharedQuotaConfig::default().with_told(told);
                let ledger = || SharedQuotaLedger::new(config.clone(), Arc::new(log.clone())).unwrap();
                (0..count).map(|_| Arc::new(AdaptiveRateLimitHandler::new(Arc::new(ledger())))).collect()
            } else {
                vec![Arc::new(AdaptiveRateLimitHandler::new(Arc::new(
                    InMemoryQuotaLedger::new(told).unwrap(),
                )))]
            };
            for handler in handlers.iter().cycle().take(WORKERS) {
                local.spawn_local(our_worker(Rc::clone(&world), Arc::clone(handler)));
            }
        }
    }
    let changing = async {
        while begun.elapsed() < RUN {
            sleep(Duration::from_millis(100)).await;
            change(&mut world.borrow_mut().api, begun.elapsed());
        }
    };
    local.run_until(changing).await;
    // What is in flight at the end is answered; what waits to try again is not.
    local.run_until(sleep(Duration::from_secs(5))).await;
    let world = world.borrow();
    (world.granted, world.refused, possible)
}

fn main() {
    let rivals = [
        Rival::Governor,
        Rival::OpenAiPython,
        Rival::AsyncOpenAi,
        Rival::ReqwestRetry,
        Rival::Cookbook,
        Rival::LiteLlm,
    ];
    let clients =
        [Client::Ours, Client::Shared(2), Client::Shared(4)].into_iter().chain(rivals.map(Client::Rival));
    for client in clients {
        println!("{client:?}");
        for scenario in scenarios() {
            let name = scenario.name;
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_time()
                .start_paused(true)
                .build()
                .unwrap();
            let (granted, refused, possible) = runtime.block_on(run(client, scenario));
            let per_thousand = 1000.0 * refused / granted.max(1.0);
            println!(
                "  {name:28} {:6.2} % used, {per_thousand:8.2} refused per 1,000 served",
                100.0 * granted / possible
            );
        }
    }
}
