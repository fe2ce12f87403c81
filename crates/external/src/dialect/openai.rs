//! [`OpenAiDialect`]: OpenAI, Groq, Azure, and the servers that people host themselves.

use std::time::{Duration, SystemTime};

use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::transcript::{broken, json, list, ordered_segments, ordered_words, speaker, text, time};
use super::{authorize, headers, invalid, path};
use crate::answer::{classify, error_body, limits};
use crate::error::ExternalError;
use crate::model::capabilities::{
    AnswerFormat, LanguageHints, ModelCapabilities, ModelId, OPENAI_MAX_BODY_BYTES, Support,
};
use crate::model::events::StreamedPart;
use crate::model::http::HttpRequest;
use crate::model::quota::{Dimension, SeenLimits};
use crate::model::request::{Delivery, Speakers, SpeechRequest, Timestamps};
use crate::model::response::{SpeechResponse, TimedSegment, TimedWord, Timing, Usage};
use crate::multipart::Form;
use crate::ports::{Answer, Endpoint, SpeechDialect};

/// Which of the APIs that speak OpenAI's dialect it is, where that matters.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OpenAiFlavor {
    /// OpenAI itself, and whoever does as it does: path `{base}/audio/transcriptions`, quota by the minute.
    #[default]
    Standard,
    /// Groq: requests by the day, tokens by the minute.
    Groq,
    /// Azure: path `{base}/openai/deployments/{model}/audio/transcriptions`, key in `api-key`.
    Azure {
        /// The version of the API, such as `2024-10-21`.
        api_version: String,
    },
    /// Mistral and vox-box: `timestamp_granularities` without brackets, one of them.
    Unbracketed,
}

/// OpenAI's dialect: a multipart form out, `json`, `verbose_json` or `diarized_json` back.
///
/// It takes what self-hosted servers make of it: `null` lists, missing words, spaces before texts, languages by name,
/// errors that come as successes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OpenAiDialect {
    flavor: OpenAiFlavor,
}

impl OpenAiDialect {
    /// The dialect of one of the APIs that speak it.
    pub fn new(flavor: OpenAiFlavor) -> Self {
        Self { flavor }
    }

    fn path(&self, endpoint: Endpoint<'_>) -> Result<http::uri::PathAndQuery, ExternalError> {
        let base = endpoint.base_url.path();
        match &self.flavor {
            OpenAiFlavor::Azure { api_version } => {
                let plain =
                    |text: &str| text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.~".contains(&b));
                let model = endpoint.model.model.as_str();
                if !plain(model) || !plain(api_version) {
                    return Err(invalid(
                        "model",
                        "a deployment or version has letters, digits and `-_.~` only",
                    ));
                }
                path(&format!(
                    "{base}/openai/deployments/{model}/audio/transcriptions?api-version={api_version}"
                ))
            }
            _ => path(&format!("{base}/audio/transcriptions")),
        }
    }

    fn authorize(&self, to: &mut HeaderMap, key: Option<&SecretString>) -> Result<(), ExternalError> {
        let (OpenAiFlavor::Azure { .. }, Some(key)) = (&self.flavor, key) else {
            return authorize(to, "Bearer", key);
        };
        let value = HeaderValue::from_str(key.expose_secret().trim());
        let mut value = value.map_err(|_| invalid("key", "it holds characters that cannot be sent"))?;
        value.set_sensitive(true);
        to.insert(HeaderName::from_static("api-key"), value);
        Ok(())
    }

    fn granularities(&self, form: &mut Form, asked: Timestamps) {
        let (field, all): (_, &[&str]) = match (&self.flavor, asked) {
            (_, Timestamps::None) => return,
            (OpenAiFlavor::Unbracketed, Timestamps::Words) => ("timestamp_granularities", &["word"]),
            (OpenAiFlavor::Unbracketed, Timestamps::Segments) => ("timestamp_granularities", &["segment"]),
            // Asked for words alone, OpenAI leaves the segments out.
            (_, Timestamps::Words) => ("timestamp_granularities[]", &["word", "segment"]),
            (_, Timestamps::Segments) => ("timestamp_granularities[]", &["segment"]),
        };
        for granularity in all {
            form.field(field, *granularity);
        }
    }
}

