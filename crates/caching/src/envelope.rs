//! How L2 and L3 keep an entry: one block of bytes that proves what it is. Pure; the levels do the I/O.
//!
//! Little-endian: `WQC1`; one byte each: format, flags, compression, codec; `u16` schema; digest 32; content 40;
//! created, expires, stale-until `u64` milliseconds; log id 16, position `u64`; load `u32` ms, audio `u64` ms, cost
//! `u64` millionths of a dollar; subjects `u8`, owners among them `u8`, 16 bytes each; length of the body and of what
//! is stored, `u32` each; the stored bytes; SHA-256 of all before it, cut to 16 bytes.

use std::time::{Duration, SystemTime};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use sha2::{Digest, Sha256};

use crate::model::ValueParts;
use crate::{
    CacheKey, CacheValue, Codec, LogId, LogPosition, MissCost, NegativeCause, Outcome, PutPolicy, Subject,
};

const MAGIC: &[u8; 4] = b"WQC1";
const FORMAT: u8 = 1;
/// All fields before the subjects.
const HEAD: usize = 4 + 4 + 2 + 32 + 40 + 24 + 24 + 20 + 2;
const CHECKSUM: usize = 16;
const NEGATIVE: u8 = 1;
const IMMUTABLE: u8 = 2;
const POSITIONED: u8 = 4;
const PLAIN: u8 = 0;
const LZ4: u8 = 1;
/// The most that LZ4 can shrink a block: one byte of input for 255 of output.
const LZ4_LIMIT: usize = 255;

/// What an envelope holds.
#[derive(Clone, Debug)]
pub(crate) struct Opened {
    pub(crate) value: CacheValue,
    /// The position that it was stored under, where its writer knew.
    pub(crate) as_of: Option<LogPosition>,
}

/// Why bytes are no envelope of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Damage {
    #[error("it is shorter than its fields say")]
    Truncated,
    #[error("it is no envelope of this format")]
    Foreign,
    #[error("it is the envelope of another key")]
    OtherKey,
    #[error("its checksum does not fit")]
    Checksum,
    #[error("its lengths cannot be true")]
    Lengths,
    #[error("its body does not decompress")]
    Compression,
}

/// Writes an entry. Bodies from `compress_from` bytes on are compressed if that makes them smaller.
pub(crate) fn seal(
    key: &CacheKey,
    value: &CacheValue,
    as_of: Option<LogPosition>,
    compress_from: u64,
) -> Bytes {
    let parts = value.parts();
    let compressed = (parts.body.len() as u64 >= compress_from)
        .then(|| lz4_flex::block::compress(&parts.body))
        .filter(|compressed| compressed.len() < parts.body.len());
    let (compression, stored) = match &compressed {
        Some(compressed) => (LZ4, compressed.as_slice()),
        None => (PLAIN, parts.body.as_ref()),
    };
    let mut out =
        BytesMut::with_capacity(HEAD + parts.subjects.len() * Subject::LEN + 8 + stored.len() + CHECKSUM);
    out.put_slice(MAGIC);
    out.put_slice(&[FORMAT, flags(parts, as_of), compression, codec_byte(parts.codec)]);
    out.put_u16_le(parts.schema);
    out.put_slice(key.digest());
    out.put_slice(&key.content().to_bytes());
    for time in [parts.created_at, parts.expires_at, parts.stale_until] {
        out.put_u64_le(to_ms(time));
    }
    out.put_slice(as_of.map_or([0; 16], |position| *position.log.as_bytes()).as_slice());
    out.put_u64_le(as_of.map_or(0, |position| position.seq));
    out.put_u32_le(u32::try_from(parts.cost.load_time.as_millis()).unwrap_or(u32::MAX));
    out.put_u64_le(parts.cost.audio.as_millis() as u64);
    out.put_u64_le(parts.cost.micro_dollars);
    out.put_u8(parts.subjects.len() as u8);
    out.put_u8(parts.owner_count);
    for subject in &parts.subjects {
        out.put_slice(subject.as_bytes());
    }
    out.put_u32_le(parts.body.len() as u32);
    out.put_u32_le(stored.len() as u32);
    out.put_slice(stored);
    let checksum = Sha256::digest(&out);
    out.extend(checksum.into_iter().take(CHECKSUM));
    out.freeze()
}

