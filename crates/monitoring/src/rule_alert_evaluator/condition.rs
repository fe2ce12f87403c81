//! What a rule's condition says of each label set at one moment.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use crate::model::history::{Reading, WindowView};
use crate::model::rule::{AlertRule, Bad, Condition, Labels, Query, Range, Selector, Severity, Slo, derived};
use crate::model::series_key::SeriesKey;
use crate::model::sketch::Sketch;
use crate::model::snapshot::{Tick, of_metric};

/// One label set that has data.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Instance {
    pub(super) is_true: bool,
    pub(super) value: f64,
}

pub(super) type Instances = BTreeMap<Labels, Instance>;

/// What could be seen.
pub(super) enum Seen {
    /// The label sets that have data.
    Instances(Instances),
    /// After a restart: the window of a distribution is not known yet, so that nothing may change.
    NotYet,
}

/// Burn rates after the SRE workbook: factor, long window, severity; the short window is a twelfth of the long.
const BURNS: [(f64, u64, Severity); 3] =
    [(14.4, 3_600, Severity::Page), (6.0, 6 * 3_600, Severity::Page), (1.0, 3 * 86_400, Severity::Ticket)];
/// Fewer bad events than this are no burn, whatever their share.
const LEAST_BAD: u64 = 3;

/// The label sets of a rule that have data. `fires` tells whether the alert of some labels is firing, for `clear`.
pub(super) fn instances(
    rule: &AlertRule,
    seen: &WindowView<'_>,
    now: Tick,
    fires: &dyn Fn(&Labels) -> bool,
) -> Seen {
    if !covered(&rule.when, seen) {
        return Seen::NotYet;
    }
    Seen::Instances(evaluate(&rule.when, rule.clear, seen, now, fires))
}

fn covered(condition: &Condition, seen: &WindowView<'_>) -> bool {
    match condition {
        Condition::Above { query: Query::Quantile { of, .. }, .. }
        | Condition::Below { query: Query::Quantile { of, .. }, .. } => seen.covers_distributions(of.window),
        Condition::All(parts) | Condition::Any(parts) => parts.iter().all(|part| covered(part, seen)),
        Condition::Above { .. } | Condition::Below { .. } | Condition::Absent(_) | Condition::Burn(_) => true,
    }
}

fn evaluate(
    condition: &Condition,
    clear: Option<f64>,
    seen: &WindowView<'_>,
    now: Tick,
    fires: &dyn Fn(&Labels) -> bool,
) -> Instances {
    let threshold = |labels: &Labels, value: f64| match clear {
        Some(clear) if fires(labels) => clear,
        _ => value,
    };
    match condition {
        Condition::Above { query, value } => {
            compare(query, seen, now, |labels, found| found > threshold(labels, *value))
        }
        Condition::Below { query, value } => {
            compare(query, seen, now, |labels, found| found < threshold(labels, *value))
        }
        Condition::Absent(series) => {
            let there = is_there(series, seen);
            let labels = series.fixed_labels();
            [(labels, Instance { is_true: !there, value: f64::from(u8::from(!there)) })].into()
        }
        Condition::Burn(slo) => burn(slo, seen),
        Condition::All(parts) => {
            all(&parts.iter().map(|part| evaluate(part, None, seen, now, fires)).collect::<Vec<_>>())
        }
        Condition::Any(parts) => {
            any(parts.iter().map(|part| evaluate(part, None, seen, now, fires)).collect())
        }
    }
}

fn compare(
    query: &Query,
    seen: &WindowView<'_>,
    now: Tick,
    holds: impl Fn(&Labels, f64) -> bool,
) -> Instances {
    let instance = |(labels, value): (Labels, f64)| {
        let is_true = holds(&labels, value);
        (labels, Instance { is_true, value })
    };
    ask(query, seen, now).into_iter().map(instance).collect()
}

/// The number of each label set. What is undefined, as the ratio of nothing, is not a number: no comparison holds of it.
fn ask(query: &Query, seen: &WindowView<'_>, now: Tick) -> BTreeMap<Labels, f64> {
    match query {
        Query::Last(series) => gauges(series, seen, |sum, value| sum + value),
        Query::Age(series) => {
            let wall = now.wall.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs_f64();
            // Of several the oldest tells.
            let oldest = gauges(series, seen, f64::min);
            oldest.into_iter().map(|(labels, since)| (labels, wall - since)).collect()
        }
        Query::Increase(range) => {
            increases(range, seen).into_iter().map(|(labels, grown)| (labels, grown as f64)).collect()
        }
        Query::Rate(range) => {
            let seconds = seen.span(range.window).value().unwrap_or_default().as_secs_f64();
            increases(range, seen)
                .into_iter()
                .map(|(labels, grown)| (labels, grown as f64 / seconds))
                .collect()
        }
        Query::Ratio(part, whole) => {
            let parts = increases(part, seen);
            let ratio = |(labels, whole): (Labels, u64)| {
                let part = *parts.get(&labels)?;
                Some((labels, if whole == 0 { f64::NAN } else { part as f64 / whole as f64 }))
            };
            increases(whole, seen).into_iter().filter_map(ratio).collect()
        }
        Query::Quantile { q, of } => {
            let quantile =
                |(labels, sketch): (Labels, Sketch)| (labels, sketch.quantile(*q).unwrap_or(f64::NAN));
            distributions(of, seen).into_iter().map(quantile).collect()
        }
    }
}

