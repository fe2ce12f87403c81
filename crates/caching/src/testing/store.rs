//! The contracts of the ports, a function a sentence. Each needs an empty store of its own.

#![expect(clippy::unwrap_used, clippy::missing_panics_doc, reason = "a conformance suite fails by panicking")]

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use wavequill_kernel::Clock;

use super::{key, key_in, start};
use crate::ports::{
    CacheTier, ErasureIndex, HotKey, HotSetStore, InvalidationLog, LeaseAttempt, LeaseStore, LeaseToken,
    Removal, RemoveIf, TierPut, TierVerdict,
};
use crate::{
    CacheKey, EraseCursor, Label, LogId, LogPosition, Namespace, Owner, PutPolicy, Selector, StoreVerdict,
    Subject,
};

/// A store that implements all ports of a database.
pub trait Store: CacheTier + InvalidationLog + LeaseStore + ErasureIndex + HotSetStore {}

impl<S: CacheTier + InvalidationLog + LeaseStore + ErasureIndex + HotSetStore> Store for S {}

/// Makes one test of each sentence. The block makes an empty store.
///
/// ```text
/// wavequill_caching::store_conformance!(memory, MemoryStore::new());
/// ```
#[macro_export]
macro_rules! store_conformance {
    ($name:ident, $make:expr) => {
        mod $name {
            use super::*;

            $crate::store_conformance!(@each $make;
                a_tier_answers_in_the_order_asked,
                a_live_entry_is_kept_and_gets_the_new_owners,
                a_replaced_entry_is_the_last_one_put,
                an_expired_entry_is_replaced_under_keep_first,
                a_bump_of_any_subject_ends_an_entry_and_of_no_other,
                an_entry_of_an_owner_ends_with_its_last_owner,
                an_entry_without_owner_outlives_all_owners,
                a_put_from_before_a_bump_is_superseded,
                a_put_from_another_log_or_the_future_is_superseded,
                a_removal_touches_only_what_meets_its_condition,
                positions_rise_by_one_without_gaps,
                the_log_gives_the_last_bump_of_each_subject_in_order,
                a_lease_has_one_holder_until_it_ends,
                a_lease_is_neither_renewed_nor_released_by_another_token,
                an_erasure_goes_page_by_page_and_leaves_nothing,
                an_erasure_of_an_owner_leaves_what_others_own,
                an_erasure_leaves_what_was_stored_after_it_began,
                a_sweep_removes_what_is_past_or_ended_and_nothing_else,
                the_hot_set_is_the_last_one_saved_the_most_worth_first,
            );
        }
    };
    (@each $make:expr; $($sentence:ident),* $(,)?) => {$(
        #[tokio::test]
        async fn $sentence() {
            $crate::testing::store::$sentence(&$make).await;
        }
    )*};
}

fn put(key: CacheKey, envelope: &'static str) -> TierPut {
    let subjects = [Subject::of_key(&key), Subject::of_namespace(key.namespace()), Subject::everything()];
    TierPut {
        key,
        subjects: subjects.into(),
        owners: Box::default(),
        as_of: None,
        policy: PutPolicy::KeepFirst,
        now: start(),
        expires_at: start() + Duration::from_secs(60),
        keep_until: start() + Duration::from_secs(60),
        envelope: Bytes::from_static(envelope.as_bytes()),
    }
}

fn owned(key: CacheKey, owners: &[&str]) -> TierPut {
    let owners = owners.iter().map(|owner| Owner::new(owner).unwrap().subject()).collect();
    TierPut { owners, ..put(key, "owned") }
}

fn labelled(key: CacheKey, label: &str) -> TierPut {
    let mut put = put(key, "labelled");
    put.subjects = put.subjects.iter().copied().chain([Label::new(label).unwrap().subject()]).collect();
    put
}

async fn store_one(store: &impl Store, put: TierPut) -> TierVerdict {
    let verdicts = store.put(vec![put]).await.unwrap();
    assert_eq!(verdicts.len(), 1);
    verdicts.into_iter().next().unwrap()
}

async fn found(store: &impl Store, key: CacheKey) -> Option<String> {
    let read = CacheTier::get(store, &[key]).await.unwrap();
    assert!(read.as_of.is_some(), "a tier with the log says where the log stood");
    read.envelopes.into_iter().next().unwrap().map(|bytes| String::from_utf8(bytes.to_vec()).unwrap())
}

