//! Runs that are killed and started again, and what is known already.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use async_trait::async_trait;
use wavequill_kernel::{ContentHash, ErrorClass, Retryable};
use wavequill_processing::testing::{ScriptedRecognizer, Step, words_of};
use wavequill_processing::{
    AudioChunk, ChunkTranscript, FileRunJournal, JournalEntry, JournalIdentity, Orchestrator,
    OrchestratorConfig, Origin, OutputFormat, ParallelOrchestrator, ProcessingError, Recalled,
    RecognitionError, RunJournal, RunReport, TaskId, TaskSource, TranscriptAssembler, TranscriptStore,
};

use crate::support::{MS, S, admission, by, minutes, orchestrator, rate, span};

fn identity() -> JournalIdentity {
    JournalIdentity { recording: ContentHash::new([1; 32], 1), request: ContentHash::new([2; 32], 2) }
}

/// Opens the journal; tasks of a run that was dropped may hold it until they are polled.
async fn open(path: &std::path::Path) -> Arc<FileRunJournal> {
    for _ in 0..1_000 {
        match FileRunJournal::open(path, identity()).await {
            Ok(journal) => return Arc::new(journal),
            Err(ProcessingError::Journal { what: "lock", .. }) => tokio::task::yield_now().await,
            Err(error) => panic!("{error}"),
        }
    }
    panic!("nobody gives the journal back");
}

/// Takes different times for different chunks, and fails each third one once.
fn recognizer() -> ScriptedRecognizer {
    ScriptedRecognizer::answering(|request| {
        let index = request.chunk.index();
        let time = MS * (1 + index as u32 * 7 % 13);
        if index % 3 == 2 && request.attempt == 1 {
            Step::Fail(time, RecognitionError::transient("the server is overloaded"))
        } else {
            Step::Answer(time, words_of(request))
        }
    })
}

fn text_of(report: &RunReport) -> String {
    let transcript = TranscriptAssembler::default().assemble(span(0, 720), rate(), report).unwrap();
    OutputFormat::Srt.render(&transcript)
}

/// Polls a future so many times at most, then gives it up.
struct Polls<F> {
    future: Pin<Box<F>>,
    left: usize,
}

impl<F: Future> Future for Polls<F> {
    type Output = Option<F::Output>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        self.left -= 1;
        match self.future.as_mut().poll(cx) {
            Poll::Ready(output) => Poll::Ready(Some(output)),
            Poll::Pending => {
                if self.left == 0 {
                    cx.waker().wake_by_ref();
                }
                Poll::Pending
            }
        }
    }
}

