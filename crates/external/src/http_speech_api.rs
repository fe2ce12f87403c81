//! [`HttpSpeechApi`]: quota, then a stream, then the request; the answer is read, named, and told to the quota.

mod arriving;
mod health;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use tokio::time::{Instant, timeout};
use wavequill_kernel::{Clock, ErrorClass, Retryable};

use self::arriving::{Arriving, Opened, Parts};
use self::health::Circuit;
use crate::circuit_breaker::RetryBudget;
use crate::config::{SpeechApiConfig, UnknownModels};
use crate::connection_pool_manager::{ConnectionPoolManager, StreamPermit};
use crate::error::{ExternalError, Phase};
use crate::metrics::{ApiMetrics, ModelMetrics, Outcome};
use crate::model::capabilities::{CapabilityTable, ModelCapabilities, ModelId, Support};
use crate::model::events::SpeechEvents;
use crate::model::http::{HttpRequest, HttpResponse, Processed};
use crate::model::quota::{Cost, Observation, QuotaScope, SeenLimits, SeenOutcome};
use crate::model::request::{Delivery, Speakers, SpeechRequest, Timestamps, TimingNeed};
use crate::model::response::{SpeechResponse, Timing};
use crate::ports::{Answer, Endpoint, SpeechDialect};
use crate::rate_limit_handler::{QuotaPermit, RateLimitHandler};
use crate::speech_api::SpeechApi;

/// How often a request that was refused for the moment waits for its turn again.
const REJOINS: u32 = 2;

/// How many such waits a request earns for all, and the most that are saved up: where most requests are refused, the
/// callers are told instead.
const REJOINS_EARNED: f64 = 0.5;
const REJOINS_SAVED: f64 = 100.0;

/// How long it waits each time, at most.
const REJOIN_WAIT: Duration = Duration::from_secs(60);

/// A speech API over HTTP, in any dialect.
///
/// ```
/// # #[cfg(feature = "hyper")] {
/// use wavequill_external::{BaseUrl, HttpSpeechApi, HyperSpeechApiConfig, ModelId, SpeechApi};
///
/// let config = HyperSpeechApiConfig::new(BaseUrl::new("http://127.0.0.1:8000/v1")?);
/// let api = HttpSpeechApi::over_hyper(config)?;
/// let whisper = api.capabilities(&ModelId::new("whisper-1")?);
/// assert_eq!(whisper.and_then(|row| row.max_body_bytes), Some(26_214_400));
/// # }
/// # Ok::<(), wavequill_external::ExternalError>(())
/// ```
#[derive(Debug)]
pub struct HttpSpeechApi {
    config: SpeechApiConfig,
    dialect: Arc<dyn SpeechDialect>,
    quota: Arc<dyn RateLimitHandler>,
    pool: Arc<dyn ConnectionPoolManager>,
    clock: Arc<dyn Clock>,
    table: CapabilityTable,
    /// What refusals have taught about limits.
    learned: Mutex<BTreeMap<ModelId, Learned>>,
    circuit: Circuit,
    /// For requests that were refused for the moment and join the queue again.
    rejoins: Mutex<RetryBudget>,
    metrics: ApiMetrics,
}

#[derive(Clone, Copy, Debug, Default)]
struct Learned {
    max_body_bytes: Option<u64>,
    max_audio: Option<Duration>,
}

/// A request that is ready to be sent.
struct Call<'a> {
    request: &'a SpeechRequest,
    model: ModelCapabilities,
    http: HttpRequest,
    metrics: &'a ModelMetrics,
    /// Whether anything of it was put on the wire.
    sent: &'a AtomicBool,
}

/// What came of a request.
enum Answered {
    Whole(SpeechResponse),
    Events(Opened),
}

/// The same while its permit is held elsewhere.
enum Exchanged {
    Whole(SpeechResponse),
    Events(HttpResponse),
}

