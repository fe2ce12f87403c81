//! processing's `SpeechRecognizer` over external's `SpeechApi`.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use wavequill_external::{
    ExternalError, LanguageCode, ModelCapabilities, ModelId, QuotaPermit, SpeechApi, SpeechRequest,
    SpeechResponse, Support, TimedSegment, TimedWord, Timestamps, Timing, TimingNeed,
};
use wavequill_kernel::{ErrorClass, Retryable};
use wavequill_processing::{
    ByteSize, ChunkTranscript, HeardSegment, HeardWord, RecognitionError, RecognitionRequest,
    RecognizerProfile, SegmentStats, SpeechRecognizer, Times, TooLarge,
};

use super::body::speech_audio;

/// Asks a speech API for one model's transcripts.
#[derive(Clone, Debug)]
pub(crate) struct ApiRecognizer {
    api: Arc<dyn SpeechApi>,
    model: ModelId,
    profile: RecognizerProfile,
}

impl ApiRecognizer {
    pub(crate) fn new(api: Arc<dyn SpeechApi>, model: ModelId, profile: RecognizerProfile) -> Self {
        Self { api, model, profile }
    }

    fn request(&self, request: &RecognitionRequest) -> Result<SpeechRequest, RecognitionError> {
        let options = &request.options;
        let Some(audio) = speech_audio(&request.chunk) else {
            let format = request.chunk.format();
            return Err(RecognitionError::permanent(format!("{format} is no format that the API takes")));
        };
        let mut speech = SpeechRequest::new(audio, self.model.clone())
            .with_timestamps(Timestamps::Words, TimingNeed::BestEffort)
            .with_idempotency_key(request.idempotency_key.clone());
        if let Some(language) = &options.language {
            let language: LanguageCode =
                language.parse().map_err(|error: wavequill_kernel::InvalidValue| refused(&error))?;
            speech = speech.with_language(language);
        }
        if let Some(prompt) = &options.prompt {
            speech = speech.with_prompt(prompt.clone());
        }
        if let Some(temperature) = options.temperature {
            speech = speech.with_temperature(temperature);
        }
        Ok(speech)
    }
}

#[async_trait]
impl SpeechRecognizer for ApiRecognizer {
    fn profile(&self) -> RecognizerProfile {
        self.profile.clone()
    }

    async fn recognize(&self, mut request: RecognitionRequest) -> Result<ChunkTranscript, RecognitionError> {
        let mut speech = self.request(&request)?;
        if let Some(grant) = request.grant.take() {
            // Another admission's grant means nothing to this API: the client then takes quota of its own.
            if let Ok(permit) = grant.downcast::<QuotaPermit>() {
                speech = speech.with_permit(permit);
            }
        }
        let audio = request.chunk.duration();
        let response = self.api.transcribe(speech).await.map_err(|error| recognition_error(&error))?;
        let microdollars =
            self.api.capabilities(&self.model).and_then(|model| model.cost_microdollars(audio));
        Ok(chunk_transcript(response, microdollars))
    }
}

/// What a model's row says about the chunks it takes, within the limits that the configuration sets.
pub(crate) fn apply_capabilities(profile: &mut RecognizerProfile, model: &ModelCapabilities) {
    if let Some(bytes) = model.max_body_bytes {
        let bytes = ByteSize::new(bytes.saturating_sub(FORM_RESERVE_BYTES));
        profile.max_chunk_bytes = profile.max_chunk_bytes.min(bytes);
    }
    if let Some(limit) = model.max_audio {
        profile.max_chunk_duration = profile.max_chunk_duration.min(limit.saturating_sub(AUDIO_RESERVE));
    }
    profile.times = match (model.words, model.segments) {
        (Support::Yes | Support::Unknown, _) => Times::Words,
        (Support::No, Support::Yes | Support::Unknown) => Times::Segments,
        (Support::No, Support::No) => Times::None,
    };
}

/// The multipart form around the audio counts against the API's limit: its fields and a long prompt.
pub(crate) const FORM_RESERVE_BYTES: u64 = 65_536;

/// Servers round durations up, and count what decoders add.
const AUDIO_RESERVE: Duration = Duration::from_secs(20);