/// Runs the twelve chunks, killed as `kill` says each time, until one run comes to its end. Says how often each chunk was
/// asked for.
async fn until_done<F>(mut kill: F) -> (RunReport, HashMap<usize, usize>, usize)
where
    F: AsyncFnMut(usize, Pin<Box<dyn Future<Output = RunReport> + '_>>) -> Option<RunReport>,
{
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("run.wqj");
    let mut asked: HashMap<usize, usize> = HashMap::new();
    for kills in 0..500 {
        let journal = open(&path).await;
        let chunks = minutes(12);
        let mut finished = BTreeSet::new();
        for chunk in &chunks {
            if let Some(Recalled::Finished(_)) = journal.recall(chunk.content_hash()).await.unwrap() {
                finished.insert(chunk.index());
            }
        }
        let recognizer = recognizer();
        let orchestrator = orchestrator(3);
        let source = TaskSource::in_order(chunks).with_journal(journal);
        let report = kill(kills, Box::pin(orchestrator.execute_parallel(source, by(&recognizer)))).await;
        for call in recognizer.calls() {
            assert!(
                !finished.contains(&call.chunk),
                "chunk {} was finished, and was asked again",
                call.chunk
            );
            *asked.entry(call.chunk).or_default() += 1;
        }
        if let Some(report) = report {
            return (report, asked, kills);
        }
    }
    panic!("it never came to an end");
}

#[tokio::test(start_paused = true)]
async fn dropped_at_each_await_and_started_again_it_asks_for_nothing_finished() {
    let whole = orchestrator(3).execute_parallel(TaskSource::in_order(minutes(12)), by(&recognizer())).await;
    let mut step = 0;
    let (report, _, kills) = until_done(async |_, run| {
        step += 1;
        Polls { future: Box::pin(run), left: step }.await
    })
    .await;
    assert!(kills >= 3, "killed {kills} times");
    assert!(report.is_complete());
    assert_eq!(text_of(&report), text_of(&whole));
}

#[tokio::test(start_paused = true)]
async fn killed_each_few_milliseconds_it_repeats_no_more_than_was_in_flight() {
    let whole = orchestrator(3).execute_parallel(TaskSource::in_order(minutes(12)), by(&recognizer())).await;
    // Longer each time: the first answer of a chunk that fails once takes a retry, which takes up to a second.
    let (report, asked, kills) =
        until_done(async |kills, run| tokio::time::timeout(MS * (3 + 40 * kills as u32), run).await.ok())
            .await;
    assert!(kills >= 2, "killed {kills} times");
    assert_eq!(text_of(&report), text_of(&whole));
    let total: usize = asked.values().sum();
    let once: usize = (0..12).map(|index| 1 + usize::from(index % 3 == 2)).sum();
    // Three are in flight at a kill, and as many may be waiting for their retry.
    assert!(total <= once + kills * 6, "{total} requests, {kills} kills");
}

#[tokio::test(start_paused = true)]
async fn a_finished_run_that_is_started_again_sends_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("run.wqj");
    let first = recognizer();
    let source = || async { TaskSource::in_order(minutes(12)).with_journal(open(&path).await) };
    let once = orchestrator(3).execute_parallel(source().await, by(&first)).await;
    let second = recognizer();
    let again = orchestrator(5).execute_parallel(source().await, by(&second)).await;
    assert!(second.calls().is_empty());
    assert!(again.results.values().all(|result| result.origin == Origin::Journal));
    assert_eq!(again.audio_reused(), 720 * S);
    assert_eq!(text_of(&again), text_of(&once));
}

/// Keeps in memory, as long as it is told to.
#[derive(Debug, Default)]
pub(crate) struct MemoryStore {
    kept: Mutex<BTreeMap<ContentHash, ChunkTranscript>>,
    broken: AtomicBool,
}

impl MemoryStore {
    fn check(&self) -> Result<(), ProcessingError> {
        if !self.broken.load(Ordering::Relaxed) {
            return Ok(());
        }
        Err(ProcessingError::Store { source: Arc::new(std::io::Error::other("connection refused")) })
    }
}

#[async_trait]
impl TranscriptStore for MemoryStore {
    async fn find(&self, chunks: &[ContentHash]) -> Result<Vec<Option<ChunkTranscript>>, ProcessingError> {
        self.check()?;
        let kept = self.kept.lock().unwrap();
        Ok(chunks.iter().map(|chunk| kept.get(chunk).cloned()).collect())
    }

    async fn keep(&self, chunk: &AudioChunk, heard: &ChunkTranscript) -> Result<(), ProcessingError> {
        self.check()?;
        self.kept.lock().unwrap().insert(chunk.content_hash(), heard.clone());
        Ok(())
    }
}

fn with_store(limit: u16, store: &Arc<MemoryStore>) -> ParallelOrchestrator {
    let orchestrator = ParallelOrchestrator::new(OrchestratorConfig::default(), admission(limit)).unwrap();
    orchestrator.with_store(Arc::clone(store) as Arc<dyn TranscriptStore>)
}

#[tokio::test(start_paused = true)]
async fn what_the_store_has_is_not_asked_for_also_with_another_concurrency() {
    let store = Arc::new(MemoryStore::default());
    let once =
        with_store(3, &store).execute_parallel(TaskSource::in_order(minutes(12)), by(&recognizer())).await;
    let second = recognizer();
    let again =
        with_store(8, &store).execute_parallel(TaskSource::longest_first(minutes(12)), by(&second)).await;
    assert!(second.calls().is_empty());
    assert_eq!(again.audio_reused(), 720 * S);
    assert_eq!(text_of(&again), text_of(&once));
}

