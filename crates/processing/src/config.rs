//! What can be set: for chunks here, for runs in a file of its own.

mod run;

use std::time::Duration;

use wavequill_kernel::InvalidValue;

pub use run::{AdmissionConfig, HedgeConfig, OrchestratorConfig, RetryConfig};

/// How chunks are sized and where they are cut.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(default, deny_unknown_fields))]
pub struct ChunkSizerConfig {
    /// The shortest chunk, unless less is to be done or a limit of the recognizer forces it. Default: 30 s.
    pub min_chunk_duration: Duration,
    /// Of plans that are about equally fast, the one whose chunks are nearest to this is taken. Default: 300 s.
    pub target_chunk_duration: Duration,
    /// How far from the wanted place a pause is looked for first. Default: 5 s.
    pub cut_window: Duration,
    /// How far if there was none. Default: 15 s.
    pub wide_cut_window: Duration,
    /// How much longer the whole may take to save one request. Default: 20 ms.
    pub request_cost: Duration,
}

impl Default for ChunkSizerConfig {
    fn default() -> Self {
        Self {
            min_chunk_duration: Duration::from_secs(30),
            target_chunk_duration: Duration::from_secs(300),
            cut_window: Duration::from_secs(5),
            wide_cut_window: Duration::from_secs(15),
            request_cost: Duration::from_millis(20),
        }
    }
}

impl ChunkSizerConfig {
    /// With another shortest chunk.
    #[must_use]
    pub fn with_min_chunk_duration(mut self, min: Duration) -> Self {
        self.min_chunk_duration = min;
        self
    }

    /// With another preferred length.
    #[must_use]
    pub fn with_target_chunk_duration(mut self, target: Duration) -> Self {
        self.target_chunk_duration = target;
        self
    }

    /// With another way to look for pauses.
    #[must_use]
    pub fn with_cut_windows(mut self, first: Duration, wide: Duration) -> Self {
        self.cut_window = first;
        self.wide_cut_window = wide;
        self
    }

    /// With another price of a request.
    #[must_use]
    pub fn with_request_cost(mut self, cost: Duration) -> Self {
        self.request_cost = cost;
        self
    }

    pub(crate) fn validate(&self) -> Result<(), InvalidValue> {
        let shown = |time: Duration| format!("{time:?}");
        if self.min_chunk_duration < Duration::from_secs(1) {
            return Err(InvalidValue::new(
                "min_chunk_duration",
                shown(self.min_chunk_duration),
                "at least 1 s",
            ));
        }
        if self.target_chunk_duration < self.min_chunk_duration {
            let expected = format!("at least min_chunk_duration, {:?}", self.min_chunk_duration);
            return Err(InvalidValue::new(
                "target_chunk_duration",
                shown(self.target_chunk_duration),
                expected,
            ));
        }
        if self.cut_window < Duration::from_millis(500) {
            return Err(InvalidValue::new("cut_window", shown(self.cut_window), "at least 0.5 s"));
        }
        if self.wide_cut_window < self.cut_window {
            let expected = format!("at least cut_window, {:?}", self.cut_window);
            return Err(InvalidValue::new("wide_cut_window", shown(self.wide_cut_window), expected));
        }
        Ok(())
    }
}
