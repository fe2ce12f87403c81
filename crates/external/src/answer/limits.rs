//! What headers tell about quota: OpenAI's, Groq's, Azure's, ElevenLabs's, the IETF draft's and its older forms.

use std::time::{Duration, SystemTime};

use http::HeaderMap;

use super::duration::{from_seconds, parse_any, step};
use super::retry_after;
use crate::model::quota::{Dimension, ResetMeaning, SeenLimit, SeenLimits};

/// Reads all headers that tell about quota. `period` says what period an API's limits have where the headers do not.
pub(crate) fn read(
    headers: &HeaderMap,
    now: SystemTime,
    period: fn(Dimension) -> Option<Duration>,
) -> SeenLimits {
    let mut reader = Reader { headers, now, seen: SeenLimits::default() };
    reader.by_dimension(period);
    reader.window();
    reader.draft();
    reader.old_draft();
    reader.concurrency();
    reader.seen
}

struct Reader<'a> {
    headers: &'a HeaderMap,
    now: SystemTime,
    seen: SeenLimits,
}

impl<'a> Reader<'a> {
    fn text(&mut self, name: &str) -> Option<&'a str> {
        let value = self.headers.get(name)?;
        let text = value.to_str().ok().map(str::trim).filter(|text| !text.is_empty());
        self.seen.bad_headers += u32::from(text.is_none());
        text
    }

    /// A header's value through a parser; what the parser refuses is counted.
    fn parsed<T>(&mut self, name: &str, parse: impl FnOnce(&str) -> Option<T>) -> Option<T> {
        let text = self.text(name)?;
        let value = parse(text);
        self.seen.bad_headers += u32::from(value.is_none());
        value
    }

    fn push(&mut self, limit: SeenLimit) {
        // A limit of nothing is what some gateways send for "unlimited" or "unknown".
        let sensible = limit.limit.is_none_or(|limit| limit > 0.0)
            && limit.limit.zip(limit.remaining).is_none_or(|(limit, remaining)| remaining <= limit);
        if sensible {
            self.seen.limits.push(limit);
        } else {
            self.seen.bad_headers += 1;
        }
    }

    /// `x-ratelimit-{limit,remaining,reset}-{requests,tokens}`.
    fn by_dimension(&mut self, period: fn(Dimension) -> Option<Duration>) {
        for (dimension, name) in [(Dimension::Requests, "requests"), (Dimension::Tokens, "tokens")] {
            let limit = self.parsed(&format!("x-ratelimit-limit-{name}"), number);
            let remaining = self.parsed(&format!("x-ratelimit-remaining-{name}"), number);
            let reset = self.parsed(&format!("x-ratelimit-reset-{name}"), |text| {
                parse_any(text).map(|reset| (reset, step(text)))
            });
            if limit.is_some() || remaining.is_some() {
                self.push(SeenLimit {
                    dimension,
                    limit,
                    remaining,
                    reset: reset.map(|(reset, _)| reset),
                    meaning: ResetMeaning::UntilFull,
                    period: period(dimension),
                    reset_step: reset.map_or(Duration::ZERO, |(_, step)| step),
                });
            }
        }
    }

    /// `x-ratelimit-{limit,remaining,reset}` and `ratelimit-{limit,remaining,reset}`: a window.
    fn window(&mut self) {
        let now = self.now;
        for prefix in ["x-ratelimit", "ratelimit"] {
            let limit = self.parsed(&format!("{prefix}-limit"), |text| number(first_item(text)));
            let remaining = self.parsed(&format!("{prefix}-remaining"), |text| number(first_item(text)));
            let reset = self.parsed(&format!("{prefix}-reset"), |text| retry_after::reset(text, now));
            if limit.is_some() || remaining.is_some() {
                self.push(window(limit, remaining, reset, None));
            }
        }
    }

    /// draft-ietf-httpapi-ratelimit-headers-11: `RateLimit-Policy: "burst";q=100;w=60` and `RateLimit: "burst";r=50;t=30`.
    fn draft(&mut self) {
        let policies: Vec<_> = self.items("ratelimit-policy");
        for item in self.items("ratelimit") {
            let Some(remaining) = item.number("r") else { continue };
            let policy = policies.iter().find(|policy| policy.name == item.name);
            let limit = policy.and_then(|policy| policy.number("q"));
            let period = policy.and_then(|policy| policy.number("w")).and_then(from_seconds);
            let unit = policy.and_then(|policy| policy.text("qu")).unwrap_or("requests");
            let dimension = match unit {
                "content-bytes" => Dimension::Bytes,
                "requests" => Dimension::Requests,
                // Concurrent requests and units of an API's own are no rate that we know how to spend.
                _ => continue,
            };
            let reset = item.number("t").and_then(from_seconds);
            self.push(SeenLimit { dimension, ..window(limit, Some(remaining), reset, period) });
        }
    }

    /// Before draft 7: `RateLimit: limit=100, remaining=50, reset=5`.
    fn old_draft(&mut self) {
        let Some(text) = self.headers.get("ratelimit").and_then(|value| value.to_str().ok()) else { return };
        let value = |name: &str| {
            text.split([',', ';'])
                .find_map(|part| part.trim().strip_prefix(name)?.strip_prefix('=').and_then(number))
        };
        if let Some(remaining) = value("remaining") {
            let reset = value("reset").and_then(from_seconds);
            self.push(window(value("limit"), Some(remaining), reset, None));
        }
    }

    fn items(&mut self, name: &str) -> Vec<Item<'a>> {
        let values = self.headers.get_all(name);
        values
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|text| split(text, ','))
            .map(Item::parse)
            .collect()
    }

    fn concurrency(&mut self) {
        self.seen.max_concurrency =
            self.parsed("maximum-concurrent-requests", |text| text.parse().ok().filter(|most| *most > 0));
    }
}

