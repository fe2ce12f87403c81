//! One link in the books of its pool.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::ports::{HttpLink, LinkPhase, LinkState, Protocol};

/// How long a new HTTP/2 link may take to say how many streams it grants before another one is opened beside it.
pub(super) const SETTLING: Duration = Duration::from_millis(250);

/// A link as its pool sees it.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) id: u64,
    pub(super) link: Arc<dyn HttpLink>,
    pub(super) state: LinkState,
    /// Streams in use.
    pub(super) streams: usize,
    /// Bytes that these streams have to upload.
    pub(super) bytes: u64,
    /// Requests that it was given, and those that were answered.
    pub(super) granted: u64,
    pub(super) answered: u64,
    /// Whether the peer announced its end while it was in use, which may be because of their number.
    pub(super) ended_in_use: bool,
    /// Whether we take it out of use.
    pub(super) retired: bool,
    /// Whether it has turned a request away, so that its end is near even if its state does not say so yet.
    pub(super) turned_away: bool,
    pub(super) opened_at: Instant,
    pub(super) idle_since: Instant,
    /// Wakes the link's task once a draining link has no streams left.
    pub(super) emptied: Arc<Notify>,
}

impl Entry {
    pub(super) fn new(id: u64, link: Arc<dyn HttpLink>, emptied: Arc<Notify>) -> Self {
        let now = Instant::now();
        Self {
            id,
            state: link.state(),
            link,
            streams: 0,
            bytes: 0,
            granted: 0,
            answered: 0,
            ended_in_use: false,
            retired: false,
            turned_away: false,
            opened_at: now,
            idle_since: now,
            emptied,
        }
    }

    pub(super) fn room(&self, bounds: Bounds) -> usize {
        if self.state.phase == LinkPhase::Open && !self.turned_away {
            let left = bounds.requests.map_or(u64::MAX, |most| most.saturating_sub(self.granted));
            let streams = self.state.max_streams.min(bounds.streams).saturating_sub(self.streams);
            streams.min(usize::try_from(left).unwrap_or(usize::MAX))
        } else {
            0
        }
    }

    pub(super) fn is_settling(&self, now: Instant) -> bool {
        self.state.phase == LinkPhase::Open
            && !self.turned_away
            && self.state.max_streams <= 1
            && self.link.protocol() == Protocol::Http2
            && now.saturating_duration_since(self.opened_at) < SETTLING
    }
}

/// What bounds a link.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    pub(super) streams: usize,
    pub(super) requests: Option<u64>,
}

/// When a link was opened, and since when it has been idle.
#[derive(Clone, Copy, Debug)]
pub(super) struct LinkAge {
    pub(super) idle_since: Option<Instant>,
    pub(super) opened_at: Instant,
}
