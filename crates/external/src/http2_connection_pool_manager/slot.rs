//! What callers hold: a stream that is reserved, or a place in the queue for one. Dropping either gives it back.

use std::sync::Arc;

use tokio::sync::oneshot;

use super::origin_pool::OriginPool;
use crate::error::ExternalError;
use crate::model::origin::Origin;
use crate::ports::HttpLink;

/// What ends a wait.
pub(super) type Grant = Result<Slot, ExternalError>;

/// A stream of a link, reserved until it is dropped.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) pool: Arc<OriginPool>,
    pub(super) id: u64,
    pub(super) link: Arc<dyn HttpLink>,
    pub(super) bytes: u64,
}

impl Slot {
    pub(super) fn origin(&self) -> &Origin {
        self.pool.origin()
    }

    /// Takes the link out of use once its streams have ended.
    pub(super) fn drain_link(&self) {
        self.pool.retire(self.id);
    }

    /// The link did not take the request, and will take no other.
    pub(super) fn turned_away(&self) {
        self.pool.turned_away(self.id);
    }

    /// The request was answered.
    pub(super) fn answered(&self) {
        self.pool.answered(self.id);
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.pool.release(self.id, self.bytes);
    }
}

/// A place in the queue; dropping it leaves the queue.
#[derive(Debug)]
pub(super) struct Waiter {
    pub(super) pool: Arc<OriginPool>,
    pub(super) id: u64,
    pub(super) granted: oneshot::Receiver<Grant>,
}

impl Waiter {
    pub(super) async fn granted(&mut self) -> Grant {
        // The sender is dropped unsent only with the pool itself.
        (&mut self.granted).await.unwrap_or(Err(ExternalError::Closed))
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        self.pool.leave(self.id);
    }
}