fn window(
    limit: Option<f64>,
    remaining: Option<f64>,
    reset: Option<Duration>,
    period: Option<Duration>,
) -> SeenLimit {
    SeenLimit {
        dimension: Dimension::Requests,
        limit,
        remaining,
        reset,
        meaning: ResetMeaning::UntilWindowEnds,
        period,
        reset_step: Duration::from_secs(1),
    }
}

/// `100, 100;w=60` counts as 100: the limit that is nearest comes first.
fn first_item(text: &str) -> &str {
    text.split([',', ';']).next().unwrap_or(text).trim()
}

fn number(text: &str) -> Option<f64> {
    let text = text.trim();
    let plain = !text.is_empty() && text.len() <= 18 && text.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    if plain { text.parse().ok() } else { None }
}

/// An item of a structured list (RFC 9651) with its parameters.
struct Item<'a> {
    name: &'a str,
    parameters: Vec<(&'a str, &'a str)>,
}

impl<'a> Item<'a> {
    fn parse(text: &'a str) -> Self {
        let mut parts = split(text, ';').into_iter();
        let name = parts.next().unwrap_or_default().trim().trim_matches('"');
        let parameters =
            parts.filter_map(|part| part.split_once('=')).map(|(name, value)| (name.trim(), value.trim()));
        Self { name, parameters: parameters.collect() }
    }

    fn text(&self, name: &str) -> Option<&'a str> {
        self.parameters.iter().find(|(key, _)| *key == name).map(|(_, value)| value.trim_matches('"'))
    }

    fn number(&self, name: &str) -> Option<f64> {
        self.text(name).and_then(number)
    }
}

