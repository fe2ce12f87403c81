//! Flows: jobs that wait for others.

use super::{JobId, JobState, Kit, SECOND, StoreHarness, failed, ids, new};
use crate::{
    Command, DeadCause, FailureCause, JobQuery, Json, LeasedJob, NewFlow, OnFailure, QueueError, Settlement,
    StoreConfig,
};

fn dead() -> Settlement {
    Settlement::Dead { cause: DeadCause::Permanent, error: failed(FailureCause::Permanent) }
}

/// Two members, one that waits for them, and one that waits for that.
async fn three_stages(kit: &Kit<'_>, on_failure: OnFailure) -> [JobId; 4] {
    let flow = NewFlow::of(vec![new(1), new(2)]).then(vec![new(3)]).then(vec![new(4)]);
    let stages = kit.store.enqueue_flow(flow.on_failure(on_failure)).await.unwrap().stages;
    [stages[0][0], stages[0][1], stages[1][0], stages[2][0]]
}

async fn claim_two(kit: &Kit<'_>) -> [LeasedJob; 2] {
    let session = kit.session().await;
    kit.claim(session, 9).await.try_into().unwrap()
}

async fn states(kit: &Kit<'_>, jobs: &[JobId]) -> Vec<JobState> {
    let mut states = Vec::new();
    for job in jobs {
        states.push(kit.state(*job).await);
    }
    states
}

pub async fn a_joined_job_runs_once_all_have_completed_and_reads_their_results(harness: &dyn StoreHarness) {
    let kit = Kit::new(harness);
    let session = kit.session().await;
    let flow = NewFlow::of((0..30).map(new).collect()).then(vec![new(99)]);
    let enqueued = kit.store.enqueue_flow(flow).await.unwrap();
    let join = enqueued.stages[1][0];
    let mut held = kit.claim(session, 40).await;
    assert_eq!(ids(&held), enqueued.stages[0]);
    // The last first, some alone and some together.
    held.reverse();
    for (at, chunk) in held.chunks(7).enumerate() {
        assert_eq!(kit.state(join).await, JobState::Waiting);
        assert!(kit.claim(session, 9).await.is_empty());
        let done = |leased: &LeasedJob| crate::Ended {
            lease: leased.lease,
            settlement: Settlement::Completed { result: Some(Json::of(&(at, leased.job.id)).unwrap()) },
        };
        kit.store.settle(chunk.iter().map(done).collect()).await.unwrap();
    }
    let joined = kit.claim(session, 9).await;
    assert_eq!(ids(&joined), [join]);
    assert_eq!(joined[0].job.waits_for, Some(enqueued.flows[0]));
    let members = JobQuery::default().of_flow(enqueued.flows[0]).with_results();
    let members = kit.store.read(&members).await.unwrap().jobs;
    let results: Vec<(usize, JobId)> =
        members.iter().map(|job| job.result.as_ref().unwrap().read().unwrap()).collect();
    let ordered: Vec<_> = results.iter().map(|(_, job)| *job).collect();
    assert_eq!(ordered, enqueued.stages[0]);
    kit.complete(&joined[0]).await;
    assert!(kit.claim(session, 9).await.is_empty(), "it is joined once");
}

pub async fn stages_follow_each_other_and_a_later_start_is_kept(harness: &dyn StoreHarness) {
    let kit = Kit::new(harness);
    let session = kit.session().await;
    let later = harness.now().await + 100 * SECOND;
    let flow = NewFlow::of(vec![new(1)]).then(vec![new(2)]).then(vec![new(3).with_run_at(later), new(4)]);
    let stages = kit.store.enqueue_flow(flow).await.unwrap().stages;
    for stage in &stages[..2] {
        let held = kit.claim(session, 9).await;
        assert_eq!(ids(&held), *stage);
        kit.complete(&held[0]).await;
    }
    assert_eq!(ids(&kit.claim(session, 9).await), [stages[2][1]]);
    assert_eq!(kit.state(stages[2][0]).await, JobState::Scheduled);
}

