//! Where finished chunks are kept: for everybody ([`TranscriptStore`]), and for the run itself ([`RunJournal`]).

use std::fmt::Debug;
use std::sync::Arc;

use async_trait::async_trait;
use wavequill_kernel::ContentHash;

use crate::{AudioChunk, ChunkTranscript, ProcessingError, SplitCause, TaskId};

/// Answers that were paid for, by what is heard in the chunk; for one model and one set of options.
///
/// Today a chunk is found as a whole: a part of one that was cut elsewhere is not.
///
/// # Contract
/// 1. [`find`](Self::find) gives one entry for each hash, in order.
/// 2. What [`keep`](Self::keep) has returned for is found, also by another process, unless it expired.
/// 3. What it cannot read is not there: a damaged entry is no error.
#[async_trait]
pub trait TranscriptStore: Debug + Send + Sync + 'static {
    /// What is known of these chunks.
    ///
    /// # Errors
    /// [`ProcessingError::Store`] if it cannot be reached. The chunks are recognised then.
    async fn find(&self, chunks: &[ContentHash]) -> Result<Vec<Option<ChunkTranscript>>, ProcessingError>;

    /// Keeps what was heard in a chunk.
    ///
    /// # Errors
    /// [`ProcessingError::Store`] if it did not take it. The run goes on; the journal has it.
    async fn keep(&self, chunk: &AudioChunk, heard: &ChunkTranscript) -> Result<(), ProcessingError>;
}

#[async_trait]
impl<T: TranscriptStore + ?Sized> TranscriptStore for Arc<T> {
    async fn find(&self, chunks: &[ContentHash]) -> Result<Vec<Option<ChunkTranscript>>, ProcessingError> {
        (**self).find(chunks).await
    }

    async fn keep(&self, chunk: &AudioChunk, heard: &ChunkTranscript) -> Result<(), ProcessingError> {
        (**self).keep(chunk, heard).await
    }
}

/// Keeps nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoopTranscriptStore;

#[async_trait]
impl TranscriptStore for NoopTranscriptStore {
    async fn find(&self, chunks: &[ContentHash]) -> Result<Vec<Option<ChunkTranscript>>, ProcessingError> {
        Ok(vec![None; chunks.len()])
    }

    async fn keep(&self, _: &AudioChunk, _: &ChunkTranscript) -> Result<(), ProcessingError> {
        Ok(())
    }
}

/// What one run of one file has done, so that a killed run can go on.
///
/// # Contract
/// 1. When [`record`](Self::record) has returned, the entry survives the death of the process and of the machine.
/// 2. [`recall`](Self::recall) gives what was recorded for the same audio, by this run or an earlier one of the same
///    file and request.
/// 3. What a crash left half written is not there; what was recorded before it is.
#[async_trait]
pub trait RunJournal: Debug + Send + Sync + 'static {
    /// What was recorded for a chunk, if that helps: it is finished, or was split.
    ///
    /// # Errors
    /// [`ProcessingError::Journal`] if it cannot be read.
    async fn recall(&self, chunk: ContentHash) -> Result<Option<Recalled>, ProcessingError>;

    /// Records, durably.
    ///
    /// # Errors
    /// [`ProcessingError::Journal`] if it cannot be written: a full disk. No more should be sent then.
    ///
    /// # Cancellation
    /// If the future is dropped, the entry may or may not be recorded; never half of it.
    async fn record(&self, entry: JournalEntry<'_>) -> Result<(), ProcessingError>;

    /// Records that a chunk is about to be sent. It may be lost in a crash: it serves people who read the journal.
    fn note_dispatched(&self, task: TaskId, chunk: ContentHash);
}

#[async_trait]
impl<T: RunJournal + ?Sized> RunJournal for Arc<T> {
    async fn recall(&self, chunk: ContentHash) -> Result<Option<Recalled>, ProcessingError> {
        (**self).recall(chunk).await
    }

    async fn record(&self, entry: JournalEntry<'_>) -> Result<(), ProcessingError> {
        (**self).record(entry).await
    }

    fn note_dispatched(&self, task: TaskId, chunk: ContentHash) {
        (**self).note_dispatched(task, chunk);
    }
}

/// What is recorded.
#[derive(Clone, Copy, Debug)]
pub enum JournalEntry<'a> {
    /// A chunk was heard.
    Finished {
        /// Which task.
        task: TaskId,
        /// Which audio.
        chunk: ContentHash,
        /// What was heard.
        heard: &'a ChunkTranscript,
    },
    /// A chunk failed for good. The next run asks again.
    Failed {
        /// Which task.
        task: TaskId,
        /// Which audio.
        chunk: ContentHash,
        /// Why.
        why: &'a str,
    },
    /// A chunk was split, so that the next run does not try it whole again.
    Split {
        /// Which task.
        task: TaskId,
        /// Which audio.
        chunk: ContentHash,
        /// Why.
        cause: SplitCause,
    },
    /// All is resolved.
    Done,
}

/// What a journal knows about a chunk.
#[derive(Clone, Debug, PartialEq)]
pub enum Recalled {
    /// It was heard.
    Finished(ChunkTranscript),
    /// It was split for this reason.
    Split(SplitCause),
}

/// Keeps nothing: a killed run starts anew.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoopRunJournal;

#[async_trait]
impl RunJournal for NoopRunJournal {
    async fn recall(&self, _: ContentHash) -> Result<Option<Recalled>, ProcessingError> {
        Ok(None)
    }

    async fn record(&self, _: JournalEntry<'_>) -> Result<(), ProcessingError> {
        Ok(())
    }

    fn note_dispatched(&self, _: TaskId, _: ContentHash) {}
}
