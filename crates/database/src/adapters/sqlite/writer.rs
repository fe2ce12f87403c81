//! The one writer of an SQLite database. Each turn takes all writes that wait into one transaction, each in a
//! savepoint of its own, and acknowledges them after the commit: a write waits for no timer, and many share a sync.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread;

use diesel::SqliteConnection;
use diesel::connection::{AnsiTransactionManager, SimpleConnection, TransactionManager};
use tokio::sync::{mpsc, oneshot, watch};

use super::lane::{Gate, Task, depth, end_transactions, next_holder, opener_failed};
use super::open::Opener;
use crate::adapters::errors::{panic_error, statement_error};
use crate::config::SqliteConfig;
use crate::{DatabaseError, Durability};

/// What waits for the writer's thread.
pub(crate) enum Job {
    Write(WriteJob),
    /// A read, where there is no reader: in memory.
    Read(Task),
}

/// A write that waits.
pub(crate) struct WriteJob {
    durability: Durability,
    call: Box<dyn Call>,
}

/// A closure that writes and the caller that waits for it, whatever its result is.
trait Call: Send {
    /// Runs the closure inside the open transaction; `None` if the caller has gone.
    fn run(self: Box<Self>, conn: &mut SqliteConnection) -> Option<Ran>;

    /// Tells the caller why its closure was not begun.
    fn refuse(self: Box<Self>, error: &DatabaseError);
}

/// A write that has run, and waits for its commit.
struct Ran {
    /// Whether the transaction around it is as it was.
    intact: Result<(), DatabaseError>,
    outcome: Box<dyn Acknowledge>,
}

trait Acknowledge {
    /// Tells the caller how its write ended.
    fn acknowledge(self: Box<Self>, committed: &Result<(), DatabaseError>);
}

type Answer<T> = oneshot::Sender<Result<T, DatabaseError>>;

struct Closure<T, F> {
    f: F,
    gate: Gate,
    answer: Answer<T>,
}

struct Outcome<T> {
    outcome: Result<T, DatabaseError>,
    answer: Answer<T>,
}

impl WriteJob {
    pub(crate) fn new<T, F>(durability: Durability, f: F, gate: Gate, answer: Answer<T>) -> Self
    where
        T: Send + 'static,
        F: FnOnce(&mut SqliteConnection) -> Result<T, DatabaseError> + Send + 'static,
    {
        Self { durability, call: Box::new(Closure { f, gate, answer }) }
    }
}

impl<T, F> Call for Closure<T, F>
where
    T: Send + 'static,
    F: FnOnce(&mut SqliteConnection) -> Result<T, DatabaseError> + Send + 'static,
{
    fn run(self: Box<Self>, conn: &mut SqliteConnection) -> Option<Ran> {
        let Self { f, gate, answer } = *self;
        if answer.is_closed() || !gate.begin() {
            return None;
        }
        let (outcome, intact) = in_savepoint(conn, f);
        Some(Ran { intact, outcome: Box::new(Outcome { outcome, answer }) })
    }

    fn refuse(self: Box<Self>, error: &DatabaseError) {
        // A caller that has gone needs no answer.
        drop(self.answer.send(Err(error.clone())));
    }
}

impl<T> Acknowledge for Outcome<T> {
    fn acknowledge(self: Box<Self>, committed: &Result<(), DatabaseError>) {
        let outcome = self.outcome.and_then(|value| match committed {
            Ok(()) => Ok(value),
            Err(source) => Err(DatabaseError::GroupRolledBack { source: Arc::new(source.clone()) }),
        });
        // A caller that has gone needs no answer.
        drop(self.answer.send(outcome));
    }
}

/// Runs the closure in a savepoint. The second result says whether the transaction around it still stands.
fn in_savepoint<T>(
    conn: &mut SqliteConnection,
    f: impl FnOnce(&mut SqliteConnection) -> Result<T, DatabaseError>,
) -> (Result<T, DatabaseError>, Result<(), DatabaseError>) {
    let outer = depth(conn);
    if let Err(error) = AnsiTransactionManager::begin_transaction(conn) {
        let error = statement_error(&error);
        return (Err(error.clone()), Err(error));
    }
    let outcome = match catch_unwind(AssertUnwindSafe(|| f(conn))) {
        Ok(outcome) => outcome,
        Err(payload) => Err(panic_error(&*payload)),
    };
    next_holder(conn);
    let intact = if outcome.is_ok() && depth(conn) == outer + 1 {
        AnsiTransactionManager::commit_transaction(conn)
    } else {
        roll_back_to(conn, outer)
    };
    (outcome, intact.map_err(|error| statement_error(&error)))
}

