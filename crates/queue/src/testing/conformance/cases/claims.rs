//! Order, leases, rescue.

use super::{
    ClaimRequest, Duration, Ended, FailureCause, FreeSlots, JobId, JobQuery, JobState, JobType, Kit,
    LeasedJob, NewJob, SECOND, SessionId, Settled, Settlement, StoreHarness, SweepReport, failed, ids, new,
};
use crate::model::order::to_micros;
use crate::{Beat, Claimed, DeadCause, Json, Lease, Priority, Progress, QueueError};

pub async fn jobs_are_claimed_in_the_order_of_their_keys(harness: &dyn StoreHarness) {
    let kit = Kit::new(harness);
    let session = kit.session().await;
    let low = kit.add_one(new(1).with_priority(Priority::LOW)).await;
    let normal = kit.add_one(new(2)).await;
    let urgent = kit.add_one(new(3).with_priority(Priority::URGENT)).await;
    let pressing = kit.add_one(new(4).with_deadline(harness.now().await + SECOND)).await;
    kit.advance(Duration::from_millis(1)).await;
    let second = kit.add_one(new(5)).await;
    assert_eq!(ids(&kit.claim(session, 2).await), [urgent, pressing]);
    assert_eq!(ids(&kit.claim(session, 9).await), [normal, second, low]);
    assert!(kit.claim(session, 9).await.is_empty());
}

pub async fn of_a_batch_with_a_bad_job_nothing_is_stored(harness: &dyn StoreHarness) {
    let kit = Kit::new(harness);
    let large = NewJob::new(JobType::INDEXING, &"x".repeat(NewJob::MAX_PAYLOAD_BYTES)).unwrap();
    let refused = kit.store.enqueue(vec![new(1), large, new(2)]).await.unwrap_err();
    let QueueError::InvalidJob { index: 1, reason } = refused else { panic!("{refused}") };
    assert_eq!(reason.name(), "payload");
    assert!(kit.store.read(&JobQuery::default()).await.unwrap().jobs.is_empty());
}

pub async fn a_scheduled_job_is_claimed_once_it_is_due_and_not_before(harness: &dyn StoreHarness) {
    let kit = Kit::new(harness);
    let session = kit.session().await;
    let job = kit.add_one(new(1).with_run_at(harness.now().await + 10 * SECOND)).await;
    assert_eq!(kit.state(job).await, JobState::Scheduled);
    kit.advance(9 * SECOND).await;
    assert!(kit.claim(session, 1).await.is_empty());
    kit.advance(2 * SECOND).await;
    assert_eq!(ids(&kit.claim(session, 1).await), [job]);
}

pub async fn an_empty_claim_says_when_the_next_job_is_due(harness: &dyn StoreHarness) {
    let kit = Kit::new(harness);
    let session = kit.session().await;
    kit.add_one(new(1).with_run_at(harness.now().await + 100 * SECOND)).await;
    let request = ClaimRequest { session, free: FreeSlots(1), only: None };
    let Claimed { jobs, next_due } = kit.store.claim(request).await.unwrap();
    assert!(jobs.is_empty());
    let next_due = next_due.unwrap();
    assert!((90 * SECOND..=100 * SECOND).contains(&next_due), "{next_due:?}");
}

pub async fn a_type_that_the_worker_lacks_is_not_claimed(harness: &dyn StoreHarness) {
    let kit = Kit::new(harness);
    let session = kit.session().await;
    kit.add_one(NewJob::new(JobType::TRANSLATION, "x").unwrap()).await;
    assert!(kit.claim(session, 9).await.is_empty());
}

pub async fn an_ended_session_can_neither_beat_nor_claim(harness: &dyn StoreHarness) {
    let kit = Kit::new(harness);
    let (dead, closed) = (kit.session().await, kit.session().await);
    kit.store.close_session(closed).await.unwrap();
    kit.bury(dead).await;
    for session in [dead, closed, SessionId::new(4_711)] {
        assert_eq!(kit.store.beat(session, Vec::new()).await.unwrap(), Beat::Fenced);
        let request = ClaimRequest { session, free: FreeSlots(1), only: None };
        let refused = kit.store.claim(request).await.unwrap_err();
        assert!(matches!(refused, QueueError::Fenced { session: named } if named == session), "{refused}");
    }
    kit.store.close_session(closed).await.unwrap();
}

