//! Runs the jobs of a file until Ctrl-C, then lets what runs end. Kill it and start it again: nothing is lost.
//!
//! ```console
//! $ cargo run --example worker -- jobs.db
//! ```
#![expect(clippy::print_stdout, reason = "it prints what it does")]

#[path = "queue_file.rs"]
mod queue_file;

use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;
use wavequill::queue::{Handlers, JobContext, JobFailure, JobType, WorkerConfig};

/// Runs jobs.
#[derive(Parser)]
struct Args {
    /// The file of jobs; made if it is not there.
    file: PathBuf,
    /// Ends once no job is left, instead of waiting for more.
    #[arg(long)]
    drain: bool,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let queue = queue_file::open(&args.file).await?;
    let of_members = queue.clone();
    let handlers = Handlers::new()
        .with(JobType::INDEXING, |text: String, context: JobContext| async move {
            println!("job {}: indexing {text:?}", context.id());
            Ok(text.split_whitespace().count())
        })
        .with(JobType::SUMMARIZATION, move |(): (), context: JobContext| {
            let queue = of_members.clone();
            async move {
                let waited = context.job().waits_for;
                let flow = waited.ok_or_else(|| JobFailure::permanent("nothing to summarise"))?;
                let mut words = 0;
                for member in queue.members(flow).await? {
                    words += member.result.map_or(Ok(0), |count| count.read::<usize>())?;
                }
                println!("job {}: {words} words in all", context.id());
                Ok(words)
            }
        });
    let worker = queue.start_worker(WorkerConfig::default().with_name("example"), handlers).await?;
    if args.drain {
        while !queue.drained(Duration::from_secs(3_600)).await? {}
    } else {
        tokio::signal::ctrl_c().await?;
    }
    let report = worker.shutdown(Duration::from_secs(30)).await;
    println!("interrupted: {}, to be run again: {}", report.interrupted, report.unsettled);
    Ok(())
}