pub async fn who_waits_for_a_dead_job_is_held_until_it_is_replayed(harness: &dyn StoreHarness) {
    let kit = Kit::new(harness);
    let [first, second, join, _] = three_stages(&kit, OnFailure::Hold).await;
    let [one, other] = claim_two(&kit).await;
    kit.settle(&one, dead()).await;
    kit.complete(&other).await;
    assert_eq!(
        states(&kit, &[first, second, join]).await,
        [JobState::Dead, JobState::Completed, JobState::Waiting]
    );
    kit.store.administer(Command::Replay { jobs: vec![first] }).await.unwrap();
    let session = kit.session().await;
    let again = kit.claim_one(session).await;
    assert_eq!(again.job.id, first);
    kit.complete(&again).await;
    assert_eq!(ids(&kit.claim(session, 9).await), [join]);
}

pub async fn who_waits_for_a_cancelled_job_is_cancelled_and_who_waits_for_that_too(
    harness: &dyn StoreHarness,
) {
    let kit = Kit::new(harness);
    let [first, second, join, last] = three_stages(&kit, OnFailure::Hold).await;
    kit.store.administer(Command::Cancel { jobs: vec![first] }).await.unwrap();
    let cancelled = JobState::Cancelled;
    assert_eq!(
        states(&kit, &[first, second, join, last]).await,
        [cancelled, JobState::Ready, cancelled, cancelled]
    );
    let session = kit.session().await;
    let held = kit.claim_one(session).await;
    kit.complete(&held).await;
    assert!(kit.claim(session, 9).await.is_empty());
}

pub async fn a_dead_job_cancels_what_follows_if_that_was_asked_for(harness: &dyn StoreHarness) {
    let kit = Kit::new(harness);
    let [first, _, join, last] = three_stages(&kit, OnFailure::CancelNext).await;
    let [one, other] = claim_two(&kit).await;
    kit.settle(&one, dead()).await;
    kit.complete(&other).await;
    let cancelled = JobState::Cancelled;
    assert_eq!(states(&kit, &[first, join, last]).await, [JobState::Dead, cancelled, cancelled]);
}

pub async fn what_follows_may_run_however_its_members_ended(harness: &dyn StoreHarness) {
    let kit = Kit::new(harness);
    let [first, second, join, _] = three_stages(&kit, OnFailure::RunNext).await;
    let [one, other] = claim_two(&kit).await;
    kit.settle(&one, dead()).await;
    // Replayed before the others have ended: it is waited for anew, and counted once.
    kit.store.administer(Command::Replay { jobs: vec![first] }).await.unwrap();
    kit.complete(&other).await;
    assert_eq!(kit.state(join).await, JobState::Waiting);
    let session = kit.session().await;
    let again = kit.claim_one(session).await;
    kit.settle(&again, dead()).await;
    assert_eq!(ids(&kit.claim(session, 9).await), [join]);
    // Replayed when all is joined: nobody is told again.
    kit.store.administer(Command::Replay { jobs: vec![first] }).await.unwrap();
    let again = kit.claim(session, 9).await;
    assert_eq!(ids(&again), [first]);
    kit.complete(&again[0]).await;
    assert!(kit.claim(session, 9).await.is_empty());
    assert_eq!(kit.state(second).await, JobState::Completed);
}

pub async fn who_waits_for_a_job_that_was_forgotten_is_cancelled(harness: &dyn StoreHarness) {
    let kit = Kit::new(harness);
    let [_, _, join, last] = three_stages(&kit, OnFailure::Hold).await;
    let [one, other] = claim_two(&kit).await;
    kit.settle(&one, dead()).await;
    kit.complete(&other).await;
    let defaults = StoreConfig::default();
    kit.advance(defaults.keep_finished + SECOND).await;
    kit.maintain().await;
    assert_eq!(kit.state(join).await, JobState::Waiting, "the one that completed is forgotten first");
    kit.advance(defaults.keep_dead).await;
    kit.maintain().await;
    assert_eq!(states(&kit, &[join, last]).await, [JobState::Cancelled, JobState::Cancelled]);
}

pub async fn a_flow_with_an_empty_stage_is_refused(harness: &dyn StoreHarness) {
    let kit = Kit::new(harness);
    let refused = kit.store.enqueue_flow(NewFlow::of(vec![new(1)]).then(Vec::new())).await.unwrap_err();
    assert!(matches!(refused, QueueError::InvalidFlow { .. }), "{refused}");
    assert!(kit.store.stats().await.unwrap().kinds.is_empty());
}
