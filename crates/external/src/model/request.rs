//! What a caller asks a speech API for.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::audio::SpeechAudio;
use super::capabilities::ModelId;
use super::language::LanguageCode;
use super::quota::Lane;
use crate::rate_limit_handler::QuotaPermit;

/// Which times the answer should have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Timestamps {
    /// None: text alone.
    None,
    /// Those of segments (phrases).
    Segments,
    /// Those of words, and of segments where the API gives both.
    #[default]
    Words,
}

/// What to do about times that the model does not have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TimingNeed {
    /// Refuse the request before it is sent.
    #[default]
    Required,
    /// Take what the model gives; [`Timing`](crate::Timing) says what that is.
    BestEffort,
}

/// Whether speakers are told apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Speakers {
    /// No.
    #[default]
    Ignore,
    /// Yes, each segment names one.
    Label,
}

/// How the answer comes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Delivery {
    /// At once, when it is complete.
    #[default]
    Whole,
    /// Piece by piece: set by [`SpeechApi::transcribe_stream`](crate::SpeechApi::transcribe_stream).
    Events,
}

/// One piece of audio to be transcribed, and how.
///
/// Its `Debug` form holds neither the prompt nor the keywords.
pub struct SpeechRequest {
    /// The audio.
    pub audio: SpeechAudio,
    /// The model.
    pub model: ModelId,
    /// The languages that are spoken, if known. Most models take at most one.
    pub languages: Vec<LanguageCode>,
    /// Text that leads the recognition: names, spelling, what was said before.
    pub prompt: Option<String>,
    /// Words to listen for.
    pub keywords: Vec<String>,
    /// 0 to 1; `None` leaves it to the API.
    pub temperature: Option<f32>,
    /// The times that are wanted. Default: [`Timestamps::Words`].
    pub timestamps: Timestamps,
    /// Whether missing times are an error. Default: [`TimingNeed::Required`].
    pub timing_need: TimingNeed,
    /// Whether speakers are told apart. Default: [`Speakers::Ignore`].
    pub speakers: Speakers,
    /// How the answer comes. Default: [`Delivery::Whole`].
    pub delivery: Delivery,
    /// Names the work for APIs that recognise a repeated request; the same for all tries of one piece of work.
    /// Default: drawn at random, so that only replays share it.
    pub idempotency_key: Option<String>,
    /// Its priority among those that wait for quota. Default: [`Lane::Normal`].
    pub lane: Lane,
    /// The time for everything: waiting, sending, answering. Default: none beyond the time-outs of the phases.
    pub deadline: Option<Duration>,
    /// Quota that the caller has taken already; otherwise the API client takes it.
    pub permit: Option<QuotaPermit>,
}

impl SpeechRequest {
    /// Asks for `audio` to be transcribed by `model`, with word times.
    pub fn new(audio: SpeechAudio, model: ModelId) -> Self {
        Self {
            audio,
            model,
            languages: Vec::new(),
            prompt: None,
            keywords: Vec::new(),
            temperature: None,
            timestamps: Timestamps::default(),
            timing_need: TimingNeed::default(),
            speakers: Speakers::default(),
            delivery: Delivery::default(),
            idempotency_key: None,
            lane: Lane::default(),
            deadline: None,
            permit: None,
        }
    }

    /// The same work once more, to be sent beside this one or after it: the same audio, options and idempotency key, and
    /// no permit. Give this request a key of its own first, so that an API that knows keys can tell that it is the same.
    ///
    /// For whoever hedges: send the second when the first is late, take the answer that comes first, and drop the other
    /// future, which stops its upload.
    #[must_use]
    pub fn again(&self) -> Self {
        Self {
            audio: self.audio.clone(),
            model: self.model.clone(),
            languages: self.languages.clone(),
            prompt: self.prompt.clone(),
            keywords: self.keywords.clone(),
            idempotency_key: self.idempotency_key.clone(),
            permit: None,
            ..*self
        }
    }

    /// Names a language that is spoken.
    #[must_use]
    pub fn with_language(mut self, language: LanguageCode) -> Self {
        self.languages.push(language);
        self
    }

    /// Leads the recognition.
    #[must_use]
    pub fn with_prompt(mut self, prompt: impl Into<String>) -> Self {
        self.prompt = Some(prompt.into());
        self
    }

    /// Says which times are wanted, and whether they are needed.
    #[must_use]
    pub fn with_timestamps(mut self, timestamps: Timestamps, need: TimingNeed) -> Self {
        self.timestamps = timestamps;
        self.timing_need = need;
        self
    }

    /// Sets the sampling temperature, 0 to 1.
    #[must_use]
    pub fn with_temperature(mut self, temperature: f32) -> Self {
        self.temperature = Some(temperature);
        self
    }

    /// Names the work for APIs that recognise a repeated request.
    #[must_use]
    pub fn with_idempotency_key(mut self, key: impl Into<String>) -> Self {
        self.idempotency_key = Some(key.into());
        self
    }

    /// Sets the priority.
    #[must_use]
    pub fn with_lane(mut self, lane: Lane) -> Self {
        self.lane = lane;
        self
    }

    /// Bounds the time for everything.
    #[must_use]
    pub fn with_deadline(mut self, within: Duration) -> Self {
        self.deadline = Some(within);
        self
    }

    /// Brings quota that was taken already.
    #[must_use]
    pub fn with_permit(mut self, permit: QuotaPermit) -> Self {
        self.permit = Some(permit);
        self
    }
}

impl fmt::Debug for SpeechRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SpeechRequest")
            .field("audio", &self.audio)
            .field("model", &self.model)
            .field("languages", &self.languages)
            .field("prompt_bytes", &self.prompt.as_ref().map(String::len))
            .field("keywords", &self.keywords.len())
            .field("timestamps", &self.timestamps)
            .field("speakers", &self.speakers)
            .field("lane", &self.lane)
            .field("deadline", &self.deadline)
            .finish_non_exhaustive()
    }
}
