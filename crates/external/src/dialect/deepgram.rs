//! [`DeepgramDialect`]: raw audio out, channels of alternatives back. Written from its documentation; not run live.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::{HeaderMap, Method};
use serde_json::Value;
use url::form_urlencoded;

use super::transcript::{broken, json, list, ordered_segments, ordered_words, speaker, text, time};
use super::{authorize, headers, invalid, path};
use crate::answer::{classify, limits};
use crate::error::ExternalError;
use crate::model::capabilities::{AnswerFormat, LanguageHints, ModelCapabilities, ModelId, Support};
use crate::model::http::HttpRequest;
use crate::model::quota::SeenLimits;
use crate::model::request::{Speakers, SpeechRequest};
use crate::model::response::{SpeechResponse, TimedSegment, TimedWord, Timing, Usage};
use crate::ports::{Answer, Endpoint, SpeechDialect};

/// Deepgram's dialect: `POST {base}/listen`, the options in the query, the audio as it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DeepgramDialect;

impl SpeechDialect for DeepgramDialect {
    fn name(&self) -> &'static str {
        "deepgram"
    }

    fn models(&self) -> Vec<ModelCapabilities> {
        let model = ModelId::new("nova-3").ok().map(|model| ModelCapabilities {
            words: Support::Yes,
            segments: Support::Yes,
            speakers: Support::Yes,
            prompt: Support::No,
            keywords: Support::Yes,
            languages: LanguageHints::One,
            answer: AnswerFormat::Json,
            max_body_bytes: None,
            streaming: Support::No,
            ..ModelCapabilities::like_whisper(model)
        });
        model.into_iter().collect()
    }

    fn encode(&self, endpoint: Endpoint<'_>, request: &SpeechRequest) -> Result<HttpRequest, ExternalError> {
        if request.prompt.as_ref().is_some_and(|prompt| !prompt.is_empty()) {
            return Err(invalid("prompt", "this API takes none; give keywords"));
        }
        if request.temperature.is_some() {
            return Err(invalid("temperature", "this API takes none"));
        }
        let mut query = form_urlencoded::Serializer::new(String::new());
        query.append_pair("model", endpoint.model.model.as_str());
        query.append_pair("smart_format", "true");
        query.append_pair("utterances", "true");
        match request.languages.as_slice() {
            [] => query.append_pair("detect_language", "true"),
            [one] => query.append_pair("language", one.as_str()),
            _ => return Err(invalid("languages", "this API takes one language at most")),
        };
        if request.speakers == Speakers::Label {
            query.append_pair("diarize", "true");
        }
        for keyword in &request.keywords {
            query.append_pair("keyterm", keyword);
        }
        let target = format!("{}/listen?{}", endpoint.base_url.path(), query.finish());
        let mut http = HttpRequest::new(Method::POST, path(&target)?, Arc::clone(request.audio.body()));
        http.headers = headers(request.audio.format().content_type(), request)?;
        authorize(&mut http.headers, "Token", endpoint.key)?;
        Ok(http)
    }

    fn decode(&self, _request: &SpeechRequest, answer: Answer<'_>) -> Result<SpeechResponse, ExternalError> {
        let value = json(answer)?;
        let results = value.get("results").ok_or_else(|| broken("it has no results"))?;
        let channel = list(results, "channels").and_then(|channels| channels.first());
        let channel = channel.ok_or_else(|| broken("it has no channel"))?;
        let best = list(channel, "alternatives").and_then(|alternatives| alternatives.first());
        let best = best.ok_or_else(|| broken("it has no alternative"))?;
        let words = list(best, "words").map(|items| words(items)).transpose()?.unwrap_or_default();
        let segments =
            list(results, "utterances").map(|items| utterances(items)).transpose()?.unwrap_or_default();
        let spoken = text(best, "transcript");
        let timing = if words.is_empty() && !spoken.is_empty() {
            Timing::ChunkOnly
        } else {
            Timing::Words { words, segments }
        };
        let metadata = value.get("metadata");
        let duration = metadata.and_then(|metadata| metadata.get("duration")).and_then(Value::as_f64);
        let duration = duration.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
        Ok(SpeechResponse {
            text: spoken,
            language: channel
                .get("detected_language")
                .and_then(Value::as_str)
                .and_then(|code| code.parse().ok()),
            duration,
            timing,
            usage: Usage { audio: duration, ..Usage::default() },
            request_id: classify::request_id(answer.headers),
            raw: answer.body.clone(),
        })
    }

    fn classify(&self, answer: Answer<'_>) -> ExternalError {
        classify::classify(answer)
    }

    fn read_limits(&self, headers: &HeaderMap, now: SystemTime) -> SeenLimits {
        limits::read(headers, now, |_| None)
    }
}

