//! Jobs in one file of SQLite: durable without a server, shared by the processes of one machine.

mod admin;
mod claim;
mod enqueue;
mod flows;
mod limits;
mod owner;
mod read;
mod rows;
mod schema;
mod settle;
mod sweep;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use wavequill_database::adapters::diesel_async_0_9::SqlitePoolExt;
use wavequill_database::adapters::diesel_async_0_9::diesel;
use wavequill_database::adapters::diesel_async_0_9::diesel::SqliteConnection;
use wavequill_database::adapters::diesel_async_0_9::diesel::prelude::*;
use wavequill_database::adapters::diesel_async_0_9::diesel::result::Error;
use wavequill_database::adapters::diesel_async_0_9::diesel::sql_query;
use wavequill_database::adapters::diesel_async_0_9::diesel::sql_types::Text;
use wavequill_database::{DatabaseError, Durability, SqlitePool};
use wavequill_kernel::{Clock, Retryable};

use self::claim::Turns;
use self::owner::{GoneOwner, Owner, Slot};
use self::sweep::Verdict;
use super::liveness::{Pulse, SessionWatch};
use super::rules;
use crate::wake_ups::Hints;
use crate::{
    Affected, Beat, ClaimRequest, Claimed, Command, Ended, Enqueued, EnqueuedFlow, JobPage, JobQuery,
    JobStore, NewFlow, NewJob, Placement, Policies, Progress, QueueError, QueueStats, SessionId, Settled,
    StoreConfig, StoreTiming, SweepBudget, SweepReport, WakeUps, WorkerRegistration, WorkerView,
};

/// Jobs in one file of SQLite.
///
/// What was enqueued, settled or administered is on the disk (`synchronous = FULL`) when the call returns; a claim
/// or a heartbeat that a loss of power takes back does no harm. Several processes may share the file: changes of
/// others are found by polling, 200 ms apart.
///
/// **A killed process's jobs** are taken over at once by the next worker of any process: each store holds a lock on a
/// small file beside the database (`<file>-queue-<n>.lock`, never deleted, at most one a process), which the
/// operating system drops with the process, so its end is proved, not guessed. A process that lives but stands still
/// is declared dead after [`StoreConfig::session_ttl`] without a heartbeat, on the observer's monotonic clock.
///
/// ```
/// # tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_time().build().unwrap().block_on(async {
/// use wavequill_database::SqlitePool;
/// use wavequill_queue::adapters::SqliteJobStore;
/// use wavequill_queue::{JobStore, JobType, NewJob, Policies, StoreConfig};
///
/// let pool = SqlitePool::open_in_memory().await?; // a file in earnest: `DieselConnectionPoolManager::open`
/// let store = SqliteJobStore::open(pool, StoreConfig::default(), Policies::default()).await?;
/// store.enqueue(vec![NewJob::new(JobType::TRANSCRIPTION, "talk.flac")?]).await?;
/// assert_eq!(store.stats().await?.of(&JobType::TRANSCRIPTION).ready, 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
#[derive(Debug)]
pub struct SqliteJobStore {
    pool: SqlitePool,
    config: StoreConfig,
    policies: Policies,
    file: Option<PathBuf>,
    owner: Option<Owner>,
    turns: Arc<Mutex<Turns>>,
    watch: Mutex<SessionWatch>,
    abandoned: Mutex<BTreeSet<SessionId>>,
    hints: Hints,
}

/// How often to look for the changes of other processes.
const POLL: Duration = Duration::from_millis(200);

impl SqliteJobStore {
    /// Makes or updates the tables, and declares dead what an earlier process of this slot left open.
    ///
    /// # Errors
    /// [`QueueError::InvalidConfig`]; [`QueueError::Refused`] if the tables are those of a newer program, or the file
    /// cannot be written; [`QueueError::Unavailable`] if it is locked or the disk is full.
    pub async fn open(pool: SqlitePool, config: StoreConfig, policies: Policies) -> Result<Self, QueueError> {
        config.check()?;
        pool.apply_schema("queue", schema::STEPS).await.map_err(failed("make its tables"))?;
        let file = pool.read(database_file).await.map_err(failed("find its file"))?;
        let owner = file.as_deref().and_then(Owner::acquire);
        let store = Self {
            pool,
            config,
            policies,
            file,
            owner,
            turns: Arc::default(),
            watch: Mutex::default(),
            abandoned: Mutex::default(),
            hints: Hints::new(),
        };
        if let Some(slot) = store.owner.as_ref().map(Owner::slot) {
            store.write(Durability::Normal, "open", move |conn| sweep::fence_owner(conn, slot)).await?;
        }
        Ok(store)
    }

