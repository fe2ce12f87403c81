//! Unique jobs, operators, reads.

use wavequill_kernel::Ttl;

use super::{
    ClaimRequest, Duration, Enqueued, FailureCause, FreeSlots, JobId, JobQuery, JobState, JobType, Kit,
    NewJob, SECOND, Settled, Settlement, StoreHarness, WorkerType, failed, ids, new,
};
use crate::{Beat, Command, DeadCause, OnDuplicate, Priority, SkipReason, Skipped, Tenant, Uniqueness};

fn unique() -> NewJob {
    new(1).with_unique(Uniqueness::while_live())
}

pub async fn a_paused_type_is_not_claimed_until_it_is_resumed(harness: &dyn StoreHarness) {
    let kit = Kit::new(harness);
    let session = kit.session().await;
    let jobs = kit.add(vec![new(1), new(2).with_tenant(Tenant::new("t").unwrap())]).await;
    kit.store.administer(Command::Pause { worker_type: WorkerType::INDEXING }).await.unwrap();
    assert!(kit.claim(session, 9).await.is_empty());
    let listed = ClaimRequest { session, free: FreeSlots(9), only: Some(jobs.clone()) };
    assert!(kit.store.claim(listed).await.unwrap().jobs.is_empty());
    kit.store.administer(Command::Resume { worker_type: WorkerType::INDEXING }).await.unwrap();
    assert_eq!(kit.claim(session, 9).await.len(), 2);
}

pub async fn a_live_unique_key_has_one_live_job(harness: &dyn StoreHarness) {
    let kit = Kit::new(harness);
    let session = kit.session().await;
    let both = kit.store.enqueue(vec![unique(), new(2), unique()]).await.unwrap();
    assert!(both[0].is_new() && both[1].is_new());
    assert_eq!(both[2], Enqueued::Existing(both[0].id()));
    let other = new(1).with_unique(Uniqueness::while_live().by(*b"other scope"));
    assert!(kit.store.enqueue(vec![other]).await.unwrap()[0].is_new());
    let held = kit.claim_one(session).await;
    assert_eq!(held.job.id, both[0].id());
    assert_eq!(kit.add_one(unique()).await, held.job.id, "while it runs");
    let retry = Settlement::Retry { after: SECOND, error: failed(FailureCause::Transient) };
    kit.settle(&held, retry).await;
    assert_eq!(kit.add_one(unique()).await, held.job.id, "while it waits for a retry");
    kit.advance(2 * SECOND).await;
    let claimed = kit.claim(session, 9).await;
    let held = claimed.into_iter().find(|leased| leased.job.id == held.job.id).unwrap();
    kit.complete(&held).await;
    assert_ne!(kit.add_one(unique()).await, held.job.id, "the key dies with the job");
}

pub async fn a_unique_window_outlives_its_job(harness: &dyn StoreHarness) {
    let kit = Kit::new(harness);
    let session = kit.session().await;
    let job = || new(1).with_unique(Uniqueness::within(Ttl::new(60 * SECOND).unwrap()));
    let first = kit.add_one(job()).await;
    let held = kit.claim_one(session).await;
    kit.complete(&held).await;
    assert_eq!(kit.add_one(job()).await, first);
    kit.advance(61 * SECOND).await;
    assert_ne!(kit.add_one(job()).await, first);
}

pub async fn a_renewed_job_has_its_attempts_again_and_is_due_at_once(harness: &dyn StoreHarness) {
    let kit = Kit::new(harness);
    let session = kit.session().await;
    let scope = Uniqueness::while_live().by(*b"file").on_duplicate(OnDuplicate::Renew);
    let job = kit.add_one(new(1).with_unique(scope.clone())).await;
    let held = kit.claim_one(session).await;
    let retry = Settlement::Retry { after: 100 * SECOND, error: failed(FailureCause::Panicked) };
    kit.settle(&held, retry).await;
    assert_eq!(kit.job(job).await.attempts.crashes, 1);
    assert_eq!(kit.add_one(new(2).with_unique(scope)).await, job);
    let held = kit.claim_one(session).await;
    assert_eq!((held.job.id, held.job.attempts), (job, crate::Attempts::default()));
    assert_eq!(held.job.payload.as_str(), "2", "the next attempt has the new payload");
    assert_eq!(held.job.errors.len(), 1, "what went wrong is kept");
}

