//! The journal of a run in one file. It knows no run: it records what it is told and gives it back.

mod log;
mod record;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use wavequill_kernel::ContentHash;

use self::log::{Log, Place};
use self::record::Record;
use crate::{
    ChunkTranscript, JournalEntry, PlannedChunk, ProcessingError, Recalled, RunJournal, SplitCause, TaskId,
};

/// What a journal belongs to: another recording or another request has nothing to take from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JournalIdentity {
    /// The identity of the recording.
    pub recording: ContentHash,
    /// The identity of what is asked: model, language, prompt, options.
    pub request: ContentHash,
}

/// A [`RunJournal`] in one file, format `WQJ1`: the four letters, then records of a length (`u32`), a CRC-32C (`u32`)
/// and a body, little-endian. The first record names the [`JournalIdentity`].
///
/// The file is locked as long as it is open, and on Unix only its owner may read it. Entries that are recorded at the
/// same time share one `fsync`. A record that a crash left half written is cut off when the file is opened. A journal of
/// another identity is emptied; a file that is no journal is left alone and refused.
///
/// Memory: about 100 bytes a chunk; what was heard is read from the file when it is recalled.
///
/// ```
/// use wavequill_kernel::ContentHash;
/// use wavequill_processing::{FileRunJournal, JournalIdentity};
///
/// # let runtime = tokio::runtime::Builder::new_current_thread().build()?;
/// # runtime.block_on(async {
/// # let dir = tempfile::tempdir()?;
/// # let path = dir.path().join("run.wqj");
/// let identity = JournalIdentity {
///     recording: ContentHash::new([1; 32], 9_600_000),
///     request: ContentHash::new([2; 32], 40),
/// };
/// let journal = FileRunJournal::open(&path, identity).await?;
/// assert_eq!(journal.finished_chunks(), 0);
/// // A second one cannot be opened meanwhile.
/// assert!(FileRunJournal::open(&path, identity).await.is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct FileRunJournal {
    log: Log,
    path: PathBuf,
    known: Mutex<Index>,
}

/// What the file holds.
#[derive(Debug, Default)]
struct Index {
    chunks: HashMap<ContentHash, Entry>,
    plan: Option<Vec<PlannedChunk>>,
    finished: usize,
}

#[derive(Clone, Copy, Debug)]
enum Entry {
    /// Where the transcript lies.
    Finished(Place),
    Split(SplitCause),
}

impl FileRunJournal {
    /// Opens the journal at `path`, or makes one there.
    ///
    /// # Errors
    /// [`ProcessingError::Journal`] if it cannot be opened, is in use, or the file is no journal.
    pub async fn open(path: impl AsRef<Path>, identity: JournalIdentity) -> Result<Self, ProcessingError> {
        let path = path.as_ref().to_owned();
        let opened = tokio::task::spawn_blocking(move || Self::open_blocking(path, identity));
        // The task is not aborted, so it could only fail by a panic: that goes on here.
        opened.await.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))
    }

    fn open_blocking(path: PathBuf, identity: JournalIdentity) -> Result<Self, ProcessingError> {
        let mut index = Index::default();
        let mut belongs = None;
        let header = Record::Header { recording: identity.recording, request: identity.request }.encode();
        let log = Log::open(&path, &header, |place, body| {
            let Some(record) = Record::decode(body) else { return belongs.unwrap_or(false) };
            match belongs {
                // The first record decides whether the rest is of any use.
                None => {
                    let own = matches!(record, Record::Header { recording, request }
                        if recording == identity.recording && request == identity.request);
                    belongs = Some(own);
                    own
                }
                Some(own) => {
                    index.take(record, place);
                    own
                }
            }
        })
        .map_err(|(what, error)| journal_error(&path, what, error))?;
        Ok(Self { log, path, known: Mutex::new(index) })
    }

    /// How many chunks it has the transcripts of.
    pub fn finished_chunks(&self) -> usize {
        self.index().finished
    }

    /// The chunks as an earlier run had planned them: with other cuts, its finished chunks would be of no use.
    pub fn plan(&self) -> Option<Vec<PlannedChunk>> {
        self.index().plan.clone()
    }

    /// Records how the recording is cut.
    ///
    /// # Errors
    /// [`ProcessingError::Journal`] if it cannot be written.
    pub async fn keep_plan(&self, chunks: &[PlannedChunk]) -> Result<(), ProcessingError> {
        self.append(Record::Plan(chunks.to_vec()).encode()).await?;
        self.index().plan = Some(chunks.to_vec());
        Ok(())
    }

    /// Deletes the file: all of it is elsewhere now.
    ///
    /// # Errors
    /// [`ProcessingError::Journal`] if it cannot be deleted.
    pub fn remove(self) -> Result<(), ProcessingError> {
        std::fs::remove_file(&self.path).map_err(|error| journal_error(&self.path, "delete", Arc::new(error)))
    }

    fn index(&self) -> std::sync::MutexGuard<'_, Index> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn append(&self, body: Vec<u8>) -> Result<Place, ProcessingError> {
        self.log.append(&body).await.map_err(|error| journal_error(&self.path, "write", error))
    }
}

