//! SQLite: one writer and several readers, each connection on a thread of its own.
//!
//! A call sends its closure to a thread and waits for the answer; no runtime's threads are blocked, so it works on
//! every runtime. What the threads do is in [`lane`], how writes share transactions in [`writer`].

mod catalogue;
mod lane;
mod open;
#[cfg(feature = "diesel-async-0-9")]
pub(crate) mod schema;
mod session;
mod timer;
mod trial;
mod writer;

use std::fmt;
use std::future::{Future, poll_fn};
use std::panic::Location;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use diesel::SqliteConnection;
use diesel::connection::SimpleConnection;
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};

pub(crate) use self::catalogue::catalogue;
use self::lane::{Gate, Reader, ReaderConnector};
pub(crate) use self::session::SchemaCopy;
use self::timer::{Sleep, Timer};
pub(crate) use self::trial::{Trial, TrialIndex};
use self::writer::{Job, WriteJob, Writer};
use crate::adapters::errors::statement_error;
use crate::config::{SqliteConfig, SqliteLocation};
use crate::engine::pool_core::{Asked, Lease, Policy, PoolCore};
use crate::engine::recorder::QueryRecorder;
use crate::{
    CloseReport, DatabaseError, Durability, PoolLimits, PoolSize, PoolStats, StatementFailure, TimeoutCause,
    Workload,
};

/// An SQLite database: one writer whose waiting writes share a transaction, and readers beside it.
///
/// A cheap clone: all clones are the same pool, and the last one to go ends its threads. What runs on it is in
/// [`SqlitePoolExt`](crate::adapters::diesel_async_0_9::SqlitePoolExt).
#[derive(Clone)]
pub struct SqlitePool {
    shared: Arc<Shared>,
}

struct Shared {
    acquire_timeout: Duration,
    timer: Timer,
    /// `None` once the pool is closed: the writer's thread ends with the line.
    writer: Mutex<Option<mpsc::Sender<Job>>>,
    writer_ended: tokio::sync::watch::Receiver<()>,
    readers: Arc<PoolCore<Reader>>,
    recorder: Arc<QueryRecorder>,
    leak_after: Duration,
}

/// How often ages and leaks are looked at.
const TICK: Duration = Duration::from_millis(250);

impl SqlitePool {
    /// A database in memory with the defaults: for tests.
    ///
    /// # Errors
    /// [`DatabaseError::Connect`] if SQLite cannot make one.
    pub async fn open_in_memory() -> Result<Self, DatabaseError> {
        Self::open(SqliteConfig::new(SqliteLocation::Memory)).await
    }

