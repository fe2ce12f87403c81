//! Puts a service together: what is not said has a default, what is wrong is refused before anything starts.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use sha2::{Digest, Sha256};
use wavequill_caching::{ContentAddresser, RequestSpec, Sha256ContentAddresser};
use wavequill_external::{
    BaseUrl, HttpSpeechApi, HyperSpeechApiConfig, ModelCapabilities, ModelId, PlainHttp, RateLimitConfig,
    SecretString, SpeechApi,
};
use wavequill_kernel::{Clock, InvalidValue, SystemClock, Ttl};
use wavequill_monitoring::{CollectorConfig, MetricsCollector, Monitor, RuleSet, SketchMetricsCollector};
use wavequill_processing::{
    Admission, AdmissionConfig, ByteSize, ChunkPlanner, ConcurrencyLimit, CoverageRules, OrchestratorConfig,
    ParallelOrchestrator, RecognizerProfile, RequestQuota, SeamTimestampAdjuster, SlownessAdmission,
    TranscriptAssembler,
};
use wavequill_queue::{Handlers, Selection, WorkerConfig};

use crate::parallel_processing_service::{Keeping, ParallelProcessingService, ProcessingParts};
use crate::recorded::recorded;
use crate::store::{OpenStore, Servers};
use crate::wavequill::{Parts, Shared};
use crate::wiring::admission::QuotaAdmission;
use crate::wiring::job::FileHandler;
use crate::wiring::recognizer::{ApiRecognizer, FORM_RESERVE_BYTES, apply_capabilities};
use crate::{Store, TranscribeOptions, Wavequill, WavequillError};

/// Which stored jobs a service runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum JobScope {
    /// Those that it was asked for itself, also when another process stored them first.
    #[default]
    Asked,
    /// All that wait in the store, those of earlier processes among them. Right for a service; a command line would pay
    /// for what nobody asked of it.
    All,
}

/// Sets a [`Wavequill`] up.
#[derive(Debug)]
pub struct WavequillBuilder {
    base_url: Option<String>,
    key: Option<SecretString>,
    provider: Option<String>,
    api: Option<Arc<dyn SpeechApi>>,
    model: String,
    options: TranscribeOptions,
    concurrency: Option<u16>,
    requests_per_minute: Option<u32>,
    max_chunk_bytes: Option<u64>,
    max_chunk_duration: Option<Duration>,
    answer_within: Option<Duration>,
    plain_http: PlainHttp,
    store: Store,
    servers: Servers,
    jobs: JobScope,
    files_at_once: u32,
    attempts: Option<u16>,
    keep_for: Duration,
    orchestrator: OrchestratorConfig,
    audit: Option<CoverageRules>,
    rules: RuleSet,
    clock: Arc<dyn Clock>,
}

impl Default for WavequillBuilder {
    fn default() -> Self {
        Self {
            base_url: None,
            key: None,
            provider: None,
            api: None,
            model: "whisper-1".into(),
            options: TranscribeOptions::default(),
            concurrency: None,
            requests_per_minute: None,
            max_chunk_bytes: None,
            max_chunk_duration: None,
            answer_within: None,
            plain_http: PlainHttp::default(),
            store: Store::default(),
            servers: Servers::default(),
            jobs: JobScope::default(),
            files_at_once: 4,
            attempts: None,
            keep_for: Duration::from_secs(7 * 86_400),
            orchestrator: OrchestratorConfig::default(),
            audit: None,
            rules: RuleSet::for_wavequill(),
            clock: Arc::new(SystemClock),
        }
    }
}

impl WavequillBuilder {
    /// The root of an OpenAI-compatible API, such as `https://api.openai.com/v1` or `http://127.0.0.1:8000/v1`.
    #[must_use]
    pub fn base_url(mut self, url: impl Into<String>) -> Self {
        self.base_url = Some(url.into());
        self
    }

    /// Whether plain `http` may be used for other hosts than this machine, such as a server in the same cluster: audio and key
    /// can be read by everybody on the way. Default: [`PlainHttp::Loopback`], this machine only.
    #[must_use]
    pub fn plain_http(mut self, plain_http: PlainHttp) -> Self {
        self.plain_http = plain_http;
        self
    }

