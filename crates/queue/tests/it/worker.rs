//! Workers, on paused time.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, sleep};
use wavequill_queue::testing::run_inline;
use wavequill_queue::{
    FailureCause, Handlers, JobContext, JobEnd, JobFailure, JobQuery, JobQueue, JobState, JobType,
    MaxPerWorker, NewJob, QueueError, ShutdownReport, StopReason, WorkerConfig,
};

use crate::harness::{UnpluggedStore, queue};

const KIND: JobType = JobType::INDEXING;
const MINUTE: Duration = Duration::from_secs(60);

fn job(payload: u32) -> NewJob {
    NewJob::new(KIND, &payload).unwrap()
}

fn handlers<F, Fut>(handler: F) -> Handlers
where
    F: Fn(u32, JobContext) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<u32, JobFailure>> + Send + 'static,
{
    Handlers::new().with(KIND, handler)
}

/// A handler that tells that it runs, and goes on when it is told to stop.
fn until_stopped() -> (Handlers, mpsc::UnboundedReceiver<StopReason>, Arc<Notify>) {
    let (told, reasons) = mpsc::unbounded_channel();
    let started = Arc::new(Notify::new());
    let signal = Arc::clone(&started);
    let handlers = handlers(move |_, context| {
        let (told, started) = (told.clone(), Arc::clone(&started));
        async move {
            started.notify_one();
            told.send(context.cancelled().await).unwrap();
            Err(JobFailure::cancelled())
        }
    });
    (handlers, reasons, signal)
}

fn errors(end: JobEnd) -> (bool, Vec<FailureCause>) {
    let JobEnd::Dead { quarantined, errors } = end else { panic!("{end:?}") };
    (quarantined, errors.into_iter().map(|error| error.cause).collect())
}

