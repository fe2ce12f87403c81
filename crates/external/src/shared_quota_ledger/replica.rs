//! The state of a quota as all processes reckon it from the same events in the same order. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::config::RateLimitConfig;
use crate::in_memory_quota_ledger::scope_state::ScopeState;
use crate::model::quota::{Cost, Dimension, Observation, QuotaView};
use crate::ports::{Charge, Charged};

/// How far ahead places in the order of grants are given away, in seconds.
pub(super) const AHEAD: f64 = 0.5;

/// A process that was not heard of for so many seconds is gone, and what it had in flight has ended.
const GONE_AFTER: f64 = 60.0;

/// How long a process that was refused a place in flight is held to be waiting for one, in seconds.
const WAITS_FOR: f64 = 0.5;

/// What a process did, or asks for.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) enum Deed {
    /// Asks for up to so many permits of this cost.
    Lease { cost: Cost, permits: u32 },
    /// Has taken one while it could not ask.
    Spent { cost: Cost, at_s: f64 },
    /// A permit was not used.
    Restore { cost: Cost },
    /// A request has ended.
    Settle { cost: Cost, charge: Charge, seen: Observation },
    /// What was told in advance.
    Told { config: RateLimitConfig },
    /// What was known in a log that is lost.
    Inherit { replica: Box<Replica> },
    /// Is still there.
    Beat,
}

/// A deed, whose it is, and the how-many-th: what was appended twice counts once.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Event {
    pub(super) node: u64,
    pub(super) number: u64,
    pub(super) deed: Deed,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Node {
    last_number: u64,
    heard_at: f64,
    in_flight: u32,
    in_flight_cost: [f64; 4],
    /// When it was last refused for want of a place in flight.
    waits_since: Option<f64>,
}

/// What came of a lease.
#[derive(Clone, Debug)]
pub(super) struct Leased {
    pub(super) cost: Cost,
    pub(super) granted: Vec<Charge>,
    /// Why it was not more.
    pub(super) refused: Option<Charged>,
}

/// The state and those who share it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Replica {
    state: ScopeState,
    nodes: BTreeMap<u64, Node>,
    /// Whether anything was ever granted here.
    used: bool,
}

impl Replica {
    pub(super) fn new() -> Self {
        let state = ScopeState::new(&RateLimitConfig::default());
        Self { state, nodes: BTreeMap::new(), used: false }
    }

    pub(super) fn is_used(&self) -> bool {
        self.used
    }

    /// The number of the last deed of a process that is contained.
    pub(super) fn last_number(&self, node: u64) -> u64 {
        self.nodes.get(&node).map_or(0, |node| node.last_number)
    }

    /// What is known; nothing changes by it.
    pub(super) fn view(&self, now: f64) -> QuotaView {
        self.state.clone().view(now)
    }

    /// Processes that were heard of lately, at least one.
    pub(super) fn parts(&self) -> u32 {
        u32::try_from(self.nodes.len()).unwrap_or(u32::MAX).max(1)
    }

    /// What one process of at least `parts` may do while it cannot ask the others.
    pub(super) fn part(&self, node: u64, told: &RateLimitConfig, parts: u32) -> ScopeState {
        let own = self.nodes.get(&node).cloned().unwrap_or_default();
        let mut state = self.state.clone();
        state.retell(told);
        state.part(self.parts().max(parts), own.in_flight, own.in_flight_cost)
    }

    /// Reckons an event in; tells what came of a lease.
    pub(super) fn apply(&mut self, event: Event, at: f64) -> Option<Leased> {
        let Event { node: id, number, deed } = event;
        let node = self.nodes.entry(id).or_default();
        if number <= node.last_number {
            return None;
        }
        node.last_number = number;
        node.heard_at = at;
        self.forget_the_gone(at);
        match deed {
            Deed::Lease { cost, permits } => return Some(self.lease(id, cost, permits, at)),
            Deed::Spent { cost, at_s } => {
                self.state.charge_late(&cost, at_s, at);
                self.take_off(id, &cost);
            }
            Deed::Restore { cost } => {
                self.landed(id, &cost);
                self.state.restore(&cost);
            }
            Deed::Settle { cost, charge, seen } => {
                self.landed(id, &cost);
                self.state.settle(&cost, &charge, &seen, at);
            }
            Deed::Told { config } => self.state.retell(&config),
            Deed::Inherit { replica } => {
                if !self.used {
                    let nodes = std::mem::take(&mut self.nodes);
                    *self = *replica;
                    for (id, node) in nodes {
                        self.nodes.entry(id).or_default().last_number = node.last_number;
                    }
                    self.used = true;
                }
            }
            Deed::Beat => {}
        }
        None
    }

    fn lease(&mut self, id: u64, cost: Cost, permits: u32, at: f64) -> Leased {
        let mut leased = Leased { cost, granted: Vec::new(), refused: None };
        let most = self.most_at_once(permits);
        while (leased.granted.len() as u32) < most {
            if !self.may_have_another(id, at) {
                leased.refused = Some(Charged::Wait(Duration::MAX));
                break;
            }
            match self.state.try_reserve(&cost, at, AHEAD) {
                Charged::Granted(charge) => {
                    self.state.meter(charge.at_s);
                    self.take_off(id, &cost);
                    leased.granted.push(charge);
                }
                refused => {
                    leased.refused = Some(refused);
                    break;
                }
            }
        }
        let starved = matches!(leased.refused, Some(Charged::Wait(Duration::MAX)));
        if let Some(node) = self.nodes.get_mut(&id) {
            node.waits_since = (starved && leased.granted.is_empty()).then_some(at);
        }
        leased
    }

    /// Where places in flight are few, nobody takes many at a time.
    fn most_at_once(&self, permits: u32) -> u32 {
        let few = self.state.max_in_flight().map_or(u32::MAX, |most| (most / 4 / self.parts()).max(1));
        permits.clamp(1, few)
    }

    /// Whoever has their part of the places in flight leaves the next one to those who wait with less.
    fn may_have_another(&self, id: u64, at: f64) -> bool {
        let Some(most) = self.state.max_in_flight() else { return true };
        let part = (most / self.parts()).max(1);
        let own = self.nodes.get(&id).map_or(0, |node| node.in_flight);
        let waits = |node: &Node| {
            node.in_flight < part && node.waits_since.is_some_and(|since| at - since < WAITS_FOR)
        };
        own < part || !self.nodes.iter().any(|(other, node)| *other != id && waits(node))
    }

    fn take_off(&mut self, id: u64, cost: &Cost) {
        self.used = true;
        let Some(node) = self.nodes.get_mut(&id) else { return };
        node.in_flight += 1;
        for (sum, dimension) in node.in_flight_cost.iter_mut().zip(Dimension::ALL) {
            *sum += cost.of(dimension);
        }
    }

    fn landed(&mut self, id: u64, cost: &Cost) {
        let Some(node) = self.nodes.get_mut(&id) else { return };
        node.in_flight = node.in_flight.saturating_sub(1);
        for (sum, dimension) in node.in_flight_cost.iter_mut().zip(Dimension::ALL) {
            *sum = (*sum - cost.of(dimension)).max(0.0);
        }
    }

    fn forget_the_gone(&mut self, at: f64) {
        let state = &mut self.state;
        self.nodes.retain(|_, node| {
            let gone = at - node.heard_at > GONE_AFTER;
            if gone {
                state.forget(node.in_flight, node.in_flight_cost);
            }
            !gone
        });
    }
}
