//! What a client survives: a server that ends connections after 1,000 requests (nginx), many uploads at once, two million
//! tiny frames beside a stalled reader, and a peer that freezes.
//!
//! `cargo bench -p wavequill-benches --bench external_faults -- [nginx|uploads|frames|frozen]` (none: all); for nginx:
//! Debian's `nginx-light`.
#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::expect_used,
    reason = "a bench reads the clock, prints its figures, and may end where it cannot go on"
)]

use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Method, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client as LegacyClient;
use hyper_util::rt::TokioExecutor;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::sleep;
use wavequill_external::{
    ConnectionPoolConfig, ConnectionPoolManager, ExternalError, FileRange, Http2ConnectionPoolManager,
    Http2Use, HttpRequest, HyperConfig, HyperHttpTransport, Origin, ReplayBody,
};

fn pool(hyper: HyperConfig) -> Arc<Http2ConnectionPoolManager> {
    let transport = HyperHttpTransport::new(hyper.with_http2(Http2Use::PriorKnowledge)).unwrap();
    Arc::new(Http2ConnectionPoolManager::new(ConnectionPoolConfig::default(), Arc::new(transport)).unwrap())
}

async fn post(
    pool: &Http2ConnectionPoolManager,
    origin: &Origin,
    body: Arc<dyn ReplayBody>,
) -> Result<Bytes, ExternalError> {
    let permit = pool.stream(origin, body.len()).await?;
    let mut response = pool.send(permit, HttpRequest::new(Method::POST, "/".parse().unwrap(), body)).await?;
    response.read_all(1024 * 1024).await
}

fn origin(address: SocketAddr) -> Origin {
    format!("http://{address}").parse().unwrap()
}

/// Sends so many requests with so many in flight; gives how many failed.
async fn all<F, T>(requests: u64, in_flight: u64, send: F) -> u64
where
    F: Fn() -> T + Clone + Send + 'static,
    T: Future<Output = bool> + Send + 'static,
{
    let (next, failed) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let mut workers = JoinSet::new();
    for _ in 0..in_flight {
        let (next, failed, send) = (Arc::clone(&next), Arc::clone(&failed), send.clone());
        workers.spawn(async move {
            while next.fetch_add(1, Ordering::Relaxed) < requests {
                if !send().await {
                    failed.fetch_add(1, Ordering::Relaxed);
                }
            }
        });
    }
    while workers.join_next().await.is_some() {}
    failed.load(Ordering::Relaxed)
}

struct Nginx {
    process: std::process::Child,
    _folder: tempfile::TempDir,
    address: SocketAddr,
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // Its master ends its workers.
        let _ = Command::new("kill").arg(self.process.id().to_string()).status();
        let _ = self.process.wait();
    }
}

fn nginx() -> Option<Nginx> {
    let folder = tempfile::tempdir().unwrap();
    let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let at = folder.path().display();
    let config = format!(
        "daemon off; worker_processes 1; pid {at}/pid; error_log {at}/error.log;\n\
         events {{ worker_connections 1024; }}\n\
         http {{ access_log off; client_body_temp_path {at}; proxy_temp_path {at}; fastcgi_temp_path {at};\n\
         uwsgi_temp_path {at}; scgi_temp_path {at}; keepalive_requests 1000; http2_max_concurrent_streams 128;\n\
         server {{ listen {address} http2; location / {{ return 200 'ok'; }} }} }}\n"
    );
    std::fs::write(folder.path().join("nginx.conf"), config).unwrap();
    let started = ["nginx", "/usr/sbin/nginx"].into_iter().find_map(|program| {
        let mut command = Command::new(program);
        command.arg("-c").arg(folder.path().join("nginx.conf")).arg("-p").arg(folder.path());
        command.stdin(Stdio::null()).stderr(Stdio::null()).spawn().ok()
    });
    let Some(process) = started else {
        println!("no nginx: install Debian's nginx-light");
        return None;
    };
    let nginx = Nginx { process, _folder: folder, address };
    while std::net::TcpStream::connect(address).is_err() {
        std::thread::sleep(Duration::from_millis(20));
    }
    Some(nginx)
}