/// The format to ask for: the richest that the model has, unless text alone is wanted.
fn format(model: &ModelCapabilities, request: &SpeechRequest) -> AnswerFormat {
    match (model.answer, request.timestamps, request.speakers) {
        (AnswerFormat::DiarizedJson, _, Speakers::Label) => AnswerFormat::DiarizedJson,
        (_, Timestamps::None, _) => AnswerFormat::Json,
        (richest, _, _) => richest,
    }
}

fn languages(
    form: &mut Form,
    model: &ModelCapabilities,
    request: &SpeechRequest,
) -> Result<(), ExternalError> {
    match (model.languages, request.languages.as_slice()) {
        (_, []) => {}
        (LanguageHints::Many, all) => {
            for language in all {
                form.field("languages[]", language.as_str());
            }
        }
        (LanguageHints::One, [one]) => {
            form.field("language", one.as_str());
        }
        (LanguageHints::One, _) => return Err(invalid("languages", "this model takes one language at most")),
        (LanguageHints::No, _) => return Err(invalid("languages", "this model takes no language")),
    }
    Ok(())
}

impl SpeechDialect for OpenAiDialect {
    fn name(&self) -> &'static str {
        "openai"
    }

    fn models(&self) -> Vec<ModelCapabilities> {
        match self.flavor {
            OpenAiFlavor::Standard => openai_models(),
            OpenAiFlavor::Groq => groq_models(),
            OpenAiFlavor::Azure { .. } | OpenAiFlavor::Unbracketed => Vec::new(),
        }
    }

    fn encode(&self, endpoint: Endpoint<'_>, request: &SpeechRequest) -> Result<HttpRequest, ExternalError> {
        let model = endpoint.model;
        let mut form = Form::default();
        form.field("model", model.model.as_str());
        languages(&mut form, model, request)?;
        if let Some(prompt) = request.prompt.as_ref().filter(|prompt| !prompt.is_empty()) {
            if !model.prompt.may_ask() {
                return Err(invalid("prompt", "this model takes none"));
            }
            form.field("prompt", prompt.as_str());
        }
        if !request.keywords.is_empty() && !model.keywords.may_ask() {
            return Err(invalid("keywords", "this model takes none"));
        }
        for keyword in &request.keywords {
            form.field("keywords[]", keyword.as_str());
        }
        let format = format(model, request);
        form.field("response_format", format.as_str());
        if let Some(temperature) = request.temperature {
            if !(0.0..=1.0).contains(&temperature) {
                return Err(invalid("temperature", "it is 0 to 1"));
            }
            form.field("temperature", temperature.to_string());
        }
        if request.delivery == Delivery::Events {
            form.field("stream", "true");
        }
        if format == AnswerFormat::VerboseJson {
            self.granularities(&mut form, request.timestamps);
        }
        if model.answer == AnswerFormat::DiarizedJson && request.audio.duration() > Duration::from_secs(30) {
            form.field("chunking_strategy", "auto");
        }
        let audio = &request.audio;
        let file_name = format!("audio.{}", audio.format().extension());
        let encoded =
            form.file("file", &file_name, audio.format().content_type(), std::sync::Arc::clone(audio.body()));
        let mut http = HttpRequest::new(Method::POST, self.path(endpoint)?, encoded.body);
        http.headers = headers(&encoded.content_type, request)?;
        self.authorize(&mut http.headers, endpoint.key)?;
        Ok(http)
    }

    fn decode(&self, _request: &SpeechRequest, answer: Answer<'_>) -> Result<SpeechResponse, ExternalError> {
        let value = json(answer)?;
        if let Some(error) = error_body::hidden(&value) {
            let status = error.status.and_then(|status| StatusCode::from_u16(status).ok());
            return Err(match status {
                Some(status) => classify::of_status(status, &error, answer),
                None => broken(&format!("it holds an error: {}", error.message)),
            });
        }
        decode(&value, answer)
    }

    fn decode_event(&self, data: &str) -> Result<Option<StreamedPart>, ExternalError> {
        // Some servers end as OpenAI's chat does; what is missing then is missed by who reads on.
        if data.trim() == "[DONE]" {
            return Ok(None);
        }
        let value =
            serde_json::from_str(data).map_err(|error| broken(&format!("an event is not JSON ({error})")))?;
        if let Some(error) = error_body::hidden(&value) {
            return Err(broken(&format!("an event holds an error: {}", error.message)));
        }
        event(&value)
    }

    fn classify(&self, answer: Answer<'_>) -> ExternalError {
        classify::classify(answer)
    }

    fn read_limits(&self, headers: &HeaderMap, now: SystemTime) -> SeenLimits {
        limits::read(
            headers,
            now,
            match self.flavor {
                OpenAiFlavor::Groq => |dimension| {
                    let day = dimension == Dimension::Requests;
                    Some(Duration::from_secs(if day { 86_400 } else { 60 }))
                },
                OpenAiFlavor::Standard | OpenAiFlavor::Azure { .. } | OpenAiFlavor::Unbracketed => {
                    |_| Some(Duration::from_secs(60))
                }
            },
        )
    }
}