impl HttpSpeechApi {
    /// An API client of these parts.
    ///
    /// # Errors
    /// [`InvalidConfig`](ExternalError::InvalidConfig).
    pub fn new(
        config: SpeechApiConfig,
        dialect: Arc<dyn SpeechDialect>,
        quota: Arc<dyn RateLimitHandler>,
        pool: Arc<dyn ConnectionPoolManager>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, ExternalError> {
        config.check()?;
        let table = CapabilityTable::new(dialect.models()).with_rows(config.models.iter().cloned());
        let metrics = ApiMetrics::register(&table);
        let circuit = Circuit::new(config.circuit_breaker);
        let rejoins = Mutex::new(RetryBudget::new(REJOINS_EARNED, REJOINS_SAVED));
        let learned = Mutex::default();
        Ok(Self { config, dialect, quota, pool, clock, table, learned, circuit, rejoins, metrics })
    }

    /// Whose quota requests for a model are of.
    pub fn quota_scope(&self, model: &ModelId) -> QuotaScope {
        QuotaScope::new(self.config.base_url.to_string(), self.config.key.as_ref(), model.clone())
    }

    /// The handler of the quota, for those who take permits in advance.
    pub fn quota(&self) -> &Arc<dyn RateLimitHandler> {
        &self.quota
    }

    /// The connections, for those who look at statistics, warm up or close.
    pub fn pool(&self) -> &Arc<dyn ConnectionPoolManager> {
        &self.pool
    }

    fn row(&self, model: &ModelId) -> Option<ModelCapabilities> {
        let mut row = match (self.table.get(model), self.config.unknown_models) {
            (Some(row), _) => row.clone(),
            (None, UnknownModels::LikeWhisper) => ModelCapabilities::like_whisper(model.clone()),
            (None, UnknownModels::Refuse) => return None,
        };
        if let Some(learned) = self.learned.lock().get(model) {
            row.max_body_bytes = least(row.max_body_bytes, learned.max_body_bytes);
            row.max_audio = least(row.max_audio, learned.max_audio);
        }
        Some(row)
    }

    /// A limit that the API names in a refusal holds from now on.
    fn learn(&self, model: &ModelId, error: &ExternalError) {
        let (bytes, audio) = match error {
            ExternalError::TooLarge { limit_bytes, processed: Processed::Yes, .. } => (*limit_bytes, None),
            ExternalError::TooLong { limit, processed: Processed::Yes, .. } => (None, *limit),
            _ => return,
        };
        let mut learned = self.learned.lock();
        let row = learned.entry(model.clone()).or_default();
        row.max_body_bytes = least(row.max_body_bytes, bytes);
        row.max_audio = least(row.max_audio, audio);
    }

    fn prepare(&self, request: &SpeechRequest) -> Result<(ModelCapabilities, HttpRequest), ExternalError> {
        let Some(model) = self.row(&request.model) else {
            let known: Vec<_> = self.table.models().map(ModelId::as_str).collect();
            let reason = format!("the models of this API are {}", known.join(", "));
            return Err(ExternalError::ModelUnavailable { model: request.model.clone(), reason });
        };
        check(&model, request)?;
        let endpoint =
            Endpoint { base_url: &self.config.base_url, key: self.config.key.as_ref(), model: &model };
        let mut http = self.dialect.encode(endpoint, request)?;
        let bytes = http.body.len();
        if model.max_body_bytes.is_some_and(|limit| bytes > limit) {
            let (limit_bytes, processed) = (model.max_body_bytes, Processed::No);
            return Err(ExternalError::TooLarge { bytes, limit_bytes, processed });
        }
        let within = self.config.answer_within + request.audio.duration();
        http.answer_within = Some(within.min(self.config.answer_within_at_most));
        Ok((model, http))
    }

    async fn call(&self, call: &Call<'_>, brought: Option<QuotaPermit>) -> Result<Answered, ExternalError> {
        let scope = self.quota_scope(&call.model.model);
        let cost = Cost::request(call.request.audio.duration(), call.http.body.len());
        let lane = call.request.lane;
        self.rejoins.lock().earn();
        // Who brings the permit owns the waiting: the refusal is theirs at once.
        let mut rejoins = if brought.is_some() { 0 } else { REJOINS };
        let mut permit = match brought {
            Some(permit) => permit,
            None => self.quota.acquire(&scope, &cost, lane, self.config.quota_wait).await?,
        };
        loop {
            let refused = match self.attempt(call, permit).await {
                Err(error @ ExternalError::Throttled { .. }) => error,
                other => return other,
            };
            let patience = refused.class().retry_after();
            if let Some(wait) = patience.filter(|wait| *wait > self.config.longest_retry_after) {
                let now = self.clock.now();
                let until = now.checked_add(wait).unwrap_or(now);
                return Err(ExternalError::RetryAfterTooLong { wait, until });
            }
            if rejoins == 0 || patience.is_some_and(|wait| wait > REJOIN_WAIT) || !self.rejoins.lock().spend()
            {
                return Err(refused);
            }
            rejoins -= 1;
            permit = match self.quota.rejoin(&scope, &cost, lane, REJOIN_WAIT).await {
                Ok(permit) => permit,
                Err(ExternalError::Throttled { .. }) => return Err(refused),
                Err(error) => return Err(error),
            };
        }
    }

    /// Sends the request once.
    async fn attempt(&self, call: &Call<'_>, mut permit: QuotaPermit) -> Result<Answered, ExternalError> {
        let origin = self.config.base_url.origin();
        let entered = self.circuit.enter(origin, &self.metrics)?;
        let begun = Instant::now();
        let stream = timeout(self.config.stream_wait, self.pool.stream(origin, call.http.body.len())).await;
        // Without a stream the permit is dropped here, which gives the quota back.
        let stream = stream.unwrap_or_else(|_| {
            let (phase, after, processed) = (Phase::Stream, self.config.stream_wait, Processed::No);
            Err(ExternalError::Timeout { phase, after, processed })
        });
        let stream = match stream {
            Ok(stream) => stream,
            Err(error) => {
                let failed = Err(error);
                entered.ended(&failed);
                return failed;
            }
        };
        self.metrics.phase(Phase::Stream, begun.elapsed());
        permit.mark_sent();
        call.sent.store(true, Ordering::Release);
        let (result, observed) = self.exchange(call, stream).await;
        entered.ended(&result);
        let result = match result {
            Ok(Exchanged::Events(response)) => {
                // The permit goes with the events: the request has not ended.
                let limits = observed.unwrap_or_default();
                return Ok(Answered::Events(Opened { response, permit, limits }));
            }
            Ok(Exchanged::Whole(read)) => Ok(read),
            Err(error) => Err(error),
        };
        let seen = match (&result, observed) {
            (_, Some(limits)) => Observation { outcome: outcome(result.as_ref().err()), limits },
            (Err(error), None) if error.processed() == Processed::No => {
                call.sent.store(false, Ordering::Release);
                permit.mark_unsent();
                drop(permit);
                call.metrics.attempt(named(&result));
                return result.map(Answered::Whole);
            }
            (_, None) => Observation::of(SeenOutcome::Unknown),
        };
        self.quota.observe(permit, &seen);
        call.metrics.attempt(named(&result));
        result.map(Answered::Whole)
    }

    /// The answer, and what its headers tell about quota if it came as far as that.
    async fn exchange(
        &self,
        call: &Call<'_>,
        stream: StreamPermit,
    ) -> (Result<Exchanged, ExternalError>, Option<SeenLimits>) {
        let mut response = match self.pool.send(stream, call.http.clone()).await {
            Ok(response) => response,
            Err(error) => return (Err(error), None),
        };
        let now = self.clock.now();
        let limits = self.dialect.read_limits(&response.headers, now);
        if call.request.delivery == Delivery::Events && is_events(&response) {
            return (Ok(Exchanged::Events(response)), Some(limits));
        }
        let begun = Instant::now();
        let body = match response.read_all(self.config.max_answer_bytes).await {
            Ok(body) => body,
            // A refusal is one whether or not its body could be read.
            Err(error) if response.status.is_success() => return (Err(error), Some(limits)),
            Err(_) => bytes::Bytes::new(),
        };
        self.metrics.phase(Phase::Body, begun.elapsed());
        let answer = Answer {
            status: response.status,
            headers: &response.headers,
            body: &body,
            model: &call.model,
            audio: call.request.audio.duration(),
            sent_bytes: call.http.body.len(),
            now,
        };
        let result = if response.status.is_success() {
            let read = self.dialect.decode(call.request, answer);
            read.and_then(|read| complete(read, call)).map(Exchanged::Whole)
        } else {
            Err(self.dialect.classify(answer))
        };
        (result, Some(limits))
    }

    async fn within_deadline(
        &self,
        call: &Call<'_>,
        brought: Option<QuotaPermit>,
    ) -> Result<Answered, ExternalError> {
        let Some(within) = call.request.deadline else { return self.call(call, brought).await };
        timeout(within, self.call(call, brought)).await.unwrap_or_else(|_| {
            let sent = call.sent.load(Ordering::Acquire);
            let processed = if sent { Processed::Maybe } else { Processed::No };
            Err(ExternalError::Timeout { phase: Phase::Whole, after: within, processed })
        })
    }
}

#[async_trait]
impl SpeechApi for HttpSpeechApi {
    fn capabilities(&self, model: &ModelId) -> Option<ModelCapabilities> {
        self.row(model)
    }