async fn ends_after_a_thousand() {
    let Some(nginx) = nginx() else { return };
    let (begun, ours, to) = (Instant::now(), pool(HyperConfig::default()), origin(nginx.address));
    let body: Arc<dyn ReplayBody> = Arc::new(Bytes::from_static(b"hello"));
    let sender = Arc::clone(&ours);
    let failed = all(100_000, 300, move || {
        let (ours, to, body) = (Arc::clone(&sender), to.clone(), Arc::clone(&body));
        async move { post(&ours, &to, body).await.is_ok() }
    })
    .await;
    let stats = ours.stats().total;
    println!(
        "nginx, keepalive_requests 1000, 300 in flight: ours lost {failed} of 100,000 in {:.1} s, {} connections, {} replays",
        begun.elapsed().as_secs_f64(),
        stats.opened,
        stats.replays
    );
    let uri = format!("http://{}/", nginx.address);
    let client = LegacyClient::builder(TokioExecutor::new()).http2_only(true).build_http::<Full<Bytes>>();
    let to = uri.clone();
    let failed = all(20_000, 300, move || {
        let request =
            client.request(Request::post(&to).body(Full::new(Bytes::from_static(b"hello"))).unwrap());
        async move {
            match request.await {
                Ok(response) => response.into_body().collect().await.is_ok(),
                Err(_) => false,
            }
        }
    })
    .await;
    println!("  hyper-util lost {failed} of 20,000");
    let client = reqwest::Client::builder().http2_prior_knowledge().build().unwrap();
    let failed = all(20_000, 300, move || {
        let request = client.post(&uri).body("hello").send();
        async move {
            match request.await {
                Ok(response) => response.bytes().await.is_ok(),
                Err(_) => false,
            }
        }
    })
    .await;
    println!("  reqwest lost {failed} of 20,000");
}

/// Resident memory of this process, in bytes.
fn resident() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").expect("Linux");
    statm.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok()).expect("a number") * 4096
}

/// An h2 server that reads bodies and answers, in this process: its memory is counted too.
fn reader() -> SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async move {
            let listener = TcpListener::from_std(listener).unwrap();
            let mut tasks = JoinSet::new();
            while let Ok((tcp, _)) = listener.accept().await {
                tasks.spawn(async move {
                    let mut connection = h2::server::handshake(tcp).await.unwrap();
                    let mut streams = JoinSet::new();
                    while let Some(Ok((request, mut respond))) = connection.accept().await {
                        streams.spawn(async move {
                            let mut body = request.into_body();
                            while let Some(Ok(piece)) = body.data().await {
                                let _ = body.flow_control().release_capacity(piece.len());
                            }
                            let _ = respond.send_response(Response::new(()), true);
                        });
                    }
                });
            }
        });
    });
    address
}

async fn uploads() {
    const BYTES: u64 = 25 * 1024 * 1024;
    let mut file = tempfile::NamedTempFile::new().unwrap();
    std::io::Write::write_all(&mut file, &vec![7; BYTES as usize]).unwrap();
    let (ours, to) = (pool(HyperConfig::default()), origin(reader()));
    post(&ours, &to, Arc::new(Bytes::from_static(b"warm"))).await.unwrap();
    let before = resident();
    let most = Arc::new(AtomicU64::new(before));
    let mut sampler = JoinSet::new();
    let seen = Arc::clone(&most);
    sampler.spawn(async move {
        loop {
            seen.fetch_max(resident(), Ordering::Relaxed);
            sleep(Duration::from_millis(5)).await;
        }
    });
    let begun = Instant::now();
    let mut sending = JoinSet::new();
    for _ in 0..64 {
        let (ours, to) = (Arc::clone(&ours), to.clone());
        let body: Arc<dyn ReplayBody> = Arc::new(FileRange::new(file.path(), 0..BYTES));
        sending.spawn(async move { post(&ours, &to, body).await.is_ok() });
    }
    let mut failed = 0;
    while let Some(sent) = sending.join_next().await {
        failed += usize::from(!sent.unwrap());
    }
    println!(
        "64 uploads of 25 MiB from a file: {:.1} s, {failed} failed, resident memory grew by {:.1} MiB at most (the server included)",
        begun.elapsed().as_secs_f64(),
        (most.load(Ordering::Relaxed) - before) as f64 / 1024.0 / 1024.0
    );
}

/// Sends so many frames of one byte on each stream but the first, which gets 1 MiB at once.
fn dribbler(frames: u64) -> SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async move {
            let listener = TcpListener::from_std(listener).unwrap();
            let (tcp, _) = listener.accept().await.unwrap();
            let mut connection = h2::server::handshake(tcp).await.unwrap();
            let mut streams = JoinSet::new();
            let mut number = 0;
            while let Some(accepted) = connection.accept().await {
                let Ok((_request, mut respond)) = accepted else { break };
                let first = number == 0;
                number += 1;
                streams.spawn(async move {
                    let mut body = respond.send_response(Response::new(()), false).unwrap();
                    if first {
                        let _ = body.send_data(Bytes::from(vec![b'y'; 1024 * 1024]), true);
                        return;
                    }
                    for frame in 0..frames {
                        if body.send_data(Bytes::from_static(b"x"), frame + 1 == frames).is_err() {
                            return;
                        }
                        if frame % 64 == 0 {
                            tokio::task::yield_now().await;
                        }
                    }
                });
            }
        });
    });
    address
}

