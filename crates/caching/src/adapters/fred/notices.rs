//! Notices as messages: `b`, log id, position; or `e` and subjects of 16 bytes each. What cannot be read is lost.

use async_trait::async_trait;
use bytes::{Buf, BufMut, Bytes};
use fred::types::Message;
use fred::types::config::Server;
use tokio::sync::broadcast::{Receiver, error::RecvError};

use crate::ports::{Notice, NoticeReceiver};
use crate::{LogId, LogPosition, Subject};

/// How many subjects one message carries.
const SUBJECTS: usize = 400;

/// The messages of a notice.
pub(super) fn encode(notice: &Notice) -> Vec<Bytes> {
    match notice {
        Notice::Bumped(position) => {
            let mut message = vec![b'b'];
            message.put_slice(position.log.as_bytes());
            message.put_u64(position.seq);
            vec![message.into()]
        }
        Notice::Ended(subjects) => subjects
            .chunks(SUBJECTS)
            .map(|some| {
                let mut message = vec![b'e'];
                for subject in some {
                    message.put_slice(subject.as_bytes());
                }
                message.into()
            })
            .collect(),
        // A node loses notices for itself only.
        Notice::Lagged => Vec::new(),
    }
}

fn decode(mut message: Bytes) -> Option<Notice> {
    let kind = message.try_get_u8().ok()?;
    match kind {
        b'b' if message.len() == 24 => {
            let mut log = [0; 16];
            message.copy_to_slice(&mut log);
            Some(Notice::Bumped(LogPosition { log: LogId::from_bytes(log), seq: message.get_u64() }))
        }
        b'e' if message.len().is_multiple_of(Subject::LEN) => {
            let subject = |bytes: &[u8]| bytes.try_into().ok().map(Subject::from_bytes);
            Some(Notice::Ended(message.chunks_exact(Subject::LEN).filter_map(subject).collect()))
        }
        _ => None,
    }
}

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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_notice_is_read_as_it_was_sent(log: [u8; 16], seq: u64, subjects: Vec<[u8; 16]>) {
            let bumped = Notice::Bumped(LogPosition { log: LogId::from_bytes(log), seq });
            prop_assert_eq!(encode(&bumped).into_iter().filter_map(decode).collect::<Vec<_>>(), vec![bumped]);
            let subjects: Vec<_> = subjects.into_iter().map(Subject::from_bytes).collect();
            let read: Vec<_> = encode(&Notice::Ended(subjects.clone()))
                .into_iter()
                .filter_map(decode)
                .flat_map(|notice| match notice {
                    Notice::Ended(subjects) => subjects,
                    Notice::Bumped(_) | Notice::Lagged => Vec::new(),
                })
                .collect();
            prop_assert_eq!(read, subjects);
        }

        #[test]
        fn any_message_is_read_or_ignored_without_a_panic(message: Vec<u8>) {
            if let Some(notice) = decode(message.clone().into()) {
                prop_assert_eq!(encode(&notice).concat(), message);
            }
        }
    }

    #[test]
    fn a_notice_of_many_subjects_is_several_messages_below_eight_kilobytes() {
        let messages = encode(&Notice::Ended(vec![Subject::everything(); 1_000]));
        assert_eq!(messages.len(), 3);
        assert!(messages.iter().all(|message| message.len() < 8_000));
    }
}
