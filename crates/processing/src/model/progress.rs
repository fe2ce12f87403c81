//! How far a run is.

use std::time::Duration;

/// How far a run is, weighted by audio: a long chunk counts for more than a short one.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Progress {
    /// Audio of tasks that are resolved, whether heard, reused or failed.
    pub audio_done: Duration,
    /// Audio of all tasks.
    pub audio_total: Duration,
    /// Tasks that are resolved.
    pub chunks_done: u64,
    /// All tasks, those of chunks that were split among them.
    pub chunks_total: u64,
    /// Requests on their way now.
    pub in_flight: u64,
    /// Tasks that failed for good.
    pub failed: u64,
    /// Tasks that were answered without asking: by the journal or the store.
    pub reused: u64,
    /// Audio of the tasks that were answered without asking.
    pub audio_reused: Duration,
    /// What the answers cost so far, in millionths of a dollar, as far as the recognizer says.
    pub microdollars: u64,
    /// How long the rest is going to take, by what was done so far; `None` as long as nothing was.
    pub eta: Option<Duration>,
    /// Whether every task is resolved.
    pub finished: bool,
}

impl Progress {
    /// From 0 to 1; 1 only when every task is resolved.
    pub fn fraction(&self) -> f64 {
        if self.finished {
            return 1.0;
        }
        let total = self.audio_total.as_secs_f64();
        if total <= 0.0 {
            return 0.0;
        }
        // The largest number below 1: what is not finished never looks so.
        (self.audio_done.as_secs_f64() / total).clamp(0.0, 1.0 - f64::EPSILON / 2.0)
    }

    /// Both together: what is going on in several runs.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            audio_done: self.audio_done + other.audio_done,
            audio_total: self.audio_total + other.audio_total,
            chunks_done: self.chunks_done + other.chunks_done,
            chunks_total: self.chunks_total + other.chunks_total,
            in_flight: self.in_flight + other.in_flight,
            failed: self.failed + other.failed,
            reused: self.reused + other.reused,
            audio_reused: self.audio_reused + other.audio_reused,
            microdollars: self.microdollars.saturating_add(other.microdollars),
            eta: self.eta.max(other.eta),
            finished: self.finished && other.finished,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_is_one_only_when_all_is_resolved() {
        let second = Duration::from_secs(1);
        let all_heard = Progress { audio_done: second, audio_total: second, ..Progress::default() };
        assert!(all_heard.fraction() < 1.0);
        assert_eq!(Progress { finished: true, ..all_heard }.fraction(), 1.0);
        assert_eq!(Progress { finished: true, ..Progress::default() }.fraction(), 1.0);
        assert_eq!(Progress::default().fraction(), 0.0);
    }
}
