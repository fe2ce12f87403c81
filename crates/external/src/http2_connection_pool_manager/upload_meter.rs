//! Watches a body while a link reads it: whether it was touched, how far it came, whether it ended.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::body::{BodyReader, ReplayBody};

/// What is known of an upload.
#[derive(Debug, Default)]
pub(super) struct UploadMeter {
    touched: AtomicBool,
    taken: AtomicU64,
    done: AtomicBool,
    stopped: AtomicBool,
    failed: Mutex<Option<Arc<io::Error>>>,
    ended: Notify,
}

impl UploadMeter {
    /// Whether the link has asked for the body at all. If not, the peer cannot have processed the request.
    pub(super) fn is_touched(&self) -> bool {
        self.touched.load(Ordering::Acquire)
    }

    /// The bytes that the link has taken.
    pub(super) fn taken(&self) -> u64 {
        self.taken.load(Ordering::Acquire)
    }

    /// Whether the link has taken the last byte.
    pub(super) fn is_done(&self) -> bool {
        self.done.load(Ordering::Acquire)
    }

    /// Why the body could not be read.
    pub(super) fn failure(&self) -> Option<Arc<io::Error>> {
        self.failed.lock().clone()
    }

    /// Waits until the last byte was taken.
    pub(super) async fn done(&self) {
        loop {
            let ended = self.ended.notified();
            if self.is_done() {
                return;
            }
            ended.await;
        }
    }

    /// Yields nothing more: the answer is there, the rest would be sent in vain.
    pub(super) fn stop(&self) {
        self.stopped.store(true, Ordering::Release);
    }
}

/// A body that reports to a meter.
pub(super) struct MeteredBody {
    body: Arc<dyn ReplayBody>,
    meter: Arc<UploadMeter>,
}

impl MeteredBody {
    pub(super) fn new(body: Arc<dyn ReplayBody>) -> (Self, Arc<UploadMeter>) {
        let meter = Arc::new(UploadMeter::default());
        if body.is_empty() {
            meter.done.store(true, Ordering::Release);
            meter.touched.store(true, Ordering::Release);
        }
        (Self { body, meter: Arc::clone(&meter) }, meter)
    }
}

impl fmt::Debug for MeteredBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MeteredBody").field("meter", &self.meter).finish_non_exhaustive()
    }
}

impl ReplayBody for MeteredBody {
    fn len(&self) -> u64 {
        self.body.len()
    }

    fn open(&self) -> Box<dyn BodyReader> {
        let reader = self.body.open();
        Box::new(MeteredReader { reader, len: self.body.len(), meter: Arc::clone(&self.meter) })
    }
}

struct MeteredReader {
    reader: Box<dyn BodyReader>,
    len: u64,
    meter: Arc<UploadMeter>,
}

#[async_trait]
impl BodyReader for MeteredReader {
    async fn next(&mut self) -> io::Result<Option<Bytes>> {
        let meter = &self.meter;
        meter.touched.store(true, Ordering::Release);
        if meter.stopped.load(Ordering::Acquire) {
            return Err(io::Error::new(
                io::ErrorKind::Interrupted,
                "the answer came before the end of the body",
            ));
        }
        match self.reader.next().await {
            Ok(Some(piece)) => {
                let taken = meter.taken.fetch_add(piece.len() as u64, Ordering::AcqRel) + piece.len() as u64;
                if taken >= self.len {
                    meter.done.store(true, Ordering::Release);
                    meter.ended.notify_waiters();
                }
                Ok(Some(piece))
            }
            Ok(None) => Ok(None),
            Err(error) => {
                let error = Arc::new(error);
                *meter.failed.lock() = Some(Arc::clone(&error));
                Err(io::Error::new(error.kind(), error))
            }
        }
    }
}
