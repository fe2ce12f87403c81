//! Durations as APIs write them in headers: Go's syntax (`1m30s`, `577.5ms`), plain seconds, dates.

use std::time::Duration;

/// Longer than this makes no sense for a quota: 400 days.
pub(crate) const LONGEST: Duration = Duration::from_secs(400 * 86_400);

const UNITS: [(&str, f64); 10] = [
    ("ns", 1e-9),
    ("us", 1e-6),
    ("\u{b5}s", 1e-6),
    ("\u{3bc}s", 1e-6),
    ("ms", 1e-3),
    ("min", 60.0),
    ("s", 1.0),
    ("m", 60.0),
    ("h", 3600.0),
    ("d", 86_400.0),
];

/// A duration in Go's syntax: one or more numbers, each with a unit. Negative, empty, or over 400 days: `None`.
pub(crate) fn parse_go(text: &str) -> Option<Duration> {
    let mut rest = text.trim();
    if rest.is_empty() {
        return None;
    }
    let mut seconds = 0.0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, tail) = rest.split_at(digits);
        let (unit, factor) = UNITS.iter().find(|(unit, _)| tail.starts_with(unit))?;
        seconds += number.parse::<f64>().ok()? * factor;
        rest = tail.get(unit.len()..)?;
    }
    from_seconds(seconds)
}

/// A number of seconds, whole or not. Negative, not a number, or over 400 days: `None`.
pub(crate) fn parse_seconds(text: &str) -> Option<Duration> {
    let text = text.trim();
    let plain = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    if plain { from_seconds(text.parse().ok()?) } else { None }
}

/// Either of the two.
pub(crate) fn parse_any(text: &str) -> Option<Duration> {
    parse_seconds(text).or_else(|| parse_go(text))
}

/// What the last digit of a duration stands for, as far as that matters: a second for whole seconds, else nothing.
pub(crate) fn step(text: &str) -> Duration {
    let text = text.trim();
    let fraction = text.contains('.');
    let fine =
        text.ends_with("ms") || text.ends_with("us") || text.ends_with("ns") || text.ends_with("\u{b5}s");
    if fraction || fine { Duration::ZERO } else { Duration::from_secs(1) }
}

pub(crate) fn from_seconds(seconds: f64) -> Option<Duration> {
    Duration::try_from_secs_f64(seconds).ok().filter(|duration| *duration <= LONGEST)
}

/// Seconds since 1970 of a date such as `2026-11-24T12:00:00Z` or `2026-11-24T12:00:00.5+01:00` (RFC 3339).
pub(crate) fn parse_rfc3339(text: &str) -> Option<f64> {
    let text = text.trim();
    let number = |range: std::ops::Range<usize>| {
        let part = text.get(range)?;
        if part.bytes().all(|b| b.is_ascii_digit()) { part.parse::<i64>().ok() } else { None }
    };
    let separated = |at: usize, among: &str| text.get(at..=at).is_some_and(|c| among.contains(c));
    if !(separated(4, "-")
        && separated(7, "-")
        && separated(10, "Tt ")
        && separated(13, ":")
        && separated(16, ":"))
    {
        return None;
    }
    let (year, month, day) = (number(0..4)?, number(5..7)?, number(8..10)?);
    let (hour, minute, second) = (number(11..13)?, number(14..16)?, number(17..19)?);
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let rest = text.get(19..)?;
    let zone_at = rest.find(['Z', 'z', '+', '-'])?;
    let (fraction, zone) = rest.split_at(zone_at);
    let fraction = if fraction.is_empty() { 0.0 } else { format!("0{fraction}").parse::<f64>().ok()? };
    let offset = match zone {
        "Z" | "z" => 0,
        _ => {
            let digits: String = zone.chars().filter(char::is_ascii_digit).collect();
            let (hours, minutes) =
                (digits.get(0..2)?.parse::<i64>().ok()?, digits.get(2..4)?.parse::<i64>().ok()?);
            (hours * 60 + minutes) * 60 * if zone.starts_with('-') { -1 } else { 1 }
        }
    };
    let seconds = days_from_civil(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second - offset;
    Some(seconds as f64 + fraction)
}

/// Days since 1970-01-01 of a date of the Gregorian calendar (H. Hinnant, *chrono-Compatible Low-Level Date Algorithms*).
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * (month + if month > 2 { -3 } else { 9 }) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn every_form_that_was_seen_is_read() {
        for (text, millis) in [
            ("0s", 0.0),
            ("8ms", 8.0),
            ("577.5ms", 577.5),
            ("7.66s", 7_660.0),
            ("1m30s", 90_000.0),
            ("2m59.56s", 179_560.0),
            ("1h2m3s", 3_723_000.0),
            ("120ms", 120.0),
            ("3.362s", 3_362.0),
            ("15us", 0.015),
            ("15\u{b5}s", 0.015),
            ("15\u{3bc}s", 0.015),
            ("250ns", 0.000_25),
            ("6m0s", 360_000.0),
            (" 20s ", 20_000.0),
        ] {
            let expected = Duration::from_secs_f64(millis / 1000.0);
            let read = parse_go(text).unwrap();
            assert!(read.abs_diff(expected) < Duration::from_nanos(2), "{text}: {read:?}");
        }
    }

    #[test]
    fn nonsense_is_no_duration() {
        for text in
            ["", " ", "-1s", "s", "1", "1x", "1s 2s", "10000h", "1e3s", "..s", "1.2.3s", "inf", "NaN", "٣s"]
        {
            assert_eq!(parse_go(text), None, "{text:?}");
        }
        for text in ["", "-1", "inf", "nan", "1e300", "99999999999", "1s", "+1"] {
            assert_eq!(parse_seconds(text), None, "{text:?}");
        }
    }

    #[test]
    fn dates_are_read_with_their_zone() {
        assert_eq!(parse_rfc3339("1970-01-01T00:00:00Z"), Some(0.0));
        assert_eq!(parse_rfc3339("2026-01-01T00:00:00Z"), Some(1_767_225_600.0));
        assert_eq!(parse_rfc3339("2026-01-01T01:00:00.5+01:00"), Some(1_767_225_600.5));
        assert_eq!(parse_rfc3339("2024-02-29T12:00:00-05:30"), Some(1_709_227_800.0));
        for text in ["2026-13-01T00:00:00Z", "2026-01-01", "2026-01-01T00:00:00", "ä026-01-01T00:00:00Z", ""]
        {
            assert_eq!(parse_rfc3339(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_go_prints_reads_back(hours in 0_u64..9000, minutes in 0_u64..60, millis in 0_u64..60_000) {
            let text = format!("{hours}h{minutes}m{}s", millis as f64 / 1000.0);
            let expected = Duration::from_secs(hours * 3600 + minutes * 60) + Duration::from_millis(millis);
            prop_assert!(parse_go(&text).unwrap().abs_diff(expected) < Duration::from_micros(1));
        }

        #[test]
        fn any_text_is_read_or_refused_without_a_panic(text: String) {
            let _ = (parse_any(&text), parse_rfc3339(&text), step(&text));
        }
    }
}