    /// The API's key; it is never shown. Default: none, which self-hosted servers accept.
    #[must_use]
    pub fn api_key(mut self, key: impl Into<SecretString>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// What the API is called where answers are kept. Give one if the same API is reached by changing addresses: answers
    /// of another provider are not used. Default: the base URL, or `custom` for a speech API of one's own.
    #[must_use]
    pub fn provider(mut self, name: impl Into<String>) -> Self {
        self.provider = Some(name.into());
        self
    }

    /// A speech API of one's own, in the place of the one at a base URL.
    #[must_use]
    pub fn speech_api(mut self, api: impl SpeechApi) -> Self {
        self.api = Some(Arc::new(api));
        self
    }

    /// The model, as the API names it. Default: `whisper-1`.
    #[must_use]
    pub fn model(mut self, model: impl Into<String>) -> Self {
        self.model = model.into();
        self
    }

    /// What is asked of a transcription that brings no options of its own. Default: [`TranscribeOptions::default`].
    #[must_use]
    pub fn options(mut self, options: TranscribeOptions) -> Self {
        self.options = options;
        self
    }

    /// The most requests in flight, 1 to 1,024. Default: 8, of which 4 to start with.
    #[must_use]
    pub fn concurrency(mut self, requests: u16) -> Self {
        self.concurrency = Some(requests);
        self
    }

    /// The API's request quota, told in advance. Default: it is learned from the answers.
    #[must_use]
    pub fn requests_per_minute(mut self, requests: u32) -> Self {
        self.requests_per_minute = Some(requests);
        self
    }

    /// The most bytes of a chunk. Default: what the model takes (OpenAI's 26,214,400), less 65,536 for the form.
    #[must_use]
    pub fn max_chunk_bytes(mut self, bytes: u64) -> Self {
        self.max_chunk_bytes = Some(bytes);
        self
    }

    /// The longest chunk. Default: 1,380 s, OpenAI's 1,400 s less a reserve.
    #[must_use]
    pub fn max_chunk_duration(mut self, duration: Duration) -> Self {
        self.max_chunk_duration = Some(duration);
        self
    }

    /// How long an answer may take, besides the duration of its audio. Default: 60 s.
    #[must_use]
    pub fn answer_within(mut self, duration: Duration) -> Self {
        self.answer_within = Some(duration);
        self
    }

    /// Keeps jobs and answers in this folder. Default: in memory.
    #[must_use]
    pub fn store(mut self, folder: impl AsRef<Path>) -> Self {
        self.store = Store::Folder(folder.as_ref().to_owned());
        self
    }

    /// Keeps answers in PostgreSQL, at `postgres://user:password@host:port/database`: all machines that use it pay once for the
    /// same audio. Its tables are made if they are missing. Jobs stay in the [`store`](Self::store), since they name files of
    /// this machine. Default: answers are in the store, too.
    #[cfg(feature = "postgres")]
    #[must_use]
    pub fn database(mut self, url: impl Into<SecretString>) -> Self {
        self.servers.database = Some(url.into());
        self
    }

    /// Keeps a copy of recent answers in Redis, at `redis://[user:password@]host[:port][/database]`, and tells the other machines
    /// through it what has changed. It must be there when the service is built, and may fail at any time after:
    /// nothing is lost, lookups only take longer. It needs a database beside it, which orders what is invalidated. Default:
    /// none.
    #[cfg(feature = "fred")]
    #[must_use]
    pub fn redis(mut self, url: impl Into<SecretString>) -> Self {
        self.servers.redis = Some(url.into());
        self
    }

    /// Which stored jobs are run. Default: [`JobScope::Asked`].
    #[must_use]
    pub fn jobs(mut self, jobs: JobScope) -> Self {
        self.jobs = jobs;
        self
    }

    /// The most files that are transcribed side by side, at least 1. Default: 4.
    #[must_use]
    pub fn files_at_once(mut self, files: u32) -> Self {
        self.files_at_once = files;
        self
    }

    /// How often a file's job is attempted before it is given up, at least 1; a chunk's own retries do not count. Between
    /// attempts the wait doubles from 2 s to at most 15 min, and who waits for the result waits with it. Default: 1, so that
    /// who asked hears of a failure at once; 12 with [`JobScope::All`], which outlasts an outage of a quarter of an hour.
    #[must_use]
    pub fn job_attempts(mut self, attempts: u16) -> Self {
        self.attempts = Some(attempts);
        self
    }

    /// How long answers are kept. Default: 7 days.
    #[must_use]
    pub fn keep_for(mut self, duration: Duration) -> Self {
        self.keep_for = duration;
        self
    }

    /// How chunks are retried and hedged. Default: [`OrchestratorConfig::default`].
    #[must_use]
    pub fn orchestrator(mut self, config: OrchestratorConfig) -> Self {
        self.orchestrator = config;
        self
    }

    /// Looks for speech that an answer leaves out, asks for it once more, and reports what stays open as a gap. It listens
    /// with the voice detector wherever an answer has no words for long. Default: nobody looks.
    #[must_use]
    pub fn audit(mut self, rules: CoverageRules) -> Self {
        self.audit = Some(rules);
        self
    }

    /// The alert rules. Default: [`RuleSet::for_wavequill`].
    #[must_use]
    pub fn alert_rules(mut self, rules: RuleSet) -> Self {
        self.rules = rules;
        self
    }

    /// Where time is read. Default: the operating system's clock.
    #[must_use]
    pub fn clock(mut self, clock: impl Clock) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    /// Opens the store, and starts the service on the current tokio runtime.
    ///
    /// # Errors
    /// [`WavequillError::InvalidConfig`] or a context's own for a setting that will not do; [`WavequillError::Store`] or
    /// [`WavequillError::Database`] if the store cannot be opened.
    ///
    /// # Cancellation
    /// Dropping the future leaves nothing behind but the store's folder.
    pub async fn build(self) -> Result<Wavequill, WavequillError> {
        let collector = SketchMetricsCollector::new(CollectorConfig::default(), Arc::clone(&self.clock))?;
        let collector: Arc<dyn MetricsCollector> = Arc::new(collector);
        Box::pin(recorded(Arc::clone(&collector), self.assemble(collector))).await
    }

    async fn assemble(self, collector: Arc<dyn MetricsCollector>) -> Result<Wavequill, WavequillError> {
        let model = ModelId::new(self.model.clone())?;
        let speech = self.speech(&model)?;
        let ttl = Ttl::new(self.keep_for)?;
        let concurrency = self.concurrency_limit()?;
        let orchestrator =
            ParallelOrchestrator::new(self.orchestrator.clone(), Arc::clone(&speech.admission))?;
        let recognizer = ApiRecognizer::new(Arc::clone(&speech.api), model, speech.profile);

        let OpenStore { database, pool, cache, queue, journals } =
            self.store.open(&self.servers, &self.clock, ttl).await?;
        let addresser: Arc<dyn ContentAddresser> = Arc::new(Sha256ContentAddresser::new());
        let request = RequestSpec::new(speech.provider, self.model.clone())
            .with_response_format("verbose_json")
            .with_granularities(["word", "segment"]);
        let fingerprint = fingerprint(&request);
        let service = ParallelProcessingService::new(ProcessingParts {
            planner: ChunkPlanner::default(),
            orchestrator: Arc::new(orchestrator),
            assembler: TranscriptAssembler::new(Arc::new(SeamTimestampAdjuster::new())),
            audit: self.audit,
            recognizer: Arc::new(recognizer),
            concurrency,
            keeping: Keeping { cache: Arc::new(cache.clone()), addresser, request, ttl, journals },
        });
        let monitor = Monitor::builder(Arc::clone(&collector)).with_rules(self.rules.clone()).start().await?;
        let parts = Parts {
            service,
            queue: queue.clone(),
            pool: Arc::new(pool),
            database,
            cache,
            collector,
            monitor,
            options: self.options.clone(),
            fingerprint,
            attempts: self.attempts.unwrap_or(match self.jobs {
                JobScope::Asked => 1,
                JobScope::All => 12,
            }),
        };
        let shared = Shared::new(parts, self.jobs);
        let handlers = Handlers::new().with(shared.job_type()?, FileHandler::new(Arc::downgrade(&shared)));
        shared.employ(queue.start_worker(self.worker_config(), handlers).await?);
        Ok(Wavequill::of(shared))
    }

    fn concurrency_limit(&self) -> Result<ConcurrencyLimit, InvalidValue> {
        self.concurrency.map_or(Ok(ConcurrencyLimit::default()), ConcurrencyLimit::new)
    }

    /// The API, who admits requests to it, and what it takes.
    fn speech(&self, model: &ModelId) -> Result<Speech, WavequillError> {
        let mut profile = RecognizerProfile {
            quota: self.requests_per_minute.map(|requests| RequestQuota {
                per_minute: f64::from(requests),
                burst: requests.clamp(1, 10),
            }),
            ..RecognizerProfile::default()
        };
        let limit = match self.concurrency {
            Some(_) => AdmissionConfig::at(self.concurrency_limit()?),
            None => AdmissionConfig::default(),
        };
        let slowness: Arc<dyn Admission> = Arc::new(SlownessAdmission::new(limit, profile.latency));
        let mut speech = match &self.api {
            Some(_) if self.requests_per_minute.is_some() => {
                let expected = "left out with a speech API of your own, which paces itself";
                return Err(InvalidValue::new("requests_per_minute", "set", expected).into());
            }
            Some(api) => {
                let (api, provider) = (Arc::clone(api), "custom".to_owned());
                Speech { api, provider, admission: slowness, profile: RecognizerProfile::default() }
            }
            None => self.http_api(model, slowness)?,
        };
        if let Some(row) = speech.api.capabilities(model) {
            apply_capabilities(&mut profile, &row);
        }
        if let Some(bytes) = self.max_chunk_bytes {
            profile.max_chunk_bytes = ByteSize::new(bytes);
        }
        if let Some(duration) = self.max_chunk_duration {
            profile.max_chunk_duration = duration;
        }
        speech.profile = profile;
        if let Some(provider) = &self.provider {
            speech.provider.clone_from(provider);
        }
        Ok(speech)
    }

    fn http_api(&self, model: &ModelId, slowness: Arc<dyn Admission>) -> Result<Speech, WavequillError> {
        let Some(url) = &self.base_url else {
            let expected = "the API's root, such as https://api.openai.com/v1, or a speech API of your own";
            return Err(InvalidValue::new("base_url", "missing", expected).into());
        };
        let mut config = HyperSpeechApiConfig::new(BaseUrl::new(url)?);
        config.api.key.clone_from(&self.key);
        config.api.plain_http = self.plain_http;
        if let Some(within) = self.answer_within {
            config.api = config.api.with_answer_within(within);
        }
        if let Some(bytes) = self.max_chunk_bytes {
            // What the user allows is what the server takes: the model's row must not refuse it. All else in it stays.
            let row = HttpSpeechApi::over_hyper(config.clone())?.capabilities(model);
            let row = row.unwrap_or_else(|| ModelCapabilities::like_whisper(model.clone()));
            let max_body_bytes = Some(bytes.saturating_add(FORM_RESERVE_BYTES));
            config.api = config.api.with_models([ModelCapabilities { max_body_bytes, ..row }]);
        }
        if let Some(requests) = self.requests_per_minute {
            config.quota = RateLimitConfig::default().with_requests_per_minute(requests);
        }
        let (provider, patience) = (config.api.base_url.to_string(), config.api.quota_wait);
        let api = HttpSpeechApi::over_hyper(config)?;
        let quota = Arc::clone(api.quota());
        let admission = QuotaAdmission::new(slowness, quota, api.quota_scope(model), patience);
        Ok(Speech {
            api: Arc::new(api),
            provider,
            admission: Arc::new(admission),
            profile: RecognizerProfile::default(),
        })
    }

    fn worker_config(&self) -> WorkerConfig {
        let selection = match self.jobs {
            JobScope::Asked => Selection::Named,
            JobScope::All => Selection::All,
        };
        WorkerConfig::default()
            .with_name("wavequill")
            .with_concurrency(self.files_at_once)
            .with_selection(selection)
            // A file may take as long as the quota makes it take.
            .with_timeout(Duration::from_secs(7 * 86_400))
    }
}

/// What tells the jobs of differently configured services in one store apart.
fn fingerprint(request: &RequestSpec) -> String {
    let mut hash = Sha256::new();
    for part in [&request.provider, &request.model] {
        // The length keeps two parts from reading like two others.
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    let digest: [u8; 32] = hash.finalize().into();
    let (start, _) = digest.split_first_chunk().unwrap_or((&[0; 4], &[]));
    format!("{:08x}", u32::from_be_bytes(*start))
}

/// A speech API, and what is known about it.
struct Speech {
    api: Arc<dyn SpeechApi>,
    provider: String,
    admission: Arc<dyn Admission>,
    profile: RecognizerProfile,
}
