//! The links of one origin, who waits for them, and the rules: which link is picked, when another is opened.
//!
//! Everything here is synchronous; tasks and waits are around it.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

use super::entry::{Bounds, Entry, LinkAge};
use super::slot::{Grant, Slot, Waiter};
use crate::config::ConnectionPoolConfig;
use crate::error::ExternalError;
use crate::metrics::{CloseCause, PoolMetrics};
use crate::model::origin::Origin;
use crate::model::pool::OriginStats;
use crate::ports::{HttpLink, LinkPhase, LinkState, Protocol};

/// How long after a failure no further link is opened while others serve.
const PAUSE_AFTER_FAILURE: Duration = Duration::from_secs(1);

/// Where one that waits stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Position {
    Back,
    /// Its turn had come already.
    Front,
}

struct Waiting {
    id: u64,
    bytes: u64,
    grant: oneshot::Sender<Grant>,
}

impl fmt::Debug for Waiting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Waiting").field("id", &self.id).finish_non_exhaustive()
    }
}

#[derive(Debug, Default)]
struct State {
    links: Vec<Entry>,
    waiting: VecDeque<Waiting>,
    opening: usize,
    /// How many may be opening at once: doubled while those who wait are more than what came.
    burst: usize,
    next_id: u64,
    paused_until: Option<Instant>,
    /// After how many requests the peer ends a link: believed once two links in a row ended after the same number.
    requests_per_link: Option<u64>,
    last_end: Option<u64>,
    closed: bool,
    stats: OriginStats,
}

/// The links of one origin.
#[derive(Debug)]
pub(super) struct OriginPool {
    origin: Origin,
    config: Arc<ConnectionPoolConfig>,
    metrics: Arc<PoolMetrics>,
    state: Mutex<State>,
    wanted: Notify,
    emptied: Notify,
}

impl OriginPool {
    pub(super) fn new(origin: Origin, config: Arc<ConnectionPoolConfig>, metrics: Arc<PoolMetrics>) -> Self {
        let state = Mutex::new(State { burst: 1, ..State::default() });
        Self { origin, config, metrics, state, wanted: Notify::new(), emptied: Notify::new() }
    }

    pub(super) fn origin(&self) -> &Origin {
        &self.origin
    }

    pub(super) fn config(&self) -> &ConnectionPoolConfig {
        &self.config
    }

    /// A stream that is free, unless somebody waits for it already.
    pub(super) fn try_slot(self: &Arc<Self>, bytes: u64) -> Option<Slot> {
        let mut state = self.state.lock();
        if state.closed || !state.waiting.is_empty() {
            return None;
        }
        self.reserve(&mut state, bytes)
    }

    fn reserve(self: &Arc<Self>, state: &mut State, bytes: u64) -> Option<Slot> {
        let bounds = self.bounds(state);
        for entry in &mut state.links {
            // The link's task may not have heard yet what the link says already.
            entry.state = entry.link.state();
        }
        let entry = state
            .links
            .iter_mut()
            .filter(|entry| entry.room(bounds) > 0)
            .min_by_key(|entry| (entry.bytes, entry.streams))?;
        entry.streams += 1;
        entry.bytes += bytes;
        entry.granted += 1;
        if bounds.requests.is_some_and(|most| entry.granted >= most) {
            // The peer would end it with the next request: it makes place for its successor now.
            entry.retired = true;
            entry.link.drain();
            entry.state = entry.link.state();
        }
        Some(Slot { pool: Arc::clone(self), id: entry.id, link: Arc::clone(&entry.link), bytes })
    }

    fn bounds(&self, state: &State) -> Bounds {
        Bounds { streams: self.config.max_streams_per_connection, requests: state.requests_per_link }
    }

