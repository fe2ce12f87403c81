//! The Grafana dashboard: what matters at a glance, then a row with every metric of each context.

use anyhow::{Result, bail};
use serde_json::{Value, json};

use super::Metric;

/// A title, a unit as Grafana names it, and queries with their legends.
type Glance = (&'static str, &'static str, &'static [(&'static str, &'static str)]);

/// Panels that are open.
const AT_A_GLANCE: [Glance; 8] = [
    (
        "Recordings an hour",
        "none",
        &[("sum by (outcome) (increase(wavequill_processing_files_total[1h]))", "{{outcome}}")],
    ),
    (
        "Audio transcribed, seconds a second",
        "none",
        &[("sum by (origin) (rate(wavequill_processing_chunk_audio_seconds_sum[5m]))", "{{origin}}")],
    ),
    (
        "Time of a request",
        "s",
        &[
            (
                "histogram_quantile(0.5, sum by (le) (rate(wavequill_external_request_seconds_bucket[5m])))",
                "p50",
            ),
            (
                "histogram_quantile(0.99, sum by (le) (rate(wavequill_external_request_seconds_bucket[5m])))",
                "p99",
            ),
        ],
    ),
    (
        "Attempts a second",
        "none",
        &[("sum by (outcome) (rate(wavequill_external_attempts_total[5m]))", "{{outcome}}")],
    ),
    (
        "Money an hour, dollars",
        "currencyUSD",
        &[
            (
                "sum by (model) (increase(wavequill_external_cost_microdollars_total[1h])) / 1e6",
                "spent on {{model}}",
            ),
            ("sum(increase(wavequill_caching_saved_microdollars_total[1h])) / 1e6", "saved"),
        ],
    ),
    (
        "Quota that is left",
        "percentunit",
        &[("wavequill_external_quota_remaining / (wavequill_external_quota_limit > 0)", "{{dimension}}")],
    ),
    (
        "Jobs",
        "none",
        &[
            ("sum by (state) (wavequill_queue_jobs)", "{{state}}"),
            ("max(wavequill_queue_oldest_ready_seconds)", "oldest ready, s"),
        ],
    ),
    (
        "Found in the cache",
        "percentunit",
        &[(
            "sum by (level) (rate(wavequill_caching_lookups_total{outcome=\"hit\"}[5m])) / \
             sum by (level) (rate(wavequill_caching_lookups_total{outcome!=\"skipped\"}[5m]))",
            "{{level}}",
        )],
    ),
];

/// The dashboard of these metrics.
///
/// # Errors
/// If a panel names a metric that is not among them.
pub(super) fn of(metrics: &[Metric]) -> Result<Value> {
    let mut panels = Vec::new();
    let mut ids = 1..;
    let mut next = || ids.next().unwrap_or(0);
    for (at, (title, unit, queries)) in AT_A_GLANCE.into_iter().enumerate() {
        for (expression, _) in queries {
            check(expression, metrics)?;
        }
        panels.push(panel(next(), title, "", unit, queries, at));
    }
    let mut contexts: Vec<&str> = metrics.iter().map(Metric::context).collect();
    contexts.dedup();
    for (at, context) in contexts.into_iter().enumerate() {
        let of_context = metrics.iter().filter(|metric| metric.context() == context);
        let inside: Vec<Value> =
            of_context.enumerate().map(|(at, metric)| metric_panel(next(), metric, at)).collect();
        panels.push(json!({
            "id": next(), "type": "row", "title": context, "collapsed": true, "panels": inside,
            "gridPos": { "h": 1, "w": 24, "x": 0, "y": 100 + at },
        }));
    }
    Ok(json!({
        "title": "wavequill",
        "uid": "wavequill",
        "description": "Written by `cargo xtask generate`",
        "schemaVersion": 39,
        "editable": true,
        "refresh": "30s",
        "time": { "from": "now-3h", "to": "now" },
        "tags": ["wavequill"],
        "templating": { "list": [{
            "name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus",
        }] },
        "panels": panels,
    }))
}

/// Every name in a query is that of a metric, or of a part of a distribution.
fn check(expression: &str, metrics: &[Metric]) -> Result<()> {
    let words = expression.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    for name in words.filter(|word| word.starts_with("wavequill_")) {
        let exists = metrics.iter().any(|metric| match metric.kind.as_str() {
            "histogram" => name
                .strip_prefix(&metric.name)
                .is_some_and(|part| ["_bucket", "_count", "_sum"].contains(&part)),
            _ => name == metric.name,
        });
        if !exists {
            bail!(
                "the dashboard asks for `{name}`, which does not exist: correct the query in generate/dashboard.rs"
            );
        }
    }
    Ok(())
}

fn metric_panel(id: u32, metric: &Metric, at: usize) -> Value {
    let labels: Vec<&str> = metric.labels.keys().map(String::as_str).collect();
    let by = |more: &str| {
        [labels.clone(), vec![more]]
            .concat()
            .into_iter()
            .filter(|label| !label.is_empty())
            .collect::<Vec<_>>()
            .join(", ")
    };
    let legend = |more: &str| {
        let named = labels.iter().map(|label| format!("{{{{{label}}}}}"));
        let all: Vec<String> = named.chain([more.to_owned()]).filter(|part| !part.is_empty()).collect();
        if all.is_empty() { metric.name.clone() } else { all.join(" ") }
    };
    let name = &metric.name;
    let queries = match metric.kind.as_str() {
        "histogram" => [("0.5", "p50"), ("0.99", "p99")]
            .map(|(q, shown)| {
                let expression =
                    format!("histogram_quantile({q}, sum by ({}) (rate({name}_bucket[5m])))", by("le"));
                (expression, legend(shown))
            })
            .to_vec(),
        "counter" => vec![(format!("sum by ({}) (rate({name}[5m]))", by("")), legend(""))],
        _ => vec![(format!("sum by ({}) ({name})", by("")), legend(""))],
    };
    let unit = match (metric.unit.as_deref(), metric.kind.as_str()) {
        (Some("bytes"), "counter") => "Bps",
        (Some("bytes"), _) => "bytes",
        (Some("seconds"), "gauge" | "histogram") => "s",
        _ => "none",
    };
    let queries: Vec<(&str, &str)> =
        queries.iter().map(|(query, legend)| (query.as_str(), legend.as_str())).collect();
    let title = name.trim_start_matches("wavequill_");
    panel(id, title, &metric.help, unit, &queries, at)
}

/// One panel, two in a line.
fn panel(id: u32, title: &str, help: &str, unit: &str, queries: &[(&str, &str)], at: usize) -> Value {
    let source = json!({ "type": "prometheus", "uid": "${datasource}" });
    let targets: Vec<Value> = queries
        .iter()
        .zip('A'..)
        .map(|((expression, legend), letter)| {
            json!({ "refId": letter.to_string(), "expr": expression, "legendFormat": legend, "datasource": source })
        })
        .collect();
    json!({
        "id": id, "type": "timeseries", "title": title, "description": help, "datasource": source, "targets": targets,
        "fieldConfig": { "defaults": { "unit": unit, "min": 0 }, "overrides": [] },
        "options": { "legend": { "displayMode": "table", "placement": "right" }, "tooltip": { "mode": "multi" } },
        "gridPos": { "h": 8, "w": 12, "x": at % 2 * 12, "y": at / 2 * 8 },
    })
}
