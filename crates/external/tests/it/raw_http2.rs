//! An HTTP/2 server written to the byte (RFC 9113), to end connections as the rudest of proxies do: GOAWAY names the
//! last stream that was served, whatever else has been sent by then.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const ACK: u8 = 1;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// A server that echoes bodies, and ends each connection after so many requests.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) url: String,
    processed: Arc<AtomicUsize>,
    _tasks: JoinSet<()>,
}

impl Server {
    pub(crate) async fn start(per_connection: usize) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let processed = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&processed);
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((tcp, _)) = listener.accept().await {
                let count = Arc::clone(&count);
                connections.spawn(async move {
                    // A client that hangs up ends its connection, not the server.
                    serve(tcp, per_connection, &count).await.ok();
                });
            }
        });
        Self { url, processed, _tasks: tasks }
    }

    /// How many requests were processed.
    pub(crate) fn processed(&self) -> usize {
        self.processed.load(Ordering::SeqCst)
    }
}

async fn frame(tcp: &mut TcpStream, kind: u8, flags: u8, stream: u32, payload: &[u8]) -> std::io::Result<()> {
    let mut bytes = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend_from_slice(payload);
    tcp.write_all(&bytes).await
}

async fn respond(tcp: &mut TcpStream, stream: u32, body: &[u8]) -> std::io::Result<()> {
    // `:status: 200` is entry 8 of HPACK's static table.
    frame(tcp, HEADERS, END_HEADERS, stream, &[0x88]).await?;
    frame(tcp, DATA, END_STREAM, stream, body).await
}

async fn serve(mut tcp: TcpStream, per_connection: usize, processed: &AtomicUsize) -> std::io::Result<()> {
    let mut preface = [0; 24];
    tcp.read_exact(&mut preface).await?;
    // At most 100 streams (3), and windows (4) that no test fills.
    let settings = [0, 3, 0, 0, 0, 100, 0, 4, 0x7f, 0xff, 0xff, 0xff];
    frame(&mut tcp, SETTINGS, 0, 0, &settings).await?;
    frame(&mut tcp, WINDOW_UPDATE, 0, 0, &0x7fff_0000_u32.to_be_bytes()).await?;
    let mut bodies: BTreeMap<u32, Vec<u8>> = BTreeMap::new();
    let (mut served, mut last) = (0, 0);
    let (stream, body) = loop {
        let mut head = [0; 9];
        tcp.read_exact(&mut head).await?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let (kind, flags) = (head[3], head[4]);
        let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
        let mut payload = vec![0; length];
        tcp.read_exact(&mut payload).await?;
        match kind {
            SETTINGS if flags & ACK == 0 => frame(&mut tcp, SETTINGS, ACK, 0, &[]).await?,
            PING if flags & ACK == 0 => frame(&mut tcp, PING, ACK, 0, &payload).await?,
            HEADERS => {
                bodies.insert(stream, Vec::new());
            }
            DATA => {
                let Some(body) = bodies.get_mut(&stream) else { continue };
                body.extend_from_slice(&payload);
                if flags & END_STREAM == 0 {
                    continue;
                }
                let body = bodies.remove(&stream).unwrap_or_default();
                served += 1;
                last = last.max(stream);
                processed.fetch_add(1, Ordering::SeqCst);
                if served == per_connection {
                    break (stream, body);
                }
                respond(&mut tcp, stream, &body).await?;
            }
            _ => {}
        }
    };
    let below: Vec<_> = bodies.keys().copied().filter(|stream| *stream < last).collect();
    for stream in below {
        // What lies below the last stream and was not served is refused, which is as good.
        frame(&mut tcp, 3, 0, stream, &7_u32.to_be_bytes()).await?;
    }
    let mut payload = last.to_be_bytes().to_vec();
    payload.extend([0, 0, 0, 0]);
    frame(&mut tcp, GOAWAY, 0, 0, &payload).await?;
    respond(&mut tcp, stream, &body).await?;
    // Reads on until the client is done, so that what it still sends does not turn into a reset of the connection.
    let mut rest = Vec::new();
    tcp.read_to_end(&mut rest).await?;
    Ok(())
}
