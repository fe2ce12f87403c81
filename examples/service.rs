//! wavequill as an HTTP service: takes recordings, answers with transcripts, and tells how it is.
//!
//! ```console
//! $ cargo run --release --example service -- --simulate --listen 127.0.0.1:8080
//! $ curl --data-binary @talk.mp3 'http://127.0.0.1:8080/transcripts?name=talk.mp3'
//! $ curl http://127.0.0.1:8080/metrics
//! ```
//!
//! The server is hyper, which the facade speaks to the API with already: a framework would be one more dependency for five routes.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command line speaks to its terminal")]
#![expect(clippy::disallowed_methods, reason = "a command line reads its environment")]

#[path = "service/live_page.rs"]
mod live_page;
#[path = "service/routes.rs"]
mod routes;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Parser;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use wavequill::testing::speech_api_simulator;
use wavequill::{JobScope, Wavequill};

use crate::routes::Routes;

/// How long requests may go on once the service is told to stop.
const GRACE: Duration = Duration::from_secs(10);
/// Requests that are served side by side; more wait to be accepted.
const CONNECTIONS: usize = 256;

/// Transcribes recordings over HTTP.
#[derive(Debug, Parser)]
#[command(name = "service")]
struct Args {
    /// Where to listen; port 0 takes a free one, which is printed
    #[arg(long, default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
    /// The root of an OpenAI-compatible API
    #[arg(long, default_value = "http://127.0.0.1:8000/v1")]
    base_url: String,
    /// The environment variable that holds the API's key, if it wants one
    #[arg(long, default_value = "OPENAI_API_KEY")]
    api_key_env: String,
    /// The model, as the API names it
    #[arg(long, default_value = "whisper-1")]
    model: String,
    /// The folder for jobs and answers; without it they are kept in memory
    #[arg(long)]
    store: Option<PathBuf>,
    /// The largest upload, in bytes
    #[arg(long, default_value_t = 1 << 30)]
    max_upload_bytes: usize,
    /// Speak to a built-in simulator, which understands tone-coded audio only
    #[arg(long)]
    simulate: bool,
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(&Args::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("service: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(args: &Args) -> Result<()> {
    let simulator = if args.simulate { Some(speech_api_simulator().start().await?) } else { None };
    let mut builder = Wavequill::builder().model(&args.model).jobs(JobScope::All);
    builder = match &simulator {
        Some(simulator) => builder.base_url(simulator.base_url()),
        None => builder.base_url(&args.base_url),
    };
    if let Ok(key) = std::env::var(&args.api_key_env) {
        builder = builder.api_key(key);
    }
    if let Some(folder) = &args.store {
        builder = builder.store(folder);
    }
    let wavequill = builder.build().await?;

    let listener =
        TcpListener::bind(args.listen).await.with_context(|| format!("cannot listen on {}", args.listen))?;
    println!("listening on http://{}", listener.local_addr()?);
    let routes = Arc::new(Routes::new(wavequill.clone(), args.max_upload_bytes));
    serve(listener, routes).await?;
    wavequill.shutdown(GRACE).await;
    Ok(())
}

/// Serves until Ctrl-C, then lets what goes on end within its grace.
async fn serve(listener: TcpListener, routes: Arc<Routes>) -> Result<()> {
    let mut connections = JoinSet::new();
    let mut stop = std::pin::pin!(tokio::signal::ctrl_c());
    loop {
        let accepted = tokio::select! {
            signal = &mut stop => {
                signal.context("cannot watch for Ctrl-C")?;
                break;
            }
            accepted = listener.accept(), if connections.len() < CONNECTIONS => accepted,
            Some(_ended) = connections.join_next() => continue,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                // Of one connection, or too many open files: the next may do.
                eprintln!("service: a connection was not accepted: {error}");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let routes = Arc::clone(&routes);
        connections.spawn(async move {
            let answer = service_fn(|request| {
                let routes = Arc::clone(&routes);
                async move { Ok::<_, std::convert::Infallible>(routes.answer(request).await) }
            });
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(Duration::from_secs(30))
                .serve_connection(TokioIo::new(stream), answer);
            if let Err(error) = connection.await {
                eprintln!("service: a connection broke: {error}");
            }
        });
    }
    let ended = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(GRACE, ended).await.is_err() {
        eprintln!("service: requests that were still open are broken off");
    }
    Ok(())
}
