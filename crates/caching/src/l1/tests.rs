use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, SystemTime};

use proptest::prelude::*;
use wavequill_kernel::ContentHash;

use super::*;
use crate::model::ValueParts;
use crate::{Codec, Namespace, Outcome, PutPolicy, Subject};

/// Ends every value whose first subject it is told.
#[derive(Default)]
struct Bumps {
    position: u64,
    generation: u32,
    bumped: HashMap<Subject, u64>,
}

impl Judge for Bumps {
    fn generation(&self) -> u32 {
        self.generation
    }
    fn position(&self) -> u64 {
        self.position
    }
    fn is_alive(&self, value: &CacheValue, checked: u64) -> bool {
        value.subjects().iter().all(|subject| self.bumped.get(subject).is_none_or(|seq| *seq <= checked))
    }
}

fn key(number: u64) -> CacheKey {
    let mut digest = [0; 32];
    digest[..8].copy_from_slice(&number.to_le_bytes());
    CacheKey::new(Namespace::CHUNK, digest, ContentHash::new([0; 32], 0))
}

fn value(number: u64, bytes: usize) -> CacheValue {
    CacheValue::from_parts(ValueParts {
        body: vec![number as u8; bytes].into(),
        codec: Codec::Verbatim,
        schema: 0,
        outcome: Outcome::Present,
        subjects: [Subject::of_key(&key(number))].into(),
        owner_count: 0,
        cost: MissCost::ZERO,
        policy: PutPolicy::KeepFirst,
        created_at: SystemTime::UNIX_EPOCH,
        expires_at: SystemTime::UNIX_EPOCH + Duration::from_secs(60),
        stale_until: SystemTime::UNIX_EPOCH + Duration::from_secs(60),
    })
}

const FOREVER: Residence = Residence { deadline: u64::MAX, checked: 0, generation: 0 };

fn table(budget: u64) -> L1Table {
    L1Table::new(budget, budget / 8, Evictions::noop())
}

fn insert(table: &L1Table, number: u64, bytes: usize) -> L1Verdict {
    table.insert(&key(number), value(number, bytes), FOREVER, 0)
}

fn is_there(table: &L1Table, number: u64) -> bool {
    table.contains(&key(number), 0, &Bumps::default())
}

#[test]
fn a_value_is_found_until_its_deadline_and_its_bytes_are_given_back_after() {
    let table = table(1 << 20);
    let until = Residence { deadline: 100, ..FOREVER };
    assert_eq!(table.insert(&key(1), value(1, 10), until, 0), L1Verdict::Admitted);
    assert!(table.get(&key(1), 99, &Bumps::default()).is_some());
    assert!(table.get(&key(1), 100, &Bumps::default()).is_none());
    assert_eq!((table.bytes(), table.counts().entries), (0, 0));
}

#[test]
fn an_entry_that_was_bumped_after_it_was_checked_is_gone() {
    let table = table(1 << 20);
    insert(&table, 1, 10);
    insert(&table, 2, 10);
    let bumps =
        Bumps { position: 7, generation: 0, bumped: [(Subject::of_key(&key(1)), 7)].into_iter().collect() };
    assert!(table.get(&key(1), 0, &bumps).is_none());
    assert!(table.get(&key(2), 0, &bumps).is_some());
    assert_eq!(table.counts().entries, 1);
}

#[test]
fn an_entry_that_was_put_after_the_bump_lives() {
    let table = table(1 << 20);
    let bumps =
        Bumps { position: 7, generation: 0, bumped: [(Subject::of_key(&key(1)), 7)].into_iter().collect() };
    table.insert(&key(1), value(1, 10), Residence { checked: 7, ..FOREVER }, 0);
    assert!(table.get(&key(1), 0, &bumps).is_some());
}

#[test]
fn an_entry_of_another_life_of_the_log_is_gone() {
    let table = table(1 << 20);
    insert(&table, 1, 10);
    assert!(table.get(&key(1), 0, &Bumps { generation: 1, ..Bumps::default() }).is_none());
}

#[test]
fn a_value_above_an_eighth_of_the_budget_is_refused_and_displaces_nothing() {
    let table = table(1 << 20);
    insert(&table, 1, 10);
    assert_eq!(insert(&table, 2, 1 << 18), L1Verdict::TooLarge);
    assert!(is_there(&table, 1));
}

#[test]
fn replacing_a_value_counts_its_bytes_once() {
    let table = table(1 << 20);
    insert(&table, 1, 1_000);
    insert(&table, 1, 2_000);
    assert_eq!(table.bytes(), weight_of(&value(1, 2_000)));
    assert!(table.remove(&key(1)));
    assert_eq!(table.bytes(), 0);
}

