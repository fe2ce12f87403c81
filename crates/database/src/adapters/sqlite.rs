//! SQLite: one writer and several readers, each connection on a thread of its own.
//!
//! A call sends its closure to a thread and waits for the answer; no runtime's threads are blocked, so it works on
//! every runtime. What the threads do is in [`lane`], how writes share transactions in [`writer`].

pub(crate) mod errors;
mod lane;
mod open;
pub(crate) mod schema;
mod timer;
mod writer;

use std::fmt;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use diesel::SqliteConnection;
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

use self::lane::{Gate, Reader};
use self::timer::Timer;
use self::writer::{Job, WriteJob, Writer};
use crate::config::{SqliteConfig, SqliteLocation};
use crate::{DatabaseError, Durability, TimeoutCause};

/// An SQLite database: one writer whose waiting writes share a transaction, and readers beside it.
///
/// A cheap clone: all clones are the same pool, and the last one to go ends its threads. What runs on it is in
/// [`SqlitePoolExt`](crate::adapters::diesel_async_0_9::SqlitePoolExt).
#[derive(Clone)]
pub struct SqlitePool {
    shared: Arc<Shared>,
}

struct Shared {
    name: Arc<str>,
    acquire_timeout: Duration,
    timer: Timer,
    writer: mpsc::Sender<Job>,
    readers: Readers,
}

/// Where reads go.
enum Readers {
    /// In memory, reads take turns with the writes on the only connection.
    Writer,
    /// In a file, each on a reader that is free.
    Lanes { permits: Arc<Semaphore>, count: u32, idle: Arc<Mutex<Vec<Reader>>> },
}

/// A reader that is out; it is back when this is dropped.
struct Lease {
    reader: Option<Reader>,
    idle: Arc<Mutex<Vec<Reader>>>,
    _permit: OwnedSemaphorePermit,
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(reader) = self.reader.take() {
            self.idle.lock().push(reader);
        }
    }
}

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
        let opener = open::Opener::new(&config, Arc::clone(&name))?;
        let writer = Writer::start(opener.clone(), &config).await?;
        let readers = match config.location {
            SqliteLocation::Memory => Readers::Writer,
            SqliteLocation::File(_) => {
                let mut idle = Vec::with_capacity(config.readers as usize);
                for number in 0..config.readers {
                    idle.push(Reader::start(opener.clone(), number).await?);
                }
                Readers::Lanes {
                    permits: Arc::new(Semaphore::new(config.readers as usize)),
                    count: config.readers,
                    idle: Arc::new(Mutex::new(idle)),
                }
            }
        };
        let shared = Shared {
            name,
            acquire_timeout: config.acquire_timeout,
            timer: Timer::default(),
            writer,
            readers,
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// The name in errors, logs and metrics.
    pub fn name(&self) -> &str {
        &self.shared.name
    }

    pub(crate) async fn run_read<T, F>(&self, f: F) -> Result<T, DatabaseError>
    where
        T: Send + 'static,
        F: FnOnce(&mut SqliteConnection) -> Result<T, diesel::result::Error> + Send + 'static,
    {
        let (answer, answered) = oneshot::channel();
        let begun = Timer::now();
        match &self.shared.readers {
            Readers::Writer => {
                let gate = Gate::new();
                let task = lane::read_task(f, gate.clone(), answer);
                self.enqueue(Job::Read(Box::new(move |conn| lane::query_only(conn, task))), begun).await?;
                self.answered(answered, &gate, begun).await
            }
            Readers::Lanes { permits, count, idle } => {
                let permit = self
                    .in_time(begun, Arc::clone(permits).acquire_owned())
                    .await
                    .ok_or_else(|| self.saturated(*count, begun))?
                    .map_err(|_| self.closed())?;
                let reader = idle.lock().pop();
                let lease = Lease { reader, idle: Arc::clone(idle), _permit: permit };
                let task = lane::read_task(f, Gate::new(), answer);
                lease.run(task).map_err(|()| self.closed())?;
                answered.await.map_err(|_| self.closed())?
            }
        }
    }

    pub(crate) async fn run_write<T, F>(&self, durability: Durability, f: F) -> Result<T, DatabaseError>
    where
        T: Send + 'static,
        F: FnOnce(&mut SqliteConnection) -> Result<T, DatabaseError> + Send + 'static,
    {
        let (answer, answered) = oneshot::channel();
        let gate = Gate::new();
        let begun = Timer::now();
        self.enqueue(Job::Write(WriteJob::new(durability, f, gate.clone(), answer)), begun).await?;
        self.answered(answered, &gate, begun).await
    }

    /// Joins the writer's line.
    async fn enqueue(&self, job: Job, begun: Duration) -> Result<(), DatabaseError> {
        self.in_time(begun, self.shared.writer.send(job))
            .await
            .ok_or_else(|| self.writer_busy(begun))?
            .map_err(|_| self.closed())
    }

    /// What the future gives, or `None` when the caller has waited for as long as is allowed.
    async fn in_time<F: Future>(&self, begun: Duration, future: F) -> Option<F::Output> {
        let mut future = pin!(future);
        let mut sleep = pin!(self.shared.timer.sleep_until(begun + self.shared.acquire_timeout));
        poll_fn(|cx| match future.as_mut().poll(cx) {
            Poll::Ready(output) => Poll::Ready(Some(output)),
            Poll::Pending => sleep.as_mut().poll(cx).map(|()| None),
        })
        .await
    }

    /// Waits for the writer: in time until the job has begun, then as long as it takes.
    async fn answered<T>(
        &self,
        mut answered: oneshot::Receiver<Result<T, DatabaseError>>,
        gate: &Gate,
        begun: Duration,
    ) -> Result<T, DatabaseError> {
        let answer = match self.in_time(begun, &mut answered).await {
            Some(answer) => answer,
            None if gate.cancel() => return Err(self.writer_busy(begun)),
            None => answered.await,
        };
        answer.map_err(|_| self.closed())?
    }

    fn closed(&self) -> DatabaseError {
        DatabaseError::Closed { pool: Arc::clone(&self.shared.name) }
    }

    fn writer_busy(&self, begun: Duration) -> DatabaseError {
        let waiting = self.shared.writer.max_capacity() - self.shared.writer.capacity();
        self.timed_out(begun, TimeoutCause::WriterBusy { waiting: waiting as u32 })
    }

    fn saturated(&self, target: u32, begun: Duration) -> DatabaseError {
        self.timed_out(begun, TimeoutCause::Saturated { target, waiting: 1, holders: Vec::new() })
    }

    fn timed_out(&self, begun: Duration, cause: TimeoutCause) -> DatabaseError {
        DatabaseError::AcquireTimeout {
            pool: Arc::clone(&self.shared.name),
            waited: Timer::now().saturating_sub(begun),
            cause,
        }
    }
}

impl Lease {
    /// Runs the task on this reader's thread; the reader is back when it has ended.
    fn run(self, task: lane::Task) -> Result<(), ()> {
        let sender = self.reader.as_ref().map(Reader::sender).ok_or(())?;
        let mut lease = Some(self);
        let task: lane::Task = Box::new(move |conn| {
            task(conn);
            drop(lease.take());
        });
        sender.send(task).map_err(|_| ())
    }
}

impl fmt::Debug for SqlitePool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqlitePool").field("name", &self.shared.name).finish_non_exhaustive()
    }
}