fn decode(value: &Value, answer: Answer<'_>) -> Result<SpeechResponse, ExternalError> {
    let segments = list(value, "segments").map(|items| segments(items)).transpose()?;
    let words = list(value, "words").map(|items| words(items)).transpose()?;
    let spoken = match value.get("text").and_then(Value::as_str) {
        Some(text) => text.trim().to_owned(),
        // Some servers give segments alone.
        None => match &segments {
            Some(segments) => segments.iter().map(|s| s.text.as_str()).collect::<Vec<_>>().join(" "),
            None => return Err(broken("it has neither a text nor segments")),
        },
    };
    let silent = spoken.is_empty();
    let timing = match (words, segments) {
        (Some(words), segments) if !words.is_empty() || silent => {
            Timing::Words { words, segments: segments.unwrap_or_default() }
        }
        (_, Some(segments)) if !segments.is_empty() || silent => Timing::Segments(segments),
        _ => Timing::ChunkOnly,
    };
    Ok(SpeechResponse {
        text: spoken,
        language: value.get("language").and_then(Value::as_str).and_then(|language| language.parse().ok()),
        duration: value
            .get("duration")
            .and_then(Value::as_f64)
            .and_then(|s| Duration::try_from_secs_f64(s).ok()),
        timing,
        usage: usage(value.get("usage")),
        request_id: classify::request_id(answer.headers),
        raw: answer.body.clone(),
    })
}

fn event(value: &Value) -> Result<Option<StreamedPart>, ExternalError> {
    let whole = |name: &str| value.get(name).and_then(Value::as_str).map(str::to_owned);
    match value.get("type").and_then(Value::as_str) {
        // Spaces around a piece are its own: pieces are put together as they are.
        Some("transcript.text.delta") => Ok(whole("delta").map(StreamedPart::Delta)),
        Some("transcript.text.segment") => {
            let mut one = segments(std::slice::from_ref(value))?;
            Ok(one.pop().map(StreamedPart::Segment))
        }
        Some("transcript.text.done") => {
            Ok(Some(StreamedPart::Done { text: whole("text"), usage: usage(value.get("usage")) }))
        }
        _ => Ok(None),
    }
}

