//! How an attempt ends, and what is told about it.

use std::time::{Duration, SystemTime};

use super::{JobState, Json, Lease};

/// Why an attempt failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum FailureCause {
    /// It would fail again: bad input, no permission, an unreadable payload.
    Permanent,
    /// It may succeed later.
    Transient,
    /// A layer below has tried again and given up.
    Exhausted,
    /// Somebody asked for patience.
    Throttled,
    /// It took longer than allowed.
    TimedOut,
    /// The worker was shut down.
    Interrupted,
    /// The worker died, was stopped, or was cut off past its lease.
    Crashed,
    /// The handler panicked.
    Panicked,
}

/// Which count of a job an attempt adds to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spent {
    /// Failed attempts.
    Attempt,
    /// Crashes and panics.
    Crash,
    /// Waits that are nobody's fault.
    Snooze,
    /// None: it ended for good.
    Nothing,
}

impl FailureCause {
    /// Which count it adds to.
    pub const fn spends(self) -> Spent {
        match self {
            Self::Transient | Self::Exhausted | Self::TimedOut => Spent::Attempt,
            Self::Crashed | Self::Panicked => Spent::Crash,
            Self::Throttled | Self::Interrupted => Spent::Snooze,
            Self::Permanent => Spent::Nothing,
        }
    }
}

/// Why a job was given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeadCause {
    /// It would have failed again.
    Permanent,
    /// Its attempts, or its snoozes, are spent.
    Exhausted,
    /// It took down, or panicked in, too many workers.
    Poison,
    /// It is older than the retry handler lets a job become.
    Expired,
}

/// What is kept of a failed attempt.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct AttemptError {
    /// When the attempt ended, on the clock of the store.
    pub at: SystemTime,
    /// Why it failed.
    pub cause: FailureCause,
    /// What was said about it: at most [`AttemptError::MAX_MESSAGE_BYTES`].
    pub message: String,
}

impl AttemptError {
    /// The longest message that is kept, in bytes.
    pub const MAX_MESSAGE_BYTES: usize = 4096;

    /// A failed attempt; a longer message is cut. The store sets the instant when it is settled.
    pub fn new(cause: FailureCause, message: impl Into<String>) -> Self {
        let mut message = message.into();
        if message.len() > Self::MAX_MESSAGE_BYTES {
            let mut end = Self::MAX_MESSAGE_BYTES - '…'.len_utf8();
            while !message.is_char_boundary(end) {
                end -= 1;
            }
            message.truncate(end);
            message.push('…');
        }
        // PostgreSQL's text holds no NUL.
        Self { at: SystemTime::UNIX_EPOCH, cause, message: message.replace('\0', "\u{FFFD}") }
    }
}

/// How a claimed job goes on, decided by its worker (or by the rescue of a dead one).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Settlement {
    /// Done.
    Completed {
        /// What the handler returned.
        result: Option<Json>,
    },
    /// Again after this time. What it costs follows from the error's cause.
    Retry {
        /// How long to wait.
        after: Duration,
        /// Why.
        error: AttemptError,
    },
    /// Again after this time because the handler asked for it; no attempt spent.
    Snoozed {
        /// How long to wait.
        after: Duration,
    },
    /// It was not started: back to its place in line, nothing spent.
    Returned,
    /// Given up; kept and replayable.
    Dead {
        /// Why it was given up.
        cause: DeadCause,
        /// The last error.
        error: AttemptError,
    },
    /// It kept killing workers: set aside; kept and replayable.
    Quarantined {
        /// The last error.
        error: AttemptError,
    },
    /// It was cancelled.
    Cancelled,
}

/// One lease and how it ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// Whose end it is.
    pub lease: Lease,
    /// How.
    pub settlement: Settlement,
}

/// Whether a settlement counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settled {
    /// It did; the job is now in this state.
    Applied(JobState),
    /// Another claim, or a rescue, had the job already: nothing was changed.
    Stale,
}

/// How a job ended for good.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum JobEnd {
    /// Done.
    Completed {
        /// What the handler returned.
        result: Option<Json>,
    },
    /// Cancelled.
    Cancelled,
    /// Given up, or set aside as poison; replayable until it is pruned.
    Dead {
        /// Whether it kept killing workers.
        quarantined: bool,
        /// The failed attempts that are kept: the first and the last 9.
        errors: Vec<AttemptError>,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_message_is_cut_at_a_character_and_says_so() {
        let error = AttemptError::new(FailureCause::Transient, "ü".repeat(5_000));
        assert!(error.message.len() <= AttemptError::MAX_MESSAGE_BYTES);
        assert!(error.message.ends_with('…'));
        assert_eq!(AttemptError::new(FailureCause::Transient, "a\0b").message, "a\u{FFFD}b");
    }
}