    pub(crate) async fn open(config: SqliteConfig) -> Result<Self, DatabaseError> {
        config.validate()?;
        let name: Arc<str> = Arc::from(config.name.as_str());
        let recorder = QueryRecorder::new(Arc::clone(&name), config.slow_query);
        let opener = open::Opener::new(&config, Arc::clone(&name), Arc::clone(&recorder))?;
        let (writer, writer_ended) = Writer::start(opener.clone(), &config).await?;
        let connector = ReaderConnector { opener, location: config.location.clone() };
        let readers = PoolCore::new(Arc::clone(&name), policy(&config)?, Box::new(connector), Timer::now);
        let ticking = Arc::downgrade(&readers);
        let tick = move || {
            ticking.upgrade().is_some_and(|core| {
                core.tick();
                true
            })
        };
        let timer = Timer::start(format!("{name}-timer"), TICK, tick)
            .map_err(|error| lane::opener_failed(&name, &error))?;
        readers.ensure_min().await?;
        let writer = Mutex::new(Some(writer));
        let shared = Shared {
            acquire_timeout: config.acquire_timeout,
            timer,
            writer,
            writer_ended,
            readers,
            recorder,
            leak_after: config.leak_after,
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// The name in errors, logs and metrics.
    pub fn name(&self) -> &str {
        self.shared.readers.name()
    }

    pub(crate) fn leak_after(&self) -> Duration {
        self.shared.leak_after
    }

    /// What the statements of this pool have cost since it was opened. It holds no bound value.
    pub fn recorded(&self) -> Workload {
        self.shared.recorder.workload()
    }

    pub(crate) fn core(&self) -> &Arc<PoolCore<Reader>> {
        &self.shared.readers
    }

    pub(crate) fn stats(&self) -> PoolStats {
        self.shared.readers.stats()
    }

    pub(crate) async fn probe(&self, at: &'static Location<'static>) -> Result<(), DatabaseError> {
        self.run_read(at, |conn| conn.batch_execute("SELECT 1").map_err(|error| statement_error(&error)))
            .await
    }

    /// Reads first: they are refused from now on, as new writes are; the writes in line are still made.
    pub(crate) async fn close(&self, grace: Duration) -> CloseReport {
        let refused = self.shared.readers.close();
        drop(self.shared.writer.lock().take());
        let mut ended = self.shared.writer_ended.clone();
        let all_back = async {
            self.shared.readers.drained().await;
            // It never changes: the wait ends when the thread does.
            drop(ended.changed().await);
        };
        let by = Timer::now() + grace;
        match or_sleep(all_back, self.shared.timer.sleep_until(by)).await {
            Some(()) => CloseReport { refused, ..CloseReport::default() },
            None => self.shared.readers.cancel_all(refused),
        }
    }

    /// A reader in turn, within the time that is allowed.
    pub(crate) async fn reader(&self, asked: Asked, by: Duration) -> Result<Lease<Reader>, DatabaseError> {
        let mut acquire = self.shared.readers.acquire(asked);
        loop {
            let lease = match or_sleep(Pin::new(&mut acquire), self.shared.timer.sleep_until(by)).await {
                Some(lease) => lease?,
                None => acquire.expire()?,
            };
            if lease.is_fresh() && lease.is_alive() {
                return Ok(lease);
            }
            acquire = lease.replace(asked);
        }
    }

    pub(crate) async fn run_read<T, F>(
        &self,
        at: &'static Location<'static>,
        f: F,
    ) -> Result<T, DatabaseError>
    where
        T: Send + 'static,
        F: FnOnce(&mut SqliteConnection) -> Result<T, DatabaseError> + Send + 'static,
    {
        let begun = Timer::now();
        let lease = self.reader(Asked::new(at, "read"), self.deadline(begun)).await?;
        let (answer, mut answered) = oneshot::channel();
        let gate = Gate::new();
        let task = lane::read_task(f, gate.clone(), answer);
        let own = match &*lease {
            Reader::Own { tasks, .. } => Some(tasks.clone()),
            Reader::Writer => None,
        };
        // The reader is back when the task has run, or is dropped without.
        let task: lane::Task = Box::new(move |conn| {
            task(conn);
            drop(lease);
        });
        if let Some(tasks) = own {
            tasks.send(task).map_err(|_| reader_lost())?;
            return answered.await.map_err(|_| reader_lost())?;
        }
        self.enqueue(Job::Read(Box::new(|conn| lane::query_only(conn, task))), begun).await?;
        self.answered(&mut answered, &gate, begun).await
    }

    pub(crate) async fn run_write<T, F>(&self, durability: Durability, f: F) -> Result<T, DatabaseError>
    where
        T: Send + 'static,
        F: FnOnce(&mut SqliteConnection) -> Result<T, DatabaseError> + Send + 'static,
    {
        let (answer, mut answered) = oneshot::channel();
        let gate = Gate::new();
        let begun = Timer::now();
        self.enqueue(Job::Write(WriteJob::new(durability, f, gate.clone(), answer)), begun).await?;
        self.answered(&mut answered, &gate, begun).await
    }

    fn deadline(&self, begun: Duration) -> Duration {
        begun + self.shared.acquire_timeout
    }

    /// Joins the writer's line.
    async fn enqueue(&self, job: Job, begun: Duration) -> Result<(), DatabaseError> {
        let writer = self.shared.writer.lock().clone().ok_or_else(|| self.closed())?;
        let sleep = self.shared.timer.sleep_until(self.deadline(begun));
        or_sleep(pin!(writer.send(job)), sleep)
            .await
            .ok_or_else(|| self.writer_busy(begun))?
            .map_err(|_| self.closed())
    }

    /// Waits for the writer: in time until the job has begun, then as long as it takes.
    async fn answered<T>(
        &self,
        answered: &mut oneshot::Receiver<Result<T, DatabaseError>>,
        gate: &Gate,
        begun: Duration,
    ) -> Result<T, DatabaseError> {
        let sleep = self.shared.timer.sleep_until(self.deadline(begun));
        let answer = match or_sleep(&mut *answered, sleep).await {
            Some(answer) => answer,
            None if gate.cancel() => return Err(self.writer_busy(begun)),
            None => answered.await,
        };
        answer.map_err(|_| self.closed())?
    }

    fn closed(&self) -> DatabaseError {
        self.shared.readers.closed()
    }

    fn writer_busy(&self, begun: Duration) -> DatabaseError {
        let line = self.shared.writer.lock().as_ref().map_or(0, |line| line.max_capacity() - line.capacity());
        DatabaseError::AcquireTimeout {
            pool: Arc::clone(self.shared.readers.name()),
            waited: Timer::now().saturating_sub(begun),
            cause: TimeoutCause::WriterBusy { waiting: line as u32 },
        }
    }
}

/// The thread of a reader ended under a call: a panic outside the caller's closure.
fn reader_lost() -> DatabaseError {
    DatabaseError::Statement {
        failure: StatementFailure::ConnectionLost,
        detail: "the reader's thread has ended; another one takes its place".to_owned(),
    }
}

/// What the future gives, or `None` if the sleep ends first.
async fn or_sleep<F: Future>(future: F, sleep: Sleep) -> Option<F::Output> {
    let mut future = pin!(future);
    let mut sleep = pin!(sleep);
    poll_fn(|cx| match future.as_mut().poll(cx) {
        Poll::Ready(output) => Poll::Ready(Some(output)),
        Poll::Pending => sleep.as_mut().poll(cx).map(|()| None),
    })
    .await
}

/// Readers neither age nor die of themselves: only their number and their holders matter.
fn policy(config: &SqliteConfig) -> Result<Policy, DatabaseError> {
    let max = match config.location {
        SqliteLocation::Memory => 1,
        SqliteLocation::File(_) => config.readers,
    };
    Ok(Policy {
        limits: PoolLimits::new(max.min(2), max)?,
        initial: PoolSize::new(max)?,
        idle_timeout: config.idle_timeout,
        max_lifetime: Duration::ZERO,
        fresh_for: Duration::MAX,
        leak_after: config.leak_after,
        scaling: None,
    })
}

impl fmt::Debug for SqlitePool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqlitePool")
            .field("name", &self.name())
            .field("stats", &self.stats())
            .finish_non_exhaustive()
    }
}
