//! A bus within one process: what stores without a bus of their own send notices over.

use async_trait::async_trait;
use tokio::sync::broadcast::{self, error::RecvError};

use crate::ports::{Notice, NoticeReceiver};

/// How many notices a receiver may be behind.
const CAPACITY: usize = 1_024;

#[derive(Debug)]
pub(crate) struct LocalBus(broadcast::Sender<Notice>);

impl LocalBus {
    pub(crate) fn new() -> Self {
        Self(broadcast::Sender::new(CAPACITY))
    }

    pub(crate) fn publish(&self, notice: Notice) {
        // An error says only that nobody listens.
        let _ = self.0.send(notice);
    }

    pub(crate) fn subscribe(&self) -> Box<dyn NoticeReceiver> {
        Box::new(LocalReceiver(self.0.subscribe()))
    }
}

#[derive(Debug)]
struct LocalReceiver(broadcast::Receiver<Notice>);

#[async_trait]
impl NoticeReceiver for LocalReceiver {
    async fn next(&mut self) -> Option<Notice> {
        match self.0.recv().await {
            Ok(notice) => Some(notice),
            Err(RecvError::Lagged(_)) => Some(Notice::Lagged),
            Err(RecvError::Closed) => None,
        }
    }
}
