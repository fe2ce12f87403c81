//! Whether rules can be evaluated as they are written: checked once, when a set is made.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::error::MonitoringError;
use crate::model::rule::{AlertRule, Bad, Condition, Query, Range, RuleSet, Selector, Slo};
use crate::model::snapshot::{MetricDescription, MetricKind};

/// How deep conditions may nest: more is a mistake, and the walk is recursive.
const MAX_DEPTH: usize = 16;

/// The field at fault and why.
type Fault = (String, String);

pub(crate) fn check(rules: &[AlertRule]) -> Result<(), MonitoringError> {
    let mut names = BTreeSet::new();
    for rule in rules {
        let unique = if rule.name.is_empty() {
            Err(fault("name", "is empty: give the rule a name"))
        } else if names.insert(&rule.name) {
            Ok(())
        } else {
            Err(fault("name", "is used by another rule: give each its own"))
        };
        unique.and_then(|()| check_rule(rule)).map_err(|(field, reason)| MonitoringError::InvalidRule {
            rule: rule.name.clone(),
            field,
            reason,
        })?;
    }
    Ok(())
}

fn fault(field: impl Into<String>, reason: impl Into<String>) -> Fault {
    (field.into(), reason.into())
}

fn check_rule(rule: &AlertRule) -> Result<(), Fault> {
    for label in rule.labels.keys() {
        if label == "alertname" || label == "severity" {
            return Err(fault(
                format!("labels.{label}"),
                "is set by the rule's name and severity: remove it",
            ));
        }
    }
    if rule.limit == Some(0) {
        return Err(fault("limit", "is 0, which no alert passes: leave it out for no limit"));
    }
    check_condition("when", &rule.when, 0)?;
    check_clear(rule)
}

fn check_clear(rule: &AlertRule) -> Result<(), Fault> {
    let Some(clear) = rule.clear else { return Ok(()) };
    if !clear.is_finite() {
        return Err(fault("clear", format!("is {clear}: it must be a number")));
    }
    match rule.when {
        Condition::Above { value, .. } if clear > value => Err(fault(
            "clear",
            format!("is {clear}, beyond the value {value}: at most {value} clears an `above`"),
        )),
        Condition::Below { value, .. } if clear < value => Err(fault(
            "clear",
            format!("is {clear}, beyond the value {value}: at least {value} clears a `below`"),
        )),
        Condition::Above { .. } | Condition::Below { .. } => Ok(()),
        Condition::Absent(_) | Condition::Burn(_) | Condition::All(_) | Condition::Any(_) => {
            Err(fault("clear", "belongs to a rule whose condition is `above` or `below`: remove it"))
        }
    }
}

fn check_condition(at: &str, condition: &Condition, depth: usize) -> Result<(), Fault> {
    if depth > MAX_DEPTH {
        return Err(fault(at, format!("nests more than {MAX_DEPTH} conditions: split the rule")));
    }
    match condition {
        Condition::Above { query, value } | Condition::Below { query, value } => {
            if !value.is_finite() {
                return Err(fault(format!("{at}.value"), format!("is {value}: it must be a number")));
            }
            check_query(&format!("{at}.query"), query)
        }
        Condition::Absent(series) => check_series(at, series),
        Condition::Burn(_) if depth > 0 => {
            Err(fault(at, "is a burn within another condition: make it a rule of its own"))
        }
        Condition::Burn(slo) => check_slo(at, slo),
        Condition::All(parts) | Condition::Any(parts) if parts.is_empty() => {
            Err(fault(at, "has no condition: give at least one"))
        }
        Condition::All(parts) | Condition::Any(parts) => parts
            .iter()
            .enumerate()
            .try_for_each(|(part, inner)| check_condition(&format!("{at}[{part}]"), inner, depth + 1)),
    }
}

fn check_slo(at: &str, slo: &Slo) -> Result<(), Fault> {
    check_series(at, &slo.total)?;
    if !(slo.objective > 0.0 && slo.objective < 1.0) {
        let reason = format!("is {}: it must be between 0 and 1, as 0.999", slo.objective);
        return Err(fault(format!("{at}.objective"), reason));
    }
    match &slo.bad {
        Bad::Counted(series) if series.by != slo.total.by => {
            Err(fault(format!("{at}.bad.by"), "differs from that of `total`: they must be added up alike"))
        }
        Bad::Counted(series) => check_series(&format!("{at}.bad"), series),
        Bad::Over(bound) if bound.is_finite() && *bound > 0.0 => Ok(()),
        Bad::Over(bound) => Err(fault(format!("{at}.bad.over"), format!("is {bound}: it must be above 0"))),
    }
}

fn check_query(at: &str, query: &Query) -> Result<(), Fault> {
    match query {
        Query::Last(series) | Query::Age(series) => check_series(at, series),
        Query::Increase(range) | Query::Rate(range) => check_range(at, range, RuleSet::MAX_WINDOW),
        Query::Ratio(part, whole) => {
            check_range(&format!("{at}[0]"), part, RuleSet::MAX_WINDOW)?;
            check_range(&format!("{at}[1]"), whole, RuleSet::MAX_WINDOW)
        }
        Query::Quantile { of, .. } => check_range(at, of, RuleSet::MAX_DISTRIBUTION_WINDOW),
    }
}

