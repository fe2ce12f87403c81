//! A double of [`SpeechApi`] that answers by a script, without any network.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use http::{HeaderMap, StatusCode};
use parking_lot::Mutex;

use super::speech_api_simulator::{Decoders, UploadedFile, transcript};
use super::{AudioDecoder, TranscriptionForm};
use crate::error::{ExternalError, Phase};
use crate::{
    Answer, AudioFormat, ModelCapabilities, ModelId, OpenAiDialect, OpenAiFlavor, Processed, SpeechApi,
    SpeechDialect, SpeechRequest, SpeechResponse, Support, Timestamps, TimingNeed,
};

/// One step of the script.
#[derive(Clone, Debug)]
enum Step {
    /// Answers with this, after a time.
    Answer { after: Duration, result: Result<SpeechResponse, ExternalError> },
    /// Transcribes what it is sent, after a time.
    Hear { after: Duration },
    /// Never answers.
    Never,
}

/// A request as [`ScriptedSpeechApi`] saw it.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct ScriptedRequest {
    /// The model.
    pub model: ModelId,
    /// The duration of the audio.
    pub audio: Duration,
    /// The bytes of the audio.
    pub bytes: u64,
    /// The container of the audio.
    pub format: AudioFormat,
    /// The prompt.
    pub prompt: Option<String>,
    /// The idempotency key, if the caller set one.
    pub idempotency_key: Option<String>,
}

/// A [`SpeechApi`] that answers what its script says, request by request, and then hears the
/// [tone-coded](super::ToneSpeech) words of what it is sent.
///
/// It keeps to the limits of its models' rows, and to deadlines. Its waits are tokio's, so paused time works.
/// Contract 1 (quota) it has nothing to do with; a permit that comes with a request is dropped unsent.
///
/// # Examples
/// ```
/// use std::time::Duration;
/// use wavequill_external::testing::{ScriptedSpeechApi, ToneScore, ToneSpeech};
/// use wavequill_external::{AudioFormat, ExternalError, ModelId, SpeechApi, SpeechAudio, SpeechRequest};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let api = ScriptedSpeechApi::new().then(Err(ExternalError::Closed));
/// let speech = ToneSpeech::new(Duration::from_secs(10));
/// let mut file = Vec::new();
/// speech.write_wav(&mut file)?;
/// let request = || {
///     let audio = SpeechAudio::from_bytes(file.clone(), AudioFormat::Wav, Duration::from_secs(10));
///     ModelId::new("whisper-1").map(|model| SpeechRequest::new(audio, model))
/// };
///
/// assert!(api.transcribe(request()?).await.is_err());
/// let answer = api.transcribe(request()?).await?;
/// assert_eq!(ToneScore::of_text(speech.truth(), &answer.text).errors(), 0);
/// assert_eq!(api.requests().len(), 2);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Default)]
pub struct ScriptedSpeechApi {
    models: Vec<ModelCapabilities>,
    decoders: Decoders,
    script: Mutex<VecDeque<Step>>,
    latency: Duration,
    requests: Mutex<Vec<ScriptedRequest>>,
    in_flight: AtomicUsize,
    peak_in_flight: AtomicUsize,
}

impl ScriptedSpeechApi {
    /// An API without a script: it hears each request, at once.
    pub fn new() -> Self {
        Self::default()
    }

    /// The next request gets this, at once.
    #[must_use]
    pub fn then(self, result: Result<SpeechResponse, ExternalError>) -> Self {
        self.then_after(Duration::ZERO, result)
    }

    /// The next request gets this, after a time.
    #[must_use]
    pub fn then_after(self, after: Duration, result: Result<SpeechResponse, ExternalError>) -> Self {
        self.with_step(Step::Answer { after, result })
    }

    /// The next request is transcribed, after a time.
    #[must_use]
    pub fn then_hears(self, after: Duration) -> Self {
        self.with_step(Step::Hear { after })
    }

    /// The next request gets no answer.
    #[must_use]
    pub fn then_never(self) -> Self {
        self.with_step(Step::Never)
    }

    /// How long an answer takes once the script is at its end. Default: no time.
    #[must_use]
    pub fn with_latency(mut self, latency: Duration) -> Self {
        self.latency = latency;
        self
    }

    /// Knows this model, and then no other than those named. Default: any, each like `whisper-1`.
    #[must_use]
    pub fn with_model(mut self, model: ModelCapabilities) -> Self {
        self.models.push(model);
        self
    }

