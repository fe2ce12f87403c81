//! Limits, tenants, placement.

use super::{JobId, JobState, JobType, Kit, NewJob, SECOND, StoreHarness, WorkerType, ids, new};
use crate::{Command, Cost, Limit, LimitKey, Placement, Rate, Tenant};

fn key() -> LimitKey {
    LimitKey::new("customer").unwrap()
}

async fn set_limit(kit: &Kit<'_>, limit: Option<Limit>) {
    kit.store.administer(Command::SetLimit { key: key(), limit }).await.unwrap();
}

pub async fn a_limit_is_never_exceeded_and_never_leaves_a_place_empty(harness: &dyn StoreHarness) {
    let kit = Kit::new(harness);
    let session = kit.session().await;
    set_limit(&kit, Some(Limit::default().with_max_running(2))).await;
    let jobs = kit.add((0..6).map(|n| new(n).with_limit_key(key())).collect()).await;
    let free = kit.add_one(new(9)).await;
    let mut held = kit.claim(session, 10).await;
    assert_eq!(ids(&held), [jobs[0], jobs[1], free]);
    held.retain(|leased| leased.job.limit_key.is_some());
    let mut seen = ids(&held);
    while let Some(next) = held.pop() {
        kit.complete(&next).await;
        let more = kit.claim(session, 10).await;
        assert!(held.len() + more.len() <= 2);
        assert!(seen.len() == 6 || held.len() + more.len() == 2, "a place stays empty");
        seen.extend(ids(&more));
        held.extend(more);
    }
    seen.sort();
    assert_eq!(seen, jobs);
}

pub async fn a_cancelled_turn_does_not_block_its_key(harness: &dyn StoreHarness) {
    let kit = Kit::new(harness);
    let session = kit.session().await;
    set_limit(&kit, Some(Limit::default().with_max_running(1))).await;
    let jobs = kit.add((0..3).map(|n| new(n).with_limit_key(key())).collect()).await;
    let held = kit.claim(session, 10).await;
    assert_eq!(ids(&held), [jobs[0]]);
    assert_eq!(kit.state(jobs[1]).await, JobState::Parked);
    kit.complete(&held[0]).await;
    assert_eq!(kit.state(jobs[1]).await, JobState::Ready);
    kit.store.administer(Command::Cancel { jobs: vec![jobs[1]] }).await.unwrap();
    kit.maintain().await;
    assert_eq!(ids(&kit.claim(session, 10).await), [jobs[2]]);
}

pub async fn a_lifted_limit_lets_all_go(harness: &dyn StoreHarness) {
    let kit = Kit::new(harness);
    let session = kit.session().await;
    set_limit(&kit, Some(Limit::default().with_max_running(0))).await;
    let jobs = kit.add((0..3).map(|n| new(n).with_limit_key(key())).collect()).await;
    assert!(kit.claim(session, 10).await.is_empty());
    set_limit(&kit, Some(Limit::default().with_max_running(1))).await;
    assert_eq!(ids(&kit.claim(session, 10).await), [jobs[0]]);
    set_limit(&kit, None).await;
    assert_eq!(ids(&kit.claim(session, 10).await), [jobs[1], jobs[2]]);
}

pub async fn a_rate_spaces_starts(harness: &dyn StoreHarness) {
    let kit = Kit::new(harness);
    let session = kit.session().await;
    let rate = Rate::new(1, 10 * SECOND, 2).unwrap();
    set_limit(&kit, Some(Limit::default().with_rate(rate))).await;
    kit.add((0..5).map(|n| new(n).with_limit_key(key())).collect()).await;
    assert_eq!(kit.claim(session, 10).await.len(), 2, "the burst");
    kit.advance(5 * SECOND).await;
    assert_eq!(kit.claim(session, 10).await.len(), 0);
    kit.advance(6 * SECOND).await;
    assert_eq!(kit.claim(session, 10).await.len(), 1);
    kit.advance(11 * SECOND).await;
    assert_eq!(kit.claim(session, 10).await.len(), 1);
}

fn of(name: &str, cost: f32) -> NewJob {
    new(1).with_tenant(Tenant::new(name).unwrap()).with_cost(Cost::new(cost).unwrap())
}

