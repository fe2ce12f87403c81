//! A thread that owns one connection and runs on it what it is sent, in order.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use diesel::SqliteConnection;
use diesel::connection::{AnsiTransactionManager, Connection, SimpleConnection, TransactionManager};
use tokio::sync::oneshot;

use super::open::Opener;
use crate::DatabaseError;
use crate::adapters::errors::panic_error;
use crate::adapters::instrument::Watch;
use crate::config::SqliteLocation;
use crate::engine::pool_core::{Canceller, ConnectTicket, Connector, DiscardTicket, Pooled};

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

/// A connection for reading.
#[derive(Debug)]
pub(crate) enum Reader {
    /// On a thread of its own, which ends when this is dropped and what it runs has ended.
    Own { tasks: SyncSender<Task>, alive: Arc<AtomicBool> },
    /// In memory there is one connection: reads take turns with the writes.
    Writer,
}

impl Reader {
    /// A panic outside a caller's closure unwinds the thread, and takes the connection with it.
    pub(crate) fn is_alive(&self) -> bool {
        match self {
            Self::Own { alive, .. } => alive.load(Ordering::Acquire),
            Self::Writer => true,
        }
    }
}

impl Pooled for Reader {
    fn is_clean(&mut self) -> bool {
        self.is_alive() && !thread::panicking()
    }

    fn canceller(&self) -> Option<Canceller> {
        None
    }
}

/// Opens readers, each on a new thread.
pub(crate) struct ReaderConnector {
    pub(crate) opener: Opener,
    pub(crate) location: SqliteLocation,
}

impl Connector<Reader> for ReaderConnector {
    fn connect(&self, ticket: ConnectTicket<Reader>) {
        match self.location {
            SqliteLocation::Memory => ticket.finish(Ok(Reader::Writer)),
            SqliteLocation::File(_) => start_reader(self.opener.clone(), ticket),
        }
    }

    fn discard(&self, conn: Reader, ticket: DiscardTicket<Reader>) {
        drop(conn);
        drop(ticket);
    }
}

fn start_reader(opener: Opener, ticket: ConnectTicket<Reader>) {
    let pool = opener.pool();
    // A reader is leased to one call at a time, so there is never more than one task under way.
    let (tasks, inbox) = sync_channel::<Task>(1);
    let (handle, handed) = sync_channel::<ConnectTicket<Reader>>(1);
    let started = thread::Builder::new().name(format!("{pool}-read")).spawn(move || {
        let Ok(ticket) = handed.recv() else { return };
        match opener.open_reader() {
            Ok(mut conn) => {
                let alive = Arc::new(AtomicBool::new(true));
                let _ends = Ends(Arc::clone(&alive));
                ticket.finish(Ok(Reader::Own { tasks, alive }));
                serve(&mut conn, &inbox);
            }
            Err(error) => ticket.finish(Err(error)),
        }
    });
    match started {
        // The thread waits for nothing else; should it have died, the ticket reports that by being dropped.
        Ok(_) => drop(handle.send(ticket)),
        Err(error) => ticket.finish(Err(opener_failed(&pool, &error))),
    }
}

/// Says that a thread has ended, however it ends.
struct Ends(Arc<AtomicBool>);

impl Drop for Ends {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
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
    F: FnOnce(&mut SqliteConnection) -> Result<T, DatabaseError> + Send + 'static,
{
    Box::new(move |conn| {
        if answer.is_closed() || !gate.begin() {
            return;
        }
        let outcome = catch_unwind(AssertUnwindSafe(|| f(conn)));
        end_transactions(conn);
        next_holder(conn);
        let outcome = match outcome {
            Ok(result) => result,
            Err(payload) => Err(panic_error(&*payload)),
        };
        // A caller that has gone needs no answer.
        drop(answer.send(outcome));
    })
}

/// From now on somebody else uses the connection.
pub(crate) fn next_holder(conn: &mut SqliteConnection) {
    if let Some(watch) = conn.instrumentation().downcast_mut::<Watch>() {
        watch.next_holder();
    }
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
