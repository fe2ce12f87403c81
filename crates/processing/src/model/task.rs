//! What an orchestrator is given to do.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::{AudioChunk, ChunkPlan, NoopRunJournal, RunJournal, TranscriptStore};

/// Names a task within its run. Sorted as the recording is, as long as no chunk was split.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct TaskId {
    index: u64,
    part: u32,
}

impl TaskId {
    /// The task of the chunk at this place of the plan.
    pub const fn of_chunk(index: u64) -> Self {
        Self { index, part: 0 }
    }

    /// The `part`th piece (counted from 1) of what this task's chunk was split into.
    #[must_use]
    pub const fn part(self, part: u32) -> Self {
        Self { index: self.index, part }
    }

    /// Index and part, little-endian.
    pub(crate) fn to_bytes(self) -> [u8; 12] {
        let mut bytes = [0; 12];
        let (index, part) = bytes.split_at_mut(8);
        index.copy_from_slice(&self.index.to_le_bytes());
        part.copy_from_slice(&self.part.to_le_bytes());
        bytes
    }

    /// Reads what [`to_bytes`](Self::to_bytes) wrote.
    pub(crate) fn from_bytes(bytes: [u8; 12]) -> Self {
        let [i0, i1, i2, i3, i4, i5, i6, i7, p0, p1, p2, p3] = bytes;
        Self {
            index: u64::from_le_bytes([i0, i1, i2, i3, i4, i5, i6, i7]),
            part: u32::from_le_bytes([p0, p1, p2, p3]),
        }
    }

    /// The place of the chunk in the plan; pieces of a chunk share it.
    pub const fn index(self) -> u64 {
        self.index
    }
}

impl fmt::Display for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.part {
            0 => write!(f, "{}", self.index),
            part => write!(f, "{}.{part}", self.index),
        }
    }
}

/// One chunk to be heard.
#[derive(Clone, Debug)]
pub struct ProcessingTask {
    /// Its name.
    pub id: TaskId,
    /// Its audio.
    pub chunk: AudioChunk,
}

impl ProcessingTask {
    /// The task of a chunk, named by the chunk's place in the plan.
    pub fn new(chunk: AudioChunk) -> Self {
        Self { id: TaskId::of_chunk(chunk.index() as u64), chunk }
    }

    /// How much audio it answers for.
    pub fn audio(&self) -> Duration {
        self.chunk.duration()
    }
}

/// How much there is to do in all, so that progress can be told from the first chunk on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TaskTotals {
    /// How many tasks.
    pub chunks: u64,
    /// How much audio they answer for.
    pub audio: Duration,
}

/// The tasks of one run, taken one by one as there is room for them; and what holds for the run alone.
pub struct TaskSource {
    pub(crate) tasks: Box<dyn Iterator<Item = ProcessingTask> + Send>,
    pub(crate) totals: TaskTotals,
    pub(crate) journal: Arc<dyn RunJournal>,
    pub(crate) store: Option<Arc<dyn TranscriptStore>>,
    pub(crate) deadline: Option<Duration>,
    pub(crate) name: String,
}

impl TaskSource {
    /// The chunks of a plan, longest first: so the last to end is a short one.
    pub fn of_plan(plan: &ChunkPlan) -> Self {
        Self::longest_first(plan.chunks().to_vec())
    }

    /// The chunks, longest first; of equals, the earlier.
    pub fn longest_first(mut chunks: Vec<AudioChunk>) -> Self {
        chunks.sort_by_key(|chunk| (std::cmp::Reverse(chunk.duration()), chunk.index()));
        Self::in_order(chunks)
    }

    /// The chunks as they stand.
    pub fn in_order(chunks: Vec<AudioChunk>) -> Self {
        let totals =
            TaskTotals { chunks: chunks.len() as u64, audio: chunks.iter().map(AudioChunk::duration).sum() };
        Self::lazy(chunks.into_iter().map(ProcessingTask::new), totals)
    }

    /// Tasks that are made when there is room for them. Their ids must differ.
    pub fn lazy(tasks: impl Iterator<Item = ProcessingTask> + Send + 'static, totals: TaskTotals) -> Self {
        Self {
            tasks: Box::new(tasks),
            totals,
            journal: Arc::new(NoopRunJournal),
            store: None,
            deadline: None,
            name: String::new(),
        }
    }

    /// Says what the run is called in traces. Default: nothing.
    #[must_use]
    pub fn named(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// Keeps what is finished in `journal`, and asks for nothing that it has already. Default: [`NoopRunJournal`].
    #[must_use]
    pub fn with_journal(mut self, journal: Arc<dyn RunJournal>) -> Self {
        self.journal = journal;
        self
    }

    /// Keeps each finished chunk of this run in `store`, and asks for nothing that is in it. Default: the orchestrator's
    /// own.
    #[must_use]
    pub fn with_store(mut self, store: Arc<dyn TranscriptStore>) -> Self {
        self.store = Some(store);
        self
    }

    /// Ends the run so long after its start, with what is there. Default: never.
    #[must_use]
    pub fn with_deadline(mut self, deadline: Duration) -> Self {
        self.deadline = Some(deadline);
        self
    }
}

impl fmt::Debug for TaskSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TaskSource")
            .field("totals", &self.totals)
            .field("journal", &self.journal)
            .field("store", &self.store)
            .field("deadline", &self.deadline)
            .finish_non_exhaustive()
    }
}
