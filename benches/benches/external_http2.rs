//! Requests a second over HTTP/2 where a server grants few streams a connection, and CPU time a request, beside reqwest,
//! hyper-util's client and bare hyper. Server and clients are on threads of their own; loopback, prior knowledge.
//!
//! `cargo bench -p wavequill-benches --bench external_http2`
#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::expect_used,
    reason = "a bench reads the clock, prints its figures, and may end where it cannot go on"
)]

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use http::{Method, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client as LegacyClient;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinSet;
use wavequill_external::{
    ConnectionPoolConfig, ConnectionPoolManager, Http2ConnectionPoolManager, Http2Use, HttpRequest,
    HyperConfig, HyperHttpTransport, Origin,
};

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

/// A server on a thread of its own, until the process ends.
fn serve(max_streams: u32, latency: Duration) -> SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        runtime().block_on(async move {
            let listener = TcpListener::from_std(listener).unwrap();
            let mut connections = JoinSet::new();
            while let Ok((tcp, _)) = listener.accept().await {
                tcp.set_nodelay(true).unwrap();
                connections.spawn(async move {
                    let service = hyper::service::service_fn(move |request: Request<Incoming>| async move {
                        let _ = request.into_body().collect().await;
                        if !latency.is_zero() {
                            tokio::time::sleep(latency).await;
                        }
                        Ok::<_, Infallible>(Response::new(Full::new(Bytes::from_static(&[b'x'; 100]))))
                    });
                    let mut server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
                    server.max_concurrent_streams(max_streams);
                    let _ = server.serve_connection(TokioIo::new(tcp), service).await;
                });
            }
        });
    });
    address
}

/// A client that sends 100 bytes and reads the answer.
#[async_trait]
trait Sender: Send + Sync + 'static {
    async fn send(&self) -> Result<(), String>;
}

struct Ours {
    pool: Http2ConnectionPoolManager,
    origin: Origin,
}

impl Ours {
    fn new(address: SocketAddr) -> Self {
        let transport =
            HyperHttpTransport::new(HyperConfig::default().with_http2(Http2Use::PriorKnowledge)).unwrap();
        let pool =
            Http2ConnectionPoolManager::new(ConnectionPoolConfig::default(), Arc::new(transport)).unwrap();
        Self { pool, origin: format!("http://{address}").parse().unwrap() }
    }
}

#[async_trait]
impl Sender for Ours {
    async fn send(&self) -> Result<(), String> {
        let permit = self.pool.stream(&self.origin, 100).await.map_err(|error| error.to_string())?;
        let body = Arc::new(Bytes::from_static(&[b'a'; 100]));
        let request = HttpRequest::new(Method::POST, "/".parse().unwrap(), body);
        let mut response = self.pool.send(permit, request).await.map_err(|error| error.to_string())?;
        response.read_all(1_000).await.map(drop).map_err(|error| error.to_string())
    }
}

struct Reqwest(reqwest::Client, String);

#[async_trait]
impl Sender for Reqwest {
    async fn send(&self) -> Result<(), String> {
        let request = self.0.post(&self.1).body(&[b'a'; 100][..]).send().await;
        let response = request.map_err(|error| error.to_string())?;
        response.bytes().await.map(drop).map_err(|error| error.to_string())
    }
}

struct HyperUtil(LegacyClient<HttpConnector, Full<Bytes>>, String);

fn post(uri: &str) -> Request<Full<Bytes>> {
    Request::post(uri).body(Full::new(Bytes::from_static(&[b'a'; 100]))).unwrap()
}

#[async_trait]
impl Sender for HyperUtil {
    async fn send(&self) -> Result<(), String> {
        let response = self.0.request(post(&self.1)).await.map_err(|error| error.to_string())?;
        response.into_body().collect().await.map(drop).map_err(|error| error.to_string())
    }
}

/// One connection, no pool: what HTTP/2 itself costs.
struct BareHyper(hyper::client::conn::http2::SendRequest<Full<Bytes>>, String);