fn check_range(at: &str, range: &Range, longest: Duration) -> Result<(), Fault> {
    if range.window.is_zero() || range.window > longest {
        let hours = longest.as_secs() / 3_600;
        let reason =
            format!("is {:?}: it must be above 0 and at most {hours} h, which is kept", range.window);
        return Err(fault(format!("{at}.window"), reason));
    }
    check_series(at, &range.series)
}

fn check_series(at: &str, series: &Selector) -> Result<(), Fault> {
    if series.metric.as_str().is_empty() {
        return Err(fault(format!("{at}.metric"), "is empty: name a metric"));
    }
    Ok(())
}

/// Which kinds of metric a selector may be of.
const COUNTABLE: &[MetricKind] = &[MetricKind::Counter, MetricKind::Histogram];
const GAUGES: &[MetricKind] = &[MetricKind::Gauge];
const HISTOGRAMS: &[MetricKind] = &[MetricKind::Histogram];
const ANY: &[MetricKind] = &[MetricKind::Counter, MetricKind::Gauge, MetricKind::Histogram];

pub(crate) fn check_metrics(
    rules: &[AlertRule],
    catalogue: &[MetricDescription],
) -> Result<(), MonitoringError> {
    for rule in rules {
        for (series, kinds) in selectors(&rule.when) {
            let refuse = |reason: String| MonitoringError::InvalidRule {
                rule: rule.name.clone(),
                field: "metric".to_owned(),
                reason,
            };
            let known = catalogue.iter().find(|known| known.name == series.metric).ok_or_else(|| {
                refuse(format!("`{}` is described by nobody: correct its name", series.metric))
            })?;
            if !kinds.contains(&known.kind) {
                let wanted: Vec<&str> = kinds.iter().map(|kind| kind.as_str()).collect();
                let reason = format!(
                    "`{}` is a {}, but the query needs a {}",
                    series.metric,
                    known.kind.as_str(),
                    wanted.join(" or a ")
                );
                return Err(refuse(reason));
            }
        }
    }
    Ok(())
}

/// Every selector of a condition, with the kinds it may be of.
pub(crate) fn selectors(condition: &Condition) -> Vec<(&Selector, &'static [MetricKind])> {
    let of_query = |query| match query {
        &Query::Last(ref series) | &Query::Age(ref series) => vec![(series, GAUGES)],
        Query::Increase(range) | Query::Rate(range) => vec![(&range.series, COUNTABLE)],
        Query::Ratio(part, whole) => vec![(&part.series, COUNTABLE), (&whole.series, COUNTABLE)],
        Query::Quantile { of, .. } => vec![(&of.series, HISTOGRAMS)],
    };
    match condition {
        Condition::Above { query, .. } | Condition::Below { query, .. } => of_query(query),
        Condition::Absent(series) => vec![(series, ANY)],
        Condition::Burn(Slo { total, bad: Bad::Counted(bad), .. }) => {
            vec![(total, COUNTABLE), (bad, COUNTABLE)]
        }
        Condition::Burn(Slo { total, bad: Bad::Over(_), .. }) => vec![(total, HISTOGRAMS)],
        Condition::All(parts) | Condition::Any(parts) => parts.iter().flat_map(selectors).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::layout::MetricUnit;

    fn above(window_hours: u64, value: f64) -> Condition {
        let range = Range::of(Selector::of("a_total"), Duration::from_secs(3_600 * window_hours));
        Condition::Above { query: Query::Increase(range), value }
    }

    fn refusal(rule: AlertRule) -> String {
        RuleSet::new(vec![rule]).unwrap_err().to_string()
    }

    #[test]
    fn each_mistake_is_named_with_its_field_and_what_to_do() {
        let rule = |when| AlertRule::new("r", when);
        assert!(refusal(rule(above(73, 1.0))).contains("`when.query.window` is"));
        assert!(refusal(rule(above(1, f64::NAN))).contains("`when.value` is NaN"));
        assert!(refusal(rule(above(1, 1.0)).with_clear(2.0)).contains("`clear` is 2, beyond"));
        assert!(refusal(rule(Condition::All(Vec::new()))).contains("`when` has no condition"));
        assert!(refusal(rule(above(1, 1.0)).with_label("severity", "x")).contains("`labels.severity`"));
        assert!(refusal(rule(above(1, 1.0)).with_limit(0)).contains("`limit` is 0"));
        let nested = (0..20).fold(above(1, 1.0), |inner, _| Condition::Any(vec![inner]));
        assert!(refusal(rule(nested)).contains("nests more than 16"));
        let twice = vec![rule(above(1, 1.0)), rule(above(1, 1.0))];
        assert!(RuleSet::new(twice).unwrap_err().to_string().contains("used by another"));
    }

    #[test]
    fn a_metric_that_nobody_describes_or_of_another_kind_is_refused() {
        let rules = RuleSet::new(vec![AlertRule::new("r", above(1, 1.0))]).unwrap();
        let described = |kind| {
            let name = "a_total".into();
            vec![MetricDescription { name, kind, unit: MetricUnit::Count, help: String::new() }]
        };
        assert!(rules.check_metrics(&described(MetricKind::Counter)).is_ok());
        let gauge = rules.check_metrics(&described(MetricKind::Gauge)).unwrap_err();
        assert!(gauge.to_string().contains("is a gauge, but the query needs a counter or a histogram"));
        assert!(rules.check_metrics(&[]).unwrap_err().to_string().contains("described by nobody"));
    }
}
