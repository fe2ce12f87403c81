//! The store on a real PostgreSQL server: each test has a database of its own on it.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;
use wavequill_database::adapters::diesel_async_0_9::PostgresPoolExt;
use wavequill_database::adapters::diesel_async_0_9::diesel::sql_query;
use wavequill_database::adapters::diesel_async_0_9::diesel_async::{
    AsyncConnection, AsyncPgConnection, SimpleAsyncConnection,
};
use wavequill_database::{DieselConnectionPoolManager, PostgresConfig, PostgresPool};
use wavequill_queue::adapters::PostgresJobStore;
use wavequill_queue::testing::StoreHarness;
use wavequill_queue::{
    Command, Handlers, Job, JobContext, JobEnd, JobId, JobQuery, JobQueue, JobState, JobStore, JobType,
    Limit, LimitKey, NewJob, Policies, Priority, StoreConfig, Tenant, Uniqueness, WorkerConfig,
};

wavequill_queue::job_store_conformance!(Postgres::new().await);

/// What the workers of several stores did.
#[derive(Debug, Default)]
struct Log {
    runs: Mutex<HashMap<i64, u32>>,
    now: AtomicU32,
    most: AtomicU32,
}

fn logging(log: &Arc<Log>) -> Handlers {
    let log = Arc::clone(log);
    Handlers::new().with(JobType::INDEXING, move |_: u32, context: JobContext| {
        let log = Arc::clone(&log);
        async move {
            *log.runs.lock().entry(context.id().get()).or_default() += 1;
            log.most.fetch_max(log.now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            tokio::task::yield_now().await;
            log.now.fetch_sub(1, Ordering::SeqCst);
            Ok(())
        }
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn four_stores_run_every_job_once_and_keep_a_limit() {
    const JOBS: u32 = 300;
    let postgres = Postgres::new().await;
    let key = LimitKey::new("customer").unwrap();
    let limit = Some(Limit::default().with_max_running(3));
    postgres.store.administer(Command::SetLimit { key: key.clone(), limit }).await.unwrap();
    let (free, limited) = (Arc::new(Log::default()), Arc::new(Log::default()));
    let mut workers = Vec::new();
    let mut queues = Vec::new();
    for at in 0..4 {
        let queue = postgres.neighbour().await;
        // All run both kinds; what is limited is of another type, so that its log is its own.
        let other = JobType::TRANSLATION;
        let log = Arc::clone(&limited);
        let handlers = logging(&free).with(other, move |_: u32, context: JobContext| {
            let log = Arc::clone(&log);
            async move {
                *log.runs.lock().entry(context.id().get()).or_default() += 1;
                log.most.fetch_max(log.now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                for _ in 0..20 {
                    tokio::task::yield_now().await;
                }
                log.now.fetch_sub(1, Ordering::SeqCst);
                Ok(())
            }
        });
        let config = WorkerConfig::default().with_concurrency(4 + at);
        workers.push(queue.start_worker(config, handlers).await.unwrap());
        queues.push(queue);
    }
    let [queue, ..] = &queues[..] else { panic!() };
    let plain = (0..JOBS).map(|n| NewJob::new(JobType::INDEXING, &n).unwrap());
    let bounded =
        (0..40_u32).map(|n| NewJob::new(JobType::TRANSLATION, &n).unwrap().with_limit_key(key.clone()));
    let jobs = queue.enqueue_all(plain.chain(bounded).collect()).await.unwrap();
    for job in &jobs {
        assert!(matches!(queue.wait(job.id()).await.unwrap(), JobEnd::Completed { .. }));
    }
    for worker in workers {
        worker.shutdown(Duration::from_secs(5)).await;
    }
    let runs: Vec<u32> =
        [&free, &limited].iter().flat_map(|log| log.runs.lock().clone().into_values()).collect();
    assert_eq!(runs.len(), jobs.len());
    assert!(runs.iter().all(|count| *count == 1));
    assert!(limited.most.load(Ordering::SeqCst) <= 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_that_hand_in_the_same_at_once_one_is_new() {
    let postgres = Postgres::new().await;
    let handed_in = (0..8).map(|_| {
        let store = Arc::clone(&postgres.store);
        async move {
            let job = NewJob::new(JobType::INDEXING, &1).unwrap().with_unique(Uniqueness::while_live());
            store.enqueue(vec![job]).await.unwrap()
        }
    });
    let answers: Vec<_> = futures_util::future::join_all(handed_in).await.into_iter().flatten().collect();
    assert_eq!(answers.iter().filter(|answer| answer.is_new()).count(), 1);
    assert!(answers.iter().all(|answer| answer.id() == answers[0].id()));
}

/// Runs the statement inside a transaction that then ends in this way.
async fn hand_in(postgres: &Postgres, jobs: Vec<NewJob>, commits: bool) -> Vec<(i64, bool)> {
    use wavequill_database::adapters::diesel_async_0_9::diesel::sql_types::{BigInt, Bool, Text};
    use wavequill_database::adapters::diesel_async_0_9::diesel::{self, QueryableByName, result::Error};
    use wavequill_database::adapters::diesel_async_0_9::diesel_async::RunQueryDsl;

    #[derive(QueryableByName)]
    struct Row {
        #[diesel(sql_type = BigInt)]
        job: i64,
        #[diesel(sql_type = Bool)]
        created: bool,
    }

    let statement = postgres.store.enqueue_statement(jobs).unwrap();
    let mut pooled = postgres.pool.connection().await.unwrap();
    let conn: &mut AsyncPgConnection = &mut pooled;
    let mut handed_in = Vec::new();
    let end = conn
        .transaction(async |conn: &mut AsyncPgConnection| {
            let query = sql_query(statement.text()).bind::<Text, _>(statement.json());
            let rows: Vec<Row> = query.load(conn).await?;
            handed_in = rows.into_iter().map(|row| (row.job, row.created)).collect();
            if commits { Ok(()) } else { Err(Error::RollbackTransaction) }
        })
        .await;
    assert_eq!(end.is_ok(), commits);
    handed_in
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_of_a_transaction_are_there_when_it_commits_and_never_were_if_it_does_not() {
    let postgres = Postgres::new().await;
    let job = |n: u32| NewJob::new(JobType::INDEXING, &n).unwrap();
    let unique = job(2).with_unique(Uniqueness::while_live());
    let batch = vec![job(1), unique, job(3).with_tenant(Tenant::new("one").unwrap())];

    assert_eq!(hand_in(&postgres, batch.clone(), false).await.len(), 3);
    assert!(postgres.store.read(&JobQuery::default()).await.unwrap().jobs.is_empty());

    let first = hand_in(&postgres, batch.clone(), true).await;
    assert!(first.iter().all(|(_, created)| *created));
    let stored = postgres.store.read(&JobQuery::default()).await.unwrap().jobs;
    let ids: Vec<i64> = first.iter().map(|(job, _)| *job).collect();
    assert_eq!(stored.iter().map(|job| job.id.get()).collect::<Vec<_>>(), ids);
    assert!(stored.iter().all(|job| job.state == JobState::Ready));

    let second = hand_in(&postgres, batch, true).await;
    assert_eq!(second[1], (ids[1], false), "one like it is there");
    assert!(second[0].1 && second[2].1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_of_a_transaction_is_the_job_that_the_store_itself_would_have_stored() {
    let postgres = Postgres::new().await;
    let at = postgres.now().await + Duration::from_secs(3_600);
    let job = NewJob::new(JobType::INDEXING, "x\u{0} “y”").unwrap();
    let job = job.with_priority(Priority::LOW).with_run_at(at).with_deadline(at + Duration::from_secs(60));
    let job = job.with_timeout(Duration::from_secs(5)).with_max_attempts(7);
    let [(outside, true)] = hand_in(&postgres, vec![job.clone()], true).await[..] else { panic!() };
    let inside = postgres.store.enqueue(vec![job]).await.unwrap()[0].id();
    let read = postgres.store.read(&JobQuery::ids([JobId::new(outside), inside])).await.unwrap().jobs;
    let [one, other] = &read[..] else { panic!() };
    let same =
        |job: &Job| (job.payload.clone(), job.state, job.priority, job.sort_key, job.run_at, job.due_at);
    assert_eq!(same(one), same(other));
    assert_eq!((one.deadline, one.timeout, one.attempts), (other.deadline, other.timeout, other.attempts));
    assert_eq!((&one.worker_type, one.cost, one.lane()), (&other.worker_type, other.cost, other.lane()));
}

#[tokio::test(flavor = "multi_thread")]
async fn another_process_is_told_of_what_was_handed_in_and_of_what_has_ended() {
    let postgres = Postgres::new().await;
    let neighbour = postgres.neighbour().await;
    // Heard once it listens: what was told before is passed on then.
    let mut wake_ups = neighbour.store().wake_ups();
    let unique = NewJob::new(JobType::INDEXING, &1).unwrap();
    let job = postgres.store.enqueue(vec![unique]).await.unwrap()[0].id();
    wake_ups.ready().await;
    let mut wake_ups = neighbour.store().wake_ups();
    let mut later = neighbour.store().wake_ups();
    postgres.store.administer(Command::Cancel { jobs: vec![job] }).await.unwrap();
    wake_ups.cancel().await;
    later.ended(job).await;
}

static NUMBER: AtomicU32 = AtomicU32::new(0);

#[derive(Debug)]
pub(crate) struct Postgres {
    pool: PostgresPool,
    store: Arc<PostgresJobStore>,
}

impl Postgres {
    #[expect(clippy::disallowed_methods, reason = "the runner of the tests says where its servers are")]
    pub(crate) async fn new() -> Self {
        let url = std::env::var("WAVEQUILL_TEST_DATABASE_URL");
        assert!(url.is_ok(), "WAVEQUILL_TEST_DATABASE_URL is not set: run cargo xtask test");
        let url = url.unwrap();
        let name = format!("queue_{}_{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let mut conn = AsyncPgConnection::establish(&url).await.unwrap();
        conn.batch_execute(&format!("DROP DATABASE IF EXISTS {name}")).await.unwrap();
        conn.batch_execute(&format!("CREATE DATABASE {name}")).await.unwrap();
        let config = PostgresConfig::new(on_database(&url, &name));
        let pool = DieselConnectionPoolManager::open_postgres(config).unwrap().pool();
        let store = PostgresJobStore::open(pool.clone(), StoreConfig::default(), Policies::default());
        Self { store: Arc::new(store.await.unwrap()), pool }
    }

    /// Another process's view of the same tables.
    async fn neighbour(&self) -> JobQueue {
        let store = PostgresJobStore::open(self.pool.clone(), StoreConfig::default(), Policies::default());
        JobQueue::new(Arc::new(store.await.unwrap()), Policies::default())
    }
}

/// The same server, another database.
fn on_database(url: &str, name: &str) -> String {
    let (server, query) =
        url.split_once('?').map_or((url, String::new()), |(url, query)| (url, format!("?{query}")));
    let (scheme, rest) = server.split_once("://").unwrap();
    let host = rest.split('/').next().unwrap();
    format!("{scheme}://{host}/{name}{query}")
}

/// Time passes by moving every instant that is kept into the past.
const SHIFT: [&str; 5] = [
    "UPDATE queue_job SET sort_key = sort_key - $1, run_at = run_at - $1, due_at = due_at - $1, \
     created_at = created_at - $1, claimed_at = claimed_at - $1, deadline = deadline - $1, \
     cancel_at = cancel_at - $1, finished_at = finished_at - $1",
    "UPDATE queue_history SET sort_key = sort_key - $1, run_at = run_at - $1, due_at = due_at - $1, \
     created_at = created_at - $1, deadline = deadline - $1, cancel_at = cancel_at - $1, \
     finished_at = finished_at - $1",
    "UPDATE queue_session SET expires_at = expires_at - $1",
    "UPDATE queue_limit SET tat = tat - $1",
    "UPDATE queue_unique SET until = until - $1",
];

#[async_trait::async_trait]
impl StoreHarness for Postgres {
    fn store(&self) -> Arc<dyn JobStore> {
        Arc::<PostgresJobStore>::clone(&self.store)
    }

    #[expect(clippy::disallowed_methods, reason = "the server is on this machine, and on its clock")]
    async fn now(&self) -> SystemTime {
        SystemTime::now()
    }

    async fn advance(&self, by: Duration) {
        // Not for the whole file: its `load` would hide that of atomics.
        use wavequill_database::adapters::diesel_async_0_9::diesel::sql_types::BigInt;
        use wavequill_database::adapters::diesel_async_0_9::diesel_async::RunQueryDsl;

        let mut conn = self.pool.connection().await.unwrap();
        for shift in SHIFT {
            sql_query(shift).bind::<BigInt, _>(by.as_micros() as i64).execute(&mut *conn).await.unwrap();
        }
    }
}
