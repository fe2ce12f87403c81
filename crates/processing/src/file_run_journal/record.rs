//! The bodies of a journal's records. Reading never trusts a length.

use bytes::Bytes;
use wavequill_kernel::ContentHash;

use std::time::Duration;

use crate::{ByteSize, CutQuality, PlannedChunk, SampleIndex, SampleSpan, SplitCause, TaskId, TooLarge};

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Record {
    Header {
        recording: ContentHash,
        request: ContentHash,
    },
    Plan(Vec<PlannedChunk>),
    Dispatched {
        task: TaskId,
        chunk: ContentHash,
    },
    /// The transcript is the last field: it is read from the file by itself.
    Finished {
        task: TaskId,
        chunk: ContentHash,
        transcript: Bytes,
    },
    Failed {
        task: TaskId,
        chunk: ContentHash,
        why: String,
    },
    Split {
        task: TaskId,
        chunk: ContentHash,
        cause: SplitCause,
    },
    Done,
}

const HEADER: u8 = 0;
const PLAN: u8 = 1;
const DISPATCHED: u8 = 2;
const FINISHED: u8 = 3;
const FAILED: u8 = 4;
const SPLIT: u8 = 5;
const DONE: u8 = 6;

impl Record {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        let mut named = |kind: u8, task: &TaskId, chunk: &ContentHash| {
            out.push(kind);
            out.extend(task.to_bytes());
            out.extend(chunk.to_bytes());
        };
        match self {
            Self::Header { recording, request } => {
                out.push(HEADER);
                out.extend(recording.to_bytes());
                out.extend(request.to_bytes());
            }
            Self::Plan(chunks) => {
                out.push(PLAN);
                for chunk in chunks {
                    for span in [chunk.owned, chunk.heard] {
                        out.extend(span.start().get().to_le_bytes());
                        out.extend(span.end().get().to_le_bytes());
                    }
                    out.push(u8::from(chunk.cut == CutQuality::Blind));
                }
            }
            Self::Dispatched { task, chunk } => named(DISPATCHED, task, chunk),
            Self::Finished { task, chunk, transcript } => {
                named(FINISHED, task, chunk);
                out.extend_from_slice(transcript);
            }
            Self::Failed { task, chunk, why } => {
                named(FAILED, task, chunk);
                out.extend_from_slice(why.as_bytes());
            }
            Self::Split { task, chunk, cause } => {
                named(SPLIT, task, chunk);
                put_cause(&mut out, *cause);
            }
            Self::Done => out.push(DONE),
        }
        out
    }

    /// `None` if it is no record that this version writes.
    pub(super) fn decode(body: &[u8]) -> Option<Self> {
        let (kind, rest) = body.split_first()?;
        match *kind {
            HEADER => {
                let (recording, rest) = hash(rest)?;
                let (request, rest) = hash(rest)?;
                rest.is_empty().then_some(Self::Header { recording, request })
            }
            PLAN => plan(rest).map(Self::Plan),
            DONE => rest.is_empty().then_some(Self::Done),
            _ => {
                let (task, rest) = rest.split_first_chunk()?;
                let task = TaskId::from_bytes(*task);
                let (chunk, rest) = hash(rest)?;
                match *kind {
                    DISPATCHED => rest.is_empty().then_some(Self::Dispatched { task, chunk }),
                    FINISHED => {
                        Some(Self::Finished { task, chunk, transcript: Bytes::copy_from_slice(rest) })
                    }
                    FAILED => Some(Self::Failed { task, chunk, why: String::from_utf8(rest.to_vec()).ok()? }),
                    SPLIT => Some(Self::Split { task, chunk, cause: cause(rest)? }),
                    _ => None,
                }
            }
        }
    }
}

fn hash(bytes: &[u8]) -> Option<(ContentHash, &[u8])> {
    let (hash, rest) = bytes.split_first_chunk()?;
    Some((ContentHash::from_bytes(hash), rest))
}