pub async fn tenants_take_turns_whatever_they_have_in_line(harness: &dyn StoreHarness) {
    let kit = Kit::new(harness);
    let session = kit.session().await;
    kit.add((0..500).map(|_| of("large", 1.0)).collect()).await;
    for n in 0..9 {
        kit.add((0..3).map(|_| of(&format!("small-{n}"), 1.0)).collect()).await;
    }
    // Three rounds of one job a tenant, in claims of any size.
    let mut claimed = Vec::new();
    for free in [7, 10, 13] {
        claimed.extend(kit.claim(session, free).await);
    }
    let small = claimed.iter().filter(|leased| leased.job.tenant.as_ref().unwrap().as_str() != "large");
    assert_eq!((claimed.len(), small.count()), (30, 27));
}

pub async fn a_tenant_of_twice_the_weight_gets_twice_the_cost(harness: &dyn StoreHarness) {
    let kit = Kit::new(harness);
    let session = kit.session().await;
    let tenant = Tenant::new("double").unwrap();
    kit.store.administer(Command::SetWeight { tenant: tenant.clone(), weight: 2.0 }).await.unwrap();
    kit.add((0..100).map(|_| of("double", 2.0)).collect()).await;
    kit.add((0..100).map(|_| of("single", 1.0)).collect()).await;
    let mut cost = (0.0, 0.0);
    for _ in 0..6 {
        for leased in kit.claim(session, 10).await {
            let of_double = leased.job.tenant.as_ref() == Some(&tenant);
            *(if of_double { &mut cost.0 } else { &mut cost.1 }) += leased.job.cost.get();
        }
    }
    let ratio = cost.0 / cost.1;
    assert!((1.7..=2.3).contains(&ratio), "{cost:?}");
}

pub async fn a_placed_job_is_taken_up_by_its_worker_only(harness: &dyn StoreHarness) {
    let kit = Kit::new(harness);
    let (mine, other) = (kit.session().await, kit.session().await);
    let jobs = kit.add(vec![new(1), new(2)]).await;
    let placed = kit.store.place(vec![Placement { job: jobs[1], session: mine }]).await.unwrap();
    assert_eq!(placed, [true]);
    assert_eq!(kit.state(jobs[1]).await, JobState::Placed);
    assert_eq!(ids(&kit.claim(other, 9).await), [jobs[0]]);
    let held = kit.claim_one(mine).await;
    assert_eq!(held.job.id, jobs[1]);
    kit.complete(&held).await;
}

pub async fn a_placed_job_that_nobody_takes_up_is_in_line_again(harness: &dyn StoreHarness) {
    let kit = Kit::new(harness);
    let session = kit.session().await;
    let job = kit.add_one(new(1)).await;
    kit.store.place(vec![Placement { job, session }]).await.unwrap();
    kit.advance(4 * SECOND).await;
    assert_eq!(kit.maintain().await.returned, 0);
    kit.advance(2 * SECOND).await;
    assert_eq!(kit.maintain().await.returned, 1);
    let stored = kit.job(job).await;
    assert_eq!((stored.state, stored.attempts), (JobState::Ready, crate::Attempts::default()));
}

pub async fn a_placement_obeys_types_pauses_and_limits(harness: &dyn StoreHarness) {
    let kit = Kit::new(harness);
    let session = kit.session().await;
    set_limit(&kit, Some(Limit::default().with_max_running(1))).await;
    let alien = kit.add_one(NewJob::new(JobType::TRANSLATION, "x").unwrap()).await;
    let limited = kit.add((0..2).map(|n| new(n).with_limit_key(key())).collect()).await;
    let place = |jobs: Vec<JobId>| {
        let placements = jobs.into_iter().map(|job| Placement { job, session }).collect();
        kit.store.place(placements)
    };
    let placed = place(vec![alien, limited[0], limited[0], limited[1], JobId::new(999)]).await.unwrap();
    assert_eq!(placed, [false, true, false, false, false]);
    let worker_type = WorkerType::INDEXING;
    kit.store.administer(Command::Pause { worker_type }).await.unwrap();
    let free = kit.add_one(new(3)).await;
    assert_eq!(place(vec![free]).await.unwrap(), [false]);
}
