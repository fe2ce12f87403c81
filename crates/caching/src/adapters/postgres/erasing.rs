//! Removes entries: by condition, by what they belong to, and by age.

use diesel::sql_types::{Array, BigInt, Binary, Bool};
use diesel::{QueryResult, QueryableByName, sql_query};
use wavequill_database::adapters::diesel_async_0_9::diesel_async::{AsyncPgConnection, RunQueryDsl};

use super::log;
use super::reading::ALIVE;
use super::rows::{self, CountRow, DigestRow};
use crate::adapters::entries::{self, BUMP_MS, Digest, Row, Rows, all_subjects, next_page, plan_erasure};
use crate::ports::{ErasePage, Removal, RemoveIf, SweepPage};
use crate::{EraseCursor, Selector};

/// How many entries one transaction sweeps at most.
const SWEEP: u32 = 1_000;

/// Removes each entry that meets its condition.
pub(super) async fn remove(conn: &mut AsyncPgConnection, removals: &[Removal]) -> QueryResult<()> {
    let head = log::head(conn).await?;
    let digests = entries::digests(removals.iter().map(|removal| &removal.key));
    let rows = rows::lock(conn, &digests).await?;
    let mut gone = Vec::new();
    for (removal, digest) in removals.iter().zip(digests) {
        let Some(row) = rows.get(&digest) else { continue };
        let goes = match &removal.condition {
            RemoveIf::Before(position) => position.log == head.log && row.as_of < position.seq as i64,
            RemoveIf::Unchanged(envelope) => {
                let same: CountRow =
                    sql_query("SELECT count(*) FROM cache_entry WHERE digest = $1 AND envelope = $2")
                        .bind::<Binary, _>(&digest)
                        .bind::<Binary, _>(envelope.as_ref())
                        .get_result(conn)
                        .await?;
                same.count > 0
            }
        };
        if goes {
            gone.push(digest);
        }
    }
    delete(conn, &gone, &rows).await
}

/// Removes entries and what the indexes say about them.
async fn delete(conn: &mut AsyncPgConnection, digests: &[Digest], rows: &Rows) -> QueryResult<()> {
    if digests.is_empty() {
        return Ok(());
    }
    let gone: Vec<_> =
        digests.iter().filter_map(|digest| Some((digest.as_slice(), rows.get(digest)?))).collect();
    forget(conn, &gone).await?;
    sql_query("DELETE FROM cache_entry WHERE digest = ANY($1)")
        .bind::<Array<Binary>, _>(digests)
        .execute(conn)
        .await?;
    Ok(())
}

/// Removes what the indexes say about entries.
pub(super) async fn forget(conn: &mut AsyncPgConnection, entries: &[(&[u8], &Row)]) -> QueryResult<()> {
    let (mut subjects, mut labelled) = (Vec::new(), Vec::new());
    for (digest, row) in entries {
        for subject in row.indexed() {
            subjects.push(subject.as_bytes().as_slice());
            labelled.push(*digest);
        }
    }
    sql_query(
        "WITH disowned AS (DELETE FROM cache_owner WHERE digest = ANY($1)) \
         DELETE FROM cache_subject s USING unnest($2, $3) AS old (subject, digest) \
         WHERE s.subject = old.subject AND s.digest = old.digest",
    )
    .bind::<Array<Binary>, _>(entries.iter().map(|(digest, _)| *digest).collect::<Vec<_>>())
    .bind::<Array<Binary>, _>(subjects)
    .bind::<Array<Binary>, _>(labelled)
    .execute(conn)
    .await?;
    Ok(())
}

/// One page of the selected entries, by rising digest.
async fn page(
    conn: &mut AsyncPgConnection,
    what: &Selector,
    after: Option<[u8; 32]>,
    limit: u32,
) -> QueryResult<Vec<Digest>> {
    let after = after.map(Vec::from).unwrap_or_default();
    let select = match what {
        Selector::Key(_) => "SELECT digest FROM cache_entry WHERE digest = $1",
        Selector::All => "SELECT digest FROM cache_entry WHERE $1::bytea IS NOT NULL",
        Selector::Owner(_) => "SELECT digest FROM cache_owner WHERE owner = $1",
        Selector::Label(_) | Selector::Namespace(_) => "SELECT digest FROM cache_subject WHERE subject = $1",
    };
    let rows: Vec<DigestRow> = sql_query(format!("{select} AND digest > $2 ORDER BY digest LIMIT $3"))
        .bind::<Binary, _>(selected(what))
        .bind::<Binary, _>(after)
        .bind::<BigInt, _>(i64::from(limit))
        .load(conn)
        .await?;
    Ok(rows.into_iter().map(|row| row.digest).collect())
}

/// What the index is asked for: a key's digest, or a subject.
fn selected(what: &Selector) -> Vec<u8> {
    match what {
        Selector::Key(key) => key.digest().to_vec(),
        _ => what.subject().as_bytes().to_vec(),
    }
}