fn owner(name: &str) -> Owner {
    Owner::new(name).unwrap()
}

/// Contract of `CacheTier`, 1.
pub async fn a_tier_answers_in_the_order_asked(store: &impl Store) {
    let verdicts = store.put(vec![put(key(1), "one"), put(key(2), "two")]).await.unwrap();
    assert!(verdicts.iter().all(|stored| stored.verdict == StoreVerdict::Stored));
    let read = CacheTier::get(store, &[key(2), key(3), key(1), key(2)]).await.unwrap();
    let found: Vec<_> = read.envelopes.iter().map(|envelope| envelope.as_deref()).collect();
    assert_eq!(found, [Some(b"two".as_slice()), None, Some(b"one"), Some(b"two")]);
    assert!(CacheTier::get(store, &[]).await.unwrap().envelopes.is_empty());
}

/// Contract of `CacheTier`, 3.
pub async fn a_live_entry_is_kept_and_gets_the_new_owners(store: &impl Store) {
    store_one(store, owned(key(1), &["ada"])).await;
    let second = TierPut { envelope: Bytes::from_static(b"other"), ..owned(key(1), &["bob"]) };
    assert_eq!(store_one(store, second).await.verdict, StoreVerdict::KeptExisting);
    assert_eq!(found(store, key(1)).await.as_deref(), Some("owned"));
    store.append(&[owner("ada").subject()]).await.unwrap();
    assert!(found(store, key(1)).await.is_some(), "bob owns it, too");
    store.append(&[owner("bob").subject()]).await.unwrap();
    assert_eq!(found(store, key(1)).await, None);
}

/// Contract of `CacheTier`, 3.
pub async fn a_replaced_entry_is_the_last_one_put(store: &impl Store) {
    let first = store_one(store, put(key(1), "first")).await;
    let last = store_one(store, TierPut { policy: PutPolicy::Replace, ..put(key(1), "last") }).await;
    assert_eq!(last.verdict, StoreVerdict::Stored);
    assert_eq!(found(store, key(1)).await.as_deref(), Some("last"));
    assert!(last.as_of.unwrap().seq > first.as_of.unwrap().seq, "its key was bumped");
    assert_eq!(last.as_of.unwrap(), store.head().await.unwrap());
}

/// Contract of `CacheTier`, 3.
pub async fn an_expired_entry_is_replaced_under_keep_first(store: &impl Store) {
    store_one(store, put(key(1), "old")).await;
    let later = start() + Duration::from_secs(60);
    let new = TierPut { now: later, expires_at: later + Duration::from_secs(60), ..put(key(1), "new") };
    assert_eq!(store_one(store, new).await.verdict, StoreVerdict::Stored);
    assert_eq!(found(store, key(1)).await.as_deref(), Some("new"));
}

/// Contract of `CacheTier`, 2.
pub async fn a_bump_of_any_subject_ends_an_entry_and_of_no_other(store: &impl Store) {
    let label = Label::new("radio").unwrap().subject();
    let others = [Subject::of_key(&key(2)), Label::new("other").unwrap().subject(), owner("radio").subject()];
    for end in
        [Subject::of_key(&key(1)), Subject::of_namespace(Namespace::CHUNK), Subject::everything(), label]
    {
        store_one(store, labelled(key(1), "radio")).await;
        store.append(&others).await.unwrap();
        assert!(found(store, key(1)).await.is_some());
        store.append(&[end]).await.unwrap();
        assert_eq!(found(store, key(1)).await, None, "{end:?}");
    }
    assert_eq!(store_one(store, put(key(1), "anew")).await.verdict, StoreVerdict::Stored);
    assert_eq!(found(store, key(1)).await.as_deref(), Some("anew"));
}

/// Contract of `CacheTier`, 2.
pub async fn an_entry_of_an_owner_ends_with_its_last_owner(store: &impl Store) {
    store_one(store, owned(key(1), &["ada", "bob"])).await;
    store.append(&[owner("ada").subject()]).await.unwrap();
    assert!(found(store, key(1)).await.is_some());
    store.append(&[owner("bob").subject()]).await.unwrap();
    assert_eq!(found(store, key(1)).await, None);
}