fn journal_error(path: &Path, what: &'static str, source: Arc<std::io::Error>) -> ProcessingError {
    ProcessingError::Journal { what, path: path.display().to_string(), source }
}

impl Index {
    fn take(&mut self, record: Record, place: Place) {
        match record {
            Record::Finished { chunk, transcript, .. } => {
                // The transcript is the end of the record's body.
                let skipped = place.len - transcript.len() as u64;
                let place = Place { offset: place.offset + skipped, len: transcript.len() as u64 };
                self.finish(chunk, place);
            }
            Record::Split { chunk, cause, .. } => {
                self.chunks.entry(chunk).or_insert(Entry::Split(cause));
            }
            Record::Plan(plan) => self.plan = Some(plan),
            Record::Header { .. } | Record::Dispatched { .. } | Record::Failed { .. } | Record::Done => {}
        }
    }

    fn finish(&mut self, chunk: ContentHash, place: Place) {
        let before = self.chunks.insert(chunk, Entry::Finished(place));
        if !matches!(before, Some(Entry::Finished(_))) {
            self.finished += 1;
        }
    }
}

#[async_trait]
impl RunJournal for FileRunJournal {
    async fn recall(&self, chunk: ContentHash) -> Result<Option<Recalled>, ProcessingError> {
        let entry = self.index().chunks.get(&chunk).copied();
        match entry {
            None => Ok(None),
            Some(Entry::Split(cause)) => Ok(Some(Recalled::Split(cause))),
            Some(Entry::Finished(place)) => {
                let read = self.log.read(place).await;
                let bytes = Bytes::from(read.map_err(|error| journal_error(&self.path, "read", error))?);
                // Bytes that passed the checksum and make no sense were written by another version: ask again.
                Ok(ChunkTranscript::decode(&bytes).ok().map(Recalled::Finished))
            }
        }
    }

    async fn record(&self, entry: JournalEntry<'_>) -> Result<(), ProcessingError> {
        match entry {
            JournalEntry::Finished { task, chunk, heard } => {
                let transcript = heard.encode();
                let len = transcript.len() as u64;
                let place = self.append(Record::Finished { task, chunk, transcript }.encode()).await?;
                self.index().finish(chunk, Place { offset: place.offset + place.len - len, len });
            }
            JournalEntry::Failed { task, chunk, why } => {
                self.append(Record::Failed { task, chunk, why: why.to_owned() }.encode()).await?;
            }
            JournalEntry::Split { task, chunk, cause } => {
                self.append(Record::Split { task, chunk, cause }.encode()).await?;
                self.index().chunks.insert(chunk, Entry::Split(cause));
            }
            JournalEntry::Done => {
                self.append(Record::Done.encode()).await?;
            }
        }
        Ok(())
    }

    fn note_dispatched(&self, task: TaskId, chunk: ContentHash) {
        self.log.push(&Record::Dispatched { task, chunk }.encode());
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::TooLarge;

    fn identity(seed: u8) -> JournalIdentity {
        JournalIdentity {
            recording: ContentHash::new([seed; 32], 1),
            request: ContentHash::new([seed; 32], 2),
        }
    }

    fn hash(seed: u8) -> ContentHash {
        ContentHash::new([seed; 32], 7)
    }

    async fn finish(journal: &FileRunJournal, seed: u8) {
        let heard = ChunkTranscript::of_text(format!("text {seed}"));
        let task = TaskId::of_chunk(u64::from(seed));
        journal.record(JournalEntry::Finished { task, chunk: hash(seed), heard: &heard }).await.unwrap();
    }

    fn text(recalled: Option<Recalled>) -> Option<String> {
        match recalled? {
            Recalled::Finished(heard) => Some(heard.text),
            Recalled::Split(_) => None,
        }
    }

    #[tokio::test]
    async fn what_was_recorded_is_there_when_it_is_opened_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("run.wqj");
        let journal = FileRunJournal::open(&path, identity(1)).await.unwrap();
        finish(&journal, 3).await;
        let cause = SplitCause::TooLarge(TooLarge::Bytes { limit: None });
        let task = TaskId::of_chunk(4);
        journal.note_dispatched(task, hash(4));
        journal.record(JournalEntry::Split { task, chunk: hash(4), cause }).await.unwrap();
        journal.record(JournalEntry::Failed { task, chunk: hash(5), why: "no" }).await.unwrap();
        assert_eq!(text(journal.recall(hash(3)).await.unwrap()).unwrap(), "text 3");
        drop(journal);
        let journal = FileRunJournal::open(&path, identity(1)).await.unwrap();
        assert_eq!(text(journal.recall(hash(3)).await.unwrap()).unwrap(), "text 3");
        assert_eq!(journal.recall(hash(4)).await.unwrap(), Some(Recalled::Split(cause)));
        assert_eq!(journal.recall(hash(5)).await.unwrap(), None, "what failed is asked again");
        assert_eq!(journal.finished_chunks(), 1);
    }

