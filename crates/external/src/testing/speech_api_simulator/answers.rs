//! OpenAI's bodies: transcripts in each format, errors, models. Pure functions of values.

use std::fmt::Write as _;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use serde_json::{Value, json};

use super::audio::HeardAudio;
use super::form::TranscriptionForm;
use crate::testing::ToneWord;

/// A gap between words from which a new segment begins.
const SEGMENT_GAP: Duration = Duration::from_millis(250);
/// A segment this long ends with the next word.
const SEGMENT_LENGTH: Duration = Duration::from_secs(12);

/// An error as OpenAI writes it.
pub(crate) fn error(
    status: StatusCode,
    kind: &str,
    code: Option<&str>,
    param: Option<&str>,
    message: &str,
) -> Response<Bytes> {
    let body = json!({ "error": { "message": message, "type": kind, "param": param, "code": code } });
    json_response(status, &body)
}

/// An error of the request's own making.
pub(crate) fn invalid(code: Option<&str>, param: Option<&str>, message: &str) -> Response<Bytes> {
    error(StatusCode::BAD_REQUEST, "invalid_request_error", code, param, message)
}

pub(crate) fn json_response(status: StatusCode, body: &Value) -> Response<Bytes> {
    let text = serde_json::to_string_pretty(body).unwrap_or_default();
    response(status, "application/json", text + "\n")
}

