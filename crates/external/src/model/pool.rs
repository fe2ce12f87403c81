//! Statistics of the connections.

use std::collections::BTreeMap;

use super::origin::Origin;

/// The connections of one origin, or of all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OriginStats {
    /// Links (connections) that are open, draining ones included.
    pub size: usize,
    /// Links that are being opened.
    pub opening: usize,
    /// Streams that are in use.
    pub checked_out: usize,
    /// Streams that the peers grant now and that are not in use.
    pub checked_in: usize,
    /// Callers that wait for a stream.
    pub overflow: usize,
    /// Links opened so far.
    pub opened: u64,
    /// Links that ended so far, for whatever reason.
    pub retired: u64,
    /// Requests that were sent again, unseen, since the peer provably had not processed them.
    pub replays: u64,
    /// GOAWAY frames and like announcements of an end.
    pub goaways: u64,
}

impl OriginStats {
    /// The share of the granted streams that is in use, 0 to 1; 0 without any stream.
    pub fn utilization(&self) -> f64 {
        let all = self.checked_out + self.checked_in;
        if all == 0 { 0.0 } else { self.checked_out as f64 / all as f64 }
    }

    pub(crate) fn add(&mut self, other: &Self) {
        self.size += other.size;
        self.opening += other.opening;
        self.checked_out += other.checked_out;
        self.checked_in += other.checked_in;
        self.overflow += other.overflow;
        self.opened += other.opened;
        self.retired += other.retired;
        self.replays += other.replays;
        self.goaways += other.goaways;
    }
}

/// The connections of a pool.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PoolStats {
    /// The sum of all origins.
    pub total: OriginStats,
    /// Each origin that was ever asked for.
    pub origins: BTreeMap<Origin, OriginStats>,
}

impl PoolStats {
    /// The share of the granted streams that is in use, 0 to 1; 0 without any stream.
    pub fn utilization(&self) -> f64 {
        self.total.utilization()
    }
}