impl BareHyper {
    async fn new(address: SocketAddr, tasks: &mut JoinSet<()>) -> Self {
        let tcp = TcpStream::connect(address).await.unwrap();
        tcp.set_nodelay(true).unwrap();
        let (sender, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(tcp)).await.unwrap();
        tasks.spawn(async move {
            let _ = connection.await;
        });
        Self(sender, format!("http://{address}/"))
    }
}

#[async_trait]
impl Sender for BareHyper {
    async fn send(&self) -> Result<(), String> {
        let mut sender = self.0.clone();
        sender.ready().await.map_err(|error| error.to_string())?;
        let response = sender.send_request(post(&self.1)).await.map_err(|error| error.to_string())?;
        response.into_body().collect().await.map(drop).map_err(|error| error.to_string())
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Name {
    Ours,
    Reqwest,
    HyperUtil,
    BareHyper,
}

async fn sender(name: Name, address: SocketAddr, tasks: &mut JoinSet<()>) -> Arc<dyn Sender> {
    let uri = format!("http://{address}/");
    match name {
        Name::Ours => Arc::new(Ours::new(address)),
        Name::Reqwest => {
            Arc::new(Reqwest(reqwest::Client::builder().http2_prior_knowledge().build().unwrap(), uri))
        }
        Name::HyperUtil => Arc::new(HyperUtil(
            LegacyClient::builder(TokioExecutor::new()).http2_only(true).build_http(),
            uri,
        )),
        Name::BareHyper => Arc::new(BareHyper::new(address, tasks).await),
    }
}

/// CPU time of this thread, in nanoseconds.
fn thread_cpu() -> u64 {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux with schedstat");
    stat.split(' ').next().and_then(|ns| ns.parse().ok()).expect("a number")
}

struct Figures {
    per_second: f64,
    failed: u64,
    cpu_us: f64,
}

/// Keeps `in_flight` requests in flight for a time, on a thread of its own.
fn load(name: Name, address: SocketAddr, in_flight: usize, time: Duration) -> Figures {
    let run = move || {
        runtime().block_on(async move {
            let mut tasks = JoinSet::new();
            let sender = sender(name, address, &mut tasks).await;
            for _ in 0..10 {
                sender.send().await.expect("the server answers");
            }
            let (served, failed) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
            let (begun, cpu) = (Instant::now(), thread_cpu());
            let mut workers = JoinSet::new();
            for _ in 0..in_flight {
                let (sender, served, failed) =
                    (Arc::clone(&sender), Arc::clone(&served), Arc::clone(&failed));
                workers.spawn(async move {
                    while begun.elapsed() < time {
                        let count = if sender.send().await.is_ok() { &served } else { &failed };
                        count.fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
            while workers.join_next().await.is_some() {}
            let (took, cpu) = (begun.elapsed(), thread_cpu() - cpu);
            let served = served.load(Ordering::Relaxed);
            Figures {
                per_second: served as f64 / took.as_secs_f64(),
                failed: failed.load(Ordering::Relaxed),
                cpu_us: cpu as f64 / 1000.0 / served.max(1) as f64,
            }
        })
    };
    std::thread::spawn(run).join().expect("the client does not panic")
}

fn main() {
    let pools = [Name::Ours, Name::HyperUtil, Name::Reqwest];
    for (streams, in_flight) in [(100, 1000), (7, 100)] {
        let address = serve(streams, Duration::from_millis(50));
        println!("{streams} streams a connection, 50 ms an answer, {in_flight} in flight, 3 s:");
        for name in pools {
            let figures = load(name, address, in_flight, Duration::from_secs(3));
            println!("  {name:?}: {:.0} requests/s, {} failed", figures.per_second, figures.failed);
        }
    }
    let address = serve(200, Duration::ZERO);
    println!("CPU time of the client's thread a request of 100 bytes, 50 in flight, three rounds of 2 s:");
    for _ in 0..3 {
        let all = [Name::BareHyper, Name::Ours, Name::HyperUtil, Name::Reqwest];
        let figures = all.map(|name| load(name, address, 50, Duration::from_secs(2)));
        let bare = figures[0].cpu_us;
        for (name, figures) in all.iter().zip(figures) {
            println!("  {name:?}: {:.1} µs ({:.2} × bare hyper)", figures.cpu_us, figures.cpu_us / bare);
        }
    }
}
