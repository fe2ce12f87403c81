//! Jobs in PostgreSQL: shared by the workers of many machines.

mod admin;
mod claim;
mod enqueue;
mod flows;
mod insert;
mod limits;
mod notices;
mod outbox;
mod read;
mod rows;
mod schema;
mod settle;
mod statement;
mod sweep;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use wavequill_database::adapters::diesel_async_0_9::PostgresPoolExt;
use wavequill_database::adapters::diesel_async_0_9::diesel::result::{DatabaseErrorKind, Error};
use wavequill_database::adapters::diesel_async_0_9::diesel_async::{AsyncConnection, AsyncPgConnection};
use wavequill_database::{DatabaseError, PostgresPool};
use wavequill_kernel::{Clock, Retryable};

use self::claim::{First, Turns};
use self::notices::{Notice, Notices};
pub use self::outbox::EnqueueStatement;
use self::settle::Readied;
use super::rules;
use crate::wake_ups::Hints;
use crate::{
    Affected, Beat, ClaimRequest, Claimed, Command, Ended, Enqueued, EnqueuedFlow, JobId, JobPage, JobQuery,
    JobStore, NewFlow, NewJob, Placement, Policies, Progress, QueueError, QueueStats, SessionId, Settled,
    StoreConfig, StoreTiming, SweepBudget, SweepReport, WakeUps, WorkerRegistration, WorkerView,
};

/// Jobs in PostgreSQL. All instants are those of the server's clock, so the clocks of workers do not matter.
///
/// A worker that was not heard of for [`StoreConfig::session_ttl`] is declared dead by the next upkeep of any process.
/// Claims skip what others have locked, and never wait for them.
///
/// Changes of other processes are heard by `LISTEN`, on a connection of the pool that is kept for it; while there is none
/// to spare, they are found by polling. Ended jobs move to a table of their own, so they cost the live ones nothing.
#[derive(Debug)]
pub struct PostgresJobStore {
    pool: PostgresPool,
    config: StoreConfig,
    policies: Policies,
    turns: Arc<Mutex<Turns>>,
    abandoned: Mutex<BTreeSet<SessionId>>,
    hints: Arc<Hints>,
    notices: Notices,
}

/// How often to look for the changes of other processes, while they are not heard.
const POLL: Duration = Duration::from_millis(200);

/// How often to look while they are.
const POLL_HEARING: Duration = Duration::from_secs(1);

/// How often a transaction is run that others got into the way of.
const TRIES: u32 = 5;

/// What ends a transaction: a failed statement, or a pool without a connection.
enum Stop {
    Statement(Error),
    Pool(DatabaseError),
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Statement(error)
    }
}

impl Stop {
    /// Whether the same transaction may succeed at once: 40001, and 40P01 by its message (diesel has no kind for it).
    fn is_conflict(&self) -> bool {
        match self {
            Self::Statement(Error::DatabaseError(DatabaseErrorKind::SerializationFailure, _)) => true,
            Self::Statement(Error::DatabaseError(_, information)) => {
                information.message().contains("deadlock detected")
            }
            Self::Statement(_) | Self::Pool(_) => false,
        }
    }

    fn into_error(self, action: &'static str) -> QueueError {
        let conflict = self.is_conflict();
        match self {
            Self::Pool(error) if error.class().is_retryable() => {
                QueueError::Unavailable { action, source: Arc::new(error) }
            }
            Self::Pool(error) => QueueError::Refused { action, source: Arc::new(error) },
            Self::Statement(error) if conflict || is_passing(&error) => {
                QueueError::Unavailable { action, source: Arc::new(error) }
            }
            Self::Statement(error) => QueueError::Refused { action, source: Arc::new(error) },
        }
    }
}

/// Whether a failed statement tells of the server or the way to it, and not of the statement.
fn is_passing(error: &Error) -> bool {
    match error {
        Error::DatabaseError(kind, information) => {
            let message = information.message();
            matches!(kind, DatabaseErrorKind::ClosedConnection | DatabaseErrorKind::ReadOnlyTransaction)
                || ["connection", "terminating", "shutting down", "starting up", "No space left"]
                    .iter()
                    .any(|sign| message.contains(sign))
        }
        Error::BrokenTransactionManager => true,
        _ => false,
    }
}