    async fn transcribe(&self, mut request: SpeechRequest) -> Result<SpeechResponse, ExternalError> {
        request.delivery = Delivery::Whole;
        match self.run(request).await? {
            Run::Whole(read) => Ok(read),
            Run::Events(_) => Err(ExternalError::InvalidResponse {
                reason: "it came as events that nobody asked for".into(),
            }),
        }
    }

    async fn transcribe_stream(&self, mut request: SpeechRequest) -> Result<SpeechEvents, ExternalError> {
        let streams = self.row(&request.model).is_some_and(|row| row.streaming.may_ask());
        request.delivery = if streams { Delivery::Events } else { Delivery::Whole };
        Ok(match self.run(request).await? {
            Run::Whole(read) => SpeechEvents::whole(read),
            Run::Events(arriving) => SpeechEvents::new(*arriving),
        })
    }
}

/// What a caller gets.
enum Run {
    Whole(SpeechResponse),
    Events(Box<Arriving>),
}

impl HttpSpeechApi {
    async fn run(&self, mut request: SpeechRequest) -> Result<Run, ExternalError> {
        let begun = Instant::now();
        let brought = request.permit.take();
        // One key for all tries, so that an API that knows it can tell a repeated request.
        request.idempotency_key.get_or_insert_with(crate::multipart::random_hex);
        let (model, http) = self.prepare(&request)?;
        let metrics = self.metrics.model(&model.model);
        if let Some(retires) = model.retires_at {
            let left = retires.duration_since(self.clock.now()).unwrap_or_default();
            metrics.retires.set(left.as_secs_f64());
        }
        let audio = request.audio.duration();
        let mut ending = Ending { metrics, begun, audio, outcome: Some(Outcome::Cancelled) };
        let sent = AtomicBool::new(false);
        let call = Call { request: &request, model, http, metrics, sent: &sent };
        let price = call.model.cost_microdollars(audio).unwrap_or(0);
        let result = self.within_deadline(&call, brought).await;
        ending.outcome = Some(named(&result));
        match result {
            Ok(Answered::Whole(read)) => {
                metrics.cost(price);
                Ok(Run::Whole(read))
            }
            Ok(Answered::Events(opened)) => {
                // Counted when the events have ended.
                ending.outcome = None;
                let parts = Parts {
                    dialect: Arc::clone(&self.dialect),
                    quota: Arc::clone(&self.quota),
                    metrics: metrics.clone(),
                    begun,
                    deadline: request.deadline,
                    audio,
                    price,
                    most_bytes: self.config.max_answer_bytes,
                };
                Ok(Run::Events(Box::new(Arriving::new(parts, opened))))
            }
            Err(error) => {
                self.learn(&call.model.model, &error);
                if error.class().is_retryable() && error.processed() == Processed::Maybe {
                    self.metrics.double_bills.increment(1);
                }
                Err(error)
            }
        }
    }
}

/// Records a request when it ends, be it by being dropped.
struct Ending<'a> {
    metrics: &'a ModelMetrics,
    begun: Instant,
    audio: Duration,
    /// `None`: it has not ended.
    outcome: Option<Outcome>,
}

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        if let Some(outcome) = self.outcome {
            self.metrics.request(outcome, self.begun.elapsed(), self.audio);
        }
    }
}

