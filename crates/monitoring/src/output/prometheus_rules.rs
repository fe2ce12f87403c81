//! Alert rules as Prometheus reads them: one PromQL form for each condition.
//!
//! Windows are Prometheus' there: `increase` and `rate` extrapolate, so that an exported rule may differ by a step.

use std::fmt::Write as _;
use std::time::Duration;

use super::families::valid;
use crate::model::rule::{
    AlertRule, Bad, Condition, LabelMatch, NoData, Query, Range, RuleSet, Scope, Selector, Severity, Slo,
    duration_text,
};
use crate::model::snapshot::{MetricDescription, MetricKind};

/// A rule set as the YAML of a Prometheus rule file, with one group. The catalogue tells counters from distributions.
pub fn prometheus_rules(rules: &RuleSet, catalogue: &[MetricDescription], group: &str) -> String {
    let mut out = format!("groups:\n  - name: {}\n    rules:\n", quoted(group));
    for rule in rules.rules() {
        match &rule.when {
            Condition::Burn(slo) => {
                for severity in [Severity::Page, Severity::Ticket] {
                    write_rule(&mut out, rule, severity, &burn(slo, severity, catalogue));
                }
            }
            when => write_rule(&mut out, rule, rule.severity, &expression(rule, when, catalogue)),
        }
    }
    out
}

fn write_rule(out: &mut String, rule: &AlertRule, severity: Severity, expression: &str) {
    // Writing to a string never fails.
    let _ = write!(out, "      - alert: {}\n        expr: {}\n", quoted(&rule.name), quoted(expression));
    for (field, duration) in [("for", rule.hold), ("keep_firing_for", rule.keep_firing_for)] {
        if !duration.is_zero() {
            let _ = writeln!(out, "        {field}: {}", duration_text::text(duration));
        }
    }
    let _ = writeln!(out, "        labels:\n          severity: {}", quoted(severity.as_str()));
    for (name, value) in &rule.labels {
        let _ = writeln!(out, "          {}: {}", valid(name, false), quoted(value));
    }
    let mut annotations = rule.annotations.clone();
    if rule.no_data == NoData::Keep {
        let text = "within the process the alert keeps its state while there is no data; here it resolves"
            .to_owned();
        annotations.insert("no_data".to_owned(), text);
    }
    if rule.scope == Scope::Fleet {
        annotations.insert("scope".to_owned(), "over all processes".to_owned());
    }
    if !annotations.is_empty() {
        let _ = writeln!(out, "        annotations:");
    }
    for (name, text) in &annotations {
        let _ = writeln!(out, "          {}: {}", valid(name, false), quoted(&template(text)));
    }
}

/// JSON's strings are YAML's.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// `{value}` and `{label}` as Prometheus' templates have them.
fn template(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('{') {
        out.push_str(before);
        match after.split_once('}') {
            Some(("value", tail)) => {
                out.push_str("{{ $value }}");
                rest = tail;
            }
            Some((label, tail)) if valid(label, false) == label => {
                let _ = write!(out, "{{{{ $labels.{label} }}}}");
                rest = tail;
            }
            _ => {
                out.push('{');
                rest = after;
            }
        }
    }
    out + rest
}

fn expression(rule: &AlertRule, when: &Condition, catalogue: &[MetricDescription]) -> String {
    let clear = |query: &str, sign: &str, value: f64| match rule.clear {
        None => format!("{query} {sign} {value}"),
        Some(clear) => {
            let mut ignored = vec!["alertname", "alertstate", "severity"];
            ignored.extend(rule.labels.keys().map(String::as_str));
            let firing = format!("ALERTS{{alertname={},alertstate=\"firing\"}}", quoted(&rule.name));
            format!(
                "({query} {sign} {value}) or (({query} {sign} {clear}) and ignoring({}) {firing})",
                ignored.join(", ")
            )
        }
    };
    match when {
        Condition::Above { query, value } => clear(&promql(query, catalogue), ">", *value),
        Condition::Below { query, value } => clear(&promql(query, catalogue), "<", *value),
        Condition::Absent(series) => format!("absent({})", selector(series, "")),
        Condition::Burn(slo) => burn(slo, Severity::Page, catalogue),
        Condition::All(parts) => joined(rule, parts, "and", catalogue),
        Condition::Any(parts) => joined(rule, parts, "or", catalogue),
    }
}

fn joined(rule: &AlertRule, parts: &[Condition], word: &str, catalogue: &[MetricDescription]) -> String {
    let mut out = String::new();
    for (at, part) in parts.iter().enumerate() {
        let inner = AlertRule { clear: None, ..rule.clone() };
        // What has no labels stands for all.
        let on = if word == "and" && has_no_labels(part) { " on()" } else { "" };
        let sign = if at == 0 { String::new() } else { format!(" {word}{on} ") };
        let _ = write!(out, "{sign}({})", expression(&inner, part, catalogue));
    }
    out
}

