//! Durations as people write them in rules: `30s`, `5m`, `1h30m`, `3d`; read and written.

use std::fmt::Write as _;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serializer, de::Error as _};

const UNITS: [(&str, u64); 5] = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

pub(crate) fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&text(*duration))
}

pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let given = String::deserialize(deserializer)?;
    parse(&given).ok_or_else(|| {
        D::Error::custom(format!("{given:?} is no duration: write it as 30s, 5m, 1h30m or 3d"))
    })
}

/// The shortest text, to the millisecond.
pub(crate) fn text(duration: Duration) -> String {
    let mut rest = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let mut out = String::new();
    for (name, millis) in UNITS {
        if rest >= millis {
            // Writing to a string never fails.
            let _ = write!(out, "{}{name}", rest / millis);
            rest %= millis;
        }
    }
    if out.is_empty() { "0s".to_owned() } else { out }
}

fn parse(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut millis = 0_u64;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let (number, tail) = rest.split_at_checked(digits)?;
        let letters = tail.find(|c: char| c.is_ascii_digit()).unwrap_or(tail.len());
        let (unit, tail) = tail.split_at_checked(letters)?;
        let (_, of_unit) = UNITS.iter().find(|(name, _)| *name == unit)?;
        millis = millis.checked_add(number.parse::<u64>().ok()?.checked_mul(*of_unit)?)?;
        rest = tail;
    }
    (!text.is_empty()).then_some(Duration::from_millis(millis))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_duration_is_written_as_people_do() {
        assert_eq!(text(Duration::from_secs(5_400)), "1h30m");
        assert_eq!(text(Duration::ZERO), "0s");
        assert_eq!(parse("1m30s500ms"), Some(Duration::from_millis(90_500)));
        for wrong in ["", "5", "m", "5 m", "-5m", "5x", "99999999999999999999s"] {
            assert_eq!(parse(wrong), None, "{wrong:?}");
        }
    }

    proptest! {
        #[test]
        fn a_duration_reads_back(millis in 0_u64..1_000_000_000_000) {
            let duration = Duration::from_millis(millis);
            prop_assert_eq!(parse(&text(duration)), Some(duration));
        }

        #[test]
        fn any_text_is_read_or_refused_without_a_panic(text: String) {
            if let Some(read) = parse(&text) {
                prop_assert!(parse(&super::text(read)) == Some(read));
            }
        }
    }
}
