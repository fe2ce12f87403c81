//! Reads what the decisions about entries need, and locks the entries that they are about.

use std::collections::{HashMap, HashSet};

use diesel::result::Error;
use diesel::sql_types::{Array, BigInt, Binary, Bool, Nullable, Text};
use diesel::{QueryResult, QueryableByName, sql_query};
use wavequill_database::adapters::diesel_async_0_9::diesel_async::{AsyncPgConnection, RunQueryDsl};

use crate::adapters::entries::{Bumps, Digest, Row, Rows, key_of, subject_of};
use crate::{LogId, LogPosition, Subject};

#[derive(QueryableByName)]
pub(super) struct HeadRow {
    #[diesel(sql_type = Binary)]
    log_id: Vec<u8>,
    #[diesel(sql_type = BigInt)]
    seq: i64,
}

impl HeadRow {
    pub(super) fn position(&self) -> LogPosition {
        let mut bytes = [0; 16];
        for (to, from) in bytes.iter_mut().zip(&self.log_id) {
            *to = *from;
        }
        LogPosition { log: LogId::from_bytes(bytes), seq: self.seq as u64 }
    }
}

#[derive(QueryableByName)]
pub(super) struct DigestRow {
    #[diesel(sql_type = Binary)]
    pub(super) digest: Digest,
}

#[derive(QueryableByName)]
pub(super) struct CountRow {
    #[diesel(sql_type = BigInt)]
    pub(super) count: i64,
}

#[derive(QueryableByName)]
struct EntryRow {
    #[diesel(sql_type = Binary)]
    digest: Digest,
    #[diesel(sql_type = Text)]
    namespace: String,
    #[diesel(sql_type = Binary)]
    content: Vec<u8>,
    #[diesel(sql_type = Bool)]
    owned: bool,
    #[diesel(sql_type = BigInt)]
    as_of: i64,
    #[diesel(sql_type = BigInt)]
    expires_at: i64,
    #[diesel(sql_type = Array<Binary>)]
    subjects: Vec<Vec<u8>>,
}

/// Reads entries without their envelopes, and locks them until the transaction ends: in one order, so that
/// transactions do not lock each other out. What belongs to an entry is changed only by who holds its lock.
pub(super) async fn lock(conn: &mut AsyncPgConnection, digests: &[Digest]) -> QueryResult<Rows> {
    if digests.is_empty() {
        return Ok(Rows::new());
    }
    let found: Vec<EntryRow> = sql_query(
        "SELECT digest, namespace, content, owned, as_of, expires_at, subjects FROM cache_entry \
         WHERE digest = ANY($1) ORDER BY digest FOR UPDATE",
    )
    .bind::<Array<Binary>, _>(digests)
    .load(conn)
    .await?;
    let row = |row: EntryRow| {
        let key = key_of(&row.namespace, &row.digest, &row.content);
        let subjects = row.subjects.iter().filter_map(|subject| subject_of(subject)).collect();
        let (as_of, expires_at, owners) = (row.as_of, row.expires_at, row.owned.then(HashMap::new));
        (row.digest, Row { key, as_of, expires_at, subjects, owners })
    };
    let mut rows: Rows = found.into_iter().map(row).collect();
    load_owners(conn, &mut rows).await?;
    Ok(rows)
}

#[derive(QueryableByName)]
struct OwnerRow {
    #[diesel(sql_type = Binary)]
    digest: Digest,
    #[diesel(sql_type = Binary)]
    owner: Vec<u8>,
    #[diesel(sql_type = BigInt)]
    as_of: i64,
}

/// Fills in the owners of the rows that have some.
async fn load_owners(conn: &mut AsyncPgConnection, rows: &mut Rows) -> QueryResult<()> {
    let owned: Vec<Digest> =
        rows.iter().filter(|(_, row)| row.owners.is_some()).map(|(digest, _)| digest.clone()).collect();
    if owned.is_empty() {
        return Ok(());
    }
    let claims: Vec<OwnerRow> =
        sql_query("SELECT digest, owner, as_of FROM cache_owner WHERE digest = ANY($1)")
            .bind::<Array<Binary>, _>(owned)
            .load(conn)
            .await?;
    for claim in claims {
        let owners = rows.get_mut(&claim.digest).and_then(|row| row.owners.as_mut());
        if let (Some(owners), Some(owner)) = (owners, subject_of(&claim.owner)) {
            owners.insert(owner, claim.as_of);
        }
    }
    Ok(())
}

/// A bump, beside the head of the same snapshot; none, if there is none.
#[derive(QueryableByName)]
pub(super) struct BumpRow {
    #[diesel(embed)]
    head: HeadRow,
    #[diesel(sql_type = Nullable<Binary>)]
    subject: Option<Vec<u8>>,
    #[diesel(sql_type = Nullable<BigInt>)]
    bumped: Option<i64>,
}

/// Takes rows apart into the head and the bumps, in order.
pub(super) fn head_and_bumps(rows: Vec<BumpRow>) -> QueryResult<(LogPosition, Vec<(Subject, i64)>)> {
    let head = <[BumpRow]>::first(&rows).map(|row| row.head.position()).ok_or(Error::NotFound)?;
    let bump = |row: BumpRow| Some((subject_of(&row.subject?)?, row.bumped?));
    Ok((head, rows.into_iter().filter_map(bump).collect()))
}

/// The last bumps of these subjects, and the head, in one snapshot.
pub(super) async fn bumps(
    conn: &mut AsyncPgConnection,
    subjects: &HashSet<Subject>,
) -> QueryResult<(LogPosition, Bumps)> {
    let subjects: Vec<_> = subjects.iter().map(|subject| subject.as_bytes().as_slice()).collect();
    let rows = sql_query(
        "SELECT h.log_id, h.seq, b.subject, b.seq AS bumped FROM cache_head h \
         LEFT JOIN cache_bump b ON b.subject = ANY($1)",
    )
    .bind::<Array<Binary>, _>(subjects)
    .load(conn)
    .await?;
    let (head, found) = head_and_bumps(rows)?;
    let mut bumps = Bumps::default();
    for (subject, seq) in found {
        bumps.set(subject, seq);
    }
    Ok((head, bumps))
}
