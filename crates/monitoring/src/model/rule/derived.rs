//! Counts of distributions as counters, so that rules can look at them over days: the distributions themselves are not
//! kept that long.

use crate::model::rule::{Bad, Condition, Query, Selector, Slo};
use crate::model::series_key::{MetricName, SeriesKey};
use crate::model::snapshot::{Kept, MetricsSnapshot, of_metric};

/// How many values some distributions took, and how many of them over a bound.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Derived {
    metric: MetricName,
    bound: Option<f64>,
}

/// What a condition wants to know of distributions, should its metrics be some.
pub(crate) fn of(condition: &Condition) -> Vec<Derived> {
    let count = |series: &Selector| Derived { metric: series.metric.clone(), bound: None };
    match condition {
        Condition::Above { query, .. } | Condition::Below { query, .. } => match query {
            Query::Increase(range) | Query::Rate(range) => vec![count(&range.series)],
            Query::Ratio(part, whole) => vec![count(&part.series), count(&whole.series)],
            Query::Last(_) | Query::Age(_) | Query::Quantile { .. } => Vec::new(),
        },
        Condition::Burn(Slo { total, bad: Bad::Counted(bad), .. }) => vec![count(total), count(bad)],
        Condition::Burn(Slo { total, bad: Bad::Over(bound), .. }) => {
            vec![count(total), Derived { metric: total.metric.clone(), bound: Some(*bound) }]
        }
        Condition::Absent(_) => Vec::new(),
        Condition::All(parts) | Condition::Any(parts) => parts.iter().flat_map(of).collect(),
    }
}

/// The name under which the values over a bound are counted, or all: the `/` keeps it apart from what is recorded.
pub(crate) fn series(of: &SeriesKey, bound: Option<f64>) -> SeriesKey {
    let name = match bound {
        Some(bound) => format!("{}/over/{bound}", of.name()),
        None => format!("{}/count", of.name()),
    };
    SeriesKey::new(name, of.labels())
}

impl Derived {
    /// The counters at this snapshot.
    pub(crate) fn counts(&self, snapshot: &MetricsSnapshot) -> Vec<(SeriesKey, Kept<u64>)> {
        let over = |kept: &Kept<std::sync::Arc<crate::Sketch>>| {
            kept.value.count() - self.bound.map_or(0, |bound| kept.value.count_at_most(bound))
        };
        of_metric(&snapshot.sketches, self.metric.as_str())
            .map(|(key, kept)| (series(key, self.bound), Kept { value: over(kept), life: kept.life }))
            .collect()
    }
}
