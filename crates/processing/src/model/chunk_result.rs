//! How a task ended, and what a whole run came to.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::{ByteSize, ChunkTranscript, Gap, ProcessingError, ProcessingTask, TaskId};

/// How a task ended.
#[derive(Clone, Debug)]
pub struct ChunkResult {
    /// Which task.
    pub task: ProcessingTask,
    /// What was heard, or why nothing was.
    pub outcome: Result<ChunkTranscript, ProcessingError>,
    /// Who answered.
    pub origin: Origin,
    /// How often the recognizer was asked.
    pub attempts: u32,
    /// From the moment the task was taken until it ended.
    pub elapsed: Duration,
    /// Speech within it that the answer says nothing about, also after asking again.
    pub gaps: Vec<Gap>,
}

impl ChunkResult {
    /// A task that failed without being asked.
    pub fn error(task: ProcessingTask, error: ProcessingError) -> Self {
        Self {
            task,
            outcome: Err(error),
            origin: Origin::Recognizer,
            attempts: 0,
            elapsed: Duration::ZERO,
            gaps: Vec::new(),
        }
    }

    /// What was heard, if anything was.
    pub fn transcript(&self) -> Option<&ChunkTranscript> {
        self.outcome.as_ref().ok()
    }
}

/// Who answered for a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
pub enum Origin {
    /// The recognizer was asked.
    Recognizer,
    /// The store knew it.
    Store,
    /// The journal of an earlier run of the same file knew it.
    Journal,
}

impl Origin {
    /// Every origin.
    pub const ALL: [Self; 3] = [Self::Recognizer, Self::Store, Self::Journal];

    /// Its name in outputs and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Recognizer => "recognizer",
            Self::Store => "store",
            Self::Journal => "journal",
        }
    }
}

/// What a run took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct RunCosts {
    /// Requests that were sent, hedges among them.
    pub requests: u64,
    /// Requests that were sent again for a failed one.
    pub retries: u64,
    /// Requests that were sent beside a slow one.
    pub hedges: u64,
    /// Answers that asked for patience.
    pub throttled: u64,
    /// Audio of the requests, counted each time it was sent.
    pub audio_sent: Duration,
    /// Bytes of the requests, counted each time they were sent.
    pub bytes_sent: ByteSize,
    /// What the answers cost, in millionths of a dollar, as far as the recognizer says.
    pub microdollars: u64,
    /// Finished chunks that the store did not take. They are in the journal.
    pub store_errors: u64,
}

/// What a whole run came to.
#[derive(Clone, Debug)]
pub struct RunReport {
    /// Each task that was taken.
    pub results: BTreeMap<TaskId, ChunkResult>,
    /// What nobody heard, in order.
    pub gaps: Vec<Gap>,
    /// What it took.
    pub costs: RunCosts,
    /// What ended the run before its end: a refused key, a cancel, a deadline.
    pub ended_by: Option<ProcessingError>,
}

impl RunReport {
    /// Whether everything was heard.
    pub fn is_complete(&self) -> bool {
        self.gaps.is_empty() && self.ended_by.is_none()
    }

    /// How much audio was answered for without asking.
    pub fn audio_reused(&self) -> Duration {
        let reused = |result: &&ChunkResult| result.origin != Origin::Recognizer && result.outcome.is_ok();
        self.results.values().filter(reused).map(|result| result.task.audio()).sum()
    }
}