fn plan(mut rest: &[u8]) -> Option<Vec<PlannedChunk>> {
    let mut chunks = Vec::with_capacity(rest.len() / 33);
    while !rest.is_empty() {
        let (owned, after) = span(rest)?;
        let (heard, after) = span(after)?;
        let (cut, after) = after.split_first()?;
        let cut = match *cut {
            0 => CutQuality::Pause,
            1 => CutQuality::Blind,
            _ => return None,
        };
        chunks.push(PlannedChunk { owned, heard, cut });
        rest = after;
    }
    Some(chunks)
}

fn span(bytes: &[u8]) -> Option<(SampleSpan, &[u8])> {
    let (start, rest) = bytes.split_first_chunk()?;
    let (end, rest) = rest.split_first_chunk()?;
    let at = |bytes: [u8; 8]| SampleIndex::new(u64::from_le_bytes(bytes));
    Some((SampleSpan::new(at(*start), at(*end)), rest))
}

/// A kind, then the limit, zero for one that is not known.
fn put_cause(out: &mut Vec<u8>, cause: SplitCause) {
    let (kind, limit) = match cause {
        SplitCause::TimedOut => (0, 0),
        SplitCause::TooLarge(TooLarge::Bytes { limit }) => (1, limit.map_or(0, ByteSize::bytes)),
        SplitCause::TooLarge(TooLarge::Duration { limit }) => {
            (2, limit.map_or(0, |limit| u64::try_from(limit.as_micros()).unwrap_or(u64::MAX)))
        }
    };
    out.push(kind);
    out.extend(limit.to_le_bytes());
}

fn cause(bytes: &[u8]) -> Option<SplitCause> {
    let (kind, limit) = bytes.split_first()?;
    let limit = u64::from_le_bytes(limit.try_into().ok()?);
    let known = (limit > 0).then_some(limit);
    match *kind {
        0 => Some(SplitCause::TimedOut),
        1 => Some(SplitCause::TooLarge(TooLarge::Bytes { limit: known.map(ByteSize::new) })),
        2 => Some(SplitCause::TooLarge(TooLarge::Duration { limit: known.map(Duration::from_micros) })),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn hashes() -> impl Strategy<Value = ContentHash> {
        any::<([u8; 32], u64)>().prop_map(|(digest, len)| ContentHash::new(digest, len))
    }

    fn records() -> impl Strategy<Value = Record> {
        let task = (any::<u64>(), any::<u32>()).prop_map(|(index, part)| TaskId::of_chunk(index).part(part));
        let cause = prop_oneof![
            Just(SplitCause::TimedOut),
            proptest::option::of(1_u64..u64::MAX).prop_map(|limit| {
                SplitCause::TooLarge(TooLarge::Bytes { limit: limit.map(ByteSize::new) })
            }),
            proptest::option::of(1_u64..1 << 60).prop_map(|limit| {
                SplitCause::TooLarge(TooLarge::Duration { limit: limit.map(Duration::from_micros) })
            }),
        ];
        (0..5_u8, task, hashes(), hashes(), any::<String>(), cause).prop_map(
            |(kind, task, chunk, request, text, cause)| match kind {
                0 => Record::Header { recording: chunk, request },
                1 => Record::Dispatched { task, chunk },
                2 => Record::Finished { task, chunk, transcript: text.into_bytes().into() },
                3 => Record::Failed { task, chunk, why: text },
                _ => Record::Split { task, chunk, cause },
            },
        )
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(record in records()) {
            prop_assert_eq!(Record::decode(&record.encode()), Some(record));
        }

        #[test]
        fn any_bytes_are_read_or_refused_without_a_panic(bytes: Vec<u8>) {
            if let Some(record) = Record::decode(&bytes) {
                prop_assert_eq!(Record::decode(&record.encode()), Some(record));
            }
        }
    }
}
