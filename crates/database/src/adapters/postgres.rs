//! PostgreSQL: diesel-async's connections under the pool's core.

mod catalogue;
mod connect;
mod pooler;
#[cfg(feature = "diesel-async-0-9")]
mod schema;
mod session;

use std::fmt;
use std::future::{Future, poll_fn};
use std::panic::Location;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use diesel_async::SimpleAsyncConnection;
use tokio::time::{Instant, timeout_at};

pub(crate) use self::catalogue::catalogue;
#[cfg(feature = "diesel-async-0-9")]
pub(crate) use self::connect::OpenError;
use self::connect::Tasks;
pub(crate) use self::connect::literal;
pub(crate) use self::connect::{OpenConnection, PgConnection, PgConnector};
pub(crate) use self::session::{ChangeSession, PlanSession};
use crate::adapters::errors::statement_error;
use crate::config::{PostgresConfig, ScalingMode};
use crate::engine::pool_core::{Asked, Dedicated, Lease, Policy, PoolCore, system_now};
use crate::engine::recorder::QueryRecorder;
use crate::engine::scaling::ScalePolicy;
use crate::ports::CredentialSource;
use crate::{CloseReport, DatabaseError, PoolStats, Workload};

#[cfg(feature = "diesel-async-0-9")]
pub(crate) use self::schema::apply as apply_schema;

/// Connections to a PostgreSQL server, opened when they are needed, within limits.
///
/// A cheap clone: all clones are the same pool, and the last one to go closes what is idle. Connections are had in
/// [`PostgresPoolExt`](crate::adapters::diesel_async_0_9::PostgresPoolExt).
#[derive(Clone)]
pub struct PostgresPool {
    shared: Arc<Shared>,
}

struct Shared {
    core: Arc<PoolCore<PgConnection>>,
    recorder: Arc<QueryRecorder>,
    connector: PgConnector,
    acquire_timeout: Duration,
    leak_after: Duration,
    /// The ticking, and what opens and closes connections; all end with the pool.
    _tasks: Arc<Tasks>,
}

/// How often ages, leaks, retries and the size are looked at.
const TICK: Duration = Duration::from_millis(250);
/// An idle connection that does not answer within this is dead.
const CHECK: Duration = Duration::from_secs(1);

impl PostgresPool {
    pub(crate) fn open(
        config: PostgresConfig,
        credentials: Option<Arc<dyn CredentialSource>>,
        open: Option<OpenConnection>,
    ) -> Result<Self, DatabaseError> {
        config.validate()?;
        let name: Arc<str> = Arc::from(config.name.as_str());
        let recorder = QueryRecorder::new(Arc::clone(&name), config.slow_query);
        let tasks = Tasks::new()?;
        let policy = policy(&config);
        let (acquire_timeout, leak_after) = (config.acquire_timeout, config.leak_after);
        let connector =
            PgConnector::new(config, credentials, open, Arc::clone(&recorder), Arc::clone(&tasks));
        let core = PoolCore::new(name, policy, Box::new(connector.clone()), system_now);
        connector.watch(&core);
        let ticking = Arc::downgrade(&core);
        tasks.spawn(async move {
            let mut ticks = tokio::time::interval(TICK);
            ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            loop {
                ticks.tick().await;
                let Some(core) = ticking.upgrade() else { break };
                core.tick();
            }
        });
        let shared = Shared { core, recorder, connector, acquire_timeout, leak_after, _tasks: tasks };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// The name in errors, logs, metrics and in the server's `pg_stat_activity`.
    pub fn name(&self) -> &str {
        self.shared.core.name()
    }

    pub(crate) fn core(&self) -> &Arc<PoolCore<PgConnection>> {
        &self.shared.core
    }

    pub(crate) fn stats(&self) -> PoolStats {
        self.shared.core.stats()
    }

    pub(crate) fn leak_after(&self) -> Duration {
        self.shared.leak_after
    }

    /// What the statements of this pool have cost since it was opened. It holds no bound value.
    pub fn recorded(&self) -> Workload {
        self.shared.recorder.workload()
    }

    #[cfg(feature = "diesel-async-0-9")]
    pub(crate) fn try_acquire(&self, at: &'static Location<'static>) -> Option<Lease<PgConnection>> {
        self.shared.core.try_acquire(Asked::new(at, "connection"))
    }

    /// A connection that lives, in turn and in time. A dead one is replaced unseen.
    pub(crate) async fn acquire(&self, asked: Asked) -> Result<Lease<PgConnection>, DatabaseError> {
        let mut acquire = self.shared.core.acquire(asked);
        // Whoever need not wait arms no timer.
        let first = poll_fn(|cx| Poll::Ready(Pin::new(&mut acquire).poll(cx))).await;
        let deadline = Instant::now() + self.shared.acquire_timeout;
        let mut granted = match first {
            Poll::Ready(granted) => Some(granted),
            Poll::Pending => None,
        };
        loop {
            let mut lease = match granted.take() {
                Some(lease) => lease?,
                None => match timeout_at(deadline, &mut acquire).await {
                    Ok(lease) => lease?,
                    Err(_) => acquire.expire()?,
                },
            };
            if lease.is_fresh() {
                return Ok(lease);
            }
            let by = deadline.min(Instant::now() + CHECK);
            // An empty statement: one round trip, and nothing to run.
            if let Ok(Ok(())) = timeout_at(by, lease.batch_execute("")).await {
                lease.mark_fresh();
                return Ok(lease);
            }
            acquire = lease.replace(asked);
        }
    }

    /// A connection for good, past a transaction pooler if the configuration names a way.
    pub(crate) async fn dedicate(
        &self,
        purpose: &'static str,
        at: &'static Location<'static>,
    ) -> Result<Dedicated<PgConnection>, DatabaseError> {
        let lease = self.acquire(Asked::new(at, purpose)).await?;
        let mut dedicated = self.shared.core.dedicate(lease)?;
        if let Some(direct) = self.shared.connector.open_direct().await? {
            *dedicated = direct;
        }
        Ok(dedicated)
    }

    pub(crate) async fn probe(&self, at: &'static Location<'static>) -> Result<(), DatabaseError> {
        let mut lease = self.acquire(Asked::new(at, "health check")).await?;
        lease.batch_execute("SELECT 1").await.map_err(|error| statement_error(&error))
    }

    pub(crate) async fn close(&self, grace: Duration) -> CloseReport {
        let refused = self.shared.core.close();
        match tokio::time::timeout(grace, self.shared.core.drained()).await {
            Ok(()) => CloseReport { refused, ..CloseReport::default() },
            Err(_) => self.shared.core.cancel_all(refused),
        }
    }
}

fn policy(config: &PostgresConfig) -> Policy {
    let scaling = match config.scaling {
        ScalingMode::Advise => None,
        ScalingMode::Auto => {
            Some(ScalePolicy { utilization: config.utilization.get(), grow: 1.5, shrink: 0.8 })
        }
    };
    Policy {
        limits: config.limits,
        initial: if scaling.is_some() { config.limits.min() } else { config.limits.max() },
        idle_timeout: config.idle_timeout,
        max_lifetime: config.max_lifetime,
        fresh_for: config.fresh_for,
        leak_after: config.leak_after,
        scaling,
    }
}

impl fmt::Debug for PostgresPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresPool")
            .field("name", &self.name())
            .field("stats", &self.stats())
            .finish_non_exhaustive()
    }
}
