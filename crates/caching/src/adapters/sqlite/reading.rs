//! Reads entries and decides in the same snapshot which of them live.

use std::collections::HashMap;

use bytes::Bytes;
use diesel::prelude::*;
use diesel::{QueryResult, SqliteConnection};

use super::log;
use super::rows::{self, BINDS, Bumps};
use super::schema::{cache_entry, cache_hot};
use crate::memory_store::worth;
use crate::ports::HotKey;
use crate::{CacheKey, LogPosition};

/// Envelopes by digest.
type Envelopes = HashMap<Vec<u8>, Bytes>;

/// Digest, namespace, content, hits, cost, bytes.
type HotColumns = (Vec<u8>, String, Vec<u8>, i64, i64, i64);

/// The envelopes of the keys that live, and the log's head.
pub(super) fn living(
    conn: &mut SqliteConnection,
    keys: &[CacheKey],
) -> QueryResult<(Envelopes, LogPosition)> {
    conn.transaction(|conn| {
        let head = log::head(conn)?;
        let digests: Vec<_> = keys.iter().map(|key| key.digest().to_vec()).collect();
        let rows = rows::load(conn, &digests)?;
        // Nothing was bumped since the oldest of them was stored: all live, if they have an owner.
        let bumps = if rows.values().all(|row| row.as_of as u64 == head.seq) {
            Bumps::default()
        } else {
            Bumps::load(conn, rows::all_subjects(rows.values()))?
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
    let mut hot: Vec<_> = rows
        .into_iter()
        .filter_map(|(digest, namespace, content, hits, cost, bytes)| {
            let key = rows::key_of(&namespace, &digest, &content)?;
            Some(HotKey { key, hits: hits as u64, cost: cost as u64, bytes: bytes as u64 })
        })
        .collect();
    hot.sort_by_key(|hot| std::cmp::Reverse(worth(hot)));
    hot.truncate(limit as usize);
    Ok(hot)
}
