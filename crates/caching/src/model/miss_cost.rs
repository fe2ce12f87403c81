//! What a miss costs, and so what a hit saves.

use std::ops::AddAssign;
use std::time::Duration;

/// What it took to make a value: recorded when it is stored, saved by each hit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MissCost {
    /// How long the load took. Stored in whole milliseconds, up to 49 days.
    pub load_time: Duration,
    /// How much audio was sent for it. Stored in whole milliseconds.
    pub audio: Duration,
    /// What the provider charged, in millionths of a dollar.
    pub micro_dollars: u64,
}

impl MissCost {
    /// Nothing spent.
    pub const ZERO: Self = Self { load_time: Duration::ZERO, audio: Duration::ZERO, micro_dollars: 0 };

    /// Sets how long the load took.
    #[must_use]
    pub const fn with_load_time(mut self, load_time: Duration) -> Self {
        self.load_time = load_time;
        self
    }

    /// Sets how much audio was sent.
    #[must_use]
    pub const fn with_audio(mut self, audio: Duration) -> Self {
        self.audio = audio;
        self
    }

    /// Sets what the provider charged, in millionths of a dollar.
    #[must_use]
    pub const fn with_micro_dollars(mut self, micro_dollars: u64) -> Self {
        self.micro_dollars = micro_dollars;
        self
    }

    /// One number to rank by: milliseconds of load and hundredths of a cent count alike.
    pub(crate) fn weight(&self) -> u64 {
        (self.load_time.as_millis() as u64).saturating_add(self.micro_dollars / 100).max(1)
    }
}

/// The sum of what hits saved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Savings {
    /// Time not spent loading.
    pub load_time: Duration,
    /// Audio not sent again.
    pub audio: Duration,
    /// Money not paid again, in millionths of a dollar.
    pub micro_dollars: u64,
}

impl AddAssign<MissCost> for Savings {
    fn add_assign(&mut self, cost: MissCost) {
        self.load_time = self.load_time.saturating_add(cost.load_time);
        self.audio = self.audio.saturating_add(cost.audio);
        self.micro_dollars = self.micro_dollars.saturating_add(cost.micro_dollars);
    }
}
