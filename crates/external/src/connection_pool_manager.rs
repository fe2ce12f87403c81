//! The service that carries requests: as many connections as the load asks for, as few as it can do with.

use std::any::Any;
use std::fmt::{self, Debug};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use crate::error::ExternalError;
use crate::model::http::{HttpRequest, HttpResponse};
use crate::model::origin::Origin;
use crate::model::pool::PoolStats;

/// Keeps connections to origins and carries requests over them.
///
/// # Contract
/// 1. There are never more streams on a link than its peer grants now; one until its SETTINGS have come.
/// 2. A permit lives until the request *and* the body of its answer have ended.
/// 3. What the peer provably did not process is sent again, unseen by the caller.
/// 4. A draining link takes no new stream and ends the old ones.
/// 5. A second link is opened only when the first is full (RFC 9113 §9.1), up to the bound of the origin.
/// 6. A peer without HTTP/2 gets HTTP/1.1, one request a link at a time.
/// 7. [`close_all`](Self::close_all) returns by its grace.
#[async_trait]
pub trait ConnectionPoolManager: Debug + Send + Sync + 'static {
    /// A stream that is free now, without opening anything.
    fn try_stream(&self, origin: &Origin) -> Option<StreamPermit>;

    /// Waits for a stream, opening a connection if all are full. `body_bytes` is what will be uploaded over it.
    ///
    /// # Errors
    /// [`Connect`](ExternalError::Connect) if no connection comes about,
    /// [`Timeout`](ExternalError::Timeout) if none is free in time, [`Closed`](ExternalError::Closed).
    ///
    /// # Cancellation
    /// A dropped future leaves the queue; a connection that it had begun to open goes to the next in it.
    async fn stream(&self, origin: &Origin, body_bytes: u64) -> Result<StreamPermit, ExternalError>;

    /// Sends a request over the stream and gives the head of its answer, whose body is still to be read.
    ///
    /// # Errors
    /// What happened, and whether the request was [processed](ExternalError::processed).
    ///
    /// # Cancellation
    /// A dropped future ends the stream: with HTTP/2 by a reset, with HTTP/1.1 by closing the connection.
    async fn send(&self, permit: StreamPermit, request: HttpRequest) -> Result<HttpResponse, ExternalError>;

    /// The statistics now.
    fn stats(&self) -> PoolStats;

    /// Opens or drains connections until there are so many, within the bounds; gives how many there are.
    async fn scale_to(&self, origin: &Origin, connections: usize) -> usize;

    /// Takes no new stream, and closes each connection once its streams have ended, or when the grace is over.
    async fn close_all(&self, grace: Duration);

    /// Opens connections until there are at least so many, so that the first requests need not wait for them.
    async fn ensure_min_connections(&self, origin: &Origin, connections: usize) -> usize {
        let size = self.stats().origins.get(origin).map_or(0, |stats| stats.size);
        if size >= connections { size } else { self.scale_to(origin, connections).await }
    }

    /// Opens one connection more where utilisation is above the target, and drains one where what is in use would fit
    /// into one less; gives how many there are.
    async fn scale_by_utilization(&self, origin: &Origin, target: f64) -> usize {
        let stats = self.stats().origins.get(origin).copied().unwrap_or_default();
        if stats.size == 0 {
            return 0;
        }
        let streams = stats.checked_out + stats.checked_in;
        let smaller = streams as f64 * (stats.size - 1) as f64 / stats.size as f64;
        if stats.utilization() > target {
            self.scale_to(origin, stats.size + 1).await
        } else if stats.size > 1 && stats.overflow == 0 && (stats.checked_out as f64) < target * smaller {
            self.scale_to(origin, stats.size - 1).await
        } else {
            stats.size
        }
    }
}

#[async_trait]
impl<T: ConnectionPoolManager + ?Sized> ConnectionPoolManager for Arc<T> {
    fn try_stream(&self, origin: &Origin) -> Option<StreamPermit> {
        (**self).try_stream(origin)
    }

    async fn stream(&self, origin: &Origin, body_bytes: u64) -> Result<StreamPermit, ExternalError> {
        (**self).stream(origin, body_bytes).await
    }

    async fn send(&self, permit: StreamPermit, request: HttpRequest) -> Result<HttpResponse, ExternalError> {
        (**self).send(permit, request).await
    }

    fn stats(&self) -> PoolStats {
        (**self).stats()
    }

    async fn scale_to(&self, origin: &Origin, connections: usize) -> usize {
        (**self).scale_to(origin, connections).await
    }

    async fn close_all(&self, grace: Duration) {
        (**self).close_all(grace).await;
    }
}

/// Leave to send one request over a stream of a connection. Dropping it frees the stream.
pub struct StreamPermit {
    origin: Origin,
    slot: Box<dyn Any + Send + Sync>,
}

impl StreamPermit {
    /// A permit for implementers of [`ConnectionPoolManager`]: dropping `slot` frees the stream.
    pub fn new(origin: Origin, slot: Box<dyn Any + Send + Sync>) -> Self {
        Self { origin, slot }
    }

    /// Where the connection leads.
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// The slot, if it is of this type: a permit of another pool is of no use.
    pub fn into_slot<T: 'static>(self) -> Option<Box<T>> {
        self.slot.downcast().ok()
    }
}

impl Debug for StreamPermit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StreamPermit").field("origin", &self.origin).finish_non_exhaustive()
    }
}
