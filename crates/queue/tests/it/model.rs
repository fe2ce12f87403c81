//! Any sequence of commands ends alike on the store in memory and on SQLite.

use std::time::Duration;

use proptest::prelude::*;
use wavequill_queue::testing::StoreHarness;
use wavequill_queue::{
    AttemptError, ClaimRequest, Command, Cost, DeadCause, Ended, FailureCause, FreeSlots, JobId, JobQuery,
    JobType, Json, Lease, Limit, LimitKey, NewJob, OnDuplicate, Placement, Priority, Progress, Rate,
    SessionId, Settled, Settlement, SweepBudget, Tenant, Uniqueness, WorkerId, WorkerRegistration,
    WorkerType,
};

use crate::harness::{Memory, Sqlite};

#[derive(Clone, Debug)]
enum Op {
    Enqueue(Vec<Spec>),
    Open,
    Close(u8),
    Abandon(u8),
    Beat(u8, u8),
    Claim { session: u8, free: u32 },
    ClaimOnly { session: u8, jobs: Vec<u8> },
    Place(u8, u8),
    Settle(Vec<(u8, End)>),
    Maintain,
    Advance(u16),
    Admin(Admin),
}

#[derive(Clone, Debug)]
struct Spec {
    priority: u8,
    tenant: u8,
    limited: bool,
    unique: u8,
    duplicate: u8,
    later: u16,
    cost: u8,
}

#[derive(Clone, Copy, Debug)]
enum End {
    Complete,
    Fail(u16),
    Throttle(u16),
    Snooze(u16),
    Return,
    Die,
    Cancel,
}

#[derive(Clone, Debug)]
enum Admin {
    Cancel(u8),
    Replay(u8),
    RunNow(u8),
    Reprioritize(u8, u8),
    Pause,
    Resume,
    Limit(Option<u32>),
    Rate,
    Weight(u8),
}

fn spec() -> impl Strategy<Value = Spec> {
    (0_u8..10, 0_u8..4, any::<bool>(), 0_u8..6, 0_u8..3, prop_oneof![3 => Just(0), 1 => 1_u16..40], 1_u8..9)
        .prop_map(|(priority, tenant, limited, unique, duplicate, later, cost)| Spec {
            priority,
            tenant,
            limited,
            unique,
            duplicate,
            later,
            cost,
        })
}

fn end() -> impl Strategy<Value = End> {
    prop_oneof![
        4 => Just(End::Complete),
        2 => (0_u16..30).prop_map(End::Fail),
        1 => (0_u16..30).prop_map(End::Throttle),
        1 => (0_u16..30).prop_map(End::Snooze),
        1 => Just(End::Return),
        1 => Just(End::Die),
        1 => Just(End::Cancel),
    ]
}

fn admin() -> impl Strategy<Value = Admin> {
    prop_oneof![
        any::<u8>().prop_map(Admin::Cancel),
        any::<u8>().prop_map(Admin::Replay),
        any::<u8>().prop_map(Admin::RunNow),
        (any::<u8>(), 0_u8..10).prop_map(|(job, priority)| Admin::Reprioritize(job, priority)),
        Just(Admin::Pause),
        Just(Admin::Resume),
        prop::option::of(0_u32..3).prop_map(Admin::Limit),
        Just(Admin::Rate),
        (1_u8..5).prop_map(Admin::Weight),
    ]
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        5 => prop::collection::vec(spec(), 1..5).prop_map(Op::Enqueue),
        2 => Just(Op::Open),
        1 => any::<u8>().prop_map(Op::Close),
        1 => any::<u8>().prop_map(Op::Abandon),
        2 => (any::<u8>(), any::<u8>()).prop_map(|(session, job)| Op::Beat(session, job)),
        5 => (any::<u8>(), 0_u32..6).prop_map(|(session, free)| Op::Claim { session, free }),
        1 => (any::<u8>(), prop::collection::vec(any::<u8>(), 0..4))
            .prop_map(|(session, jobs)| Op::ClaimOnly { session, jobs }),
        1 => (any::<u8>(), any::<u8>()).prop_map(|(job, session)| Op::Place(job, session)),
        5 => prop::collection::vec((any::<u8>(), end()), 1..5).prop_map(Op::Settle),
        2 => Just(Op::Maintain),
        2 => (0_u16..20).prop_map(Op::Advance),
        3 => admin().prop_map(Op::Admin),
    ]
}

/// One store, and what was claimed on it.
struct Side<'a> {
    harness: &'a dyn StoreHarness,
    leases: Vec<Lease>,
    jobs: i64,
    sessions: i64,
}

