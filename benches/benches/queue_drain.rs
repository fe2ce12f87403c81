//! A durable drain of jobs that do nothing: how many a second, and what one costs the server and this process.
//!
//! `DATABASE_URL=postgres://… cargo bench -p wavequill-benches --bench queue_drain [-- JOBS ROUNDS]`. The server is best one of
//! its own on this machine: its CPU is read from `/proc`, its WAL from `pg_current_wal_lsn()`, both for the whole server.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a bench speaks to its terminal")]
#![expect(clippy::disallowed_methods, reason = "a bench reads its environment and measures time")]
#![expect(clippy::cast_precision_loss, reason = "counts below 2^52")]

#[path = "queue_drain/measure.rs"]
mod measure;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use measure::{Measured, Meter, Result};
use tokio::sync::Notify;
use wavequill_database::{DieselConnectionPoolManager, PostgresConfig};
use wavequill_queue::adapters::PostgresJobStore;
use wavequill_queue::{
    Handlers, JobContext, JobQuery, JobQueue, JobState, JobType, NewJob, Policies, StoreConfig, WorkerConfig,
};

/// How many jobs are handed in at once.
const BATCH: u64 = 5_000;

fn main() -> Result<()> {
    let url = std::env::var("DATABASE_URL").map_err(|_| "DATABASE_URL is not set")?;
    let mut args = std::env::args().skip(1).filter(|arg| arg != "--bench");
    let jobs = args.next().map_or(Ok(100_000), |text| text.parse())?;
    let rounds: usize = args.next().map_or(Ok(5), |text| text.parse())?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(run(&url, jobs, rounds))
}

async fn run(url: &str, jobs: u64, rounds: usize) -> Result<()> {
    let mut measured = Vec::new();
    for _ in 0..rounds {
        measured.push(ours(url, jobs).await?);
    }
    println!("{jobs} jobs, medians of {rounds} rounds");
    println!("{}", measure::median(&measured));
    Ok(())
}

async fn ours(url: &str, jobs: u64) -> Result<Measured> {
    let url = measure::fresh_database(url, "drain_ours").await?;
    let pool = DieselConnectionPoolManager::open_postgres(PostgresConfig::new(url.as_str()))?.pool();
    let store = PostgresJobStore::open(pool, StoreConfig::default(), Policies::default()).await?;
    let queue = JobQueue::new(Arc::new(store), Policies::default());
    let filling = Meter::start(&url).await?;
    for first in (0..jobs).step_by(BATCH as usize) {
        let batch = (first..(first + BATCH).min(jobs)).map(|n| NewJob::new(JobType::INDEXING, &n));
        queue.enqueue_all(batch.collect::<std::result::Result<_, _>>()?).await?;
    }
    let filled = filling.stop(jobs).await?;

    let left = Arc::new((AtomicU64::new(jobs), Notify::new()));
    let counted = Arc::clone(&left);
    let handlers = Handlers::new().with(JobType::INDEXING, move |_: u64, _: JobContext| {
        let left = Arc::clone(&counted);
        async move {
            if left.0.fetch_sub(1, Ordering::Relaxed) == 1 {
                left.1.notify_one();
            }
            Ok(())
        }
    });
    let draining = Meter::start(&url).await?;
    let worker = queue.start_worker(WorkerConfig::default().with_concurrency(1_000), handlers).await?;
    left.1.notified().await;
    // Durable: the shutdown has stored every end.
    let report = worker.shutdown(Duration::from_secs(60)).await;
    let drained = draining.stop(jobs).await?;
    let open = queue
        .jobs(&JobQuery::default().in_states(JobState::ALL.into_iter().filter(|state| !state.is_ended())))
        .await?;
    if report.unsettled > 0 || !open.jobs.is_empty() {
        return Err(format!("jobs are left: {report:?}, {} open", open.jobs.len()).into());
    }
    eprintln!("enqueue {filled}");
    eprintln!("drain   {drained}");
    Ok(drained)
}
