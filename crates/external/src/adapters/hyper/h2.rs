//! An HTTP/2 connection, driven by one task that owns every future of it.
//!
//! hyper splits a connection into futures that it hands to an executor. Here the executor is a list that belongs to the
//! link's task: so nothing outlives the link, and after each step of the connection the task reads how many streams the
//! peer grants. It starts at 1, which h2 replaces when the peer's first SETTINGS arrive.

use std::error::Error as _;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use async_trait::async_trait;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use http::uri::{Authority, Scheme};
use http::{Request, Uri};
use hyper::client::conn::TrySendError;
use hyper::client::conn::http2::{Builder, Connection, SendRequest};
use hyper::rt::{Executor, Read, Write};
use hyper_util::rt::TokioTimer;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::HyperConfig;
use super::body::{Download, Upload, poll_once};
use crate::error::{ConnectFailure, ExternalError, Phase};
use crate::model::http::{HttpRequest, HttpResponse, Processed};
use crate::model::origin::Origin;
use crate::ports::{HttpLink, LinkError, LinkPhase, LinkState, Protocol, ReplayCause};

type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

/// What hyper wants to have run, until the link's task takes it.
#[derive(Clone, Default)]
struct Inbox(Arc<Mutex<Vec<Task>>>);

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for Inbox {
    fn execute(&self, future: F) {
        self.0.lock().push(Box::pin(future));
    }
}

/// The task of a link.
struct Driver<T>
where
    T: Read + Write + Send + Unpin + 'static,
{
    connection: Option<Connection<T, Upload, Inbox>>,
    inbox: Inbox,
    tasks: FuturesUnordered<Task>,
    state: watch::Sender<LinkState>,
}

impl<T> Future for Driver<T>
where
    T: Read + Write + Send + Unpin + 'static,
{
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        loop {
            let mut moved = false;
            while let Poll::Ready(Some(())) = this.tasks.poll_next_unpin(cx) {
                moved = true;
            }
            if poll_once(&mut this.connection, cx).is_ready() {
                // The peer announced the end, or the connection is gone: requests that hyper still held are returned.
                this.publish(LinkPhase::Draining, 0);
                moved = true;
            }
            let new = std::mem::take(&mut *this.inbox.0.lock());
            moved |= !new.is_empty();
            this.tasks.extend(new);
            if let Some(connection) = &this.connection {
                let max_streams = connection.current_max_send_streams();
                this.publish(LinkPhase::Open, max_streams);
            } else if this.tasks.is_empty() {
                this.publish(LinkPhase::Closed, 0);
                return Poll::Ready(());
            }
            if !moved {
                return Poll::Pending;
            }
        }
    }
}

impl<T> Driver<T>
where
    T: Read + Write + Send + Unpin + 'static,
{
    fn publish(&self, phase: LinkPhase, max_streams: usize) {
        self.state.send_if_modified(|state| {
            // A link that drains does not open again, whoever made it drain.
            if phase == LinkPhase::Open && state.phase != LinkPhase::Open {
                return false;
            }
            let next = LinkState { phase, max_streams };
            let changed = *state != next;
            *state = next;
            changed
        });
    }
}

/// An HTTP/2 link.
#[derive(Debug)]
pub(super) struct H2Link {
    origin: Origin,
    authority: Authority,
    sender: SendRequest<Upload>,
    state: watch::Sender<LinkState>,
    _driver: JoinSet<()>,
}