async fn frames() {
    const EACH: u64 = 100_000;
    let (ours, to) = (pool(HyperConfig::default()), origin(dribbler(EACH)));
    let open = async |body: &'static [u8]| {
        let permit = ours.stream(&to, 1).await.unwrap();
        let body: Arc<dyn ReplayBody> = Arc::new(Bytes::from_static(body));
        ours.send(permit, HttpRequest::new(Method::POST, "/".parse().unwrap(), body)).await
    };
    let begun = Instant::now();
    // Its reader stalls.
    let stalled = open(b"first").await;
    let mut readers = JoinSet::new();
    for _ in 0..20 {
        let mut response = open(b"next").await.unwrap();
        readers.spawn(async move {
            let mut bytes = 0;
            loop {
                match response.body.next().await {
                    Ok(Some(piece)) => bytes += piece.len() as u64,
                    Ok(None) => return (bytes, None),
                    Err(error) => return (bytes, Some(error.to_string())),
                }
            }
        });
    }
    let (mut bytes, mut failures) = (0, Vec::new());
    while let Some(read) = readers.join_next().await {
        let (read, failure) = read.unwrap();
        bytes += read;
        failures.extend(failure);
    }
    let late = stalled.unwrap().read_all(2 * 1024 * 1024).await.map(|body| body.len());
    println!(
        "20 streams of {EACH} frames of one byte beside a stalled reader: {bytes} bytes in {:.1} s, {} failed {:?}; the stalled one then reads {late:?}",
        begun.elapsed().as_secs_f64(),
        failures.len(),
        failures.first()
    );
}

/// Carries bytes to and fro until it is frozen; connections that come later are carried again.
async fn freezer(to: SocketAddr, frozen: Arc<AtomicU64>) -> (SocketAddr, JoinSet<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let mut carriers = JoinSet::new();
        let mut number = 0;
        while let Ok((near, _)) = listener.accept().await {
            number += 1;
            let far = TcpStream::connect(to).await.unwrap();
            let frozen = Arc::clone(&frozen);
            carriers.spawn(carry(near, far, move || number <= frozen.load(Ordering::Relaxed)));
        }
    });
    (address, tasks)
}

async fn carry(near: TcpStream, far: TcpStream, is_frozen: impl Fn() -> bool + Clone + Send + 'static) {
    let (near_in, near_out) = near.into_split();
    let (far_in, far_out) = far.into_split();
    let mut both = JoinSet::new();
    for (mut from, mut to) in [(near_in, far_out), (far_in, near_out)] {
        let is_frozen = is_frozen.clone();
        both.spawn(async move {
            let mut block = vec![0; 65_536];
            while let Ok(read) = from.read(&mut block).await {
                while is_frozen() {
                    sleep(Duration::from_millis(5)).await;
                }
                if read == 0 || to.write_all(block.get(..read).unwrap_or_default()).await.is_err() {
                    return;
                }
            }
        });
    }
    while both.join_next().await.is_some() {}
}

async fn frozen() {
    let frozen = Arc::new(AtomicU64::new(0));
    let (address, _tasks) = freezer(reader(), Arc::clone(&frozen)).await;
    let ping_timeout = Duration::from_millis(500);
    let hyper =
        HyperConfig { ping_interval: Duration::from_millis(250), ping_timeout, ..HyperConfig::default() };
    let (ours, to) = (pool(hyper), origin(address));
    let stop = Arc::new(AtomicBool::new(false));
    let mut workers = JoinSet::new();
    let slowest = Arc::new(AtomicU64::new(0));
    for _ in 0..20 {
        let (ours, to, stop, slowest) =
            (Arc::clone(&ours), to.clone(), Arc::clone(&stop), Arc::clone(&slowest));
        workers.spawn(async move {
            let (mut served, mut again) = (0_u64, 0_u64);
            while !stop.load(Ordering::Relaxed) {
                let begun = Instant::now();
                // The caller's retry: what a frozen peer did is not known.
                while post(&ours, &to, Arc::new(Bytes::from_static(b"hello"))).await.is_err() {
                    again += 1;
                }
                served += 1;
                slowest.fetch_max(begun.elapsed().as_millis() as u64, Ordering::Relaxed);
                sleep(Duration::from_millis(5)).await;
            }
            (served, again)
        });
    }
    sleep(Duration::from_secs(1)).await;
    frozen.store(1, Ordering::Relaxed);
    sleep(Duration::from_secs(4)).await;
    stop.store(true, Ordering::Relaxed);
    let (mut served, mut again) = (0, 0);
    while let Some(worker) = workers.join_next().await {
        let (more, tries) = worker.unwrap();
        served += more;
        again += tries;
    }
    let slowest = slowest.load(Ordering::Relaxed);
    println!(
        "a peer that freezes: {served} requests served, {again} sent again by the caller, the slowest took {slowest} ms ({:.2} ping time-outs)",
        slowest as f64 / ping_timeout.as_millis() as f64
    );
}

#[tokio::main]
async fn main() {
    let wanted: Vec<String> =
        std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    let wants = |name: &str| wanted.is_empty() || wanted.iter().any(|wanted| wanted == name);
    if wants("nginx") {
        ends_after_a_thousand().await;
    }
    if wants("uploads") {
        uploads().await;
    }
    if wants("frames") {
        frames().await;
    }
    if wants("frozen") {
        frozen().await;
    }
}
