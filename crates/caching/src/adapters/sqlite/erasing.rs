//! Removes entries: by condition, by what they belong to, and by age.

use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel::sql_types::Integer;
use diesel::{QueryResult, SqliteConnection, dsl};

use super::rows;
use super::schema::{cache_bump, cache_entry, cache_lease, cache_owner, cache_subject};
use super::{log, writing};
use crate::adapters::entries::{self, BUMP_MS, Row, all_subjects, next_page, plan_erasure};
use crate::ports::{ErasePage, Removal, RemoveIf, SweepPage};
use crate::{EraseCursor, Selector, Subject};

/// Removes each entry that meets its condition.
pub(super) fn remove(conn: &mut SqliteConnection, removals: &[Removal]) -> QueryResult<()> {
    let head = log::head(conn)?;
    let digests = entries::digests(removals.iter().map(|removal| &removal.key));
    let rows = rows::load(conn, &digests)?;
    for (removal, digest) in removals.iter().zip(&digests) {
        let Some(row) = rows.get(digest) else { continue };
        let goes = match &removal.condition {
            RemoveIf::Before(position) => position.log == head.log && row.as_of < position.seq as i64,
            RemoveIf::Unchanged(envelope) => {
                let same = cache_entry::table
                    .filter(cache_entry::digest.eq(digest))
                    .filter(cache_entry::envelope.eq(envelope.as_ref()));
                diesel::select(dsl::exists(same)).get_result(conn)?
            }
        };
        if goes {
            delete(conn, digest, row)?;
        }
    }
    Ok(())
}

fn delete(conn: &mut SqliteConnection, digest: &[u8], row: &Row) -> QueryResult<()> {
    writing::forget(conn, digest, row)?;
    diesel::delete(cache_entry::table.filter(cache_entry::digest.eq(digest))).execute(conn)?;
    Ok(())
}

/// One page of the selected entries, by rising digest.
fn page(
    conn: &mut SqliteConnection,
    what: &Selector,
    after: Option<[u8; 32]>,
    limit: i64,
) -> QueryResult<Vec<Vec<u8>>> {
    let after = after.map(Vec::from).unwrap_or_default();
    let subject = what.subject();
    let subject = subject.as_bytes().as_slice();
    match what {
        Selector::Key(key) => cache_entry::table
            .filter(cache_entry::digest.eq(key.digest().as_slice()))
            .filter(cache_entry::digest.gt(after))
            .select(cache_entry::digest)
            .load(conn),
        Selector::All => cache_entry::table
            .filter(cache_entry::digest.gt(after))
            .order(cache_entry::digest)
            .limit(limit)
            .select(cache_entry::digest)
            .load(conn),
        Selector::Owner(_) => cache_owner::table
            .filter(cache_owner::owner.eq(subject))
            .filter(cache_owner::digest.gt(after))
            .order(cache_owner::digest)
            .limit(limit)
            .select(cache_owner::digest)
            .load(conn),
        Selector::Label(_) | Selector::Namespace(_) => cache_subject::table
            .filter(cache_subject::subject.eq(subject))
            .filter(cache_subject::digest.gt(after))
            .order(cache_subject::digest)
            .limit(limit)
            .select(cache_subject::digest)
            .load(conn),
    }
}

/// Erases one page, with the bytes overwritten in the file.
pub(super) fn erase_page(
    conn: &mut SqliteConnection,
    what: &Selector,
    cursor: &EraseCursor,
    limit: u32,
    now: u64,
) -> QueryResult<ErasePage> {
    conn.batch_execute("PRAGMA secure_delete = ON")?;
    let erased = erase(conn, what, cursor, limit, now);
    conn.batch_execute("PRAGMA secure_delete = FAST")?;
    erased
}

fn erase(
    conn: &mut SqliteConnection,
    what: &Selector,
    cursor: &EraseCursor,
    limit: u32,
    now: u64,
) -> QueryResult<ErasePage> {
    let digests = page(conn, what, cursor.after, i64::from(limit))?;
    let next = next_page(cursor, &digests, limit);
    let rows = rows::load(conn, &digests)?;
    let plan = plan_erasure(what, cursor.position.seq, digests, &rows);
    for digest in &plan.unlinked {
        unlink(conn, digest, &what.subject())?;
    }
    for digest in &plan.deleted {
        if let Some(row) = rows.get(digest) {
            delete(conn, digest, row)?;
        }
    }
    if !plan.bumped.is_empty() {
        log::append(conn, &plan.bumped, now)?;
    }
    Ok(ErasePage { erased: plan.erased, kept: plan.kept, next })
}