    /// Decodes audio of `format`; WAV is decoded without. Default: other formats are
    /// [`Rejected`](ExternalError::Rejected).
    #[must_use]
    pub fn with_decoder(mut self, format: AudioFormat, decoder: AudioDecoder) -> Self {
        self.decoders.set(format, decoder);
        self
    }

    fn with_step(self, step: Step) -> Self {
        self.script.lock().push_back(step);
        self
    }

    /// The requests so far, in their order; those that a model's limits refused are not among them.
    pub fn requests(&self) -> Vec<ScriptedRequest> {
        self.requests.lock().clone()
    }

    /// The most requests at a time so far.
    pub fn peak_in_flight(&self) -> usize {
        self.peak_in_flight.load(Ordering::Acquire)
    }

    /// How much of the script is left.
    pub fn steps_left(&self) -> usize {
        self.script.lock().len()
    }

    fn check(&self, request: &SpeechRequest) -> Result<ModelCapabilities, ExternalError> {
        let Some(row) = self.capabilities(&request.model) else {
            let known: Vec<_> = self.models.iter().map(|row| row.model.as_str()).collect();
            let reason = format!("the script knows {}", known.join(", "));
            return Err(ExternalError::ModelUnavailable { model: request.model.clone(), reason });
        };
        let (bytes, audio, processed) = (request.audio.body().len(), request.audio.duration(), Processed::No);
        if row.max_body_bytes.is_some_and(|limit| bytes > limit) {
            return Err(ExternalError::TooLarge { bytes, limit_bytes: row.max_body_bytes, processed });
        }
        if row.max_audio.is_some_and(|limit| audio > limit) {
            return Err(ExternalError::TooLong { audio, limit: row.max_audio, processed });
        }
        let what = match request.timestamps {
            Timestamps::Words if row.words == Support::No => Some("times of words"),
            Timestamps::Segments if row.segments == Support::No => Some("times of segments"),
            _ => None,
        };
        match what.filter(|_| request.timing_need == TimingNeed::Required) {
            Some(what) => Err(ExternalError::Unsupported { model: row.model, what }),
            None => Ok(row),
        }
    }

    async fn follow(
        &self,
        step: Step,
        request: &SpeechRequest,
        row: &ModelCapabilities,
    ) -> Result<SpeechResponse, ExternalError> {
        match step {
            Step::Answer { after, result } => {
                tokio::time::sleep(after).await;
                result
            }
            Step::Hear { after } => {
                tokio::time::sleep(after).await;
                self.hear(request, row).await
            }
            Step::Never => std::future::pending().await,
        }
    }

    /// Answers as OpenAI would.
    async fn hear(
        &self,
        request: &SpeechRequest,
        row: &ModelCapabilities,
    ) -> Result<SpeechResponse, ExternalError> {
        let mut file = UploadedFile::new();
        let mut reader = request.audio.body().open();
        while let Some(piece) =
            reader.next().await.map_err(|source| ExternalError::Source { source: source.into() })?
        {
            file.push(&piece);
        }
        let heard = file.hear(&self.decoders).map_err(|message| ExternalError::Rejected {
            status: StatusCode::BAD_REQUEST,
            code: None,
            message,
            request_id: None,
        })?;
        let mut form = TranscriptionForm::verbose(request.model.as_str());
        let has_times = row.words.may_ask() || row.segments.may_ask();
        if !has_times || request.timestamps == Timestamps::None {
            form = TranscriptionForm { response_format: "json".into(), ..TranscriptionForm::default() };
        }
        let body = transcript(&form, &heard).into_body();
        let answer = Answer {
            status: StatusCode::OK,
            headers: &HeaderMap::new(),
            body: &body,
            model: row,
            audio: request.audio.duration(),
            sent_bytes: request.audio.body().len(),
            now: SystemTime::UNIX_EPOCH,
        };
        OpenAiDialect::new(OpenAiFlavor::default()).decode(request, answer)
    }
}

/// Counts a request while it is in flight.
struct InFlight<'a>(&'a ScriptedSpeechApi);

impl<'a> InFlight<'a> {
    fn new(api: &'a ScriptedSpeechApi) -> Self {
        let now = api.in_flight.fetch_add(1, Ordering::AcqRel) + 1;
        api.peak_in_flight.fetch_max(now, Ordering::AcqRel);
        Self(api)
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::AcqRel);
    }
}

#[async_trait]
impl SpeechApi for ScriptedSpeechApi {
    fn capabilities(&self, model: &ModelId) -> Option<ModelCapabilities> {
        if self.models.is_empty() {
            return Some(ModelCapabilities::like_whisper(model.clone()));
        }
        self.models.iter().find(|row| row.model == *model).cloned()
    }

