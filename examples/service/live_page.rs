//! A page for people: figures, waits and alerts as they are, loaded anew every two seconds. It needs no script.

use std::fmt::Write as _;
use std::time::Duration;

use wavequill::Wavequill;
use wavequill::monitoring::{MetricsSnapshot, Quantile, Reading};

const HEAD: &str = "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta http-equiv=\"refresh\" content=\"2\">\
<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"><title>wavequill</title><style>\
:root{color-scheme:light dark}body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}\
table{border-collapse:collapse;width:100%;margin-bottom:2rem}caption{text-align:left;font-weight:600;padding:.5rem 0}\
th,td{text-align:right;padding:.25rem .5rem;border-bottom:1px solid #8884}th:first-child,td:first-child{text-align:left}\
td{font-variant-numeric:tabular-nums}.firing{color:#c22}</style></head><body><h1>wavequill</h1>\n";

/// The windows that are shown.
const WINDOWS: [(&str, u64); 3] = [("1 min", 60), ("15 min", 900), ("1 h", 3_600)];

/// Counters whose growth is shown.
const COUNTERS: [(&str, &str, f64); 5] = [
    ("recordings", "wavequill_processing_files_total", 1.0),
    ("attempts", "wavequill_external_attempts_total", 1.0),
    ("refusals", "wavequill_external_throttled_total", 1.0),
    ("gaps", "wavequill_processing_gap_audio_seconds", 1.0),
    ("spent, dollars", "wavequill_external_cost_microdollars_total", 1e-6),
];

/// Distributions whose median and 99th percentile are shown.
const TIMES: [(&str, &str); 4] = [
    ("a request", "wavequill_external_request_seconds"),
    ("waiting for quota", "wavequill_external_quota_wait_seconds"),
    ("waiting in the queue", "wavequill_queue_wait_seconds"),
    ("waiting for a connection", "wavequill_database_acquire_seconds"),
];

pub(crate) fn of(wavequill: &Wavequill) -> String {
    let monitor = wavequill.monitor();
    let seen = WINDOWS.map(|(_, seconds)| monitor.window(Duration::from_secs(seconds)));
    let mut out = HEAD.to_owned();
    alerts(&mut out, wavequill);
    table(&mut out, "in the last");
    for (name, metric, unit) in COUNTERS {
        row(&mut out, name, &seen, |window| {
            Some(format!("{}", (count(window, metric) as f64 * unit * 1e4).round() / 1e4))
        });
    }
    out.push_str("</table>\n");
    table(&mut out, "p50 / p99 of the last");
    for (name, metric) in TIMES {
        row(&mut out, name, &seen, |window| percentiles(window, metric));
    }
    out.push_str("</table>\n</body></html>\n");
    out
}

fn alerts(out: &mut String, wavequill: &Wavequill) {
    let alerts = wavequill.monitor().alerts();
    let firing: Vec<_> =
        alerts.iter().filter(|alert| alert.state == wavequill::monitoring::AlertState::Firing).collect();
    if firing.is_empty() {
        out.push_str("<p>No alert fires.</p>\n");
        return;
    }
    out.push_str("<ul>\n");
    for alert in firing {
        let summary = alert.annotations.get("summary").map_or("", String::as_str);
        // Writing to a string never fails.
        let _ =
            writeln!(out, "<li class=\"firing\"><b>{}</b> {}</li>", escaped(&alert.rule), escaped(summary));
    }
    out.push_str("</ul>\n");
}

fn table(out: &mut String, caption: &str) {
    let _ = write!(out, "<table><caption>{caption}</caption><tr><th scope=\"col\"></th>");
    for (name, _) in WINDOWS {
        let _ = write!(out, "<th scope=\"col\">{name}</th>");
    }
    out.push_str("</tr>\n");
}

fn row(
    out: &mut String,
    name: &str,
    seen: &[Reading<MetricsSnapshot>],
    cell: impl Fn(&MetricsSnapshot) -> Option<String>,
) {
    let _ = write!(out, "<tr><th scope=\"row\">{name}</th>");
    for window in seen {
        let text = match window {
            Reading::Value(window) => cell(window).unwrap_or_else(|| "–".to_owned()),
            Reading::NoData => "…".to_owned(),
        };
        let _ = write!(out, "<td>{text}</td>");
    }
    out.push_str("</tr>\n");
}

/// How much a counter grew over all its series, or how many values a distribution took.
fn count(window: &MetricsSnapshot, metric: &str) -> u64 {
    let sketches = window.sketches().filter(|(key, _)| key.name().as_str() == metric);
    window.counter_total(metric) + sketches.map(|(_, sketch)| sketch.count()).sum::<u64>()
}

fn percentiles(window: &MetricsSnapshot, metric: &str) -> Option<String> {
    let of =
        window.sketches().filter(|(key, _)| key.name().as_str() == metric).map(|(_, sketch)| sketch.clone());
    // Series of one metric count in one unit.
    let all = of.reduce(|sum, more| sum.merge(&more).unwrap_or(sum))?;
    let [p50, p99] = [all.quantile(Quantile::P50)?, all.quantile(Quantile::P99)?].map(duration);
    Some(format!("{p50} / {p99}"))
}

fn duration(seconds: f64) -> String {
    if seconds < 1.0 { format!("{:.1} ms", seconds * 1e3) } else { format!("{seconds:.1} s") }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