pub async fn a_waiting_job_is_replaced_and_a_running_one_is_not(harness: &dyn StoreHarness) {
    let kit = Kit::new(harness);
    let session = kit.session().await;
    let scope = Uniqueness::while_live().by(*b"file").on_duplicate(OnDuplicate::Replace);
    let job = kit.add_one(new(1).with_unique(scope.clone())).await;
    let urgent = new(2).with_unique(scope.clone()).with_priority(Priority::URGENT);
    assert_eq!(kit.add_one(urgent).await, job);
    let held = kit.claim_one(session).await;
    assert_eq!((held.job.payload.as_str(), held.job.priority), ("2", Priority::URGENT));
    assert_eq!(kit.add_one(new(3).with_unique(scope)).await, job);
    assert_eq!(kit.job(job).await.payload.as_str(), "2");
    kit.complete(&held).await;
}

pub async fn a_waiting_job_is_cancelled_at_once_and_a_running_one_is_told(harness: &dyn StoreHarness) {
    let kit = Kit::new(harness);
    let session = kit.session().await;
    let jobs = kit.add(vec![new(1), new(2)]).await;
    let held = kit.claim_one(session).await;
    let cancel = Command::Cancel { jobs: vec![jobs[0], jobs[1], JobId::new(999)] };
    let affected = kit.store.administer(cancel.clone()).await.unwrap();
    assert_eq!(affected.jobs, jobs);
    assert_eq!(affected.skipped, [Skipped { job: JobId::new(999), reason: SkipReason::Unknown }]);
    assert_eq!(kit.state(jobs[0]).await, JobState::Running);
    assert_eq!(kit.state(jobs[1]).await, JobState::Cancelled);
    let beat = kit.store.beat(session, Vec::new()).await.unwrap();
    assert_eq!(beat, Beat::Alive { cancel: vec![jobs[0]] });
    let retry = Settlement::Retry { after: SECOND, error: failed(FailureCause::Transient) };
    assert_eq!(kit.settle(&held, retry).await, Settled::Applied(JobState::Cancelled));
    let again = kit.store.administer(cancel).await.unwrap();
    assert_eq!(again.skipped[0].reason, SkipReason::State(JobState::Cancelled));
}

pub async fn a_dead_job_lives_again_unless_its_key_is_taken(harness: &dyn StoreHarness) {
    let kit = Kit::new(harness);
    let session = kit.session().await;
    let job = kit.add_one(unique()).await;
    let held = kit.claim_one(session).await;
    let dead = Settlement::Dead { cause: DeadCause::Permanent, error: failed(FailureCause::Permanent) };
    kit.settle(&held, dead).await;
    let second = kit.add_one(unique()).await;
    let replay = Command::Replay { jobs: vec![job] };
    let refused = kit.store.administer(replay.clone()).await.unwrap();
    assert_eq!(refused.skipped, [Skipped { job, reason: SkipReason::AlreadyLive(second) }]);
    let held = kit.claim_one(session).await;
    kit.complete(&held).await;
    assert_eq!(kit.store.administer(replay.clone()).await.unwrap().jobs, [job]);
    let again = kit.claim_one(session).await;
    assert_eq!((again.job.id, again.job.attempts), (job, crate::Attempts::default()));
    assert_eq!(again.job.errors.len(), 1);
    kit.complete(&again).await;
    let done = kit.store.administer(replay).await.unwrap();
    assert_eq!(done.skipped[0].reason, SkipReason::State(JobState::Completed));
}

