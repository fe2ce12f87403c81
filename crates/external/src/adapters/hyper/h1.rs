//! An HTTP/1.1 connection: one request at a time.

use std::io;
use std::sync::Arc;

use async_trait::async_trait;
use http::{Request, Response, header};
use hyper::body::Incoming;
use hyper::client::conn::http1::{Builder, SendRequest};
use hyper::rt::{Read, Write};
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::HyperConfig;
use super::body::{Download, Upload};
use crate::error::{ConnectFailure, ExternalError, Phase};
use crate::model::http::{HttpRequest, HttpResponse, Processed};
use crate::model::origin::Origin;
use crate::ports::{HttpLink, LinkError, LinkPhase, LinkState, Protocol, ReplayCause};

/// An HTTP/1.1 link. Its driver is a task that it owns.
#[derive(Debug)]
pub(super) struct H1Link {
    origin: Origin,
    sender: Mutex<Option<SendRequest<Upload>>>,
    state: watch::Sender<LinkState>,
    _driver: JoinSet<()>,
}

impl H1Link {
    pub(super) async fn open<T>(io: T, origin: &Origin, config: &HyperConfig) -> Result<Self, ExternalError>
    where
        T: Read + Write + Send + Unpin + 'static,
    {
        let handshake = Builder::new().max_header_size(config.max_header_bytes as usize).handshake(io);
        let (sender, connection) = timeout(config.tls, handshake)
            .await
            .map_err(|_| ExternalError::Timeout {
                phase: Phase::Connect,
                after: config.tls,
                processed: Processed::No,
            })?
            .map_err(|error| ExternalError::Connect {
                origin: origin.clone(),
                failure: ConnectFailure::Other,
                source: Arc::new(io::Error::other(error)),
            })?;
        let state = watch::Sender::new(LinkState { phase: LinkPhase::Open, max_streams: 1 });
        let mut driver = JoinSet::new();
        let closed = state.clone();
        driver.spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(target: "wavequill::external", %error, "a connection ended");
            }
            closed.send_replace(LinkState { phase: LinkPhase::Closed, max_streams: 0 });
        });
        Ok(Self { origin: origin.clone(), sender: Mutex::new(Some(sender)), state, _driver: driver })
    }

    fn lost(
        &self,
        error: impl Into<Box<dyn std::error::Error + Send + Sync>>,
        processed: Processed,
    ) -> LinkError {
        let replay = (processed == Processed::No).then_some(ReplayCause::Unsent);
        let source = Arc::new(io::Error::other(error));
        let error = ExternalError::ConnectionLost { origin: self.origin.clone(), processed, source };
        LinkError { error, processed, replay }
    }

    fn answer(&self, response: Response<Incoming>) -> HttpResponse {
        let (head, body) = response.into_parts();
        let says_close = head
            .headers
            .get_all(header::CONNECTION)
            .iter()
            .any(|value| value.to_str().is_ok_and(|value| value.to_ascii_lowercase().contains("close")));
        if says_close || head.version < http::Version::HTTP_11 {
            self.drain();
        }
        let body = Box::new(Download::new(body, &self.origin));
        HttpResponse { status: head.status, headers: head.headers, body }
    }
}

#[async_trait]
impl HttpLink for H1Link {
    fn protocol(&self) -> Protocol {
        Protocol::Http1
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
        let sender = self.sender.lock().take();
        let Some(mut sender) = sender else {
            return Err(self.lost("the connection carries another request", Processed::No));
        };
        sender.ready().await.map_err(|error| self.lost(error, Processed::No))?;
        let mut head = Request::new(Upload::new(&request.body));
        *head.method_mut() = request.method;
        *head.uri_mut() = request.path.into();
        *head.headers_mut() = request.headers;
        match http::HeaderValue::try_from(self.origin.authority()) {
            Ok(host) => head.headers_mut().insert(header::HOST, host),
            Err(error) => return Err(self.lost(error, Processed::No)),
        };
        let answer = sender.try_send_request(head);
        *self.sender.lock() = Some(sender);
        match answer.await {
            Ok(response) => Ok(self.answer(response)),
            Err(mut error) => {
                let returned = error.take_message().is_some();
                let processed = if returned { Processed::No } else { Processed::Maybe };
                Err(self.lost(error.into_error(), processed))
            }
        }
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
