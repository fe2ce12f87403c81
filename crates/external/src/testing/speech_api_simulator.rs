//! A speech API that behaves like OpenAI's, with its quotas and with whatever can go wrong.
//!
//! The rules are here and pure; the server that speaks HTTP is in [`adapters`](super::adapters).

mod action;
mod answers;
mod audio;
mod core;
mod faults;
mod form;
mod multipart;
mod quota;
mod refusals;
mod report;
mod settings;
#[cfg(test)]
mod tests;
mod wav_decoder;

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use secrecy::SecretString;
use wavequill_kernel::{Clock, SystemClock};

use self::core::Flight;
use self::report::BilledAudio;
use self::settings::Quotas;
use super::adapters::hyper_server::{self, SimulatorHandle};
use super::tone_speech::SplitMix;
use crate::AudioFormat;

pub use self::action::{Action, Begun, Ending, RequestId, Upload};
pub(crate) use self::answers::transcript;
pub use self::audio::{AudioDecoder, DecodedAudio, HeardAudio};
pub(crate) use self::audio::{Decoders, UploadedFile};
pub use self::faults::{Fault, Faults, RetryAfterForm};
pub(crate) use self::form::FormReader;
pub use self::form::TranscriptionForm;
pub use self::quota::{Measure, Quota};
pub use self::report::{Outcome, RequestRecord, SimulatorReport};
pub use self::settings::{Latency, QuotaHeaders, Refusals, SimulatedModel};

/// A simulated speech API: OpenAI's contract, its quotas, and faults.
///
/// It understands [tone-coded speech](super::ToneSpeech), so that each word that a client lost, doubled or cut
/// shows. [`start`](Self::start) serves it on loopback; the rules alone are [`answer`](Self::answer) (or
/// [`begin`](Self::begin), [`finish`](Self::finish) and [`end`](Self::end)): a function of the time that they are
/// given and of the seed, so that hours of quota are tested in milliseconds.
///
/// What it keeps: `POST /v1/audio/transcriptions` with the formats `json`, `text`, `srt`, `verbose_json` and
/// `vtt`, `GET /v1/models`, the key, the limits of size and duration, [quotas](Quota), latency. It does not stream
/// events, label speakers or translate today.
///
/// **Billed twice** is told by content: audio with words in it is known by them (a word and the word after it
/// stand for what is between their starts), so it is exact to a word at each end of a request, for any codec;
/// that wants speech without repeated words, so no [`with_words`](super::ToneSpeech::with_words). Audio without
/// words is known as a whole, by its samples; digital silence is never billed twice.
///
/// # Examples
/// The rules, without a server and without waiting:
/// ```
/// use std::time::Duration;
/// use http::Request;
/// use wavequill_external::testing::{HeardAudio, Outcome, Quota, SpeechApiSimulator, Upload};
///
/// let mut api = SpeechApiSimulator::new().with_quota(Quota::requests_per_minute(60).with_burst(1));
/// let head = Request::post("/v1/audio/transcriptions").body(())?;
/// let upload = Upload::verbose("whisper-1", HeardAudio::silent(Duration::from_secs(30)));
/// for tenth in 0..100 {
///     api.answer(Duration::from_millis(100 * tenth), &head, &upload);
/// }
/// let report = api.report(Duration::from_secs(10));
/// assert_eq!((report.granted, report.count(Outcome::Throttled)), (10, 90));
/// # Ok::<(), http::Error>(())
/// ```
#[derive(Debug)]
pub struct SpeechApiSimulator {
    key: Option<SecretString>,
    models: Vec<SimulatedModel>,
    body_limit: u64,
    duration_limit: Option<Duration>,
    latency: Latency,
    refusals: Refusals,
    retry_after: RetryAfterForm,
    quota_headers: QuotaHeaders,
    max_concurrent_streams: u32,
    decoders: Decoders,
    clock: Arc<dyn Clock>,
    started_at: SystemTime,
    random: SplitMix,
    quotas: Quotas,
    faults: Faults,
    faults_since: u64,
    flights: BTreeMap<u64, Flight>,
    billed: BilledAudio,
    report: SimulatorReport,
}

impl Default for SpeechApiSimulator {
    fn default() -> Self {
        Self::new()
    }
}

impl SpeechApiSimulator {
    /// OpenAI's limit of the body, in bytes.
    pub const BODY_LIMIT: u64 = 26_214_400;
    /// OpenAI's limit of the duration.
    pub const DURATION_LIMIT: Duration = Duration::from_secs(1_400);

    /// An API with OpenAI's models and limits, without quotas, latency or faults, for any key.
    pub fn new() -> Self {
        let clock = SystemClock;
        Self {
            key: None,
            models: vec![
                SimulatedModel::with_times("whisper-1"),
                SimulatedModel::text_only("gpt-4o-transcribe"),
                SimulatedModel::text_only("gpt-4o-mini-transcribe"),
            ],
            body_limit: Self::BODY_LIMIT,
            duration_limit: Some(Self::DURATION_LIMIT),
            latency: Latency::default(),
            refusals: Refusals::default(),
            retry_after: RetryAfterForm::default(),
            quota_headers: QuotaHeaders::default(),
            max_concurrent_streams: 100,
            decoders: Decoders::default(),
            started_at: clock.now(),
            clock: Arc::new(clock),
            random: SplitMix::new(0),
            quotas: Quotas::default(),
            faults: Faults::none(),
            faults_since: 0,
            flights: BTreeMap::new(),
            billed: BilledAudio::default(),
            report: SimulatorReport::default(),
        }
    }

