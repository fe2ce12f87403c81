//! What the contexts emit, and what is told about it.

use std::collections::BTreeSet;

use wavequill::Wavequill;
use wavequill::monitoring::Format;
use wavequill::testing::speech_api_simulator;

/// The names of all metrics that a service describes.
async fn described() -> BTreeSet<String> {
    let server = speech_api_simulator().start().await.unwrap();
    let wavequill = Wavequill::builder().base_url(server.base_url()).build().await.unwrap();
    let page = String::from_utf8(wavequill.monitor().render(Format::Text).unwrap()).unwrap();
    let names = page.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next());
    names.filter(|name| name.starts_with("wavequill_")).map(str::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_metric_is_listed_for_operators_and_no_other() {
    let described = described().await;
    assert!(described.len() > 60, "{described:?}");
    let page = include_str!("../../../../docs/operations.md");
    let listed: BTreeSet<String> = page
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split('`').next())
        .filter(|name| name.starts_with("wavequill_"))
        .map(str::to_owned)
        .collect();
    let missing: Vec<_> = described.difference(&listed).collect();
    let unknown: Vec<_> = listed.difference(&described).collect();
    assert!(missing.is_empty() && unknown.is_empty(), "missing: {missing:#?}, unknown: {unknown:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_services_in_one_process_do_not_mix_their_numbers() {
    let server = speech_api_simulator().start().await.unwrap();
    let build = || Wavequill::builder().base_url(server.base_url()).build();
    let (busy, idle) = (build().await.unwrap(), build().await.unwrap());
    let source = crate::transcribing::tones(10);
    busy.transcribe(source).await.unwrap().await.unwrap();
    assert_eq!((busy.usage().requests, idle.usage().requests), (1, 0));
    assert!(busy.usage().latencies.contains_key("request"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_default_rules_are_evaluated_and_a_gap_raises_its_alert() {
    use wavequill::external::testing::{Fault, Faults};
    use wavequill::{Gaps, TranscribeOptions};

    let refused = Fault::Status(http::StatusCode::UNPROCESSABLE_ENTITY);
    let server = speech_api_simulator().with_faults(Faults::none().on(1, refused)).start().await.unwrap();
    let wavequill = Wavequill::builder()
        .base_url(server.base_url())
        .max_chunk_duration(std::time::Duration::from_secs(40))
        .options(TranscribeOptions::default().with_gaps(Gaps::Allow))
        .build()
        .await
        .unwrap();
    wavequill.monitor().tick().await.unwrap();
    assert!(wavequill.monitor().alerts().is_empty(), "{:?}", wavequill.monitor().alerts());
    let transcript = wavequill.transcribe(crate::transcribing::tones(100)).await.unwrap().await.unwrap();
    assert_eq!(transcript.gaps.len(), 1);
    wavequill.monitor().tick().await.unwrap();
    let alerts = wavequill.monitor().alerts();
    assert!(alerts.iter().any(|alert| alert.rule.contains("Gap")), "{alerts:?}");
}
