//! Reads entries: one statement, whose snapshot decides which of them live.

use std::collections::HashMap;

use bytes::Bytes;
use diesel::sql_types::{Array, BigInt, Binary, Nullable, Text};
use diesel::{QueryResult, QueryableByName, sql_query};
use wavequill_database::adapters::diesel_async_0_9::diesel_async::{AsyncPgConnection, RunQueryDsl};

use super::rows::{CountRow, HeadRow};
use crate::adapters::entries::{Digest, HotColumns, digests, hot_keys};
use crate::ports::{HotKey, TierRead};
use crate::{CacheKey, Count};

#[derive(QueryableByName)]
struct LivingRow {
    #[diesel(embed)]
    head: HeadRow,
    #[diesel(sql_type = Nullable<Binary>)]
    digest: Option<Digest>,
    #[diesel(sql_type = Nullable<Binary>)]
    envelope: Option<Vec<u8>>,
}

/// Whether an entry `e` lives, under the head `h` of the same snapshot. One stored under the head itself needs no look
/// at the bumps.
pub(super) const ALIVE: &str = "(e.as_of = h.seq OR NOT EXISTS (SELECT FROM cache_bump b \
         WHERE b.subject = ANY(e.subjects) AND b.seq > e.as_of)) \
     AND (NOT e.owned OR EXISTS (SELECT FROM cache_owner o WHERE o.digest = e.digest \
         AND NOT EXISTS (SELECT FROM cache_bump b WHERE b.subject = o.owner AND b.seq > o.as_of)))";

/// The envelopes of the keys that live, and the log's head.
pub(super) async fn living(conn: &mut AsyncPgConnection, keys: &[CacheKey]) -> QueryResult<TierRead> {
    let rows: Vec<LivingRow> = sql_query(format!(
        "SELECT h.log_id, h.seq, e.digest, e.envelope FROM cache_head h \
         LEFT JOIN cache_entry e ON e.digest = ANY($1) AND {ALIVE}"
    ))
    .bind::<Array<Binary>, _>(digests(keys))
    .load(conn)
    .await?;
    let as_of = <[LivingRow]>::first(&rows).map(|row| row.head.position());
    let living: HashMap<_, _> =
        rows.into_iter().filter_map(|row| Some((row.digest?, Bytes::from(row.envelope?)))).collect();
    let envelopes = keys.iter().map(|key| living.get(key.digest().as_slice()).cloned()).collect();
    Ok(TierRead { envelopes, as_of })
}

/// How many entries the server thinks there are; it knows once it has looked through the table.
pub(super) async fn count(conn: &mut AsyncPgConnection) -> QueryResult<Count> {
    let row: CountRow =
        sql_query("SELECT reltuples::bigint AS count FROM pg_class WHERE oid = 'cache_entry'::regclass")
            .get_result(conn)
            .await?;
    Ok(u64::try_from(row.count).map_or(Count::Unknown, Count::Estimate))
}

#[derive(QueryableByName)]
struct HotRow {
    #[diesel(sql_type = Binary)]
    digest: Digest,
    #[diesel(sql_type = Text)]
    namespace: String,
    #[diesel(sql_type = Binary)]
    content: Vec<u8>,
    #[diesel(sql_type = BigInt)]
    hits: i64,
    #[diesel(sql_type = BigInt)]
    cost: i64,
    #[diesel(sql_type = BigInt)]
    bytes: i64,
}

/// The remembered hot set, the most worth first.
pub(super) async fn hot(conn: &mut AsyncPgConnection, limit: u32) -> QueryResult<Vec<HotKey>> {
    let rows: Vec<HotRow> =
        sql_query("SELECT digest, namespace, content, hits, cost, bytes FROM cache_hot").load(conn).await?;
    let columns = |row: HotRow| -> HotColumns {
        (row.digest, row.namespace, row.content, row.hits, row.cost, row.bytes)
    };
    Ok(hot_keys(rows.into_iter().map(columns).collect(), limit))
}