pub async fn only_the_latest_token_settles_a_job(harness: &dyn StoreHarness) {
    let kit = Kit::new(harness);
    let (first, second) = (kit.session().await, kit.session().await);
    let job = kit.add_one(new(1)).await;
    let stale = kit.claim_one(first).await;
    kit.maintain().await;
    kit.advance(kit.store.timing().session_ttl / 2).await;
    kit.store.beat(second, Vec::new()).await.unwrap();
    kit.maintain().await;
    kit.advance(kit.store.timing().session_ttl / 2).await;
    assert_eq!(kit.maintain().await.rescued, 1);
    // Nobody holds it: the old token does not either.
    assert_eq!(kit.settle(&stale, Settlement::Completed { result: None }).await, Settled::Stale);
    let held = kit.claim_one(second).await;
    assert!(held.lease.token > stale.lease.token);
    for settlement in [Settlement::Completed { result: None }, Settlement::Returned, Settlement::Cancelled] {
        assert_eq!(kit.settle(&stale, settlement).await, Settled::Stale);
    }
    let forged = LeasedJob { lease: Lease { session: first, ..held.lease }, ..held.clone() };
    assert_eq!(kit.settle(&forged, Settlement::Completed { result: None }).await, Settled::Stale);
    assert_eq!(kit.job(job).await.lease, Some(held.lease));
    kit.complete(&held).await;
    assert_eq!(kit.settle(&held, Settlement::Completed { result: None }).await, Settled::Stale);
}

pub async fn a_silent_worker_is_rescued_after_its_time_and_a_live_one_is_not(harness: &dyn StoreHarness) {
    let kit = Kit::new(harness);
    let (silent, live) = (kit.session().await, kit.session().await);
    kit.add(vec![new(1), new(2)]).await;
    let lost = kit.claim_one(silent).await;
    let kept = kit.claim_one(live).await;
    let third = kit.store.timing().session_ttl / 3;
    kit.maintain().await;
    for _ in 0..2 {
        kit.advance(third).await;
        kit.store.beat(live, Vec::new()).await.unwrap();
        assert_eq!(kit.maintain().await, SweepReport::default());
    }
    kit.advance(third).await;
    let report = kit.maintain().await;
    assert_eq!((report.fenced, report.rescued), (1, 1));
    let job = kit.job(lost.job.id).await;
    assert_eq!((job.state, job.attempts.crashes), (JobState::Ready, 1));
    assert_eq!(job.errors[0].cause, FailureCause::Crashed);
    assert_eq!(kit.state(kept.job.id).await, JobState::Running);
}

pub async fn missed_heartbeats_alone_end_no_lease(harness: &dyn StoreHarness) {
    let kit = Kit::new(harness);
    let session = kit.session().await;
    kit.add_one(new(1)).await;
    let held = kit.claim_one(session).await;
    kit.advance(100 * kit.store.timing().session_ttl).await;
    kit.complete(&held).await;
}

pub async fn a_completed_job_keeps_its_result(harness: &dyn StoreHarness) {
    let kit = Kit::new(harness);
    let session = kit.session().await;
    let job = kit.add_one(new(1)).await;
    let held = kit.claim_one(session).await;
    let result = Json::of("done “well” \u{1F3B5} \0").unwrap();
    let settled = kit.settle(&held, Settlement::Completed { result: Some(result.clone()) }).await;
    assert_eq!(settled, Settled::Applied(JobState::Completed));
    let stored = kit.job(job).await;
    assert_eq!((stored.result, stored.lease), (Some(result), None));
    assert!(stored.finished_at.is_some());
    let without = kit.store.read(&JobQuery { results: false, ..JobQuery::ids([job]) }).await.unwrap();
    assert_eq!(without.jobs[0].result, None);
}

pub async fn a_lease_that_is_settled_twice_in_one_call_ends_once(harness: &dyn StoreHarness) {
    let kit = Kit::new(harness);
    let session = kit.session().await;
    kit.add(vec![new(1), new(2)]).await;
    let held = kit.claim(session, 2).await;
    let done = |leased: &LeasedJob| Ended {
        lease: leased.lease,
        settlement: Settlement::Completed { result: None },
    };
    let settled = kit.store.settle(vec![done(&held[0]), done(&held[1]), done(&held[0])]).await.unwrap();
    let applied = Settled::Applied(JobState::Completed);
    assert_eq!(settled, [applied, applied, Settled::Stale]);
    assert!(kit.store.settle(Vec::new()).await.unwrap().is_empty());
}

pub async fn a_retry_waits_and_keeps_what_went_wrong(harness: &dyn StoreHarness) {
    let kit = Kit::new(harness);
    let session = kit.session().await;
    let job = kit.add_one(new(1)).await;
    let first = kit.job(job).await;
    let held = kit.claim_one(session).await;
    let retry = Settlement::Retry { after: 30 * SECOND, error: failed(FailureCause::Transient) };
    assert_eq!(kit.settle(&held, retry).await, Settled::Applied(JobState::Scheduled));
    kit.advance(29 * SECOND).await;
    assert!(kit.claim(session, 1).await.is_empty());
    kit.advance(2 * SECOND).await;
    let again = kit.claim_one(session).await;
    assert_eq!(again.job.attempts.failures, 1);
    assert_eq!(again.job.errors.len(), 1);
    assert_eq!(again.job.errors[0].message, "it did not work");
    // Some stores let time pass by moving all instants: the place is kept relative to when it first fell due.
    let place = |job: &crate::Job| job.sort_key.as_micros() - to_micros(job.due_at);
    assert_eq!(place(&again.job), place(&first), "its place in line is kept");
    assert!(again.job.run_at > again.job.due_at);
    let dead = Settlement::Dead { cause: DeadCause::Exhausted, error: failed(FailureCause::TimedOut) };
    assert_eq!(kit.settle(&again, dead).await, Settled::Applied(JobState::Dead));
    let job = kit.job(job).await;
    assert_eq!((job.attempts.failures, job.errors.len()), (2, 2));
}