    async fn transcribe(&self, request: SpeechRequest) -> Result<SpeechResponse, ExternalError> {
        let row = self.check(&request)?;
        let _in_flight = InFlight::new(self);
        self.requests.lock().push(ScriptedRequest {
            model: request.model.clone(),
            audio: request.audio.duration(),
            bytes: request.audio.body().len(),
            format: request.audio.format(),
            prompt: request.prompt.clone(),
            idempotency_key: request.idempotency_key.clone(),
        });
        let step = self.script.lock().pop_front().unwrap_or(Step::Hear { after: self.latency });
        let answering = self.follow(step, &request, &row);
        let Some(within) = request.deadline else { return answering.await };
        tokio::time::timeout(within, answering).await.unwrap_or_else(|_| {
            let (phase, processed) = (Phase::Whole, Processed::Maybe);
            Err(ExternalError::Timeout { phase, after: within, processed })
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::time::Instant;

    use super::*;
    use crate::testing::{ToneScore, ToneSpeech, ToneWord};
    use crate::{SpeechAudio, Timing};

    fn speech() -> ToneSpeech {
        ToneSpeech::new(Duration::from_secs(10)).with_seed(2)
    }

    fn request() -> SpeechRequest {
        let mut file = Vec::new();
        speech().write_wav(&mut file).unwrap();
        let audio = SpeechAudio::from_bytes(file, AudioFormat::Wav, Duration::from_secs(10));
        SpeechRequest::new(audio, ModelId::new("whisper-1").unwrap())
    }

    #[tokio::test(start_paused = true)]
    async fn the_script_is_followed_and_then_the_audio_is_heard() {
        let begun = Instant::now();
        let api = ScriptedSpeechApi::new()
            .then_after(Duration::from_secs(30), Err(ExternalError::Closed))
            .then_hears(Duration::from_secs(60))
            .with_latency(Duration::from_secs(5));
        assert!(matches!(api.transcribe(request()).await, Err(ExternalError::Closed)));
        assert_eq!(begun.elapsed(), Duration::from_secs(30));
        for seconds in [90, 95, 100] {
            let answer = api.transcribe(request()).await.unwrap();
            assert_eq!(begun.elapsed(), Duration::from_secs(seconds));
            let Timing::Words { words, segments } = answer.timing else { panic!("times of words") };
            let words = words.into_iter().map(|w| ToneWord { text: w.text, start: w.start, end: w.end });
            let score = ToneScore::of(speech().truth(), words);
            assert!(score.is_exact(Duration::from_millis(3)) && score.spoken > 10, "{score}");
            assert!(!segments.is_empty());
        }
        assert_eq!((api.requests().len(), api.steps_left(), api.peak_in_flight()), (4, 0, 1));
    }

    #[tokio::test(start_paused = true)]
    async fn no_answer_ends_with_the_deadline_or_with_the_caller() {
        let api = Arc::new(ScriptedSpeechApi::new().then_never().then_never());
        let late = api.transcribe(request().with_deadline(Duration::from_secs(7))).await;
        assert!(matches!(late, Err(ExternalError::Timeout { phase: Phase::Whole, .. })));
        let given_up = tokio::time::timeout(Duration::from_secs(9), api.transcribe(request())).await;
        assert!(given_up.is_err());
        assert_eq!(api.in_flight.load(Ordering::Acquire), 0);
    }

    #[tokio::test]
    async fn limits_of_the_model_are_kept() {
        let model = ModelId::new("whisper-1").unwrap();
        let mut small = ModelCapabilities::like_whisper(model.clone());
        small.max_body_bytes = Some(1_000);
        let api = ScriptedSpeechApi::new().with_model(small);
        assert!(matches!(
            api.transcribe(request()).await,
            Err(ExternalError::TooLarge { bytes: 320_044, .. })
        ));
        let mut short = ModelCapabilities::like_whisper(model.clone());
        short.max_audio = Some(Duration::from_secs(9));
        let api = ScriptedSpeechApi::new().with_model(short);
        assert!(matches!(api.transcribe(request()).await, Err(ExternalError::TooLong { .. })));
        let api = ScriptedSpeechApi::new().with_model(ModelCapabilities::text_only(model));
        assert!(matches!(api.transcribe(request()).await, Err(ExternalError::Unsupported { .. })));
        let best = request().with_timestamps(Timestamps::Words, TimingNeed::BestEffort);
        assert_eq!(api.transcribe(best).await.unwrap().timing, Timing::ChunkOnly);
        assert!(api.capabilities(&ModelId::new("other").unwrap()).is_none());
        assert_eq!(api.requests().len(), 1);
    }
}
