//! The role of those who decide what is an alert, and who is told.

use std::fmt::Debug;
use std::sync::Arc;

use crate::model::alert::{AlertStates, Evaluation};
use crate::model::history::WindowView;
use crate::model::routes::{RouteStates, Routed, Routes};
use crate::model::rule::RuleSet;
use crate::model::snapshot::Tick;

/// Evaluates rules and routes alerts. Pure: time and memory are arguments.
///
/// # Contract
/// 1. The same arguments give the same result; there is no clock and no I/O.
/// 2. On Prometheus' own semantics (`for`, `keep_firing_for`, missing series, resending) the timeline is Prometheus'.
///    It deviates in: windows (exact, not extrapolated), `no_data`, `clear`, `limit` (refuses new alerts; Prometheus
///    drops all), restarts.
/// 3. States that are saved and restored at any step go on as if uninterrupted.
/// 4. A failing rule changes no state.
/// 5. Each change of state is one event.
/// 6. Silences, inhibition and flapping hold back notifications, never states.
pub trait AlertEvaluator: Debug + Send + Sync + 'static {
    /// Takes every rule one step further.
    fn evaluate(&self, rules: &RuleSet, before: &AlertStates, seen: &WindowView<'_>, now: Tick)
    -> Evaluation;

    /// Decides who is told of which alerts now.
    fn route(&self, routes: &Routes, before: &RouteStates, alerts: &AlertStates, now: Tick) -> Routed;
}

impl<T: AlertEvaluator + ?Sized> AlertEvaluator for Arc<T> {
    fn evaluate(
        &self,
        rules: &RuleSet,
        before: &AlertStates,
        seen: &WindowView<'_>,
        now: Tick,
    ) -> Evaluation {
        (**self).evaluate(rules, before, seen, now)
    }

    fn route(&self, routes: &Routes, before: &RouteStates, alerts: &AlertStates, now: Tick) -> Routed {
        (**self).route(routes, before, alerts, now)
    }
}

impl<T: AlertEvaluator + ?Sized> AlertEvaluator for Box<T> {
    fn evaluate(
        &self,
        rules: &RuleSet,
        before: &AlertStates,
        seen: &WindowView<'_>,
        now: Tick,
    ) -> Evaluation {
        (**self).evaluate(rules, before, seen, now)
    }

    fn route(&self, routes: &Routes, before: &RouteStates, alerts: &AlertStates, now: Tick) -> Routed {
        (**self).route(routes, before, alerts, now)
    }
}