#[tokio::test(start_paused = true)]
async fn jobs_run_side_by_side_but_never_more_than_allowed() {
    let queue = queue();
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let peak = Arc::clone(&most);
    let worker = queue
        .start_worker(
            WorkerConfig::default().with_concurrency(3),
            handlers(move |n, _| {
                let (now, most) = (Arc::clone(&now), Arc::clone(&most));
                async move {
                    most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                    sleep(Duration::from_secs(10)).await;
                    now.fetch_sub(1, Ordering::SeqCst);
                    Ok(2 * n)
                }
            }),
        )
        .await
        .unwrap();
    let started = Instant::now();
    let jobs = queue.enqueue_all((0..9).map(job).collect()).await.unwrap();
    for (n, job) in jobs.iter().enumerate() {
        let JobEnd::Completed { result: Some(result) } = queue.wait(job.id()).await.unwrap() else {
            panic!()
        };
        assert_eq!(result.read::<usize>().unwrap(), 2 * n);
    }
    assert_eq!(peak.load(Ordering::SeqCst), 3);
    assert!(started.elapsed() < Duration::from_secs(31), "{:?}", started.elapsed());
    assert_eq!(worker.shutdown(MINUTE).await, ShutdownReport::default());
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_panics_each_time_is_set_aside_after_three() {
    let queue = queue();
    let worker = queue
        .start_worker(WorkerConfig::default(), handlers(|_, _| async { panic!("out of words") }))
        .await
        .unwrap();
    let id = queue.enqueue(job(1)).await.unwrap().id();
    let JobEnd::Dead { quarantined: true, errors } = queue.wait(id).await.unwrap() else { panic!() };
    assert_eq!(errors.len(), 3);
    assert!(
        errors.iter().all(|error| error.message == "out of words" && error.cause == FailureCause::Panicked)
    );
    drop(worker);
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_takes_too_long_is_told_and_spends_an_attempt() {
    let queue = queue();
    let (handlers, mut reasons, _) = until_stopped();
    let worker = queue.start_worker(WorkerConfig::default(), handlers).await.unwrap();
    let slow = job(1).with_timeout(Duration::from_secs(30)).with_max_attempts(2);
    let id = queue.enqueue(slow).await.unwrap().id();
    let end = queue.wait(id).await.unwrap();
    assert_eq!(errors(end), (false, vec![FailureCause::TimedOut; 2]));
    assert_eq!(reasons.recv().await, Some(StopReason::TimedOut));
    drop(worker);
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_handler_is_told_at_once() {
    let queue = queue();
    let (handlers, mut reasons, started) = until_stopped();
    let worker = queue.start_worker(WorkerConfig::default(), handlers).await.unwrap();
    let id = queue.enqueue(job(1)).await.unwrap().id();
    started.notified().await;
    let asked = Instant::now();
    assert!(queue.cancel(id).await.unwrap());
    assert_eq!(reasons.recv().await, Some(StopReason::Cancelled));
    assert_eq!(queue.wait(id).await.unwrap(), JobEnd::Cancelled);
    assert!(asked.elapsed() < Duration::from_secs(1));
    assert!(!queue.cancel(id).await.unwrap());
    drop(worker);
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_handler_that_does_not_listen_is_dropped_after_its_grace() {
    let queue = queue();
    let started = Arc::new(Notify::new());
    let signal = Arc::clone(&started);
    let deaf = handlers(move |_, _| {
        let started = Arc::clone(&started);
        async move {
            started.notify_one();
            std::future::pending().await
        }
    });
    let worker = queue.start_worker(WorkerConfig::default(), deaf).await.unwrap();
    let id = queue.enqueue(job(1)).await.unwrap().id();
    signal.notified().await;
    let asked = Instant::now();
    queue.cancel(id).await.unwrap();
    assert_eq!(queue.wait(id).await.unwrap(), JobEnd::Cancelled);
    assert!(asked.elapsed() >= WorkerConfig::default().cancel_grace);
    drop(worker);
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_waits_for_what_runs_and_claims_nothing_more() {
    let queue = queue();
    let brief = handlers(|n, _| async move {
        sleep(Duration::from_secs(20)).await;
        Ok(n)
    });
    let worker = queue.start_worker(WorkerConfig::default().with_concurrency(1), brief).await.unwrap();
    let jobs = queue.enqueue_all(vec![job(1), job(2)]).await.unwrap();
    sleep(Duration::from_secs(1)).await;
    assert_eq!(worker.running(), 1);
    assert_eq!(worker.shutdown(MINUTE).await, ShutdownReport::default());
    let states: Vec<_> =
        queue.jobs(&JobQuery::default()).await.unwrap().jobs.iter().map(|job| job.state).collect();
    assert_eq!(states, [JobState::Completed, JobState::Ready]);
    assert_eq!(jobs.len(), 2);
    assert!(queue.store().workers().await.unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_claim_under_way_when_a_worker_shuts_down_is_told_of_the_shutdown_too() {
    let inner = queue();
    let store = UnpluggedStore::new(Arc::clone(inner.store()));
    let queue = JobQueue::new(store.clone(), inner.policies().clone());
    let (handlers, mut reasons, _) = until_stopped();
    let id = queue.enqueue(job(1)).await.unwrap().id();
    store.hold_claims();
    let worker = queue.start_worker(WorkerConfig::default(), handlers).await.unwrap();
    store.held_claim().await;
    let late = async {
        // All that runs has been told by now: it was nothing.
        sleep(Duration::from_millis(120)).await;
        store.let_claims_go();
    };
    let (report, ()) = tokio::join!(worker.shutdown(Duration::ZERO), late);
    assert_eq!(report, ShutdownReport { interrupted: 1, unsettled: 0 });
    assert_eq!(reasons.recv().await, Some(StopReason::Shutdown));
    let stored = queue.job(id).await.unwrap().unwrap();
    assert_eq!((stored.attempts.failures, stored.attempts.crashes, stored.lease), (0, 0, None));
}

#[tokio::test(start_paused = true)]
async fn a_job_that_a_shutdown_interrupts_runs_again_and_spends_no_attempt() {
    let queue = queue();
    let (stopped, mut reasons, started) = until_stopped();
    let worker = queue.start_worker(WorkerConfig::default(), stopped).await.unwrap();
    let id = queue.enqueue(job(7)).await.unwrap().id();
    started.notified().await;
    let report = worker.shutdown(Duration::ZERO).await;
    assert_eq!(report, ShutdownReport { interrupted: 1, unsettled: 0 });
    assert_eq!(reasons.recv().await, Some(StopReason::Shutdown));
    let stored = queue.job(id).await.unwrap().unwrap();
    assert_eq!((stored.state, stored.attempts.failures, stored.attempts.crashes), (JobState::Ready, 0, 0));
    let worker =
        queue.start_worker(WorkerConfig::default(), handlers(|n, _| async move { Ok(n) })).await.unwrap();
    assert!(matches!(queue.wait(id).await.unwrap(), JobEnd::Completed { .. }));
    drop(worker);
}

#[tokio::test(start_paused = true)]
async fn what_a_dropped_worker_held_is_rescued_by_the_next() {
    let queue = queue();
    let (stopped, _reasons, started) = until_stopped();
    let worker = queue.start_worker(WorkerConfig::default(), stopped).await.unwrap();
    let id = queue.enqueue(job(7)).await.unwrap().id();
    started.notified().await;
    drop(worker);
    let began = Instant::now();
    let worker =
        queue.start_worker(WorkerConfig::default(), handlers(|n, _| async move { Ok(n) })).await.unwrap();
    assert!(matches!(queue.wait(id).await.unwrap(), JobEnd::Completed { .. }));
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    drop(worker);
}

#[tokio::test(start_paused = true)]
async fn a_throttled_job_waits_as_long_as_it_was_told_and_spends_no_attempt() {
    let queue = queue();
    let tries = Arc::new(Mutex::new(Vec::new()));
    let times = Arc::clone(&tries);
    let throttled = handlers(move |n, context| {
        let times = Arc::clone(&times);
        async move {
            times.lock().push(Instant::now());
            if context.attempt() == 1 {
                return Err(JobFailure::throttled("slow down", Some(Duration::from_secs(90))));
            }
            Ok(n)
        }
    });
    let worker = queue.start_worker(WorkerConfig::default(), throttled).await.unwrap();
    let id = queue.enqueue(job(7).with_max_attempts(1)).await.unwrap().id();
    assert!(matches!(queue.wait(id).await.unwrap(), JobEnd::Completed { .. }));
    let tries = tries.lock();
    let [first, second] = tries[..] else { panic!("{tries:?}") };
    assert!(second - first >= Duration::from_secs(90));
    assert!(second - first < Duration::from_secs(92), "{:?}", second - first);
    drop(worker);
}

#[tokio::test(start_paused = true)]
async fn a_payload_that_does_not_fit_is_dead_at_once_and_a_missing_result_is_none() {
    let queue = queue();
    let unit = Handlers::new().with(KIND, |_: u32, _: JobContext| async move { Ok(()) });
    let worker = queue.start_worker(WorkerConfig::default(), unit).await.unwrap();
    let bad = queue.enqueue(NewJob::new(KIND, "seven").unwrap()).await.unwrap().id();
    let good = queue.enqueue(job(7)).await.unwrap().id();
    let end = queue.wait(bad).await.unwrap();
    assert_eq!(errors(end), (false, vec![FailureCause::Permanent]));
    assert_eq!(queue.wait(good).await.unwrap(), JobEnd::Completed { result: None });
    drop(worker);
}

#[tokio::test(start_paused = true)]
async fn progress_is_stored_with_a_heartbeat() {
    let queue = queue();
    let reporting = handlers(|n, context| async move {
        context.report(&0.5).unwrap();
        sleep(MINUTE).await;
        Ok(n)
    });
    let worker = queue.start_worker(WorkerConfig::default(), reporting).await.unwrap();
    let id = queue.enqueue(job(7)).await.unwrap().id();
    sleep(Duration::from_secs(6)).await;
    assert_eq!(queue.progress(id).await.unwrap().unwrap().as_str(), "0.5");
    drop(worker);
}

fn cut_off() -> (JobQueue, Arc<UnpluggedStore>) {
    let plain = queue();
    let store = UnpluggedStore::new(Arc::clone(plain.store()));
    (JobQueue::new(Arc::<UnpluggedStore>::clone(&store), plain.policies().clone()), store)
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_is_cut_off_stops_its_handlers_before_its_lease_ends() {
    let (queue, store) = cut_off();
    let (stopped, mut reasons, started) = until_stopped();
    let worker = queue.start_worker(WorkerConfig::default(), stopped).await.unwrap();
    queue.enqueue(job(7)).await.unwrap();
    started.notified().await;
    let cut = Instant::now();
    store.unplug(true);
    // The handler is dropped with its lease, so it need not have said why.
    while worker.running() > 0 {
        sleep(Duration::from_millis(100)).await;
    }
    assert!(
        cut.elapsed() + Duration::from_secs(1) <= queue.store().timing().session_ttl,
        "{:?}",
        cut.elapsed()
    );
    store.unplug(false);
    started.notified().await;
    assert!(cut.elapsed() < Duration::from_secs(25), "{:?}", cut.elapsed());
    assert!(matches!(reasons.try_recv(), Err(_) | Ok(StopReason::LeaseLost)));
    drop(worker);
}

#[tokio::test(start_paused = true)]
async fn an_end_is_stored_when_the_store_is_back() {
    let (queue, store) = cut_off();
    let brief = handlers(|n, _| async move {
        sleep(Duration::from_secs(2)).await;
        Ok(n)
    });
    let worker = queue.start_worker(WorkerConfig::default(), brief).await.unwrap();
    let id = queue.enqueue(job(7)).await.unwrap().id();
    sleep(Duration::from_secs(1)).await;
    store.unplug(true);
    sleep(Duration::from_secs(6)).await;
    store.unplug(false);
    assert!(matches!(queue.wait(id).await.unwrap(), JobEnd::Completed { .. }));
    let stored = queue.job(id).await.unwrap().unwrap();
    assert_eq!((stored.attempts.crashes, stored.errors.len()), (0, 0), "it ran once");
    drop(worker);
}

#[tokio::test(start_paused = true)]
async fn a_paused_batch_is_not_placed_and_runs_once_it_is_resumed() {
    let queue = queue();
    queue.pause(wavequill_queue::WorkerType::INDEXING).await.unwrap();
    let worker =
        queue.start_worker(WorkerConfig::default(), handlers(|n, _| async move { Ok(n) })).await.unwrap();
    let jobs = queue.enqueue_all(vec![job(1), job(2)]).await.unwrap();
    let ids: Vec<_> = jobs.into_iter().map(wavequill_queue::Enqueued::id).collect();
    let dispatch = queue.dispatcher().dispatch_batch(&ids, MaxPerWorker::default()).await.unwrap();
    assert_eq!((dispatch.placed.len(), dispatch.unplaced.len()), (0, 2), "paused");
    queue.resume(wavequill_queue::WorkerType::INDEXING).await.unwrap();
    for id in ids {
        assert!(matches!(queue.wait(id).await.unwrap(), JobEnd::Completed { .. }));
    }
    assert!(queue.drained(MINUTE).await.unwrap());
    drop(worker);
}

#[tokio::test]
async fn a_worker_without_handlers_is_refused_and_an_unknown_job_is_not_waited_for() {
    let queue = queue();
    let refused = queue.start_worker(WorkerConfig::default(), Handlers::new()).await.unwrap_err();
    assert!(matches!(refused, QueueError::NoHandlers));
    let unknown = queue.wait(wavequill_queue::JobId::new(1)).await.unwrap_err();
    assert!(matches!(unknown, QueueError::NoSuchJob { .. }));
}

#[tokio::test]
async fn jobs_run_inline_one_after_the_other() {
    let queue = queue();
    let ids = queue.enqueue_all(vec![job(1), job(0), job(2)]).await.unwrap();
    let picky =
        handlers(|n, _| async move { if n == 0 { Err(JobFailure::permanent("no zero")) } else { Ok(n) } });
    let report = run_inline(&queue, &picky).await.unwrap();
    let ids: Vec<_> = ids.into_iter().map(wavequill_queue::Enqueued::id).collect();
    assert_eq!((report.completed, report.failed), (vec![ids[0], ids[2]], vec![ids[1]]));
}
