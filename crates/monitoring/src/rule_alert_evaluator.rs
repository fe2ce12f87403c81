//! The default evaluator: rules as data, Prometheus' state machine, Alertmanager's routing.

use crate::alert_evaluator::AlertEvaluator;
use crate::model::alert::{AlertStates, Evaluation, Moment, RuleError};
use crate::model::history::WindowView;
use crate::model::routes::{RouteStates, Routed, Routes};
use crate::model::rule::{Labels, RuleSet};
use crate::model::snapshot::Tick;

mod condition;
mod routing;
mod state_machine;

/// Evaluates [`RuleSet`]s as Prometheus would, and routes as its Alertmanager would; it holds nothing.
///
/// ```
/// use std::time::{Duration, SystemTime};
/// use wavequill_monitoring::*;
///
/// let begin = Tick { monotonic: Duration::ZERO, wall: SystemTime::UNIX_EPOCH };
/// let stopped = SeriesKey::bare("wavequill_external_key_stopped");
/// let mut history = SnapshotHistory::default();
/// history.push(MetricsSnapshot::new(ProcessEpoch::random(), begin, begin).with_gauge(stopped, 1.0));
///
/// let query = Query::Last(Selector::of("wavequill_external_key_stopped"));
/// let rules = RuleSet::new(vec![AlertRule::new("KeyStopped", Condition::Above { query, value: 0.0 })])?;
/// let seen = history.view(begin).unwrap();
/// let evaluation = RuleAlertEvaluator.evaluate(&rules, &AlertStates::default(), &seen, begin);
/// assert_eq!(evaluation.states.in_state(AlertState::Firing).count(), 1);
/// # Ok::<(), MonitoringError>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct RuleAlertEvaluator;

impl AlertEvaluator for RuleAlertEvaluator {
    fn evaluate(
        &self,
        rules: &RuleSet,
        before: &AlertStates,
        seen: &WindowView<'_>,
        now: Tick,
    ) -> Evaluation {
        let mut out = Evaluation::default();
        let at = Moment::of(now);
        for rule in rules.rules() {
            let known = before.alerts.get(&rule.name).cloned().unwrap_or_default();
            let fires = |labels: &Labels| {
                let alert = known.get(&state_machine::labelled(rule, labels));
                alert.is_some_and(|alert| alert.state == crate::AlertState::Firing)
            };
            let seen = condition::instances(rule, seen, now, &fires);
            let step = match seen {
                condition::Seen::Instances(instances) => state_machine::step(rule, &known, &instances, at),
                condition::Seen::NotYet => Ok(state_machine::Step::unchanged(&known)),
            };
            let state_machine::Step { mut alerts, refused } = match step {
                Ok(step) => step,
                Err(reason) => {
                    // Nothing changes and, as with Prometheus, nothing is sent.
                    out.errors.push(RuleError { rule: rule.name.clone(), reason });
                    if !known.is_empty() {
                        out.states.alerts.insert(rule.name.clone(), known);
                    }
                    continue;
                }
            };
            if refused > 0 {
                let limit = rule.limit.unwrap_or(0);
                let reason = format!("{refused} new alerts are over its limit of {limit}");
                out.errors.push(RuleError { rule: rule.name.clone(), reason });
            }
            out.events.extend(state_machine::changes(&rule.name, &known, &alerts, now));
            for alert in alerts.values_mut().filter(|alert| state_machine::needs_sending(alert, at)) {
                alert.last_sent_at = Some(at);
                out.to_send.push(alert.clone());
            }
            if !alerts.is_empty() {
                out.states.alerts.insert(rule.name.clone(), alerts);
            }
        }
        state_machine::resolve_removed(rules, before, now, &mut out);
        out
    }

    fn route(&self, routes: &Routes, before: &RouteStates, alerts: &AlertStates, now: Tick) -> Routed {
        routing::route(routes, before, alerts, now)
    }
}

#[cfg(test)]
#[path = "rule_alert_evaluator/tests.rs"]
mod tests;
