use super::*;
use crate::model::snapshot::{ProcessEpoch, Tick};
use crate::{MetricKind, MetricUnit, RuleSet, SeriesKey, Sketch};

fn snapshot() -> (MetricsSnapshot, Vec<MetricDescription>) {
    let tick = Tick { monotonic: Duration::ZERO, wall: SystemTime::UNIX_EPOCH };
    let mut waits = Sketch::new(MetricUnit::Seconds);
    for value in [0.0, 0.25, 0.25, 0.3, 1.0, 40_000.0] {
        waits.record(value).unwrap();
    }
    let snapshot = MetricsSnapshot::new(ProcessEpoch::from_bits(1), tick, tick)
        .with_counter(SeriesKey::new("files_total", [("name", "a\"b\\c\nd")]), 3)
        .with_gauge(SeriesKey::bare("in.flight"), 2.5)
        .with_sketch(SeriesKey::new("wait_seconds", [("pool", "a")]), waits.to_buckets())
        .with_sketch(SeriesKey::new("wait_seconds", [("pool", "b")]), Sketch::new(MetricUnit::Seconds));
    let described = |name: &str, kind, help: &str| MetricDescription {
        name: name.into(),
        kind,
        unit: MetricUnit::of_name(name),
        help: help.to_owned(),
    };
    let catalogue = vec![
        described("files_total", MetricKind::Counter, "Files, \"done\"."),
        described("wait_seconds", MetricKind::Histogram, "Waits."),
    ];
    (snapshot, catalogue)
}

fn page(format: Format) -> String {
    let (snapshot, catalogue) = snapshot();
    String::from_utf8(render(&snapshot, &catalogue, format, 1 << 20).unwrap()).unwrap()
}

#[test]
fn the_text_format_escapes_labels_and_counts_exactly_at_powers_of_two() {
    let page = page(Format::Text);
    assert!(page.starts_with("# HELP files_total Files, \"done\".\n# TYPE files_total counter\n"), "{page}");
    assert!(page.contains("files_total{name=\"a\\\"b\\\\c\\nd\"} 3\n"), "{page}");
    assert!(page.contains("# TYPE in_flight gauge\nin_flight 2.5\n"), "{page}");
    for line in [
        "wait_seconds_bucket{pool=\"a\",le=\"0.0009765625\"} 1\n",
        "wait_seconds_bucket{pool=\"a\",le=\"0.25\"} 3\n",
        "wait_seconds_bucket{pool=\"a\",le=\"0.5\"} 4\n",
        "wait_seconds_bucket{pool=\"a\",le=\"1\"} 5\n",
        "wait_seconds_bucket{pool=\"a\",le=\"32768\"} 5\n",
        "wait_seconds_bucket{pool=\"a\",le=\"+Inf\"} 6\n",
        "wait_seconds_sum{pool=\"a\"} 40001.8\n",
        "wait_seconds_count{pool=\"a\"} 6\n",
    ] {
        assert!(page.contains(line), "{line} in {page}");
    }
    let untouched: Vec<&str> = page.lines().filter(|line| line.contains("pool=\"b\"")).collect();
    assert_eq!(untouched.len(), 3, "{untouched:?}");
}

#[test]
fn openmetrics_names_counters_without_total_gives_units_and_an_end() {
    let page = page(Format::Openmetrics);
    assert!(
        page.starts_with("# TYPE files counter\n# HELP files Files, \\\"done\\\".\nfiles_total{"),
        "{page}"
    );
    assert!(page.contains("# TYPE wait_seconds histogram\n# UNIT wait_seconds seconds\n"), "{page}");
    assert!(page.contains("le=\"1.0\"} 5\n"), "{page}");
    assert!(page.ends_with("# EOF\n"), "{page}");
}

#[test]
fn names_that_meet_once_they_are_valid_are_refused() {
    let (snapshot, _) = snapshot();
    let clashing = snapshot.with_gauge(SeriesKey::bare("in_flight"), 1.0);
    let error = render(&clashing, &[], Format::Text, 1 << 20).unwrap_err();
    let (name, first, second) = ("in_flight".into(), "in.flight".into(), "in_flight".into());
    assert_eq!(error, MonitoringError::NameClash { name, first, second });
}

#[test]
fn an_output_over_its_limit_names_the_largest_metric() {
    let (snapshot, catalogue) = snapshot();
    let error = render(&snapshot, &catalogue, Format::Text, 500).unwrap_err();
    assert!(error.to_string().contains("the largest metric is `wait_seconds`"), "{error}");
}

#[test]
fn the_format_is_what_the_scraper_likes_best() {
    let of = Format::negotiate;
    assert_eq!(of(""), Format::Text);
    assert_eq!(of("text/plain"), Format::Text);
    assert_eq!(of("application/openmetrics-text; version=1.0.0"), Format::Openmetrics);
    assert_eq!(of("application/openmetrics-text; version=0.0.1, text/plain;q=0.5"), Format::Text);
    assert_eq!(of("text/plain;q=0.9, application/openmetrics-text;q=0.1"), Format::Text);
    assert_eq!(of("application/openmetrics-text;q=0"), Format::Text);
}

#[test]
fn times_are_written_as_rfc_3339_has_them() {
    let at = |seconds: u64| rfc3339(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds));
    assert_eq!(at(0), "1970-01-01T00:00:00.000Z");
    assert_eq!(at(951_782_400), "2000-02-29T00:00:00.000Z");
    assert_eq!(at(1_795_478_399), "2026-11-23T23:59:59.000Z");
    assert_eq!(at(4_107_542_400), "2100-03-01T00:00:00.000Z");
}

#[test]
fn exported_rules_are_promql_with_templates() {
    let yaml = prometheus_rules(&RuleSet::for_wavequill(), &[], "wavequill");
    assert!(yaml.contains("- alert: \"WavequillThrottled\""), "{yaml}");
    assert!(yaml.contains("and ignoring(alertname, alertstate, severity) ALERTS{alertname="), "{yaml}");
    assert!(yaml.contains("of kind {{ $labels.kind }} has been ready for {{ $value }} s"), "{yaml}");
    assert!(yaml.contains("histogram_quantile(0.99, sum by (pool, le) (rate("), "{yaml}");
}