#[tokio::test(start_paused = true)]
async fn a_result_is_in_the_store_before_it_is_given_out() {
    let store = Arc::new(MemoryStore::default());
    let orchestrator = with_store(3, &store);
    let mut run = orchestrator.start(TaskSource::in_order(minutes(12)), by(&recognizer()));
    while let Some(result) = run.next().await {
        assert!(store.kept.lock().unwrap().contains_key(&result.task.chunk.content_hash()));
    }
}

#[tokio::test(start_paused = true)]
async fn a_store_that_fails_costs_money_but_no_transcript() {
    let store = Arc::new(MemoryStore::default());
    store.broken.store(true, Ordering::Relaxed);
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("run.wqj");
    let source = TaskSource::in_order(minutes(12)).with_journal(open(&path).await);
    let report = with_store(3, &store).execute_parallel(source, by(&recognizer())).await;
    assert!(report.is_complete());
    assert_eq!(report.costs.store_errors, 24, "twelve could not be found, twelve not kept");
    // Once it works again, the journal fills it.
    store.broken.store(false, Ordering::Relaxed);
    let source = TaskSource::in_order(minutes(12)).with_journal(open(&path).await);
    let second = recognizer();
    with_store(3, &store).execute_parallel(source, by(&second)).await;
    assert!(second.calls().is_empty());
    assert_eq!(store.kept.lock().unwrap().len(), 12);
}

/// A disk that is full after a few entries.
#[derive(Debug)]
struct FullAfter(Mutex<usize>);

#[async_trait]
impl RunJournal for FullAfter {
    async fn recall(&self, _: ContentHash) -> Result<Option<Recalled>, ProcessingError> {
        Ok(None)
    }

    async fn record(&self, _: JournalEntry<'_>) -> Result<(), ProcessingError> {
        let mut left = self.0.lock().unwrap();
        if *left == 0 {
            let source = Arc::new(std::io::Error::from(std::io::ErrorKind::StorageFull));
            return Err(ProcessingError::Journal { what: "write", path: "run.wqj".into(), source });
        }
        *left -= 1;
        Ok(())
    }

    fn note_dispatched(&self, _: TaskId, _: ContentHash) {}
}

#[tokio::test(start_paused = true)]
async fn a_full_disk_ends_the_run_before_more_is_paid_for() {
    let recognizer = ScriptedRecognizer::answering(|request| Step::Answer(S, words_of(request)));
    let source = TaskSource::in_order(minutes(100)).with_journal(Arc::new(FullAfter(Mutex::new(2))));
    let report = orchestrator(3).execute_parallel(source, by(&recognizer)).await;
    let ended = report.ended_by.unwrap();
    assert_eq!(ended.class(), ErrorClass::Transient);
    assert!(ended.to_string().contains("free some space"), "{ended}");
    assert!(recognizer.calls().len() <= 3 + 3, "{}", recognizer.calls().len());
}

#[tokio::test(start_paused = true)]
async fn a_chunk_that_was_split_is_not_tried_whole_again() {
    // A limit that only the first run meets: the second must know it from the journal.
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("run.wqj");
    let journal = open(&path).await;
    let chunk = minutes(1).remove(0);
    let (task, hash) = (TaskId::of_chunk(0), chunk.content_hash());
    let cause = wavequill_processing::SplitCause::TimedOut;
    journal.record(JournalEntry::Split { task, chunk: hash, cause }).await.unwrap();
    drop(journal);
    let recognizer = recognizer();
    let source = TaskSource::in_order(vec![chunk]).with_journal(open(&path).await);
    // This processor cannot cut: then the chunk is asked for as it is.
    let report = orchestrator(1).execute_parallel(source, by(&recognizer)).await;
    assert!(report.is_complete());
    assert_eq!(recognizer.calls().len(), 1);
    assert!(Duration::ZERO < report.results.values().next().unwrap().elapsed);
}