fn has_no_labels(condition: &Condition) -> bool {
    let none = |series: &Selector| series.by.as_ref().is_some_and(Vec::is_empty);
    match condition {
        Condition::Above { query, .. } | Condition::Below { query, .. } => match query {
            Query::Last(series) | Query::Age(series) => none(series),
            Query::Increase(range) | Query::Rate(range) | Query::Ratio(range, _) => none(&range.series),
            Query::Quantile { of, .. } => none(&of.series),
        },
        Condition::Absent(series) => series.matches.is_empty(),
        Condition::Burn(_) | Condition::All(_) | Condition::Any(_) => false,
    }
}

fn promql(query: &Query, catalogue: &[MetricDescription]) -> String {
    match query {
        Query::Last(series) => summed("sum", series, &selector(series, "")),
        Query::Age(series) => format!("time() - {}", summed("min", series, &selector(series, ""))),
        Query::Increase(range) => over("increase", range, catalogue),
        Query::Rate(range) => over("rate", range, catalogue),
        Query::Ratio(part, whole) => {
            format!("{} / {}", over("increase", part, catalogue), over("increase", whole, catalogue))
        }
        Query::Quantile { q, of } => {
            let rate =
                format!("rate({}[{}])", selector(&of.series, "_bucket"), duration_text::text(of.window));
            let with_le = of.series.by.as_ref().map(|by| [by.as_slice(), &["le".to_owned()]].concat());
            let series = Selector { by: with_le, ..of.series.clone() };
            format!("histogram_quantile({}, {})", q.share(), summed("sum", &series, &rate))
        }
    }
}

/// `increase` or `rate` of a counter, or of a distribution's count.
fn over(function: &str, range: &Range, catalogue: &[MetricDescription]) -> String {
    let is_histogram = |metric: &&MetricDescription| {
        metric.name == range.series.metric && metric.kind == MetricKind::Histogram
    };
    let suffix = if catalogue.iter().any(|metric| is_histogram(&metric)) { "_count" } else { "" };
    let inner =
        format!("{function}({}[{}])", selector(&range.series, suffix), duration_text::text(range.window));
    summed("sum", &range.series, &inner)
}

fn summed(function: &str, series: &Selector, inner: &str) -> String {
    match &series.by {
        None => inner.to_owned(),
        Some(by) if by.is_empty() => format!("{function}({inner})"),
        Some(by) => {
            let by: Vec<String> = by.iter().map(|label| valid(label, false)).collect();
            format!("{function} by ({}) ({inner})", by.join(", "))
        }
    }
}

fn selector(series: &Selector, suffix: &str) -> String {
    let matches: Vec<String> = series
        .matches
        .iter()
        .map(|(label, wanted)| match wanted {
            LabelMatch::Is(value) => format!("{}={}", valid(label, false), quoted(value)),
            LabelMatch::OneOf(values) => {
                let any: Vec<String> = values.iter().map(|value| literal(value)).collect();
                format!("{}=~{}", valid(label, false), quoted(&any.join("|")))
            }
        })
        .collect();
    let name = format!("{}{suffix}", valid(series.metric.as_str(), true));
    if matches.is_empty() { name } else { format!("{name}{{{}}}", matches.join(",")) }
}

/// A text as a regular expression of itself.
fn literal(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        if r"\.+*?()|[]{}^$".contains(c) {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

fn burn(slo: &Slo, severity: Severity, catalogue: &[MetricDescription]) -> String {
    let windows: &[(f64, u64)] = match severity {
        Severity::Page => &[(14.4, 3_600), (6.0, 6 * 3_600)],
        Severity::Ticket | Severity::Info => &[(1.0, 3 * 86_400)],
    };
    let bad = |window: Duration| match &slo.bad {
        Bad::Counted(series) => over("increase", &Range::of(series.clone(), window), catalogue),
        Bad::Over(bound) => {
            let all = over("increase", &Range::of(slo.total.clone(), window), catalogue);
            let fast = slo.total.clone().with_match("le", format!("{bound}").as_str());
            let inner = format!("increase({}[{}])", selector(&fast, "_bucket"), duration_text::text(window));
            // Series are compared without the bucket's own label.
            let fast = match &slo.total.by {
                None => format!("sum without (le) ({inner})"),
                Some(_) => summed("sum", &slo.total, &inner),
            };
            format!("({all} - {fast})")
        }
    };
    let one = |(factor, seconds): &(f64, u64)| {
        let long = Duration::from_secs(*seconds);
        let limit = factor * (1.0 - slo.objective);
        let burns = |window| {
            let total = over("increase", &Range::of(slo.total.clone(), window), catalogue);
            format!("{} / {total} > {limit:.6}", bad(window))
        };
        format!("({} and {} and {} >= 3)", burns(long), burns(long / 12), bad(long))
    };
    windows.iter().map(one).collect::<Vec<_>>().join(" or ")
}
