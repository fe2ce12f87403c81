//! Requests and answers as the pool sees them: HTTP without a version, with bodies that stream.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::uri::PathAndQuery;
use http::{HeaderMap, Method, StatusCode};
use serde::{Deserialize, Serialize};

use crate::body::{BodyReader, ReplayBody};
use crate::error::ExternalError;

/// How far a request that failed has come, which decides whether it can be sent again without paying twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Processed {
    /// The other side provably did nothing with it.
    No,
    /// It may have done the work, and may bill it.
    Maybe,
    /// It has answered.
    Yes,
}

/// A request to an origin. Its headers hold no `Host`, `Content-Length` or connection header: those are the transport's.
#[derive(Clone)]
pub struct HttpRequest {
    /// The method.
    pub method: Method,
    /// Path and query.
    pub path: PathAndQuery,
    /// Headers; what is secret is marked sensitive.
    pub headers: HeaderMap,
    /// The body.
    pub body: Arc<dyn ReplayBody>,
    /// How long the answer's head may take once the body was sent. Default of the pool: 60 s.
    pub answer_within: Option<Duration>,
}

impl HttpRequest {
    /// A request without headers.
    pub fn new(method: Method, path: PathAndQuery, body: Arc<dyn ReplayBody>) -> Self {
        Self { method, path, headers: HeaderMap::new(), body, answer_within: None }
    }
}

impl fmt::Debug for HttpRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // No query: some APIs take the prompt there. Header values: names suffice to find a bug.
        f.debug_struct("HttpRequest")
            .field("method", &self.method)
            .field("path", &self.path.path())
            .field("headers", &self.headers.keys().map(http::HeaderName::as_str).collect::<Vec<_>>())
            .field("body_bytes", &self.body.len())
            .finish_non_exhaustive()
    }
}

/// An answer: its head has come, its body is being read.
pub struct HttpResponse {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The body. Dropping it gives the stream back, unread.
    pub body: Box<dyn BodyReader>,
}

impl HttpResponse {
    /// Reads the whole body, which must not be larger than `limit_bytes`.
    ///
    /// # Errors
    /// [`ExternalError::InvalidResponse`] if it is larger; otherwise what reading failed with.
    pub async fn read_all(&mut self, limit_bytes: usize) -> Result<Bytes, ExternalError> {
        let mut all = BytesMut::new();
        let mut first: Option<Bytes> = None;
        while let Some(piece) = self.body.next().await.map_err(ExternalError::from_body)? {
            let so_far = first.as_ref().map_or(0, Bytes::len) + all.len();
            if so_far + piece.len() > limit_bytes {
                let reason = format!("it has more than {limit_bytes} bytes");
                return Err(ExternalError::InvalidResponse { reason });
            }
            if so_far == 0 {
                // Most answers come in one piece, which then is not copied.
                first = Some(piece);
                continue;
            }
            if let Some(head) = first.take() {
                all.extend_from_slice(&head);
            }
            all.extend_from_slice(&piece);
        }
        Ok(first.unwrap_or_else(|| all.freeze()))
    }
}

impl fmt::Debug for HttpResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpResponse").field("status", &self.status).finish_non_exhaustive()
    }
}
