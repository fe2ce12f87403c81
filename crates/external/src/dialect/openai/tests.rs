//! Golden requests and answers.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use proptest::prelude::*;

use super::*;
use crate::model::audio::{AudioFormat, SpeechAudio};
use crate::model::origin::BaseUrl;

fn row(dialect: &OpenAiDialect, model: &str) -> ModelCapabilities {
    let model = ModelId::new(model).unwrap();
    dialect
        .models()
        .into_iter()
        .find(|row| row.model == model)
        .unwrap_or_else(|| ModelCapabilities::like_whisper(model))
}

fn request(model: &str) -> SpeechRequest {
    let audio = SpeechAudio::from_bytes("AUDIO", AudioFormat::Flac, Duration::from_secs(40));
    SpeechRequest::new(audio, ModelId::new(model).unwrap())
}

fn encode(dialect: &OpenAiDialect, request: &SpeechRequest) -> Result<HttpRequest, ExternalError> {
    let base_url: BaseUrl = "https://api.example.org/v1".parse().unwrap();
    let key = "sk-marker".to_owned().into();
    let model = row(dialect, request.model.as_str());
    dialect.encode(Endpoint { base_url: &base_url, key: Some(&key), model: &model }, request)
}

async fn fields(http: &HttpRequest) -> Vec<(String, String)> {
    let mut reader = http.body.open();
    let mut all = Vec::new();
    while let Some(piece) = reader.next().await.unwrap() {
        all.extend_from_slice(&piece);
    }
    assert_eq!(all.len() as u64, http.body.len());
    let all = String::from_utf8(all).unwrap();
    let boundary = http.headers["content-type"].to_str().unwrap().rsplit('=').next().unwrap();
    all.split(&format!("--{boundary}"))
        .filter_map(|part| part.trim_start_matches("\r\n").split_once("\r\n\r\n"))
        .map(|(head, value)| {
            let name = head.split("name=\"").nth(1).unwrap().split('"').next().unwrap();
            (name.to_owned(), value.trim_end_matches("\r\n").to_owned())
        })
        .collect()
}

fn pairs(fields: &[(String, String)]) -> Vec<(&str, &str)> {
    fields.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect()
}

#[tokio::test]
async fn whisper_is_asked_for_words_and_segments() {
    let asked = request("whisper-1")
        .with_language("en".parse().unwrap())
        .with_prompt("Wavequill")
        .with_temperature(0.2);
    let http = encode(&OpenAiDialect::default(), &asked).unwrap();
    assert_eq!(http.path, "/v1/audio/transcriptions");
    assert_eq!(http.headers["authorization"], "Bearer sk-marker");
    assert!(http.headers["authorization"].is_sensitive());
    assert_eq!(http.headers["accept-encoding"], "identity");
    assert_eq!(
        pairs(&fields(&http).await),
        [
            ("model", "whisper-1"),
            ("language", "en"),
            ("prompt", "Wavequill"),
            ("response_format", "verbose_json"),
            ("temperature", "0.2"),
            ("timestamp_granularities[]", "word"),
            ("timestamp_granularities[]", "segment"),
            ("file", "AUDIO"),
        ]
    );
}

#[tokio::test]
async fn models_without_times_are_asked_for_json() {
    let http = encode(&OpenAiDialect::default(), &request("gpt-4o-transcribe")).unwrap();
    assert_eq!(
        pairs(&fields(&http).await),
        [("model", "gpt-4o-transcribe"), ("response_format", "json"), ("file", "AUDIO")]
    );
}

#[tokio::test]
async fn the_diarizing_model_gets_a_chunking_strategy_and_no_prompt() {
    let mut asked = request("gpt-4o-transcribe-diarize");
    asked.speakers = Speakers::Label;
    let http = encode(&OpenAiDialect::default(), &asked).unwrap();
    assert_eq!(
        pairs(&fields(&http).await),
        [
            ("model", "gpt-4o-transcribe-diarize"),
            ("response_format", "diarized_json"),
            ("chunking_strategy", "auto"),
            ("file", "AUDIO"),
        ]
    );
    let refused = encode(&OpenAiDialect::default(), &asked.with_prompt("p")).unwrap_err();
    assert!(matches!(refused, ExternalError::InvalidRequest { field: "prompt", .. }), "{refused:?}");
}

