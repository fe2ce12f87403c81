//! What a connection costs to have and to give back, and how long callers wait in turn, beside deadpool and bb8.
//!
//! `WAVEQUILL_TEST_DATABASE_URL=postgres://… cargo bench -p wavequill-benches --bench database_pool`
#![expect(clippy::expect_used, clippy::print_stdout, reason = "a bench")]
#![expect(clippy::disallowed_methods, reason = "a bench takes the time, and is told where its server is")]

use std::collections::VecDeque;
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use diesel_async::AsyncPgConnection;
use diesel_async::pooled_connection::{
    AsyncDieselConnectionManager, ManagerConfig, RecyclingMethod, bb8, deadpool,
};
use tokio::sync::{Mutex, Semaphore, SemaphorePermit};
use tokio::task::JoinSet;
use wavequill_database::adapters::diesel_async_0_9::PostgresPoolExt;
use wavequill_database::{
    ConnectionPoolManager, DieselConnectionPoolManager, PoolLimits, PostgresConfig, PostgresPool,
};

const CONNECTIONS: u32 = 8;
const TASKS: usize = 64;
const HOLD: Duration = Duration::from_millis(1);
/// Acquires of each of the tasks that contend.
const TURNS: usize = 250;
const ROUNDS: usize = 7;
const ACQUIRES: u32 = 100_000;

/// A pool as the bench uses it: acquire, hold for a while, give back.
trait Pool: Clone + Send + Sync + 'static {
    fn with(&self, hold: Option<Duration>) -> impl Future<Output = ()> + Send;
}

async fn held(hold: Option<Duration>) {
    if let Some(hold) = hold {
        tokio::time::sleep(hold).await;
    }
}

/// The least that a fair pool does: a fair semaphore and a stack.
#[derive(Clone)]
struct Bare(Arc<(Semaphore, std::sync::Mutex<Vec<AsyncPgConnection>>)>);

impl Pool for Bare {
    async fn with(&self, hold: Option<Duration>) {
        let (semaphore, stack) = &*self.0;
        let permit: SemaphorePermit<'_> = semaphore.acquire().await.expect("it is never closed");
        let conn = stack.lock().expect("no panic").pop().expect("as many as permits");
        held(hold).await;
        stack.lock().expect("no panic").push(conn);
        drop(permit);
    }
}

#[derive(Clone)]
struct Ours(PostgresPool);

impl Pool for Ours {
    async fn with(&self, hold: Option<Duration>) {
        let conn = self.0.connection().await.expect("a connection");
        held(hold).await;
        drop(conn);
    }
}

#[derive(Clone)]
struct Deadpool(deadpool::Pool<AsyncPgConnection>);

impl Pool for Deadpool {
    async fn with(&self, hold: Option<Duration>) {
        let conn = self.0.get().await.expect("a connection");
        held(hold).await;
        drop(conn);
    }
}

#[derive(Clone)]
struct Bb8(bb8::Pool<AsyncPgConnection>);

impl Pool for Bb8 {
    async fn with(&self, hold: Option<Duration>) {
        let conn = self.0.get().await.expect("a connection");
        held(hold).await;
        drop(conn);
    }
}

fn manager(url: &str, fast: bool) -> AsyncDieselConnectionManager<AsyncPgConnection> {
    let mut config = ManagerConfig::default();
    if fast {
        config.recycling_method = RecyclingMethod::Fast;
    }
    AsyncDieselConnectionManager::new_with_config(url, config)
}

/// Time that this process has had on a processor.
fn cpu() -> Duration {
    let tasks = std::fs::read_dir("/proc/self/task").expect("Linux");
    let nanos = tasks.flatten().filter_map(|task| {
        let text = std::fs::read_to_string(task.path().join("schedstat")).ok()?;
        text.split_whitespace().next()?.parse::<u64>().ok()
    });
    Duration::from_nanos(nanos.sum())
}

/// The CPU time of an acquire and a release that nobody contends for: least and median of the rounds.
async fn uncontended<P: Pool>(pool: &P, acquires: u32) -> (Duration, Duration) {
    pool.with(None).await;
    let mut rounds = Vec::new();
    for _ in 0..ROUNDS {
        let before = cpu();
        for _ in 0..acquires {
            pool.with(None).await;
        }
        rounds.push(cpu().saturating_sub(before) / acquires);
    }
    rounds.sort();
    (*rounds.first().expect("rounds"), *rounds.get(ROUNDS / 2).expect("rounds"))
}

#[derive(Debug)]
struct Contended {
    p50: Duration,
    p999: Duration,
    max: Duration,
    per_second: f64,
    cpu: Duration,
}