fn unlink(conn: &mut SqliteConnection, digest: &[u8], owner: &Subject) -> QueryResult<()> {
    let claim = cache_owner::table
        .filter(cache_owner::digest.eq(digest))
        .filter(cache_owner::owner.eq(owner.as_bytes().as_slice()));
    diesel::delete(claim).execute(conn)?;
    Ok(())
}

/// How many of the selected entries or references were stored before a position.
pub(super) fn remaining(conn: &mut SqliteConnection, what: &Selector, position: u64) -> QueryResult<u64> {
    let subject = what.subject();
    let subject = subject.as_bytes().as_slice();
    let before = cache_entry::table.filter(cache_entry::as_of.lt(position as i64));
    let count: i64 = match what {
        Selector::All => before.count().get_result(conn)?,
        Selector::Key(key) => {
            before.filter(cache_entry::digest.eq(key.digest().as_slice())).count().get_result(conn)?
        }
        Selector::Owner(_) => cache_owner::table
            .filter(cache_owner::owner.eq(subject))
            .filter(cache_owner::as_of.lt(position as i64))
            .count()
            .get_result(conn)?,
        Selector::Label(_) | Selector::Namespace(_) => {
            let selected =
                cache_subject::table.filter(cache_subject::subject.eq(subject)).select(cache_subject::digest);
            before.filter(cache_entry::digest.eq_any(selected)).count().get_result(conn)?
        }
    };
    Ok(count as u64)
}

#[derive(QueryableByName)]
#[diesel(check_for_backend(diesel::sqlite::Sqlite))]
struct Checkpoint {
    #[diesel(sql_type = Integer)]
    busy: i32,
}

/// Copies the write-ahead log into the file and cuts it to nothing. True if somebody else kept it from that.
pub(super) fn truncate_log(conn: &mut SqliteConnection) -> QueryResult<bool> {
    let checkpoint: Checkpoint = diesel::sql_query("PRAGMA wal_checkpoint(TRUNCATE)").get_result(conn)?;
    Ok(checkpoint.busy != 0)
}

/// Removes what is past its keep, then looks through a page of the rest for what was ended by the log. Returns where
/// the next page starts; empty once it has been through.
pub(super) fn sweep_page(
    conn: &mut SqliteConnection,
    now: u64,
    limit: u32,
    from: Vec<u8>,
) -> QueryResult<(SweepPage, Vec<u8>)> {
    let (now, limit) = (now as i64, i64::from(limit));
    let past: Vec<Vec<u8>> = cache_entry::table
        .filter(cache_entry::keep_until.le(now))
        .order(cache_entry::keep_until)
        .limit(limit)
        .select(cache_entry::digest)
        .load(conn)?;
    let mut page = SweepPage { entries: past.len() as u64, ..SweepPage::default() };
    for (digest, row) in &rows::load(conn, &past)? {
        delete(conn, digest, row)?;
    }
    if past.len() as i64 == limit {
        page.more = true;
        return Ok((page, from));
    }
    let looked: Vec<Vec<u8>> = cache_entry::table
        .filter(cache_entry::digest.gt(from))
        .order(cache_entry::digest)
        .limit(limit - past.len() as i64)
        .select(cache_entry::digest)
        .load(conn)?;
    let rows = rows::load(conn, &looked)?;
    let bumps = rows::bumps(conn, all_subjects(rows.values()))?;
    for (digest, row) in rows.iter().filter(|(_, row)| !row.is_alive(&bumps)) {
        delete(conn, digest, row)?;
        page.entries += 1;
    }
    page.more = (looked.len() + past.len()) as i64 == limit;
    page.leases =
        diesel::delete(cache_lease::table.filter(cache_lease::expires_at.le(now))).execute(conn)? as u64;
    page.bumps =
        diesel::delete(cache_bump::table.filter(cache_bump::at.lt(now - BUMP_MS))).execute(conn)? as u64;
    let next = looked.into_iter().next_back().filter(|_| page.more).unwrap_or_default();
    Ok((page, next))
}
