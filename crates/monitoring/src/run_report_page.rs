//! A report as one page of HTML that asks nobody for anything: figures, drawings, and a script that it can do without.

use std::fmt::Write as _;

use crate::model::run_report::{Run, RunReport};

mod drawing;

/// The page's style and script, and what its policy says they must hash to.
const STYLE: &str = include_str!("run_report_page/page.css");
const SCRIPT: &str = include_str!("run_report_page/page.js");
const STYLE_SHA256: &str = "5Lu9rA25B1k3IDD6DsNTuFoMq5/ZHB04qDMdUEsgj5A=";
const SCRIPT_SHA256: &str = "S0P4EPUjdaCFHnLzB6HJaZTsBgN1b2mNVufJGUppEBQ=";

/// Draws a report as one self-contained page: a timeline of chunks over workers, the waveform with pauses and cuts,
/// what was left of the quota, how long each stage took, gaps and savings.
///
/// The page loads nothing (its content security policy forbids it), works without its script, by keyboard, in the dark and
/// in print.
pub fn render_html(report: &RunReport) -> String {
    let mut out = String::with_capacity(64 << 10);
    out.push_str("<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n");
    // Writing to a string never fails.
    let _ = write!(
        out,
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; \
         style-src 'sha256-{STYLE_SHA256}'; script-src 'sha256-{SCRIPT_SHA256}'; base-uri 'none'; form-action 'none'\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>wavequill run report</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<main>\n<h1>Run report</h1>\n"
    );
    if report.runs.is_empty() {
        out.push_str("<p>Nothing was recorded: is the recorder among the subscriber's layers?</p>\n");
    }
    if report.dropped_spans > 0 {
        let _ = writeln!(
            out,
            "<p class=\"note\">{} spans were too many to keep; stages may be missing.</p>",
            report.dropped_spans
        );
    }
    for (at, run) in report.runs.iter().enumerate() {
        write_run(&mut out, at, run);
    }
    out.push_str("</main>\n<div id=\"tip\" role=\"status\" hidden></div>\n");
    let _ = writeln!(out, "<script type=\"application/json\" id=\"data\">{}</script>", data(report));
    let _ = writeln!(out, "<script>{SCRIPT}</script>\n</body>\n</html>");
    out
}

fn write_run(out: &mut String, at: usize, run: &Run) {
    let _ = writeln!(out, "<section aria-labelledby=\"run{at}\">\n<h2 id=\"run{at}\">{}</h2>", text(&run.id));
    write_figures(out, run);
    if !run.gaps.is_empty() {
        out.push_str("<h3>Gaps</h3>\n<ul class=\"gaps\">\n");
        for gap in &run.gaps {
            let (start, end) = (clock(gap.start), clock(gap.end));
            let _ = writeln!(
                out,
                "<li>{start} to {end}: {} could not be transcribed</li>",
                span(gap.end - gap.start)
            );
        }
        out.push_str("</ul>\n");
    }
    if !run.chunks.is_empty() {
        out.push_str("<h3>Chunks over time</h3>\n");
        drawing::legend(out);
        drawing::timeline(out, at, run);
    }
    if !run.envelope.is_empty() || !run.cuts.is_empty() {
        out.push_str("<h3>Audio: pauses (light), cuts (lines)</h3>\n");
        drawing::waveform(out, run);
    }
    if !run.quota.is_empty() {
        out.push_str("<h3>Quota that was left</h3>\n");
        drawing::quota(out, run);
    }
    write_stages(out, run);
    if let Some(transcript) = &run.transcript {
        let _ = writeln!(out, "<h3>Transcript</h3>\n<pre class=\"transcript\">{}</pre>", text(transcript));
    }
    out.push_str("</section>\n");
}

