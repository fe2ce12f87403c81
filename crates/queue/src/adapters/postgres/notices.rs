//! Hints between processes, by `LISTEN` and `NOTIFY`: many at once are one.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::StreamExt;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::sleep;
use wavequill_database::PostgresPool;
use wavequill_database::adapters::diesel_async_0_9::PostgresPoolExt;
use wavequill_database::adapters::diesel_async_0_9::diesel::result::Error;
use wavequill_database::adapters::diesel_async_0_9::diesel::sql_types::Text;
use wavequill_database::adapters::diesel_async_0_9::diesel_async::{RunQueryDsl, SimpleAsyncConnection};

use super::Stop;
use super::statement::prepared;
use crate::wake_ups::Hints;

/// What others may want to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Notice {
    /// Jobs may be claimable that were not.
    Ready,
    /// A running job is to be cancelled.
    Cancel,
    /// Jobs have ended.
    Ended,
}

impl Notice {
    const ALL: [Self; 3] = [Self::Ready, Self::Cancel, Self::Ended];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Cancel => "cancel",
            Self::Ended => "ended",
        }
    }
}

/// How long after one round of notices the next may follow.
const GAP: Duration = Duration::from_millis(5);

/// How long to wait before a lost connection is opened again.
const AGAIN: Duration = Duration::from_secs(2);

/// The two tasks of a store; both end with it.
#[derive(Debug)]
pub(super) struct Notices {
    pending: mpsc::Sender<Notice>,
    listening: Arc<AtomicBool>,
    _tasks: JoinSet<()>,
}

impl Notices {
    pub(super) fn start(pool: &PostgresPool, hints: &Arc<Hints>) -> Self {
        let (pending, to_tell) = mpsc::channel(64);
        let listening = Arc::new(AtomicBool::new(false));
        let mut tasks = JoinSet::new();
        tasks.spawn(tell(pool.clone(), to_tell));
        tasks.spawn(listen(pool.clone(), Arc::clone(hints), Arc::clone(&listening)));
        Self { pending, listening, _tasks: tasks }
    }

    /// Tells other processes soon. It waits for nothing.
    pub(super) fn tell(&self, notice: Notice) {
        // Full: a round is due anyhow, and who misses a hint polls.
        let _ = self.pending.try_send(notice);
    }

    /// Whether other processes are heard at present.
    pub(super) fn are_heard(&self) -> bool {
        AtomicBool::load(&self.listening, Ordering::Relaxed)
    }
}

async fn tell(pool: PostgresPool, mut to_tell: mpsc::Receiver<Notice>) {
    let mut round = Vec::new();
    while to_tell.recv_many(&mut round, 64).await > 0 {
        round.sort_unstable();
        round.dedup();
        for notice in round.drain(..) {
            if let Err(error) = send(&pool, notice).await {
                let error = error.into_error("tell other processes");
                tracing::debug!(%error, "other processes find by polling what they were not told");
            }
        }
        sleep(GAP).await;
    }
}

async fn send(pool: &PostgresPool, notice: Notice) -> Result<(), Stop> {
    let mut conn = pool.connection().await.map_err(Stop::Pool)?;
    prepared("SELECT pg_notify('wavequill_queue', ?)")
        .bind::<Text, _>(notice.as_str())
        .execute(&mut *conn)
        .await?;
    Ok(())
}

async fn listen(pool: PostgresPool, hints: Arc<Hints>, listening: Arc<AtomicBool>) {
    loop {
        if let Err(error) = hear(&pool, &hints, &listening).await {
            let error = error.into_error("listen to other processes");
            tracing::debug!(%error, "what they change is found by polling meanwhile");
        }
        listening.store(false, Ordering::Relaxed);
        sleep(AGAIN).await;
    }
}

/// Passes on what is heard, until the connection is lost.
async fn hear(pool: &PostgresPool, hints: &Hints, listening: &AtomicBool) -> Result<(), Stop> {
    let mut conn = pool.dedicated("queue hints").await.map_err(Stop::Pool)?;
    conn.batch_execute("LISTEN wavequill_queue").await?;
    listening.store(true, Ordering::Relaxed);
    // What was told while nobody listened.
    for notice in Notice::ALL {
        pass_on(hints, notice);
    }
    let mut heard = std::pin::pin!(conn.notifications_stream());
    while let Some(notification) = heard.next().await {
        let payload = notification?.payload;
        if let Some(notice) = Notice::ALL.into_iter().find(|notice| notice.as_str() == payload) {
            pass_on(hints, notice);
        }
    }
    Err(Stop::Statement(Error::BrokenTransactionManager))
}

fn pass_on(hints: &Hints, notice: Notice) {
    match notice {
        Notice::Ready => hints.ready(),
        Notice::Cancel => hints.cancel(),
        Notice::Ended => hints.some_ended(),
    }
}
