//! Servers that do what a test says, to the byte.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use h2::Reason;
use h2::server::SendResponse;
use http::{Request, Response};
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

/// What bytes travel over: plain or encrypted.
trait Wire: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Wire for T {}

/// A request as it arrived.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    /// `HTTP/1.1` or `HTTP/2`.
    pub(crate) version: &'static str,
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

/// What to do with a request.
#[derive(Clone, Debug)]
pub(crate) enum Reply {
    /// Write this and go on with the connection.
    Raw(String),
    /// Write this and close the connection.
    RawThenClose(String),
    /// Close without a word.
    Close,
    /// Never answer.
    Hang,
}

impl Reply {
    pub(crate) fn json(status: &str, headers: &str, body: &str) -> Self {
        let length = body.len();
        Self::Raw(format!(
            "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n{headers}\r\n{body}"
        ))
    }

    pub(crate) fn ok(body: &str) -> Self {
        Self::json("200 OK", "", body)
    }
}

/// A server; it ends when it is dropped.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) url: String,
    pub(crate) seen: Arc<Mutex<Vec<Seen>>>,
    pub(crate) connections: Arc<AtomicUsize>,
    /// Told when a request has arrived whole.
    pub(crate) arrived: Arc<Notify>,
    _tasks: JoinSet<()>,
}

impl Server {
    pub(crate) fn requests(&self) -> usize {
        self.seen.lock().len()
    }

    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    /// HTTP/1.1; the reply is chosen by the number of the request, from 0.
    pub(crate) async fn http1(reply: impl Fn(usize) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/v1", listener.local_addr().unwrap());
        let seen: Arc<Mutex<Vec<Seen>>> = Arc::default();
        let connections = Arc::new(AtomicUsize::new(0));
        let arrived = Arc::new(Notify::new());
        let reply = Arc::new(reply);
        let mut tasks = JoinSet::new();
        let (all, count, bell) = (Arc::clone(&seen), Arc::clone(&connections), Arc::clone(&arrived));
        tasks.spawn(async move {
            let mut streams = JoinSet::new();
            while let Ok((tcp, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::SeqCst);
                streams.spawn(serve_http1(tcp, Arc::clone(&all), Arc::clone(&bell), Arc::clone(&reply)));
            }
        });
        Self { url, seen, connections, arrived, _tasks: tasks }
    }

    /// HTTP/2 by prior knowledge, as the script says.
    pub(crate) async fn http2(script: H2Script) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/v1", listener.local_addr().unwrap());
        let seen: Arc<Mutex<Vec<Seen>>> = Arc::default();
        let connections = Arc::new(AtomicUsize::new(0));
        let arrived = Arc::new(Notify::new());
        let script = Arc::new(script);
        let numbers = Arc::new(AtomicUsize::new(0));
        let mut tasks = JoinSet::new();
        let (all, count, bell) = (Arc::clone(&seen), Arc::clone(&connections), Arc::clone(&arrived));
        tasks.spawn(async move {
            let mut streams = JoinSet::new();
            while let Ok((tcp, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::SeqCst);
                let (all, bell) = (Arc::clone(&all), Arc::clone(&bell));
                streams.spawn(serve_http2(tcp, all, bell, Arc::clone(&script), Arc::clone(&numbers)));
            }
        });
        Self { url, seen, connections, arrived, _tasks: tasks }
    }
}

impl Server {
    /// Over TLS, as `localhost`: HTTP/2 where both sides choose it, else HTTP/1.1.
    pub(crate) async fn tls(acceptor: TlsAcceptor) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("https://localhost:{}/v1", listener.local_addr().unwrap().port());
        let seen: Arc<Mutex<Vec<Seen>>> = Arc::default();
        let connections = Arc::new(AtomicUsize::new(0));
        let arrived = Arc::new(Notify::new());
        let mut tasks = JoinSet::new();
        let (all, count, bell) = (Arc::clone(&seen), Arc::clone(&connections), Arc::clone(&arrived));
        tasks.spawn(async move {
            let mut streams = JoinSet::new();
            while let Ok((tcp, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::SeqCst);
                let (all, bell, acceptor) = (Arc::clone(&all), Arc::clone(&bell), acceptor.clone());
                streams.spawn(async move {
                    // A client that does not trust the certificate hangs up.
                    let Ok(tls) = acceptor.accept(tcp).await else { return };
                    if tls.get_ref().1.alpn_protocol() == Some(b"h2") {
                        serve_http2(tls, all, bell, Arc::default(), Arc::default()).await;
                    } else {
                        serve_http1(tls, all, bell, Arc::new(|_| Reply::ok(crate::HELLO))).await;
                    }
                });
            }
        });
        Self { url, seen, connections, arrived, _tasks: tasks }
    }
}

