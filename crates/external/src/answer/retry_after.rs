//! How long an API asks to be left alone: in headers, then in words.

use std::time::{Duration, SystemTime};

use http::HeaderMap;

use super::duration::{LONGEST, from_seconds, parse_any, parse_rfc3339, parse_seconds};

/// The patience that an answer asks for, from now: `retry-after-ms`, `retry-after` (seconds or a date), a window that
/// is used up, the message. At most 400 days; what lies in the past is no patience.
pub(crate) fn retry_after(headers: &HeaderMap, message: &str, now: SystemTime) -> Option<Duration> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
    let millis =
        text("retry-after-ms").and_then(|text| text.parse::<f64>().ok()).and_then(|ms| capped(ms / 1000.0));
    millis
        .or_else(|| text("retry-after").and_then(|text| seconds_or_date(text, now)))
        .or_else(|| {
            let used_up =
                text("x-ratelimit-remaining").is_some_and(|left| left.parse::<f64>().is_ok_and(|n| n < 1.0));
            if used_up { text("x-ratelimit-reset").and_then(|text| reset(text, now)) } else { None }
        })
        .or_else(|| in_words(message))
}

fn seconds_or_date(text: &str, now: SystemTime) -> Option<Duration> {
    if let Ok(seconds) = text.parse::<f64>() {
        return capped(seconds);
    }
    if let Ok(date) = httpdate::parse_http_date(text) {
        return date.duration_since(now).ok().map(|wait| wait.min(LONGEST));
    }
    parse_any(text)
}

/// Seconds as somebody asks for patience: too long is capped, so that it is not taken for none.
fn capped(seconds: f64) -> Option<Duration> {
    if seconds.is_nan() || seconds < 0.0 {
        return None;
    }
    Some(from_seconds(seconds).unwrap_or(LONGEST))
}

/// `x-ratelimit-reset`: milliseconds or seconds since 1970, seconds from now, or a date.
pub(crate) fn reset(text: &str, now: SystemTime) -> Option<Duration> {
    if let Some(at) = parse_rfc3339(text) {
        return until(at, now);
    }
    match text.trim().parse::<f64>() {
        Ok(number) if number >= 1e12 => until(number / 1000.0, now),
        Ok(number) if number >= 1e9 => until(number, now),
        _ => parse_any(text),
    }
}

fn until(unix_seconds: f64, now: SystemTime) -> Option<Duration> {
    let at = SystemTime::UNIX_EPOCH.checked_add(Duration::try_from_secs_f64(unix_seconds).ok()?)?;
    // A clock that is a little ahead must not turn "now" into nonsense.
    let wait = at.duration_since(now).unwrap_or_default();
    (wait <= LONGEST).then_some(wait)
}

/// "Please try again in 6m0s", "retry after 6 seconds".
fn in_words(message: &str) -> Option<Duration> {
    let lower = message.to_lowercase();
    let after = ["try again in ", "retry after ", "retry in "].iter().find_map(|lead| {
        let at = lower.find(lead)? + lead.len();
        lower.get(at..)
    })?;
    let mut words = after.split_whitespace();
    let number = words.next()?.trim_end_matches(['.', ',']);
    if let Some(wait) = parse_seconds(number) {
        let unit = words.next().unwrap_or("seconds");
        let factor = match unit.trim_matches(|c: char| !c.is_alphabetic()) {
            "ms" | "millisecond" | "milliseconds" => return Some(wait / 1000),
            "minute" | "minutes" => 60,
            "hour" | "hours" => 3600,
            _ => 1,
        };
        return wait.checked_mul(factor).filter(|wait| *wait <= LONGEST);
    }
    parse_any(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_767_225_600;

    fn read(headers: &[(&'static str, &str)], message: &str) -> Option<Duration> {
        let headers: HeaderMap =
            headers.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect();
        retry_after(&headers, message, SystemTime::UNIX_EPOCH + Duration::from_secs(NOW))
    }

    #[test]
    fn every_header_form_is_read_in_its_order() {
        let s = Duration::from_secs_f64;
        for (headers, message, expected) in [
            (vec![("retry-after-ms", "250"), ("retry-after", "9")], "", Some(s(0.25))),
            (vec![("retry-after", "2")], "", Some(s(2.0))),
            (vec![("retry-after", "0.5")], "", Some(s(0.5))),
            (vec![("retry-after", "Thu, 01 Jan 2026 00:00:30 GMT")], "", Some(s(30.0))),
            (vec![("retry-after", "Wed, 31 Dec 2025 00:00:30 GMT")], "", None),
            (vec![("retry-after", "1m30s")], "", Some(s(90.0))),
            (vec![("retry-after", "-5")], "", None),
            (vec![("retry-after", "soon")], "", None),
            (vec![("retry-after", "1000000000")], "", Some(LONGEST)),
            (vec![("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "1767225605")], "", Some(s(5.0))),
            (vec![("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "1767225605000")], "", Some(s(5.0))),
            (vec![("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "7")], "", Some(s(7.0))),
            (vec![("x-ratelimit-remaining", "3"), ("x-ratelimit-reset", "7")], "", None),
            (
                vec![("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "2026-01-01T00:01:00Z")],
                "",
                Some(s(60.0)),
            ),
            (vec![], "Please retry after 6 seconds.", Some(s(6.0))),
            (vec![], "Please try again in 6m0s. Visit …", Some(s(360.0))),
            (vec![], "try again in 120ms", Some(s(0.12))),
            (vec![], "retry in 2 minutes", Some(s(120.0))),
            (vec![], "no idea", None),
        ] {
            assert_eq!(read(&headers, message), expected, "{headers:?} {message}");
        }
    }
}
