//! What the databases' stores decide: whether an entry lives, what becomes of a batch of puts, what an erasure takes.
//! All of it is pure; the stores load rows, ask here, and write what the answer says.

use std::collections::{BTreeMap, HashMap, HashSet};

use wavequill_kernel::ContentHash;

use crate::envelope::to_ms;
use crate::memory_store::worth;
use crate::ports::{HotKey, TierPut, TierVerdict};
use crate::{CacheKey, EraseCursor, LogPosition, Namespace, PutPolicy, Selector, StoreVerdict, Subject};

/// How long a bump may still be needed: the longest that an entry lives.
pub(super) const BUMP_MS: i64 = 400 * 86_400_000;

/// A key's digest, as a column holds it.
pub(super) type Digest = Vec<u8>;

/// Entries by digest.
pub(super) type Rows = HashMap<Digest, Row>;

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

/// All that can end one of these rows.
pub(super) fn all_subjects<'a>(rows: impl IntoIterator<Item = &'a Row>) -> HashSet<Subject> {
    rows.into_iter()
        .flat_map(|row| row.subjects.iter().chain(row.owners.iter().flat_map(HashMap::keys)))
        .copied()
        .collect()
}

/// All that can end one of these puts, or one of the rows that are in their place.
pub(super) fn subjects_of_puts(puts: &[TierPut], rows: &Rows) -> HashSet<Subject> {
    let named = puts.iter().flat_map(|put| put.subjects.iter().chain(&put.owners)).copied();
    named.chain(all_subjects(rows.values())).collect()
}

/// The last bumps of some subjects.
#[derive(Debug, Default)]
pub(super) struct Bumps(HashMap<Subject, i64>);

impl Bumps {
    /// Whether a subject was bumped after a position.
    fn ended(&self, subject: &Subject, as_of: i64) -> bool {
        self.0.get(subject).is_some_and(|seq| *seq > as_of)
    }

    pub(super) fn set(&mut self, subject: Subject, seq: i64) {
        self.0.insert(subject, seq);
    }
}

/// What a batch of puts comes to.
#[derive(Debug, Default)]
pub(super) struct PutPlan {
    /// What became of each put.
    pub(super) verdicts: Vec<TierVerdict>,
    /// The keys to be bumped, in this order and before the writes: the plan knows the positions that they get.
    pub(super) bumped: Vec<Subject>,
    /// The entries to be written, by rising digest.
    pub(super) writes: Vec<Write>,
    /// The living entries whose owners change, by rising digest.
    pub(super) shares: Vec<Share>,
}

/// An entry to be written.
#[derive(Debug)]
pub(super) struct Write {
    /// Which put of the batch it is.
    pub(super) put: usize,
    pub(super) row: Row,
    /// The entry that it takes the place of.
    pub(super) replaces: Option<Row>,
}

/// A living entry with other owners than before.
#[derive(Debug)]
pub(super) struct Share {
    pub(super) digest: Digest,
    /// All its owners. `None`: it outlives all owners from now on.
    pub(super) owners: Option<HashMap<Subject, i64>>,
}

/// An entry while the puts of a batch are gone through: what one put stores, the next finds.
#[derive(Debug, Default)]
struct Slot {
    stored: Option<Row>,
    now: Option<Row>,
    put: Option<usize>,
    shared: bool,
}