    pub(super) fn enqueue(self: &Arc<Self>, bytes: u64, position: Position) -> Waiter {
        let (grant, granted) = oneshot::channel();
        let id = {
            let mut state = self.state.lock();
            state.next_id += 1;
            let id = state.next_id;
            let waiting = Waiting { id, bytes, grant };
            match position {
                Position::Back => state.waiting.push_back(waiting),
                Position::Front => state.waiting.push_front(waiting),
            }
            id
        };
        // A link may have become free between the first look and now.
        self.dispatch();
        Waiter { pool: Arc::clone(self), id, granted }
    }

    /// Gives free streams to those who wait, first come, first served, and asks for links if some still wait.
    fn dispatch(self: &Arc<Self>) {
        let mut grants = Vec::new();
        let wanted = {
            let mut state = self.state.lock();
            while let Some(bytes) = state.waiting.front().map(|waiting| waiting.bytes) {
                let Some(slot) = self.reserve(&mut state, bytes) else { break };
                let Some(waiting) = state.waiting.pop_front() else { break };
                grants.push((waiting.grant, slot));
            }
            if state.waiting.is_empty() {
                state.burst = 1;
            }
            self.wanted(&state) > 0
        };
        for (grant, slot) in grants {
            // Whoever has left gives the slot back by dropping it here, outside the lock.
            drop(grant.send(Ok(slot)));
        }
        if wanted {
            self.wanted.notify_one();
        }
    }

    /// How many links should be opened now.
    fn wanted(&self, state: &State) -> usize {
        let now = Instant::now();
        let full = state.links.iter().all(|entry| !entry.is_settling(now));
        let paused = !state.links.is_empty() && state.paused_until.is_some_and(|until| now < until);
        if state.closed || state.waiting.is_empty() || !full || paused {
            return 0;
        }
        // What a link of this origin grants, as far as is known, tells how many are enough for those who wait.
        let grants = state.links.iter().map(|entry| entry.state.max_streams).max().unwrap_or(1).max(1);
        let enough = state.waiting.len().div_ceil(grants.min(self.config.max_streams_per_connection));
        let bound = self.config.max_connections_per_origin.saturating_sub(self.live(state) + state.opening);
        state.burst.min(enough).saturating_sub(state.opening).min(bound)
    }

    /// Links that count against the bound: a draining one makes place for its successor.
    fn live(&self, state: &State) -> usize {
        let live = state.links.iter().filter(|e| e.state.phase == LinkPhase::Open && !e.turned_away).count();
        // Draining links are bounded too, or a peer that ends each connection at once could make us open without end.
        live.max(state.links.len().saturating_sub(self.config.max_connections_per_origin))
    }

    /// Takes upon the caller to open so many links.
    pub(super) fn take_wanted(&self) -> usize {
        let mut state = self.state.lock();
        let wanted = self.wanted(&state);
        state.opening += wanted;
        wanted
    }

    /// Takes upon the caller to open what is missing to so many links.
    pub(super) fn reserve_to(&self, connections: usize) -> usize {
        let mut state = self.state.lock();
        let target = connections.min(self.config.max_connections_per_origin);
        let missing = target.saturating_sub(self.live(&state) + state.opening);
        state.opening += missing;
        missing
    }

    /// Drains the emptiest links until so many are left.
    pub(super) fn shrink_to(self: &Arc<Self>, connections: usize) {
        let mut open: Vec<_> = {
            let state = self.state.lock();
            let open = state.links.iter().filter(|entry| entry.state.phase == LinkPhase::Open);
            open.map(|entry| (entry.streams, entry.id)).collect()
        };
        open.sort_unstable();
        let excess = open.len().saturating_sub(connections);
        for (_, id) in open.into_iter().take(excess) {
            self.retire(id);
        }
    }

    /// Waits until links are wanted; whoever returns opens them.
    pub(super) async fn wants_links(&self) {
        self.wanted.notified().await;
    }

    pub(super) fn recheck(self: &Arc<Self>) {
        self.dispatch();
    }