fn words(items: &[Value]) -> Result<Vec<TimedWord>, ExternalError> {
    let mut words = Vec::with_capacity(items.len());
    for item in items {
        let punctuated = text(item, "punctuated_word");
        let text = if punctuated.is_empty() { text(item, "word") } else { punctuated };
        if !text.is_empty() {
            let (start, end) = (time(item.get("start"), "a word")?, time(item.get("end"), "a word")?);
            words.push(TimedWord { text, start, end, speaker: speaker(item) });
        }
    }
    ordered_words(words)
}

fn utterances(items: &[Value]) -> Result<Vec<TimedSegment>, ExternalError> {
    let mut segments = Vec::with_capacity(items.len());
    for item in items {
        segments.push(TimedSegment {
            text: text(item, "transcript"),
            start: time(item.get("start"), "an utterance")?,
            end: time(item.get("end"), "an utterance")?,
            speaker: speaker(item),
            mean_log_probability: None,
            no_speech_probability: None,
            compression_ratio: None,
        });
    }
    ordered_segments(segments)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::audio::{AudioFormat, SpeechAudio};
    use bytes::Bytes;
    use http::StatusCode;

    fn model() -> ModelCapabilities {
        DeepgramDialect.models().remove(0)
    }

    fn request() -> SpeechRequest {
        let audio = SpeechAudio::from_bytes("AUDIO", AudioFormat::Wav, Duration::from_secs(2));
        SpeechRequest::new(audio, ModelId::new("nova-3").unwrap())
    }

    #[test]
    fn the_options_are_in_the_query_and_the_audio_is_the_body() {
        let mut asked = request().with_language("en".parse().unwrap());
        asked.speakers = Speakers::Label;
        asked.keywords = vec!["wave & quill".into()];
        let model = model();
        let base_url = "https://api.deepgram.com/v1".parse().unwrap();
        let key = "secret".to_owned().into();
        let http = DeepgramDialect
            .encode(Endpoint { base_url: &base_url, key: Some(&key), model: &model }, &asked)
            .unwrap();
        assert_eq!(
            http.path,
            "/v1/listen?model=nova-3&smart_format=true&utterances=true&language=en&diarize=true&keyterm=wave+%26+quill"
        );
        assert_eq!(http.headers["content-type"], "audio/wav");
        assert_eq!(http.headers["authorization"], "Token secret");
        assert_eq!(http.body.len(), 5);
    }

    #[test]
    fn words_and_utterances_are_read_with_their_speakers() {
        let body = Bytes::from_static(
            br#"{"metadata":{"duration":2.0},"results":{"channels":[{"detected_language":"en","alternatives":[{
            "transcript":"Hello there.","words":[
            {"word":"hello","punctuated_word":"Hello","start":0.08,"end":0.4,"speaker":0},
            {"word":"there","punctuated_word":"there.","start":0.4,"end":0.9,"speaker":1}]}]}],
            "utterances":[{"start":0.08,"end":0.9,"transcript":"Hello there.","speaker":0}]}}"#,
        );
        let model = model();
        let answer = Answer {
            status: StatusCode::OK,
            headers: &HeaderMap::new(),
            body: &body,
            model: &model,
            audio: Duration::from_secs(2),
            sent_bytes: 5,
            now: SystemTime::UNIX_EPOCH,
        };
        let read = DeepgramDialect.decode(&request(), answer).unwrap();
        assert_eq!(read.text, "Hello there.");
        assert_eq!(read.timing.words()[1].start, Duration::from_millis(400));
        assert_eq!(read.timing.words()[1].speaker.as_deref(), Some("1"));
        assert_eq!(read.timing.segments().len(), 1);
        assert_eq!(read.language.unwrap().as_str(), "en");
    }
}