fn chunk_transcript(response: SpeechResponse, microdollars: Option<u64>) -> ChunkTranscript {
    let segments: Vec<HeardSegment> = response.timing.segments().iter().map(heard_segment).collect();
    let words = match &response.timing {
        Timing::Words { words, .. } => Some(words.iter().map(heard_word).collect()),
        Timing::Segments(_) | Timing::ChunkOnly => None,
    };
    ChunkTranscript {
        text: response.text,
        language: response.language.map(|language| language.to_string()),
        duration: response.duration,
        words,
        segments,
        estimated: false,
        microdollars,
        raw: response.raw,
    }
}

fn heard_word(word: &TimedWord) -> HeardWord {
    HeardWord::new(word.text.clone(), word.start, word.end)
}

fn heard_segment(segment: &TimedSegment) -> HeardSegment {
    let stats = SegmentStats {
        avg_logprob: segment.mean_log_probability.map_or(0.0, f64::from),
        compression_ratio: segment.compression_ratio.map_or(0.0, f64::from),
        no_speech_prob: segment.no_speech_probability.map_or(0.0, f64::from),
        ..SegmentStats::default()
    };
    HeardSegment { stats, ..HeardSegment::new(segment.text.clone(), segment.start, segment.end) }
}

fn refused(error: &wavequill_kernel::InvalidValue) -> RecognitionError {
    RecognitionError::permanent(error.to_string()).for_the_run()
}

/// What an error of the API is to the orchestrator.
pub(crate) fn recognition_error(error: &ExternalError) -> RecognitionError {
    let message = error.to_string();
    match error {
        ExternalError::TooLarge { limit_bytes, .. } => {
            RecognitionError::too_large(TooLarge::Bytes { limit: limit_bytes.map(ByteSize::new) }, message)
        }
        ExternalError::TooLong { limit, .. } => {
            RecognitionError::too_large(TooLarge::Duration { limit: *limit }, message)
        }
        // A server that cannot be reached for a moment is no reason to give the run up: its chunks are tried again.
        _ if error.concerns_the_client() && error.class() == ErrorClass::Permanent => {
            RecognitionError::of(error.class(), message).for_the_run()
        }
        _ => RecognitionError::of(error.class(), message),
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use wavequill_external::{ConnectFailure, Processed, StopCause};
    use wavequill_processing::ErrorScope;

    use super::*;

    #[test]
    fn a_refused_key_ends_the_run_and_a_refused_connection_does_not() {
        let stopped =
            ExternalError::Stopped { cause: StopCause::Credential, status: None, message: String::new() };
        assert_eq!(recognition_error(&stopped).scope(), ErrorScope::Run);
        let refused = ExternalError::Connect {
            origin: "http://127.0.0.1:9".parse().unwrap(),
            failure: ConnectFailure::Refused,
            source: Arc::new(io::ErrorKind::ConnectionRefused.into()),
        };
        let refused = recognition_error(&refused);
        assert_eq!((refused.scope(), refused.class()), (ErrorScope::Chunk, ErrorClass::Transient));
        assert!(refused.to_string().contains("is the server running"), "{refused}");
    }

    #[test]
    fn a_limit_that_the_server_names_reaches_the_orchestrator() {
        let too_long = ExternalError::TooLong {
            audio: Duration::from_secs(1_500),
            limit: Some(Duration::from_secs(1_400)),
            processed: Processed::Yes,
        };
        let limit = recognition_error(&too_long).limit_exceeded();
        assert_eq!(limit, Some(TooLarge::Duration { limit: Some(Duration::from_secs(1_400)) }));
    }

    #[test]
    fn a_models_limits_leave_room_for_the_form_around_the_audio() {
        let model = ModelCapabilities::like_whisper(ModelId::new("m").unwrap());
        let mut profile =
            RecognizerProfile { max_chunk_bytes: ByteSize::new(u64::MAX), ..RecognizerProfile::default() };
        apply_capabilities(&mut profile, &model);
        assert_eq!(profile.max_chunk_bytes.bytes(), 26_214_400 - 65_536);
        assert_eq!(profile.times, Times::Words);
        apply_capabilities(&mut profile, &ModelCapabilities::text_only(model.model));
        assert_eq!(profile.times, Times::None);
    }
}