pub async fn ended_jobs_are_forgotten_after_their_retention(harness: &dyn StoreHarness) {
    let kit = Kit::new(harness);
    let session = kit.session().await;
    let jobs = kit.add(vec![new(1), new(2)]).await;
    let held = kit.claim(session, 2).await;
    kit.complete(&held[0]).await;
    let dead = Settlement::Dead { cause: DeadCause::Permanent, error: failed(FailureCause::Permanent) };
    kit.settle(&held[1], dead).await;
    kit.store.close_session(session).await.unwrap();
    let day = Duration::from_secs(86_400);
    kit.advance(6 * day).await;
    assert_eq!(kit.maintain().await.pruned, 0);
    kit.advance(2 * day).await;
    assert_eq!(kit.maintain().await.pruned, 1);
    let left = kit.store.read(&JobQuery::default()).await.unwrap().jobs;
    assert_eq!(left.iter().map(|job| job.id).collect::<Vec<_>>(), [jobs[1]]);
    kit.advance(23 * day).await;
    assert_eq!(kit.maintain().await.pruned, 1);
}

pub async fn operators_change_what_waits(harness: &dyn StoreHarness) {
    let kit = Kit::new(harness);
    let session = kit.session().await;
    let later = kit.add_one(new(1).with_run_at(harness.now().await + 60 * SECOND)).await;
    let jobs = kit.add(vec![new(2), new(3)]).await;
    let run_now = Command::RunNow { jobs: vec![later, jobs[0]] };
    let affected = kit.store.administer(run_now).await.unwrap();
    assert_eq!(affected.jobs, [later]);
    assert_eq!(affected.skipped[0].reason, SkipReason::State(JobState::Ready));
    let urgent = Command::Reprioritize { jobs: vec![jobs[1]], priority: Priority::URGENT };
    assert_eq!(kit.store.administer(urgent).await.unwrap().jobs, [jobs[1]]);
    assert_eq!(ids(&kit.claim(session, 9).await), [jobs[1], jobs[0], later]);
}

pub async fn pages_hold_every_job_once(harness: &dyn StoreHarness) {
    let kit = Kit::new(harness);
    let jobs = kit.add((0..25).map(new).collect()).await;
    kit.store.administer(Command::Cancel { jobs: jobs[..5].to_vec() }).await.unwrap();
    let mut query =
        JobQuery::default().with_limit(10).in_states([JobState::Ready]).of_type(JobType::INDEXING);
    let mut read = Vec::new();
    loop {
        let page = kit.store.read(&query).await.unwrap();
        assert!(page.jobs.len() <= 10);
        read.extend(page.jobs.iter().map(|job| job.id));
        let Some(next) = page.next else { break };
        query = query.after(next);
    }
    assert_eq!(read, jobs[5..]);
    let nobody = JobQuery::default().of_tenant(Tenant::new("nobody").unwrap());
    assert!(kit.store.read(&nobody).await.unwrap().jobs.is_empty());
}

pub async fn counts_tell_types_and_states(harness: &dyn StoreHarness) {
    let kit = Kit::new(harness);
    let session = kit.session().await;
    let later = harness.now().await + 60 * SECOND;
    kit.add(vec![new(1), new(2), new(3), new(4).with_run_at(later)]).await;
    kit.add_one(NewJob::new(JobType::TRANSLATION, "x").unwrap()).await;
    let held = kit.claim(session, 2).await;
    let dead = Settlement::Dead { cause: DeadCause::Permanent, error: failed(FailureCause::Permanent) };
    kit.settle(&held[0], dead).await;
    kit.advance(5 * SECOND).await;
    let stats = kit.store.stats().await.unwrap();
    let kind = stats.of(&JobType::INDEXING);
    assert_eq!((kind.ready, kind.running, kind.scheduled, kind.parked, kind.dead), (1, 1, 1, 0, 1));
    assert!(kind.oldest_ready.unwrap() >= 5 * SECOND);
    assert_eq!(stats.of(&JobType::TRANSLATION).ready, 1);
    let workers = kit.store.workers().await.unwrap();
    assert_eq!((workers.len(), workers[0].held, workers[0].registration.capacity()), (1, 1, 100));
}