/// Contract of `CacheTier`, 3.
pub async fn an_entry_without_owner_outlives_all_owners(store: &impl Store) {
    store_one(store, owned(key(1), &["ada"])).await;
    store_one(store, put(key(1), "by nobody")).await;
    store.append(&[owner("ada").subject()]).await.unwrap();
    assert_eq!(found(store, key(1)).await.as_deref(), Some("owned"));
}

/// Contract of `CacheTier`, 3.
pub async fn a_put_from_before_a_bump_is_superseded(store: &impl Store) {
    let before = Some(store.head().await.unwrap());
    for bumped in [Subject::of_key(&key(1)), owner("ada").subject(), Subject::everything()] {
        store.append(&[bumped]).await.unwrap();
        let late = TierPut { as_of: before, ..owned(key(1), &["ada"]) };
        assert_eq!(store_one(store, late).await.verdict, StoreVerdict::Superseded, "{bumped:?}");
        assert_eq!(found(store, key(1)).await, None);
    }
    let now = Some(store.head().await.unwrap());
    let current = TierPut { as_of: now, ..owned(key(1), &["ada"]) };
    assert_eq!(store_one(store, current).await, TierVerdict { verdict: StoreVerdict::Stored, as_of: now });
}

/// Contract of `CacheTier`, 3.
pub async fn a_put_from_another_log_or_the_future_is_superseded(store: &impl Store) {
    let head = store.head().await.unwrap();
    let foreign = LogPosition { log: LogId::from_bytes([0xee; 16]), ..head };
    let future = LogPosition { seq: head.seq + 1, ..head };
    for as_of in [foreign, future] {
        let put = TierPut { as_of: Some(as_of), ..put(key(1), "x") };
        assert_eq!(store_one(store, put).await.verdict, StoreVerdict::Superseded);
    }
}

/// Contract of `CacheTier`, 5.
pub async fn a_removal_touches_only_what_meets_its_condition(store: &impl Store) {
    let stored = store_one(store, put(key(1), "one")).await.as_of.unwrap();
    let spared = [
        RemoveIf::Before(stored),
        RemoveIf::Before(LogPosition { log: LogId::from_bytes([0xee; 16]), seq: u64::MAX }),
        RemoveIf::Unchanged(Bytes::from_static(b"two")),
    ];
    let removals = spared.into_iter().map(|condition| Removal { key: key(1), condition }).collect();
    store.remove(removals).await.unwrap();
    assert!(found(store, key(1)).await.is_some());
    let unchanged = RemoveIf::Unchanged(Bytes::from_static(b"one"));
    store.remove(vec![Removal { key: key(1), condition: unchanged }]).await.unwrap();
    assert_eq!(found(store, key(1)).await, None);
    store_one(store, put(key(1), "one")).await;
    let position = store.append(&[Subject::of_key(&key(2))]).await.unwrap();
    store.remove(vec![Removal { key: key(1), condition: RemoveIf::Before(position) }]).await.unwrap();
    assert_eq!(found(store, key(1)).await, None);
}

/// Contract of `InvalidationLog`, 1.
pub async fn positions_rise_by_one_without_gaps(store: &impl Store) {
    let before = store.head().await.unwrap();
    let subjects = [1, 2, 1].map(|byte| Subject::from_bytes([byte; 16]));
    let after = store.append(&subjects).await.unwrap();
    assert_eq!((after.log, after.seq), (before.log, before.seq + 3));
    assert_eq!(store.head().await.unwrap(), after);
}

/// Contract of `InvalidationLog`, 3.
pub async fn the_log_gives_the_last_bump_of_each_subject_in_order(store: &impl Store) {
    let subjects = [1, 2, 1, 3].map(|byte| Subject::from_bytes([byte; 16]));
    let before = store.head().await.unwrap().seq;
    let head = store.append(&subjects).await.unwrap();
    let page = store.since(before, 100).await.unwrap();
    let bumps: Vec<_> = page.bumps.iter().map(|bump| (bump.subject, bump.seq - before)).collect();
    let [_, two, one, three] = subjects;
    assert_eq!(bumps, [(two, 2), (one, 3), (three, 4)]);
    assert_eq!(page.head, head);
    assert_eq!(store.since(before, 2).await.unwrap().bumps.len(), 2);
    assert_eq!(store.since(before + 3, 100).await.unwrap().bumps.len(), 1);
    assert!(store.since(head.seq, 100).await.unwrap().bumps.is_empty());
}