fn least<T: Ord>(one: Option<T>, other: Option<T>) -> Option<T> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

/// Refuses what the model's row says cannot be had.
fn check(model: &ModelCapabilities, request: &SpeechRequest) -> Result<(), ExternalError> {
    let audio = request.audio.duration();
    if model.max_audio.is_some_and(|limit| audio > limit) {
        return Err(ExternalError::TooLong { audio, limit: model.max_audio, processed: Processed::No });
    }
    if request.audio.body().is_empty() {
        return Err(ExternalError::InvalidRequest { field: "audio", reason: "it is empty".into() });
    }
    let unsupported = |what| Err(ExternalError::Unsupported { model: model.model.clone(), what });
    if request.speakers == Speakers::Label && model.speakers == Support::No {
        return unsupported("labels of speakers");
    }
    match (request.timing_need, request.timestamps) {
        (TimingNeed::Required, Timestamps::Words) if model.words == Support::No => unsupported("word times"),
        (TimingNeed::Required, Timestamps::Segments)
            if model.segments == Support::No && model.words == Support::No =>
        {
            unsupported("segment times")
        }
        _ => Ok(()),
    }
}

/// Refuses an answer without the times that are required: another try would be without them too.
fn complete(read: SpeechResponse, call: &Call<'_>) -> Result<SpeechResponse, ExternalError> {
    let missing = match (call.request.timestamps, &read.timing) {
        (Timestamps::None, _) | (_, Timing::Words { .. }) | (Timestamps::Segments, Timing::Segments(_)) => {
            None
        }
        (Timestamps::Words, _) => Some("word times"),
        (Timestamps::Segments, Timing::ChunkOnly) => Some("segment times"),
    };
    match missing {
        Some(what) if call.request.timing_need == TimingNeed::Required && !read.text.is_empty() => {
            Err(ExternalError::Unsupported { model: call.model.model.clone(), what })
        }
        _ => Ok(read),
    }
}

fn is_events(response: &HttpResponse) -> bool {
    let kind = response.headers.get(http::header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    response.status.is_success()
        && kind.is_some_and(|kind| kind.trim_start().starts_with("text/event-stream"))
}

fn named<T>(result: &Result<T, ExternalError>) -> Outcome {
    match result.as_ref().map_err(Retryable::class) {
        Ok(_) => Outcome::Ok,
        Err(ErrorClass::Throttled { .. }) => Outcome::Throttled,
        Err(ErrorClass::Transient) => Outcome::Transient,
        Err(ErrorClass::Permanent | ErrorClass::Exhausted) => Outcome::Permanent,
    }
}

fn outcome(error: Option<&ExternalError>) -> SeenOutcome {
    match error {
        None => SeenOutcome::Served,
        Some(ExternalError::Throttled { cause, retry_after, .. }) => {
            SeenOutcome::Throttled { cause: *cause, retry_after: *retry_after }
        }
        Some(ExternalError::Stopped { cause, .. }) => SeenOutcome::Stopped(*cause),
        Some(_) => SeenOutcome::Failed,
    }
}