/// Runs statements in a transaction, again if others got into its way.
macro_rules! transaction {
    ($store:expr, $action:literal, |$conn:ident| $body:expr) => {
        attempts!($store, $action, |pooled| {
            pooled.transaction(async |$conn: &mut AsyncPgConnection| -> Result<_, Stop> { Ok($body) }).await
        })
    };
}

/// Runs one statement that is a transaction of its own, again if others got into its way.
macro_rules! statement {
    ($store:expr, $action:literal, |$conn:ident| $body:expr) => {
        attempts!($store, $action, |$conn| { $body.await.map_err(Stop::from) })
    };
}

macro_rules! attempts {
    ($store:expr, $action:literal, |$conn:ident| $body:expr) => {{
        let mut tries = 0;
        loop {
            tries += 1;
            let outcome = match $store.pool.connection().await {
                Ok(mut pooled) => {
                    let $conn: &mut AsyncPgConnection = &mut pooled;
                    $body
                }
                Err(error) => Err(Stop::Pool(error)),
            };
            match outcome {
                Ok(answer) => break Ok(answer),
                Err(stop) if stop.is_conflict() && tries < TRIES => {
                    tracing::debug!(action = $action, tries, "another transaction got into the way; again");
                }
                Err(stop) => break Err(stop.into_error($action)),
            }
        }
    }};
}

impl PostgresJobStore {
    /// Makes or updates the tables.
    ///
    /// # Errors
    /// [`QueueError::InvalidConfig`]; [`QueueError::Refused`] if the tables are those of a newer program, or rights are
    /// missing; [`QueueError::Unavailable`] if the server cannot be reached.
    pub async fn open(
        pool: PostgresPool,
        config: StoreConfig,
        policies: Policies,
    ) -> Result<Self, QueueError> {
        config.check()?;
        let made = pool.apply_schema("queue", schema::STEPS).await;
        made.map_err(|error| Stop::Pool(error).into_error("make its tables"))?;
        let hints = Arc::new(Hints::new());
        Ok(Self {
            notices: Notices::start(&pool, &hints),
            pool,
            config,
            policies,
            turns: Arc::default(),
            abandoned: Mutex::default(),
            hints,
        })
    }

    /// A statement that hands these jobs in inside a transaction of your own, by any driver.
    ///
    /// # Errors
    /// As [`JobStore::enqueue`]; [`QueueError::InvalidJob`] too for a unique job that is more than
    /// [`while_live`](crate::Uniqueness::while_live) with [`OnDuplicate::Keep`](crate::OnDuplicate::Keep).
    pub fn enqueue_statement(&self, jobs: Vec<NewJob>) -> Result<EnqueueStatement, QueueError> {
        EnqueueStatement::new(jobs, &self.policies)
    }

    /// Tells this process and others that jobs may be claimable that were not.
    fn tell_ready(&self) {
        self.hints.ready();
        self.notices.tell(Notice::Ready);
    }

    /// Tells this process which jobs have ended, and others that some have.
    fn tell_ended(&self, jobs: impl Iterator<Item = JobId>) {
        let mut any = false;
        for job in jobs {
            self.hints.ended(job);
            any = true;
        }
        if any {
            self.notices.tell(Notice::Ended);
        }
    }
}

#[async_trait]
impl JobStore for PostgresJobStore {
    async fn enqueue(&self, jobs: Vec<NewJob>) -> Result<Vec<Enqueued>, QueueError> {
        // Only to refuse a deadline that has passed: what is stored follows the server's clock.
        let checked = rules::check_batch(jobs, &self.policies, self.policies.clock.now())?;
        let enqueued = if enqueue::is_plain(&checked) {
            statement!(self, "enqueue", |conn| enqueue::enqueue_plain(conn, &checked, &self.policies))
        } else {
            transaction!(self, "enqueue", |conn| enqueue::enqueue(conn, &checked, &self.policies).await?)
        }?;
        self.tell_ready();
        Ok(enqueued)
    }

    async fn enqueue_flow(&self, flow: NewFlow) -> Result<EnqueuedFlow, QueueError> {
        let checked = super::flows::check(flow, &self.policies, self.policies.clock.now())?;
        let enqueued = transaction!(self, "enqueue a flow", |conn| {
            enqueue::enqueue_flow(conn, checked.clone(), &self.policies).await?
        })?;
        self.tell_ready();
        Ok(enqueued)
    }