fn words(items: &[Value]) -> Result<Vec<TimedWord>, ExternalError> {
    let mut words = Vec::with_capacity(items.len());
    for item in items {
        let text = text(item, "word");
        if !text.is_empty() {
            let (start, end) = (time(item.get("start"), "a word")?, time(item.get("end"), "a word")?);
            words.push(TimedWord { text, start, end, speaker: speaker(item) });
        }
    }
    ordered_words(words)
}

fn segments(items: &[Value]) -> Result<Vec<TimedSegment>, ExternalError> {
    let number =
        |item: &Value, name: &str| item.get(name).and_then(Value::as_f64).map(|number| number as f32);
    let mut segments = Vec::with_capacity(items.len());
    for item in items {
        segments.push(TimedSegment {
            text: text(item, "text"),
            start: time(item.get("start"), "a segment")?,
            end: time(item.get("end"), "a segment")?,
            speaker: speaker(item),
            mean_log_probability: number(item, "avg_logprob"),
            no_speech_probability: number(item, "no_speech_prob"),
            compression_ratio: number(item, "compression_ratio"),
        });
    }
    ordered_segments(segments)
}

fn usage(value: Option<&Value>) -> Usage {
    let Some(value) = value else { return Usage::default() };
    let count = |name: &str| value.get(name).and_then(Value::as_u64);
    let seconds = value.get("seconds").and_then(Value::as_f64);
    Usage {
        audio: seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()),
        input_tokens: count("input_tokens"),
        output_tokens: count("output_tokens"),
    }
}

/// 2027-02-26: the end of `whisper-1` and the `gpt-4o` transcribers, as OpenAI announced it.
const OPENAI_RETIRES: Duration = Duration::from_secs(1_803_600_000);

fn openai_models() -> Vec<ModelCapabilities> {
    let named = |name: &str| ModelId::new(name).ok();
    let retires_at = Some(SystemTime::UNIX_EPOCH + OPENAI_RETIRES);
    let longest = Some(Duration::from_secs(1400));
    let whisper = named("whisper-1").map(|model| ModelCapabilities {
        microdollars_per_minute: Some(6_000),
        retires_at,
        ..ModelCapabilities::like_whisper(model)
    });
    let four_o = |name: &str, price: u32| {
        named(name).map(|model| ModelCapabilities {
            max_audio: longest,
            microdollars_per_minute: Some(price),
            retires_at,
            ..ModelCapabilities::text_only(model)
        })
    };
    let diarize = named("gpt-4o-transcribe-diarize").map(|model| ModelCapabilities {
        segments: Support::Yes,
        speakers: Support::Yes,
        prompt: Support::No,
        answer: AnswerFormat::DiarizedJson,
        max_audio: longest,
        microdollars_per_minute: Some(6_000),
        retires_at,
        ..ModelCapabilities::text_only(model)
    });
    let heir = named("gpt-transcribe").map(|model| ModelCapabilities {
        keywords: Support::Yes,
        prompt: Support::Unknown,
        languages: LanguageHints::Many,
        streaming: Support::Unknown,
        // Not published: planned as its predecessors'.
        max_audio: longest,
        microdollars_per_minute: Some(4_500),
        ..ModelCapabilities::text_only(model)
    });
    [whisper, four_o("gpt-4o-transcribe", 6_000), four_o("gpt-4o-mini-transcribe", 3_000), diarize, heir]
        .into_iter()
        .flatten()
        .collect()
}

fn groq_models() -> Vec<ModelCapabilities> {
    // $.111 and $.04 an hour, billed as at least 10 s.
    [("whisper-large-v3", 1_850), ("whisper-large-v3-turbo", 667)]
        .into_iter()
        .filter_map(|(name, price)| {
            Some(ModelCapabilities {
                max_body_bytes: Some(OPENAI_MAX_BODY_BYTES),
                microdollars_per_minute: Some(price),
                least_billed: Duration::from_secs(10),
                ..ModelCapabilities::like_whisper(ModelId::new(name).ok()?)
            })
        })
        .collect()
}

#[cfg(test)]
mod tests;
