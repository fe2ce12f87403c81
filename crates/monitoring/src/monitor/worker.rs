//! The task of a monitor: it alone changes what is seen, so that ticks never overlap.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior};

use super::fleet::FleetTotals;
use super::sink_queue::Item;
use super::{Request, Shared};
use crate::alert_evaluator::AlertEvaluator;
use crate::error::MonitoringError;
use crate::model::alert::{AlertState, AlertStates, Evaluation, RuleError};
use crate::model::history::SnapshotHistory;
use crate::model::routes::{RouteStates, Routes};
use crate::model::rule::{RuleSet, Scope};
use crate::model::snapshot::{MetricsSnapshot, Tick};
use crate::ports::{AlertStateStore, Leadership, SavedState, SnapshotExchange, Wants};

pub(super) struct Worker {
    shared: Arc<Shared>,
    evaluator: Arc<dyn AlertEvaluator>,
    own_rules: RuleSet,
    fleet_rules: RuleSet,
    routes: Routes,
    route_states: RouteStates,
    own_states: AlertStates,
    store: Option<Arc<dyn AlertStateStore>>,
    saved_at: Option<Duration>,
    fleet: Option<Fleet>,
}

/// What a process needs to speak for all.
struct Fleet {
    exchange: Arc<dyn SnapshotExchange>,
    led: Option<Led>,
}

/// What the leader knows of the fleet.
struct Led {
    totals: FleetTotals,
    history: SnapshotHistory,
    states: AlertStates,
}

impl Worker {
    pub(super) fn new(
        shared: Arc<Shared>,
        evaluator: Arc<dyn AlertEvaluator>,
        rules: &RuleSet,
        routes: Routes,
        store: Option<Arc<dyn AlertStateStore>>,
        exchange: Option<Arc<dyn SnapshotExchange>>,
    ) -> Self {
        let mut worker = Self {
            shared,
            evaluator,
            own_rules: RuleSet::default(),
            fleet_rules: RuleSet::default(),
            routes,
            route_states: RouteStates::default(),
            own_states: AlertStates::default(),
            store,
            saved_at: None,
            fleet: exchange.map(|exchange| Fleet { exchange, led: None }),
        };
        worker.set_rules(rules);
        worker
    }

    fn set_rules(&mut self, rules: &RuleSet) {
        let of = |scope: Scope| {
            RuleSet::of_checked(rules.rules().iter().filter(|rule| rule.scope == scope).cloned().collect())
        };
        self.own_rules = of(Scope::Process);
        self.fleet_rules = of(Scope::Fleet);
        self.shared.seen.write().history.watch(&self.own_rules);
        if let Some(led) = self.fleet.as_mut().and_then(|fleet| fleet.led.as_mut()) {
            led.history.watch(&self.fleet_rules);
        }
    }

    /// Takes over what the last start of the process saved.
    pub(super) async fn restore(&mut self) {
        let Some(store) = &self.store else { return };
        match store.load().await {
            Ok(None) => {}
            Ok(Some(saved)) => {
                let now = Tick::of(&self.shared.clock);
                let SavedState { saved, mut alerts, mut routes, history } = saved;
                alerts.rebase(saved, now);
                routes.rebase(saved, now);
                let mut seen = self.shared.seen.write();
                seen.history.restore(&history, saved, now);
                seen.alerts = alerts.clone();
                self.own_states = alerts;
                self.route_states = routes;
            }
            Err(error) => self.state_trouble(&error),
        }
    }

    pub(super) async fn run(mut self, mut requests: mpsc::Receiver<Request>) {
        let mut ticks = tokio::time::interval(self.shared.config.tick);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        loop {
            tokio::select! {
                due = ticks.tick() => {
                    self.count_missed(due);
                    self.tick().await;
                }
                request = requests.recv() => {
                    let Some(request) = request else { return };
                    if !self.answer(request).await {
                        return;
                    }
                }
            }
        }
    }

    /// Whether to go on.
    async fn answer(&mut self, request: Request) -> bool {
        // Who no longer waits for an answer does not need one.
        match request {
            Request::Tick(reply) => {
                self.tick().await;
                let _ = reply.send(());
            }
            Request::Rules(rules, reply) => {
                self.set_rules(&rules);
                let _ = reply.send(());
            }
            Request::Routes(routes, reply) => {
                self.routes = routes;
                let _ = reply.send(());
            }
            Request::Finish(reply) => {
                self.saved_at = None;
                self.tick().await;
                let _ = reply.send(());
                return false;
            }
        }
        true
    }

    fn count_missed(&self, due: Instant) {
        let late = Instant::now().saturating_duration_since(due);
        let missed = late.as_nanos() / self.shared.config.tick.as_nanos().max(1);
        if missed > 0 {
            self.shared.metrics.missed_ticks.increment(u64::try_from(missed).unwrap_or(u64::MAX));
        }
    }

    async fn tick(&mut self) {
        let clock = &self.shared.clock;
        let now = Tick::of(clock);
        let last = self.shared.seen.read().last_tick;
        if let Some(last) = last {
            self.shared.metrics.tick_age.set(now.monotonic.saturating_sub(last.monotonic));
        }
        let snapshot = self.shared.collector.snapshot();
        let fleet = self.exchange(&snapshot, now).await;
        let began = self.shared.clock.monotonic();
        let own = {
            let mut seen = self.shared.seen.write();
            seen.history.push(snapshot);
            seen.last_tick = Some(now);
            self.evaluate(&self.own_rules, &self.own_states, &seen.history, now)
        };
        self.shared.metrics.evaluation.record(self.shared.clock.monotonic().saturating_sub(began));
        self.own_states = own.states.clone();
        let led = self.fleet.as_mut().and_then(|fleet| fleet.led.as_mut());
        if let (Some(led), Some(fleet)) = (led, &fleet) {
            led.states = fleet.states.clone();
        }
        let changed = !own.events.is_empty();
        self.tell(own, fleet, now);
        self.save(now, changed).await;
    }