/// Splits at a separator that is not inside quotes.
fn split(text: &str, separator: char) -> Vec<&str> {
    let mut quoted = false;
    text.split(|c: char| {
        quoted ^= c == '"';
        c == separator && !quoted
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn seen(headers: &[(&'static str, &str)]) -> SeenLimits {
        let headers: HeaderMap =
            headers.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect();
        read(&headers, SystemTime::UNIX_EPOCH + Duration::from_secs(1_767_225_600), |_| {
            Some(Duration::from_secs(60))
        })
    }

    #[test]
    fn the_headers_of_openai_are_a_bucket_by_dimension() {
        let seen = seen(&[
            ("x-ratelimit-limit-requests", "500"),
            ("x-ratelimit-remaining-requests", "499"),
            ("x-ratelimit-reset-requests", "120ms"),
            ("x-ratelimit-limit-tokens", "14400"),
            ("x-ratelimit-remaining-tokens", "14370"),
            ("x-ratelimit-reset-tokens", "2m59.56s"),
        ]);
        let [requests, tokens] = seen.limits.as_slice() else { panic!("{seen:?}") };
        assert_eq!((requests.limit, requests.remaining), (Some(500.0), Some(499.0)));
        assert_eq!(requests.reset, Some(Duration::from_millis(120)));
        assert_eq!(requests.meaning, ResetMeaning::UntilFull);
        assert_eq!(tokens.dimension, Dimension::Tokens);
        assert_eq!(tokens.reset, Some(Duration::from_millis(179_560)));
        assert_eq!(seen.bad_headers, 0);
    }

    #[test]
    fn the_forms_of_windows_are_read() {
        for headers in [
            vec![("x-ratelimit-limit", "8"), ("x-ratelimit-remaining", "5"), ("x-ratelimit-reset", "30")],
            vec![
                ("x-ratelimit-limit", "8"),
                ("x-ratelimit-remaining", "5"),
                ("x-ratelimit-reset", "1767225630"),
            ],
            vec![("ratelimit-limit", "8, 8;w=60"), ("ratelimit-remaining", "5"), ("ratelimit-reset", "30")],
            vec![("ratelimit", "limit=8, remaining=5, reset=30")],
            vec![("ratelimit-policy", "\"a, b\";q=8;w=60"), ("ratelimit", "\"a, b\";r=5;t=30")],
        ] {
            let seen = seen(&headers);
            let [window] = seen.limits.as_slice() else { panic!("{headers:?}: {seen:?}") };
            assert_eq!((window.limit, window.remaining), (Some(8.0), Some(5.0)), "{headers:?}");
            assert_eq!(window.reset, Some(Duration::from_secs(30)), "{headers:?}");
            assert_eq!(window.meaning, ResetMeaning::UntilWindowEnds, "{headers:?}");
        }
    }

    #[test]
    fn a_policy_tells_period_and_unit() {
        let seen = seen(&[
            ("ratelimit-policy", "\"hour\";q=1000;w=3600, \"size\";q=5000000;qu=\"content-bytes\";w=60"),
            ("ratelimit", "\"hour\";r=5;t=30, \"size\";r=9;t=1"),
        ]);
        let [hour, size] = seen.limits.as_slice() else { panic!("{seen:?}") };
        assert_eq!(hour.period, Some(Duration::from_secs(3600)));
        assert_eq!((size.dimension, size.limit), (Dimension::Bytes, Some(5_000_000.0)));
    }

    #[test]
    fn concurrency_is_read() {
        assert_eq!(seen(&[("maximum-concurrent-requests", "10")]).max_concurrency, Some(10));
        assert_eq!(seen(&[("maximum-concurrent-requests", "0")]).max_concurrency, None);
    }

    #[test]
    fn nonsense_is_counted_and_ignored() {
        for headers in [
            vec![("x-ratelimit-limit-requests", "lots")],
            vec![("x-ratelimit-limit-requests", "-5")],
            vec![("x-ratelimit-limit-requests", "0")],
            vec![("x-ratelimit-limit-requests", "5"), ("x-ratelimit-remaining-requests", "6")],
            vec![("x-ratelimit-limit-requests", "5"), ("x-ratelimit-reset-requests", "-1s")],
            vec![("x-ratelimit-limit-requests", "99999999999999999999")],
        ] {
            let seen = seen(&headers);
            assert_eq!(seen.bad_headers, 1, "{headers:?}");
            assert!(seen.limits.iter().all(|limit| limit.reset.is_none()), "{headers:?}");
        }
    }

    proptest! {
        #[test]
        fn any_header_is_read_or_ignored_without_a_panic(value in "[ -~]{0,60}", name in 0_usize..8) {
            let names = [
                "x-ratelimit-limit-requests", "x-ratelimit-remaining-requests", "x-ratelimit-reset-requests",
                "x-ratelimit-reset", "ratelimit", "ratelimit-policy", "ratelimit-limit", "maximum-concurrent-requests",
            ];
            let seen = seen(&[(names[name], &value)]);
            for limit in seen.limits {
                prop_assert!(limit.limit.is_none_or(|limit| limit > 0.0 && limit.is_finite()));
                prop_assert!(limit.remaining.is_none_or(|left| left >= 0.0 && left.is_finite()));
            }
        }
    }
}
