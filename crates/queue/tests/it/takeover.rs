//! What a dead process leaves behind, in a file that several share.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::process::{Command as Process, Stdio};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use wavequill_queue::{
    ClaimRequest, FreeSlots, Handlers, JobContext, JobEnd, JobQueue, JobState, JobType, NewJob, OnDuplicate,
    Selection, SweepBudget, Uniqueness, WorkerConfig, WorkerId, WorkerRegistration, WorkerType,
};

use crate::harness::file_queue;

const FOLDER: &str = "WAVEQUILL_TEST_QUEUE_FOLDER";

fn request() -> NewJob {
    let unique = Uniqueness::while_live().by(*b"talk.flac").on_duplicate(OnDuplicate::Renew);
    NewJob::new(JobType::TRANSCRIPTION, "talk.flac").unwrap().with_unique(unique)
}

fn transcribe() -> Handlers {
    Handlers::new().with(JobType::TRANSCRIPTION, |file: String, _: JobContext| async move {
        Ok(format!("words of {file}"))
    })
}

async fn claim_and_hold(queue: &JobQueue) {
    let worker =
        WorkerRegistration::new(WorkerId::new("doomed").unwrap(), [WorkerType::TRANSCRIPTION], 1).unwrap();
    let session = queue.store().open_session(&worker).await.unwrap();
    let claim = ClaimRequest { session, free: FreeSlots(1), only: None };
    let claimed = queue.store().claim(claim).await.unwrap();
    assert_eq!(claimed.jobs.len(), 1);
}

/// Not a test of its own: the process that the next test starts and kills.
#[expect(clippy::disallowed_methods, reason = "the test that starts this process tells it the folder")]
#[tokio::test]
async fn a_process_that_is_about_to_be_killed() {
    let Ok(folder) = std::env::var(FOLDER) else { return };
    let queue = file_queue(folder.as_ref()).await;
    queue.enqueue(request()).await.unwrap();
    claim_and_hold(&queue).await;
    let mut out = std::io::stderr();
    writeln!(out, "holding").unwrap();
    std::future::pending::<()>().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_job_of_a_killed_process_is_taken_over_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let mut child = Process::new(std::env::current_exe().unwrap())
        .args(["--exact", "takeover::a_process_that_is_about_to_be_killed", "--nocapture"])
        .env(FOLDER, folder.path())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap() == "holding"));

    let queue = file_queue(folder.path()).await;
    let alive = queue.store().maintain(SweepBudget::default()).await.unwrap();
    assert_eq!((alive.fenced, alive.rescued), (0, 0), "its process lives");

    child.kill().unwrap();
    child.wait().unwrap();
    let gone = queue.store().maintain(SweepBudget::default()).await.unwrap();
    assert_eq!((gone.fenced, gone.rescued), (1, 1));

    // The program is started again, and asks for the same.
    let adopted = queue.enqueue(request()).await.unwrap();
    assert!(!adopted.is_new());
    let worker = queue.start_worker(WorkerConfig::default(), transcribe()).await.unwrap();
    let end = queue.wait(adopted.id()).await.unwrap();
    assert!(matches!(end, JobEnd::Completed { .. }), "{end:?}");
    worker.shutdown(Duration::ZERO).await;
}

#[tokio::test]
async fn a_program_that_is_killed_again_and_again_and_asked_again_is_never_set_aside() {
    let folder = tempfile::tempdir().unwrap();
    let mut first = None;
    for _ in 0..6 {
        let queue = file_queue(folder.path()).await;
        let job = queue.enqueue(request()).await.unwrap().id();
        assert_eq!(*first.get_or_insert(job), job);
        queue.store().maintain(SweepBudget::default()).await.unwrap();
        claim_and_hold(&queue).await;
        // The lock goes with the store, as with a killed process.
    }
    let queue = file_queue(folder.path()).await;
    let job = queue.enqueue(request()).await.unwrap().id();
    let worker = queue.start_worker(WorkerConfig::default(), transcribe()).await.unwrap();
    assert!(matches!(queue.wait(job).await.unwrap(), JobEnd::Completed { .. }));
    worker.shutdown(Duration::ZERO).await;
}

#[tokio::test]
async fn the_lease_of_a_live_process_is_left_alone_by_one_that_starts() {
    let folder = tempfile::tempdir().unwrap();
    let (old, new) = (file_queue(folder.path()).await, file_queue(folder.path()).await);
    let job = old.enqueue(request()).await.unwrap().id();
    claim_and_hold(&old).await;
    new.store().maintain(SweepBudget::default()).await.unwrap();
    assert_eq!(new.job(job).await.unwrap().unwrap().state, JobState::Running);
    drop(old);
    let report = new.store().maintain(SweepBudget::default()).await.unwrap();
    assert_eq!(report.rescued, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_stores_on_one_file_run_every_job_once() {
    const JOBS: usize = 200;
    let folder = tempfile::tempdir().unwrap();
    let runs: Arc<Mutex<HashMap<i64, u32>>> = Arc::default();
    let counting = |runs: &Arc<Mutex<HashMap<i64, u32>>>| {
        let runs = Arc::clone(runs);
        Handlers::new().with(JobType::INDEXING, move |_: usize, context: JobContext| {
            let runs = Arc::clone(&runs);
            async move {
                *runs.lock().entry(context.id().get()).or_default() += 1;
                Ok(())
            }
        })
    };
    let queues = [file_queue(folder.path()).await, file_queue(folder.path()).await];
    let mut workers = Vec::new();
    for queue in &queues {
        let config = WorkerConfig::default().with_concurrency(8);
        workers.push(queue.start_worker(config, counting(&runs)).await.unwrap());
    }
    let mut ids = Vec::new();
    for (n, queue) in queues.iter().cycle().take(10).enumerate() {
        let jobs = (0..JOBS / 10).map(|at| NewJob::new(JobType::INDEXING, &(n + at)).unwrap()).collect();
        ids.extend(queue.enqueue_all(jobs).await.unwrap().into_iter().map(wavequill_queue::Enqueued::id));
    }
    let [queue, _] = &queues;
    for id in &ids {
        assert!(matches!(queue.wait(*id).await.unwrap(), JobEnd::Completed { .. }));
    }
    for worker in workers {
        worker.shutdown(Duration::ZERO).await;
    }
    let runs = runs.lock();
    assert_eq!(runs.len(), JOBS);
    assert!(runs.values().all(|count| *count == 1), "{runs:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_takes_named_jobs_leaves_the_others_alone() {
    let folder = tempfile::tempdir().unwrap();
    let queue = file_queue(folder.path()).await;
    let left_behind =
        queue.enqueue(NewJob::new(JobType::TRANSCRIPTION, "old.flac").unwrap()).await.unwrap().id();
    let mine = queue.enqueue(request()).await.unwrap().id();
    let config = WorkerConfig::default().with_selection(Selection::Named);
    let worker = queue.start_worker(config, transcribe()).await.unwrap();
    worker.take_on(mine);
    assert!(matches!(queue.wait(mine).await.unwrap(), JobEnd::Completed { .. }));
    worker.shutdown(Duration::from_secs(5)).await;
    assert_eq!(queue.job(left_behind).await.unwrap().unwrap().state, JobState::Ready);
}
