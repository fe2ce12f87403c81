//! Stores entries, each by its own rule, in the one transaction that the pool gives.

use std::collections::HashMap;

use diesel::prelude::*;
use diesel::{QueryResult, SqliteConnection};

use super::log;
use super::rows::{self, Bumps, Row, indexed, subject_bytes};
use super::schema::{cache_entry, cache_hot, cache_owner, cache_subject};
use crate::envelope::to_ms;
use crate::ports::{HotKey, TierPut, TierVerdict};
use crate::{LogPosition, PutPolicy, StoreVerdict, Subject};

/// Stores a batch. What one put stores, the next of the batch finds.
pub(super) fn put(conn: &mut SqliteConnection, puts: &[TierPut], now: u64) -> QueryResult<Vec<TierVerdict>> {
    let mut head = log::head(conn)?;
    let digests: Vec<_> = puts.iter().map(|put| put.key.digest().to_vec()).collect();
    let mut there = rows::load(conn, &digests)?;
    let named = puts.iter().flat_map(|put| put.subjects.iter().chain(&put.owners)).copied();
    let mut bumps = Bumps::load(conn, named.chain(rows::all_subjects(there.values())))?;
    let mut verdicts = Vec::with_capacity(puts.len());
    for put in puts {
        let nothing = |verdict| TierVerdict { verdict, as_of: None };
        let Some(as_of) = standing(put, head, &bumps) else {
            verdicts.push(nothing(StoreVerdict::Superseded));
            continue;
        };
        let digest = put.key.digest().to_vec();
        let before = there.get_mut(&digest);
        if put.policy == PutPolicy::KeepFirst
            && let Some(row) = before
            && (to_ms(put.now) as i64) < row.expires_at
            && row.is_alive(&bumps)
        {
            share(conn, &digest, row, &put.owners, as_of)?;
            verdicts.push(nothing(StoreVerdict::KeptExisting));
            continue;
        }
        let mut as_of = as_of;
        if put.policy == PutPolicy::Replace {
            let subject = Subject::of_key(&put.key);
            head = log::append(conn, &[subject], now)?;
            as_of = head.seq as i64;
            bumps.set(subject, as_of);
        }
        let row = insert(conn, put, as_of, there.get(&digest))?;
        there.insert(digest, row);
        let as_of = Some(LogPosition { log: head.log, seq: as_of as u64 });
        verdicts.push(TierVerdict { verdict: StoreVerdict::Stored, as_of });
    }
    Ok(verdicts)
}

/// The position that a put may be stored under; `None` if it is superseded.
fn standing(put: &TierPut, head: LogPosition, bumps: &Bumps) -> Option<i64> {
    let as_of = match put.as_of {
        None => head.seq as i64,
        Some(position) if head.covers(&position) => position.seq as i64,
        Some(_) => return None,
    };
    let ended = put.subjects.iter().chain(&put.owners).any(|subject| bumps.ended(subject, as_of));
    (!ended).then_some(as_of)
}

/// Adds owners to an entry that lives. Who puts it without an owner wants it to outlive them all.
fn share(
    conn: &mut SqliteConnection,
    digest: &[u8],
    row: &mut Row,
    owners: &[Subject],
    as_of: i64,
) -> QueryResult<()> {
    let Some(known) = &mut row.owners else { return Ok(()) };
    if owners.is_empty() {
        row.owners = None;
        diesel::delete(cache_owner::table.filter(cache_owner::digest.eq(digest))).execute(conn)?;
        diesel::update(cache_entry::table.filter(cache_entry::digest.eq(digest)))
            .set(cache_entry::owned.eq(false))
            .execute(conn)?;
        return Ok(());
    }
    for owner in owners {
        let claimed = known.entry(*owner).or_insert(as_of);
        *claimed = as_of.max(*claimed);
        claim(conn, digest, owner, *claimed)?;
    }
    Ok(())
}

fn claim(conn: &mut SqliteConnection, digest: &[u8], owner: &Subject, as_of: i64) -> QueryResult<()> {
    let claim = (
        cache_owner::digest.eq(digest),
        cache_owner::owner.eq(owner.as_bytes().as_slice()),
        cache_owner::as_of.eq(as_of),
    );
    diesel::replace_into(cache_owner::table).values(claim).execute(conn)?;
    Ok(())
}

/// Writes an entry in the place of the one that is there, if one is.
fn insert(conn: &mut SqliteConnection, put: &TierPut, as_of: i64, before: Option<&Row>) -> QueryResult<Row> {
    let digest = put.key.digest().as_slice();
    if let Some(before) = before {
        forget(conn, digest, before)?;
    }
    let entry = (
        cache_entry::digest.eq(digest),
        cache_entry::namespace.eq(put.key.namespace().as_str().to_owned()),
        cache_entry::content.eq(put.key.content().to_bytes().to_vec()),
        cache_entry::owned.eq(!put.owners.is_empty()),
        cache_entry::as_of.eq(as_of),
        cache_entry::expires_at.eq(to_ms(put.expires_at) as i64),
        cache_entry::keep_until.eq(to_ms(put.keep_until) as i64),
        cache_entry::subjects.eq(subject_bytes(&put.subjects)),
        cache_entry::envelope.eq(put.envelope.as_ref()),
    );
    diesel::replace_into(cache_entry::table).values(entry).execute(conn)?;
    for subject in indexed(&put.subjects) {
        let row =
            (cache_subject::subject.eq(subject.as_bytes().as_slice()), cache_subject::digest.eq(digest));
        diesel::insert_or_ignore_into(cache_subject::table).values(row).execute(conn)?;
    }
    for owner in &put.owners {
        claim(conn, digest, owner, as_of)?;
    }
    let owners: HashMap<_, _> = put.owners.iter().map(|owner| (*owner, as_of)).collect();
    Ok(Row {
        key: Some(put.key),
        as_of,
        expires_at: to_ms(put.expires_at) as i64,
        subjects: put.subjects.to_vec(),
        owners: (!owners.is_empty()).then_some(owners),
    })
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