const ONE: LeaseToken = LeaseToken([1; 16]);
const OTHER: LeaseToken = LeaseToken([2; 16]);
const MINUTE: Duration = Duration::from_secs(60);

/// Contract of `LeaseStore`, 1 and 2. That it ends by time is tested where time can be moved.
pub async fn a_lease_has_one_holder_until_it_ends(store: &impl Store) {
    assert_eq!(store.acquire(&[key(1)], ONE, MINUTE).await.unwrap(), [LeaseAttempt::Acquired]);
    let attempts = store.acquire(&[key(2), key(1)], OTHER, MINUTE).await.unwrap();
    let [LeaseAttempt::Acquired, LeaseAttempt::Held { remaining }] = attempts[..] else {
        unreachable_attempts(&attempts)
    };
    assert!(remaining > MINUTE / 2 && remaining <= MINUTE);
    assert_eq!(store.acquire(&[key(1)], ONE, MINUTE).await.unwrap(), [LeaseAttempt::Acquired]);
    store.release(&[key(1)], ONE).await.unwrap();
    assert_eq!(store.acquire(&[key(1)], OTHER, MINUTE).await.unwrap(), [LeaseAttempt::Acquired]);
}

#[expect(clippy::panic, reason = "a conformance suite fails by panicking")]
fn unreachable_attempts(attempts: &[LeaseAttempt]) -> ! {
    panic!("the second was held by another, but the attempts say {attempts:?}")
}

/// Contract of `LeaseStore`, 3.
pub async fn a_lease_is_neither_renewed_nor_released_by_another_token(store: &impl Store) {
    store.acquire(&[key(1)], ONE, MINUTE).await.unwrap();
    assert_eq!(store.renew(&[key(1), key(2)], OTHER, MINUTE).await.unwrap(), [false, false]);
    store.release(&[key(1)], OTHER).await.unwrap();
    assert_eq!(store.renew(&[key(1)], ONE, MINUTE).await.unwrap(), [true]);
    store.release(&[key(1)], ONE).await.unwrap();
    assert_eq!(store.renew(&[key(1)], ONE, MINUTE).await.unwrap(), [false]);
}

/// Erases everything selected, in pages of three; the digests and what was kept.
async fn erase(store: &impl Store, what: Selector, position: LogPosition) -> (Vec<CacheKey>, u64) {
    let mut cursor = EraseCursor { position, after: None };
    let (mut erased, mut kept) = (Vec::new(), 0);
    loop {
        let page = store.erase_page(&what, &cursor, 3).await.unwrap();
        assert!(page.erased.len() <= 3);
        erased.extend(page.erased);
        kept += page.kept;
        match page.next {
            Some(next) => cursor = next,
            None => return (erased, kept),
        }
    }
}

/// Contract of `ErasureIndex`, 1 and 3.
pub async fn an_erasure_goes_page_by_page_and_leaves_nothing(store: &impl Store) {
    let label = Label::new("radio").unwrap();
    for what in [Selector::Label(label), Selector::Namespace(Namespace::CHUNK), Selector::All] {
        store.put((0..8).map(|number| labelled(key(number), "radio")).collect()).await.unwrap();
        let other = key_in(Namespace::TRANSCRIPT, 100);
        store_one(store, put(other, "other")).await;
        let position = store.append(&[what.subject()]).await.unwrap();
        let selected = if what == Selector::All { 9 } else { 8 };
        assert_eq!(store.remaining(&what, position).await.unwrap(), selected);
        let (erased, _) = erase(store, what, position).await;
        assert_eq!(erased.len() as u64, selected, "{what:?}");
        assert!(erased.contains(&key(3)));
        assert_eq!(store.remaining(&what, position).await.unwrap(), 0);
        assert_eq!(found(store, other).await.is_some(), what != Selector::All);
    }
    store.scrub().await.unwrap();
}