fn roll_back_to(conn: &mut SqliteConnection, outer: u32) -> Result<(), diesel::result::Error> {
    while depth(conn) > outer {
        AnsiTransactionManager::rollback_transaction(conn)?;
    }
    if depth(conn) == outer { Ok(()) } else { Err(diesel::result::Error::NotInTransaction) }
}

/// The writer's thread.
pub(crate) struct Writer {
    conn: SqliteConnection,
    inbox: mpsc::Receiver<Job>,
    waiting: VecDeque<Job>,
    group_limit: usize,
    synchronous: Option<Durability>,
}

impl Writer {
    /// Opens the database on a thread of its own, which ends when all senders are gone and the line is empty.
    pub(crate) async fn start(
        opener: Opener,
        config: &SqliteConfig,
    ) -> Result<(mpsc::Sender<Job>, watch::Receiver<()>), DatabaseError> {
        let (sender, inbox) = mpsc::channel(config.write_queue as usize);
        let (ends, ended) = watch::channel(());
        let (ready, opened) = oneshot::channel();
        let group_limit = config.group_limit as usize;
        let pool = opener.pool();
        thread::Builder::new()
            .name(format!("{pool}-write"))
            .spawn(move || {
                // Dropped with the thread, however it ends.
                let _ends = ends;
                match opener.open_writer() {
                    Ok(conn) => {
                        let waiting = VecDeque::new();
                        if ready.send(Ok(())).is_ok() {
                            Self { conn, inbox, waiting, group_limit, synchronous: None }.serve();
                        }
                    }
                    Err(error) => drop(ready.send(Err(error))),
                }
            })
            .map_err(|error| opener_failed(&pool, &error))?;
        opened.await.map_err(|_| DatabaseError::Closed { pool })??;
        Ok((sender, ended))
    }

    fn serve(mut self) {
        while let Some(job) = self.inbox.blocking_recv() {
            self.waiting.push_back(job);
            while self.waiting.len() < self.group_limit {
                match self.inbox.try_recv() {
                    Ok(job) => self.waiting.push_back(job),
                    Err(_) => break,
                }
            }
            while let Some(job) = self.waiting.pop_front() {
                match job {
                    Job::Read(task) => task(&mut self.conn),
                    Job::Write(first) => self.turn(first),
                }
            }
        }
        // Keeps the planner's statistics fresh; the database works as well without.
        drop(self.conn.batch_execute("PRAGMA optimize"));
    }

    /// One transaction: this write and those behind it, up to the next read.
    fn turn(&mut self, first: WriteJob) {
        let mut group = VecDeque::from([first]);
        while let Some(Job::Write(_)) = self.waiting.front() {
            if let Some(Job::Write(job)) = self.waiting.pop_front() {
                group.push_back(job);
            }
        }
        while !group.is_empty() {
            self.transaction(&mut group);
        }
    }

    /// Takes writes from the group into one transaction, until the group is empty or the transaction is broken.
    fn transaction(&mut self, group: &mut VecDeque<WriteJob>) {
        let durability = group.iter().map(|job| job.durability).max().unwrap_or(Durability::Full);
        if let Err(error) = self.begin(durability) {
            let error = statement_error(&error);
            for job in group.drain(..) {
                job.call.refuse(&error);
            }
            return;
        }
        let mut outcomes = Vec::with_capacity(group.len());
        let mut intact = Ok(());
        while let (Ok(()), Some(job)) = (&intact, group.pop_front()) {
            if let Some(ran) = job.call.run(&mut self.conn) {
                intact = ran.intact;
                outcomes.push(ran.outcome);
            }
        }
        let committed = intact.and_then(|()| {
            AnsiTransactionManager::commit_transaction(&mut self.conn)
                .map_err(|error| statement_error(&error))
        });
        end_transactions(&mut self.conn);
        for outcome in outcomes {
            outcome.acknowledge(&committed);
        }
    }

    fn begin(&mut self, durability: Durability) -> Result<(), diesel::result::Error> {
        if self.synchronous != Some(durability) {
            // Only between transactions: inside one SQLite ignores it.
            let level = match durability {
                Durability::Normal => "NORMAL",
                Durability::Full => "FULL",
            };
            self.conn.batch_execute(&format!("PRAGMA synchronous = {level}"))?;
            self.synchronous = Some(durability);
        }
        AnsiTransactionManager::begin_transaction_sql(&mut self.conn, "BEGIN IMMEDIATE")
    }
}