fn is_there(series: &Selector, seen: &WindowView<'_>) -> bool {
    let (metric, latest) = (series.metric.as_str(), seen.latest());
    let selects = |key: &SeriesKey| series.selects(key);
    of_metric(&latest.counters, metric).any(|(key, _)| selects(key))
        || of_metric(&latest.gauges, metric).any(|(key, _)| selects(key))
        || of_metric(&latest.sketches, metric).any(|(key, _)| selects(key))
}

fn gauges(series: &Selector, seen: &WindowView<'_>, join: impl Fn(f64, f64) -> f64) -> BTreeMap<Labels, f64> {
    let mut out = BTreeMap::new();
    let all = of_metric(&seen.latest().gauges, series.metric.as_str());
    for (key, kept) in all.filter(|(key, _)| series.selects(key)) {
        out.entry(series.group(key)).and_modify(|sum| *sum = join(*sum, kept.value)).or_insert(kept.value);
    }
    out
}

/// How much counters grew, or how many values distributions took.
fn increases(range: &Range, seen: &WindowView<'_>) -> BTreeMap<Labels, u64> {
    let metric = range.series.metric.as_str();
    let counters =
        of_metric(&seen.latest().counters, metric).map(|(key, _)| (key, seen.increase(key, range.window)));
    let distributions = of_metric(&seen.latest().sketches, metric)
        .map(|(key, _)| (key, seen.derived_increase(&derived::series(key, None), range.window)));
    sum(&range.series, counters.chain(distributions))
}

fn sum<'a>(
    series: &Selector,
    grown: impl Iterator<Item = (&'a SeriesKey, Reading<u64>)>,
) -> BTreeMap<Labels, u64> {
    let mut out: BTreeMap<Labels, u64> = BTreeMap::new();
    for (key, reading) in grown.filter(|(key, _)| series.selects(key)) {
        if let Reading::Value(value) = reading {
            let total = out.entry(series.group(key)).or_default();
            *total = total.saturating_add(value);
        }
    }
    out
}

fn distributions(range: &Range, seen: &WindowView<'_>) -> BTreeMap<Labels, Sketch> {
    let mut out: BTreeMap<Labels, Sketch> = BTreeMap::new();
    let all = of_metric(&seen.latest().sketches, range.series.metric.as_str());
    for (key, _) in all.filter(|(key, _)| range.series.selects(key)) {
        let Reading::Value(part) = seen.sketch(key, range.window) else { continue };
        let group = range.series.group(key);
        // Series of one metric share their unit.
        let merged = match out.get(&group) {
            Some(sum) => sum.merge(&part).unwrap_or(part),
            None => part,
        };
        out.insert(group, merged);
    }
    out
}

fn burn(slo: &Slo, seen: &WindowView<'_>) -> Instances {
    let mut out = Instances::new();
    for (factor, seconds, severity) in BURNS {
        let long = Duration::from_secs(seconds);
        let longs = events(slo, long, seen);
        let shorts = events(slo, long / 12, seen);
        for (labels, (total, bad)) in longs {
            let Some((short_total, short_bad)) = shorts.get(&labels) else { continue };
            let share = |bad: u64, total: u64| if total == 0 { 0.0 } else { bad as f64 / total as f64 };
            let limit = factor * (1.0 - slo.objective);
            let is_true =
                bad >= LEAST_BAD && share(bad, total) > limit && share(*short_bad, *short_total) > limit;
            let mut labels = labels;
            labels.insert("severity".to_owned(), severity.as_str().to_owned());
            let this = Instance { is_true, value: share(bad, total) };
            // Of two windows that page, the one that burns tells.
            out.entry(labels)
                .and_modify(|known| {
                    if !known.is_true {
                        *known = this;
                    }
                })
                .or_insert(this);
        }
    }
    out
}

/// All events and the bad ones within a window.
fn events(slo: &Slo, window: Duration, seen: &WindowView<'_>) -> BTreeMap<Labels, (u64, u64)> {
    let totals = increases(&Range::of(slo.total.clone(), window), seen);
    let bads = match &slo.bad {
        Bad::Counted(series) => increases(&Range::of(series.clone(), window), seen),
        Bad::Over(bound) => {
            let all = of_metric(&seen.latest().sketches, slo.total.metric.as_str());
            let over =
                all.map(|(key, _)| (key, seen.derived_increase(&derived::series(key, Some(*bound)), window)));
            sum(&slo.total, over)
        }
    };
    let joined = |(labels, total): (Labels, u64)| {
        let bad = bads.get(&labels).copied().unwrap_or(0);
        (labels, (total, bad))
    };
    totals.into_iter().map(joined).collect()
}

/// Whether a part says one thing for all labels.
fn of_any_labels(part: &Instances) -> Option<Instance> {
    if part.len() == 1 { part.get(&Labels::new()).copied() } else { None }
}

fn all(parts: &[Instances]) -> Instances {
    let labels = parts
        .iter()
        .find(|part| of_any_labels(part).is_none())
        .or(parts.first())
        .map(|part| part.keys().cloned().collect::<Vec<_>>())
        .unwrap_or_default();
    let joined = |labels: Labels| {
        let found: Option<Vec<Instance>> =
            parts.iter().map(|part| of_any_labels(part).or_else(|| part.get(&labels).copied())).collect();
        let found = found?;
        let first = found.first()?;
        Some((labels, Instance { is_true: found.iter().all(|part| part.is_true), value: first.value }))
    };
    labels.into_iter().filter_map(joined).collect()
}

fn any(parts: Vec<Instances>) -> Instances {
    let mut out = Instances::new();
    for (labels, instance) in parts.into_iter().flatten() {
        out.entry(labels)
            .and_modify(|known| {
                if !known.is_true {
                    *known = instance;
                }
            })
            .or_insert(instance);
    }
    out
}
