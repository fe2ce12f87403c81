//! The body of an answer, which holds its stream until it has ended.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::StatusCode;
use tokio::time::timeout;

use super::slot::Slot;
use super::upload_meter::UploadMeter;
use crate::body::BodyReader;
use crate::error::{ExternalError, Phase};
use crate::metrics::PoolMetrics;
use crate::model::http::Processed;
use crate::ports::Protocol;

pub(super) struct PooledBody {
    body: Option<Box<dyn BodyReader>>,
    slot: Option<Slot>,
    meter: Arc<UploadMeter>,
    status: StatusCode,
    idle: Duration,
    metrics: Arc<PoolMetrics>,
}

impl PooledBody {
    pub(super) fn new(
        body: Box<dyn BodyReader>,
        slot: Slot,
        meter: Arc<UploadMeter>,
        status: StatusCode,
        idle: Duration,
        metrics: Arc<PoolMetrics>,
    ) -> Self {
        Self { body: Some(body), slot: Some(slot), meter, status, idle, metrics }
    }

    /// Ends the stream: what is left of the upload is not sent, then the stream is given back.
    fn finish(&mut self) {
        self.body = None;
        let Some(slot) = self.slot.take() else { return };
        self.metrics.sent_bytes.increment(self.meter.taken());
        if self.status == StatusCode::TOO_MANY_REQUESTS {
            self.metrics.wasted_throttled.increment(self.meter.taken());
        }
        if !self.meter.is_done() {
            self.meter.stop();
            // HTTP/1.1 cannot stop a body but by closing the connection.
            if slot.link.protocol() == Protocol::Http1 {
                slot.drain_link();
            }
        }
    }
}

#[async_trait]
impl BodyReader for PooledBody {
    async fn next(&mut self) -> io::Result<Option<Bytes>> {
        let Some(body) = &mut self.body else { return Ok(None) };
        let piece = timeout(self.idle, body.next()).await.unwrap_or_else(|_| {
            let (phase, after, processed) = (Phase::Body, self.idle, Processed::Yes);
            Err(io::Error::other(ExternalError::Timeout { phase, after, processed }))
        });
        match &piece {
            Ok(Some(piece)) => self.metrics.received_bytes.increment(piece.len() as u64),
            Ok(None) | Err(_) => self.finish(),
        }
        piece
    }
}

impl Drop for PooledBody {
    fn drop(&mut self) {
        self.finish();
    }
}