impl Side<'_> {
    fn session(&self, pick: u8) -> SessionId {
        SessionId::new(i64::from(pick) % (self.sessions + 1) + 1)
    }

    fn job(&self, pick: u8) -> JobId {
        JobId::new(i64::from(pick) % (self.jobs + 1) + 1)
    }

    /// Does the command, and answers all that it says.
    async fn apply(&mut self, op: &Op) -> String {
        let store = self.harness.store();
        match op {
            Op::Enqueue(specs) => {
                let now = self.harness.now().await;
                let jobs = specs.iter().map(|spec| new_job(spec, now)).collect();
                let enqueued = store.enqueue(jobs).await.unwrap();
                self.jobs = enqueued.iter().map(|job| job.id().get()).fold(self.jobs, i64::max);
                format!("{enqueued:?}")
            }
            Op::Open => {
                let worker = WorkerRegistration::new(WorkerId::new("w").unwrap(), types(), 9).unwrap();
                let session = store.open_session(&worker).await.unwrap();
                self.sessions = session.get();
                format!("{session}")
            }
            Op::Close(session) => format!("{:?}", store.close_session(self.session(*session)).await),
            Op::Abandon(session) => {
                store.abandon_session(self.session(*session));
                String::new()
            }
            Op::Beat(session, lease) => {
                let body = Json::of(session).unwrap();
                let progress = self.lease(*lease).map(|lease| Progress { lease, body });
                let beat = store.beat(self.session(*session), progress.into_iter().collect()).await;
                format!("{:?}", beat.unwrap())
            }
            Op::Claim { session, free } => self.claim(*session, *free, None).await,
            Op::ClaimOnly { session, jobs } => {
                let only = jobs.iter().map(|job| self.job(*job)).collect();
                self.claim(*session, 3, Some(only)).await
            }
            Op::Place(job, session) => {
                let placement = Placement { job: self.job(*job), session: self.session(*session) };
                format!("{:?}", store.place(vec![placement]).await.unwrap())
            }
            Op::Settle(ends) => {
                let ended: Vec<_> = ends
                    .iter()
                    .filter_map(|(lease, end)| {
                        Some(Ended { lease: self.lease(*lease)?, settlement: settlement(*end) })
                    })
                    .collect();
                let settled: Vec<Settled> = store.settle(ended).await.unwrap();
                format!("{settled:?}")
            }
            Op::Maintain => format!("{:?}", store.maintain(SweepBudget::default()).await.unwrap()),
            Op::Advance(secs) => {
                self.harness.advance(Duration::from_secs(u64::from(*secs))).await;
                String::new()
            }
            Op::Admin(admin) => format!("{:?}", store.administer(self.command(admin)).await.unwrap()),
        }
    }

    fn lease(&self, pick: u8) -> Option<Lease> {
        self.leases.get(usize::from(pick).checked_rem(self.leases.len())?).copied()
    }

    async fn claim(&mut self, session: u8, free: u32, only: Option<Vec<JobId>>) -> String {
        let request = ClaimRequest { session: self.session(session), free: FreeSlots(free), only };
        match self.harness.store().claim(request).await {
            Ok(claimed) => {
                let text = claimed.jobs.clone();
                self.leases.extend(claimed.jobs.iter().map(|leased| leased.lease));
                format!("{text:?} {:?}", claimed.next_due)
            }
            Err(error) => error.to_string(),
        }
    }

    fn command(&self, admin: &Admin) -> Command {
        let key = LimitKey::new("key").unwrap();
        let one = |job: u8| vec![self.job(job)];
        match admin {
            Admin::Cancel(job) => Command::Cancel { jobs: one(*job) },
            Admin::Replay(job) => Command::Replay { jobs: one(*job) },
            Admin::RunNow(job) => Command::RunNow { jobs: one(*job) },
            Admin::Reprioritize(job, priority) => {
                Command::Reprioritize { jobs: one(*job), priority: Priority::new(*priority).unwrap() }
            }
            Admin::Pause => Command::Pause { worker_type: WorkerType::INDEXING },
            Admin::Resume => Command::Resume { worker_type: WorkerType::INDEXING },
            Admin::Limit(max) => {
                let limit = max.map(|max| Limit::default().with_max_running(max));
                Command::SetLimit { key, limit }
            }
            Admin::Rate => {
                let rate = Rate::new(1, Duration::from_secs(7), 2).unwrap();
                Command::SetLimit { key, limit: Some(Limit::default().with_rate(rate)) }
            }
            Admin::Weight(weight) => {
                Command::SetWeight { tenant: Tenant::new("t1").unwrap(), weight: f32::from(*weight) }
            }
        }
    }

    async fn end(&self) -> Vec<String> {
        let store = self.harness.store();
        let page = store.read(&JobQuery::default().with_limit(1_000).with_results()).await.unwrap();
        let mut lines: Vec<_> = page.jobs.iter().map(|job| format!("{job:?}")).collect();
        lines.push(format!("{:?}", store.stats().await.unwrap()));
        lines.push(format!("{:?}", store.workers().await.unwrap()));
        lines
    }
}

