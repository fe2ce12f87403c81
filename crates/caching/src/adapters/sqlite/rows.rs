//! Reads what the decisions about entries need.

use std::collections::{HashMap, HashSet};

use diesel::prelude::*;
use diesel::{QueryResult, SqliteConnection};

use super::schema::{cache_bump, cache_entry, cache_owner};
use crate::Subject;
use crate::adapters::entries::{Bumps, Digest, Row, Rows, key_of, subject_of};

/// How many values one statement binds at most.
pub(super) const BINDS: usize = 1_000;

type EntryColumns = (Vec<u8>, String, Vec<u8>, bool, i64, i64, Vec<u8>);

/// Reads the last bumps of these subjects.
pub(super) fn bumps(
    conn: &mut SqliteConnection,
    subjects: impl IntoIterator<Item = Subject>,
) -> QueryResult<Bumps> {
    let subjects: HashSet<_> = subjects.into_iter().collect();
    let subjects: Vec<_> = subjects.iter().map(|subject| subject.as_bytes().as_slice()).collect();
    let mut bumps = Bumps::default();
    for some in subjects.chunks(BINDS) {
        let rows: Vec<(Vec<u8>, i64)> = cache_bump::table
            .filter(cache_bump::subject.eq_any(some))
            .select((cache_bump::subject, cache_bump::seq))
            .load(conn)?;
        for (subject, seq) in rows {
            if let Some(subject) = subject_of(&subject) {
                bumps.set(subject, seq);
            }
        }
    }
    Ok(bumps)
}

/// Reads entries without their envelopes, by digest.
pub(super) fn load(conn: &mut SqliteConnection, digests: &[Digest]) -> QueryResult<Rows> {
    let mut rows = HashMap::with_capacity(digests.len());
    for some in digests.chunks(BINDS) {
        let columns: Vec<EntryColumns> = cache_entry::table
            .filter(cache_entry::digest.eq_any(some))
            .select((
                cache_entry::digest,
                cache_entry::namespace,
                cache_entry::content,
                cache_entry::owned,
                cache_entry::as_of,
                cache_entry::expires_at,
                cache_entry::subjects,
            ))
            .load(conn)?;
        for (digest, namespace, content, owned, as_of, expires_at, subjects) in columns {
            let key = key_of(&namespace, &digest, &content);
            let subjects = subjects.chunks_exact(Subject::LEN).filter_map(subject_of).collect();
            let owners = owned.then(HashMap::new);
            rows.insert(digest, Row { key, as_of, expires_at, subjects, owners });
        }
    }
    load_owners(conn, &mut rows)?;
    Ok(rows)
}

/// Fills in the owners of the rows that have some.
fn load_owners(conn: &mut SqliteConnection, rows: &mut Rows) -> QueryResult<()> {
    let owned: Vec<_> =
        rows.iter().filter(|(_, row)| row.owners.is_some()).map(|(digest, _)| digest.clone()).collect();
    for some in owned.chunks(BINDS) {
        let claims: Vec<(Vec<u8>, Vec<u8>, i64)> =
            cache_owner::table.filter(cache_owner::digest.eq_any(some)).load(conn)?;
        for (digest, owner, as_of) in claims {
            let owners = rows.get_mut(&digest).and_then(|row| row.owners.as_mut());
            if let (Some(owners), Some(owner)) = (owners, subject_of(&owner)) {
                owners.insert(owner, as_of);
            }
        }
    }
    Ok(())
}