/// Erases one page.
pub(super) async fn erase_page(
    conn: &mut AsyncPgConnection,
    what: &Selector,
    cursor: &EraseCursor,
    limit: u32,
) -> QueryResult<ErasePage> {
    let digests = page(conn, what, cursor.after, limit).await?;
    let next = next_page(cursor, &digests, limit);
    let rows = rows::lock(conn, &digests).await?;
    let plan = plan_erasure(what, cursor.position.seq, digests, &rows);
    if !plan.unlinked.is_empty() {
        sql_query("DELETE FROM cache_owner WHERE digest = ANY($1) AND owner = $2")
            .bind::<Array<Binary>, _>(&plan.unlinked)
            .bind::<Binary, _>(selected(what))
            .execute(conn)
            .await?;
    }
    delete(conn, &plan.deleted, &rows).await?;
    if !plan.bumped.is_empty() {
        log::append(conn, &plan.bumped).await?;
    }
    Ok(ErasePage { erased: plan.erased, kept: plan.kept, next })
}

/// How many of the selected entries or references were stored before a position.
pub(super) async fn remaining(
    conn: &mut AsyncPgConnection,
    what: &Selector,
    position: u64,
) -> QueryResult<u64> {
    let count = match what {
        Selector::Key(_) => "SELECT count(*) FROM cache_entry WHERE digest = $1 AND as_of < $2",
        Selector::All => "SELECT count(*) FROM cache_entry WHERE $1::bytea IS NOT NULL AND as_of < $2",
        Selector::Owner(_) => "SELECT count(*) FROM cache_owner WHERE owner = $1 AND as_of < $2",
        Selector::Label(_) | Selector::Namespace(_) => {
            "SELECT count(*) FROM cache_subject s JOIN cache_entry e USING (digest) \
             WHERE s.subject = $1 AND e.as_of < $2"
        }
    };
    let row: CountRow = sql_query(count)
        .bind::<Binary, _>(selected(what))
        .bind::<BigInt, _>(position as i64)
        .get_result(conn)
        .await?;
    Ok(row.count as u64)
}

#[derive(QueryableByName)]
struct LookedRow {
    #[diesel(sql_type = Binary)]
    digest: Digest,
    #[diesel(sql_type = Bool)]
    alive: bool,
}

/// Removes what is past its keep, then looks through a page of the rest for what was ended by the log. Skips what
/// others work on. Returns where the next page starts; empty once it has been through.
pub(super) async fn sweep_page(
    conn: &mut AsyncPgConnection,
    now: u64,
    limit: u32,
    from: Digest,
) -> QueryResult<(SweepPage, Digest)> {
    let limit = limit.clamp(1, SWEEP);
    let past: Vec<DigestRow> = sql_query(
        "SELECT digest FROM cache_entry WHERE keep_until <= $1 ORDER BY keep_until LIMIT $2 \
         FOR UPDATE SKIP LOCKED",
    )
    .bind::<BigInt, _>(now as i64)
    .bind::<BigInt, _>(i64::from(limit))
    .load(conn)
    .await?;
    let past: Vec<_> = past.into_iter().map(|row| row.digest).collect();
    let rows = rows::lock(conn, &past).await?;
    delete(conn, &past, &rows).await?;
    let mut page = SweepPage { entries: past.len() as u64, ..SweepPage::default() };
    let room = limit.saturating_sub(past.len() as u32);
    if room == 0 {
        page.more = true;
        return Ok((page, from));
    }
    let looked: Vec<LookedRow> = sql_query(format!(
        "SELECT e.digest, {ALIVE} AS alive FROM cache_head h, \
             (SELECT * FROM cache_entry WHERE digest > $1 ORDER BY digest LIMIT $2) e ORDER BY e.digest"
    ))
    .bind::<Binary, _>(from)
    .bind::<BigInt, _>(i64::from(room))
    .load(conn)
    .await?;
    let dead: Vec<_> = looked.iter().filter(|row| !row.alive).map(|row| row.digest.clone()).collect();
    page.entries += delete_dead(conn, &dead).await?;
    page.more = looked.len() as u32 == room;
    page.leases = delete_old(conn, "cache_lease", "digest", "expires_at", 0).await?;
    page.bumps = delete_old(conn, "cache_bump", "subject", "at", BUMP_MS).await?;
    let next = looked.into_iter().next_back().filter(|_| page.more).map(|row| row.digest).unwrap_or_default();
    Ok((page, next))
}

/// Deletes those of the entries that are dead also once they are locked.
async fn delete_dead(conn: &mut AsyncPgConnection, digests: &[Digest]) -> QueryResult<u64> {
    if digests.is_empty() {
        return Ok(0);
    }
    let rows = rows::lock(conn, digests).await?;
    let (_, bumps) = rows::bumps(conn, &all_subjects(rows.values())).await?;
    let dead: Vec<_> =
        rows.iter().filter(|(_, row)| !row.is_alive(&bumps)).map(|(digest, _)| digest.clone()).collect();
    delete(conn, &dead, &rows).await?;
    Ok(dead.len() as u64)
}

/// Deletes some of the rows whose time is over by the server's clock for so many milliseconds.
async fn delete_old(
    conn: &mut AsyncPgConnection,
    table: &str,
    key: &str,
    time: &str,
    ms: i64,
) -> QueryResult<u64> {
    let deleted = sql_query(format!(
        "DELETE FROM {table} WHERE {key} IN (SELECT {key} FROM {table} \
         WHERE {time} <= (extract(epoch FROM clock_timestamp()) * 1000)::bigint - $1 \
         ORDER BY {time} LIMIT {SWEEP} FOR UPDATE SKIP LOCKED)"
    ))
    .bind::<BigInt, _>(ms)
    .execute(conn)
    .await?;
    Ok(deleted as u64)
}
