//! The contracts of [`TranscriptStore`] and [`RunJournal`].

use wavequill_kernel::ContentHash;

use crate::{
    AudioChunk, ChunkTranscript, JournalEntry, ProcessingError, Recalled, RunJournal, SplitCause, TaskId,
    TranscriptStore,
};

/// Puts a store through its contract with these chunks: at least two, none of which it knows.
///
/// # Errors
/// What the store says: for a store that works, nothing.
///
/// # Panics
/// If a sentence is broken.
pub async fn transcript_store(
    store: &dyn TranscriptStore,
    chunks: &[AudioChunk],
) -> Result<(), ProcessingError> {
    let hashes: Vec<ContentHash> = chunks.iter().map(AudioChunk::content_hash).collect();
    assert!(hashes.len() >= 2, "the suite needs two chunks");
    let found = store.find(&hashes).await?;
    assert!(found.len() == hashes.len(), "1: one entry for each hash");
    assert!(found.iter().all(Option::is_none), "the suite needs chunks that the store does not know");
    assert!(store.find(&[]).await?.is_empty(), "1: no entry for no hash");
    let heard = |number: usize| ChunkTranscript::of_text(format!("chunk {number}"));
    for (number, chunk) in chunks.iter().enumerate().skip(1) {
        store.keep(chunk, &heard(number)).await?;
    }
    for (number, found) in store.find(&hashes).await?.into_iter().enumerate() {
        let text = found.map(|found| found.text);
        let kept = (number > 0).then(|| heard(number).text);
        assert_eq!(text, kept, "1, 2: what was kept is found, in the order of the hashes");
    }
    Ok(())
}

/// Puts a journal through sentence 2 of its contract, and leaves it with entries for a reopening to find:
/// [`reopened_journal`] looks for them.
///
/// # Errors
/// What the journal says: for a journal that works, nothing.
///
/// # Panics
/// If a sentence is broken.
pub async fn run_journal(journal: &dyn RunJournal) -> Result<(), ProcessingError> {
    for seed in 0..3 {
        assert_eq!(journal.recall(hash(seed)).await?, None, "the suite needs a new journal");
    }
    journal.note_dispatched(TaskId::of_chunk(0), hash(0));
    let heard = heard();
    let finished = JournalEntry::Finished { task: TaskId::of_chunk(0), chunk: hash(0), heard: &heard };
    journal.record(finished).await?;
    let cause = SplitCause::TimedOut;
    journal.record(JournalEntry::Split { task: TaskId::of_chunk(1), chunk: hash(1), cause }).await?;
    journal
        .record(JournalEntry::Failed { task: TaskId::of_chunk(2), chunk: hash(2), why: "refused" })
        .await?;
    reopened_journal(journal).await
}

/// Looks for what [`run_journal`] recorded: in the same journal, or in one that was opened again after it was closed or
/// after the process was killed.
///
/// # Errors
/// As [`run_journal`].
///
/// # Panics
/// If a sentence is broken.
pub async fn reopened_journal(journal: &dyn RunJournal) -> Result<(), ProcessingError> {
    let finished = journal.recall(hash(0)).await?;
    assert_eq!(finished, Some(Recalled::Finished(heard())), "1, 2: what is finished is recalled, verbatim");
    let split = journal.recall(hash(1)).await?;
    assert_eq!(
        split,
        Some(Recalled::Split(SplitCause::TimedOut)),
        "1, 2: that a chunk was split is recalled"
    );
    assert_eq!(journal.recall(hash(2)).await?, None, "what failed is asked for again");
    Ok(())
}

fn hash(seed: u8) -> ContentHash {
    ContentHash::new([seed; 32], 1_000)
}

fn heard() -> ChunkTranscript {
    let raw = bytes::Bytes::from_static(b"{\"text\":\"good morning\"}");
    ChunkTranscript { raw, ..ChunkTranscript::of_text("good morning") }
}
