//! Lists and changes the jobs of a file, also while workers run.
//!
//! ```console
//! $ cargo run --example jobs -- jobs.db list
//! $ cargo run --example jobs -- jobs.db retry 7
//! ```
#![expect(clippy::print_stdout, reason = "it prints the jobs")]

#[path = "queue_file.rs"]
mod queue_file;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::{Parser, Subcommand};
use wavequill::queue::{Affected, Command, Job, JobId, JobQuery, JobQueue, WorkerType};

/// Lists and changes jobs.
#[derive(Parser)]
struct Args {
    /// The file of jobs.
    file: PathBuf,
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// One line a job, by number.
    List,
    /// All about one job.
    Inspect { job: i64 },
    /// Lets a dead, quarantined or cancelled job live again; makes a scheduled one due.
    Retry { job: i64 },
    /// Ends a job that waits; asks the worker of one that runs to stop.
    Cancel { job: i64 },
    /// No job of this worker type is claimed until it is resumed.
    Pause { worker_type: String },
    /// Ends a pause.
    Resume { worker_type: String },
    /// Waits until no job is left that could run.
    Drain,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let queue = queue_file::open(&args.file).await?;
    match args.action {
        Action::List => list(&queue).await,
        Action::Inspect { job } => inspect(&queue, JobId::new(job)).await,
        Action::Retry { job } => retry(&queue, JobId::new(job)).await,
        Action::Cancel { job } => {
            told(&queue.administer(Command::Cancel { jobs: vec![JobId::new(job)] }).await?)
        }
        Action::Pause { worker_type } => Ok(queue.pause(WorkerType::new(worker_type)?).await?),
        Action::Resume { worker_type } => Ok(queue.resume(WorkerType::new(worker_type)?).await?),
        Action::Drain => {
            while !queue.drained(Duration::from_secs(60)).await? {}
            Ok(())
        }
    }
}

async fn list(queue: &JobQueue) -> anyhow::Result<()> {
    let mut query = JobQuery::default();
    loop {
        let page = queue.jobs(&query).await?;
        for job in &page.jobs {
            println!("{:>8}  {:<11}  {:<14}  {}", job.id, job.state, job.job_type, job.payload.as_str());
        }
        let Some(next) = page.next else { return Ok(()) };
        query = query.after(next);
    }
}

async fn find(queue: &JobQueue, id: JobId) -> anyhow::Result<Job> {
    queue.job(id).await?.with_context(|| format!("job {id} is unknown: `list` shows what there is"))
}

async fn inspect(queue: &JobQueue, id: JobId) -> anyhow::Result<()> {
    let job = find(queue, id).await?;
    println!("{} {} ({}), priority {}", job.job_type, job.id, job.state, job.priority.get());
    println!("payload   {}", job.payload.as_str());
    let attempts = job.attempts;
    println!(
        "spent     {} failures, {} crashes, {} snoozes",
        attempts.failures, attempts.crashes, attempts.snoozes
    );
    if let Some(progress) = &job.progress {
        println!("progress  {}", progress.as_str());
    }
    if let Some(result) = &job.result {
        println!("result    {}", result.as_str());
    }
    for error in &job.errors {
        println!("failed    {:?}: {}", error.cause, error.message);
    }
    Ok(())
}

async fn retry(queue: &JobQueue, id: JobId) -> anyhow::Result<()> {
    let jobs = vec![id];
    let ended = find(queue, id).await?.state.is_ended();
    let command = if ended { Command::Replay { jobs } } else { Command::RunNow { jobs } };
    told(&queue.administer(command).await?)
}

fn told(affected: &Affected) -> anyhow::Result<()> {
    if let Some(skipped) = affected.skipped.first() {
        bail!("job {} was left as it is: {:?}", skipped.job, skipped.reason);
    }
    Ok(())
}