/// Many tasks that hold a connection for a moment, again and again: how long they wait.
async fn contended<P: Pool>(pool: &P) -> Contended {
    let waits = Arc::new(Mutex::new(VecDeque::with_capacity(TASKS * TURNS)));
    let (begun, cpu_before) = (Instant::now(), cpu());
    let mut tasks = JoinSet::new();
    for _ in 0..TASKS {
        let (pool, waits) = (pool.clone(), Arc::clone(&waits));
        tasks.spawn(async move {
            let mut own = Vec::with_capacity(TURNS);
            for _ in 0..TURNS {
                let asked = Instant::now();
                pool.with(Some(HOLD)).await;
                own.push(asked.elapsed());
            }
            waits.lock().await.extend(own);
        });
    }
    while let Some(ended) = tasks.join_next().await {
        ended.expect("no panic");
    }
    let (took, cpu) = (begun.elapsed(), cpu().saturating_sub(cpu_before));
    let mut waits: Vec<Duration> = waits.lock().await.drain(..).collect();
    waits.sort();
    let at = |share: f64| {
        let rank = (waits.len() as f64 * share).ceil() as usize;
        waits.get(rank.saturating_sub(1)).copied().expect("waits")
    };
    Contended {
        p50: at(0.5),
        p999: at(0.999),
        max: at(1.0),
        per_second: waits.len() as f64 / took.as_secs_f64(),
        cpu: cpu / (TASKS * TURNS) as u32,
    }
}

async fn measure<P: Pool>(pool: &P, name: &str, acquires: u32) {
    let (least, median) = uncontended(pool, acquires).await;
    println!(
        "{name:<28} acquire + release, CPU: {:>7} ns least, {:>7} ns median",
        least.as_nanos(),
        median.as_nanos()
    );
}

async fn contend<P: Pool>(pool: &P, name: &str) {
    let it = contended(pool).await;
    let ms = |time: Duration| time.as_secs_f64() * 1_000.0;
    println!(
        "{name:<28} {TASKS} tasks, {CONNECTIONS} connections: p50 {:.2} ms, p99.9 {:.2} ms, max {:.2} ms; {:.0} a second, CPU {} ns each",
        ms(it.p50),
        ms(it.p999),
        ms(it.max),
        it.per_second,
        it.cpu.as_nanos()
    );
}

async fn run(url: String) {
    let mut idle = Vec::new();
    for _ in 0..CONNECTIONS {
        let conn = <AsyncPgConnection as diesel_async::AsyncConnection>::establish(&url).await;
        idle.push(conn.expect("the server answers"));
    }
    let stack = std::sync::Mutex::new(idle);
    let bare = Bare(Arc::new((Semaphore::new(CONNECTIONS as usize), stack)));
    let limits = PoolLimits::new(CONNECTIONS, CONNECTIONS).expect("limits");
    let ours =
        DieselConnectionPoolManager::open_postgres(PostgresConfig::new(url.clone()).with_limits(limits));
    let ours = ours.expect("a pool");
    ours.ensure_min_connections().await.expect("the server answers");
    let ours = Ours(ours.pool());
    let size = CONNECTIONS as usize;
    let fast = deadpool::Pool::builder(manager(&url, true)).max_size(size).build().expect("a pool");
    let verified = deadpool::Pool::builder(manager(&url, false)).max_size(size).build().expect("a pool");
    let (fast, verified) = (Deadpool(fast), Deadpool(verified));
    let bb8_fast =
        Bb8(bb8::Pool::builder().max_size(CONNECTIONS).build(manager(&url, true)).await.expect("a pool"));
    let bb8_default =
        Bb8(bb8::Pool::builder().max_size(CONNECTIONS).build(manager(&url, false)).await.expect("a pool"));

    measure(&bare, "fair semaphore and stack", ACQUIRES).await;
    measure(&ours, "wavequill", ACQUIRES).await;
    measure(&fast, "deadpool, fast", ACQUIRES).await;
    measure(&bb8_fast, "bb8, fast", ACQUIRES).await;
    measure(&verified, "deadpool, verified", ACQUIRES / 50).await;
    measure(&bb8_default, "bb8, default", ACQUIRES / 50).await;
    contend(&bare, "fair semaphore and stack").await;
    contend(&ours, "wavequill").await;
    contend(&fast, "deadpool, fast").await;
    contend(&bb8_fast, "bb8, fast").await;
}

fn main() {
    let Ok(url) = std::env::var("WAVEQUILL_TEST_DATABASE_URL") else {
        println!("set WAVEQUILL_TEST_DATABASE_URL to a PostgreSQL server");
        return;
    };
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime can be made");
    runtime.block_on(run(url));
}