/// Contract of `ErasureIndex`, 1.
pub async fn an_erasure_of_an_owner_leaves_what_others_own(store: &impl Store) {
    store
        .put(vec![owned(key(1), &["ada"]), owned(key(2), &["ada", "bob"]), owned(key(3), &["bob"])])
        .await
        .unwrap();
    let ada = Selector::Owner(owner("ada"));
    let position = store.append(&[ada.subject()]).await.unwrap();
    assert_eq!(store.remaining(&ada, position).await.unwrap(), 2);
    let (erased, kept) = erase(store, ada, position).await;
    assert_eq!((erased, kept), (vec![key(1)], 1));
    assert_eq!(store.remaining(&ada, position).await.unwrap(), 0);
    assert!(found(store, key(2)).await.is_some() && found(store, key(3)).await.is_some());
    let bumps = store.since(position.seq, 100).await.unwrap().bumps;
    assert_eq!(bumps.iter().map(|bump| bump.subject).collect::<Vec<_>>(), [Subject::of_key(&key(1))]);
}

/// Contract of `ErasureIndex`, 1.
pub async fn an_erasure_leaves_what_was_stored_after_it_began(store: &impl Store) {
    store.put(vec![labelled(key(1), "radio"), labelled(key(2), "radio")]).await.unwrap();
    let radio = Selector::Label(Label::new("radio").unwrap());
    let position = store.append(&[radio.subject()]).await.unwrap();
    assert_eq!(store_one(store, labelled(key(2), "radio")).await.verdict, StoreVerdict::Stored);
    let (erased, _) = erase(store, radio, position).await;
    assert_eq!(erased, [key(1)]);
    assert!(found(store, key(2)).await.is_some());
    assert_eq!(store.remaining(&radio, position).await.unwrap(), 0);
}

/// Contract of `ErasureIndex`, 4.
pub async fn a_sweep_removes_what_is_past_or_ended_and_nothing_else(store: &impl Store) {
    let soon = start() + Duration::from_secs(1);
    let past =
        (0..5).map(|number| TierPut { expires_at: soon, keep_until: soon, ..put(key(number), "past") });
    store.put(past.collect()).await.unwrap();
    store
        .put(vec![put(key(10), "lives"), labelled(key(11), "over"), owned(key(12), &["ada"])])
        .await
        .unwrap();
    store.append(&[Label::new("over").unwrap().subject(), owner("ada").subject()]).await.unwrap();
    let mut removed = 0;
    loop {
        let page = store.sweep_page(soon, 2).await.unwrap();
        assert!(page.entries <= 2);
        removed += page.entries;
        if !page.more {
            break;
        }
    }
    assert_eq!(removed, 7);
    assert_eq!(found(store, key(10)).await.as_deref(), Some("lives"));
    assert_eq!(store.sweep_page(soon, 100).await.unwrap().entries, 0);
}

/// Contract of `HotSetStore`, 1.
pub async fn the_hot_set_is_the_last_one_saved_the_most_worth_first(store: &impl Store) {
    let hot = |number, hits, cost, bytes| HotKey { key: key(number), hits, cost, bytes };
    store.save(vec![hot(9, 1, 1, 1)]).await.unwrap();
    store.save(vec![hot(1, 10, 1, 100), hot(2, 10, 50, 100), hot(3, 10, 50, 10_000)]).await.unwrap();
    assert_eq!(store.load(2).await.unwrap(), [hot(2, 10, 50, 100), hot(1, 10, 1, 100)]);
    let all = store.load(100).await.unwrap();
    assert_eq!(all.len(), 3);
    assert_eq!(all.first().map(|hot| hot.key.content()), Some(key(2).content()));
}

/// Contract of `LeaseStore`, 1, for a store that ends leases by this clock.
pub async fn a_lease_that_is_not_renewed_ends(
    store: &impl Store,
    clock: &Arc<wavequill_kernel::testing::ManualClock>,
) {
    let before = clock.now();
    store.acquire(&[key(1)], ONE, MINUTE).await.unwrap();
    clock.advance(MINUTE / 2);
    assert_eq!(store.renew(&[key(1)], ONE, MINUTE).await.unwrap(), [true]);
    clock.advance(Duration::from_secs(59));
    let attempt = store.acquire(&[key(1)], OTHER, MINUTE).await.unwrap();
    assert_eq!(attempt, [LeaseAttempt::Held { remaining: Duration::from_secs(1) }]);
    clock.advance(Duration::from_secs(1));
    assert_eq!(store.renew(&[key(1)], ONE, MINUTE).await.unwrap(), [false]);
    assert_eq!(store.acquire(&[key(1)], OTHER, MINUTE).await.unwrap(), [LeaseAttempt::Acquired]);
    assert_eq!(clock.now(), before + MINUTE / 2 + MINUTE);
}
