//! [`QuotaLog`]: the order of events that the processes of one quota agree on.

use std::fmt::Debug;

use async_trait::async_trait;

use crate::error::ExternalError;
use crate::model::quota::QuotaScope;

/// How far a reader has come.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogPosition {
    /// Which log: another one after its server has lost its data. Empty for a reader that knows nothing yet.
    pub epoch: String,
    /// The position of the first event that was not read yet.
    pub next: u64,
}

/// What all events before a position have led to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogSnapshot {
    /// The position of the first event that is not contained.
    pub next: u64,
    /// What the ledger wrote.
    pub state: String,
}

/// An event and when it was appended.
#[derive(Clone, Debug, PartialEq)]
pub struct LoggedEvent {
    /// Seconds since 1970 by the log's own clock.
    pub at_s: f64,
    /// What the ledger wrote.
    pub event: String,
}

/// What a reader did not know yet.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LogTail {
    /// The log that this is of.
    pub epoch: String,
    /// The log's time when it answered, in seconds since 1970.
    pub now_s: f64,
    /// Where to begin, if the reader's own state is too old or of another log.
    pub snapshot: Option<LogSnapshot>,
    /// The position of the first of `events`.
    pub first: u64,
    /// All events from there on, those of this very call included.
    pub events: Vec<LoggedEvent>,
}

/// Puts the events of one quota into one order, for all processes.
///
/// # Contract
/// 1. [`append`](Self::append) is one round trip and atomic: the events of one call stand together, in their order.
/// 2. Positions have no gap; times do not fall.
/// 3. A reader gets every event from its position on, or a snapshot and every event from there on.
/// 4. A snapshot is kept if it reaches further than the one before; what it contains may be forgotten.
/// 5. A log that has lost its data has another epoch.
#[async_trait]
pub trait QuotaLog: Debug + Send + Sync + 'static {
    /// Appends events, hands in a snapshot, and reads what is new since `seen`.
    ///
    /// # Errors
    /// [`Ledger`](ExternalError::Ledger).
    ///
    /// # Cancellation
    /// A dropped future may have appended its events.
    async fn append(
        &self,
        scope: &QuotaScope,
        seen: &LogPosition,
        events: &[String],
        snapshot: Option<LogSnapshot>,
    ) -> Result<LogTail, ExternalError>;
}
