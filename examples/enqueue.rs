//! Hands in one job a text, and one that waits for all of them.
//!
//! ```console
//! $ cargo run --example enqueue -- jobs.db "first text" "second text"
//! ```
#![expect(clippy::print_stdout, reason = "it prints the jobs")]

#[path = "queue_file.rs"]
mod queue_file;

use std::path::PathBuf;

use clap::Parser;
use wavequill::queue::{JobType, NewFlow, NewJob};

/// Hands in jobs.
#[derive(Parser)]
struct Args {
    /// The file of jobs; made if it is not there.
    file: PathBuf,
    /// What to index.
    #[arg(required = true)]
    texts: Vec<String>,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let queue = queue_file::open(&args.file).await?;
    let texts = args.texts.iter().map(|text| NewJob::new(JobType::INDEXING, text));
    let texts = texts.collect::<Result<_, _>>()?;
    let summary = NewJob::new(JobType::SUMMARIZATION, &())?;
    let flow = queue.enqueue_flow(NewFlow::of(texts).then(vec![summary])).await?;
    for job in flow.stages.iter().flatten() {
        println!("{job}");
    }
    Ok(())
}