#[test]
fn what_is_used_again_and_again_survives_a_scan_of_ten_times_the_budget() {
    let table = table(1 << 20);
    let fits = (1 << 20) / weight_of(&value(0, 1_000));
    let hot = 0..fits / 2;
    for number in hot.clone() {
        insert(&table, number, 1_000);
    }
    for _ in 0..3 {
        for number in hot.clone() {
            table.get(&key(number), 0, &Bumps::default());
        }
    }
    for number in 10_000..10_000 + 10 * fits {
        insert(&table, number, 1_000);
        table.get(&key(number % (fits / 2)), 0, &Bumps::default());
    }
    let left = hot.clone().filter(|number| is_there(&table, *number)).count() as u64;
    assert!(left * 10 >= (fits / 2) * 9, "{left} of {} are left", fits / 2);
}

#[test]
fn pressure_evicts_what_was_not_used_first() {
    let table = table(1 << 20);
    for number in 0..200 {
        insert(&table, number, 1_000);
    }
    for _ in 0..3 {
        for number in 0..40 {
            table.get(&key(number), 0, &Bumps::default());
        }
    }
    let before = table.bytes();
    let evicted = table.shrink_to(before / 2, 0);
    assert!(table.bytes() <= before / 2);
    assert_eq!(evicted.bytes, before - table.bytes());
    let left = (0..40).filter(|number| is_there(&table, *number)).count();
    assert!(left >= 36, "{left} of the 40 that were used are left");
}

#[test]
fn savings_are_counted_for_each_hit() {
    let table = table(1 << 20);
    let mut parts = value(1, 10).parts().clone();
    parts.cost = MissCost::ZERO.with_audio(Duration::from_secs(60)).with_micro_dollars(6_000);
    table.insert(&key(1), CacheValue::from_parts(parts), FOREVER, 0);
    for _ in 0..3 {
        table.get(&key(1), 0, &Bumps::default());
    }
    let saved = table.counts().saved;
    assert_eq!((saved.audio, saved.micro_dollars), (Duration::from_secs(180), 18_000));
}

#[test]
fn the_weight_is_never_above_the_budget_while_four_threads_churn() {
    let table = Arc::new(table(1 << 18));
    let done = Arc::new(AtomicBool::new(false));
    let highest = std::thread::scope(|scope| {
        let watcher = {
            let (table, done) = (table.clone(), done.clone());
            scope.spawn(move || {
                let mut highest = 0;
                while !done.load(Ordering::Relaxed) {
                    highest = highest.max(table.bytes());
                }
                highest
            })
        };
        let writers: Vec<_> = (0..4_u64)
            .map(|thread| {
                let table = table.clone();
                scope.spawn(move || {
                    for round in 0..3_000 {
                        let number = mix(thread << 32 | round);
                        insert(&table, number % 500, (number % 20_000) as usize);
                        table.get(&key(number % 300), 0, &Bumps::default());
                    }
                })
            })
            .collect();
        for writer in writers {
            writer.join().unwrap();
        }
        done.store(true, Ordering::Relaxed);
        watcher.join().unwrap()
    });
    assert!(highest <= 1 << 18, "{highest}");
    let sum: u64 = table.shards.iter().map(|slot| slot.shard.read().bytes()).sum();
    assert_eq!(sum, table.bytes());
}

#[derive(Clone, Debug)]
enum Step {
    Insert(u64, usize),
    Get(u64),
    Remove(u64),
    Shrink(u64),
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        5 => (0_u64..60, 0_usize..9_000).prop_map(|(number, bytes)| Step::Insert(number, bytes)),
        5 => (0_u64..60).prop_map(Step::Get),
        1 => (0_u64..60).prop_map(Step::Remove),
        1 => (0_u64..70_000).prop_map(Step::Shrink),
    ]
}

proptest! {
    #[test]
    fn it_holds_the_last_value_of_a_key_or_none_and_never_more_than_its_budget(
        steps in proptest::collection::vec(any_step(), 1..300),
    ) {
        let table = table(1 << 16);
        let mut last = HashMap::new();
        for step in steps {
            match step {
                Step::Insert(number, bytes) => {
                    if insert(&table, number, bytes) == L1Verdict::Admitted {
                        last.insert(number, bytes);
                    }
                }
                Step::Get(number) => {
                    let found = table.get(&key(number), 0, &Bumps::default());
                    if let Some((found, _)) = found {
                        prop_assert_eq!(Some(&found.body().len()), last.get(&number));
                    }
                }
                Step::Remove(number) => {
                    table.remove(&key(number));
                    last.remove(&number);
                }
                Step::Shrink(target) => {
                    table.shrink_to(target, 0);
                    prop_assert!(table.bytes() <= target);
                }
            }
            prop_assert!(table.bytes() <= 1 << 16);
            let sum: u64 = table.shards.iter().map(|slot| slot.shard.read().bytes()).sum();
            prop_assert_eq!(sum, table.bytes());
        }
    }
}