    /// A link has been opened. Gives its id, and what wakes when it drains and is empty.
    pub(super) fn add(self: &Arc<Self>, link: &Arc<dyn HttpLink>) -> (u64, Arc<Notify>) {
        let emptied = Arc::new(Notify::new());
        let id = {
            let mut state = self.state.lock();
            state.opening = state.opening.saturating_sub(1);
            state.paused_until = None;
            state.burst = (state.burst * 2).min(self.config.max_connections_per_origin);
            state.stats.opened += 1;
            state.next_id += 1;
            let id = state.next_id;
            state.links.push(Entry::new(id, Arc::clone(link), Arc::clone(&emptied)));
            id
        };
        self.publish();
        self.dispatch();
        (id, emptied)
    }

    /// A link could not be opened. Without any other, nobody need wait longer.
    pub(super) fn failed(self: &Arc<Self>, error: &ExternalError) {
        let failed: Vec<_> = {
            let mut state = self.state.lock();
            state.opening = state.opening.saturating_sub(1);
            state.burst = 1;
            state.paused_until = Some(Instant::now() + PAUSE_AFTER_FAILURE);
            if state.links.is_empty() { state.waiting.drain(..).collect() } else { Vec::new() }
        };
        self.metrics.closed(CloseCause::Failed);
        for waiting in failed {
            drop(waiting.grant.send(Err(error.clone())));
        }
    }

    pub(super) fn update(self: &Arc<Self>, id: u64, next: LinkState) {
        {
            let mut state = self.state.lock();
            if let Some(entry) = state.links.iter_mut().find(|entry| entry.id == id) {
                entry.state = next;
                if next.phase != LinkPhase::Open && entry.streams == 0 {
                    entry.emptied.notify_one();
                }
            }
        }
        self.publish();
        self.dispatch();
    }

    /// A link drains: whether that was announced by the peer.
    pub(super) fn drains_by_peer(&self, id: u64) -> bool {
        let mut state = self.state.lock();
        let Some(entry) = state.links.iter_mut().find(|entry| entry.id == id) else { return false };
        if entry.retired {
            return false;
        }
        entry.ended_in_use = entry.streams > 0;
        state.stats.goaways += 1;
        true
    }

    /// Takes a link out of use.
    pub(super) fn retire(self: &Arc<Self>, id: u64) {
        let link = {
            let mut state = self.state.lock();
            let Some(entry) = state.links.iter_mut().find(|entry| entry.id == id) else { return };
            entry.retired = true;
            Arc::clone(&entry.link)
        };
        link.drain();
        self.update(id, link.state());
    }

    pub(super) fn turned_away(&self, id: u64) {
        if let Some(entry) = self.state.lock().links.iter_mut().find(|entry| entry.id == id) {
            entry.turned_away = true;
        }
    }

    pub(super) fn answered(&self, id: u64) {
        if let Some(entry) = self.state.lock().links.iter_mut().find(|entry| entry.id == id) {
            entry.answered += 1;
        }
    }

    pub(super) fn count_replay(&self) {
        self.state.lock().stats.replays += 1;
    }

    /// Since when a link has had no streams, and since when it is open; `None` once it is gone.
    pub(super) fn idle_and_age(&self, id: u64) -> Option<LinkAge> {
        let state = self.state.lock();
        let entry = state.links.iter().find(|entry| entry.id == id)?;
        let idle_since = (entry.streams == 0).then_some(entry.idle_since);
        Some(LinkAge { idle_since, opened_at: entry.opened_at })
    }

    /// A link has ended.
    pub(super) fn remove(self: &Arc<Self>, id: u64, cause: CloseCause) {
        let (gone, empty) = {
            let mut state = self.state.lock();
            let at = state.links.iter().position(|entry| entry.id == id);
            let gone = at.map(|at| state.links.swap_remove(at));
            state.stats.retired += u64::from(gone.is_some());
            if let Some(gone) = gone.as_ref().filter(|gone| gone.ended_in_use && gone.answered > 1) {
                if state.last_end == Some(gone.answered) {
                    state.requests_per_link = Some(gone.answered);
                }
                state.last_end = Some(gone.answered);
            }
            (gone, state.links.is_empty())
        };
        if gone.is_some() {
            self.metrics.closed(cause);
        }
        drop(gone);
        if empty {
            self.emptied.notify_waiters();
        }
        self.publish();
        self.dispatch();
    }

