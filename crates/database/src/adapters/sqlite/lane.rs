//! A thread that owns one connection and runs on it what it is sent, in order.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use diesel::SqliteConnection;
use diesel::connection::{AnsiTransactionManager, Connection, SimpleConnection, TransactionManager};
use tokio::sync::oneshot;

use super::errors::{panic_error, statement_error};
use super::open::Opener;
use crate::DatabaseError;

/// Something to run on a lane's connection. It answers by itself.
pub(crate) type Task = Box<dyn FnOnce(&mut SqliteConnection) + Send>;

/// Decides once whether a call begins or its caller gives up: exactly one of the two wins.
#[derive(Clone, Debug)]
pub(crate) struct Gate(Arc<AtomicU8>);

const WAITING: u8 = 0;
const BEGUN: u8 = 1;
const CANCELLED: u8 = 2;

impl Gate {
    pub(crate) fn new() -> Self {
        Self(Arc::new(AtomicU8::new(WAITING)))
    }

    /// Whether the call may begin.
    pub(crate) fn begin(&self) -> bool {
        self.leave(BEGUN)
    }

    /// Whether the call was stopped before it began.
    pub(crate) fn cancel(&self) -> bool {
        self.leave(CANCELLED)
    }

    fn leave(&self, to: u8) -> bool {
        self.0.compare_exchange(WAITING, to, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }
}

/// A reader's thread. It ends when this is dropped and what it runs has ended.
#[derive(Debug)]
pub(crate) struct Reader {
    tasks: SyncSender<Task>,
}

impl Reader {
    /// Opens a connection that only reads, on a thread of its own.
    pub(crate) async fn start(opener: Opener, number: u32) -> Result<Self, DatabaseError> {
        // A reader is leased to one call at a time, so there is never more than one task under way.
        let (tasks, inbox) = sync_channel::<Task>(1);
        let (ready, opened) = oneshot::channel();
        let pool = opener.pool();
        thread::Builder::new()
            .name(format!("{pool}-read-{number}"))
            .spawn(move || match opener.open_reader() {
                Ok(mut conn) => {
                    if ready.send(Ok(())).is_ok() {
                        serve(&mut conn, &inbox);
                    }
                }
                Err(error) => drop(ready.send(Err(error))),
            })
            .map_err(|error| opener_failed(&pool, &error))?;
        opened.await.map_err(|_| DatabaseError::Closed { pool })??;
        Ok(Self { tasks })
    }

    pub(crate) fn sender(&self) -> SyncSender<Task> {
        self.tasks.clone()
    }
}

/// A thread could not be started.
pub(crate) fn opener_failed(pool: &Arc<str>, error: &std::io::Error) -> DatabaseError {
    DatabaseError::Connect {
        pool: Arc::clone(pool),
        failure: crate::ConnectFailure::Unreachable,
        detail: format!("no thread could be started for it: {error}"),
    }
}

fn serve(conn: &mut SqliteConnection, inbox: &Receiver<Task>) {
    while let Ok(task) = inbox.recv() {
        task(conn);
    }
}

/// Wraps a closure that reads: it is not begun if its caller has gone, a panic is an answer, and no transaction
/// is left open.
pub(crate) fn read_task<T, F>(f: F, gate: Gate, answer: oneshot::Sender<Result<T, DatabaseError>>) -> Task
where
    T: Send + 'static,
    F: FnOnce(&mut SqliteConnection) -> Result<T, diesel::result::Error> + Send + 'static,
{
    Box::new(move |conn| {
        if answer.is_closed() || !gate.begin() {
            return;
        }
        let outcome = catch_unwind(AssertUnwindSafe(|| f(conn)));
        end_transactions(conn);
        let outcome = match outcome {
            Ok(result) => result.map_err(|error| statement_error(&error)),
            Err(payload) => Err(panic_error(&*payload)),
        };
        // A caller that has gone needs no answer.
        drop(answer.send(outcome));
    })
}

/// Runs a task during which the connection refuses to write.
pub(crate) fn query_only(conn: &mut SqliteConnection, task: Task) {
    // These two pragmas set a flag of the connection; they touch no file and cannot fail on an open connection.
    drop(conn.batch_execute("PRAGMA query_only = ON"));
    task(conn);
    drop(conn.batch_execute("PRAGMA query_only = OFF"));
}

/// Rolls back what a closure left open: a panic inside diesel's `transaction` does.
pub(crate) fn end_transactions(conn: &mut SqliteConnection) {
    while depth(conn) > 0 {
        if AnsiTransactionManager::rollback_transaction(conn).is_err() {
            break;
        }
    }
    if depth(conn) > 0 || AnsiTransactionManager::is_broken_transaction_manager(conn) {
        // Nothing is open if this fails, and that is what is wanted.
        drop(conn.batch_execute("ROLLBACK"));
        *conn.transaction_state() = AnsiTransactionManager::default();
    }
}

/// How many transactions, one in another, are open on the connection.
pub(crate) fn depth(conn: &mut SqliteConnection) -> u32 {
    AnsiTransactionManager::transaction_manager_status_mut(conn)
        .transaction_depth()
        .ok()
        .flatten()
        .map_or(0, std::num::NonZeroU32::get)
}
