//! Positions in the log that orders all invalidation.

use std::fmt;

/// The identity of one log: 128 random bits, drawn when it is created. A restored backup gets a new one.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct LogId([u8; 16]);

impl LogId {
    /// Wraps the 16 bytes.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The 16 bytes.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl fmt::Debug for LogId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LogId({:032x})", u128::from_be_bytes(self.0))
    }
}

/// A place in a log: positions of one log are ordered; those of two logs are not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LogPosition {
    /// Which log.
    pub log: LogId,
    /// How many bumps it held, this one included.
    pub seq: u64,
}

impl LogPosition {
    /// Whether everything up to `seq` of the same log is behind this position.
    pub fn covers(&self, other: &Self) -> bool {
        self.log == other.log && self.seq >= other.seq
    }
}