impl H2Link {
    pub(super) async fn open<T>(io: T, origin: &Origin, config: &HyperConfig) -> Result<Self, ExternalError>
    where
        T: Read + Write + Send + Unpin + 'static,
    {
        let failed = |error: Box<dyn std::error::Error + Send + Sync>| ExternalError::Connect {
            origin: origin.clone(),
            failure: ConnectFailure::Other,
            source: Arc::new(io::Error::other(error)),
        };
        let authority = Authority::try_from(origin.authority()).map_err(|error| failed(error.into()))?;
        let inbox = Inbox::default();
        let mut builder = Builder::new(inbox.clone());
        builder
            .timer(TokioTimer::new())
            .initial_max_send_streams(1)
            .initial_connection_window_size(config.connection_window_bytes)
            .initial_stream_window_size(config.stream_window_bytes)
            .max_header_list_size(config.max_header_bytes)
            .keep_alive_interval(config.ping_interval)
            .keep_alive_timeout(config.ping_timeout);
        let (sender, connection) = timeout(config.tls, builder.handshake(io))
            .await
            .map_err(|_| ExternalError::Timeout {
                phase: Phase::Connect,
                after: config.tls,
                processed: Processed::No,
            })?
            .map_err(|error| failed(error.into()))?;
        let state = watch::Sender::new(LinkState { phase: LinkPhase::Open, max_streams: 1 });
        let driver = Driver {
            connection: Some(connection),
            inbox,
            tasks: FuturesUnordered::new(),
            state: state.clone(),
        };
        let mut tasks = JoinSet::new();
        tasks.spawn(driver);
        Ok(Self { origin: origin.clone(), authority, sender, state, _driver: tasks })
    }

    fn failed(&self, mut failed: TrySendError<Request<Upload>>) -> LinkError {
        let returned = failed.take_message().is_some();
        let error = failed.into_error();
        let replay = if returned { Some(ReplayCause::Unsent) } else { peer_gave_up(&error) };
        let processed = if replay.is_some() { Processed::No } else { Processed::Maybe };
        self.lost(error, processed, replay)
    }

    fn lost(
        &self,
        error: impl Into<Box<dyn std::error::Error + Send + Sync>>,
        processed: Processed,
        replay: Option<ReplayCause>,
    ) -> LinkError {
        let source = Arc::new(io::Error::other(error));
        let error = ExternalError::ConnectionLost { origin: self.origin.clone(), processed, source };
        LinkError { error, processed, replay }
    }
}

/// What the peer says it never processed: streams above the last one of its GOAWAY, and those that it refused
/// (RFC 9113 §8.7).
fn peer_gave_up(error: &hyper::Error) -> Option<ReplayCause> {
    let mut cause = error.source();
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<::h2::Error>() {
            if !error.is_remote() {
                return None;
            }
            if error.is_go_away() {
                return Some(ReplayCause::GoAway);
            }
            return (error.is_reset() && error.reason() == Some(::h2::Reason::REFUSED_STREAM))
                .then_some(ReplayCause::Refused);
        }
        cause = error.source();
    }
    None
}

#[async_trait]
impl HttpLink for H2Link {
    fn protocol(&self) -> Protocol {
        Protocol::Http2
    }

    fn state(&self) -> LinkState {
        *self.state.borrow()
    }

    async fn changed(&self, seen: LinkState) -> LinkState {
        let mut states = self.state.subscribe();
        // The sender is this link's own, so it cannot be gone.
        states.wait_for(|state| *state != seen).await.map_or(seen, |state| *state)
    }

    async fn send(&self, request: HttpRequest) -> Result<HttpResponse, LinkError> {
        let scheme = if self.origin.is_https() { Scheme::HTTPS } else { Scheme::HTTP };
        let uri = Uri::builder()
            .scheme(scheme)
            .authority(self.authority.clone())
            .path_and_query(request.path)
            .build()
            .map_err(|error| self.lost(error, Processed::No, None))?;
        let mut head = Request::new(Upload::new(&request.body));
        *head.method_mut() = request.method;
        *head.uri_mut() = uri;
        *head.version_mut() = http::Version::HTTP_2;
        *head.headers_mut() = request.headers;
        let response =
            self.sender.clone().try_send_request(head).await.map_err(|error| self.failed(error))?;
        let (head, body) = response.into_parts();
        let body = Box::new(Download::new(body, &self.origin));
        Ok(HttpResponse { status: head.status, headers: head.headers, body })
    }

    fn drain(&self) {
        self.state.send_if_modified(|state| {
            let open = state.phase == LinkPhase::Open;
            if open {
                *state = LinkState { phase: LinkPhase::Draining, max_streams: 0 };
            }
            open
        });
    }
}