fn write_figures(out: &mut String, run: &Run) {
    let hits = run.chunks.iter().filter(|chunk| chunk.stages.iter().any(|bar| bar.stage == "hit")).count();
    let retries =
        run.chunks.iter().flat_map(|chunk| &chunk.stages).filter(|bar| bar.stage == "retry").count();
    let failed = run.chunks.iter().filter(|chunk| chunk.outcome == "failed").count();
    let speed = if run.wall_seconds > 0.0 { run.audio_seconds / run.wall_seconds } else { 0.0 };
    let outcome = if run.outcome.is_empty() { "not ended" } else { &run.outcome };
    let figures = [
        ("outcome", text(outcome)),
        ("audio", span(run.audio_seconds)),
        ("time", span(run.wall_seconds)),
        ("speed", format!("{speed:.1}×")),
        ("chunks", run.chunks.len().to_string()),
        ("found in the cache", hits.to_string()),
        ("failed", failed.to_string()),
        ("retries", retries.to_string()),
        ("at once, at most", run.lanes().to_string()),
        ("gaps", run.gaps.len().to_string()),
        ("not sent again", span(run.saved_seconds)),
        ("saved", format!("${:.4}", run.saved_microdollars as f64 / 1e6)),
    ];
    out.push_str("<dl class=\"figures\">\n");
    for (name, value) in figures {
        let _ = writeln!(out, "<div><dt>{name}</dt><dd>{value}</dd></div>");
    }
    out.push_str("</dl>\n");
}

fn write_stages(out: &mut String, run: &Run) {
    let times = run.stage_times();
    if times.is_empty() {
        return;
    }
    out.push_str(
        "<h3>Stages</h3>\n<table>\n<thead><tr><th scope=\"col\">stage</th><th scope=\"col\">times</th>\
         <th scope=\"col\">in all</th><th scope=\"col\">p50</th><th scope=\"col\">p90</th><th scope=\"col\">p99</th>\
         <th scope=\"col\">max</th></tr></thead>\n<tbody>\n",
    );
    for stage in times {
        let of = stage.percentiles;
        let _ = writeln!(
            out,
            "<tr><th scope=\"row\">{}</th><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>",
            text(&stage.stage),
            stage.count,
            span(stage.seconds),
            span(of.p50),
            span(of.p90),
            span(of.p99),
            span(of.max)
        );
    }
    out.push_str("</tbody>\n</table>\n");
}

/// What the script tells of each chunk: rows of numbers, to the millisecond.
fn data(report: &RunReport) -> String {
    let rounded = |seconds: f64| (seconds * 1e3).round() / 1e3;
    let runs: Vec<serde_json::Value> = report
        .runs
        .iter()
        .map(|run| {
            let rows: Vec<serde_json::Value> = run
                .chunks
                .iter()
                .map(|chunk| {
                    let (began, ended) = (rounded(chunk.began), rounded(chunk.ended));
                    let (start, seconds) = (rounded(chunk.start), rounded(chunk.seconds));
                    let tries = chunk.stages.iter().filter(|bar| bar.stage == "retry").count();
                    // Nearly all are done: that is the 0 that the script leaves out.
                    let outcome = match chunk.outcome.as_str() {
                        "done" => serde_json::Value::from(0),
                        other => serde_json::Value::from(other),
                    };
                    serde_json::json!([chunk.index, start, seconds, began, ended, outcome, tries])
                })
                .collect();
            serde_json::json!({ "id": run.id, "chunks": rows })
        })
        .collect();
    // Nothing in it can end the element that it stands in.
    serde_json::Value::from(runs).to_string().replace('<', "\\u003c")
}

/// A text between tags or quotes.
fn text(raw: &str) -> String {
    let mut out = String::with_capacity(raw.len());
    for c in raw.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            // Of the control characters HTML allows only these.
            c if c.is_control() && !matches!(c, '\n' | '\t') => out.push('\u{FFFD}'),
            c => out.push(c),
        }
    }
    out
}

/// A length of time as people say it.
fn span(seconds: f64) -> String {
    match seconds {
        0.0 => "0 s".to_owned(),
        s if s < 0.001 => format!("{:.0} µs", s * 1e6),
        s if s < 1.0 => format!("{:.0} ms", s * 1e3),
        s if s < 60.0 => format!("{s:.2} s"),
        s if s < 3_600.0 => format!("{:.0} min {:02.0} s", (s / 60.0).floor(), (s % 60.0).floor()),
        s => format!("{:.0} h {:02.0} min", (s / 3_600.0).floor(), (s % 3_600.0 / 60.0).floor()),
    }
}

/// A place in the audio.
fn clock(seconds: f64) -> String {
    let whole = seconds.max(0.0) as u64;
    format!("{}:{:02}:{:02}", whole / 3_600, whole / 60 % 60, whole % 60)
}

#[cfg(test)]
#[path = "run_report_page/tests.rs"]
mod tests;