    async fn open_session(&self, worker: &WorkerRegistration) -> Result<SessionId, QueueError> {
        transaction!(self, "register a worker", |conn| sweep::open_session(conn, worker, &self.config)
            .await?)
    }

    async fn close_session(&self, session: SessionId) -> Result<(), QueueError> {
        transaction!(self, "close a session", |conn| sweep::close_session(conn, session).await?)?;
        self.tell_ready();
        Ok(())
    }

    fn abandon_session(&self, session: SessionId) {
        self.abandoned.lock().insert(session);
    }

    async fn beat(&self, session: SessionId, progress: Vec<Progress>) -> Result<Beat, QueueError> {
        transaction!(self, "keep a session alive", |conn| {
            sweep::beat(conn, session, &progress, &self.config).await?
        })
    }

    async fn claim(&self, request: ClaimRequest) -> Result<Claimed, QueueError> {
        if request.only.is_none() && request.free.0 > 0 {
            let first =
                statement!(self, "claim jobs", |conn| claim::claim_first(conn, &request, &self.turns))?;
            match first {
                First::Claimed(claimed) => return Ok(claimed),
                First::Fenced => return Err(QueueError::Fenced { session: request.session }),
                First::Shared => {}
            }
        }
        let claimed = transaction!(self, "claim jobs", |conn| {
            claim::claim(conn, &request, &self.turns, &self.policies).await?
        })?;
        claimed.ok_or(QueueError::Fenced { session: request.session })
    }

    async fn place(&self, placements: Vec<Placement>) -> Result<Vec<bool>, QueueError> {
        let placed = transaction!(self, "place jobs", |conn| claim::place(conn, &placements).await?)?;
        self.tell_ready();
        Ok(placed)
    }

    async fn settle(&self, ended: Vec<Ended>) -> Result<Vec<Settled>, QueueError> {
        let (settled, readied) = if settle::all_completed(&ended) {
            statement!(self, "store the ends of jobs", |conn| settle::settle_completed(conn, &ended))
        } else {
            transaction!(self, "store the ends of jobs", |conn| settle::settle(conn, &ended).await?)
        }?;
        let applied = |settled: &Settled| matches!(settled, Settled::Applied(state) if state.is_ended());
        let jobs = ended.iter().zip(&settled).filter(|(_, settled)| applied(settled));
        self.tell_ended(jobs.map(|(ended, _)| ended.lease.job));
        if readied == Readied::Yes {
            self.tell_ready();
        }
        Ok(settled)
    }

    async fn maintain(&self, budget: SweepBudget) -> Result<SweepReport, QueueError> {
        let abandoned = self.abandoned.lock().clone();
        let gone: Vec<i64> = abandoned.iter().map(|session| session.get()).collect();
        let report = transaction!(self, "do its upkeep", |conn| {
            sweep::maintain(conn, &gone, budget.jobs, &self.config, &self.policies).await?
        })?;
        self.abandoned.lock().retain(|session| !abandoned.contains(session));
        self.tell_ended(report.ended.iter().map(|ended| ended.job));
        if report.promoted + report.rescued + report.returned > 0 {
            self.tell_ready();
        }
        Ok(report)
    }

    async fn administer(&self, command: Command) -> Result<Affected, QueueError> {
        let affected = transaction!(self, "do what an operator asked for", |conn| {
            admin::administer(conn, &command, &self.policies).await?
        })?;
        if matches!(command, Command::Cancel { .. }) {
            self.hints.cancel();
            self.notices.tell(Notice::Cancel);
            self.tell_ended(affected.jobs.iter().copied());
        }
        self.tell_ready();
        Ok(affected)
    }

    async fn read(&self, query: &JobQuery) -> Result<JobPage, QueueError> {
        transaction!(self, "read jobs", |conn| read::read(conn, query).await?)
    }

    async fn stats(&self) -> Result<QueueStats, QueueError> {
        transaction!(self, "count jobs", |conn| read::stats(conn).await?)
    }

    async fn workers(&self) -> Result<Vec<WorkerView>, QueueError> {
        transaction!(self, "list workers", |conn| read::workers(conn).await?)
    }

    fn wake_ups(&self) -> WakeUps {
        self.hints.subscribe()
    }

    fn timing(&self) -> StoreTiming {
        StoreTiming {
            session_ttl: self.config.session_ttl,
            poll: if self.notices.are_heard() { POLL_HEARING } else { POLL },
        }
    }
}