    #[tokio::test]
    async fn a_torn_tail_is_cut_wherever_it_was_torn() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("run.wqj");
        let journal = FileRunJournal::open(&path, identity(1)).await.unwrap();
        finish(&journal, 1).await;
        let whole = fs::metadata(&path).unwrap().len() as usize;
        finish(&journal, 2).await;
        drop(journal);
        let bytes = fs::read(&path).unwrap();
        for cut in whole..bytes.len() {
            fs::write(&path, &bytes[..cut]).unwrap();
            let journal = FileRunJournal::open(&path, identity(1)).await.unwrap();
            assert_eq!(journal.finished_chunks(), 1);
            finish(&journal, 9).await;
            drop(journal);
            let journal = FileRunJournal::open(&path, identity(1)).await.unwrap();
            assert_eq!(text(journal.recall(hash(9)).await.unwrap()).unwrap(), "text 9");
        }
    }

    #[tokio::test]
    async fn a_flipped_bit_loses_what_follows_but_no_error_and_nothing_wrong() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("run.wqj");
        let journal = FileRunJournal::open(&path, identity(1)).await.unwrap();
        for seed in 1..4 {
            finish(&journal, seed).await;
        }
        drop(journal);
        let bytes = fs::read(&path).unwrap();
        for at in 4..bytes.len() {
            let mut flipped = bytes.clone();
            flipped[at] ^= 0x10;
            fs::write(&path, &flipped).unwrap();
            let journal = FileRunJournal::open(&path, identity(1)).await.unwrap();
            for seed in 1..4 {
                let found = text(journal.recall(hash(seed)).await.unwrap());
                assert!(found.is_none_or(|text| text == format!("text {seed}")));
            }
            assert!(journal.finished_chunks() < 3);
        }
    }

    #[tokio::test]
    async fn another_recording_starts_anew() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("run.wqj");
        let journal = FileRunJournal::open(&path, identity(1)).await.unwrap();
        finish(&journal, 1).await;
        drop(journal);
        let journal = FileRunJournal::open(&path, identity(2)).await.unwrap();
        assert_eq!(journal.recall(hash(1)).await.unwrap(), None);
        drop(journal);
        let journal = FileRunJournal::open(&path, identity(1)).await.unwrap();
        assert_eq!(journal.finished_chunks(), 0);
    }

    #[tokio::test]
    async fn a_file_that_is_no_journal_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("thesis.txt");
        fs::write(&path, "years of work").unwrap();
        let error = FileRunJournal::open(&path, identity(1)).await.unwrap_err();
        assert!(error.to_string().contains("open the journal"), "{error}");
        assert_eq!(fs::read(&path).unwrap(), b"years of work");
    }

    #[tokio::test]
    async fn a_journal_that_is_open_cannot_be_opened_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("run.wqj");
        let journal = FileRunJournal::open(&path, identity(1)).await.unwrap();
        let error = FileRunJournal::open(&path, identity(1)).await.unwrap_err();
        assert!(matches!(error, ProcessingError::Journal { what: "lock", .. }), "{error:?}");
        drop(journal);
        FileRunJournal::open(&path, identity(1)).await.unwrap();
    }

    #[cfg(unix)]
    #[tokio::test]
    async fn only_the_owner_may_read_it() {
        use std::os::unix::fs::PermissionsExt;

        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("run.wqj");
        let _journal = FileRunJournal::open(&path, identity(1)).await.unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn a_full_disk_is_an_error_that_says_what_to_do() {
        let error = FileRunJournal::open("/dev/full", identity(1)).await.unwrap_err();
        assert!(error.to_string().contains("free some space"), "{error}");
    }

    #[tokio::test]
    async fn a_plan_is_kept_with_its_cuts() {
        use crate::{CutQuality, SampleIndex, SampleSpan};

        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("run.wqj");
        let span = |from, to| SampleSpan::new(SampleIndex::new(from), SampleIndex::new(to));
        let chunk = |from, to, cut| PlannedChunk { owned: span(from, to), heard: span(from, to + 5), cut };
        let plan = [chunk(0, 10, CutQuality::Pause), chunk(10, 30, CutQuality::Blind)];
        let journal = FileRunJournal::open(&path, identity(1)).await.unwrap();
        assert_eq!(journal.plan(), None);
        journal.keep_plan(&plan).await.unwrap();
        drop(journal);
        assert_eq!(FileRunJournal::open(&path, identity(1)).await.unwrap().plan().unwrap(), plan);
    }

    #[tokio::test]
    async fn entries_that_come_together_share_an_fsync() {
        let dir = tempfile::tempdir().unwrap();
        let journal = Arc::new(FileRunJournal::open(dir.path().join("run.wqj"), identity(1)).await.unwrap());
        let before = journal.log.syncs();
        let mut tasks = tokio::task::JoinSet::new();
        for seed in 0..100 {
            let journal = Arc::clone(&journal);
            tasks.spawn(async move { finish(&journal, seed).await });
        }
        tasks.join_all().await;
        assert_eq!(journal.finished_chunks(), 100);
        let syncs = journal.log.syncs() - before;
        assert!(syncs < 50, "{syncs} for 100 entries");
    }
}
