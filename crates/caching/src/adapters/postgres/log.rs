//! The log and the leases. Leases end by the server's clock, so the clocks of nodes do not matter.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use diesel::sql_types::{Array, BigInt, Binary};
use diesel::{QueryResult, QueryableByName, sql_query};
use wavequill_database::adapters::diesel_async_0_9::diesel_async::{AsyncPgConnection, RunQueryDsl};

use super::rows::{DigestRow, HeadRow, head_and_bumps};
use crate::adapters::entries::digests;
use crate::ports::{Bump, LeaseAttempt, LeaseToken, LogPage};
use crate::{CacheKey, LogPosition, Subject};

/// The log's last position.
pub(super) async fn head(conn: &mut AsyncPgConnection) -> QueryResult<LogPosition> {
    let row: HeadRow = sql_query("SELECT log_id, seq FROM cache_head").get_result(conn).await?;
    Ok(row.position())
}

/// Bumps subjects, one position each, in one statement. The row of the head keeps appends in line, so positions
/// become visible in order.
pub(super) async fn append(conn: &mut AsyncPgConnection, subjects: &[Subject]) -> QueryResult<LogPosition> {
    // Of a subject that is named twice, only the last bump is kept.
    let last: HashMap<&Subject, i64> = subjects.iter().zip(1..).collect();
    let (named, places): (Vec<_>, Vec<_>) =
        last.into_iter().map(|(subject, place)| (subject.as_bytes().as_slice(), place)).unzip();
    let row: HeadRow = sql_query(
        "WITH head AS (UPDATE cache_head SET seq = seq + $1 RETURNING log_id, seq), \
         bumped AS (INSERT INTO cache_bump (subject, seq, at) \
             SELECT s.subject, head.seq - $1 + s.place, (extract(epoch FROM clock_timestamp()) * 1000)::bigint \
             FROM head, unnest($2, $3) AS s (subject, place) \
             ON CONFLICT (subject) DO UPDATE SET seq = excluded.seq, at = excluded.at) \
         SELECT log_id, seq FROM head",
    )
    .bind::<BigInt, _>(subjects.len() as i64)
    .bind::<Array<Binary>, _>(named)
    .bind::<Array<BigInt>, _>(places)
    .get_result(conn)
    .await?;
    Ok(row.position())
}

/// The bumps after a position, in one snapshot with the head.
pub(super) async fn since(conn: &mut AsyncPgConnection, seq: u64, limit: u32) -> QueryResult<LogPage> {
    let rows = sql_query(
        "SELECT h.log_id, h.seq, b.subject, b.seq AS bumped FROM cache_head h \
         LEFT JOIN (SELECT subject, seq FROM cache_bump WHERE seq > $1 ORDER BY seq LIMIT $2) b ON true \
         ORDER BY b.seq",
    )
    .bind::<BigInt, _>(seq as i64)
    .bind::<BigInt, _>(i64::from(limit))
    .load(conn)
    .await?;
    let (head, bumps) = head_and_bumps(rows)?;
    let bump = |(subject, seq)| Bump { subject, seq: seq as u64 };
    Ok(LogPage { head, bumps: bumps.into_iter().map(bump).collect() })
}

#[derive(QueryableByName)]
struct LeaseRow {
    #[diesel(sql_type = Binary)]
    digest: Vec<u8>,
    #[diesel(sql_type = BigInt)]
    remaining: i64,
}

/// Tries for leases. A statement of its own then asks how long those that are held by others have left: it sees
/// also what was taken while the first one ran.
pub(super) async fn acquire(
    conn: &mut AsyncPgConnection,
    keys: &[CacheKey],
    token: LeaseToken,
    ttl: Duration,
) -> QueryResult<Vec<LeaseAttempt>> {
    let acquired: Vec<DigestRow> = sql_query(
        "INSERT INTO cache_lease (digest, token, expires_at) \
         SELECT digest, $2, now.ms + $3 FROM (SELECT DISTINCT unnest($1) AS digest ORDER BY 1) asked, \
             (SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint AS ms) now \
         ON CONFLICT (digest) DO UPDATE SET token = excluded.token, expires_at = excluded.expires_at \
             WHERE cache_lease.token = excluded.token \
                OR cache_lease.expires_at <= (extract(epoch FROM clock_timestamp()) * 1000)::bigint \
         RETURNING digest",
    )
    .bind::<Array<Binary>, _>(digests(keys))
    .bind::<Binary, _>(token.0.as_slice())
    .bind::<BigInt, _>(ttl.as_millis() as i64)
    .load(conn)
    .await?;
    let acquired: HashSet<_> = acquired.into_iter().map(|row| row.digest).collect();
    let held: Vec<_> =
        keys.iter().map(|key| key.digest().as_slice()).filter(|digest| !acquired.contains(*digest)).collect();
    let remaining = if held.is_empty() { HashMap::new() } else { remaining(conn, held).await? };
    let attempt = |key: &CacheKey| {
        let digest = key.digest().as_slice();
        if acquired.contains(digest) {
            return LeaseAttempt::Acquired;
        }
        // One that has ended meanwhile can be tried for at once.
        LeaseAttempt::Held { remaining: remaining.get(digest).copied().unwrap_or(Duration::from_millis(1)) }
    };
    Ok(keys.iter().map(attempt).collect())
}

async fn remaining(
    conn: &mut AsyncPgConnection,
    digests: Vec<&[u8]>,
) -> QueryResult<HashMap<Vec<u8>, Duration>> {
    let rows: Vec<LeaseRow> = sql_query(
        "SELECT digest, expires_at - (extract(epoch FROM clock_timestamp()) * 1000)::bigint AS remaining \
         FROM cache_lease WHERE digest = ANY($1)",
    )
    .bind::<Array<Binary>, _>(digests)
    .load(conn)
    .await?;
    let left = |row: LeaseRow| (row.digest, Duration::from_millis(row.remaining.max(1) as u64));
    Ok(rows.into_iter().map(left).collect())
}

/// Prolongs leases that are still held.
pub(super) async fn renew(
    conn: &mut AsyncPgConnection,
    keys: &[CacheKey],
    token: LeaseToken,
    ttl: Duration,
) -> QueryResult<Vec<bool>> {
    let renewed: Vec<DigestRow> = sql_query(
        "UPDATE cache_lease SET expires_at = now.ms + $3 \
         FROM (SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint AS ms) now \
         WHERE digest = ANY($1) AND token = $2 AND expires_at > now.ms RETURNING digest",
    )
    .bind::<Array<Binary>, _>(digests(keys))
    .bind::<Binary, _>(token.0.as_slice())
    .bind::<BigInt, _>(ttl.as_millis() as i64)
    .load(conn)
    .await?;
    let renewed: HashSet<_> = renewed.into_iter().map(|row| row.digest).collect();
    Ok(keys.iter().map(|key| renewed.contains(key.digest().as_slice())).collect())
}

/// Gives leases back.
pub(super) async fn release(
    conn: &mut AsyncPgConnection,
    keys: &[CacheKey],
    token: LeaseToken,
) -> QueryResult<()> {
    sql_query("DELETE FROM cache_lease WHERE digest = ANY($1) AND token = $2")
        .bind::<Array<Binary>, _>(digests(keys))
        .bind::<Binary, _>(token.0.as_slice())
        .execute(conn)
        .await?;
    Ok(())
}