    async fn write<T: Send + 'static>(
        &self,
        durability: Durability,
        action: &'static str,
        write: impl FnOnce(&mut SqliteConnection) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, QueueError> {
        self.pool.write(durability, write).await.map_err(failed(action))
    }

    async fn query<T: Send + 'static>(
        &self,
        action: &'static str,
        read: impl FnOnce(&mut SqliteConnection) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, QueueError> {
        self.pool.read(read).await.map_err(failed(action))
    }

    /// Who is dead: those whose process is gone, those that were abandoned, and those that are silent.
    async fn judge(
        &self,
        abandoned: &BTreeSet<SessionId>,
    ) -> Result<(Vec<Verdict>, Vec<GoneOwner>), QueueError> {
        let sessions = self.query("look for dead workers", sweep::live_sessions).await?;
        let pulses: Vec<_> =
            sessions.iter().map(|row| Pulse { session: SessionId::new(row.id), beats: row.beats }).collect();
        let mut owners: Vec<i64> = sessions.iter().filter_map(|row| row.owner).collect();
        owners.sort_unstable();
        owners.dedup();
        let mine = self.owner.as_ref().map(|owner| owner.slot().get());
        let mut gone = Vec::new();
        let mut locks = Vec::new();
        for slot in owners.into_iter().filter(|slot| Some(*slot) != mine) {
            if let Some(lock) = self.file.as_deref().and_then(|file| owner::gone(file, Slot::new(slot))) {
                gone.push(slot);
                locks.push(lock);
            }
        }
        let silent =
            self.watch.lock().look(&pulses, self.policies.clock.monotonic(), self.config.session_ttl);
        let verdict = |row: &sweep::SessionRow| {
            let session = SessionId::new(row.id);
            let proved = row.owner.is_some_and(|owner| gone.contains(&owner)) || abandoned.contains(&session);
            let beats = if proved { None } else { Some(row.beats) };
            (proved || silent.contains(&session)).then_some(Verdict { session, beats })
        };
        Ok((sessions.iter().filter_map(verdict).collect(), locks))
    }
}

/// The file of the main database; `None` in memory.
fn database_file(conn: &mut SqliteConnection) -> Result<Option<PathBuf>, Error> {
    #[derive(QueryableByName)]
    struct Row {
        #[diesel(sql_type = Text)]
        file: String,
    }
    let row: Row =
        sql_query("SELECT coalesce(file, '') AS file FROM pragma_database_list WHERE name = 'main'")
            .get_result(conn)?;
    Ok(if row.file.is_empty() { None } else { Some(PathBuf::from(row.file)) })
}

fn failed(action: &'static str) -> impl Fn(DatabaseError) -> QueueError {
    move |error| {
        if error.class().is_retryable() {
            QueueError::Unavailable { action, source: Arc::new(error) }
        } else {
            QueueError::Refused { action, source: Arc::new(error) }
        }
    }
}

#[async_trait]
impl JobStore for SqliteJobStore {
    async fn enqueue(&self, jobs: Vec<NewJob>) -> Result<Vec<Enqueued>, QueueError> {
        let now = self.policies.clock.now();
        let checked = rules::check_batch(jobs, &self.policies, now)?;
        let policies = self.policies.clone();
        let enqueued = self
            .write(Durability::Full, "enqueue", move |conn| enqueue::enqueue(conn, checked, now, &policies))
            .await?;
        self.hints.ready();
        Ok(enqueued)
    }

    async fn enqueue_flow(&self, flow: NewFlow) -> Result<EnqueuedFlow, QueueError> {
        let now = self.policies.clock.now();
        let checked = super::flows::check(flow, &self.policies, now)?;
        let policies = self.policies.clone();
        let enqueue = move |conn: &mut SqliteConnection| enqueue::enqueue_flow(conn, checked, now, &policies);
        let enqueued = self.write(Durability::Full, "enqueue a flow", enqueue).await?;
        self.hints.ready();
        Ok(enqueued)
    }