    /// One that waited has left.
    pub(super) fn leave(self: &Arc<Self>, waiter: u64) {
        let left = {
            let mut state = self.state.lock();
            let at = state.waiting.iter().position(|waiting| waiting.id == waiter);
            at.and_then(|at| state.waiting.remove(at))
        };
        if left.is_some() {
            // Links may have been asked of this one: let another one open them.
            self.dispatch();
        }
    }

    pub(super) fn release(self: &Arc<Self>, id: u64, bytes: u64) {
        {
            let mut state = self.state.lock();
            if let Some(entry) = state.links.iter_mut().find(|entry| entry.id == id) {
                entry.streams = entry.streams.saturating_sub(1);
                entry.bytes = entry.bytes.saturating_sub(bytes);
                if entry.streams == 0 {
                    entry.idle_since = Instant::now();
                    if entry.state.phase != LinkPhase::Open {
                        entry.emptied.notify_one();
                    }
                }
            }
        }
        self.publish();
        self.dispatch();
    }

    pub(super) fn stats(&self) -> OriginStats {
        let state = self.state.lock();
        let bounds = self.bounds(&state);
        OriginStats {
            size: state.links.len(),
            opening: state.opening,
            checked_out: state.links.iter().map(|entry| entry.streams).sum(),
            checked_in: state.links.iter().map(|entry| entry.room(bounds)).sum(),
            overflow: state.waiting.len(),
            ..state.stats
        }
    }

    /// Sets the gauges. They are those of the last origin that changed; with one origin a process, as is usual, exact.
    fn publish(&self) {
        let state = self.state.lock();
        let count = |protocol: Protocol, wanted: fn(&Entry) -> bool| {
            state.links.iter().filter(|entry| entry.link.protocol() == protocol && wanted(entry)).count()
        };
        for (protocol, name) in [(Protocol::Http1, "h1"), (Protocol::Http2, "h2")] {
            let open = |entry: &Entry| entry.state.phase == LinkPhase::Open;
            self.metrics.connections(
                name,
                "active",
                count(protocol, |entry| entry.state.phase == LinkPhase::Open && entry.streams > 0),
            );
            self.metrics.connections(
                name,
                "idle",
                count(protocol, |entry| entry.state.phase == LinkPhase::Open && entry.streams == 0),
            );
            let all = count(protocol, |_| true);
            let opened =
                state.links.iter().filter(|entry| entry.link.protocol() == protocol && open(entry)).count();
            self.metrics.connections(name, "draining", all - opened);
        }
        self.metrics.streams.set(state.links.iter().map(|entry| entry.streams).sum::<usize>() as f64);
    }

    /// Refuses whoever waits, and drains all links.
    pub(super) fn close(self: &Arc<Self>) {
        let (waiting, links): (Vec<_>, Vec<_>) = {
            let mut state = self.state.lock();
            state.closed = true;
            let links = state.links.iter().map(|entry| entry.id).collect();
            (state.waiting.drain(..).collect(), links)
        };
        for waiting in waiting {
            drop(waiting.grant.send(Err(ExternalError::Closed)));
        }
        for id in links {
            self.retire(id);
        }
    }

    /// Waits until there are no links.
    pub(super) async fn emptied(&self) {
        loop {
            let emptied = self.emptied.notified();
            if self.state.lock().links.is_empty() {
                return;
            }
            emptied.await;
        }
    }

    pub(super) fn clear(&self) {
        let links = std::mem::take(&mut self.state.lock().links);
        drop(links);
    }
}
