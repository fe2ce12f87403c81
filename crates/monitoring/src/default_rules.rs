//! The rules that watch wavequill's own promises.

use std::time::Duration;

use crate::model::quantile::Quantile;
use crate::model::rule::{AlertRule, Bad, Condition, NoData, Query, Range, RuleSet, Selector, Severity, Slo};

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3_600);

impl RuleSet {
    /// What should never happen, or not for long, where wavequill runs. Pages: any gap in a transcript, a stopped key, a
    /// failed write of what was paid for, jobs against their objective of 99.9 %, a job that waits too long, no
    /// heartbeat. Tickets: avoidable throttling, a possible double bill, slow pools, an open breaker, leaked
    /// connections, a model about to retire, a late tick.
    ///
    /// The rules are those for metrics that exist in the process: pass them through
    /// [`RuleSet::known_to`] if some contexts are not used.
    pub fn for_wavequill() -> Self {
        Self::of_checked([pages(), tickets()].concat())
    }

    /// Only the rules whose metrics have been described, each of the kind that its query needs.
    #[must_use]
    pub fn known_to(&self, catalogue: &[crate::model::snapshot::MetricDescription]) -> Self {
        let known = |rule: &&AlertRule| {
            crate::model::rule_check::check_metrics(std::slice::from_ref(*rule), catalogue).is_ok()
        };
        Self::of_checked(self.rules().iter().filter(known).cloned().collect())
    }
}

fn any(metric: &str) -> Selector {
    Selector::of(metric).summed_by(&[])
}

fn grew(series: Selector, window: Duration) -> Condition {
    Condition::Above { query: Query::Increase(Range::of(series, window)), value: 0.0 }
}

fn last_above(series: Selector, value: f64) -> Condition {
    Condition::Above { query: Query::Last(series), value }
}

fn rule(name: &str, severity: Severity, when: Condition, summary: &str) -> AlertRule {
    AlertRule::new(name, when).with_severity(severity).with_annotation("summary", summary)
}

fn pages() -> Vec<AlertRule> {
    let page = |name, when, summary| rule(name, Severity::Page, when, summary);
    let finished = Slo {
        total: any("wavequill_queue_run_seconds")
            .with_any_of("outcome", &["done", "failed", "timed_out", "panicked"]),
        bad: Bad::Counted(
            any("wavequill_queue_run_seconds").with_any_of("outcome", &["failed", "timed_out", "panicked"]),
        ),
        objective: 0.999,
    };
    vec![
        page(
            "WavequillGap",
            grew(any("wavequill_processing_gap_audio_seconds"), 15 * MINUTE),
            "{value} stretches of audio could not be transcribed in the last 15 minutes",
        ),
        page(
            "WavequillKeyStopped",
            last_above(any("wavequill_external_key_stopped"), 0.0),
            "the API refused the key or the account: nothing is sent until it is renewed",
        )
        .with_no_data(NoData::Keep),
        page(
            "WavequillStoreWriteFailed",
            grew(
                any("wavequill_caching_puts_total").with_match("level", "l3").with_match("outcome", "error"),
                10 * MINUTE,
            ),
            "{value} transcribed chunks could not be stored: a crash now would pay for them again",
        ),
        page(
            "WavequillJobs",
            Condition::Burn(finished),
            "{value} of the jobs failed: the objective is 99.9 %",
        ),
        page(
            "WavequillJobWaits",
            last_above(Selector::of("wavequill_queue_oldest_ready_seconds"), 900.0),
            "a job of kind {kind} has been ready for {value} s: there are too few workers",
        )
        .with_for(2 * MINUTE),
        page(
            "WavequillNoHeartbeat",
            last_above(any("wavequill_queue_heartbeat_age_seconds"), 60.0),
            "this worker has not renewed its leases for {value} s: its jobs will be run again elsewhere",
        )
        .with_for(MINUTE),
    ]
}

fn tickets() -> Vec<AlertRule> {
    let ticket = |name, when, summary| rule(name, Severity::Ticket, when, summary);
    let attempts = any("wavequill_external_attempts_total");
    let over = |series, window| Range::of(series, window);
    let throttled = over(attempts.clone().with_match("outcome", "throttled"), 30 * MINUTE);
    let waits =
        Range::of(Selector::of("wavequill_database_acquire_seconds").summed_by(&["pool"]), 10 * MINUTE);
    vec![
        ticket(
            "WavequillThrottled",
            Condition::Above { query: Query::Ratio(throttled, over(attempts, 30 * MINUTE)), value: 0.01 },
            "{value} of the attempts were answered 429: the quota is set too high",
        )
        .with_for(5 * MINUTE)
        .with_clear(0.002),
        ticket(
            "WavequillDoubleBill",
            grew(any("wavequill_external_double_bills_total"), HOUR),
            "{value} requests may have been billed twice in the last hour",
        ),
        ticket(
            "WavequillPoolSlow",
            Condition::Above { query: Query::Quantile { q: Quantile::P99, of: waits }, value: 1.0 },
            "one in a hundred waits {value} s for a connection of pool {pool}",
        )
        .with_for(5 * MINUTE),
        ticket(
            "WavequillBreakerOpen",
            last_above(Selector::of("wavequill_caching_breaker_open"), 0.0),
            "a cache level has been left out for five minutes",
        )
        .with_for(5 * MINUTE),
        ticket(
            "WavequillPoolLeak",
            grew(Selector::of("wavequill_database_leaks_total"), HOUR),
            "{value} connections of pool {pool} were held far too long",
        ),
        ticket(
            "WavequillModelRetires",
            Condition::Below {
                query: Query::Last(Selector::of("wavequill_external_model_retires_seconds")),
                value: 90.0 * 86_400.0,
            },
            "model {model} retires in {value} s: choose another",
        )
        .with_no_data(NoData::Keep),
        ticket(
            "WavequillLateTick",
            last_above(any("wavequill_monitoring_tick_age_seconds"), 60.0),
            "monitoring itself was {value} s late: the process is starved or was asleep",
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_rules_pass_their_own_check_and_read_back() {
        let rules = RuleSet::for_wavequill();
        assert_eq!(RuleSet::new(rules.rules().to_vec()).unwrap(), rules);
        let json = serde_json::to_string(&rules).unwrap();
        assert_eq!(serde_json::from_str::<RuleSet>(&json).unwrap(), rules);
    }

    #[test]
    fn every_rule_tells_people_what_is_wrong() {
        for rule in RuleSet::for_wavequill().rules() {
            assert!(rule.annotations.get("summary").is_some_and(|text| text.len() > 20), "{}", rule.name);
        }
    }

    #[test]
    fn rules_about_what_does_not_exist_are_left_out() {
        let collector = crate::SketchMetricsCollector::default();
        let known = RuleSet::for_wavequill().known_to(&crate::MetricsCollector::catalogue(&collector));
        assert_eq!(known.rules().len(), 0, "the tick is described by the monitor");
    }
}