#[tokio::test]
async fn the_flavors_differ_in_path_key_and_brackets() {
    let azure = OpenAiDialect::new(OpenAiFlavor::Azure { api_version: "2024-10-21".into() });
    let http = encode(&azure, &request("my-whisper")).unwrap();
    assert_eq!(http.path, "/v1/openai/deployments/my-whisper/audio/transcriptions?api-version=2024-10-21");
    assert_eq!(http.headers["api-key"], "sk-marker");
    assert!(http.headers["api-key"].is_sensitive() && !http.headers.contains_key("authorization"));
    let unbracketed = OpenAiDialect::new(OpenAiFlavor::Unbracketed);
    let http = encode(&unbracketed, &request("m")).unwrap();
    assert!(pairs(&fields(&http).await).contains(&("timestamp_granularities", "word")));
}

#[test]
fn what_has_no_form_is_refused_by_the_name_of_its_field() {
    let dialect = OpenAiDialect::default();
    let two = request("whisper-1").with_language("en".parse().unwrap()).with_language("de".parse().unwrap());
    let mut keywords = request("whisper-1");
    keywords.keywords.push("x".into());
    for (asked, wrong) in [
        (two, "languages"),
        (request("whisper-1").with_temperature(1.5), "temperature"),
        (request("whisper-1").with_temperature(f32::NAN), "temperature"),
        (request("whisper-1").with_idempotency_key("a\r\nX-Evil: 1"), "idempotency key"),
        (keywords, "keywords"),
    ] {
        let refused = encode(&dialect, &asked).unwrap_err();
        assert!(
            matches!(refused, ExternalError::InvalidRequest { field, .. } if field == wrong),
            "{wrong}: {refused:?}"
        );
    }
}

#[test]
fn a_key_that_could_forge_a_header_is_refused_unseen() {
    let base_url: BaseUrl = "https://api.example.org/v1".parse().unwrap();
    let key = "marker\r\nX-Evil: 1".to_owned().into();
    let model = row(&OpenAiDialect::default(), "whisper-1");
    let endpoint = Endpoint { base_url: &base_url, key: Some(&key), model: &model };
    let refused = OpenAiDialect::default().encode(endpoint, &request("whisper-1")).unwrap_err();
    assert!(matches!(refused, ExternalError::InvalidRequest { field: "key", .. }));
    assert!(!format!("{refused} {refused:?}").contains("marker"));
}

fn decode(body: &str) -> Result<SpeechResponse, ExternalError> {
    let dialect = OpenAiDialect::default();
    let model = row(&dialect, "whisper-1");
    let answer = Answer {
        status: StatusCode::OK,
        headers: &HeaderMap::new(),
        body: &Bytes::from(body.to_owned()),
        model: &model,
        audio: Duration::from_secs(40),
        sent_bytes: 1000,
        now: SystemTime::UNIX_EPOCH,
    };
    dialect.decode(&request("whisper-1"), answer)
}

#[test]
fn verbose_json_is_read_with_words_and_segments() {
    let body = r#"{"task":"transcribe","language":"english","duration":7.02,"text":" Hello there.","segments":[
        {"id":0,"seek":0,"start":0.0,"end":3.31999,"text":" Hello there.","tokens":[1],"temperature":0.0,
        "avg_logprob":-0.28,"compression_ratio":1.2,"no_speech_prob":0.01}],
        "words":[{"word":" Hello","start":0.0,"end":0.5799999833106995},{"word":"there","start":0.58,"end":1.0}],
        "usage":{"type":"duration","seconds":8}}"#;
    let read = decode(body).unwrap();
    assert_eq!(read.text, "Hello there.");
    assert_eq!(read.language.unwrap().as_str(), "en");
    assert_eq!(read.duration, Some(Duration::from_millis(7020)));
    assert_eq!(read.timing.words()[0].text, "Hello");
    assert_eq!(read.timing.words()[0].end, Duration::from_millis(580));
    assert_eq!(read.timing.segments()[0].end, Duration::from_micros(3_319_990));
    assert_eq!(read.timing.segments()[0].no_speech_probability, Some(0.01));
    assert_eq!(read.usage.audio, Some(Duration::from_secs(8)));
    assert_eq!(read.raw, body.as_bytes());
}

