//! What operators are given names only what exists, and who listens changes nothing.

use std::collections::BTreeSet;

use wavequill::Wavequill;
use wavequill::monitoring::{MetricsCollector as _, RuleSet, SketchMetricsCollector};
use wavequill::testing::speech_api_simulator;

use crate::transcribing::tones;

async fn text() -> String {
    let server = speech_api_simulator().start().await.unwrap();
    let builder = Wavequill::builder().base_url(server.base_url());
    let wavequill = builder.max_chunk_duration(std::time::Duration::from_secs(40)).build().await.unwrap();
    let transcript = wavequill.transcribe(tones(90)).await.unwrap().await.unwrap();
    assert!(wavequill.usage().requests > 1);
    transcript.text.clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_dashboard_and_the_rules_name_only_what_exists() {
    let wavequill = Wavequill::builder().base_url("http://127.0.0.1:9/v1").build().await.unwrap();
    let catalogue = wavequill.monitor().catalogue();
    assert_eq!(RuleSet::for_wavequill().check_metrics(&catalogue), Ok(()));
    let described: BTreeSet<&str> = catalogue.iter().map(|metric| metric.name.as_str()).collect();
    let page = include_str!("../../../../docs/grafana/wavequill.json");
    let rules = include_str!("../../../../docs/prometheus/rules.yml");
    for text in [page, rules] {
        let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        let names: BTreeSet<&str> = words.filter(|word| word.starts_with("wavequill_")).collect();
        assert!(names.len() > 5, "{names:?}");
        for name in names {
            let parts = ["", "_bucket", "_count", "_sum"];
            let known =
                parts.iter().any(|part| name.strip_suffix(part).is_some_and(|stem| described.contains(stem)));
            assert!(known, "{name} does not exist");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn with_a_recorder_of_the_process_or_without_the_transcript_is_the_same() {
    let without = text().await;
    let recorder = SketchMetricsCollector::default();
    recorder.install().unwrap();
    assert_eq!(text().await, without);
    let names = recorder
        .snapshot()
        .counters()
        .filter(|(key, _)| key.name().as_str().starts_with("wavequill_external"))
        .count();
    assert_eq!(names, 0, "the service keeps to its own collector");
}
