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
    Command, Handlers, JobContext, JobEnd, JobQueue, JobStore, JobType, Limit, LimitKey, NewJob, Policies,
    StoreConfig, Uniqueness, WorkerConfig,
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
