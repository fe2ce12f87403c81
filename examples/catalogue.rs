//! Prints, as JSON, what a service with the defaults tells from its start: every metric with its labels, the page that a scraper
//! gets, and the alert rules for Prometheus. `cargo xtask generate` makes the dashboard and the list in `docs/` of it.
#![expect(clippy::print_stdout, reason = "a command line speaks to its terminal")]

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result};
use serde_json::json;
use wavequill::Wavequill;
use wavequill::monitoring::{
    Format, MetricDescription, MetricsSnapshot, RuleSet, SeriesKey, prometheus_rules,
};

#[tokio::main]
async fn main() -> Result<()> {
    // Nothing is sent: the address need not answer.
    let wavequill = Wavequill::builder().base_url("http://127.0.0.1:9/v1").build().await?;
    wavequill.monitor().tick().await?;
    let (catalogue, snapshot) = (wavequill.monitor().catalogue(), wavequill.metrics());
    let page = String::from_utf8(wavequill.monitor().render(Format::Text)?).context("the text is UTF-8")?;
    let metrics: Vec<_> = catalogue.iter().map(|metric| description(metric, &snapshot)).collect();
    let rules = RuleSet::for_wavequill();
    rules.check_metrics(&catalogue)?;
    let rules = prometheus_rules(&rules, &catalogue, "wavequill");
    println!("{}", json!({ "metrics": metrics, "page": page, "rules": rules }));
    Ok(())
}

fn description(metric: &MetricDescription, snapshot: &MetricsSnapshot) -> serde_json::Value {
    let mut labels: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for key in keys(snapshot).filter(|key| *key.name() == metric.name) {
        for (label, value) in key.labels() {
            labels.entry(label).or_default().insert(value);
        }
    }
    json!({
        "name": metric.name.as_str(),
        "kind": metric.kind.as_str(),
        "unit": metric.unit.name(),
        "help": metric.help,
        "labels": labels,
    })
}

fn keys(snapshot: &MetricsSnapshot) -> impl Iterator<Item = &SeriesKey> {
    let counters = snapshot.counters().map(|(key, _)| key);
    let gauges = snapshot.gauges().map(|(key, _)| key);
    counters.chain(gauges).chain(snapshot.sketches().map(|(key, _)| key))
}
