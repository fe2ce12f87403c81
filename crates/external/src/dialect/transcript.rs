//! What all dialects need to turn an answer into a transcript: times in whole microseconds that do not fall.

use std::time::Duration;

use http::header::CONTENT_ENCODING;
use serde_json::Value;

use crate::error::ExternalError;
use crate::model::response::{TimedSegment, TimedWord};
use crate::ports::Answer;

/// Times that fall by less than this are rounding: they are lifted.
const ROUNDING: Duration = Duration::from_millis(20);

/// The longest time that makes sense: 400 days.
const LONGEST_SECONDS: f64 = 400.0 * 86_400.0;

/// The JSON of an answer that was not encoded without being asked.
pub(super) fn json(answer: Answer<'_>) -> Result<Value, ExternalError> {
    if let Some(encoding) = answer.headers.get(CONTENT_ENCODING)
        && encoding != "identity"
    {
        return Err(broken("it is encoded, which was not asked for"));
    }
    // The parser's message tells place and kind, not content.
    serde_json::from_slice(answer.body).map_err(|error| broken(&format!("it is not JSON ({error})")))
}

pub(super) fn broken(reason: &str) -> ExternalError {
    ExternalError::InvalidResponse { reason: reason.to_owned() }
}

/// A time in seconds, as whole microseconds. A little below zero is zero.
pub(super) fn time(value: Option<&Value>, what: &str) -> Result<Duration, ExternalError> {
    let seconds = value.and_then(Value::as_f64).ok_or_else(|| broken(&format!("{what} has no time")))?;
    if !(-0.1..=LONGEST_SECONDS).contains(&seconds) {
        return Err(broken(&format!("{what} is at {seconds} s")));
    }
    Ok(Duration::from_micros((seconds.max(0.0) * 1e6).round() as u64))
}

/// Makes sure that words come in the order of their starts, and that none ends before it starts.
pub(super) fn ordered_words(mut words: Vec<TimedWord>) -> Result<Vec<TimedWord>, ExternalError> {
    let mut last = Duration::ZERO;
    for (at, word) in words.iter_mut().enumerate() {
        (word.start, word.end) = ordered(last, word.start, word.end, "word", at)?;
        last = word.start;
    }
    Ok(words)
}

/// The same for segments.
pub(super) fn ordered_segments(mut segments: Vec<TimedSegment>) -> Result<Vec<TimedSegment>, ExternalError> {
    let mut last = Duration::ZERO;
    for (at, segment) in segments.iter_mut().enumerate() {
        (segment.start, segment.end) = ordered(last, segment.start, segment.end, "segment", at)?;
        last = segment.start;
    }
    Ok(segments)
}

fn ordered(
    last: Duration,
    start: Duration,
    end: Duration,
    what: &str,
    at: usize,
) -> Result<(Duration, Duration), ExternalError> {
    if start + ROUNDING < last {
        return Err(broken(&format!(
            "{what} {at} starts at {start:?}, before the one in front of it ({last:?})"
        )));
    }
    let start = start.max(last);
    if end + ROUNDING < start {
        return Err(broken(&format!("{what} {at} ends at {end:?}, before it starts ({start:?})")));
    }
    Ok((start, end.max(start)))
}

/// A list that may be missing or `null`.
pub(super) fn list<'a>(value: &'a Value, name: &str) -> Option<&'a Vec<Value>> {
    value.get(name).and_then(Value::as_array)
}

/// A text without the spaces around it; missing is empty.
pub(super) fn text(value: &Value, name: &str) -> String {
    value.get(name).and_then(Value::as_str).unwrap_or_default().trim().to_owned()
}

/// A speaker's name, whatever its type; none if empty.
pub(super) fn speaker(value: &Value) -> Option<String> {
    match value.get("speaker")? {
        Value::String(name) if !name.is_empty() => Some(name.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}
