//! Serves the simulator on loopback: HTTP/1.1 and HTTP/2 without TLS on one port. No rule is here.

#[cfg(test)]
mod client_tests;
mod exchange;
mod prefixed;
mod scripted_body;
#[cfg(test)]
mod tests;

use std::fmt;
use std::future::poll_fn;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use hyper::rt::{Executor, Read, Write};
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::Instant;

use self::prefixed::Prefixed;
use crate::testing::{Faults, Quota, SimulatorReport, SpeechApiSimulator};

/// The first bytes of every HTTP/2 connection.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// How long what is still sent is read after an early answer, so that the answer is not lost to a reset.
const LINGER: Duration = Duration::from_secs(2);

/// The rules and the time since they began.
#[derive(Debug)]
struct Shared {
    api: Mutex<SpeechApiSimulator>,
    started: Instant,
}

impl Shared {
    fn now(&self) -> Duration {
        self.started.elapsed()
    }
}

/// A running [`SpeechApiSimulator`]. Dropping it stops the server and ends its connections.
pub struct SimulatorHandle {
    shared: Arc<Shared>,
    address: SocketAddr,
    tasks: JoinSet<()>,
}

impl SimulatorHandle {
    /// The root of the API, such as `http://127.0.0.1:41234/v1`.
    pub fn base_url(&self) -> String {
        format!("http://{}/v1", self.address)
    }

    /// The address that it listens on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What was seen until now.
    pub fn report(&self) -> SimulatorReport {
        let now = self.shared.now();
        self.shared.api.lock().report(now)
    }

    /// Other faults from now on; they count requests from 0 again.
    pub fn set_faults(&self, faults: Faults) {
        self.shared.api.lock().set_faults(faults);
    }

    /// Other quotas from now on. What was used of a quota stays used in the one that takes its place.
    pub fn set_quotas(&self, quotas: Vec<Quota>) {
        let now = self.shared.now();
        self.shared.api.lock().set_quotas(now, quotas);
    }

    /// Someone else who has the same quota sends so many requests now.
    pub fn use_elsewhere(&self, requests: u64) {
        let now = self.shared.now();
        self.shared.api.lock().use_elsewhere(now, requests);
    }

    /// Stops the server, ends its connections, and returns what was seen.
    pub async fn shutdown(mut self) -> SimulatorReport {
        self.tasks.shutdown().await;
        self.report()
    }
}

impl fmt::Debug for SimulatorHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimulatorHandle").field("address", &self.address).finish_non_exhaustive()
    }
}

pub(crate) async fn start(api: SpeechApiSimulator) -> io::Result<SimulatorHandle> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let address = listener.local_addr()?;
    let shared = Arc::new(Shared { api: Mutex::new(api), started: Instant::now() });
    let mut tasks = JoinSet::new();
    tasks.spawn(accept(listener, Arc::clone(&shared)));
    Ok(SimulatorHandle { shared, address, tasks })
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    shared.api.lock().count_connection();
                    connections.spawn(serve(stream, Arc::clone(&shared)));
                }
                // A connection that was reset before it was accepted, or no file descriptor is free: others go on.
                Err(_) => tokio::task::yield_now().await,
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

/// One connection, as its requests see it.
#[derive(Debug)]
struct Connection {
    shared: Arc<Shared>,
    /// Ends the connection at once.
    kill: Notify,
    /// Ends the connection in good order.
    goaway: Notify,
    requests: AtomicU64,
}

impl Connection {
    /// Counts a request, and closes the connection in good order after the last that it may have.
    fn count_request(&self) {
        let requests = self.requests.fetch_add(1, Ordering::Relaxed) + 1;
        let mut api = self.shared.api.lock();
        if api.goaway_after() == Some(requests) {
            api.count_goaway();
            self.goaway.notify_one();
        }
    }
}

async fn serve(mut stream: TcpStream, shared: Arc<Shared>) {
    // Answers are small; without this they may wait for the acknowledgement of the one before.
    let _best_effort = stream.set_nodelay(true);
    let max_streams = shared.api.lock().max_concurrent_streams();
    let connection = Arc::new(Connection {
        shared,
        kill: Notify::new(),
        goaway: Notify::new(),
        requests: AtomicU64::new(0),
    });
    let Ok(head) = sniff(&mut stream).await else { return };
    let is_http2 = head == PREFACE;
    let io = TokioIo::new(Prefixed::new(stream, head));
    let kill = connection.kill.notified();
    if is_http2 {
        tokio::select! {
            () = serve_http2(io, &connection, max_streams) => {}
            () = kill => {}
        }
    } else {
        tokio::select! {
            () = serve_http1(io, &connection) => {}
            () = kill => {}
        }
    }
}

/// Reads until it is clear whether this is the preface of HTTP/2.
async fn sniff(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut head = Vec::with_capacity(PREFACE.len());
    while head.len() < PREFACE.len() && PREFACE.starts_with(&head) {
        let missing = (PREFACE.len() - head.len()) as u64;
        if (&mut *stream).take(missing).read_buf(&mut head).await? == 0 {
            break;
        }
    }
    Ok(head)
}

async fn serve_http2<I>(io: I, connection: &Arc<Connection>, max_streams: u32)
where
    I: Read + Write + Unpin,
{
    let service = service_fn(|request| exchange::serve(Arc::clone(connection), request));
    let mut builder = http2::Builder::new(StreamTasks::default());
    builder.max_concurrent_streams(max_streams).initial_connection_window_size(4 * 1024 * 1024);
    builder.initial_stream_window_size(1024 * 1024);
    let mut serving = pin!(builder.serve_connection(io, service));
    tokio::select! {
        // How the client ended the connection does not matter.
        _ = &mut serving => {}
        () = connection.goaway.notified() => {
            serving.as_mut().graceful_shutdown();
            let _ended = serving.await;
        }
    }
}

async fn serve_http1(io: TokioIo<Prefixed>, connection: &Arc<Connection>) {
    let service = service_fn(|request| Box::pin(exchange::serve(Arc::clone(connection), request)));
    let mut serving = http1::Builder::new().serve_connection(io, service);
    let mut closing = false;
    let mut goaway = pin!(connection.goaway.notified());
    let ended = poll_fn(|context| {
        if !closing && goaway.as_mut().poll(context).is_ready() {
            closing = true;
            Pin::new(&mut serving).graceful_shutdown();
        }
        serving.poll_without_shutdown(context)
    })
    .await;
    if ended.is_ok() {
        linger(serving.into_parts().io.into_inner()).await;
    }
}

/// Closes a connection such that the client gets the last answer, even while it still sends: closing at once would
/// reset the connection, and the answer with it.
async fn linger(mut stream: Prefixed) {
    let rest = async {
        stream.shutdown().await?;
        let mut sink = vec![0; 64 * 1024];
        while stream.read(&mut sink).await? > 0 {}
        io::Result::Ok(())
    };
    let _closed = tokio::time::timeout(LINGER, rest).await;
}

/// Runs the streams of one HTTP/2 connection, and ends them with it.
#[derive(Clone, Debug, Default)]
struct StreamTasks(Arc<Mutex<JoinSet<()>>>);

impl<F> Executor<F> for StreamTasks
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, future: F) {
        let mut tasks = self.0.lock();
        while tasks.try_join_next().is_some() {}
        tasks.spawn(future);
    }
}