async fn serve_http1(
    mut tcp: impl Wire,
    seen: Arc<Mutex<Vec<Seen>>>,
    arrived: Arc<Notify>,
    reply: Arc<impl Fn(usize) -> Reply>,
) {
    let mut buffer = Vec::new();
    loop {
        let Some(request) = read_http1(&mut tcp, &mut buffer).await else { return };
        let number = {
            let mut seen = seen.lock();
            seen.push(request);
            seen.len() - 1
        };
        arrived.notify_one();
        match reply(number) {
            Reply::Raw(bytes) => {
                if tcp.write_all(bytes.as_bytes()).await.is_err() {
                    return;
                }
            }
            Reply::RawThenClose(bytes) => {
                tcp.write_all(bytes.as_bytes()).await.ok();
                tcp.shutdown().await.ok();
                return;
            }
            Reply::Close => return,
            Reply::Hang => std::future::pending().await,
        }
    }
}

async fn read_http1(tcp: &mut impl Wire, buffer: &mut Vec<u8>) -> Option<Seen> {
    let end = loop {
        if let Some(at) = buffer.windows(4).position(|window| window == b"\r\n\r\n") {
            break at + 4;
        }
        if tcp.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    };
    let head = String::from_utf8(buffer.drain(..end).collect()).unwrap();
    let length = head
        .lines()
        .find_map(|line| {
            line.to_ascii_lowercase().strip_prefix("content-length:").map(|n| n.trim().parse::<usize>())
        })
        .expect("the length is always known")
        .unwrap();
    while buffer.len() < length {
        if tcp.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    }
    Some(Seen { version: "HTTP/1.1", head, body: buffer.drain(..length).collect() })
}

/// What an HTTP/2 server does.
#[derive(Clone, Debug)]
pub(crate) struct H2Script {
    /// SETTINGS_MAX_CONCURRENT_STREAMS.
    pub(crate) max_streams: Option<u32>,
    /// Refuse each stream whose number on the server, from 0, is in here.
    pub(crate) refuse: Vec<usize>,
    /// After so many streams of a connection, announce its end and take no more.
    pub(crate) goaway_after: Option<usize>,
    /// Answer only once this many streams are open on a connection.
    pub(crate) hold_until: usize,
    /// Never answer.
    pub(crate) hang: bool,
}

impl Default for H2Script {
    fn default() -> Self {
        Self { max_streams: Some(100), refuse: Vec::new(), goaway_after: None, hold_until: 0, hang: false }
    }
}

async fn serve_http2(
    tcp: impl Wire,
    seen: Arc<Mutex<Vec<Seen>>>,
    arrived: Arc<Notify>,
    script: Arc<H2Script>,
    numbers: Arc<AtomicUsize>,
) {
    let mut builder = h2::server::Builder::new();
    if let Some(most) = script.max_streams {
        builder.max_concurrent_streams(most);
    }
    let Ok(mut connection) = builder.handshake::<_, Bytes>(tcp).await else { return };
    let mut streams = JoinSet::new();
    let mut taken = 0;
    let mut held = Vec::new();
    while let Some(Ok((request, mut respond))) = connection.accept().await {
        let number = numbers.fetch_add(1, Ordering::SeqCst);
        taken += 1;
        if script.refuse.contains(&number) {
            respond.send_reset(Reason::REFUSED_STREAM);
            continue;
        }
        held.push((request, respond));
        if held.len() >= script.hold_until {
            for (request, respond) in held.drain(..) {
                streams.spawn(answer(request, respond, Arc::clone(&seen), Arc::clone(&arrived), script.hang));
            }
        }
        if script.goaway_after.is_some_and(|most| taken == most) {
            // The end is announced with the last stream that was taken; the ones above it were never looked at.
            connection.graceful_shutdown();
        }
    }
    while streams.join_next().await.is_some() {}
}

async fn answer(
    request: Request<h2::RecvStream>,
    mut respond: SendResponse<Bytes>,
    seen: Arc<Mutex<Vec<Seen>>>,
    arrived: Arc<Notify>,
    hang: bool,
) {
    let (head, mut body) = request.into_parts();
    let mut all = Vec::new();
    while let Some(Ok(data)) = body.data().await {
        body.flow_control().release_capacity(data.len()).ok();
        all.extend_from_slice(&data);
    }
    let said =
        head.headers.get("content-length").map(|length| length.to_str().unwrap().parse::<usize>().unwrap());
    if said.is_some_and(|said| said != all.len()) {
        // Cut off: not a whole request.
        return;
    }
    seen.lock().push(Seen { version: "HTTP/2", head: format!("{:?}", head.headers), body: all });
    arrived.notify_one();
    if hang {
        std::future::pending::<()>().await;
    }
    let response =
        Response::builder().status(200).header("content-type", "application/json").body(()).unwrap();
    if let Ok(mut stream) = respond.send_response(response, false) {
        stream.send_data(Bytes::from_static(crate::HELLO.as_bytes()), true).ok();
    }
}