    fn evaluate(
        &self,
        rules: &RuleSet,
        before: &AlertStates,
        history: &SnapshotHistory,
        now: Tick,
    ) -> Evaluation {
        match history.view(now) {
            Some(seen) => self.evaluator.evaluate(rules, before, &seen, now),
            None => Evaluation { states: before.clone(), ..Evaluation::default() },
        }
    }

    /// Publishes this process' part and, if it leads, evaluates the rules of the whole.
    async fn exchange(&mut self, snapshot: &MetricsSnapshot, now: Tick) -> Option<Evaluation> {
        let fleet = self.fleet.as_mut()?;
        let exchange = Arc::clone(&fleet.exchange);
        let instance = snapshot.epoch().to_string();
        let part = snapshot.clone().with_gauges_labelled("instance", &instance);
        let collected = async {
            exchange.publish(&part).await?;
            match exchange.lead(snapshot.epoch()).await? {
                Leadership::Follower => Ok(None),
                Leadership::Leader => exchange.collect().await.map(Some),
            }
        };
        let collected = match collected.await {
            Ok(collected) => {
                self.shared.troubles.lock().exchange = None;
                collected
            }
            Err(error) => {
                self.exchange_trouble(1, &error.to_string());
                return self.evaluate_without_data(now);
            }
        };
        let Some(collected) = collected else {
            self.fleet.as_mut()?.led = None;
            return None;
        };
        if collected.damaged > 0 {
            self.exchange_trouble(collected.damaged, "a part did not read: is a peer of another version?");
        }
        let limit = self.shared.config.history_limit_bytes;
        let led = self.fleet.as_mut()?.led.get_or_insert_with(|| Led {
            totals: FleetTotals::default(),
            history: SnapshotHistory::new(limit),
            states: AlertStates::default(),
        });
        led.history.watch(&self.fleet_rules);
        let (totals, troubles) = led.totals.add(collected.parts, now);
        led.history.push(totals);
        for trouble in troubles {
            self.exchange_trouble(1, &trouble);
        }
        let led = self.fleet.as_ref()?.led.as_ref()?;
        Some(self.evaluate(&self.fleet_rules, &led.states, &led.history, now))
    }

    /// The exchange is away: the rules of the fleet have no data.
    fn evaluate_without_data(&self, now: Tick) -> Option<Evaluation> {
        let led = self.fleet.as_ref()?.led.as_ref()?;
        let mut empty = SnapshotHistory::default();
        empty.push(MetricsSnapshot::new(crate::ProcessEpoch::from_bits(0), now, now));
        Some(self.evaluate(&self.fleet_rules, &led.states, &empty, now))
    }

    fn tell(&mut self, own: Evaluation, fleet: Option<Evaluation>, now: Tick) {
        let fleet = fleet.unwrap_or_default();
        let mut states = own.states;
        states.alerts.extend(fleet.states.alerts);
        let errors: Vec<RuleError> = own.errors.into_iter().chain(fleet.errors).collect();
        self.shared.metrics.rule_errors.increment(errors.len() as u64);
        for error in &errors {
            tracing::warn!(rule = error.rule, reason = error.reason, "an alert rule failed");
        }
        self.shared.troubles.lock().rules = errors;
        self.shared.metrics.pending.set(states.in_state(AlertState::Pending).count() as f64);
        self.shared.metrics.firing.set(states.in_state(AlertState::Firing).count() as f64);

        let routed = self.evaluator.route(&self.routes, &self.route_states, &states, now);
        self.route_states = routed.states;
        self.shared.seen.write().alerts = states;
        for event in own.events.into_iter().chain(fleet.events) {
            // Nobody may be subscribed.
            let _ = self.shared.events.send(event);
        }
        let to_send: Vec<_> = own.to_send.into_iter().chain(fleet.to_send).collect();
        for sink in &self.shared.sinks {
            match sink.wants() {
                Wants::Alerts if to_send.is_empty() => {}
                Wants::Alerts => sink.push(Item::Forward(to_send.clone(), now)),
                Wants::Notifications => {
                    let theirs = routed.notifications.iter().filter(|told| told.receiver == sink.name());
                    theirs.for_each(|told| sink.push(Item::Notify(told.clone())));
                }
            }
        }
    }

    /// Saves at each change and each minute.
    async fn save(&mut self, now: Tick, changed: bool) {
        let Some(store) = &self.store else { return };
        let due = self
            .saved_at
            .is_none_or(|saved| now.monotonic.saturating_sub(saved) >= self.shared.config.save_interval);
        if !due && !changed {
            return;
        }
        let state = SavedState {
            saved: now,
            alerts: self.own_states.clone(),
            routes: self.route_states.clone(),
            history: self.shared.seen.read().history.save(),
        };
        match store.save(&state).await {
            Ok(()) => {
                self.saved_at = Some(now.monotonic);
                self.shared.troubles.lock().state = None;
            }
            Err(error) => self.state_trouble(&error),
        }
    }

    fn state_trouble(&self, error: &MonitoringError) {
        tracing::warn!(%error, "the state of alerts");
        self.shared.metrics.state_errors.increment(1);
        self.shared.troubles.lock().state = Some(error.to_string());
    }

    fn exchange_trouble(&self, count: u64, reason: &str) {
        tracing::warn!(reason, "the exchange of snapshots");
        self.shared.metrics.exchange_errors.increment(count);
        self.shared.troubles.lock().exchange = Some(reason.to_owned());
    }
}
