//! Reads entries and decides in the same snapshot which of them live.

use std::collections::HashMap;

use bytes::Bytes;
use diesel::prelude::*;
use diesel::{QueryResult, SqliteConnection};

use super::log;
use super::rows::{self, BINDS};
use super::schema::{cache_entry, cache_hot};
use crate::adapters::entries::{Bumps, HotColumns, all_subjects, digests, hot_keys};
use crate::ports::HotKey;
use crate::{CacheKey, LogPosition};

/// Envelopes by digest.
type Envelopes = HashMap<Vec<u8>, Bytes>;

/// The envelopes of the keys that live, and the log's head.
pub(super) fn living(
    conn: &mut SqliteConnection,
    keys: &[CacheKey],
) -> QueryResult<(Envelopes, LogPosition)> {
    conn.transaction(|conn| {
        let head = log::head(conn)?;
        let rows = rows::load(conn, &digests(keys))?;
        // Nothing was bumped since the oldest of them was stored: all live, if they have an owner.
        let bumps = if rows.values().all(|row| row.as_of as u64 == head.seq) {
            Bumps::default()
        } else {
            rows::bumps(conn, all_subjects(rows.values()))?
        };
        let living: Vec<_> =
            rows.into_iter().filter(|(_, row)| row.is_alive(&bumps)).map(|(digest, _)| digest).collect();
        let mut envelopes = HashMap::with_capacity(living.len());
        for some in living.chunks(BINDS) {
            let found: Vec<(Vec<u8>, Vec<u8>)> = cache_entry::table
                .filter(cache_entry::digest.eq_any(some))
                .select((cache_entry::digest, cache_entry::envelope))
                .load(conn)?;
            envelopes.extend(found.into_iter().map(|(digest, envelope)| (digest, Bytes::from(envelope))));
        }
        Ok((envelopes, head))
    })
}

/// How many entries there are.
pub(super) fn count(conn: &mut SqliteConnection) -> QueryResult<u64> {
    let count: i64 = cache_entry::table.count().get_result(conn)?;
    Ok(count as u64)
}

/// The remembered hot set, the most worth first.
pub(super) fn hot(conn: &mut SqliteConnection, limit: u32) -> QueryResult<Vec<HotKey>> {
    let rows: Vec<HotColumns> = cache_hot::table.load(conn)?;
    Ok(hot_keys(rows, limit))
}
