//! Rows, and what decides by them whether an entry lives. The decision is pure.

use std::collections::{HashMap, HashSet};

use diesel::prelude::*;
use diesel::{QueryResult, SqliteConnection};
use wavequill_kernel::ContentHash;

use super::schema::{cache_bump, cache_entry, cache_owner};
use crate::{CacheKey, Namespace, Subject};

/// How many values one statement binds at most.
pub(super) const BINDS: usize = 1_000;

/// All of an entry but its envelope.
#[derive(Clone, Debug)]
pub(super) struct Row {
    pub(super) key: Option<CacheKey>,
    pub(super) as_of: i64,
    pub(super) expires_at: i64,
    pub(super) subjects: Vec<Subject>,
    /// Each owner, and the position of its claim. `None`: it belongs to nobody, and outlives all owners.
    pub(super) owners: Option<HashMap<Subject, i64>>,
}

/// The last bumps of some subjects.
#[derive(Debug, Default)]
pub(super) struct Bumps(HashMap<Subject, i64>);

impl Row {
    pub(super) fn is_alive(&self, bumps: &Bumps) -> bool {
        let owned = self
            .owners
            .as_ref()
            .is_none_or(|owners| owners.iter().any(|(owner, claimed)| !bumps.ended(owner, *claimed)));
        owned && !self.subjects.iter().any(|subject| bumps.ended(subject, self.as_of))
    }

    /// The subjects that are in the index: labels and namespace. The key's own and everything's need none.
    pub(super) fn indexed(&self) -> impl Iterator<Item = &Subject> {
        indexed(&self.subjects)
    }
}

/// Leaves out the first subject, which is the key's, and everything's.
pub(super) fn indexed(subjects: &[Subject]) -> impl Iterator<Item = &Subject> {
    let everything = Subject::everything();
    subjects.iter().skip(1).filter(move |subject| **subject != everything)
}

impl Bumps {
    /// Reads the last bumps of these subjects.
    pub(super) fn load(
        conn: &mut SqliteConnection,
        subjects: impl IntoIterator<Item = Subject>,
    ) -> QueryResult<Self> {
        let subjects: HashSet<_> = subjects.into_iter().collect();
        let subjects: Vec<_> = subjects.iter().map(|subject| subject.as_bytes().as_slice()).collect();
        let mut bumps = HashMap::new();
        for some in subjects.chunks(BINDS) {
            let rows: Vec<(Vec<u8>, i64)> = cache_bump::table
                .filter(cache_bump::subject.eq_any(some))
                .select((cache_bump::subject, cache_bump::seq))
                .load(conn)?;
            bumps.extend(rows.into_iter().filter_map(|(subject, seq)| Some((subject_of(&subject)?, seq))));
        }
        Ok(Self(bumps))
    }

    /// Whether a subject was bumped after a position.
    pub(super) fn ended(&self, subject: &Subject, as_of: i64) -> bool {
        self.0.get(subject).is_some_and(|seq| *seq > as_of)
    }

    pub(super) fn set(&mut self, subject: Subject, seq: i64) {
        self.0.insert(subject, seq);
    }
}

type EntryColumns = (Vec<u8>, String, Vec<u8>, bool, i64, i64, Vec<u8>);

/// Reads entries without their envelopes, by digest.
pub(super) fn load(conn: &mut SqliteConnection, digests: &[Vec<u8>]) -> QueryResult<HashMap<Vec<u8>, Row>> {
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
            let owners = owned.then(HashMap::new);
            let row = Row { key, as_of, expires_at, subjects: subjects_of(&subjects), owners };
            rows.insert(digest, row);
        }
    }
    load_owners(conn, &mut rows)?;
    Ok(rows)
}

/// Fills in the owners of the rows that have some.
fn load_owners(conn: &mut SqliteConnection, rows: &mut HashMap<Vec<u8>, Row>) -> QueryResult<()> {
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

/// All that can end one of these rows.
pub(super) fn all_subjects<'a>(rows: impl IntoIterator<Item = &'a Row>) -> HashSet<Subject> {
    rows.into_iter()
        .flat_map(|row| row.subjects.iter().chain(row.owners.iter().flat_map(HashMap::keys)))
        .copied()
        .collect()
}

pub(super) fn subject_of(bytes: &[u8]) -> Option<Subject> {
    bytes.try_into().ok().map(Subject::from_bytes)
}

/// Subjects are kept one behind the other.
fn subjects_of(bytes: &[u8]) -> Vec<Subject> {
    bytes.chunks_exact(Subject::LEN).filter_map(subject_of).collect()
}

pub(super) fn subject_bytes(subjects: &[Subject]) -> Vec<u8> {
    subjects.iter().flat_map(|subject| subject.as_bytes().iter().copied()).collect()
}

/// A key as its columns hold it; `None` if they hold none.
pub(super) fn key_of(namespace: &str, digest: &[u8], content: &[u8]) -> Option<CacheKey> {
    let namespace = Namespace::new(namespace).ok()?;
    let content = ContentHash::from_bytes(content.try_into().ok()?);
    Some(CacheKey::new(namespace, digest.try_into().ok()?, content))
}