#[test]
fn what_self_hosted_servers_leave_out_is_done_without() {
    let read = decode(r#"{"text":"hi","segments":null,"words":null}"#).unwrap();
    assert_eq!(read.timing, Timing::ChunkOnly);
    let read = decode(r#"{"text":"hi","segments":[{"start":0,"end":1,"text":" hi"}]}"#).unwrap();
    assert!(matches!(read.timing, Timing::Segments(_)));
    let read =
        decode(r#"{"segments":[{"start":0,"end":1,"text":" a"},{"start":1,"end":2,"text":" b"}]}"#).unwrap();
    assert_eq!(read.text, "a b");
    let read = decode(r#"{"text":"","words":[],"segments":[]}"#).unwrap();
    assert!(matches!(read.timing, Timing::Words { .. }), "silence has no words, and that is all of them");
    let read = decode(r#"{"text":"","segments":[]}"#).unwrap();
    assert_eq!(read.timing, Timing::Segments(Vec::new()));
}

#[test]
fn diarized_json_names_its_speakers() {
    let body = r#"{"text":"a b","segments":[{"type":"transcript.text.segment","id":"seg_001","start":0.1,"end":1.0,"text":"a","speaker":"A"}],
        "usage":{"type":"tokens","input_tokens":10,"output_tokens":5,"total_tokens":15}}"#;
    let read = decode(body).unwrap();
    assert_eq!(read.timing.segments()[0].speaker.as_deref(), Some("A"));
    assert_eq!((read.usage.input_tokens, read.usage.output_tokens), (Some(10), Some(5)));
}

#[test]
fn times_that_fall_or_make_no_sense_are_refused() {
    for (body, why) in [
        (
            r#"{"text":"a b","words":[{"word":"a","start":2,"end":3},{"word":"b","start":1,"end":4}]}"#,
            "before the one",
        ),
        (r#"{"text":"a","words":[{"word":"a","start":2,"end":1}]}"#, "before it starts"),
        (r#"{"text":"a","words":[{"word":"a","start":-3,"end":1}]}"#, "-3 s"),
        (r#"{"text":"a","words":[{"word":"a","start":1e300,"end":1e300}]}"#, "s"),
        (r#"{"text":"a","words":[{"word":"a","start":"x","end":1}]}"#, "no time"),
        (r#"{"text":"a","segments":[{"text":"a"}]}"#, "no time"),
    ] {
        let refused = decode(body).unwrap_err();
        assert!(
            matches!(&refused, ExternalError::InvalidResponse { reason } if reason.contains(why)),
            "{refused:?}"
        );
    }
    let read = decode(
        r#"{"text":"a b","words":[{"word":"a","start":1,"end":2},{"word":"b","start":0.99,"end":2}]}"#,
    );
    assert_eq!(read.unwrap().timing.words()[1].start, Duration::from_secs(1), "rounding is lifted");
}

#[test]
fn a_success_that_holds_an_error_or_nothing_is_an_error() {
    let refused = decode(r#"{"status_code":400,"detail":"Invalid file"}"#).unwrap_err();
    assert!(matches!(refused, ExternalError::Rejected { .. }), "{refused:?}");
    let refused = decode(r#"{"error":{"message":"boom","type":"server_error"}}"#).unwrap_err();
    assert!(matches!(refused, ExternalError::InvalidResponse { .. }), "{refused:?}");
    for body in ["", "{}", "[]", "null", "text", "{\"text\":", r#"{"text":7}"#] {
        let refused = decode(body).unwrap_err();
        assert!(matches!(refused, ExternalError::InvalidResponse { .. }), "{body}: {refused:?}");
    }
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    assert!(decode(&deep).is_err(), "depth is bounded");
}

proptest! {
    #[test]
    fn a_mutated_answer_is_read_or_refused_without_a_panic(at in 0_usize..300, byte: u8, cut in 0_usize..300) {
        let body = br#"{"language":"english","duration":7.02,"text":" Hi","segments":[{"start":0.0,"end":3.3,"text":" Hi"}],"words":[{"word":"Hi","start":0.1,"end":0.5}],"usage":{"seconds":8}}"#;
        let mut body = body.to_vec();
        let length = body.len();
        body[at % length] = byte;
        body.truncate(if cut < 20 { cut * 8 } else { length });
        if let Ok(read) = decode(&String::from_utf8_lossy(&body)) {
            for word in read.timing.words() {
                prop_assert!(word.start <= word.end);
            }
        }
    }
}