fn types() -> [WorkerType; 2] {
    [WorkerType::INDEXING, WorkerType::TRANSLATION]
}

fn new_job(spec: &Spec, now: std::time::SystemTime) -> NewJob {
    let job_type = if spec.cost.is_multiple_of(2) { JobType::INDEXING } else { JobType::TRANSLATION };
    let mut job = NewJob::new(job_type, &spec.cost)
        .unwrap()
        .with_priority(Priority::new(spec.priority).unwrap())
        .with_cost(Cost::new(f32::from(spec.cost)).unwrap());
    if spec.tenant > 0 {
        job = job.with_tenant(Tenant::new(format!("t{}", spec.tenant)).unwrap());
    }
    if spec.limited {
        job = job.with_limit_key(LimitKey::new("key").unwrap());
    }
    if spec.unique < 3 {
        let duplicate = [OnDuplicate::Keep, OnDuplicate::Renew, OnDuplicate::Replace];
        let duplicate = duplicate.get(usize::from(spec.duplicate)).copied().unwrap_or_default();
        job = job.with_unique(Uniqueness::while_live().by([spec.unique]).on_duplicate(duplicate));
    }
    if spec.later > 0 {
        job = job.with_run_at(now + Duration::from_secs(u64::from(spec.later)));
    }
    job
}

fn settlement(end: End) -> Settlement {
    let after = |secs: u16| Duration::from_secs(u64::from(secs));
    match end {
        End::Complete => Settlement::Completed { result: Some(Json::of("done").unwrap()) },
        End::Fail(secs) => Settlement::Retry {
            after: after(secs),
            error: AttemptError::new(FailureCause::Transient, "failed"),
        },
        End::Throttle(secs) => Settlement::Retry {
            after: after(secs),
            error: AttemptError::new(FailureCause::Throttled, "throttled"),
        },
        End::Snooze(secs) => Settlement::Snoozed { after: after(secs) },
        End::Return => Settlement::Returned,
        End::Die => Settlement::Dead {
            cause: DeadCause::Permanent,
            error: AttemptError::new(FailureCause::Permanent, "dead"),
        },
        End::Cancel => Settlement::Cancelled,
    }
}

#[tokio::test]
async fn a_claim_of_listed_jobs_counts_those_that_were_placed() {
    let (memory, sqlite) = (Memory::new(), Sqlite::new().await);
    for harness in [&memory as &dyn StoreHarness, &sqlite] {
        let store = harness.store();
        let new = || NewJob::new(JobType::INDEXING, &1).unwrap();
        let jobs = store.enqueue(vec![new(), new(), new(), new()]).await.unwrap();
        let worker = WorkerRegistration::new(WorkerId::new("w").unwrap(), types(), 9).unwrap();
        let session = store.open_session(&worker).await.unwrap();
        let ids: Vec<JobId> = jobs.iter().map(|job| job.id()).collect();
        let (placed, listed) = ids.split_first().unwrap();
        store.place(vec![Placement { job: *placed, session }]).await.unwrap();
        let request = ClaimRequest { session, free: FreeSlots(3), only: Some(listed.to_vec()) };
        assert_eq!(store.claim(request).await.unwrap().jobs.len(), 3, "{store:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]

    #[test]
    fn all_stores_answer_and_end_alike(ops in prop::collection::vec(op(), 1..60)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (memory, sqlite) = (Memory::new(), Sqlite::new().await);
            let side = |harness| Side { harness, leases: Vec::new(), jobs: 0, sessions: 0 };
            let (mut model, mut store) = (side(&memory), side(&sqlite));
            for (at, op) in ops.iter().enumerate() {
                let expected = model.apply(op).await;
                let found = store.apply(op).await;
                prop_assert_eq!(expected, found, "after {} commands: {:?}", at, op);
            }
            prop_assert_eq!(model.end().await, store.end().await);
            Ok(())
        })?;
    }
}