/// Reads an entry, and checks that it is this key's, whole and unchanged. Nothing is allocated before its length is
/// known to be true and at most `max_body`.
pub(crate) fn open(key: &CacheKey, envelope: &Bytes, max_body: u64) -> Result<Opened, Damage> {
    let Some(sealed_len) = envelope.len().checked_sub(CHECKSUM).filter(|len| *len >= HEAD + 8) else {
        return Err(Damage::Truncated);
    };
    let mut sealed = envelope.slice(..sealed_len);
    if !sealed.starts_with(MAGIC) || sealed.get(4) != Some(&FORMAT) {
        return Err(Damage::Foreign);
    }
    let checksum = Sha256::digest(&sealed);
    if !envelope.slice(sealed_len..).iter().eq(checksum.iter().take(CHECKSUM)) {
        return Err(Damage::Checksum);
    }
    sealed.advance(5);
    let (flags, compression, codec) = (sealed.get_u8(), sealed.get_u8(), sealed.get_u8());
    let schema = sealed.get_u16_le();
    if sealed.split_to(32) != key.digest()[..] || sealed.split_to(40) != key.content().to_bytes()[..] {
        return Err(Damage::OtherKey);
    }
    let times = [sealed.get_u64_le(), sealed.get_u64_le(), sealed.get_u64_le()].map(from_ms);
    let mut log = [0; 16];
    sealed.copy_to_slice(&mut log);
    let seq = sealed.get_u64_le();
    let cost = MissCost {
        load_time: Duration::from_millis(u64::from(sealed.get_u32_le())),
        audio: Duration::from_millis(sealed.get_u64_le()),
        micro_dollars: sealed.get_u64_le(),
    };
    let (subject_count, owner_count) = (sealed.get_u8(), sealed.get_u8());
    let subjects = subjects(&mut sealed, subject_count, owner_count)?;
    if !subjects.contains(&Subject::of_namespace(key.namespace())) {
        return Err(Damage::OtherKey);
    }
    let [created_at, expires_at, stale_until] = times;
    let value = CacheValue::from_parts(ValueParts {
        body: body(sealed, compression, max_body)?,
        codec: codec_of(codec).ok_or(Damage::Foreign)?,
        schema,
        outcome: outcome_of(flags).ok_or(Damage::Foreign)?,
        subjects,
        owner_count,
        cost,
        policy: if flags & IMMUTABLE == 0 { PutPolicy::Replace } else { PutPolicy::KeepFirst },
        created_at,
        expires_at,
        stale_until,
    });
    let as_of = (flags & POSITIONED != 0).then(|| LogPosition { log: LogId::from_bytes(log), seq });
    Ok(Opened { value, as_of })
}

fn subjects(sealed: &mut Bytes, count: u8, owners: u8) -> Result<Box<[Subject]>, Damage> {
    let len = usize::from(count) * Subject::LEN;
    if owners > count || sealed.len() < len + 8 {
        return Err(Damage::Lengths);
    }
    let mut subjects = Vec::with_capacity(usize::from(count));
    for _ in 0..count {
        let mut subject = [0; Subject::LEN];
        sealed.copy_to_slice(&mut subject);
        subjects.push(Subject::from_bytes(subject));
    }
    Ok(subjects.into())
}

fn body(mut sealed: Bytes, compression: u8, max_body: u64) -> Result<Bytes, Damage> {
    let (body_len, stored_len) = (sealed.get_u32_le() as usize, sealed.get_u32_le() as usize);
    if sealed.len() != stored_len || body_len as u64 > max_body {
        return Err(Damage::Lengths);
    }
    match compression {
        PLAIN if body_len == stored_len => Ok(sealed),
        LZ4 if body_len / LZ4_LIMIT <= stored_len => {
            let body = lz4_flex::block::decompress(&sealed, body_len).map_err(|_| Damage::Compression)?;
            if body.len() == body_len { Ok(body.into()) } else { Err(Damage::Compression) }
        }
        PLAIN | LZ4 => Err(Damage::Lengths),
        _ => Err(Damage::Foreign),
    }
}

fn flags(parts: &ValueParts, as_of: Option<LogPosition>) -> u8 {
    let negative = match parts.outcome {
        Outcome::Present => 0,
        Outcome::Negative(cause) => {
            let cause = match cause {
                NegativeCause::Empty => 0,
                NegativeCause::Unreadable => 1,
                NegativeCause::TooLarge => 2,
                NegativeCause::Refused => 3,
            };
            NEGATIVE | cause << 4
        }
    };
    let immutable = if parts.policy == PutPolicy::KeepFirst { IMMUTABLE } else { 0 };
    negative | immutable | if as_of.is_some() { POSITIONED } else { 0 }
}

fn outcome_of(flags: u8) -> Option<Outcome> {
    let cause = match flags >> 4 {
        0 => NegativeCause::Empty,
        1 => NegativeCause::Unreadable,
        2 => NegativeCause::TooLarge,
        3 => NegativeCause::Refused,
        _ => return None,
    };
    Some(if flags & NEGATIVE == 0 { Outcome::Present } else { Outcome::Negative(cause) })
}

fn codec_byte(codec: Codec) -> u8 {
    match codec {
        Codec::Verbatim => 0,
        Codec::Json => 1,
        Codec::Postcard => 2,
    }
}

fn codec_of(byte: u8) -> Option<Codec> {
    match byte {
        0 => Some(Codec::Verbatim),
        1 => Some(Codec::Json),
        2 => Some(Codec::Postcard),
        _ => None,
    }
}

/// Milliseconds since 1970; what was before is 1970.
pub(crate) fn to_ms(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}

/// The time of so many milliseconds since 1970; what no clock can show is as late as it can.
pub(crate) fn from_ms(ms: u64) -> SystemTime {
    let latest = Duration::from_secs(u64::from(u32::MAX) * 64);
    SystemTime::UNIX_EPOCH + Duration::from_millis(ms).min(latest)
}

#[cfg(test)]
#[path = "envelope/tests.rs"]
mod tests;
