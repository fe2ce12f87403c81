//! Hears the notices of other nodes from Redis.

use async_trait::async_trait;
use fred::types::Message;
use fred::types::config::Server;
use tokio::sync::broadcast::{Receiver, error::RecvError};

use crate::adapters::notices::decode;
use crate::ports::{Notice, NoticeReceiver};

/// Hears the channel, and of each reconnection: what was said in between is lost.
#[derive(Debug)]
pub(super) struct RedisReceiver {
    messages: Receiver<Message>,
    reconnections: Receiver<Server>,
    reconnects: bool,
}

impl RedisReceiver {
    pub(super) fn new(messages: Receiver<Message>, reconnections: Receiver<Server>) -> Self {
        Self { messages, reconnections, reconnects: true }
    }
}

#[async_trait]
impl NoticeReceiver for RedisReceiver {
    async fn next(&mut self) -> Option<Notice> {
        loop {
            tokio::select! {
                message = self.messages.recv() => match message {
                    Ok(message) => {
                        let notice = message.value.into_bytes().and_then(decode);
                        if notice.is_some() {
                            return notice;
                        }
                    }
                    Err(RecvError::Lagged(_)) => return Some(Notice::Lagged),
                    Err(RecvError::Closed) => return None,
                },
                server = self.reconnections.recv(), if self.reconnects => match server {
                    Err(RecvError::Closed) => self.reconnects = false,
                    Ok(_) | Err(RecvError::Lagged(_)) => return Some(Notice::Lagged),
                },
            }
        }
    }
}