    async fn open_session(&self, worker: &WorkerRegistration) -> Result<SessionId, QueueError> {
        let (worker, slot) = (worker.clone(), self.owner.as_ref().map(Owner::slot));
        self.write(Durability::Normal, "register a worker", move |conn| {
            sweep::open_session(conn, &worker, slot)
        })
        .await
    }

    async fn close_session(&self, session: SessionId) -> Result<(), QueueError> {
        let now = self.policies.clock.now();
        self.write(Durability::Full, "close a session", move |conn| sweep::close_session(conn, session, now))
            .await?;
        self.hints.ready();
        Ok(())
    }

    fn abandon_session(&self, session: SessionId) {
        self.abandoned.lock().insert(session);
    }

    async fn beat(&self, session: SessionId, progress: Vec<Progress>) -> Result<Beat, QueueError> {
        self.write(Durability::Normal, "keep a session alive", move |conn| {
            sweep::beat(conn, session, &progress)
        })
        .await
    }

    async fn claim(&self, request: ClaimRequest) -> Result<Claimed, QueueError> {
        let (turns, policies, session) = (Arc::clone(&self.turns), self.policies.clone(), request.session);
        let claimed = self
            .write(Durability::Normal, "claim jobs", move |conn| {
                claim::claim(conn, &request, &mut turns.lock(), &policies)
            })
            .await?;
        claimed.ok_or(QueueError::Fenced { session })
    }

    async fn place(&self, placements: Vec<Placement>) -> Result<Vec<bool>, QueueError> {
        let now = self.policies.clock.now();
        let placed = self
            .write(Durability::Normal, "place jobs", move |conn| claim::place(conn, &placements, now))
            .await?;
        self.hints.ready();
        Ok(placed)
    }

    async fn settle(&self, ended: Vec<Ended>) -> Result<Vec<Settled>, QueueError> {
        let now = self.policies.clock.now();
        let leases: Vec<_> = ended.iter().map(|ended| ended.lease).collect();
        let settled = self
            .write(Durability::Full, "store the ends of jobs", move |conn| settle::settle(conn, ended, now))
            .await?;
        for (lease, settled) in leases.iter().zip(&settled) {
            if matches!(settled, Settled::Applied(state) if state.is_ended()) {
                self.hints.ended(lease.job);
            }
        }
        self.hints.ready();
        Ok(settled)
    }

    async fn maintain(&self, budget: SweepBudget) -> Result<SweepReport, QueueError> {
        let abandoned = self.abandoned.lock().clone();
        let (verdicts, locks) = self.judge(&abandoned).await?;
        let (config, policies) = (self.config.clone(), self.policies.clone());
        let report = self
            .write(Durability::Normal, "do its upkeep", move |conn| {
                sweep::maintain(conn, &verdicts, budget.jobs, &config, &policies)
            })
            .await?;
        // Until here no new process could take the slots of those that were declared dead.
        drop(locks);
        self.abandoned.lock().retain(|session| !abandoned.contains(session));
        for ended in &report.ended {
            self.hints.ended(ended.job);
        }
        if report.promoted + report.rescued + report.returned > 0 {
            self.hints.ready();
        }
        Ok(report)
    }

    async fn administer(&self, command: Command) -> Result<Affected, QueueError> {
        let policies = self.policies.clone();
        let cancels = matches!(command, Command::Cancel { .. });
        let affected = self
            .write(Durability::Full, "do what an operator asked for", move |conn| {
                admin::administer(conn, command, &policies)
            })
            .await?;
        if cancels {
            self.hints.cancel();
            for job in &affected.jobs {
                self.hints.ended(*job);
            }
        }
        self.hints.ready();
        Ok(affected)
    }

    async fn read(&self, query: &JobQuery) -> Result<JobPage, QueueError> {
        let query = query.clone();
        self.query("read jobs", move |conn| read::read(conn, &query)).await
    }

    async fn stats(&self) -> Result<QueueStats, QueueError> {
        let now = self.policies.clock.now();
        self.query("count jobs", move |conn| read::stats(conn, now)).await
    }

    async fn workers(&self) -> Result<Vec<WorkerView>, QueueError> {
        self.query("list workers", read::workers).await
    }

    fn wake_ups(&self) -> WakeUps {
        self.hints.subscribe()
    }

    fn timing(&self) -> StoreTiming {
        StoreTiming { session_ttl: self.config.session_ttl, poll: POLL }
    }
}
