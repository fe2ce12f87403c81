//! Stores entries, as the plan says: whatever the batch, a handful of statements.

use std::collections::HashMap;

use diesel::sql_types::{Array, BigInt, Binary, Bool, Text};
use diesel::{QueryResult, sql_query};
use wavequill_database::adapters::diesel_async_0_9::diesel_async::{AsyncPgConnection, RunQueryDsl};

use super::rows::{self, DigestRow};
use super::{Stop, erasing, log};
use crate::Subject;
use crate::adapters::entries::{self, PutPlan, Share, Write, indexed, subject_bytes};
use crate::envelope::to_ms;
use crate::ports::{HotKey, TierPut, TierVerdict};

/// Stores a batch.
pub(super) async fn put(conn: &mut AsyncPgConnection, puts: &[TierPut]) -> Result<Vec<TierVerdict>, Stop> {
    let there = rows::lock(conn, &entries::digests(puts.iter().map(|put| &put.key))).await?;
    let (head, bumps) = rows::bumps(conn, &entries::subjects_of_puts(puts, &there)).await?;
    let plan = entries::plan_puts(puts, head, there, bumps);
    if !plan.bumped.is_empty() {
        log::append(conn, &plan.bumped).await?;
    }
    write(conn, puts, &plan).await?;
    share(conn, &plan.shares).await?;
    Ok(plan.verdicts)
}

/// Writes the entries, in the place of those that are there and locked. One that is there and not locked was stored
/// by somebody else a moment ago: everything is decided again.
async fn write(conn: &mut AsyncPgConnection, puts: &[TierPut], plan: &PutPlan) -> Result<(), Stop> {
    if plan.writes.is_empty() {
        return Ok(());
    }
    let replaced: Vec<_> = plan
        .writes
        .iter()
        .filter_map(|write| Some((puts.get(write.put)?.key.digest().as_slice(), write.replaces.as_ref()?)))
        .collect();
    if !replaced.is_empty() {
        erasing::forget(conn, &replaced).await?;
    }
    let columns = Columns::of(puts, &plan.writes);
    let written: Vec<DigestRow> = sql_query(
        "WITH written AS ( \
             INSERT INTO cache_entry (digest, namespace, content, owned, as_of, expires_at, keep_until, subjects, \
                 envelope) \
             SELECT digest, namespace, content, owned, as_of, expires_at, keep_until, \
                 ARRAY(SELECT substring(subjects FROM n FOR 16) FROM generate_series(1, length(subjects), 16) n), \
                 envelope \
             FROM unnest($1, $2, $3, $4, $5, $6, $7, $8, $9) AS put (digest, namespace, content, owned, as_of, \
                 expires_at, keep_until, subjects, envelope) \
             ORDER BY digest \
             ON CONFLICT (digest) DO UPDATE SET namespace = excluded.namespace, content = excluded.content, \
                 owned = excluded.owned, as_of = excluded.as_of, expires_at = excluded.expires_at, \
                 keep_until = excluded.keep_until, subjects = excluded.subjects, envelope = excluded.envelope \
                 WHERE cache_entry.digest = ANY($10) \
             RETURNING digest), \
         labelled AS (INSERT INTO cache_subject (subject, digest) SELECT * FROM unnest($11, $12) \
             ON CONFLICT DO NOTHING), \
         claimed AS (INSERT INTO cache_owner (digest, owner, as_of) SELECT * FROM unnest($13, $14, $15) \
             ON CONFLICT (digest, owner) DO UPDATE SET as_of = excluded.as_of) \
         SELECT digest FROM written",
    )
    .bind::<Array<Binary>, _>(columns.digests)
    .bind::<Array<Text>, _>(columns.namespaces)
    .bind::<Array<Binary>, _>(columns.contents)
    .bind::<Array<Bool>, _>(columns.owned)
    .bind::<Array<BigInt>, _>(columns.as_of)
    .bind::<Array<BigInt>, _>(columns.expires_at)
    .bind::<Array<BigInt>, _>(columns.keep_until)
    .bind::<Array<Binary>, _>(columns.subjects)
    .bind::<Array<Binary>, _>(columns.envelopes)
    .bind::<Array<Binary>, _>(replaced.iter().map(|(digest, _)| *digest).collect::<Vec<_>>())
    .bind::<Array<Binary>, _>(columns.labels)
    .bind::<Array<Binary>, _>(columns.labelled)
    .bind::<Array<Binary>, _>(columns.claims.digests)
    .bind::<Array<Binary>, _>(columns.claims.owners)
    .bind::<Array<BigInt>, _>(columns.claims.as_of)
    .load(conn)
    .await?;
    if written.len() < plan.writes.len() { Err(Stop::Raced) } else { Ok(()) }
}