pub async fn a_snooze_spends_no_attempt_and_a_return_spends_nothing(harness: &dyn StoreHarness) {
    let kit = Kit::new(harness);
    let session = kit.session().await;
    kit.add_one(new(1)).await;
    let held = kit.claim_one(session).await;
    assert_eq!(kit.settle(&held, Settlement::Returned).await, Settled::Applied(JobState::Ready));
    let held = kit.claim_one(session).await;
    assert_eq!(held.job.attempts, crate::Attempts::default());
    let snoozed = kit.settle(&held, Settlement::Snoozed { after: SECOND }).await;
    assert_eq!(snoozed, Settled::Applied(JobState::Scheduled));
    kit.advance(2 * SECOND).await;
    let held = kit.claim_one(session).await;
    assert_eq!((held.job.attempts.failures, held.job.attempts.snoozes), (0, 1));
}

pub async fn a_job_that_crashes_its_worker_three_times_is_set_aside(harness: &dyn StoreHarness) {
    let kit = Kit::new(harness);
    let job = kit.add_one(new(1)).await;
    for crash in 1..=3 {
        let session = kit.session().await;
        // The second rescue waits a little.
        kit.advance(5 * SECOND).await;
        assert_eq!(ids(&kit.claim(session, 1).await), [job]);
        let report = kit.bury(session).await;
        assert_eq!(report.rescued, u32::from(crash < 3));
        assert_eq!(report.ended.len(), usize::from(crash == 3));
    }
    let job = kit.job(job).await;
    assert_eq!((job.state, job.attempts.crashes), (JobState::Quarantined, 3));
}

pub async fn a_closed_session_returns_what_it_holds(harness: &dyn StoreHarness) {
    let kit = Kit::new(harness);
    let session = kit.session().await;
    let job = kit.add_one(new(1)).await;
    let held = kit.claim_one(session).await;
    kit.store.close_session(session).await.unwrap();
    let stored = kit.job(job).await;
    assert_eq!((stored.state, stored.attempts), (JobState::Ready, crate::Attempts::default()));
    assert_eq!(kit.settle(&held, Settlement::Completed { result: None }).await, Settled::Stale);
}

pub async fn an_abandoned_session_is_rescued_by_the_next_upkeep(harness: &dyn StoreHarness) {
    let kit = Kit::new(harness);
    let session = kit.session().await;
    let job = kit.add_one(new(1)).await;
    kit.claim_one(session).await;
    kit.store.abandon_session(session);
    kit.maintain().await;
    assert_eq!(kit.state(job).await, JobState::Ready);
    assert!(kit.store.workers().await.unwrap().is_empty());
}

pub async fn progress_counts_under_the_present_lease_only(harness: &dyn StoreHarness) {
    let kit = Kit::new(harness);
    let session = kit.session().await;
    let job = kit.add_one(new(1)).await;
    let old = kit.claim_one(session).await;
    kit.settle(&old, Settlement::Returned).await;
    let held = kit.claim_one(session).await;
    let report = |lease, share: f64| Progress { lease, body: Json::of(&share).unwrap() };
    kit.store.beat(session, vec![report(held.lease, 0.25), report(old.lease, 0.75)]).await.unwrap();
    assert_eq!(kit.job(job).await.progress.unwrap().as_str(), "0.25");
}

pub async fn only_listed_jobs_are_claimed_if_a_list_is_given(harness: &dyn StoreHarness) {
    let kit = Kit::new(harness);
    let session = kit.session().await;
    let jobs = kit.add(vec![new(1), new(2), new(3)]).await;
    let claim = |list: Vec<JobId>, free| {
        kit.store.claim(ClaimRequest { session, free: FreeSlots(free), only: Some(list) })
    };
    assert!(claim(Vec::new(), 9).await.unwrap().jobs.is_empty());
    let unknown = JobId::new(9_999);
    let claimed = claim(vec![jobs[2], unknown, jobs[1], jobs[1]], 9).await.unwrap().jobs;
    assert_eq!(ids(&claimed), [jobs[1], jobs[2]]);
    assert!(claim(vec![jobs[2]], 9).await.unwrap().jobs.is_empty(), "it runs already");
    assert_eq!(ids(&kit.claim(session, 9).await), [jobs[0]]);
}