/// Decides about a batch of puts by what is there: the head, the rows of the keys, and the last bumps of all that
/// [`subjects_of_puts`] names.
pub(super) fn plan_puts(puts: &[TierPut], head: LogPosition, rows: Rows, mut bumps: Bumps) -> PutPlan {
    let mut seq = head.seq as i64;
    let mut plan = PutPlan::default();
    let slot = |row: Row| Slot { stored: Some(row.clone()), now: Some(row), ..Slot::default() };
    let mut slots: BTreeMap<Digest, Slot> =
        rows.into_iter().map(|(digest, row)| (digest, slot(row))).collect();
    for (number, put) in puts.iter().enumerate() {
        let nothing = |verdict| TierVerdict { verdict, as_of: None };
        let at = LogPosition { seq: seq as u64, ..head };
        let Some(mut as_of) = standing(put, at, &bumps) else {
            plan.verdicts.push(nothing(StoreVerdict::Superseded));
            continue;
        };
        let slot = slots.entry(put.key.digest().to_vec()).or_default();
        if put.policy == PutPolicy::KeepFirst
            && let Some(row) = &mut slot.now
            && (to_ms(put.now) as i64) < row.expires_at
            && row.is_alive(&bumps)
        {
            slot.shared |= share(row, &put.owners, as_of);
            plan.verdicts.push(nothing(StoreVerdict::KeptExisting));
            continue;
        }
        if put.policy == PutPolicy::Replace {
            let subject = Subject::of_key(&put.key);
            seq += 1;
            as_of = seq;
            bumps.set(subject, seq);
            plan.bumped.push(subject);
        }
        slot.now = Some(row_of(put, as_of));
        slot.put = Some(number);
        let as_of = Some(LogPosition { seq: as_of as u64, ..head });
        plan.verdicts.push(TierVerdict { verdict: StoreVerdict::Stored, as_of });
    }
    for (digest, slot) in slots {
        match (slot.now, slot.put) {
            (Some(row), Some(put)) => plan.writes.push(Write { put, row, replaces: slot.stored }),
            (Some(row), None) if slot.shared => plan.shares.push(Share { digest, owners: row.owners }),
            _ => {}
        }
    }
    plan
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
fn share(row: &mut Row, owners: &[Subject], as_of: i64) -> bool {
    let Some(known) = &mut row.owners else { return false };
    if owners.is_empty() {
        row.owners = None;
        return true;
    }
    for owner in owners {
        let claimed = known.entry(*owner).or_insert(as_of);
        *claimed = as_of.max(*claimed);
    }
    true
}

fn row_of(put: &TierPut, as_of: i64) -> Row {
    let owners: HashMap<_, _> = put.owners.iter().map(|owner| (*owner, as_of)).collect();
    Row {
        key: Some(put.key),
        as_of,
        expires_at: to_ms(put.expires_at) as i64,
        subjects: put.subjects.to_vec(),
        owners: (!owners.is_empty()).then_some(owners),
    }
}

/// What one page of an erasure comes to.
#[derive(Debug, Default)]
pub(super) struct ErasePlan {
    /// The entries that go.
    pub(super) deleted: Vec<Digest>,
    /// Their keys.
    pub(super) erased: Vec<CacheKey>,
    /// The entries that lose the owner.
    pub(super) unlinked: Vec<Digest>,
    /// How many entries stay for their other owners.
    pub(super) kept: u64,
    /// The keys to be bumped.
    pub(super) bumped: Vec<Subject>,
}

/// Decides about the selected entries: those stored before the position go; of an owner's, those of nobody else.
pub(super) fn plan_erasure(what: &Selector, position: u64, digests: Vec<Digest>, rows: &Rows) -> ErasePlan {
    let position = position as i64;
    let mut plan = ErasePlan::default();
    for digest in digests {
        let Some(row) = rows.get(&digest) else { continue };
        let goes = match (what, &row.owners) {
            (Selector::Owner(owner), Some(owners)) => {
                let owner = owner.subject();
                let unlinks = owners.get(&owner).is_some_and(|claimed| *claimed < position);
                if unlinks {
                    plan.unlinked.push(digest.clone());
                }
                owners.len() == usize::from(unlinks)
            }
            _ => row.as_of < position,
        };
        if !goes {
            plan.kept += u64::from(matches!(what, Selector::Owner(_)));
            continue;
        }
        if let Some(key) = row.key {
            if matches!(what, Selector::Owner(_)) {
                plan.bumped.push(Subject::of_key(&key));
            }
            plan.erased.push(key);
        }
        plan.deleted.push(digest);
    }
    plan
}

pub(super) fn subject_of(bytes: &[u8]) -> Option<Subject> {
    bytes.try_into().ok().map(Subject::from_bytes)
}

/// Subjects one behind the other.
pub(super) fn subject_bytes(subjects: &[Subject]) -> Vec<u8> {
    subjects.iter().flat_map(|subject| subject.as_bytes().iter().copied()).collect()
}

/// A key as its columns hold it; `None` if they hold none.
pub(super) fn key_of(namespace: &str, digest: &[u8], content: &[u8]) -> Option<CacheKey> {
    let namespace = Namespace::new(namespace).ok()?;
    let content = ContentHash::from_bytes(content.try_into().ok()?);
    Some(CacheKey::new(namespace, digest.try_into().ok()?, content))
}

/// The digests of keys, as columns hold them.
pub(super) fn digests<'a>(keys: impl IntoIterator<Item = &'a CacheKey>) -> Vec<Digest> {
    keys.into_iter().map(|key| key.digest().to_vec()).collect()
}

/// Where the page after this one starts, if this one is full.
pub(super) fn next_page(cursor: &EraseCursor, digests: &[Digest], limit: u32) -> Option<EraseCursor> {
    let last = digests.last().filter(|_| digests.len() == limit as usize)?;
    Some(EraseCursor { after: Some(last.as_slice().try_into().ok()?), ..*cursor })
}

/// Digest, namespace, content, hits, cost, bytes.
pub(super) type HotColumns = (Digest, String, Vec<u8>, i64, i64, i64);

/// The remembered hot set, the most worth first.
pub(super) fn hot_keys(rows: Vec<HotColumns>, limit: u32) -> Vec<HotKey> {
    let hot = |(digest, namespace, content, hits, cost, bytes): HotColumns| {
        let key = key_of(&namespace, &digest, &content)?;
        Some(HotKey { key, hits: hits as u64, cost: cost as u64, bytes: bytes as u64 })
    };
    let mut hot: Vec<_> = rows.into_iter().filter_map(hot).collect();
    hot.sort_by_key(|hot| std::cmp::Reverse(worth(hot)));
    hot.truncate(limit as usize);
    hot
}