    /// Chance follows this seed. Default: 0.
    #[must_use]
    pub fn with_seed(mut self, seed: u64) -> Self {
        self.random = SplitMix::new(seed);
        self
    }

    /// Only requests with this key are served. Default: any, also none.
    #[must_use]
    pub fn with_api_key(mut self, key: impl Into<String>) -> Self {
        self.key = Some(SecretString::from(key.into()));
        self
    }

    /// Adds a model, in the place of the one of this name. Default: `whisper-1`, `gpt-4o-transcribe`,
    /// `gpt-4o-mini-transcribe`.
    #[must_use]
    pub fn with_model(mut self, model: SimulatedModel) -> Self {
        self.models.retain(|known| known.name() != model.name());
        self.models.push(model);
        self
    }

    /// Adds a quota; a request needs all of them. Default: none.
    #[must_use]
    pub fn with_quota(mut self, quota: Quota) -> Self {
        self.quotas.add(quota);
        self
    }

    /// What headers tell about the quota of requests. Default: [`QuotaHeaders::OpenAi`].
    #[must_use]
    pub fn with_quota_headers(mut self, headers: QuotaHeaders) -> Self {
        self.quota_headers = headers;
        self
    }

    /// How a refusal for the quota says when to come again. Default: [`RetryAfterForm::OpenAi`].
    #[must_use]
    pub fn with_retry_after(mut self, form: RetryAfterForm) -> Self {
        self.retry_after = form;
        self
    }

    /// When refusals are sent. Default: [`Refusals::AfterUpload`].
    #[must_use]
    pub fn with_refusals(mut self, refusals: Refusals) -> Self {
        self.refusals = refusals;
        self
    }

    /// How long answers take. Default: no time.
    #[must_use]
    pub fn with_latency(mut self, latency: Latency) -> Self {
        self.latency = latency;
        self
    }

    /// What goes wrong. Default: nothing.
    #[must_use]
    pub fn with_faults(mut self, faults: Faults) -> Self {
        self.faults = faults;
        self
    }

    /// The most bytes of a body. Default: [`BODY_LIMIT`](Self::BODY_LIMIT).
    #[must_use]
    pub fn with_body_limit(mut self, bytes: u64) -> Self {
        self.body_limit = bytes;
        self
    }

    /// The longest audio of a request, for all models; `None` for any. Default:
    /// [`DURATION_LIMIT`](Self::DURATION_LIMIT), although OpenAI's `whisper-1` has none.
    #[must_use]
    pub fn with_duration_limit(mut self, limit: impl Into<Option<Duration>>) -> Self {
        self.duration_limit = limit.into();
        self
    }

    /// Streams that an HTTP/2 connection may have open. Default: 100.
    #[must_use]
    pub fn with_max_concurrent_streams(mut self, streams: u32) -> Self {
        self.max_concurrent_streams = streams;
        self
    }

    /// Decodes uploads of `format` (told by their content, not by their name; M4A is
    /// [`AudioFormat::Mp4`]). WAV is decoded without. Default: uploads in other formats "could not be decoded".
    #[must_use]
    pub fn with_decoder(mut self, format: AudioFormat, decoder: AudioDecoder) -> Self {
        self.decoders.set(format, decoder);
        self
    }

    /// Where the date for `retry-after` comes from. Default: [`SystemClock`].
    #[must_use]
    pub fn with_clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.started_at = clock.now();
        self.clock = clock;
        self
    }

    /// Serves the API on a free port of loopback, over HTTP/1.1 and HTTP/2 without TLS on the same port, until the
    /// handle is dropped. Time starts now.
    ///
    /// It waits for real: in a test with paused time use the rules alone.
    ///
    /// # Errors
    /// No port can be opened.
    pub async fn start(mut self) -> io::Result<SimulatorHandle> {
        self.started_at = self.clock.now();
        hyper_server::start(self).await
    }

    /// Other faults from now on; they count requests from 0 again.
    pub fn set_faults(&mut self, faults: Faults) {
        self.faults = faults;
        self.faults_since = self.report.log.len() as u64;
    }

    /// Other quotas from `now` on. What was used of a quota stays used in the one that takes its place.
    pub fn set_quotas(&mut self, now: Duration, quotas: Vec<Quota>) {
        self.quotas.change(now, quotas);
    }

    /// Someone else who has the same quota sends so many requests.
    pub fn use_elsewhere(&mut self, now: Duration, requests: u64) {
        self.quotas.use_elsewhere(now, requests);
    }

    pub(crate) fn max_concurrent_streams(&self) -> u32 {
        self.max_concurrent_streams
    }

    pub(crate) fn goaway_after(&self) -> Option<u64> {
        self.faults.goaway_after()
    }

    pub(crate) fn decoders(&self) -> Decoders {
        self.decoders.clone()
    }

    pub(crate) fn count_connection(&mut self) {
        self.report.connections += 1;
    }

    pub(crate) fn count_goaway(&mut self) {
        self.report.goaways += 1;
    }
}
