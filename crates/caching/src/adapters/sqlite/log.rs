//! The log and the leases.

use std::time::Duration;

use diesel::prelude::*;
use diesel::{QueryResult, SqliteConnection};

use super::rows::BINDS;
use super::schema::{cache_bump, cache_head, cache_lease};
use crate::adapters::entries::subject_of;
use crate::ports::{Bump, LeaseAttempt, LeaseToken, LogPage};
use crate::{CacheKey, LogId, LogPosition, Subject};

/// The log's last position.
pub(super) fn head(conn: &mut SqliteConnection) -> QueryResult<LogPosition> {
    let (id, seq): (Vec<u8>, i64) =
        cache_head::table.select((cache_head::log_id, cache_head::seq)).first(conn)?;
    let mut bytes = [0; 16];
    for (to, from) in bytes.iter_mut().zip(id) {
        *to = from;
    }
    Ok(LogPosition { log: LogId::from_bytes(bytes), seq: seq as u64 })
}

/// Bumps subjects, one position each.
pub(super) fn append(
    conn: &mut SqliteConnection,
    subjects: &[Subject],
    now: u64,
) -> QueryResult<LogPosition> {
    let mut position = head(conn)?;
    for subject in subjects {
        position.seq += 1;
        let bump = (
            cache_bump::subject.eq(subject.as_bytes().as_slice()),
            cache_bump::seq.eq(position.seq as i64),
            cache_bump::at.eq(now as i64),
        );
        diesel::replace_into(cache_bump::table).values(bump).execute(conn)?;
    }
    diesel::update(cache_head::table).set(cache_head::seq.eq(position.seq as i64)).execute(conn)?;
    Ok(position)
}

/// The bumps after a position, in one snapshot with the head.
pub(super) fn since(conn: &mut SqliteConnection, seq: u64, limit: u32) -> QueryResult<LogPage> {
    conn.transaction(|conn| {
        let head = head(conn)?;
        if head.seq == seq {
            return Ok(LogPage { head, bumps: Vec::new() });
        }
        let rows: Vec<(Vec<u8>, i64)> = cache_bump::table
            .filter(cache_bump::seq.gt(seq as i64))
            .order(cache_bump::seq)
            .limit(i64::from(limit))
            .select((cache_bump::subject, cache_bump::seq))
            .load(conn)?;
        let bump =
            |(subject, seq): (Vec<u8>, i64)| Some(Bump { subject: subject_of(&subject)?, seq: seq as u64 });
        Ok(LogPage { head, bumps: rows.into_iter().filter_map(bump).collect() })
    })
}

/// Tries for leases.
pub(super) fn acquire(
    conn: &mut SqliteConnection,
    keys: &[CacheKey],
    token: LeaseToken,
    now: u64,
    ttl: Duration,
) -> QueryResult<Vec<LeaseAttempt>> {
    let mut attempts = Vec::with_capacity(keys.len());
    for key in keys {
        let held: Option<(Vec<u8>, i64)> = cache_lease::table
            .filter(cache_lease::digest.eq(key.digest().as_slice()))
            .select((cache_lease::token, cache_lease::expires_at))
            .first(conn)
            .optional()?;
        let remaining = held.filter(|(holder, _)| holder[..] != token.0).map(|(_, until)| until - now as i64);
        if let Some(remaining) = remaining.filter(|remaining| *remaining > 0) {
            attempts.push(LeaseAttempt::Held { remaining: Duration::from_millis(remaining as u64) });
            continue;
        }
        let lease = (
            cache_lease::digest.eq(key.digest().as_slice()),
            cache_lease::token.eq(token.0.as_slice()),
            cache_lease::expires_at.eq(until(now, ttl)),
        );
        diesel::replace_into(cache_lease::table).values(lease).execute(conn)?;
        attempts.push(LeaseAttempt::Acquired);
    }
    Ok(attempts)
}

/// Prolongs leases that are still held.
pub(super) fn renew(
    conn: &mut SqliteConnection,
    keys: &[CacheKey],
    token: LeaseToken,
    now: u64,
    ttl: Duration,
) -> QueryResult<Vec<bool>> {
    let renew = |key: &CacheKey| {
        let held = cache_lease::table
            .filter(cache_lease::digest.eq(key.digest().as_slice()))
            .filter(cache_lease::token.eq(token.0.as_slice()))
            .filter(cache_lease::expires_at.gt(now as i64));
        let renewed =
            diesel::update(held).set(cache_lease::expires_at.eq(until(now, ttl))).execute(&mut *conn)?;
        Ok(renewed > 0)
    };
    keys.iter().map(renew).collect()
}

/// Gives leases back.
pub(super) fn release(conn: &mut SqliteConnection, keys: &[CacheKey], token: LeaseToken) -> QueryResult<()> {
    for some in keys.chunks(BINDS) {
        let digests: Vec<_> = some.iter().map(|key| key.digest().as_slice()).collect();
        let held = cache_lease::table
            .filter(cache_lease::digest.eq_any(digests))
            .filter(cache_lease::token.eq(token.0.as_slice()));
        diesel::delete(held).execute(conn)?;
    }
    Ok(())
}

fn until(now: u64, ttl: Duration) -> i64 {
    now.saturating_add(ttl.as_millis() as u64) as i64
}
