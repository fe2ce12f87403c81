//! Notices as messages: `b`, log id, position; or `e` and subjects of 16 bytes each. What cannot be read is lost.

use bytes::{Buf, BufMut, Bytes};

use crate::ports::Notice;
use crate::{LogId, LogPosition, Subject};

/// The messages of a notice, each of at most so many subjects.
pub(super) fn encode(notice: &Notice, subjects_each: usize) -> Vec<Bytes> {
    match notice {
        Notice::Bumped(position) => {
            let mut message = vec![b'b'];
            message.put_slice(position.log.as_bytes());
            message.put_u64(position.seq);
            vec![message.into()]
        }
        Notice::Ended(subjects) => subjects
            .chunks(subjects_each.max(1))
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

/// The notice of a message.
pub(super) fn decode(mut message: Bytes) -> Option<Notice> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_notice_is_read_as_it_was_sent(log: [u8; 16], seq: u64, subjects: Vec<[u8; 16]>) {
            let bumped = Notice::Bumped(LogPosition { log: LogId::from_bytes(log), seq });
            prop_assert_eq!(encode(&bumped, 3).into_iter().filter_map(decode).collect::<Vec<_>>(), vec![bumped]);
            let subjects: Vec<_> = subjects.into_iter().map(Subject::from_bytes).collect();
            let read: Vec<_> = encode(&Notice::Ended(subjects.clone()), 3)
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
                prop_assert_eq!(encode(&notice, usize::MAX).concat(), message);
            }
        }
    }

    #[test]
    fn a_notice_of_many_subjects_is_several_messages() {
        let messages = encode(&Notice::Ended(vec![Subject::everything(); 1_000]), 400);
        assert_eq!(messages.iter().map(Bytes::len).collect::<Vec<_>>(), [6_401, 6_401, 3_201]);
    }
}