pub(crate) fn response(status: StatusCode, content_type: &'static str, body: String) -> Response<Bytes> {
    let mut response = Response::new(Bytes::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

pub(crate) fn too_large(limit: u64, read: u64) -> Response<Bytes> {
    let message = format!("413: Maximum content size limit ({limit}) exceeded ({read} bytes read)");
    let body = json!({
        "error": { "message": message, "type": "server_error", "param": null, "code": null },
        "usage": { "type": "duration", "seconds": 0 },
    });
    json_response(StatusCode::PAYLOAD_TOO_LARGE, &body)
}

pub(crate) fn models<'a>(models: impl Iterator<Item = &'a str>) -> Response<Bytes> {
    let data: Vec<Value> = models
        .map(|id| json!({ "id": id, "object": "model", "created": 1_677_532_384, "owned_by": "openai-internal" }))
        .collect();
    json_response(StatusCode::OK, &json!({ "object": "list", "data": data }))
}

/// A transcript in the format that was asked for.
pub(crate) fn transcript(form: &TranscriptionForm, audio: &HeardAudio) -> Response<Bytes> {
    let text = text_of(&audio.words);
    let usage = json!({ "type": "duration", "seconds": audio.duration.as_secs_f64().ceil() as u64 });
    if form.stream.as_deref() == Some("true") && matches!(form.response_format.as_str(), "json" | "text") {
        return response(StatusCode::OK, "text/event-stream; charset=utf-8", events(&audio.words, &usage));
    }
    match form.response_format.as_str() {
        "text" => response(StatusCode::OK, "text/plain; charset=utf-8", text + "\n"),
        "srt" => {
            response(StatusCode::OK, "text/plain; charset=utf-8", subtitles(&audio.words, Subtitles::Srt))
        }
        "vtt" => {
            response(StatusCode::OK, "text/plain; charset=utf-8", subtitles(&audio.words, Subtitles::Vtt))
        }
        "verbose_json" => {
            let mut body = json!({
                "task": "transcribe",
                "language": language_name(form.language.as_deref().unwrap_or("en")),
                "duration": seconds(audio.duration),
                "text": text,
                "usage": usage,
            });
            if let Value::Object(fields) = &mut body {
                if form.wants("word") {
                    fields.insert("words".into(), audio.words.iter().map(word).collect());
                }
                if form.wants("segment") || form.granularities.is_empty() {
                    let segments = segments(&audio.words).iter().enumerate().map(segment).collect();
                    fields.insert("segments".into(), segments);
                }
            }
            json_response(StatusCode::OK, &body)
        }
        _ => json_response(StatusCode::OK, &json!({ "text": text, "usage": usage })),
    }
}

/// One delta a word, and the whole.
fn events(words: &[ToneWord], usage: &Value) -> String {
    let mut out = String::new();
    let mut space = "";
    for word in words {
        let delta = json!({ "type": "transcript.text.delta", "delta": format!("{space}{}", word.text) });
        push(&mut out, format_args!("data: {delta}\n\n"));
        space = " ";
    }
    let done = json!({ "type": "transcript.text.done", "text": text_of(words), "usage": usage });
    push(&mut out, format_args!("data: {done}\n\n"));
    out
}

fn text_of(words: &[ToneWord]) -> String {
    words.iter().map(|word| word.text.as_str()).collect::<Vec<_>>().join(" ")
}

/// Whole microseconds, as seconds that print with at most six decimals.
fn seconds(time: Duration) -> f64 {
    time.as_micros() as f64 / 1e6
}

fn word(word: &ToneWord) -> Value {
    json!({ "word": word.text, "start": seconds(word.start), "end": seconds(word.end) })
}

fn segment((id, words): (usize, &&[ToneWord])) -> Value {
    let (start, end) = span(words);
    json!({
        "id": id,
        // The 30 s window of the model in which the segment begins, in hundredths of a second.
        "seek": start.as_secs() / 30 * 3_000,
        "start": seconds(start),
        "end": seconds(end),
        // Whisper's segments begin with a blank.
        "text": format!(" {}", text_of(words)),
        "tokens": [],
        "temperature": 0.0,
        "avg_logprob": -0.1,
        "compression_ratio": 1.0,
        "no_speech_prob": 0.01,
    })
}

fn span(words: &[ToneWord]) -> (Duration, Duration) {
    let start = words.first().map_or(Duration::ZERO, |word| word.start);
    (start, words.last().map_or(start, |word| word.end))
}

/// Phrases: what is between pauses, or a dozen seconds of it.
fn segments(words: &[ToneWord]) -> Vec<&[ToneWord]> {
    let mut start = None;
    words
        .chunk_by(|word, next| {
            let begun = *start.get_or_insert(word.start);
            let together = next.start.saturating_sub(word.end) < SEGMENT_GAP
                && next.end.saturating_sub(begun) < SEGMENT_LENGTH;
            if !together {
                start = None;
            }
            together
        })
        .collect()
}

#[derive(Clone, Copy, PartialEq)]
enum Subtitles {
    Srt,
    Vtt,
}

fn subtitles(words: &[ToneWord], kind: Subtitles) -> String {
    let mut out = String::new();
    if kind == Subtitles::Vtt {
        out.push_str("WEBVTT\n\n");
    }
    for (number, words) in segments(words).into_iter().enumerate() {
        let (start, end) = span(words);
        if kind == Subtitles::Srt {
            push(&mut out, format_args!("{}\n", number + 1));
        }
        let (start, end) = (clock(start, kind), clock(end, kind));
        push(&mut out, format_args!("{start} --> {end}\n{}\n\n", text_of(words)));
    }
    out
}

fn push(out: &mut String, text: std::fmt::Arguments<'_>) {
    // Writing to a string cannot fail.
    let _infallible = out.write_fmt(text);
}

fn clock(time: Duration, kind: Subtitles) -> String {
    let ms = time.as_millis();
    let comma = if kind == Subtitles::Srt { ',' } else { '.' };
    let (h, m, s, ms) = (ms / 3_600_000, ms / 60_000 % 60, ms / 1_000 % 60, ms % 1_000);
    format!("{h:02}:{m:02}:{s:02}{comma}{ms:03}")
}

/// Whisper answers with the English name of a language.
fn language_name(code: &str) -> &str {
    match code {
        "ar" => "arabic",
        "de" => "german",
        "en" => "english",
        "es" => "spanish",
        "fr" => "french",
        "hi" => "hindi",
        "it" => "italian",
        "ja" => "japanese",
        "ko" => "korean",
        "nl" => "dutch",
        "pl" => "polish",
        "pt" => "portuguese",
        "ru" => "russian",
        "tr" => "turkish",
        "uk" => "ukrainian",
        "zh" => "chinese",
        other => other,
    }
}

/// A duration as Go prints it, which is what OpenAI sends: `0s`, `577.5ms`, `7.66s`, `2m59.56s`, `1h2m3s`.
pub(crate) fn go_duration(time: Duration) -> String {
    let micros = time.as_micros();
    if micros == 0 {
        return "0s".into();
    }
    if micros < 1_000 {
        return format!("{micros}µs");
    }
    if micros < 1_000_000 {
        return format!("{}ms", micros as f64 / 1e3);
    }
    let ms = time.as_millis();
    let (h, m, s) = (ms / 3_600_000, ms / 60_000 % 60, (ms % 60_000) as f64 / 1e3);
    match (h, m) {
        (0, 0) => format!("{s}s"),
        (0, _) => format!("{m}m{s}s"),
        _ => format!("{h}h{m}m{s}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(starts_ms: &[u64]) -> Vec<ToneWord> {
        let word = |(number, &start): (usize, &u64)| ToneWord {
            text: format!("w{number:04x}"),
            start: Duration::from_millis(start),
            end: Duration::from_millis(start + 240),
        };
        starts_ms.iter().enumerate().map(word).collect()
    }

    fn body(format: &str, granularities: &[&str], starts_ms: &[u64]) -> String {
        let form = TranscriptionForm {
            response_format: format.into(),
            granularities: granularities.iter().map(ToString::to_string).collect(),
            language: Some("de".into()),
            ..TranscriptionForm::default()
        };
        let audio = HeardAudio {
            duration: Duration::from_micros(7_020_500),
            words: words(starts_ms),
            fingerprint: None,
        };
        String::from_utf8(transcript(&form, &audio).into_body().to_vec()).unwrap()
    }

    #[test]
    fn durations_are_written_as_go_writes_them() {
        for (ms, text) in [
            (0.0, "0s"),
            (8.0, "8ms"),
            (577.5, "577.5ms"),
            (120.0, "120ms"),
            (7_660.0, "7.66s"),
            (90_000.0, "1m30s"),
            (179_560.0, "2m59.56s"),
            (3_723_000.0, "1h2m3s"),
            (0.25, "250µs"),
        ] {
            assert_eq!(go_duration(Duration::from_secs_f64(ms / 1e3)), text);
        }
    }

    #[test]
    fn verbose_json_has_the_times_that_were_asked_for() {
        let starts = [100, 400, 1_000];
        let both: Value = serde_json::from_str(&body("verbose_json", &["word", "segment"], &starts)).unwrap();
        assert_eq!(both["words"][2], json!({ "word": "w0002", "start": 1.0, "end": 1.24 }));
        assert_eq!(both["segments"][0]["text"], " w0000 w0001");
        assert_eq!(both["segments"][1]["start"], 1.0);
        assert_eq!((&both["duration"], &both["language"]), (&json!(7.0205), &json!("german")));
        assert_eq!(both["usage"], json!({ "type": "duration", "seconds": 8 }));
        let words: Value = serde_json::from_str(&body("verbose_json", &["word"], &starts)).unwrap();
        assert!(words["segments"].is_null() && words["words"].is_array());
        let neither: Value = serde_json::from_str(&body("verbose_json", &[], &starts)).unwrap();
        assert!(neither["segments"].is_array() && neither["words"].is_null());
    }

    #[test]
    fn json_and_text_have_no_times() {
        let json: Value = serde_json::from_str(&body("json", &[], &[0])).unwrap();
        assert_eq!(json, json!({ "text": "w0000", "usage": { "type": "duration", "seconds": 8 } }));
        assert_eq!(body("text", &[], &[0, 300]), "w0000 w0001\n");
    }

    #[test]
    fn subtitles_number_their_segments() {
        assert_eq!(
            body("srt", &[], &[100, 3_700_000]),
            "1\n00:00:00,100 --> 00:00:00,340\nw0000\n\n2\n01:01:40,000 --> 01:01:40,240\nw0001\n\n"
        );
        assert_eq!(body("vtt", &[], &[100]), "WEBVTT\n\n00:00:00.100 --> 00:00:00.340\nw0000\n\n");
    }

    #[test]
    fn a_long_phrase_becomes_several_segments() {
        let starts: Vec<u64> = (0..100).map(|n| n * 300).collect();
        let words = words(&starts);
        let segments = segments(&words);
        assert_eq!(segments.len(), 3);
        assert!(segments.iter().all(|words| span(words).1 < span(words).0 + SEGMENT_LENGTH));
    }
}
