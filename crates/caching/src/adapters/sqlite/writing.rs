//! Stores entries, as the plan says, in the one transaction that the pool gives.

use std::collections::HashMap;

use diesel::prelude::*;
use diesel::{QueryResult, SqliteConnection};

use super::schema::{cache_entry, cache_hot, cache_owner, cache_subject};
use super::{log, rows};
use crate::Subject;
use crate::adapters::entries::{self, Row, Share, Write, subject_bytes};
use crate::envelope::to_ms;
use crate::ports::{HotKey, TierPut, TierVerdict};

/// Stores a batch.
pub(super) fn put(conn: &mut SqliteConnection, puts: &[TierPut], now: u64) -> QueryResult<Vec<TierVerdict>> {
    let head = log::head(conn)?;
    let there = rows::load(conn, &entries::digests(puts.iter().map(|put| &put.key)))?;
    let bumps = rows::bumps(conn, entries::subjects_of_puts(puts, &there))?;
    let plan = entries::plan_puts(puts, head, there, bumps);
    if !plan.bumped.is_empty() {
        log::append(conn, &plan.bumped, now)?;
    }
    for write in &plan.writes {
        if let Some(put) = puts.get(write.put) {
            insert(conn, put, write)?;
        }
    }
    for share in &plan.shares {
        change_owners(conn, share)?;
    }
    Ok(plan.verdicts)
}

fn change_owners(conn: &mut SqliteConnection, share: &Share) -> QueryResult<()> {
    let digest = share.digest.as_slice();
    let Some(owners) = &share.owners else {
        diesel::delete(cache_owner::table.filter(cache_owner::digest.eq(digest))).execute(conn)?;
        diesel::update(cache_entry::table.filter(cache_entry::digest.eq(digest)))
            .set(cache_entry::owned.eq(false))
            .execute(conn)?;
        return Ok(());
    };
    claim(conn, digest, owners)
}

fn claim(conn: &mut SqliteConnection, digest: &[u8], owners: &HashMap<Subject, i64>) -> QueryResult<()> {
    for (owner, as_of) in owners {
        let claim = (
            cache_owner::digest.eq(digest),
            cache_owner::owner.eq(owner.as_bytes().as_slice()),
            cache_owner::as_of.eq(*as_of),
        );
        diesel::replace_into(cache_owner::table).values(claim).execute(conn)?;
    }
    Ok(())
}

/// Writes an entry in the place of the one that is there, if one is.
fn insert(conn: &mut SqliteConnection, put: &TierPut, write: &Write) -> QueryResult<()> {
    let digest = put.key.digest().as_slice();
    if let Some(before) = &write.replaces {
        forget(conn, digest, before)?;
    }
    let row = &write.row;
    let entry = (
        cache_entry::digest.eq(digest),
        cache_entry::namespace.eq(put.key.namespace().as_str().to_owned()),
        cache_entry::content.eq(put.key.content().to_bytes().to_vec()),
        cache_entry::owned.eq(row.owners.is_some()),
        cache_entry::as_of.eq(row.as_of),
        cache_entry::expires_at.eq(row.expires_at),
        cache_entry::keep_until.eq(to_ms(put.keep_until) as i64),
        cache_entry::subjects.eq(subject_bytes(&row.subjects)),
        cache_entry::envelope.eq(put.envelope.as_ref()),
    );
    diesel::replace_into(cache_entry::table).values(entry).execute(conn)?;
    for subject in row.indexed() {
        let row =
            (cache_subject::subject.eq(subject.as_bytes().as_slice()), cache_subject::digest.eq(digest));
        diesel::insert_or_ignore_into(cache_subject::table).values(row).execute(conn)?;
    }
    row.owners.as_ref().map_or(Ok(()), |owners| claim(conn, digest, owners))
}

/// Removes what the indexes say about an entry.
pub(super) fn forget(conn: &mut SqliteConnection, digest: &[u8], row: &Row) -> QueryResult<()> {
    for subject in row.indexed() {
        let indexed = cache_subject::table
            .filter(cache_subject::subject.eq(subject.as_bytes().as_slice()))
            .filter(cache_subject::digest.eq(digest));
        diesel::delete(indexed).execute(conn)?;
    }
    if row.owners.is_some() {
        diesel::delete(cache_owner::table.filter(cache_owner::digest.eq(digest))).execute(conn)?;
    }
    Ok(())
}

/// Replaces the remembered hot set.
pub(super) fn save_hot(conn: &mut SqliteConnection, keys: &[HotKey]) -> QueryResult<()> {
    diesel::delete(cache_hot::table).execute(conn)?;
    for hot in keys {
        let row = (
            cache_hot::digest.eq(hot.key.digest().as_slice()),
            cache_hot::namespace.eq(hot.key.namespace().as_str().to_owned()),
            cache_hot::content.eq(hot.key.content().to_bytes().to_vec()),
            cache_hot::hits.eq(hot.hits as i64),
            cache_hot::cost.eq(hot.cost as i64),
            cache_hot::bytes.eq(hot.bytes as i64),
        );
        diesel::replace_into(cache_hot::table).values(row).execute(conn)?;
    }
    Ok(())
}