/// The writes of a batch, column by column.
#[derive(Default)]
struct Columns<'a> {
    digests: Vec<&'a [u8]>,
    namespaces: Vec<String>,
    contents: Vec<Vec<u8>>,
    owned: Vec<bool>,
    as_of: Vec<i64>,
    expires_at: Vec<i64>,
    keep_until: Vec<i64>,
    subjects: Vec<Vec<u8>>,
    envelopes: Vec<&'a [u8]>,
    labels: Vec<&'a [u8]>,
    labelled: Vec<&'a [u8]>,
    claims: Claims<'a>,
}

impl<'a> Columns<'a> {
    fn of(puts: &'a [TierPut], writes: &'a [Write]) -> Self {
        let mut columns = Self::default();
        for write in writes {
            let Some(put) = puts.get(write.put) else { continue };
            let digest = put.key.digest().as_slice();
            let row = &write.row;
            columns.digests.push(digest);
            columns.namespaces.push(put.key.namespace().as_str().to_owned());
            columns.contents.push(put.key.content().to_bytes().to_vec());
            columns.owned.push(row.owners.is_some());
            columns.as_of.push(row.as_of);
            columns.expires_at.push(row.expires_at);
            columns.keep_until.push(to_ms(put.keep_until) as i64);
            columns.subjects.push(subject_bytes(&row.subjects));
            columns.envelopes.push(put.envelope.as_ref());
            for label in indexed(&row.subjects) {
                columns.labels.push(label.as_bytes());
                columns.labelled.push(digest);
            }
            if let Some(owners) = &row.owners {
                columns.claims.add(digest, owners);
            }
        }
        columns
    }
}

/// Owners of entries, column by column.
#[derive(Default)]
struct Claims<'a> {
    digests: Vec<&'a [u8]>,
    owners: Vec<&'a [u8]>,
    as_of: Vec<i64>,
}

impl<'a> Claims<'a> {
    fn add(&mut self, digest: &'a [u8], owners: &'a HashMap<Subject, i64>) {
        for (owner, as_of) in owners {
            self.digests.push(digest);
            self.owners.push(owner.as_bytes());
            self.as_of.push(*as_of);
        }
    }
}

/// Changes the owners of living entries.
async fn share(conn: &mut AsyncPgConnection, shares: &[Share]) -> QueryResult<()> {
    let (mut claims, mut disowned) = (Claims::default(), Vec::new());
    for share in shares {
        match &share.owners {
            Some(owners) => claims.add(&share.digest, owners),
            None => disowned.push(share.digest.as_slice()),
        }
    }
    if !claims.digests.is_empty() {
        sql_query(
            "INSERT INTO cache_owner (digest, owner, as_of) SELECT * FROM unnest($1, $2, $3) \
             ON CONFLICT (digest, owner) DO UPDATE SET as_of = excluded.as_of",
        )
        .bind::<Array<Binary>, _>(claims.digests)
        .bind::<Array<Binary>, _>(claims.owners)
        .bind::<Array<BigInt>, _>(claims.as_of)
        .execute(conn)
        .await?;
    }
    if !disowned.is_empty() {
        sql_query(
            "WITH disowned AS (DELETE FROM cache_owner WHERE digest = ANY($1)) \
             UPDATE cache_entry SET owned = false WHERE digest = ANY($1)",
        )
        .bind::<Array<Binary>, _>(disowned)
        .execute(conn)
        .await?;
    }
    Ok(())
}

/// Replaces the remembered hot set. Of several that do so at once, the last one stays.
pub(super) async fn save_hot(conn: &mut AsyncPgConnection, keys: &[HotKey]) -> QueryResult<()> {
    sql_query("LOCK TABLE cache_hot IN SHARE ROW EXCLUSIVE MODE").execute(conn).await?;
    sql_query("DELETE FROM cache_hot").execute(conn).await?;
    sql_query(
        "INSERT INTO cache_hot (digest, namespace, content, hits, cost, bytes) \
         SELECT * FROM unnest($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING",
    )
    .bind::<Array<Binary>, _>(entries::digests(keys.iter().map(|hot| &hot.key)))
    .bind::<Array<Text>, _>(
        keys.iter().map(|hot| hot.key.namespace().as_str().to_owned()).collect::<Vec<_>>(),
    )
    .bind::<Array<Binary>, _>(
        keys.iter().map(|hot| hot.key.content().to_bytes().to_vec()).collect::<Vec<_>>(),
    )
    .bind::<Array<BigInt>, _>(keys.iter().map(|hot| hot.hits as i64).collect::<Vec<_>>())
    .bind::<Array<BigInt>, _>(keys.iter().map(|hot| hot.cost as i64).collect::<Vec<_>>())
    .bind::<Array<BigInt>, _>(keys.iter().map(|hot| hot.bytes as i64).collect::<Vec<_>>())
    .execute(conn)
    .await?;
    Ok(())
}
